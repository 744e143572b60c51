//! Why a record layer cannot go on, and the alert that tells the peer. Never with data.

use rustls::AlertDescription;

use super::super::TlsFailure;

/// The end of a record layer. Every reason ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Broken {
    /// The peer gave up, with this alert.
    Alert(u8),
    /// A record was changed, made up, left out or sent again.
    BadMac,
    /// A record or message that has no place here.
    Unexpected(&'static str),
    /// A record that is too long.
    Overflow,
    /// A message that cannot be read.
    Unreadable(&'static str),
    /// A field with a value that it cannot have.
    Illegal(&'static str),
    /// A client of TLS 1.2 wants to begin again, which is not safe.
    Renegotiation,
    /// The handshake went well, with somebody who may not go on.
    Unwelcome,
    /// The keys have protected as many records as they may.
    Exhausted,
    /// Cryptography failed for a reason that is not the peer's.
    Internal(&'static str),
}

impl Broken {
    /// What the peer is told: level and description. Nothing if it gave up itself.
    pub(in super::super) fn alert(self) -> Option<[u8; 2]> {
        const FATAL: u8 = 2;
        let description = match self {
            Self::Alert(_) => return None,
            // Data ends here, in an orderly way: there is nothing wrong with what was sent.
            Self::Exhausted => return Some(CLOSE_NOTIFY),
            Self::BadMac => AlertDescription::BadRecordMac,
            Self::Unexpected(_) => AlertDescription::UnexpectedMessage,
            Self::Overflow => AlertDescription::RecordOverflow,
            Self::Unreadable(_) => AlertDescription::DecodeError,
            Self::Illegal(_) => AlertDescription::IllegalParameter,
            Self::Renegotiation => AlertDescription::NoRenegotiation,
            Self::Unwelcome => AlertDescription::AccessDenied,
            Self::Internal(_) => AlertDescription::InternalError,
        };
        Some([FATAL, description.into()])
    }
}

/// Warning (1), close_notify (0).
pub(in super::super) const CLOSE_NOTIFY: [u8; 2] = [1, 0];

impl From<Broken> for TlsFailure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Alert(description) => Self::Alert(format!("{:?}", AlertDescription::from(description))),
            Broken::BadMac => Self::Protocol("a record does not hold".into()),
            Broken::Overflow => Self::Protocol("a record is too long".into()),
            Broken::Unexpected(what) | Broken::Unreadable(what) | Broken::Illegal(what) => {
                Self::Protocol(what.into())
            }
            Broken::Renegotiation => Self::Protocol("the client asked for a renegotiation".into()),
            Broken::Unwelcome => Self::NoCertificate,
            Broken::Exhausted => Self::Exhausted,
            Broken::Internal(what) => Self::Internal(what.into()),
        }
    }
}
