//! What is fixed for the life of a connection: where it came in, from whom, and what its handshake showed.

use std::net::SocketAddr;
use std::sync::Arc;

use ringway_config::{Bind, ListenerKey};

/// Facts about a downstream connection; every request on it shares them.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// The bind that accepted it.
    pub bind: Bind,
    /// The address it was made to.
    pub local: SocketAddr,
    /// The address it was made to before it was redirected to us (a sidecar), else `None`.
    pub original_destination: Option<SocketAddr>,
    /// The client: from PROXY protocol where the listener asks for it, else the socket's.
    pub client: SocketAddr,
    /// Whether forwarded headers of this sender are believed: `client` is in `trustedProxies`.
    pub trusted: bool,
    /// `https` when TLS was ended here.
    pub scheme: Scheme,
    /// The TLS server name, canonical.
    pub sni: Option<Arc<str>>,
    /// The listener whose certificate was shown. `None` without TLS: then each request's host decides.
    pub listener: Option<ListenerKey>,
    /// The verified client certificate.
    pub peer: Option<Arc<PeerIdentity>>,
}

/// A client certificate that was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// DNS names of the certificate.
    pub dns_names: Vec<String>,
    /// URIs of the certificate, such as `spiffe://…`.
    pub uris: Vec<String>,
}

/// The URI scheme of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is left out of URIs.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}
