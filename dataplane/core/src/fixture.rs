//! Configurations and requests for tests, in a line each. A core's live cluster is its name.

use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{
    Attachment, Backend, BackendTarget, Balance, Bind, CanonicalPath, CertificateKey, Cluster, ClusterKey,
    ClusterLimits, Config, EndpointSetKey, Filter, GatewayKey, GrpcMatch, HostPattern, HttpKind, HttpMatch,
    HttpRoute, HttpRule, L4Route, Listener, ListenerKey, ListenerProtocol, PathMatch, PathPrefix, Pattern,
    Route, RouteAge, RouteKey, Timeouts, TlsRoute, TlsTermination, Transport, UpstreamProtocol, ValueMatch,
    Weighted,
};

use crate::arrival::{Arrival, Scheme};
use crate::compiled::Compiled;
use crate::decision::Decision;
use crate::message::RequestHead;
use crate::route::{L4Decision, View};

pub(crate) fn bind(port: u16) -> Bind {
    Bind { address: None, port, transport: Transport::Tcp }
}

pub(crate) fn pattern(text: &str) -> HostPattern {
    match text {
        "" | "*" => HostPattern::Any,
        text => HostPattern::parse(text).unwrap(),
    }
}

pub(crate) fn termination() -> TlsTermination {
    TlsTermination { certificates: vec![CertificateKey::new("Secret/ns/cert")], client: None }
}

pub(crate) fn listener(name: &str, port: u16, protocol: ListenerProtocol, hostname: &str) -> Listener {
    let transport = if protocol == ListenerProtocol::Udp { Transport::Udp } else { Transport::Tcp };
    Listener {
        key: ListenerKey::new(name),
        gateway: GatewayKey::new("ns/gateway"),
        binds: vec![Bind { transport, ..bind(port) }],
        protocol,
        hostname: pattern(hostname),
        proxy_protocol: false,
        request_body_bytes_max: None,
    }
}

pub(crate) fn http_listener(name: &str, hostname: &str) -> Listener {
    listener(name, 80, ListenerProtocol::Http, hostname)
}

/// A path as tests write it: `=/exact`, `/prefix`, `~regex`, `grpc:service/method` (either may be empty or `~regex`).
pub(crate) fn path(text: &str) -> PathMatch {
    let part = |text: &str| match text.strip_prefix('~') {
        _ if text.is_empty() => None,
        Some(source) => Some(ValueMatch::Regex(Pattern::parse(source).unwrap())),
        None => Some(ValueMatch::Exact(text.into())),
    };
    if let Some(exact) = text.strip_prefix('=') {
        PathMatch::Exact(CanonicalPath::parse(exact).unwrap())
    } else if let Some(source) = text.strip_prefix('~') {
        PathMatch::Regex(Pattern::parse(source).unwrap())
    } else if let Some(grpc) = text.strip_prefix("grpc:") {
        let (service, method) = grpc.split_once('/').unwrap();
        PathMatch::Grpc(Box::new(GrpcMatch { service: part(service), method: part(method) }))
    } else {
        PathMatch::Prefix(PathPrefix::parse(text).unwrap())
    }
}

pub(crate) fn matching(text: &str) -> HttpMatch {
    HttpMatch { path: path(text), ..HttpMatch::anything() }
}

pub(crate) fn target(cluster: &str) -> BackendTarget {
    match cluster {
        "!" => BackendTarget::Invalid,
        name => BackendTarget::Cluster(ClusterKey::new(name)),
    }
}

pub(crate) fn backend(cluster: &str) -> Backend {
    Backend { target: target(cluster), filters: vec![] }
}

/// A rule that sends what matches to one cluster.
pub(crate) fn rule(matches: Vec<HttpMatch>, cluster: &str) -> HttpRule {
    rule_with(matches, vec![], Weighted::new(vec![(backend(cluster), 1)]))
}

pub(crate) fn rule_with(
    matches: Vec<HttpMatch>,
    filters: Vec<Filter>,
    backends: Option<Weighted<Backend>>,
) -> HttpRule {
    HttpRule {
        name: None,
        matches,
        filters,
        backends,
        timeouts: Timeouts::default(),
        retry: None,
        request_body_bytes_max: None,
    }
}

pub(crate) fn attachments(places: &[(&str, &[&str])]) -> Vec<Attachment> {
    let attachment = |(listener, hostnames): &(&str, &[&str])| Attachment {
        listener: ListenerKey::new(*listener),
        hostnames: hostnames.iter().map(|text| pattern(text)).collect(),
    };
    places.iter().map(attachment).collect()
}

