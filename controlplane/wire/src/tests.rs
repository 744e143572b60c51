//! What goes out comes back; what comes in is not believed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use ringway_config::*;

use crate::{Digests, Version, decode, decode_name, encode, encode_name, proto};

fn comes_back(resource: Resource) {
    let bytes = encode(&resource);
    assert_eq!(encode(&resource), bytes, "the same value gives the same bytes");
    assert_eq!(decode(bytes), Ok(resource));
}

fn der(text: &str) -> Der {
    Der::new(text.as_bytes())
}

fn tls(client: Option<ClientValidation>) -> TlsTermination {
    TlsTermination { certificates: vec![CertificateKey::new("Secret/a/b")], client }
}

fn listener(protocol: ListenerProtocol) -> Listener {
    Listener {
        key: ListenerKey::new("Gateway/a/b/c"),
        gateway: GatewayKey::new("a/b"),
        binds: vec![
            Bind { address: None, port: 80, transport: Transport::Tcp },
            Bind { address: Some("::1".parse().unwrap()), port: 53, transport: Transport::Udp },
            Bind { address: Some("10.0.0.1".parse().unwrap()), port: 81, transport: Transport::Tcp },
        ],
        protocol,
        hostname: HostPattern::parse("*.example.com").unwrap(),
        proxy_protocol: true,
        request_body_bytes_max: Some(0),
    }
}

#[test]
fn every_form_of_listener_comes_back() {
    let validation = |mode| ClientValidation { authorities: vec![der("ca")], mode };
    for protocol in [
        ListenerProtocol::Http,
        ListenerProtocol::Https(tls(None)),
        ListenerProtocol::Https(tls(Some(validation(ClientValidationMode::AllowInsecureFallback)))),
        ListenerProtocol::TlsTerminate(tls(Some(validation(ClientValidationMode::AllowValidOnly)))),
        ListenerProtocol::TlsPassthrough,
        ListenerProtocol::Tcp,
        ListenerProtocol::Udp,
    ] {
        comes_back(Resource::Listener(Arc::new(listener(protocol))));
    }
    let any = Listener {
        hostname: HostPattern::Any,
        request_body_bytes_max: None,
        proxy_protocol: false,
        ..listener(ListenerProtocol::Http)
    };
    comes_back(Resource::Listener(Arc::new(any)));
}

#[test]
fn every_form_of_cluster_comes_back() {
    let anyone = VerifyName::AnyOf { hostnames: vec!["a.b".into()], uris: vec!["spiffe://c/d".into()] };
    let secured = |verify, trust, client_certificate| {
        Some(UpstreamTls { sni: "a.b".into(), verify, trust, client_certificate })
    };
    let limits = ClusterLimits { connections_max: Some(1), pending_max: Some(0), requests_max: None };
    for (protocol, balance, tls, outlier) in [
        (UpstreamProtocol::Http1, Balance::PeakEwma, None, None),
        (
            UpstreamProtocol::Http2,
            Balance::RoundRobin,
            secured(VerifyName::Sni, Trust::System, None),
            Some(Outlier::default()),
        ),
        (
            UpstreamProtocol::Opaque,
            Balance::LeastRequests,
            secured(anyone, Trust::Roots(vec![der("x"), der("y")]), Some(CertificateKey::new("Secret/a/b"))),
            None,
        ),
    ] {
        comes_back(Resource::Cluster(Arc::new(Cluster {
            key: ClusterKey::new("Service/a/b/80/http1"),
            endpoints: EndpointSetKey::new("Service/a/b/80"),
            protocol,
            tls,
            balance,
            limits,
            outlier,
            connect_timeout: Duration::from_micros(1_500),
        })));
    }
}

#[test]
fn endpoints_and_certificates_come_back() {
    let key = EndpointSetKey::new("Service/a/b/80");
    let endpoint = |text: &str| Endpoint { address: text.parse().unwrap() };
    for source in [
        EndpointSource::Listed(vec![]),
        EndpointSource::Listed(vec![
            endpoint("10.0.0.1:80"),
            endpoint("10.0.0.2:0"),
            endpoint("[::1]:65535"),
        ]),
        EndpointSource::Dns { host: "a.b".into(), port: 443 },
    ] {
        comes_back(Resource::EndpointSet(Arc::new(EndpointSet { key: key.clone(), source })));
    }
    comes_back(Resource::Certificate(Arc::new(Certificate {
        key: CertificateKey::new("Secret/a/b"),
        chain: vec![der("leaf"), der("issuer")],
        private_key: PrivateKey::new(&b"secret"[..]),
    })));
}

