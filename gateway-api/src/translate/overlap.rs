//! TLS listeners of one port between which a client may reuse its connection (checklist LS5): their hostnames overlap,
//! or their certificates have names in common.
//!
//! Who is connected to the one and finds the other's host in the certificate (RFC 9113 section 9.1.1), or behind the
//! same name, may ask there without a new handshake. An HTTPS listener answers 421 to that.

use std::collections::{BTreeMap, BTreeSet};

use ringway_config::{Certificate, CertificateKey, HostPattern};
use rustls_pki_types::CertificateDer;

use super::condition::holds;
use super::listener::{Entry, Speaks};
use crate::objects::Condition;

/// The most listeners that are named as others.
const SHOWN_MAX: usize = 3;

/// What a listener is told of others of its port.
#[derive(Default)]
pub(crate) struct Overlap {
    hostnames: Option<String>,
    certificates: Option<String>,
}

impl Overlap {
    /// Only there while it holds. Of two reasons the certificates are the one to be named.
    pub(crate) fn condition(&self, generation: i64) -> Option<Condition> {
        let reason = match (&self.certificates, &self.hostnames) {
            (Some(_), _) => "OverlappingCertificates",
            (None, Some(_)) => "OverlappingHostnames",
            (None, None) => return None,
        };
        let told: Vec<&str> =
            [&self.hostnames, &self.certificates].into_iter().flatten().map(|s| &**s).collect();
        Some(holds("OverlappingTLSConfig", reason, told.join("; "), generation))
    }
}

/// Marks every overlap among the listeners of one gateway, whose conflicts are marked.
pub(crate) fn mark(entries: &mut [Entry<'_>]) {
    let hostnames = hostnames(entries);
    let certificates = certificates(entries);
    for (index, entry) in entries.iter_mut().enumerate() {
        entry.overlap = Overlap {
            hostnames: hostnames.get(&index).cloned(),
            certificates: certificates.get(&index).cloned(),
        };
    }
}

fn is_tls(entry: &Entry<'_>) -> bool {
    let tls = [Speaks::Https, Speaks::TlsTerminate, Speaks::TlsPassthrough];
    entry.accepted() && entry.speaks.is_some_and(|speaks| tls.contains(&speaks))
}

fn hostnames(entries: &[Entry<'_>]) -> BTreeMap<usize, String> {
    let tls = || entries.iter().enumerate().filter(|(_, entry)| is_tls(entry));
    let broad: BTreeMap<(u16, HostPattern), usize> = tls()
        .filter(|(_, entry)| !matches!(entry.hostname, HostPattern::Exact(_)))
        .map(|(index, entry)| ((entry.spec.port, entry.hostname.clone()), index))
        .collect();
    let mut pairs: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (index, entry) in tls() {
        for pattern in broader(&entry.hostname) {
            if let Some(other) = broad.get(&(entry.spec.port, pattern)) {
                pairs.entry(index).or_default().insert(*other);
                pairs.entry(*other).or_default().insert(index);
            }
        }
    }
    let told = |(index, others): (usize, BTreeSet<usize>)| {
        let (port, others) = (entries[index].spec.port, shown(entries, &others));
        let message = format!(
            "hostname: overlaps on port {port} with that of {others}, so a client may reuse its connection between them"
        );
        (index, message)
    };
    pairs.into_iter().map(told).collect()
}

/// Every pattern that covers all of another one's hosts and more: the wildcards above it, and any host.
fn broader(hostname: &HostPattern) -> Vec<HostPattern> {
    let text = match hostname {
        HostPattern::Any => return vec![],
        HostPattern::Wildcard(text) | HostPattern::Exact(text) => text,
    };
    let above = text.match_indices('.').map(|(dot, _)| HostPattern::Wildcard(text[dot + 1..].into()));
    above.chain([HostPattern::Any]).collect()
}

fn certificates(entries: &[Entry<'_>]) -> BTreeMap<usize, String> {
    let mut known: BTreeMap<&CertificateKey, Vec<String>> = BTreeMap::new();
    let mut names: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let mut places: BTreeMap<(u16, String), Vec<usize>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| is_tls(entry)) {
        for certificate in &entry.certificates {
            let read = known.entry(&certificate.key).or_insert_with(|| dns_names(certificate));
            names.entry(index).or_default().extend(read.iter().cloned());
        }
        for name in names.get(&index).into_iter().flatten() {
            for place in
                [Some(name.clone()), above(name).map(|above| format!("?.{above}"))].into_iter().flatten()
            {
                let there = places.entry((entry.spec.port, place)).or_default();
                if there.last() != Some(&index) {
                    there.push(index);
                }
            }
        }
    }
    let mut told = BTreeMap::new();
    for (index, names) in &names {
        let port = entries[*index].spec.port;
        let mut others = BTreeSet::new();
        let mut common = None;
        for name in names {
            let covered = match name.strip_prefix("*.") {
                Some(suffix) => Some(format!("?.{suffix}")),
                None => above(name).map(|above| format!("*.{above}")),
            };
            for place in [Some(name.clone()), covered].into_iter().flatten() {
                let there = places.get(&(port, place)).map_or(&[][..], Vec::as_slice);
                // Enough to know that there are more than are shown.
                let there = there.iter().filter(|other| *other != index).take(SHOWN_MAX + 1);
                others.extend(there);
                common = common.or((!others.is_empty()).then_some(name));
            }
        }
        if let Some(common) = common {
            let others = shown(entries, &others);
            let message = format!(
                "tls.certificateRefs: on port {port} certificates of {others} are for {common}, too, so a client may \
                 reuse its connection between them"
            );
            told.insert(*index, message);
        }
    }
    told
}

/// The domain that a name without wildcard stands directly below.
fn above(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, above)| above).filter(|_| !name.starts_with("*."))
}

/// The names of a certificate, which may be wildcards; none if it cannot be read.
fn dns_names(certificate: &Certificate) -> Vec<String> {
    let Some(leaf) = certificate.chain.first() else { return vec![] };
    let leaf = CertificateDer::from(leaf.as_bytes());
    match webpki::EndEntityCert::try_from(&leaf) {
        Ok(parsed) => parsed.valid_dns_names().map(str::to_ascii_lowercase).collect(),
        Err(_) => vec![],
    }
}

fn shown(entries: &[Entry<'_>], others: &BTreeSet<usize>) -> String {
    let shown = others.iter().take(SHOWN_MAX).map(|other| entries[*other].key.as_str());
    let names = shown.collect::<Vec<_>>().join(", ");
    if others.len() > SHOWN_MAX { format!("{names} and others") } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_overlaps_with_exactly_what_is_broader_or_narrower() {
        let hosts = ["x.a.b", "y.x.a.b", "a.b", "other.c"].map(|text| HostPattern::parse(text).unwrap());
        let wild = ["*.x.a.b", "*.a.b", "*.b", "*.c"].map(|text| HostPattern::parse(text).unwrap());
        let all: Vec<HostPattern> = hosts.into_iter().chain(wild).chain([HostPattern::Any]).collect();
        for one in &all {
            for other in all.iter().filter(|other| *other != one) {
                let expected = one.intersect(other).is_some();
                let found = broader(one).contains(other) || broader(other).contains(one);
                assert_eq!(found, expected, "{one} {other}");
            }
        }
    }
}
