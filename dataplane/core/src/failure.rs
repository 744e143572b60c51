//! What went wrong with a request, whose fault it is, and what may safely happen next.

use std::fmt;
use std::net::SocketAddr;

/// Why an exchange could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client closed or reset before its answer was complete.
    #[error("client went away")]
    ClientGone,
    /// The client sent something that cannot be passed on.
    #[error("client broke the protocol: {0}")]
    ClientProtocol(&'static str),
    /// The request's body is larger than the limit.
    #[error("request body larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit that was hit.
        limit: u64,
    },
    /// The client stopped sending its body.
    #[error("client sent nothing for too long")]
    ClientIdle,
    /// No endpoint is there, or none is healthy.
    #[error("no healthy endpoint")]
    NoEndpoint,
    /// A limit of the cluster is reached.
    #[error("cluster limit reached: {0}")]
    Overflow(&'static str),
    /// An endpoint failed.
    #[error("upstream {endpoint} failed ({cause:?}, {evidence:?})")]
    Upstream {
        /// Which.
        endpoint: SocketAddr,
        /// What is known about whether it may have acted.
        evidence: Evidence,
        /// In which way.
        cause: UpstreamCause,
    },
    /// The request's time is over.
    #[error("request timed out")]
    RequestTimeout,
}

/// What is known about whether the upstream may have acted: the ground for a safe retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Not a byte was sent.
    Unsent,
    /// The upstream said that it did not act: REFUSED_STREAM, or a stream above GOAWAY's last id.
    Refused,
    /// Sent, and no byte of a response came.
    Unanswered {
        /// On a connection that had served a request before.
        reused: bool,
    },
    /// A response had begun.
    Answered,
}

/// In which way an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamCause {
    /// No connection: refused or unreachable.
    Connect,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The TLS handshake failed, or the certificate is not what it must be.
    Tls,
    /// Closed or reset.
    Closed,
    /// It broke the protocol.
    Protocol,
    /// The attempt's time is over.
    Timeout,
    /// A response that policy wants to try again.
    Status(u16),
}

impl Failure {
    /// An answer whose status policy may want to try again, as a failure.
    pub fn of_status(endpoint: SocketAddr, status: u16) -> Self {
        Self::Upstream { endpoint, evidence: Evidence::Answered, cause: UpstreamCause::Status(status) }
    }
}

/// Envoy's response flags, so that existing runbooks work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Flag {
    /// UH: no healthy upstream.
    NoHealthyUpstream,
    /// UF: upstream connection failure.
    UpstreamConnectionFailure,
    /// UO: upstream overflow (a cluster limit).
    UpstreamOverflow,
    /// NR: no route.
    NoRoute,
    /// URX: retry limit exceeded.
    UpstreamRetryLimitExceeded,
    /// NC: no cluster (the backend reference is invalid).
    NoCluster,
    /// DT: the request's time is over.
    DurationTimeout,
    /// DC: downstream connection termination.
    DownstreamConnectionTermination,
    /// UT: upstream request timeout.
    UpstreamRequestTimeout,
    /// LR: local reset.
    LocalReset,
    /// UR: upstream remote reset.
    UpstreamRemoteReset,
    /// UC: upstream connection termination.
    UpstreamConnectionTermination,
    /// RL: rate limited, or too many connections of one client.
    RateLimited,
    /// SI: stream idle timeout.
    StreamIdleTimeout,
    /// DPE: downstream protocol error.
    DownstreamProtocolError,
    /// UPE: upstream protocol error.
    UpstreamProtocolError,
    /// OM: overload manager (we shed).
    OverloadManager,
}

impl Flag {
    /// Every flag, in the order of their letters in a log.
    pub const ALL: [Self; 17] = [
        Self::NoHealthyUpstream,
        Self::UpstreamConnectionFailure,
        Self::UpstreamOverflow,
        Self::NoRoute,
        Self::UpstreamRetryLimitExceeded,
        Self::NoCluster,
        Self::DurationTimeout,
        Self::DownstreamConnectionTermination,
        Self::UpstreamRequestTimeout,
        Self::LocalReset,
        Self::UpstreamRemoteReset,
        Self::UpstreamConnectionTermination,
        Self::RateLimited,
        Self::StreamIdleTimeout,
        Self::DownstreamProtocolError,
        Self::UpstreamProtocolError,
        Self::OverloadManager,
    ];

    /// Envoy's letters.
    pub fn letters(self) -> &'static str {
        match self {
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamOverflow => "UO",
            Self::NoRoute => "NR",
            Self::UpstreamRetryLimitExceeded => "URX",
            Self::NoCluster => "NC",
            Self::DurationTimeout => "DT",
            Self::DownstreamConnectionTermination => "DC",
            Self::UpstreamRequestTimeout => "UT",
            Self::LocalReset => "LR",
            Self::UpstreamRemoteReset => "UR",
            Self::UpstreamConnectionTermination => "UC",
            Self::RateLimited => "RL",
            Self::StreamIdleTimeout => "SI",
            Self::DownstreamProtocolError => "DPE",
            Self::UpstreamProtocolError => "UPE",
            Self::OverloadManager => "OM",
        }
    }
}

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// Adds a flag.
    pub fn insert(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u32;
    }

    /// Adds all flags of another set.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether a flag is there.
    pub fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u32) != 0
    }

    /// The flags that are there.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |flag| self.contains(*flag))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        let mut flags = Self::default();
        flags.insert(flag);
        flags
    }
}

impl fmt::Display for Flags {
    /// Comma-separated letters; `-` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut separator = "";
        for flag in self.iter() {
            write!(f, "{separator}{}", flag.letters())?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_show_as_envoys_letters() {
        let mut flags = Flags::default();
        assert_eq!(flags.to_string(), "-");
        flags.insert(Flag::UpstreamRetryLimitExceeded);
        flags.insert(Flag::UpstreamConnectionFailure);
        assert_eq!(flags.to_string(), "UF,URX");
        assert!(
            Flag::ALL.iter().enumerate().all(|(index, flag)| *flag as usize == index),
            "every flag is listed"
        );
    }
}
