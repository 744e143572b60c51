//! Where traffic leaves: a set of endpoints and how they are spoken to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::{CertificateKey, ClusterKey, Der, EndpointSetKey};

/// A backend service as one way of speaking to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// Its name.
    pub key: ClusterKey,
    /// Its endpoints.
    pub endpoints: EndpointSetKey,
    /// What is spoken.
    pub protocol: UpstreamProtocol,
    /// TLS to the endpoints, if asked for. Never falls back to plain text.
    pub tls: Option<UpstreamTls>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// How much may be under way at once, over all cores.
    pub limits: ClusterLimits,
    /// When an endpoint is left out for a while.
    pub outlier: Option<Outlier>,
    /// How long a connection may take to be made.
    #[serde(serialize_with = "crate::show::duration")]
    pub connect_timeout: Duration,
}

/// What is spoken to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum UpstreamProtocol {
    /// HTTP/1.1. Over TLS, HTTP/1.1 is all that ALPN offers.
    Http1,
    /// HTTP/2: prior knowledge, or over TLS by ALPN.
    Http2,
    /// Bytes: TCP, or datagrams for a UDP route.
    Opaque,
}

/// How TLS to the endpoints is made (checklist TLS1 to TLS3, TLS9).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamTls {
    /// The server name sent.
    pub sni: Arc<str>,
    /// What the certificate must be for.
    pub verify: VerifyName,
    /// Who may have issued it.
    pub trust: Trust,
    /// What we show when asked.
    pub client_certificate: Option<CertificateKey>,
}

/// What an upstream certificate must name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum VerifyName {
    /// The SNI host.
    Sni,
    /// At least one of these subject alternative names.
    AnyOf {
        /// DNS names; a leading `*.` in the certificate covers one label.
        hostnames: Vec<Arc<str>>,
        /// URIs, compared byte for byte (`spiffe://…`).
        uris: Vec<Arc<str>>,
    },
}

/// Trust anchors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Trust {
    /// Those of the machine.
    System,
    /// These, DER; never empty.
    Roots(Vec<Der>),
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum Balance {
    /// The better of two drawn endpoints by peak-EWMA latency times requests under way.
    #[default]
    PeakEwma,
    /// In turn.
    RoundRobin,
    /// The better of two drawn endpoints by requests under way.
    LeastRequests,
}

/// Limits over all cores; `None` is no limit. Past them requests are answered 503 with flag `UO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClusterLimits {
    /// Connections.
    pub connections_max: Option<u32>,
    /// Requests that wait for a connection.
    pub pending_max: Option<u32>,
    /// Requests under way.
    pub requests_max: Option<u32>,
}

/// When an endpoint is ejected: after so many failures in a row (a 5xx of the gateway kind, a reset, no connection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outlier {
    /// How many failures in a row.
    pub consecutive_failures: u32,
    /// The first ejection's length; it doubles with each further one.
    #[serde(serialize_with = "crate::show::duration")]
    pub ejection_min: Duration,
    /// The longest ejection.
    #[serde(serialize_with = "crate::show::duration")]
    pub ejection_max: Duration,
    /// The largest share of a set that is ejected at once, in percent.
    pub ejected_percent_max: u8,
}

impl Default for Outlier {
    /// Linkerd's failure accrual: 7 in a row, 1 s to 60 s; at most half of the endpoints.
    fn default() -> Self {
        Self {
            consecutive_failures: 7,
            ejection_min: Duration::from_secs(1),
            ejection_max: Duration::from_secs(60),
            ejected_percent_max: 50,
        }
    }
}

/// The endpoints of a backend port.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointSet {
    /// Its name.
    pub key: EndpointSetKey,
    /// Where the endpoints come from.
    pub source: EndpointSource,
}

/// Where the endpoints of a set come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum EndpointSource {
    /// Listed; sorted by address, no duplicates; may be empty (503).
    Listed(Vec<Endpoint>),
    /// Resolved by the proxy, again and again.
    Dns {
        /// The name.
        host: Arc<str>,
        /// The port of every address found.
        port: u16,
    },
}

/// One endpoint that takes traffic. Those that are not ready are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
}
