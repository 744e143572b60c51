//! What a proxy can be told to do: listeners, routes, clusters, endpoint sets and certificates.
//!
//! Every value is valid by construction, so the proxy never checks one again. Nothing here knows where a value
//! came from (Gateway API, a flag, the wire) or what is done with it (`ringway-core` compiles and decides).
//! It never reads a clock, a file or a socket. Start at [`Config`], then [`Listener`], [`HttpRoute`], [`Cluster`].
#![forbid(unsafe_code)]

mod cluster;
mod filter;
mod host;
mod key;
mod listener;
mod matching;
mod path;
mod plane;
mod route;
mod secret;
mod show;
mod state;
mod weighted;

pub use cluster::{
    Balance, Cluster, ClusterLimits, Endpoint, EndpointSet, EndpointSource, Outlier, Trust, UpstreamProtocol,
    UpstreamTls, VerifyName,
};
pub use filter::{
    Cors, CorsOrigin, Filter, Fraction, HeaderEdits, Mirror, PathRewrite, Redirect, RedirectStatus, Rewrite,
    Wildcard,
};
pub use host::{Host, HostError, HostPattern};
pub use key::{CertificateKey, ClusterKey, EndpointSetKey, GatewayKey, ListenerKey, RouteKey};
pub use listener::{
    Bind, ClientValidation, ClientValidationMode, Listener, ListenerProtocol, TlsTermination, Transport,
};
pub use matching::{
    GrpcMatch, HeaderMatch, HttpMatch, PathMatch, Pattern, PatternError, QueryMatch, ValueMatch,
};
pub use path::{CanonicalPath, PathError, PathPrefix, write_canonical_path};
pub use plane::{Applied, DataPlane, FailedBind, PlaneProblem};
pub use route::{
    Attachment, Backend, BackendTarget, HttpKind, HttpRoute, HttpRule, L4Route, Retry, Route, RouteAge,
    Timeouts, TlsRoute,
};
pub use secret::{Certificate, Der, PrivateKey};
pub use state::{Config, Delta, Resource, ResourceKey, differing, pack};
pub use weighted::Weighted;
