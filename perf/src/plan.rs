//! What a run is to do, settled before it begins and kept with its outcome.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One run: one target, one protocol, one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Where to: `http://host:port/path`, `https://…` or `tcp://host:port`.
    pub target: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS, if the target asks for it.
    pub tls: Option<Tls>,
    /// How requests are offered.
    pub load: Load,
    /// Connections, over all threads.
    pub connections: usize,
    /// Streams at a time on each connection (HTTP/2 and gRPC; 1 for all else).
    pub streams: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Load before anything is recorded.
    pub warmup: Duration,
    /// Recorded load.
    pub duration: Duration,
    /// How long an answer may take before the request counts as timed out.
    pub timeout: Duration,
    /// Bytes of the body of each request or message.
    pub request_bytes: usize,
    /// Bytes that each response body must have; another size is an error. `None`: any.
    pub response_bytes: Option<usize>,
    /// Fields of each request.
    pub headers: Vec<(String, String)>,
    /// Of the arrivals that are drawn.
    pub seed: u64,
}

/// What is spoken with the target, and what one request of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A request and its response over kept connections.
    Http1,
    /// The same over streams of kept connections: by ALPN over TLS, by prior knowledge without.
    Http2,
    /// A unary call.
    Grpc,
    /// One message to and fro on a long bidirectional stream.
    GrpcStream,
    /// One message to and fro on a WebSocket.
    WebSocket,
    /// `request_bytes` to and fro on a kept TCP connection.
    TcpPing,
    /// Bytes in one direction, as fast as they are taken. A request is `request_bytes` of them.
    TcpBulk,
    /// A new TCP connection (over TLS: with a full handshake), one HTTP/1.1 request, and its close.
    Connect,
    /// The same with a resumed session.
    ConnectResumed,
    /// Connections that each make one request and then stay open in silence.
    Idle,
}

/// How requests are offered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Load {
    /// Each is due at a time that was settled before the run, whatever the server does.
    Open {
        /// Requests a second, over all connections.
        rate: f64,
        /// The times between them.
        arrivals: Arrivals,
    },
    /// The next leaves when the last one was answered.
    Closed,
}

/// The times between requests of an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// All the same.
    Constant,
    /// Drawn as if clients did not know of each other.
    Poisson,
}

/// What the generator offers in its handshakes. It decides for every contestant alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The name to ask for and verify; the target's host if none is given.
    pub server_name: Option<String>,
    /// A file of trust anchors (PEM). `None`: any certificate is taken, as most benchmarks do.
    pub ca: Option<PathBuf>,
    /// The client's certificates and key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Offer X25519MLKEM768 instead of X25519.
    pub hybrid: bool,
}
