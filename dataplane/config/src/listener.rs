//! Where traffic enters: an address and port, the protocol spoken there, and the host names it is for.

use std::net::IpAddr;

use serde::Serialize;

use crate::{CertificateKey, Der, GatewayKey, HostPattern, ListenerKey};

/// One listener. Several share a [`Bind`]; which one serves a connection or request is decided by SNI and host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Its name.
    pub key: ListenerKey,
    /// The gateway whose address it is served on.
    pub gateway: GatewayKey,
    /// The sockets it is reached by; never empty.
    pub binds: Vec<Bind>,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// The hosts it is for.
    pub hostname: HostPattern,
    /// Connections begin with a PROXY protocol header (version 1 or 2); those without one are refused.
    pub proxy_protocol: bool,
    /// Largest request body; larger ones are answered 413. `None`: no limit.
    pub request_body_bytes_max: Option<u64>,
}

/// A socket address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Bind {
    /// `None`: every address of the machine, both families.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
}

/// The transport of a [`Bind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Transport {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What a listener speaks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ListenerProtocol {
    /// HTTP/1.x, and HTTP/2 by prior knowledge.
    Http,
    /// The same over TLS, HTTP/2 by ALPN.
    Https(TlsTermination),
    /// TLS ended here, plain TCP to the backend chosen by SNI.
    TlsTerminate(TlsTermination),
    /// TLS passed on untouched to the backend chosen by SNI.
    TlsPassthrough,
    /// Plain TCP.
    Tcp,
    /// UDP sessions.
    Udp,
}

/// How TLS from clients is ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TlsTermination {
    /// Certificates to choose from by SNI; never empty. The first is the default.
    pub certificates: Vec<CertificateKey>,
    /// Whether and how client certificates are asked for.
    pub client: Option<ClientValidation>,
}

/// How client certificates are validated (checklist TLS10 to TLS13).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClientValidation {
    /// Trust anchors, DER; never empty.
    pub authorities: Vec<Der>,
    /// What happens without a valid certificate.
    pub mode: ClientValidationMode,
}

/// What happens to a client without a valid certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ClientValidationMode {
    /// The handshake fails.
    AllowValidOnly,
    /// The handshake succeeds; the client has no verified identity.
    AllowInsecureFallback,
}
