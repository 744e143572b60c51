//! A certificate of the configuration, made ready for handshakes. A bad one is a value that says why.

use std::fmt;
use std::sync::Arc;

use ringway_config::{Certificate, Der};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::provider;

/// Why a certificate with its key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// The configuration does not hold it.
    Missing,
    /// The certificate cannot be read.
    Malformed,
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
            Self::PrivateKey => "unusable private key",
            Self::Mismatch => "the private key belongs to another certificate",
        })
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
        let names = dns_names(leaf).ok_or(CertificateFault::Malformed)?;
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

fn dns_names(leaf: &CertificateDer<'_>) -> Option<Vec<Box<str>>> {
    let parsed = webpki::EndEntityCert::try_from(leaf).ok()?;
    Some(parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect())
}
