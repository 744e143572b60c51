//! A certificate of the configuration, made ready for handshakes. A bad one is a value that says why.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringway_config::{Certificate, Der};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::provider;

/// Why a certificate with its key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// The configuration does not hold it.
    Missing,
    /// The certificate cannot be read.
    Malformed,
    /// The certificate is older than X.509 version 3, and so cannot name its hosts.
    Version,
    /// The private key cannot be read, or is of a kind that we do not support.
    PrivateKey,
    /// The private key belongs to another certificate.
    Mismatch,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed certificate",
            Self::Version => "a certificate of X.509 version 1 or 2, where version 3 is needed",
            Self::PrivateKey => "unusable private key",
            Self::Mismatch => "the private key belongs to another certificate",
        })
    }
}

impl CertificateFault {
    /// What is wrong with a certificate, before anybody is to use it.
    pub fn of(certificate: &Certificate) -> Option<Self> {
        Loaded::new(certificate).err()
    }
}

/// How a certificate stands to the time: nobody takes it now, but that may be as it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untimely {
    /// It is over since.
    Expired(UnixTime),
    /// It begins.
    NotYetValid(UnixTime),
}

impl Untimely {
    /// `None`: the certificate's own time is now, or it cannot be read.
    pub fn of(certificate: &Certificate, now: SystemTime) -> Option<Self> {
        let leaf = der_of(certificate.chain.first()?);
        let parsed = webpki::EndEntityCert::try_from(&leaf).ok()?;
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        // Nobody is trusted, so that this always fails; the leaf's time is looked at before its issuer.
        let usage = webpki::KeyUsage::server_auth();
        match parsed.verify_for_usage(&[], &[], &[], now, usage, None, None).err()? {
            webpki::Error::CertExpired { not_after, .. } => Some(Self::Expired(not_after)),
            webpki::Error::CertNotValidYet { not_before, .. } => Some(Self::NotYetValid(not_before)),
            _ => None,
        }
    }

    /// When it ended or begins.
    pub fn time(self) -> SystemTime {
        let (Self::Expired(time) | Self::NotYetValid(time)) = self;
        UNIX_EPOCH + Duration::from_secs(time.as_secs())
    }
}

/// A certificate chain with a key that signs for it, and the DNS names it is for.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) certified: Arc<CertifiedKey>,
    /// Subject alternative DNS names, lower case; a wildcard begins with `*.`.
    pub(super) names: Vec<Box<str>>,
}

impl Loaded {
    pub(super) fn new(certificate: &Certificate) -> Result<Self, CertificateFault> {
        let chain: Vec<_> = certificate.chain.iter().map(|der| der_of(der).into_owned()).collect();
        let leaf = chain.first().ok_or(CertificateFault::Malformed)?;
        let names = dns_names(leaf)?;
        let key = PrivateKeyDer::try_from(certificate.private_key.expose())
            .map_err(|_| CertificateFault::PrivateKey)?;
        let key = provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| CertificateFault::PrivateKey)?;
        let certified = CertifiedKey::new(chain, key);
        // Every key that aws-lc-rs loads shows its public half, so an unknown match is a mismatch too.
        certified.keys_match().map_err(|_| CertificateFault::Mismatch)?;
        Ok(Self { certified: Arc::new(certified), names })
    }
}

pub(super) fn der_of(der: &Der) -> CertificateDer<'_> {
    CertificateDer::from(der.as_bytes())
}

fn dns_names(leaf: &CertificateDer<'_>) -> Result<Vec<Box<str>>, CertificateFault> {
    let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|error| match error {
        webpki::Error::UnsupportedCertVersion => CertificateFault::Version,
        _ => CertificateFault::Malformed,
    })?;
    Ok(parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect())
}

#[cfg(test)]
mod tests {
    use ringway_config::{CertificateKey, PrivateKey};

    use super::super::testing::{Authority, Leaf, leaf, start};
    use super::*;

    #[test]
    fn a_certificate_out_of_its_time_is_known() {
        let authority = Authority::new("authority");
        let untimely =
            |years| Untimely::of(&authority.issue("leaf", Leaf { years, ..leaf(&["a.org"]) }), start());
        let year_2025 = UNIX_EPOCH + Duration::from_secs(1_735_689_600);
        let year_2027 = UNIX_EPOCH + Duration::from_secs(1_798_761_600);
        assert_eq!(untimely((2025, 2027)), None);
        let expired = untimely((2024, 2025)).unwrap();
        assert!(matches!(expired, Untimely::Expired(_)) && expired.time() == year_2025, "{expired:?}");
        let early = untimely((2027, 2028)).unwrap();
        assert!(matches!(early, Untimely::NotYetValid(_)) && early.time() == year_2027, "{early:?}");
    }

    #[test]
    fn a_certificate_of_version_1_is_told_from_a_malformed_one() {
        let good = Authority::new("authority").issue("leaf", leaf(&["a.org"]));
        let version = [0xa0, 0x03, 0x02, 0x01];
        let mut der = good.chain[0].as_bytes().to_vec();
        let place = der.windows(4).position(|bytes| bytes == version).unwrap();
        der[place + 4] = 1;
        let old = Certificate { chain: vec![Der::new(der)], ..(*good).clone() };
        assert_eq!(CertificateFault::of(&old), Some(CertificateFault::Version));
        assert_eq!(CertificateFault::of(&good), None);
        let junk = Certificate {
            key: CertificateKey::new("junk"),
            chain: vec![Der::new(vec![1])],
            private_key: PrivateKey::new(vec![]),
        };
        assert_eq!(CertificateFault::of(&junk), Some(CertificateFault::Malformed));
    }
}
