//! The checklist's tables about listeners, matching, precedence and backends.

use http::{HeaderName, Method};
use ringway_config::{
    HeaderMatch, HttpMatch, HttpRule, Listener, ListenerProtocol, Pattern, QueryMatch, Route, ValueMatch,
    Weighted,
};

use super::*;
use crate::decision::AnswerBody;
use crate::fixture::*;

fn header(name: &'static str, value: &str) -> HeaderMatch {
    let value = match value.strip_prefix('~') {
        Some(source) => ValueMatch::Regex(Pattern::parse(source).unwrap()),
        None => ValueMatch::Exact(value.into()),
    };
    HeaderMatch { name: HeaderName::from_static(name), value }
}

fn query(name: &str, value: &str) -> QueryMatch {
    QueryMatch { name: name.into(), value: header("x", value).value }
}

fn with_headers(text: &str, headers: &[(&'static str, &str)]) -> HttpMatch {
    let headers = headers.iter().map(|(name, value)| header(name, value)).collect();
    HttpMatch { headers, ..matching(text) }
}

fn with_method(text: &str, method: Method) -> HttpMatch {
    HttpMatch { method: Some(method), ..matching(text) }
}

fn with_query(text: &str, pairs: &[(&str, &str)]) -> HttpMatch {
    HttpMatch { query: pairs.iter().map(|(name, value)| query(name, value)).collect(), ..matching(text) }
}

/// One listener for every host with one route.
fn one_route(rules: Vec<HttpRule>) -> View<String> {
    view(vec![http_listener("http", "")], vec![http_route("r", 0, &[("http", &[""])], rules)])
}

fn sends(view: &View<String>, head: &RequestHead) -> String {
    outcome(&view.decide(&plain(80), head, 0))
}

#[test]
fn a_path_is_matched_however_rule_and_request_spell_it() {
    for spellings in
        [["/~a", "/%7Ea", "/b/../%7ea"], ["/é", "/%c3%a9", "/./%C3%A9"], ["/a%2fb", "/a%2Fb", "/%61%2Fb"]]
    {
        for (configured, asked) in spellings.iter().flat_map(|one| spellings.map(|other| (*one, other))) {
            let view = one_route(vec![
                rule(vec![matching(&format!("={configured}"))], "exact"),
                rule(vec![matching(configured)], "prefix"),
                rule(vec![matching("/")], "missed"),
            ]);
            let sent = [asked, &format!("{asked}/c")].map(|target| {
                let mut head = get("h/");
                crate::canonical::fill_target(&mut head, target).unwrap();
                sends(&view, &head)
            });
            assert_eq!(sent, ["exact", "prefix"], "{configured} {asked}");
        }
    }
}

#[test]
fn a_request_is_routed_only_with_routes_of_its_one_listener() {
    // Checklist L7, L8.
    let listeners = [
        ("empty", "", "/empty"),
        ("wild", "*.example.com", "/wild-example"),
        ("foo", "*.foo.example.com", "/wild-foo"),
        ("abc", "abc.foo.example.com", "/abc"),
    ];
    let own = |(name, host, path): (&str, &str, &str)| {
        http_route(name, 0, &[(name, &[host])], vec![rule(vec![matching(path)], name)])
    };
    let view = view(
        listeners.iter().map(|(name, host, _)| http_listener(name, host)).collect(),
        listeners.iter().copied().map(own).collect(),
    );
    for (host, serves) in [
        ("bar.com", "empty"),
        ("bar.example.com", "wild"),
        ("bar.foo.example.com", "foo"),
        ("abc.foo.example.com", "abc"),
        ("example.com", "empty"),
        ("abc.foo.example.com:8080", "abc"),
    ] {
        for (name, _, path) in listeners {
            let expected = if name == serves { name } else { "404" };
            assert_eq!(sends(&view, &get(&format!("{host}{path}"))), expected, "{host}{path}");
        }
    }
}

#[test]
fn overlapping_route_hostnames_do_not_leak_between_listeners() {
    // Checklist L8, second part: every route is attached to every listener with its intersection.
    let hosts = [("empty", ""), ("wild", "*.example.com"), ("abc", "abc.example.com")];
    let listeners = hosts.iter().map(|(name, host)| http_listener(name, host)).collect();
    let route = |name: &str, hostname: &str| {
        let both: Vec<(&str, String)> = hosts
            .iter()
            .filter_map(|(listener, host)| {
                Some((*listener, pattern(host).intersect(&pattern(hostname))?.to_string()))
            })
            .collect();
        let places: Vec<(&str, Vec<&str>)> = both.iter().map(|(l, host)| (*l, vec![&**host])).collect();
        let places: Vec<(&str, &[&str])> = places.iter().map(|(l, hosts)| (*l, &**hosts)).collect();
        http_route(name, 0, &places, vec![rule(vec![matching(&format!("/{name}"))], name)])
    };
    let view = view(listeners, vec![route("any", ""), route("exact", "abc.example.com")]);
    for (target, expected) in [
        ("abc.example.com/exact", "exact"),
        ("abc.example.com/any", "any"),
        ("x.example.com/exact", "404"),
        ("x.example.com/any", "any"),
    ] {
        assert_eq!(sends(&view, &get(target)), expected, "{target}");
    }
}

#[test]
fn a_host_that_belongs_to_another_listener_than_the_certificate_is_misdirected() {
    // Checklist L12, L13.
    let https = |name: &str, host: &str| listener(name, 443, ListenerProtocol::Https(termination()), host);
    let view = view(
        vec![
            https("second", "second-example.org"),
            https("wildcard", "*.wildcard.org"),
            https("fourth", "fourth.wildcard.org"),
            https("every", ""),
        ],
        vec![
            http_route(
                "second",
                0,
                &[("second", &["second-example.org"])],
                vec![rule(vec![matching("/")], "s")],
            ),
            http_route(
                "wildcard",
                0,
                &[("wildcard", &["*.wildcard.org"])],
                vec![rule(vec![matching("/")], "w")],
            ),
            http_route(
                "fourth",
                0,
                &[("fourth", &["fourth.wildcard.org"])],
                vec![rule(vec![matching("/")], "f")],
            ),
            http_route("every", 0, &[("every", &["example.org"])], vec![rule(vec![matching("/")], "e")]),
        ],
    );
    for (sni, host, expected) in [
        ("example.org", "example.org", "e"),
        ("example.org", "second-example.org", "421"),
        ("example.org", "unknown-example.org", "404"),
        ("second-example.org", "second-example.org", "s"),
        ("second-example.org", "example.org", "421"),
        ("second-example.org", "unknown-example.org", "421"),
        ("third.wildcard.org", "fifth.wildcard.org", "w"),
        ("third.wildcard.org", "fourth.wildcard.org", "421"),
        ("fourth.wildcard.org", "fourth.wildcard.org", "f"),
        ("unknown.org", "example.org", "e"),
        ("unknown.org", "unknown.org", "404"),
    ] {
        let SniChoice::Terminate(shown) = view.listener_for_sni(&bind(443), Some(sni)) else {
            panic!("{sni} is refused");
        };
        let arrival = secure(443, shown.key.as_str());
        let decision = view.decide(&arrival, &get(&format!("{host}/")), 0);
        assert_eq!(outcome(&decision), expected, "{sni} {host}");
    }
    assert_eq!(outcome(&view.decide(&plain(443), &get("example.org/"), 0)), "404", "without TLS");
}

#[test]
fn a_handshake_is_for_the_most_specific_listener_of_its_server_name_or_refused() {
    // Checklist L12, L15, L16, L4-1, L4-2, TLS14: both modes on one port.
    let mut listeners = vec![
        listener("pass", 443, ListenerProtocol::TlsPassthrough, "*.pass.org"),
        listener("end", 443, ListenerProtocol::TlsTerminate(termination()), "end.org"),
        listener("web", 443, ListenerProtocol::Https(termination()), "web.org"),
    ];
    let routes = vec![
        tls_route("p", 0, &[("pass", &["*.pass.org"])], &[("wide", 1)]),
        tls_route("q", 0, &[("pass", &["a.pass.org"])], &[("narrow", 1)]),
        tls_route("e", 0, &[("end", &["end.org"])], &[("ended", 1)]),
    ];
    let chosen = |view: &View<String>, sni: Option<&str>| match view.listener_for_sni(&bind(443), sni) {
        SniChoice::Terminate(listener) => format!("terminate {}", listener.key),
        SniChoice::Passthrough(listener) => format!("pass {}", listener.key),
        SniChoice::Refuse => "refuse".into(),
        SniChoice::Close => "close".into(),
    };
    let narrow = view(listeners.clone(), routes.clone());
    for (sni, choice, goes) in [
        (Some("a.pass.org"), "pass pass", "narrow"),
        (Some("b.pass.org"), "pass pass", "wide"),
        (Some("pass.org"), "refuse", "no listener for this server name"),
        (Some("end.org"), "terminate end", "ended"),
        (Some("web.org"), "terminate web", "no route matched"),
        (None, "refuse", "no listener for this server name"),
    ] {
        assert_eq!(chosen(&narrow, sni), choice, "{sni:?}");
        assert_eq!(l4_outcome(&narrow.tcp(&bind(443), sni, 0)), goes, "{sni:?}");
    }
    // Where nobody speaks TLS nobody refuses in TLS.
    let passing = view(listeners[..1].to_vec(), routes.clone());
    assert_eq!(chosen(&passing, Some("other.org")), "close");
    assert_eq!(chosen(&passing, None), "close");
    listeners.push(listener("rest", 443, ListenerProtocol::TlsPassthrough, ""));
    let broad = view(listeners, routes);
    assert_eq!(chosen(&broad, None), "pass rest");
    assert_eq!(l4_outcome(&broad.tcp(&bind(443), None, 0)), "no route matched");
    assert_eq!(chosen(&broad, Some("end.org")), "terminate end");
}

#[test]
fn connections_and_sessions_go_to_the_oldest_route_by_weight() {
    // Checklist R10, L4-3, L4-4, L4-7, L1.
    let listeners = vec![
        listener("tcp", 90, ListenerProtocol::Tcp, ""),
        listener("udp", 90, ListenerProtocol::Udp, ""),
        listener("bare", 91, ListenerProtocol::Tcp, ""),
    ];
    let view = view(
        listeners,
        vec![
            Route::Tcp(l4_route("a", 2, &["tcp"], &[("young", 1)])),
            Route::Tcp(l4_route("b", 1, &["tcp"], &[("old", 1), ("zero", 0), ("!", 1)])),
            Route::Tcp(l4_route("c", 1, &["tcp"], &[("second", 1)])),
            Route::Udp(l4_route("d", 0, &["udp"], &[("datagrams", 1)])),
            Route::Tcp(l4_route("e", 0, &["bare"], &[])),
        ],
    );
    assert_eq!(l4_outcome(&view.tcp(&bind(90), None, 0)), "old");
    assert_eq!(l4_outcome(&view.tcp(&bind(90), None, u64::MAX)), "backend reference is invalid");
    let datagrams = Bind { transport: ringway_config::Transport::Udp, ..bind(90) };
    assert_eq!(l4_outcome(&view.udp(&datagrams, 7)), "datagrams");
    assert_eq!(l4_outcome(&view.tcp(&bind(91), None, 0)), "route has no backend");
    assert_eq!(l4_outcome(&view.tcp(&bind(92), None, 0)), "no listener for connections here");
    assert_eq!(l4_outcome(&view.udp(&bind(90), 0)), "no listener for datagrams here");
}

#[test]
fn requests_are_served_for_the_intersection_of_hostnames_only() {
    // Checklist R6: attachments carry the intersection, and nothing else is served.
    let view = view(
        vec![http_listener("specific", "very.specific.com"), http_listener("wild", "*.wildcard.io")],
        vec![
            http_route(
                "s",
                0,
                &[("specific", &["very.specific.com"])],
                vec![rule(vec![matching("/s")], "s")],
            ),
            http_route(
                "w",
                0,
                &[("wild", &["foo.wildcard.io", "*.bar.wildcard.io"])],
                vec![rule(vec![matching("/w")], "w")],
            ),
        ],
    );
    for (target, expected) in [
        ("very.specific.com/s", "s"),
        ("very.specific.com:1234/s", "s"),
        ("non.matching.com/s", "404"),
        ("other.specific.com/s", "404"),
        ("foo.wildcard.io/w", "w"),
        ("a.bar.wildcard.io/w", "w"),
        ("b.a.bar.wildcard.io/w", "w"),
        ("bar.wildcard.io/w", "404"),
        ("wildcard.io/w", "404"),
        ("foo.wildcard.io/s", "404"),
    ] {
        assert_eq!(sends(&view, &get(target)), expected, "{target}");
    }
}

#[test]
fn the_most_specific_hostname_has_its_say_first_and_lets_others_serve_what_it_does_not() {
    // Checklist M2 a.
    let at = |name: &str, host: &str, rules| http_route(name, 0, &[("http", &[host])], rules);
    let view = view(
        vec![http_listener("http", "")],
        vec![
            at("any", "", vec![rule(vec![matching("=/a")], "any-exact"), rule(vec![matching("/")], "any")]),
            at("wild", "*.b.com", vec![rule(vec![matching("/a")], "wild")]),
            at("exact", "x.b.com", vec![rule(vec![matching("/a/b")], "exact")]),
        ],
    );
    for (target, expected) in [
        ("x.b.com/a/b/c", "exact"),
        ("x.b.com/a", "wild"),
        ("x.b.com/c", "any"),
        ("y.b.com/a", "wild"),
        ("z.com/a", "any-exact"),
        ("z.com/a/", "any"),
    ] {
        assert_eq!(sends(&view, &get(target)), expected, "{target}");
    }
}

#[test]
fn among_rules_of_one_hostname_the_path_decides_then_method_headers_query_age_and_name() {
    // Checklist M2 b to i. Each row: the better claim, the lesser one, a request that fits both.
    type Claim = (HttpMatch, i64, &'static str);
    let claim = |it: HttpMatch, age: i64, name: &'static str| -> Claim { (it, age, name) };
    let rows: Vec<(Claim, Claim, RequestHead)> = vec![
        (claim(matching("=/a"), 9, "z"), claim(matching("~/[a]"), 0, "a"), get("h/a")),
        (claim(matching("~/a.*"), 9, "z"), claim(matching("/a/b/c/d/e"), 0, "a"), get("h/a/b/c/d/e")),
        (claim(matching("~/ab*c*"), 9, "z"), claim(matching("~/a.*"), 0, "a"), get("h/abc")),
        (claim(matching("/a/b"), 9, "z"), claim(with_method("/a", Method::GET), 0, "a"), get("h/a/b")),
        (
            claim(with_method("/a", Method::GET), 9, "z"),
            claim(with_headers("/a", &[("x", "1"), ("y", "2")]), 0, "a"),
            request("GET h/a", &[("x", "1"), ("y", "2")]),
        ),
        (
            claim(with_headers("/a", &[("x", "1"), ("y", "2")]), 9, "z"),
            claim(with_headers("/a", &[("x", "1")]), 0, "a"),
            request("GET h/a", &[("x", "1"), ("y", "2")]),
        ),
        (
            claim(with_headers("/a", &[("x", "1")]), 9, "z"),
            claim(with_query("/a", &[("q", "1"), ("r", "2")]), 0, "a"),
            request("GET h/a?q=1&r=2", &[("x", "1")]),
        ),
        (
            claim(with_query("/a", &[("q", "1"), ("r", "2")]), 9, "z"),
            claim(with_query("/a", &[("q", "1")]), 0, "a"),
            get("h/a?q=1&r=2"),
        ),
        (claim(matching("/a"), 0, "z"), claim(matching("/a"), 1, "a"), get("h/a")),
        (claim(matching("/a"), 0, "a"), claim(matching("/a"), 0, "b"), get("h/a")),
        // Checklist M7: service characters, method characters, headers, age.
        (
            claim(matching("grpc:pkg.Service/"), 9, "z"),
            claim(matching("grpc:/Method"), 0, "a"),
            get("h/pkg.Service/Method"),
        ),
        (
            claim(matching("grpc:pkg.Service/Method"), 9, "z"),
            claim(matching("grpc:pkg.Service/"), 0, "a"),
            get("h/pkg.Service/Method"),
        ),
        (
            claim(matching("grpc:/Method"), 9, "z"),
            claim(matching("grpc:/"), 0, "a"),
            get("h/pkg.Service/Method"),
        ),
        // An expression counts with its characters.
        (
            claim(matching("grpc:~pkg[.]Service/"), 9, "z"),
            claim(matching("grpc:pkg.Service/Method"), 0, "a"),
            get("h/pkg.Service/Method"),
        ),
        (
            claim(with_headers("grpc:/", &[("x", "1")]), 9, "z"),
            claim(matching("grpc:/"), 0, "a"),
            request("POST h/pkg.Service/Method", &[("x", "1")]),
        ),
    ];
    for (better, lesser, head) in rows {
        let route = |(it, age, name): &Claim, cluster: &str| {
            http_route(name, *age, &[("http", &["h"])], vec![rule(vec![it.clone()], cluster)])
        };
        for swapped in [false, true] {
            let mut routes = vec![route(&better, "better"), route(&lesser, "lesser")];
            if swapped {
                routes.reverse();
            }
            let view = view(vec![http_listener("http", "")], routes);
            assert_eq!(sends(&view, &head), "better", "{:?} over {:?}", better.0, lesser.0);
        }
    }
    let first = one_route(vec![rule(vec![matching("/a")], "first"), rule(vec![matching("/a")], "second")]);
    assert_eq!(sends(&first, &get("h/a")), "first");
}

#[test]
fn a_path_prefix_ends_at_an_element_and_case_counts() {
    // Checklist M3, M5.
    let view = one_route(vec![
        rule(vec![matching("/abc/")], "abc"),
        rule(vec![matching("/v2/example")], "deep"),
        rule(vec![matching("=/exact")], "exact"),
    ]);
    for (target, expected) in [
        ("h/abc", "abc"),
        ("h/abc/", "abc"),
        ("h/abc/d?e", "abc"),
        ("h/abcd", "404"),
        ("h/ABC", "404"),
        ("h/v2/example/", "deep"),
        ("h/v2", "404"),
        ("h/exact", "exact"),
        ("h/exact/", "404"),
        ("h/exact?q", "exact"),
        ("h/", "404"),
    ] {
        assert_eq!(sends(&view, &get(target)), expected, "{target}");
    }
    assert_eq!(sends(&one_route(vec![rule(vec![matching("/")], "all")]), &get("h/é/x")), "all");
    assert_eq!(sends(&one_route(vec![rule(vec![matching("/é")], "all")]), &get("h/è")), "404");
}

#[test]
fn a_method_matches_itself_and_a_websocket_over_http2_is_a_get() {
    let view = one_route(vec![
        rule(vec![with_method("/", Method::GET)], "get"),
        rule(vec![with_method("/", Method::POST)], "post"),
    ]);
    for (line, expected) in [
        ("GET h/", "get"),
        ("POST h/", "post"),
        ("PATCH h/", "404"),
        ("get h/", "404"),
        ("CONNECT h/", "404"),
    ] {
        assert_eq!(sends(&view, &request(line, &[])), expected, "{line}");
    }
    let mut websocket = request("CONNECT h/", &[]);
    websocket.protocol = Some("websocket".into());
    assert_eq!(sends(&view, &websocket), "get");
}

#[test]
fn headers_match_without_case_in_their_names_and_joined_by_commas() {
    // Checklist M4.
    let view = one_route(vec![rule(
        vec![
            with_headers("/", &[("version", "one,two"), ("host", "h:81")]),
            with_headers("/", &[("color", "~b.*e")]),
        ],
        "hit",
    )]);
    for (target, fields, expected) in [
        ("GET h:81/", &[("Version", "one,two")][..], "hit"),
        ("GET h:81/", &[("version", "one"), ("VERSION", "two")], "hit"),
        ("GET h:81/", &[("version", "one"), ("version", "two"), ("version", "three")], "404"),
        ("GET h:81/", &[("version", "one")], "404"),
        ("GET h/", &[("version", "one,two")], "404"),
        ("GET h/", &[("color", "blue")], "hit"),
        ("GET h/", &[("color", "black"), ("color", "white")], "hit"),
        ("GET h/", &[("color", "bluet")], "404"),
        ("GET h/", &[], "404"),
    ] {
        assert_eq!(sends(&view, &request(target, fields)), expected, "{target} {fields:?}");
    }
}

#[test]
fn query_parameters_are_decoded_and_the_first_of_a_name_counts() {
    // Checklist M4.
    let view = one_route(vec![
        rule(vec![with_query("/", &[("animal", "big whale")])], "exact"),
        rule(vec![with_query("/", &[("n", "~[0-9]+")])], "regex"),
        rule(vec![with_query("/", &[("flag", "")])], "flag"),
    ]);
    for (target, expected) in [
        ("h/?animal=big%20whale", "exact"),
        ("h/?animal=big+whale", "exact"),
        ("h/?%61nimal=big%20whale&x", "exact"),
        ("h/?animal=dolphin&animal=big+whale", "404"),
        ("h/?animal=big%2", "404"),
        ("h/?Animal=big+whale", "404"),
        ("h/?x=1&n=42", "regex"),
        ("h/?n=4x", "404"),
        ("h/?n=%ff", "404"),
        ("h/?flag", "flag"),
        ("h/?flag=", "flag"),
        ("h/", "404"),
    ] {
        assert_eq!(sends(&view, &get(target)), expected, "{target}");
    }
}

#[test]
fn a_grpc_client_is_told_in_its_own_words_that_nothing_is_there() {
    // Checklist L9, B5.
    let view = one_route(vec![rule(vec![matching("grpc:a.S/M")], "!")]);
    for (target, content_type, status, grpc) in [
        ("POST h/a.S/Other", "application/grpc", 404, Some(12)),
        ("POST h/a.S/Other", "application/grpc+proto", 404, Some(12)),
        ("POST h/a.S/Other", "application/grpc-web", 404, None),
        ("POST h/a.S/Other", "text/plain", 404, None),
        ("POST h/a.S/M", "application/grpc", 500, Some(14)),
        ("POST h/a.S/M", "text/plain", 500, None),
    ] {
        let head = request(target, &[("content-type", content_type)]);
        let Decision::Answer(answer) = view.decide(&plain(80), &head, 0) else { panic!("{target}") };
        assert_eq!((answer.status.as_u16(), answer.grpc_status), (status, grpc), "{target} {content_type}");
    }
}

#[test]
fn nothing_found_is_flagged_and_says_no_more_than_that() {
    // Checklist L9, M5.
    let view = one_route(vec![rule(vec![matching("/a")], "a")]);
    let Decision::Answer(answer) = view.decide(&plain(80), &get("h/b"), 0) else { panic!() };
    assert_eq!(answer.flags.to_string(), "NR");
    assert_eq!(answer.body, AnswerBody::Text("no route matched".into()));
    assert_eq!(answer.listener().map(ToString::to_string).as_deref(), Some("http"));
    assert_eq!(outcome(&view.decide(&plain(81), &get("h/a"), 0)), "404", "no such bind");
    let specific = self::view(
        vec![http_listener("http", "h")],
        vec![http_route("r", 0, &[("http", &["h"])], vec![rule(vec![matching("/")], "a")])],
    );
    assert_eq!(sends(&specific, &get("/")), "404", "HTTP/1.0 without Host");
}

#[test]
fn shares_follow_the_weights_and_invalid_backends_answer_for_theirs() {
    // Checklist B1, B3, B4.
    let weighted = |backends: &[(&str, u32)]| {
        let backends = backends.iter().map(|(name, weight)| (backend(name), *weight)).collect();
        one_route(vec![rule_with(vec![matching("/")], vec![], Weighted::new(backends))])
    };
    let shares = |view: &View<String>| {
        let mut shares = std::collections::BTreeMap::<String, u32>::new();
        for step in 0..100u64 {
            let draw = step * (u64::MAX / 100) + (1 << 40);
            *shares.entry(outcome(&view.decide(&plain(80), &get("h/"), draw))).or_default() += 1;
        }
        shares.into_iter().map(|(name, share)| format!("{name} {share}")).collect::<Vec<_>>().join(", ")
    };
    for (backends, expected) in [
        (&[("a", 70), ("b", 30), ("c", 0)][..], "a 70, b 30"),
        (&[("a", 1), ("!", 1)], "500 50, a 50"),
        (&[("!", 1)], "500 100"),
        (&[("a", 0)], "500 100"),
        (&[], "500 100"),
    ] {
        assert_eq!(shares(&weighted(backends)), expected);
    }
}

#[test]
fn a_cluster_that_is_not_there_is_an_invalid_backend_until_it_comes() {
    let listeners: Vec<Listener> = vec![http_listener("http", "")];
    let routes = vec![http_route("r", 0, &[("http", &[""])], vec![rule(vec![matching("/")], "late")])];
    let mut config = config(listeners, routes);
    let live = Rc::new(RefCell::new(None::<Rc<String>>));
    let source = Rc::clone(&live);
    let before = Compiled::from_nothing(&config);
    config.clusters.insert(ClusterKey::new("late"), Arc::new(cluster("late")));
    let after = before.next(&Arc::new(config));

    let view = View::new(Arc::new(before), Rc::new(move |_: &ClusterKey| source.borrow().clone()));
    assert_eq!(sends(&view, &get("h/")), "500");
    *live.borrow_mut() = Some(Rc::new("late".into()));
    assert_eq!(sends(&view, &get("h/")), "500", "a plan keeps what it was given");
    assert_eq!(sends(&view.next(Arc::new(after)), &get("h/")), "late");
}
