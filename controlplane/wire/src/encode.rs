//! From configuration to the wire. The same value always gives the same bytes: no message holds a map.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use ringway_config as config;
use ringway_config::{Resource, ResourceKey};

use crate::proto;

/// One resource as bytes.
pub fn encode(resource: &Resource) -> Bytes {
    use proto::resource::Kind;

    let kind = match resource {
        Resource::Certificate(value) => Kind::Certificate(certificate(value)),
        Resource::EndpointSet(value) => Kind::EndpointSet(endpoint_set(value)),
        Resource::Cluster(value) => Kind::Cluster(cluster(value)),
        Resource::Listener(value) => Kind::Listener(listener(value)),
        Resource::Route(value) => Kind::Route(route(value)),
    };
    proto::Resource { kind: Some(kind) }.encode_to_vec().into()
}

/// The name of a resource.
pub fn encode_name(key: &ResourceKey) -> proto::Name {
    let (kind, key) = match key {
        ResourceKey::Certificate(key) => (proto::Kind::Certificate, key.as_str()),
        ResourceKey::EndpointSet(key) => (proto::Kind::EndpointSet, key.as_str()),
        ResourceKey::Cluster(key) => (proto::Kind::Cluster, key.as_str()),
        ResourceKey::Listener(key) => (proto::Kind::Listener, key.as_str()),
        ResourceKey::Route(key) => (proto::Kind::Route, key.as_str()),
    };
    proto::Name { kind: kind.into(), key: key.to_owned() }
}

fn certificate(value: &config::Certificate) -> proto::Certificate {
    proto::Certificate {
        key: value.key.to_string(),
        chain: ders(&value.chain),
        private_key: Bytes::copy_from_slice(value.private_key.expose()),
    }
}

fn endpoint_set(value: &config::EndpointSet) -> proto::EndpointSet {
    use proto::endpoint_set::{Dns, Listed, Source};

    let source = match &value.source {
        config::EndpointSource::Listed(endpoints) => {
            Source::Listed(Listed { addresses: endpoints.iter().map(|it| socket(it.address)).collect() })
        }
        config::EndpointSource::Dns { host, port } => {
            Source::Dns(Dns { host: host.to_string(), port: (*port).into() })
        }
    };
    proto::EndpointSet { key: value.key.to_string(), source: Some(source) }
}

fn cluster(value: &config::Cluster) -> proto::Cluster {
    let protocol = match value.protocol {
        config::UpstreamProtocol::Http1 => proto::UpstreamProtocol::Http1,
        config::UpstreamProtocol::Http2 => proto::UpstreamProtocol::Http2,
        config::UpstreamProtocol::Opaque => proto::UpstreamProtocol::Opaque,
    };
    let balance = match value.balance {
        config::Balance::PeakEwma => proto::Balance::PeakEwma,
        config::Balance::RoundRobin => proto::Balance::RoundRobin,
        config::Balance::LeastRequests => proto::Balance::LeastRequests,
    };
    proto::Cluster {
        key: value.key.to_string(),
        endpoints: value.endpoints.to_string(),
        protocol: protocol.into(),
        tls: value.tls.as_ref().map(upstream_tls),
        balance: balance.into(),
        connections_max: value.limits.connections_max,
        pending_max: value.limits.pending_max,
        requests_max: value.limits.requests_max,
        outlier: value.outlier.as_ref().map(outlier),
        connect_timeout_us: micros(value.connect_timeout),
    }
}