fn rule() -> HttpRule {
    let value = || "a\u{e9}b".parse::<String>().unwrap();
    let edits = HeaderEdits {
        set: vec![("x-a".parse().unwrap(), http::HeaderValue::from_str(&value()).unwrap())],
        add: vec![("x-b".parse().unwrap(), http::HeaderValue::from_bytes(b"\xff\x80").unwrap())],
        remove: vec!["x-c".parse().unwrap()],
    };
    let prefix = PathRewrite::Prefix {
        matched: PathPrefix::parse("/a").unwrap(),
        replacement: CanonicalPath::parse("/b/").unwrap(),
    };
    let full = PathRewrite::Full(CanonicalPath::parse("/c%2Fd").unwrap());
    let redirect = |status| {
        Filter::Redirect(Redirect {
            scheme: Some("https".into()),
            hostname: None,
            path: Some(full.clone()),
            port: Some(8443),
            status,
        })
    };
    let cors = Cors {
        origins: vec![
            CorsOrigin::Any,
            CorsOrigin::Origin { scheme: "https".into(), host: HostPattern::Any, port: 443 },
        ],
        credentials: true,
        methods: Wildcard::All,
        request_headers: Wildcard::List(vec!["x-a".parse().unwrap()]),
        expose_headers: Wildcard::List(vec![]),
        max_age_secs: 5,
    };
    let cluster = || BackendTarget::Cluster(ClusterKey::new("Service/a/b/80/http1"));
    let backends = Weighted::new(vec![
        (Backend { target: cluster(), filters: vec![Filter::RequestHeaders(edits.clone())] }, 3),
        (Backend { target: BackendTarget::Invalid, filters: vec![] }, 0),
    ]);
    HttpRule {
        name: Some("rule".into()),
        matches: vec![
            HttpMatch::anything(),
            HttpMatch {
                path: PathMatch::Exact(CanonicalPath::parse("/x").unwrap()),
                method: Some(http::Method::PATCH),
                headers: vec![HeaderMatch {
                    name: "x-h".parse().unwrap(),
                    value: ValueMatch::Regex(Pattern::parse("a+").unwrap()),
                }],
                query: vec![QueryMatch { name: "q".into(), value: ValueMatch::Exact("".into()) }],
            },
            HttpMatch { path: PathMatch::Regex(Pattern::parse("/r.*").unwrap()), ..HttpMatch::anything() },
            HttpMatch {
                path: PathMatch::Grpc(Box::new(GrpcMatch {
                    service: Some(ValueMatch::Exact("s".into())),
                    method: None,
                })),
                ..HttpMatch::anything()
            },
        ],
        filters: vec![
            Filter::RequestHeaders(edits.clone()),
            Filter::ResponseHeaders(edits),
            redirect(RedirectStatus::MovedPermanently),
            redirect(RedirectStatus::Found),
            redirect(RedirectStatus::SeeOther),
            redirect(RedirectStatus::TemporaryRedirect),
            redirect(RedirectStatus::PermanentRedirect),
            Filter::Rewrite(Rewrite { hostname: Some("h".into()), path: Some(prefix) }),
            Filter::Mirror(Mirror {
                cluster: ClusterKey::new("Service/a/m/80/http1"),
                fraction: Fraction::new(1, 3).unwrap(),
            }),
            Filter::Cors(cors),
            Filter::Unresolved,
        ],
        backends,
        timeouts: Timeouts { request: Some(Duration::ZERO), backend_request: None },
        retry: Some(Retry { codes: vec![500, 503], attempts: 2, backoff: Some(Duration::from_millis(1)) }),
        request_body_bytes_max: Some(1),
    }
}

