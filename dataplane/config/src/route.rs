//! Routes: which requests or connections of which listeners go to which clusters, and what happens on the way.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::{ClusterKey, Filter, HostPattern, HttpMatch, ListenerKey, RouteKey, Weighted};

/// Any route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Route {
    /// HTTP and gRPC requests.
    Http(HttpRoute),
    /// TLS connections by SNI.
    Tls(TlsRoute),
    /// TCP connections.
    Tcp(L4Route),
    /// UDP sessions.
    Udp(L4Route),
}

impl Route {
    /// The route's name.
    pub fn key(&self) -> &RouteKey {
        match self {
            Self::Http(route) => &route.key,
            Self::Tls(route) => &route.key,
            Self::Tcp(route) | Self::Udp(route) => &route.key,
        }
    }
}

/// When a route was created, in seconds since 1970: the older wins a tie (checklist M2 g).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RouteAge(pub i64);

/// An HTTPRoute or GRPCRoute as attached to its listeners.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpRoute {
    /// Its name; ties in age are decided by it.
    pub key: RouteKey,
    /// HTTP or gRPC: how errors of ours are told.
    pub kind: HttpKind,
    /// Its age.
    pub created: RouteAge,
    /// Where it is attached.
    pub attachments: Vec<Attachment>,
    /// Its rules, in order.
    pub rules: Vec<Arc<HttpRule>>,
}

/// What kind of requests a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum HttpKind {
    /// Plain HTTP.
    Http,
    /// gRPC: errors of ours carry `grpc-status`.
    Grpc,
}

/// One listener a route is attached to, with the hosts that both are for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attachment {
    /// The listener.
    pub listener: ListenerKey,
    /// The intersection of the listener's and the route's hostnames; never empty.
    pub hostnames: Vec<HostPattern>,
}

/// A rule of an HTTP route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpRule {
    /// Its name, if it has one; shown in logs and by `explain`.
    pub name: Option<Arc<str>>,
    /// Any of these; never empty.
    pub matches: Vec<HttpMatch>,
    /// In order.
    pub filters: Vec<Filter>,
    /// Where requests go. `None` (no backend, or no positive weight): 500, unless a filter answers.
    pub backends: Option<Weighted<Backend>>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retry: Option<Retry>,
    /// Largest request body, before the listener's limit; larger ones are answered 413.
    pub request_body_bytes_max: Option<u64>,
}

/// A weighted choice of a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Backend {
    /// Where to.
    pub target: BackendTarget,
    /// Filters for this backend alone, after the rule's (checklist F2).
    pub filters: Vec<Filter>,
}

/// Where a share of the traffic goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum BackendTarget {
    /// To a cluster.
    Cluster(ClusterKey),
    /// Nowhere: the reference is invalid, so this share is answered 500 (checklist B1).
    Invalid,
}

/// The timeouts of a rule; absent ones are not enforced, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// From the request's arrival to the end of the response, retries included (checklist TR1).
    #[serde(serialize_with = "crate::show::option_duration")]
    pub request: Option<Duration>,
    /// For each attempt (checklist TR2).
    #[serde(serialize_with = "crate::show::option_duration")]
    pub backend_request: Option<Duration>,
}

/// When an attempt is repeated by policy (checklist TR5 to TR8).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retry {
    /// Response statuses that are retried; sorted, 400 to 599.
    pub codes: Vec<u16>,
    /// How many retries follow the first try.
    pub attempts: u32,
    /// The least wait before each retry.
    #[serde(serialize_with = "crate::show::option_duration")]
    pub backoff: Option<Duration>,
}

/// A TLSRoute: connections by SNI (checklist L4-1, L4-2).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TlsRoute {
    /// Its name.
    pub key: RouteKey,
    /// Its age.
    pub created: RouteAge,
    /// Where it is attached.
    pub attachments: Vec<Attachment>,
    /// Where connections go; `None`: they are reset.
    pub backends: Option<Weighted<BackendTarget>>,
}

/// A TCPRoute or UDPRoute. Of several on one listener the oldest serves (checklist R10).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct L4Route {
    /// Its name.
    pub key: RouteKey,
    /// Its age.
    pub created: RouteAge,
    /// Where it is attached.
    pub listeners: Vec<ListenerKey>,
    /// Where connections or sessions go; `None`: they are reset or dropped.
    pub backends: Option<Weighted<BackendTarget>>,
}
