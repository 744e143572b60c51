//! Why a request was not answered as it should be: a closed set, so that errors are counted by cause and never by text.

use std::fmt;
use std::io;

/// What went wrong with a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Nobody listens there.
    Refused,
    /// No way there.
    Unreachable,
    /// Every local port that may be used is in use.
    NoLocalPort,
    /// No more files may be opened.
    NoFiles,
    /// The TLS handshake failed.
    Handshake,
    /// A record could not be read, or an alert came.
    Tls,
    /// HTTP/2 was offered and not chosen.
    NoHttp2,
    /// A full handshake where a resumed one was due.
    NotResumed,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was whole.
    Closed,
    /// The stream was reset, with this code.
    StreamReset(u32),
    /// The connection was given up by the other side (GOAWAY), with this code.
    GoAway(u32),
    /// Nothing, or not all, came in time.
    Timeout,
    /// It waited so long for a free connection that it was never sent.
    Unsent,
    /// The answer's status says that it failed.
    Status(u16),
    /// The gRPC status says that it failed.
    GrpcStatus(u16),
    /// The answer has another size than it should.
    Size,
    /// What came is not what is spoken.
    Malformed(&'static str),
    /// Anything else the kernel says.
    Io(io::ErrorKind),
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => out.write_str("connect refused"),
            Self::Unreachable => out.write_str("unreachable"),
            Self::NoLocalPort => out.write_str("no local port"),
            Self::NoFiles => out.write_str("too many open files"),
            Self::Handshake => out.write_str("handshake"),
            Self::Tls => out.write_str("tls"),
            Self::NoHttp2 => out.write_str("no http/2 by alpn"),
            Self::NotResumed => out.write_str("not resumed"),
            Self::Reset => out.write_str("reset"),
            Self::Closed => out.write_str("closed"),
            Self::StreamReset(code) => write!(out, "stream reset {code}"),
            Self::GoAway(code) => write!(out, "goaway {code}"),
            Self::Timeout => out.write_str("timeout"),
            Self::Unsent => out.write_str("timeout unsent"),
            Self::Status(status) => write!(out, "status {status}"),
            Self::GrpcStatus(status) => write!(out, "grpc-status {status}"),
            Self::Size => out.write_str("size"),
            Self::Malformed(what) => write!(out, "malformed {what}"),
            Self::Io(kind) => write!(out, "{kind}"),
        }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::AddrNotAvailable => Self::NoLocalPort,
            io::ErrorKind::TimedOut => Self::Timeout,
            kind => match error.raw_os_error() {
                Some(24 | 23) => Self::NoFiles,
                _ => Self::Io(kind),
            },
        }
    }
}