fn upstream_tls(value: &config::UpstreamTls) -> proto::UpstreamTls {
    use proto::upstream_tls::{Names, Roots, Trust};

    let names = match &value.verify {
        config::VerifyName::Sni => None,
        config::VerifyName::AnyOf { hostnames, uris } => {
            Some(Names { hostnames: texts(hostnames), uris: texts(uris) })
        }
    };
    let trust = match &value.trust {
        config::Trust::System => Trust::System(proto::Nothing {}),
        config::Trust::Roots(roots) => Trust::Roots(Roots { certificates: ders(roots) }),
    };
    proto::UpstreamTls {
        sni: value.sni.to_string(),
        names,
        trust: Some(trust),
        client_certificate: value.client_certificate.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn outlier(value: &config::Outlier) -> proto::Outlier {
    proto::Outlier {
        consecutive_failures: value.consecutive_failures,
        ejection_min_us: micros(value.ejection_min),
        ejection_max_us: micros(value.ejection_max),
        ejected_percent_max: value.ejected_percent_max.into(),
    }
}

fn listener(value: &config::Listener) -> proto::Listener {
    use proto::listener::Protocol;

    let nothing = proto::Nothing {};
    let protocol = match &value.protocol {
        config::ListenerProtocol::Http => Protocol::Http(nothing),
        config::ListenerProtocol::Https(tls) => Protocol::Https(termination(tls)),
        config::ListenerProtocol::TlsTerminate(tls) => Protocol::TlsTerminate(termination(tls)),
        config::ListenerProtocol::TlsPassthrough => Protocol::TlsPassthrough(nothing),
        config::ListenerProtocol::Tcp => Protocol::Tcp(nothing),
        config::ListenerProtocol::Udp => Protocol::Udp(nothing),
    };
    proto::Listener {
        key: value.key.to_string(),
        gateway: value.gateway.to_string(),
        binds: value.binds.iter().map(bind).collect(),
        protocol: Some(protocol),
        hostname: value.hostname.to_string(),
        proxy_protocol: value.proxy_protocol,
        request_body_bytes_max: value.request_body_bytes_max,
    }
}

fn bind(value: &config::Bind) -> proto::Bind {
    let transport = match value.transport {
        config::Transport::Tcp => proto::Transport::Tcp,
        config::Transport::Udp => proto::Transport::Udp,
    };
    proto::Bind {
        address: value.address.map(|address| ip(address).into()).unwrap_or_default(),
        port: value.port.into(),
        transport: transport.into(),
    }
}

fn termination(value: &config::TlsTermination) -> proto::TlsTermination {
    use proto::client_validation::Mode;

    let client = value.client.as_ref().map(|client| {
        let mode = match client.mode {
            config::ClientValidationMode::AllowValidOnly => Mode::AllowValidOnly,
            config::ClientValidationMode::AllowInsecureFallback => Mode::AllowInsecureFallback,
        };
        proto::ClientValidation { authorities: ders(&client.authorities), mode: mode.into() }
    });
    proto::TlsTermination { certificates: texts(&value.certificates), client }
}

fn route(value: &config::Route) -> proto::Route {
    use proto::route::Kind;

    let (created, kind) = match value {
        config::Route::Http(route) => (route.created, Kind::Http(http_route(route))),
        config::Route::Tls(route) => {
            let attachments = route.attachments.iter().map(attachment).collect();
            (route.created, Kind::Tls(proto::TlsRoute { attachments, backends: targets(&route.backends) }))
        }
        config::Route::Tcp(route) => (route.created, Kind::Tcp(l4_route(route))),
        config::Route::Udp(route) => (route.created, Kind::Udp(l4_route(route))),
    };
    proto::Route { key: value.key().to_string(), created: created.0, kind: Some(kind) }
}

fn http_route(value: &config::HttpRoute) -> proto::HttpRoute {
    proto::HttpRoute {
        grpc: value.kind == config::HttpKind::Grpc,
        attachments: value.attachments.iter().map(attachment).collect(),
        rules: value.rules.iter().map(|rule| http_rule(rule)).collect(),
    }
}

fn l4_route(value: &config::L4Route) -> proto::L4Route {
    proto::L4Route { listeners: texts(&value.listeners), backends: targets(&value.backends) }
}

fn attachment(value: &config::Attachment) -> proto::Attachment {
    proto::Attachment { listener: value.listener.to_string(), hostnames: texts(&value.hostnames) }
}

fn http_rule(value: &config::HttpRule) -> proto::HttpRule {
    let backends =
        value.backends.iter().flat_map(|backends| backends.iter()).map(|(backend, weight)| proto::Backend {
            target: Some(target(&backend.target, weight)),
            filters: backend.filters.iter().map(filter).collect(),
        });
    proto::HttpRule {
        name: value.name.as_deref().unwrap_or_default().to_owned(),
        matches: value.matches.iter().map(http_match).collect(),
        filters: value.filters.iter().map(filter).collect(),
        backends: backends.collect(),
        request_timeout_us: value.timeouts.request.map(micros),
        backend_request_timeout_us: value.timeouts.backend_request.map(micros),
        retry: value.retry.as_ref().map(|retry| proto::Retry {
            codes: retry.codes.iter().map(|code| (*code).into()).collect(),
            attempts: retry.attempts,
            backoff_us: retry.backoff.map(micros),
        }),
        request_body_bytes_max: value.request_body_bytes_max,
    }
}

fn targets(value: &Option<config::Weighted<config::BackendTarget>>) -> Vec<proto::Target> {
    value.iter().flat_map(|targets| targets.iter()).map(|(to, weight)| target(to, weight)).collect()
}

fn target(value: &config::BackendTarget, weight: u32) -> proto::Target {
    let cluster = match value {
        config::BackendTarget::Cluster(key) => key.to_string(),
        config::BackendTarget::Invalid => String::new(),
    };
    proto::Target { cluster, weight }
}

fn http_match(value: &config::HttpMatch) -> proto::HttpMatch {
    use proto::http_match::Path;

    let path = match &value.path {
        config::PathMatch::Exact(path) => Path::Exact(path.as_str().to_owned()),
        config::PathMatch::Prefix(prefix) => Path::Prefix(prefix.as_str().to_owned()),
        config::PathMatch::Regex(pattern) => Path::Regex(pattern.source().to_owned()),
        config::PathMatch::Grpc(grpc) => Path::Grpc(proto::GrpcMethod {
            service: grpc.service.as_ref().map(value_match),
            method: grpc.method.as_ref().map(value_match),
        }),
    };
    let named =
        |name: &str, value| proto::NamedValue { name: name.to_owned(), value: Some(value_match(value)) };
    proto::HttpMatch {
        path: Some(path),
        method: value.method.as_ref().map(ToString::to_string).unwrap_or_default(),
        headers: value.headers.iter().map(|header| named(header.name.as_str(), &header.value)).collect(),
        query: value.query.iter().map(|query| named(&query.name, &query.value)).collect(),
    }
}

fn value_match(value: &config::ValueMatch) -> proto::Value {
    use proto::value::Kind;

    let kind = match value {
        config::ValueMatch::Exact(text) => Kind::Exact(text.to_string()),
        config::ValueMatch::Regex(pattern) => Kind::Regex(pattern.source().to_owned()),
    };
    proto::Value { kind: Some(kind) }
}

fn filter(value: &config::Filter) -> proto::Filter {
    use proto::filter::Kind;

    let kind = match value {
        config::Filter::RequestHeaders(edits) => Kind::RequestHeaders(header_edits(edits)),
        config::Filter::ResponseHeaders(edits) => Kind::ResponseHeaders(header_edits(edits)),
        config::Filter::Redirect(redirect) => Kind::Redirect(proto::Redirect {
            scheme: text(redirect.scheme.as_deref()),
            hostname: text(redirect.hostname.as_deref()),
            path: redirect.path.as_ref().map(path_rewrite),
            port: redirect.port.map(u32::from),
            status: redirect.status.code().as_u16().into(),
        }),
        config::Filter::Rewrite(rewrite) => Kind::Rewrite(proto::Rewrite {
            hostname: text(rewrite.hostname.as_deref()),
            path: rewrite.path.as_ref().map(path_rewrite),
        }),
        config::Filter::Mirror(mirror) => Kind::Mirror(proto::Mirror {
            cluster: mirror.cluster.to_string(),
            numerator: mirror.fraction.numerator(),
            denominator: mirror.fraction.denominator(),
        }),
        config::Filter::Cors(value) => Kind::Cors(cors(value)),
        config::Filter::Unresolved => Kind::Unresolved(proto::Nothing {}),
    };
    proto::Filter { kind: Some(kind) }
}

fn header_edits(value: &config::HeaderEdits) -> proto::HeaderEdits {
    let fields = |pairs: &[(http::HeaderName, http::HeaderValue)]| {
        let field = |(name, value): &(http::HeaderName, http::HeaderValue)| proto::Field {
            name: name.to_string(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        pairs.iter().map(field).collect()
    };
    proto::HeaderEdits { set: fields(&value.set), add: fields(&value.add), remove: texts(&value.remove) }
}

fn path_rewrite(value: &config::PathRewrite) -> proto::PathRewrite {
    use proto::path_rewrite::Kind;

    let kind = match value {
        config::PathRewrite::Full(path) => Kind::Full(path.as_str().to_owned()),
        config::PathRewrite::Prefix { matched, replacement } => Kind::Prefix(proto::PrefixRewrite {
            matched: matched.as_str().to_owned(),
            replacement: replacement.as_str().to_owned(),
        }),
    };
    proto::PathRewrite { kind: Some(kind) }
}

fn cors(value: &config::Cors) -> proto::Cors {
    proto::Cors {
        origins: value.origins.iter().map(cors_origin).collect(),
        credentials: value.credentials,
        methods: Some(text_list(&value.methods)),
        request_headers: Some(text_list(&value.request_headers)),
        expose_headers: Some(text_list(&value.expose_headers)),
        max_age_secs: value.max_age_secs,
    }
}

fn cors_origin(value: &config::CorsOrigin) -> proto::CorsOrigin {
    use proto::cors_origin::{Kind, Origin};

    let kind = match value {
        config::CorsOrigin::Any => Kind::Any(proto::Nothing {}),
        config::CorsOrigin::Origin { scheme, host, port } => {
            Kind::Origin(Origin { scheme: scheme.to_string(), host: host.to_string(), port: (*port).into() })
        }
    };
    proto::CorsOrigin { kind: Some(kind) }
}

fn text_list<T: ToString>(value: &config::Wildcard<T>) -> proto::TextList {
    match value {
        config::Wildcard::All => proto::TextList { all: true, items: vec![] },
        config::Wildcard::List(items) => proto::TextList { all: false, items: texts(items) },
    }
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn ders(values: &[config::Der]) -> Vec<Bytes> {
    values.iter().map(|der| Bytes::copy_from_slice(der.as_bytes())).collect()
}

/// The address, then the port, in network order.
fn socket(address: SocketAddr) -> Bytes {
    let mut bytes = ip(address.ip());
    bytes.extend(address.port().to_be_bytes());
    bytes.into()
}

fn ip(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Half a million years fit.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
