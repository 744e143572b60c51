//! Why a TLS session cannot go on, and what a certificate was refused for. Texts are for logs, never for peers.

use std::fmt;

use rustls::{CertificateError, Error};

/// The end of a session that is not a clean one. The alert that tells the peer, if there is one, is queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// The transport ended inside the handshake.
    #[error("the connection ended inside the handshake")]
    Ended,
    /// The peer gave up, with this alert.
    #[error("the peer sent the alert {0}")]
    Alert(String),
    /// The peer's certificate was refused.
    #[error("the certificate was refused: {0}")]
    Certificate(CertificateRefusal),
    /// The peer showed no certificate where one is required.
    #[error("a certificate is required and none was shown")]
    NoCertificate,
    /// No version, cipher suite, key exchange, signature or application protocol in common.
    #[error("nothing in common: {0}")]
    Incompatible(String),
    /// The peer broke the protocol, or does not speak TLS.
    #[error("broken TLS: {0}")]
    Protocol(String),
    /// A handshake message that is larger than we take.
    #[error("a handshake message is too long")]
    TooLong,
    /// We refused the client's hello: no listener is for it.
    #[error("no listener is for this server name")]
    Refused,
    /// We closed our side; nothing more can be written.
    #[error("written after close")]
    Closed,
    /// The keys have protected as many records as they may (TLS 1.2 only; TLS 1.3 renews them).
    #[error("the traffic keys are used up")]
    Exhausted,
    /// The TLS library failed for a reason that is not the peer's.
    #[error("TLS failed: {0}")]
    Internal(String),
}

/// What is wrong with a peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRefusal {
    /// It is over.
    Expired,
    /// It has not begun.
    NotYetValid,
    /// No trusted authority stands behind it.
    UnknownIssuer,
    /// It is for other names.
    WrongName,
    /// It is not meant for this side of a connection.
    WrongPurpose,
    /// It was revoked.
    Revoked,
    /// A signature does not hold.
    BadSignature,
    /// It cannot be read.
    Malformed,
    /// Something else.
    Unacceptable,
}

impl fmt::Display for CertificateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::UnknownIssuer => "unknown issuer",
            Self::WrongName => "wrong name",
            Self::WrongPurpose => "wrong purpose",
            Self::Revoked => "revoked",
            Self::BadSignature => "bad signature",
            Self::Malformed => "malformed",
            Self::Unacceptable => "unacceptable",
        })
    }
}

impl From<&CertificateError> for CertificateRefusal {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongPurpose
            }
            CertificateError::Revoked => Self::Revoked,
            CertificateError::BadSignature => Self::BadSignature,
            CertificateError::BadEncoding | CertificateError::UnhandledCriticalExtension => Self::Malformed,
            _ => Self::Unacceptable,
        }
    }
}

impl From<Error> for TlsFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            Error::InvalidCertificate(error) => Self::Certificate(CertificateRefusal::from(&error)),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::PeerIncompatible(why) => Self::Incompatible(format!("{why:?}")),
            error @ Error::NoApplicationProtocol => Self::Incompatible(error.to_string()),
            error @ (Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::DecryptError
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord) => Self::Protocol(error.to_string()),
            error => Self::Internal(error.to_string()),
        }
    }
}
