//! From the wire to configuration. Nothing is believed: what is valid by construction in `ringway-config` is checked
//! here once more, and a resource that breaks a rule is refused as a whole, with the place and the reason.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use ringway_config as config;
use ringway_config::{Resource, ResourceKey};

use crate::proto;

/// Why a resource was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no message.
    #[error("not a resource: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A field that must be there is absent, or holds something that this version does not know.
    #[error("{0}: absent, or of a newer version")]
    Absent(&'static str),
    /// A field holds what it may not.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

type Decoded<T> = Result<T, DecodeError>;

fn invalid(field: &'static str, reason: impl ToString) -> DecodeError {
    DecodeError::Invalid { field, reason: reason.to_string() }
}

/// One resource from its bytes.
pub fn decode(bytes: Bytes) -> Decoded<Resource> {
    use proto::resource::Kind;

    let message = proto::Resource::decode(bytes)?;
    Ok(match message.kind.ok_or(DecodeError::Absent("kind"))? {
        Kind::Certificate(value) => Resource::Certificate(Arc::new(certificate(value)?)),
        Kind::EndpointSet(value) => Resource::EndpointSet(Arc::new(endpoint_set(value)?)),
        Kind::Cluster(value) => Resource::Cluster(Arc::new(cluster(value)?)),
        Kind::Listener(value) => Resource::Listener(Arc::new(listener(value)?)),
        Kind::Route(value) => Resource::Route(Arc::new(route(value)?)),
    })
}

/// The name that an encoded resource gives itself, whether or not the rest of it is valid. `None`: it is of a kind that
/// this version does not know, or no resource at all.
pub fn name_of(bytes: &Bytes) -> Option<proto::Name> {
    use proto::resource::Kind;

    let (kind, key) = match proto::Resource::decode(bytes.clone()).ok()?.kind? {
        Kind::Certificate(value) => (proto::Kind::Certificate, value.key),
        Kind::EndpointSet(value) => (proto::Kind::EndpointSet, value.key),
        Kind::Cluster(value) => (proto::Kind::Cluster, value.key),
        Kind::Listener(value) => (proto::Kind::Listener, value.key),
        Kind::Route(value) => (proto::Kind::Route, value.key),
    };
    Some(proto::Name { kind: kind.into(), key })
}

/// The name of a resource.
pub fn decode_name(name: &proto::Name) -> Decoded<ResourceKey> {
    let key = filled("name.key", name.key.clone())?;
    Ok(match name.kind() {
        proto::Kind::Unspecified => return Err(DecodeError::Absent("name.kind")),
        proto::Kind::Certificate => ResourceKey::Certificate(config::CertificateKey::new(key)),
        proto::Kind::EndpointSet => ResourceKey::EndpointSet(config::EndpointSetKey::new(key)),
        proto::Kind::Cluster => ResourceKey::Cluster(config::ClusterKey::new(key)),
        proto::Kind::Listener => ResourceKey::Listener(config::ListenerKey::new(key)),
        proto::Kind::Route => ResourceKey::Route(config::RouteKey::new(key)),
    })
}

fn certificate(value: proto::Certificate) -> Decoded<config::Certificate> {
    if value.private_key.is_empty() {
        return Err(DecodeError::Absent("private_key"));
    }
    Ok(config::Certificate {
        key: config::CertificateKey::new(filled("key", value.key)?),
        chain: ders("chain", &value.chain)?,
        private_key: config::PrivateKey::new(&*value.private_key),
    })
}

fn endpoint_set(value: proto::EndpointSet) -> Decoded<config::EndpointSet> {
    use proto::endpoint_set::Source;

    let source = match value.source.ok_or(DecodeError::Absent("source"))? {
        Source::Listed(listed) => {
            let mut endpoints = listed
                .addresses
                .iter()
                .map(|bytes| socket(bytes).map(|address| config::Endpoint { address }))
                .collect::<Decoded<Vec<_>>>()?;
            endpoints.sort_unstable();
            endpoints.dedup();
            config::EndpointSource::Listed(endpoints)
        }
        Source::Dns(dns) => config::EndpointSource::Dns {
            host: filled("dns.host", dns.host)?.into(),
            port: port("dns.port", dns.port)?,
        },
    };
    Ok(config::EndpointSet { key: config::EndpointSetKey::new(filled("key", value.key)?), source })
}

fn cluster(value: proto::Cluster) -> Decoded<config::Cluster> {
    let protocol = match value.protocol() {
        proto::UpstreamProtocol::Unspecified => return Err(DecodeError::Absent("protocol")),
        proto::UpstreamProtocol::Http1 => config::UpstreamProtocol::Http1,
        proto::UpstreamProtocol::Http2 => config::UpstreamProtocol::Http2,
        proto::UpstreamProtocol::Opaque => config::UpstreamProtocol::Opaque,
    };
    let balance = match value.balance() {
        proto::Balance::Unspecified => return Err(DecodeError::Absent("balance")),
        proto::Balance::PeakEwma => config::Balance::PeakEwma,
        proto::Balance::RoundRobin => config::Balance::RoundRobin,
        proto::Balance::LeastRequests => config::Balance::LeastRequests,
    };
    let limits = config::ClusterLimits {
        connections_max: value.connections_max,
        pending_max: value.pending_max,
        requests_max: value.requests_max,
    };
    Ok(config::Cluster {
        key: config::ClusterKey::new(filled("key", value.key)?),
        endpoints: config::EndpointSetKey::new(filled("endpoints", value.endpoints)?),
        protocol,
        tls: value.tls.map(upstream_tls).transpose()?,
        balance,
        limits,
        outlier: value.outlier.map(outlier).transpose()?,
        connect_timeout: Duration::from_micros(value.connect_timeout_us),
    })
}

fn upstream_tls(value: proto::UpstreamTls) -> Decoded<config::UpstreamTls> {
    use proto::upstream_tls::Trust;

    let verify = match value.names {
        None => config::VerifyName::Sni,
        Some(names) if names.hostnames.is_empty() && names.uris.is_empty() => {
            return Err(invalid("tls.names", "no name: nothing could ever be verified"));
        }
        Some(names) => {
            config::VerifyName::AnyOf { hostnames: shared(names.hostnames), uris: shared(names.uris) }
        }
    };
    let trust = match value.trust.ok_or(DecodeError::Absent("tls.trust"))? {
        Trust::System(_) => config::Trust::System,
        Trust::Roots(roots) => config::Trust::Roots(ders("tls.trust.roots", &roots.certificates)?),
    };
    let client = value.client_certificate;
    Ok(config::UpstreamTls {
        sni: value.sni.into(),
        verify,
        trust,
        client_certificate: (!client.is_empty()).then(|| config::CertificateKey::new(client)),
    })
}

fn outlier(value: proto::Outlier) -> Decoded<config::Outlier> {
    let percent = u8::try_from(value.ejected_percent_max).ok().filter(|percent| *percent <= 100);
    Ok(config::Outlier {
        consecutive_failures: value.consecutive_failures,
        ejection_min: Duration::from_micros(value.ejection_min_us),
        ejection_max: Duration::from_micros(value.ejection_max_us),
        ejected_percent_max: percent
            .ok_or_else(|| invalid("outlier.ejected_percent_max", value.ejected_percent_max))?,
    })
}

fn listener(value: proto::Listener) -> Decoded<config::Listener> {
    use proto::listener::Protocol;

    let protocol = match value.protocol.ok_or(DecodeError::Absent("protocol"))? {
        Protocol::Http(_) => config::ListenerProtocol::Http,
        Protocol::Https(tls) => config::ListenerProtocol::Https(termination(tls)?),
        Protocol::TlsTerminate(tls) => config::ListenerProtocol::TlsTerminate(termination(tls)?),
        Protocol::TlsPassthrough(_) => config::ListenerProtocol::TlsPassthrough,
        Protocol::Tcp(_) => config::ListenerProtocol::Tcp,
        Protocol::Udp(_) => config::ListenerProtocol::Udp,
    };
    Ok(config::Listener {
        key: config::ListenerKey::new(filled("key", value.key)?),
        gateway: config::GatewayKey::new(filled("gateway", value.gateway)?),
        binds: some("binds", value.binds)?.into_iter().map(bind).collect::<Decoded<_>>()?,
        protocol,
        hostname: host_pattern("hostname", &value.hostname)?,
        proxy_protocol: value.proxy_protocol,
        request_body_bytes_max: value.request_body_bytes_max,
    })
}

fn bind(value: proto::Bind) -> Decoded<config::Bind> {
    let transport = match value.transport() {
        proto::Transport::Unspecified => return Err(DecodeError::Absent("binds.transport")),
        proto::Transport::Tcp => config::Transport::Tcp,
        proto::Transport::Udp => config::Transport::Udp,
    };
    let address = match value.address.is_empty() {
        true => None,
        false => Some(ip("binds.address", &value.address)?),
    };
    Ok(config::Bind { address, port: port("binds.port", value.port)?, transport })
}

fn termination(value: proto::TlsTermination) -> Decoded<config::TlsTermination> {
    use proto::client_validation::Mode;

    let client = value.client.map(|client| {
        let mode = match client.mode() {
            Mode::Unspecified => return Err(DecodeError::Absent("client.mode")),
            Mode::AllowValidOnly => config::ClientValidationMode::AllowValidOnly,
            Mode::AllowInsecureFallback => config::ClientValidationMode::AllowInsecureFallback,
        };
        Ok(config::ClientValidation { authorities: ders("client.authorities", &client.authorities)?, mode })
    });
    let certificates = some("certificates", value.certificates)?;
    Ok(config::TlsTermination {
        certificates: certificates.into_iter().map(config::CertificateKey::new).collect(),
        client: client.transpose()?,
    })
}

fn route(value: proto::Route) -> Decoded<config::Route> {
    use proto::route::Kind;

    let key = config::RouteKey::new(filled("key", value.key)?);
    let created = config::RouteAge(value.created);
    Ok(match value.kind.ok_or(DecodeError::Absent("kind"))? {
        Kind::Http(route) => config::Route::Http(config::HttpRoute {
            key,
            kind: if route.grpc { config::HttpKind::Grpc } else { config::HttpKind::Http },
            created,
            attachments: attachments(route.attachments)?,
            rules: route
                .rules
                .into_iter()
                .map(|rule| http_rule(rule).map(Arc::new))
                .collect::<Decoded<_>>()?,
        }),
        Kind::Tls(route) => config::Route::Tls(config::TlsRoute {
            key,
            created,
            attachments: attachments(route.attachments)?,
            backends: targets(route.backends)?,
        }),
        Kind::Tcp(route) => config::Route::Tcp(l4_route(key, created, route)?),
        Kind::Udp(route) => config::Route::Udp(l4_route(key, created, route)?),
    })
}

fn l4_route(
    key: config::RouteKey,
    created: config::RouteAge,
    value: proto::L4Route,
) -> Decoded<config::L4Route> {
    let listeners = value.listeners.into_iter().map(config::ListenerKey::new).collect();
    Ok(config::L4Route { key, created, listeners, backends: targets(value.backends)? })
}

fn attachments(values: Vec<proto::Attachment>) -> Decoded<Vec<config::Attachment>> {
    let attachment = |value: proto::Attachment| {
        let hostnames = some("attachments.hostnames", value.hostnames)?;
        Ok(config::Attachment {
            listener: config::ListenerKey::new(filled("attachments.listener", value.listener)?),
            hostnames: hostnames
                .iter()
                .map(|host| host_pattern("attachments.hostnames", host))
                .collect::<Decoded<_>>()?,
        })
    };
    values.into_iter().map(attachment).collect()
}

fn http_rule(value: proto::HttpRule) -> Decoded<config::HttpRule> {
    let backend = |backend: proto::Backend| {
        let to = backend.target.ok_or(DecodeError::Absent("backends.target"))?;
        let filters = backend.filters.into_iter().map(filter).collect::<Decoded<_>>()?;
        Ok((config::Backend { target: target(&to), filters }, to.weight))
    };
    let timeouts = config::Timeouts {
        request: value.request_timeout_us.map(Duration::from_micros),
        backend_request: value.backend_request_timeout_us.map(Duration::from_micros),
    };
    Ok(config::HttpRule {
        name: (!value.name.is_empty()).then(|| value.name.into()),
        matches: some("matches", value.matches)?.into_iter().map(http_match).collect::<Decoded<_>>()?,
        filters: value.filters.into_iter().map(filter).collect::<Decoded<_>>()?,
        backends: weighted(value.backends.into_iter().map(backend).collect::<Decoded<_>>()?)?,
        timeouts,
        retry: value.retry.map(retry).transpose()?,
        request_body_bytes_max: value.request_body_bytes_max,
    })
}

fn retry(value: proto::Retry) -> Decoded<config::Retry> {
    let code = |code: &u32| match u16::try_from(*code) {
        Ok(code @ 400..=599) => Ok(code),
        _ => Err(invalid("retry.codes", format!("{code} is no status from 400 to 599"))),
    };
    let mut codes = value.codes.iter().map(code).collect::<Decoded<Vec<_>>>()?;
    codes.sort_unstable();
    Ok(config::Retry {
        codes,
        attempts: value.attempts,
        backoff: value.backoff_us.map(Duration::from_micros),
    })
}

fn targets(values: Vec<proto::Target>) -> Decoded<Option<config::Weighted<config::BackendTarget>>> {
    weighted(values.iter().map(|value| (target(value), value.weight)).collect())
}

fn target(value: &proto::Target) -> config::BackendTarget {
    match value.cluster.as_str() {
        "" => config::BackendTarget::Invalid,
        key => config::BackendTarget::Cluster(config::ClusterKey::new(key)),
    }
}

/// No choice at all is a value; choices that cannot be chosen from are an error.
fn weighted<T>(choices: Vec<(T, u32)>) -> Decoded<Option<config::Weighted<T>>> {
    if choices.is_empty() {
        return Ok(None);
    }
    let weighted = config::Weighted::new(choices);
    weighted.map(Some).ok_or_else(|| invalid("backends", "no positive weight, or their sum is too large"))
}

fn http_match(value: proto::HttpMatch) -> Decoded<config::HttpMatch> {
    use proto::http_match::Path;

    let path = match value.path.ok_or(DecodeError::Absent("matches.path"))? {
        Path::Exact(path) => config::PathMatch::Exact(canonical_path("matches.path", &path)?),
        Path::Prefix(prefix) => config::PathMatch::Prefix(path_prefix("matches.path", &prefix)?),
        Path::Regex(source) => config::PathMatch::Regex(pattern("matches.path", &source)?),
        Path::Grpc(grpc) => config::PathMatch::Grpc(Box::new(config::GrpcMatch {
            service: grpc.service.map(value_match).transpose()?,
            method: grpc.method.map(value_match).transpose()?,
        })),
    };
    let method = match value.method.as_str() {
        "" => None,
        method => Some(method.parse().map_err(|error| invalid("matches.method", error))?),
    };
    let header = |it: proto::NamedValue| {
        Ok(config::HeaderMatch {
            name: header_name("matches.headers", &it.name)?,
            value: named_value(it.value)?,
        })
    };
    let query = |it: proto::NamedValue| {
        Ok(config::QueryMatch { name: it.name.into(), value: named_value(it.value)? })
    };
    Ok(config::HttpMatch {
        path,
        method,
        headers: value.headers.into_iter().map(header).collect::<Decoded<_>>()?,
        query: value.query.into_iter().map(query).collect::<Decoded<_>>()?,
    })
}

fn named_value(value: Option<proto::Value>) -> Decoded<config::ValueMatch> {
    value_match(value.ok_or(DecodeError::Absent("matches.value"))?)
}

fn value_match(value: proto::Value) -> Decoded<config::ValueMatch> {
    use proto::value::Kind;

    Ok(match value.kind.ok_or(DecodeError::Absent("matches.value"))? {
        Kind::Exact(text) => config::ValueMatch::Exact(text.into()),
        Kind::Regex(source) => config::ValueMatch::Regex(pattern("matches.value", &source)?),
    })
}

fn filter(value: proto::Filter) -> Decoded<config::Filter> {
    use proto::filter::Kind;

    Ok(match value.kind.ok_or(DecodeError::Absent("filters"))? {
        Kind::RequestHeaders(edits) => config::Filter::RequestHeaders(header_edits(edits)?),
        Kind::ResponseHeaders(edits) => config::Filter::ResponseHeaders(header_edits(edits)?),
        Kind::Redirect(value) => config::Filter::Redirect(redirect(value)?),
        Kind::Rewrite(value) => config::Filter::Rewrite(config::Rewrite {
            hostname: text(value.hostname),
            path: value.path.map(path_rewrite).transpose()?,
        }),
        Kind::Mirror(value) => config::Filter::Mirror(config::Mirror {
            cluster: config::ClusterKey::new(filled("mirror.cluster", value.cluster)?),
            fraction: config::Fraction::new(value.numerator, value.denominator)
                .ok_or_else(|| invalid("mirror", format!("{}/{}", value.numerator, value.denominator)))?,
        }),
        Kind::Cors(value) => config::Filter::Cors(cors(value)?),
        Kind::Unresolved(_) => config::Filter::Unresolved,
    })
}

fn header_edits(value: proto::HeaderEdits) -> Decoded<config::HeaderEdits> {
    let field = |field: proto::Field| {
        let value = http::HeaderValue::from_maybe_shared(field.value);
        Ok((header_name("headers", &field.name)?, value.map_err(|error| invalid("headers", error))?))
    };
    Ok(config::HeaderEdits {
        set: value.set.into_iter().map(field).collect::<Decoded<_>>()?,
        add: value.add.into_iter().map(field).collect::<Decoded<_>>()?,
        remove: value.remove.iter().map(|name| header_name("headers", name)).collect::<Decoded<_>>()?,
    })
}

fn redirect(value: proto::Redirect) -> Decoded<config::Redirect> {
    let status = match value.status {
        301 => config::RedirectStatus::MovedPermanently,
        302 => config::RedirectStatus::Found,
        303 => config::RedirectStatus::SeeOther,
        307 => config::RedirectStatus::TemporaryRedirect,
        308 => config::RedirectStatus::PermanentRedirect,
        other => return Err(invalid("redirect.status", other)),
    };
    Ok(config::Redirect {
        scheme: text(value.scheme),
        hostname: text(value.hostname),
        path: value.path.map(path_rewrite).transpose()?,
        port: value.port.map(|it| port("redirect.port", it)).transpose()?,
        status,
    })
}

fn path_rewrite(value: proto::PathRewrite) -> Decoded<config::PathRewrite> {
    use proto::path_rewrite::Kind;

    Ok(match value.kind.ok_or(DecodeError::Absent("path"))? {
        Kind::Full(path) => config::PathRewrite::Full(canonical_path("path", &path)?),
        Kind::Prefix(prefix) => config::PathRewrite::Prefix {
            matched: path_prefix("path.matched", &prefix.matched)?,
            replacement: canonical_path("path.replacement", &prefix.replacement)?,
        },
    })
}

fn cors(value: proto::Cors) -> Decoded<config::Cors> {
    let method = |text: &str| text.parse().map_err(|error| invalid("cors.methods", error));
    let name = |text: &str| header_name("cors.headers", text);
    Ok(config::Cors {
        origins: value.origins.into_iter().map(cors_origin).collect::<Decoded<_>>()?,
        credentials: value.credentials,
        methods: text_list("cors.methods", value.methods, method)?,
        request_headers: text_list("cors.request_headers", value.request_headers, name)?,
        expose_headers: text_list("cors.expose_headers", value.expose_headers, name)?,
        max_age_secs: value.max_age_secs,
    })
}

fn cors_origin(value: proto::CorsOrigin) -> Decoded<config::CorsOrigin> {
    use proto::cors_origin::Kind;

    Ok(match value.kind.ok_or(DecodeError::Absent("cors.origins"))? {
        Kind::Any(_) => config::CorsOrigin::Any,
        Kind::Origin(origin) => config::CorsOrigin::Origin {
            scheme: filled("cors.origins.scheme", origin.scheme)?.into(),
            host: host_pattern("cors.origins.host", &origin.host)?,
            port: port("cors.origins.port", origin.port)?,
        },
    })
}

fn text_list<T>(
    field: &'static str,
    value: Option<proto::TextList>,
    item: impl Fn(&str) -> Decoded<T>,
) -> Decoded<config::Wildcard<T>> {
    let value = value.ok_or(DecodeError::Absent(field))?;
    if value.all {
        return Ok(config::Wildcard::All);
    }
    Ok(config::Wildcard::List(value.items.iter().map(|text| item(text)).collect::<Decoded<_>>()?))
}

fn filled(field: &'static str, text: String) -> Decoded<String> {
    if text.is_empty() { Err(DecodeError::Absent(field)) } else { Ok(text) }
}

fn some<T>(field: &'static str, values: Vec<T>) -> Decoded<Vec<T>> {
    if values.is_empty() { Err(DecodeError::Absent(field)) } else { Ok(values) }
}

fn text(value: String) -> Option<Arc<str>> {
    (!value.is_empty()).then(|| value.into())
}

fn shared(values: Vec<String>) -> Vec<Arc<str>> {
    values.into_iter().map(Arc::from).collect()
}

fn ders(field: &'static str, values: &[Bytes]) -> Decoded<Vec<config::Der>> {
    if values.is_empty() {
        return Err(DecodeError::Absent(field));
    }
    Ok(values.iter().map(|bytes| config::Der::new(&**bytes)).collect())
}

fn port(field: &'static str, value: u32) -> Decoded<u16> {
    u16::try_from(value).map_err(|_| invalid(field, format!("{value} is no port")))
}

fn header_name(field: &'static str, text: &str) -> Decoded<http::HeaderName> {
    text.parse().map_err(|_| invalid(field, format!("{text:?} is no field name")))
}

fn host_pattern(field: &'static str, text: &str) -> Decoded<config::HostPattern> {
    if text == "*" {
        return Ok(config::HostPattern::Any);
    }
    config::HostPattern::parse(text).map_err(|error| invalid(field, format!("{text:?}: {error:?}")))
}

fn canonical_path(field: &'static str, text: &str) -> Decoded<config::CanonicalPath> {
    config::CanonicalPath::parse(text).map_err(|error| invalid(field, format!("{text:?}: {error:?}")))
}

fn path_prefix(field: &'static str, text: &str) -> Decoded<config::PathPrefix> {
    // The root's text is empty: it has no trailing slash, as no prefix has.
    if text.is_empty() {
        return Ok(config::PathPrefix::root());
    }
    config::PathPrefix::parse(text).map_err(|error| invalid(field, format!("{text:?}: {error:?}")))
}

fn pattern(field: &'static str, source: &str) -> Decoded<config::Pattern> {
    config::Pattern::parse(source).map_err(|error| invalid(field, error.0))
}

/// The address, then the port, in network order.
fn socket(bytes: &[u8]) -> Decoded<SocketAddr> {
    let (port, address) = bytes.split_last_chunk().map(|(address, port)| (port, address)).unzip();
    match (address, port) {
        (Some(address), Some(port)) => {
            Ok(SocketAddr::new(ip("addresses", address)?, u16::from_be_bytes(*port)))
        }
        _ => Err(invalid("addresses", format!("{} bytes are no address with a port", bytes.len()))),
    }
}

fn ip(field: &'static str, bytes: &[u8]) -> Decoded<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(octets));
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(octets) => Ok(IpAddr::from(octets)),
        Err(_) => Err(invalid(field, format!("{} bytes are no address", bytes.len()))),
    }
}
