//! Certificates and keys as DER. A private key is never printed.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::CertificateKey;

/// Public DER bytes: a certificate.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Der(Arc<[u8]>);

impl Der {
    /// Wraps bytes that a PEM or DER parser produced.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "der({} bytes)", self.0.len())
    }
}

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// PKCS#8, PKCS#1 or SEC1 DER. Neither `Debug` nor `Serialize` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Arc<[u8]>);

impl PrivateKey {
    /// Wraps bytes that a PEM parser produced.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The secret bytes, for the TLS library only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

/// A certificate chain with its private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Its name.
    pub key: CertificateKey,
    /// Leaf first; never empty.
    pub chain: Vec<Der>,
    /// The leaf's private key.
    pub private_key: PrivateKey,
}