pub(crate) fn http_route(name: &str, age: i64, places: &[(&str, &[&str])], rules: Vec<HttpRule>) -> Route {
    Route::Http(HttpRoute {
        key: RouteKey::new(name),
        kind: HttpKind::Http,
        created: RouteAge(age),
        attachments: attachments(places),
        rules: rules.into_iter().map(Arc::new).collect(),
    })
}

pub(crate) fn tls_route(name: &str, age: i64, places: &[(&str, &[&str])], backends: &[(&str, u32)]) -> Route {
    Route::Tls(TlsRoute {
        key: RouteKey::new(name),
        created: RouteAge(age),
        attachments: attachments(places),
        backends: Weighted::new(backends.iter().map(|(name, weight)| (target(name), *weight)).collect()),
    })
}

pub(crate) fn l4_route(name: &str, age: i64, listeners: &[&str], backends: &[(&str, u32)]) -> L4Route {
    L4Route {
        key: RouteKey::new(name),
        created: RouteAge(age),
        listeners: listeners.iter().map(|name| ListenerKey::new(*name)).collect(),
        backends: Weighted::new(backends.iter().map(|(name, weight)| (target(name), *weight)).collect()),
    }
}

pub(crate) fn cluster(name: &str) -> Cluster {
    Cluster {
        key: ClusterKey::new(name),
        endpoints: EndpointSetKey::new(name),
        protocol: UpstreamProtocol::Http1,
        tls: None,
        balance: Balance::default(),
        limits: ClusterLimits::default(),
        outlier: None,
        connect_timeout: std::time::Duration::from_secs(1),
    }
}

pub(crate) fn config(listeners: Vec<Listener>, routes: Vec<Route>) -> Config {
    let mut config = Config::default();
    for listener in listeners {
        config.listeners.insert(listener.key.clone(), Arc::new(listener));
    }
    for route in routes {
        config.routes.insert(route.key().clone(), Arc::new(route));
    }
    config
}

/// A view in which every cluster is there.
pub(crate) fn view_of(compiled: Arc<Compiled>) -> View<String> {
    View::new(compiled, Rc::new(|key: &ClusterKey| Some(Rc::new(key.to_string()))))
}

pub(crate) fn view(listeners: Vec<Listener>, routes: Vec<Route>) -> View<String> {
    view_of(Arc::new(Compiled::from_nothing(&config(listeners, routes))))
}

/// A connection without TLS to a port.
pub(crate) fn plain(port: u16) -> Arrival {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Arrival {
        bind: bind(port),
        local: any,
        original_destination: None,
        client: any,
        trusted: false,
        scheme: Scheme::Http,
        sni: None,
        listener: None,
        peer: None,
    }
}

/// A connection that was shown the certificate of a listener.
pub(crate) fn secure(port: u16, listener: &str) -> Arrival {
    Arrival { scheme: Scheme::Https, listener: Some(ListenerKey::new(listener)), ..plain(port) }
}

/// A request: `METHOD host/path?query`, and its fields.
pub(crate) fn request(line: &str, fields: &[(&str, &str)]) -> RequestHead {
    let (method, target) = line.split_once(' ').unwrap();
    let (host, rest) = target.split_at(target.find('/').unwrap_or(target.len()));
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let mut head = RequestHead::new();
    head.method = method.parse().unwrap();
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().unwrap())),
        None => (host, None),
    };
    head.set_authority(host, port);
    head.set_path(path);
    head.set_query(query);
    for (name, value) in fields {
        head.fields.append(name.as_bytes(), value.as_bytes());
    }
    head
}

pub(crate) fn get(target: &str) -> RequestHead {
    request(&format!("GET {target}"), &[])
}

/// What a decision comes to: the cluster, or the status.
pub(crate) fn outcome(decision: &Decision<String>) -> String {
    match decision {
        Decision::Forward(forward) => forward.cluster().unwrap().1.to_string(),
        Decision::Answer(answer) => answer.status.as_u16().to_string(),
    }
}

pub(crate) fn l4_outcome(decision: &L4Decision<String>) -> String {
    match decision {
        L4Decision::Forward(forward) => forward.cluster().to_string(),
        L4Decision::Reject(refusal) => refusal.details.to_string(),
    }
}
