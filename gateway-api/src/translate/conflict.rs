//! Listeners that cannot be told apart, or cannot share a port (checklist L1 to L6, LSET4, LS5).
//!
//! Inside one Gateway there is no winner: every member of a conflict is refused. Against the listeners of
//! ListenerSets the earlier wins: the Gateway's own first, then the sets by age.

use std::collections::BTreeMap;

use ringway_config::{HostPattern, Transport};

use super::condition::Problem;
use super::listener::{Entry, Speaks};
use crate::objects::Kind;

/// Marks every conflict among the listeners of one gateway, which are in merge order.
pub(crate) fn mark(entries: &mut [Entry<'_>]) {
    let own = entries.iter().take_while(|entry| entry.owner.kind == Kind::Gateway).count();
    let mut ports: BTreeMap<(u16, Transport), Port> = BTreeMap::new();
    for (index, entry) in entries[..own].iter().enumerate() {
        if let Some(speaks) = comparable(entry) {
            ports.entry(socket(entry, speaks)).or_default().take(index, entry, speaks);
        }
    }
    // A refused listener of the Gateway itself still keeps its place: its author is asked first.
    for index in 0..entries.len() {
        let Some(speaks) = comparable(&entries[index]) else {
            entries[index].conflict = None;
            continue;
        };
        let port = ports.entry(socket(&entries[index], speaks)).or_default();
        let conflict = port.conflict(index, &entries[index], speaks, entries);
        if conflict.is_none() && index >= own {
            port.take(index, &entries[index], speaks);
        }
        entries[index].conflict = conflict;
    }
    overlaps(entries);
}

/// Who is on a port, by what tells listeners apart.
#[derive(Default)]
struct Port {
    families: BTreeMap<u8, usize>,
    /// At most the first two for a host: whoever asks needs one that is not itself.
    hosts: BTreeMap<HostPattern, (usize, Option<usize>)>,
}

impl Port {
    fn take(&mut self, index: usize, entry: &Entry<'_>, speaks: Speaks) {
        self.families.entry(family(speaks)).or_insert(index);
        match self.hosts.get_mut(&entry.hostname) {
            Some((_, second)) => *second = second.or(Some(index)),
            None => drop(self.hosts.insert(entry.hostname.clone(), (index, None))),
        }
    }

    fn conflict(
        &self,
        index: usize,
        entry: &Entry<'_>,
        speaks: Speaks,
        entries: &[Entry<'_>],
    ) -> Option<Problem> {
        let other_family = self.families.iter().find(|(known, _)| **known != family(speaks));
        let same_host = || {
            let (first, second) = *self.hosts.get(&entry.hostname)?;
            if first == index { second } else { Some(first) }
        };
        let other = &entries[other_family.map(|(_, other)| *other).or_else(same_host)?];
        let same_protocol = other.speaks.map(Speaks::protocol) == Some(speaks.protocol());
        let port = entry.spec.port;
        Some(if same_protocol {
            let host = &other.hostname;
            let message = format!(
                "Listener {} has the same port number {port}, the same protocol and hostname {host}",
                other.key
            );
            Problem::new("HostnameConflict", message)
        } else {
            let protocol = &other.spec.protocol;
            let message = format!(
                "Listener {} has the same port number {port} with the conflicting protocol {protocol}",
                other.key
            );
            Problem::new("ProtocolConflict", message)
        })
    }
}

fn socket(entry: &Entry<'_>, speaks: Speaks) -> (u16, Transport) {
    (entry.spec.port, speaks.transport())
}

/// What can be compared; a listener that is refused for itself is in nobody's way.
fn comparable(entry: &Entry<'_>) -> Option<Speaks> {
    entry.speaks.filter(|_| entry.refused.is_empty())
}

/// Protocols of one family can share a port, told apart by SNI or Host.
fn family(speaks: Speaks) -> u8 {
    match speaks {
        Speaks::Http => 0,
        Speaks::Https | Speaks::TlsTerminate | Speaks::TlsPassthrough => 1,
        Speaks::Tcp => 2,
        Speaks::Udp => 3,
    }
}

/// Tells TLS listeners of a port whose hosts overlap: clients may reuse a connection for a host of the other.
fn overlaps(entries: &mut [Entry<'_>]) {
    let tls = |entry: &Entry<'_>| {
        entry.accepted() && entry.speaks.is_some_and(|speaks| family(speaks) == family(Speaks::Https))
    };
    let broad: BTreeMap<(u16, HostPattern), usize> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| tls(entry) && !matches!(entry.hostname, HostPattern::Exact(_)))
        .map(|(index, entry)| ((entry.spec.port, entry.hostname.clone()), index))
        .collect();
    let mut pairs: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| tls(entry)) {
        for pattern in broader(&entry.hostname) {
            if let Some(other) = broad.get(&(entry.spec.port, pattern)) {
                pairs.entry(index).or_default().push(*other);
                pairs.entry(*other).or_default().push(index);
            }
        }
    }
    let told: Vec<Option<String>> = (0..entries.len())
        .map(|index| {
            const SHOWN_MAX: usize = 3;
            let others = pairs.get_mut(&index)?;
            others.sort_unstable();
            let shown = others.iter().take(SHOWN_MAX).map(|other| entries[*other].key.as_str());
            let mut names = shown.collect::<Vec<_>>().join(", ");
            if others.len() > SHOWN_MAX {
                names.push_str(&format!(" and {} more", others.len() - SHOWN_MAX));
            }
            let port = entries[index].spec.port;
            Some(format!("On port {port} a client may reuse its connection between this and {names}"))
        })
        .collect();
    for (entry, overlap) in entries.iter_mut().zip(told) {
        entry.overlap = overlap;
    }
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