#[test]
fn every_form_of_route_comes_back() {
    let key = || RouteKey::new("HTTPRoute/a/b");
    let attachments = || {
        vec![Attachment { listener: ListenerKey::new("Gateway/a/b/c"), hostnames: vec![HostPattern::Any] }]
    };
    let empty = HttpRule {
        name: None,
        matches: vec![HttpMatch::anything()],
        filters: vec![],
        backends: None,
        timeouts: Timeouts::default(),
        retry: None,
        request_body_bytes_max: None,
    };
    for kind in [HttpKind::Http, HttpKind::Grpc] {
        comes_back(Resource::Route(Arc::new(Route::Http(HttpRoute {
            key: key(),
            kind,
            created: RouteAge(-5),
            attachments: attachments(),
            rules: vec![Arc::new(rule()), Arc::new(empty.clone())],
        }))));
    }
    let backends = || Weighted::new(vec![(BackendTarget::Invalid, 1)]);
    let l4 = |backends| L4Route {
        key: key(),
        created: RouteAge(i64::MAX),
        listeners: vec![ListenerKey::new("Gateway/a/b/c")],
        backends,
    };
    for route in [
        Route::Tls(TlsRoute {
            key: key(),
            created: RouteAge(0),
            attachments: attachments(),
            backends: backends(),
        }),
        Route::Tcp(l4(backends())),
        Route::Udp(l4(None)),
    ] {
        comes_back(Resource::Route(Arc::new(route)));
    }
}

#[test]
fn names_come_back_and_an_unknown_kind_is_refused() {
    for key in [
        ResourceKey::Certificate(CertificateKey::new("a")),
        ResourceKey::EndpointSet(EndpointSetKey::new("a")),
        ResourceKey::Cluster(ClusterKey::new("a")),
        ResourceKey::Listener(ListenerKey::new("a")),
        ResourceKey::Route(RouteKey::new("a")),
    ] {
        assert_eq!(decode_name(&encode_name(&key)), Ok(key));
    }
    assert!(decode_name(&proto::Name { kind: 99, key: "a".into() }).is_err());
    assert!(decode_name(&proto::Name { kind: 1, key: String::new() }).is_err());
}

/// Each takes away or breaks one thing that must hold.
#[test]
fn what_breaks_a_rule_is_refused_with_its_place() {
    let listener_of = |change: &dyn Fn(&mut proto::Listener)| {
        let bytes = encode(&Resource::Listener(Arc::new(listener(ListenerProtocol::Https(tls(None))))));
        let mut message = proto::Resource::decode(bytes).unwrap();
        let Some(proto::resource::Kind::Listener(listener)) = &mut message.kind else { unreachable!() };
        change(listener);
        decode(message.encode_to_vec().into()).unwrap_err().to_string()
    };
    for (change, place) in [
        (&(|it: &mut proto::Listener| it.binds.clear()) as &dyn Fn(&mut proto::Listener), "binds"),
        (&|it| it.binds[0].port = 65_536, "binds.port: 65536 is no port"),
        (&|it| it.binds[0].address = Bytes::from_static(b"12345"), "binds.address: 5 bytes"),
        (&|it| it.binds[0].transport = 7, "binds.transport"),
        (&|it| it.protocol = None, "protocol: absent, or of a newer version"),
        (&|it| it.hostname = "a..b".into(), "hostname"),
        (&|it| it.key.clear(), "key"),
    ] {
        let error = listener_of(change);
        assert!(error.starts_with(place), "{error} begins with {place}");
    }
}

proptest! {
    /// Random bytes and mutations of good ones are refused or give a resource; nothing panics.
    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _answer = decode(bytes.into());
    }

    #[test]
    fn any_mutation_is_an_answer(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let route = Route::Http(HttpRoute {
            key: RouteKey::new("HTTPRoute/a/b"),
            kind: HttpKind::Http,
            created: RouteAge(1),
            attachments: vec![],
            rules: vec![Arc::new(rule())],
        });
        let mut bytes = encode(&Resource::Route(Arc::new(route))).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(resource) = decode(bytes.into()) {
            // What was accepted is stable from then on.
            prop_assert_eq!(decode(encode(&resource)), Ok(resource));
        }
    }

    /// Whatever the order of comings and goings, equal contents have equal digests, and others do not.
    #[test]
    fn a_digest_is_of_the_contents(mut items in proptest::collection::vec((1..3i32, "[a-c]", any::<u64>()), 0..8)) {
        let digests = |items: &[(i32, String, u64)]| {
            let mut digests = Digests::default();
            for (kind, key, version) in items {
                digests.add(&proto::Name { kind: *kind, key: key.clone() }, Version::from_wire(*version));
            }
            digests
        };
        let whole = digests(&items);
        items.reverse();
        prop_assert_eq!(&digests(&items), &whole);
        if let Some((kind, key, version)) = items.pop() {
            let mut fewer = whole.clone();
            fewer.remove(&proto::Name { kind, key }, Version::from_wire(version));
            prop_assert_eq!(&fewer, &digests(&items));
            prop_assert_ne!(&fewer, &whole);
        }
        prop_assert_eq!(Digests::from_wire(&whole.to_wire()), whole);
    }
}
