//! HTTP/1 as clients and backends see it, byte by byte, on both drivers.

mod common;

use std::time::{Duration, Instant};

use common::{Gate, Peer, Server, Setup, field, prefix_to, refusing, status, to};
use http::{HeaderName, HeaderValue};
use ringway_config::{ClusterKey, Filter, Fraction, HeaderEdits, HttpRule, Mirror, Retry, Timeouts};
use ringway_core::limits::Limits;
use ringway_core::record::{Event, Limit};
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// One rule, one backend.
fn one(driver: Driver, rule: HttpRule) -> (Gate, Server) {
    let backend = Server::listen();
    let gate = Setup::new().cluster("app", &[backend.address]).http(vec![rule]).serve(driver);
    (gate, backend)
}

/// The same, with limits of its own.
fn limited(driver: Driver, limits: Limits) -> (Gate, Server) {
    let backend = Server::listen();
    let setup = Setup::new().cluster("app", &[backend.address]).http(vec![to("app")]);
    (setup.serve_with(driver, 1, Settings { limits, ..Settings::default() }), backend)
}

/// The connection still serves requests, by the given connection to the backend or a new one.
fn goes_on(client: &mut Peer, backend: &Server, server: Option<&mut Peer>) {
    client.send("GET /next HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let mut fresh = None;
    let server = match server {
        Some(server) => server,
        None => fresh.insert(backend.accept()),
    };
    assert!(server.head().starts_with("GET /next "));
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext");
    let (head, body) = client.response();
    assert_eq!((status(&head), body.as_str()), (200, "next"));
}

fn timeouts(request: Option<u64>, backend_request: Option<u64>) -> Timeouts {
    Timeouts {
        request: request.map(Duration::from_millis),
        backend_request: backend_request.map(Duration::from_millis),
    }
}

/// A rule to "app" that sends copies to these clusters.
fn mirrored(to_clusters: &[&str]) -> HttpRule {
    let mirror =
        |name: &&str| Filter::Mirror(Mirror { cluster: ClusterKey::new(*name), fraction: Fraction::ALL });
    HttpRule { filters: to_clusters.iter().map(mirror).collect(), ..to("app") }
}

on_both_drivers! {
    fn a_copy_arrives_while_its_request_is_unanswered(driver: Driver) {
        let (backend, shadow) = (Server::listen(), Server::listen());
        let setup = Setup::new().cluster("app", &[backend.address]).cluster("shadow", &[shadow.address]);
        let gate = setup.http(vec![mirrored(&["shadow"])]).serve(driver);
        let mut client = gate.client();
        for body in ["", "hello"] {
            client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            let mut copy = shadow.accept();
            assert_eq!(field(&copy.head(), "host"), Some("a.test"));
            copy.expect(body);
            let mut server = backend.accept();
            server.head();
            server.expect(body);
            server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            assert_eq!(status(&client.response().0), 200);
            drop(copy);
        }
        gate.shows("ringway_mirrors_total{result=\"sent\"} 2");
    }

    fn a_copy_that_cannot_be_sent_leaves_the_request_alone(driver: Driver) {
        let (backend, silent) = (Server::listen(), Server::listen());
        let setup = Setup::new()
            .cluster("app", &[backend.address])
            .cluster("silent", &[silent.address])
            .cluster("refusing", &[refusing()]);
        let limits = Limits { mirrors_max: 2, replay_bytes_max: 8, ..Limits::default() };
        let settings = Settings { limits, ..Settings::default() };
        let gate = setup
            .http(vec![mirrored(&["refusing", "silent", "silent"])])
            .serve_with(driver, 1, settings);
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(status(&client.response().0), 200);
        // Two were allowed at once. The one that nobody answers is held.
        gate.shows("ringway_mirrors_total{result=\"dropped\"} 1");
        // A body that cannot be held is not copied.
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 9\r\n\r\n123456789");
        server.head();
        server.expect("123456789");
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(status(&client.response().0), 200);
        gate.shows("ringway_mirrors_total{result=\"dropped\"} 4");
        gate.shows("ringway_mirrors_total{result=\"sent\"} 2");
    }

    fn interim_responses_are_passed_on_but_not_without_end(driver: Driver) {
        let (gate, backend) =
            limited(driver, Limits { informational_max: 2, ..Limits::default() });
        let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        for (interim, expected) in [(2, 200), (3, 502)] {
            let mut client = gate.client();
            client.send(GET);
            let mut server = backend.accept();
            server.head();
            server.send(early.repeat(interim));
            server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            for _ in 0..2 {
                assert_eq!(status(&client.head()), 103);
            }
            assert_eq!(status(&client.response().0), expected);
        }
        gate.shows("ringway_limit_hits_total{limit=\"informational_max\"} 1");
        gate.shows("ringway_http_response_flags_total{listener=\"http\",flag=\"UPE\"} 1");
    }

    fn a_declared_body_over_the_limit_is_refused_before_it_is_read(driver: Driver) {
        let (gate, backend) = one(driver, HttpRule { request_body_bytes_max: Some(10), ..to("app") });
        let mut client = gate.client();
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 11\r\n\r\n");
        let (head, body) = client.response();
        assert_eq!((status(&head), field(&head, "connection")), (413, Some("close")), "{body}");
        client.ends();
        assert!(backend.is_unused());
        gate.counted(|report| report.hits(Limit::RequestBody) == 1);
    }

    fn a_body_of_unknown_length_is_cut_at_the_limit(driver: Driver) {
        let (gate, backend) = one(driver, HttpRule { request_body_bytes_max: Some(10), ..to("app") });
        let mut client = gate.client();
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        let mut server = backend.accept();
        server.head();
        server.expect("5\r\nhello\r\n");
        client.send("6\r\nworld!\r\n0\r\n\r\n");
        let (head, _) = client.response();
        assert_eq!((status(&head), field(&head, "connection")), (413, Some("close")));
        client.ends();
        server.gone();
        gate.counted(|report| report.hits(Limit::RequestBody) == 1);
    }

    fn a_client_that_is_refused_early_reads_its_answer_whole(driver: Driver) {
        let (gate, _backend) = one(driver, HttpRule { request_body_bytes_max: Some(10), ..to("app") });
        let mut client = gate.client();
        let body = vec![b'x'; 200_000];
        client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n", body.len()));
        client.send(&body);
        let (head, _) = client.response();
        assert_eq!(status(&head), 413);
        client.ends();
    }

    fn an_expectation_passes_end_to_end(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send("PUT / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
        let mut server = backend.accept();
        assert_eq!(field(&server.head(), "expect"), Some("100-continue"));
        server.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(status(&client.head()), 100);
        client.send("hello");
        server.expect("hello");
        server.send("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(status(&client.response().0), 201);
        goes_on(&mut client, &backend, Some(&mut server));
    }

    fn an_expectation_that_is_refused_costs_the_connection_but_not_the_answer(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send("PUT / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno");
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (401, "no"));
        client.ends();
        server.gone();
    }

    fn a_response_to_head_has_a_length_and_no_body(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send("HEAD / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let mut server = backend.accept();
        assert!(server.head().starts_with("HEAD / "));
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        let head = client.head();
        assert_eq!((status(&head), field(&head, "content-length")), (200, Some("1000")));
        goes_on(&mut client, &backend, Some(&mut server));
    }

    fn an_answer_of_ours_to_head_has_no_body_either(driver: Driver) {
        let backend = Server::listen();
        let setup = Setup::new().cluster("app", &[backend.address]).http(vec![prefix_to("/next", "app")]);
        let gate = setup.serve(driver);
        let mut client = gate.client();
        client.send("HEAD / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let head = client.head();
        assert_eq!(status(&head), 404);
        assert_ne!(field(&head, "content-length"), Some("0"));
        goes_on(&mut client, &backend, None);
    }

    fn informational_responses_pass_to_clients_that_know_them(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send(hints);
        let head = client.head();
        assert_eq!((status(&head), field(&head, "link")), (103, Some("</style.css>")));
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(status(&client.response().0), 200);

        let mut old = gate.client();
        old.send("GET / HTTP/1.0\r\nhost: a.test\r\n\r\n");
        server.head();
        server.send(hints);
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let (head, body) = old.response();
        assert_eq!((status(&head), field(&head, "connection"), body.as_str()), (200, Some("close"), "ok"));
        old.ends();
    }

    fn a_client_of_before_http11_is_served_as_it_expects(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send("GET / HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\n\r\n");
        let mut server = backend.accept();
        assert!(server.head().starts_with("GET / HTTP/1.1\r\n"));
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let (head, body) = client.response();
        assert_eq!((field(&head, "connection"), body.as_str()), (Some("keep-alive"), "ok"));

        client.send("GET / HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\n\r\n");
        server.head();
        server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        let head = client.head();
        assert_eq!((field(&head, "connection"), field(&head, "transfer-encoding")), (Some("close"), None));
        assert_eq!(client.rest(), b"ok");
    }

    fn pipelined_requests_are_answered_in_order(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send(concat!(
            "GET /1 HTTP/1.1\r\nhost: a.test\r\n\r\n",
            "POST /2 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\ntwo",
            "POST /3 HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n",
            "GET /4 HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n",
        ));
        let mut server = backend.accept();
        for (line, body) in
            [("GET /1 ", ""), ("POST /2 ", "two"), ("POST /3 ", "5\r\nthree\r\n0\r\n\r\n"), ("GET /4 ", "")]
        {
            let head = server.head();
            assert!(head.starts_with(line), "{head}");
            server.expect(body);
            server.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len()));
            assert_eq!(client.response().1, line);
        }
        client.ends();
    }

    fn a_connection_outlives_errors_of_ours(driver: Driver) {
        let backend = Server::listen();
        let setup = Setup::new()
            .cluster("app", &[backend.address])
            .cluster("empty", &[])
            .http(vec![prefix_to("/next", "app"), prefix_to("/empty", "empty")]);
        let gate = setup.serve(driver);
        let mut client = gate.client();
        for (request, expected) in [
            ("GET /nowhere HTTP/1.1\r\nhost: a.test\r\n\r\n", 404),
            ("GET /empty HTTP/1.1\r\nhost: a.test\r\n\r\n", 503),
            // A body that came along is read, so that what follows it is a request.
            ("POST /empty HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello", 503),
            ("POST /no HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 404),
        ] {
            client.send(request);
            let (head, _) = client.response();
            assert_eq!((status(&head), field(&head, "connection")), (expected, None), "{request}");
        }
        goes_on(&mut client, &backend, None);
    }

    fn an_answer_to_a_body_that_is_still_to_come_says_that_the_connection_ends(driver: Driver) {
        let (gate, _backend) = one(driver, prefix_to("/next", "app"));
        let mut client = gate.client();
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\nthe beginning");
        let (head, _) = client.response();
        assert_eq!((status(&head), field(&head, "connection")), (404, Some("close")));
        client.ends();
    }

    fn what_is_no_request_is_refused_and_the_limit_named(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let long = "x".repeat(20_000);
        let many = "a: b\r\n".repeat(200);
        let large = format!("a: {}\r\n", "x".repeat(8000)).repeat(9);
        for (request, expected, limit) in [
            ("\x16\x03\x01\x00\x05hello\r\n\r\n".to_owned(), 400, None),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, None),
            (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 414, Some(Limit::RequestLine)),
            (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431, Some(Limit::HeaderCount)),
            (format!("GET / HTTP/1.1\r\nhost: a\r\n{large}\r\n"), 431, Some(Limit::HeaderBytes)),
        ] {
            let mut client = gate.client();
            client.send(&request);
            let (head, body) = client.response();
            assert_eq!((status(&head), field(&head, "connection")), (expected, Some("close")), "{body}");
            client.ends();
            if let Some(limit) = limit {
                gate.counted(|report| report.hits(limit) == 1);
            }
        }
        assert!(backend.is_unused());
    }

    fn a_head_that_does_not_come_to_an_end_is_answered_in_time(driver: Driver) {
        let limits = Limits { header_read_timeout: Duration::from_millis(100), ..Limits::default() };
        let (gate, _backend) = limited(driver, limits);
        let mut client = gate.client();
        client.send("GET / HTTP/1.1\r\nhost: a.");
        assert_eq!(status(&client.response().0), 408);
        client.ends();
        gate.counted(|report| report.hits(Limit::HeaderRead) == 1);
    }

    fn a_body_that_does_not_come_to_an_end_is_answered_in_time(driver: Driver) {
        let limits = Limits { body_idle_timeout: Duration::from_millis(100), ..Limits::default() };
        let (gate, backend) = limited(driver, limits);
        let mut client = gate.client();
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nhello");
        let mut server = backend.accept();
        server.head();
        server.expect("hello");
        let (head, _) = client.response();
        assert_eq!((status(&head), field(&head, "connection")), (408, Some("close")));
        client.ends();
        server.gone();
        gate.counted(|report| report.hits(Limit::BodyIdle) == 1);
    }

    fn an_idle_connection_is_closed_in_time(driver: Driver) {
        let limits = Limits { idle_timeout: Duration::from_millis(100), ..Limits::default() };
        let (gate, backend) = limited(driver, limits);
        let mut client = gate.client();
        client.ends();
        let mut client = gate.client();
        goes_on(&mut client, &backend, None);
        client.ends();
        gate.counted(|report| report.hits(Limit::Idle) == 2);
    }

    fn a_request_that_was_lost_on_a_reused_connection_is_sent_again(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        goes_on(&mut client, &backend, None);
        // The backend that was spoken to just now is gone, which the proxy learns with its next request.
        let (gate, backend) = (gate, backend);
        client.send("GET /first HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        client.response();
        client.send("GET /again HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert!(server.head().starts_with("GET /again "));
        server.reset();
        let mut server = backend.accept();
        assert!(server.head().starts_with("GET /again "));
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(status(&client.response().0), 200);
        gate.counted(|report| report.events(Event::RequestEnded) == 3);
    }

    fn a_request_that_is_not_idempotent_is_not_sent_again(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        client.response();
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello");
        server.head();
        server.expect("hello");
        drop(server);
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (503, "upstream_closed_reused_connection"));
        assert!(backend.is_unused());
        goes_on(&mut client, &backend, None);
    }

    fn a_request_that_a_1xx_told_of_is_not_sent_again(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        client.response();
        // On a reused connection, so that it would be if nothing had come.
        client.send(GET);
        server.head();
        server.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        assert_eq!(status(&client.head()), 103);
        drop(server);
        assert!(status(&client.response().0) >= 502);
        assert!(backend.is_unused());
    }

    fn a_connection_that_the_backend_closed_while_idle_is_not_used(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        client.response();
        drop(server);
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello");
        let mut server = backend.accept();
        server.head();
        server.expect("hello");
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(status(&client.response().0), 200);
    }

    fn an_endpoint_that_refuses_is_passed_over_also_for_a_post(driver: Driver) {
        let backend = Server::listen();
        let endpoints = [refusing(), backend.address];
        let gate = Setup::new().cluster("app", &endpoints).http(vec![to("app")]).serve(driver);
        let mut client = gate.client();
        let mut server = None;
        for _ in 0..4 {
            client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello");
            let server = server.get_or_insert_with(|| backend.accept());
            server.head();
            server.expect("hello");
            server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            assert_eq!(status(&client.response().0), 200);
        }
        let report = gate.counted(|report| report.events(Event::RequestEnded) == 4);
        assert_eq!(report.events(Event::UpstreamConnected), 1);
        assert!(report.events(Event::UpstreamConnectFailed) >= 1);
        assert_eq!(report.events(Event::UpstreamReused), 3);
    }

    fn when_every_endpoint_refuses_the_answer_says_so(driver: Driver) {
        let endpoints = [refusing(), refusing()];
        let gate = Setup::new().cluster("app", &endpoints).http(vec![to("app")]).serve(driver);
        let mut client = gate.client();
        client.send(GET);
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (503, "upstream_connect_failure"));
        gate.shows(r#"ringway_http_response_flags_total{listener="http",flag="UF"} 1"#);
    }

    fn a_policys_statuses_are_tried_again(driver: Driver) {
        let retry = Retry { codes: vec![503], attempts: 1, backoff: Some(Duration::from_millis(1)) };
        let (gate, backend) = one(driver, HttpRule { retry: Some(retry), ..to("app") });
        let mut client = gate.client();
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello");
        let mut server = backend.accept();
        server.head();
        server.expect("hello");
        server.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno");
        let mut server = backend.accept();
        server.head();
        server.expect("hello");
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(status(&client.response().0), 200);
        gate.shows(r#"ringway_backend_retries_total{backend="app"} 1"#);
    }

    fn a_request_that_takes_too_long_is_answered_504(driver: Driver) {
        for timeouts in [timeouts(Some(100), None), timeouts(None, Some(100))] {
            let (gate, backend) = one(driver, HttpRule { timeouts, ..to("app") });
            let mut client = gate.client();
            client.send(GET);
            let mut server = backend.accept();
            server.head();
            assert_eq!(status(&client.response().0), 504);
            server.gone();
            goes_on(&mut client, &backend, None);
        }
    }

    fn a_response_that_takes_too_long_is_cut_off(driver: Driver) {
        let (gate, backend) = one(driver, HttpRule { timeouts: timeouts(Some(200), None), ..to("app") });
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
        assert_eq!(status(&client.head()), 200);
        client.expect("hello");
        client.broken();
        server.gone();
    }

    fn silence_instead_of_a_response_is_answered_504(driver: Driver) {
        let limits = Limits { response_header_timeout: Duration::from_millis(100), ..Limits::default() };
        let (gate, backend) = limited(driver, limits);
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        assert_eq!(status(&client.response().0), 504);
        server.gone();
        gate.counted(|report| report.hits(Limit::ResponseHeader) == 1);
        goes_on(&mut client, &backend, None);
    }

    fn an_upgraded_connection_is_a_tunnel_with_half_close(driver: Driver) {
        // The time for a request is over with the upgrade.
        let limit = Duration::from_secs(1);
        let timeouts = Timeouts { request: Some(limit), backend_request: Some(limit) };
        let (gate, backend) = one(driver, HttpRule { timeouts, ..to("app") });
        let begun = Instant::now();
        let mut client = gate.client();
        client.send(concat!(
            "GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly",
        ));
        let mut server = backend.accept();
        let head = server.head();
        assert_eq!(field(&head, "upgrade"), Some("websocket"));
        assert_eq!(field(&head, "connection"), Some("upgrade"));
        server.send(concat!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n",
            "sec-websocket-accept: x\r\n\r\nwelcome",
        ));
        let head = client.head();
        assert_eq!((status(&head), field(&head, "upgrade")), (101, Some("websocket")));
        assert_eq!(field(&head, "connection"), Some("upgrade"));
        client.expect("welcome");
        server.expect("early");
        let mut rounds = 0;
        while begun.elapsed() < 2 * limit {
            client.send("ping");
            server.expect("ping");
            server.send("pong");
            client.expect("pong");
            rounds += 1;
        }
        client.send("last");
        client.half_close();
        assert_eq!(server.rest(), b"last");
        server.send("goodbye");
        drop(server);
        assert_eq!(client.rest(), b"goodbye");
        let (up, down) = (rounds * 4 + "early".len() + "last".len(), rounds * 4 + "welcome".len() + "goodbye".len());
        gate.shows(&format!(r#"ringway_http_request_body_bytes_total{{listener="http"}} {up}"#));
        gate.shows(&format!(r#"ringway_http_response_body_bytes_total{{listener="http"}} {down}"#));
    }

    fn an_upgrade_that_the_backend_declines_is_an_ordinary_request(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno");
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (426, "no"));
        goes_on(&mut client, &backend, Some(&mut server));
    }

    fn a_switch_that_nobody_asked_for_is_an_error(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
        assert_eq!(status(&client.response().0), 502);
        server.gone();
        goes_on(&mut client, &backend, None);
    }

    fn chunks_and_trailers_pass_both_ways(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send(concat!(
            "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\nte: trailers\r\n\r\n",
            "5;name=value\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        ));
        let mut server = backend.accept();
        let head = server.head();
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(field(&head, "te"), Some("trailers"));
        server.expect("5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
        server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
        let head = client.head();
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
        client.expect("3\r\nabc\r\n");
        server.send("0\r\ngrpc-status: 0\r\n\r\n");
        client.expect("0\r\ngrpc-status: 0\r\n\r\n");
        goes_on(&mut client, &backend, Some(&mut server));
    }

    fn a_response_until_close_leaves_the_clients_connection_open(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\n\r\nhello");
        let head = client.head();
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
        client.expect("5\r\nhello\r\n");
        drop(server);
        client.expect("0\r\n\r\n");
        goes_on(&mut client, &backend, None);
    }

    fn a_response_that_is_cut_off_is_not_passed_on_as_whole(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        for head in ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\na\r\nhello"] {
            let mut client = gate.client();
            client.send(GET);
            let mut server = backend.accept();
            server.head();
            server.send(format!("HTTP/1.1 200 OK\r\n{head}"));
            client.until(b"hello");
            drop(server);
            let rest = client.broken();
            assert!(!rest.ends_with(b"0\r\n\r\n"));
        }
        gate.shows(r#"ringway_http_response_flags_total{listener="http",flag="UC"} 2"#);
    }

    fn a_response_that_cannot_be_understood_is_answered_502(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        for response in [
            "SSH-2.0-OpenSSH_9.6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        ] {
            client.send(GET);
            let mut server = backend.accept();
            server.head();
            server.send(response);
            assert_eq!(status(&client.response().0), 502, "{response}");
            server.gone();
        }
        goes_on(&mut client, &backend, None);
    }

    fn an_early_response_to_a_large_upload_reaches_the_client(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        let length = 64 << 20;
        client.send(format!("PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n"));
        client.send([b'x'; 1000]);
        let mut server = backend.accept();
        server.head();
        server.exactly(1000);
        server.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (403, "no"));
        client.ends();
    }

    fn a_client_that_goes_away_costs_the_backend_nothing(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nhello");
        let mut server = backend.accept();
        server.head();
        server.expect("hello");
        drop(client);
        server.gone();

        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
        client.head();
        client.reset();
        while server.try_send([b'x'; 4096]).is_ok() {}
        gate.shows(r#"ringway_http_response_flags_total{listener="http",flag="DC"} 2"#);
    }

    fn a_client_that_is_gone_is_noticed_while_the_backend_is_silent(driver: Driver) {
        let (gate, backend) = one(driver, to("app"));
        let begin = || {
            let mut client = gate.client();
            client.send(GET);
            let mut server = backend.accept();
            server.head();
            (client, server)
        };
        let (client, mut server) = begin();
        client.reset();
        server.gone();

        let (mut client, mut server) = begin();
        client.send("GET /nobody/reads/this HTTP/1.1\r\n");
        client.reset();
        server.gone();

        let (mut client, mut server) = begin();
        client.half_close();
        client.reset();
        server.gone();

        let (mut client, mut server) = begin();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
        client.head();
        client.expect("hello");
        client.reset();
        server.gone();

        let (mut client, mut server) = begin();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        client.head();
        client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello");
        server.head();
        server.expect("hello");
        client.reset();
        server.gone();

        gate.shows(r#"ringway_http_response_flags_total{listener="http",flag="DC"} 5"#);
        gate.shows("ringway_connections_active 0");
    }

    fn a_client_that_has_sent_all_or_more_is_not_gone(driver: Driver) {
        // One core, so that what has waited for longer was looked at before.
        let (gate, backend) = limited(driver, Limits::default());
        let begin = || {
            let mut client = gate.client();
            client.send(GET);
            let mut server = backend.accept();
            server.head();
            (client, server)
        };
        let (mut half, mut to_half) = begin();
        half.half_close();
        let (mut eager, mut to_eager) = begin();
        eager.send("GET /second HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let (mut late, mut to_late) = begin();
        late.send("GET /never/read HTTP/1.1\r\n");
        for _ in 0..2 {
            let (client, mut server) = begin();
            client.reset();
            server.gone();
        }
        // That there was something from it to read has not ended the watch.
        late.reset();
        to_late.gone();
        to_half.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(half.response().1, "ok");
        half.ends();
        to_eager.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nfirst");
        assert_eq!(eager.response().1, "first");
        let mut server = to_half.next_or(&backend);
        assert!(server.head().starts_with("GET /second "));
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond");
        assert_eq!(eager.response().1, "second");
        gate.shows(r#"ringway_http_response_flags_total{listener="http",flag="DC"} 3"#);
    }

    fn a_request_keeps_the_rule_it_began_with(driver: Driver) {
        let backend = Server::listen();
        let versioned = |version: &'static str| {
            let pair = (HeaderName::from_static("x-version"), HeaderValue::from_static(version));
            let edits = HeaderEdits { set: vec![pair], ..HeaderEdits::default() };
            let rule = HttpRule { filters: vec![Filter::ResponseHeaders(edits)], ..to("app") };
            Setup::new().cluster("app", &[backend.address]).http(vec![rule])
        };
        let mut gate = versioned("1").serve(driver);
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        gate.apply(versioned("2"));
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(field(&client.response().0, "x-version"), Some("1"));
        client.send(GET);
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(field(&client.response().0, "x-version"), Some("2"));
    }

    fn a_drain_serves_the_first_request_of_who_came_before_it(driver: Driver) {
        let (mut gate, backend) = one(driver, to("app"));
        let mut idle = gate.client();
        idle.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        idle.response();
        let mut silent = gate.client();
        gate.counted(|counted| counted.events(Event::ConnectionAccepted) == 2);
        let drained = std::thread::spawn(move || gate.proxy.drain(common::PATIENCE));
        // The drain has begun.
        idle.ends();
        silent.send(GET);
        server.head();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let (head, _) = silent.response();
        assert_eq!((status(&head), field(&head, "connection")), (200, Some("close")));
        silent.ends();
        drop(silent);
        assert!(drained.join().unwrap());
    }

    fn a_drain_ends_connections_with_their_next_response(driver: Driver) {
        let (mut gate, backend) = one(driver, to("app"));
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        let mut idle = gate.client();
        // Served once, so that it was accepted before the drain.
        idle.send("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let mut other = backend.accept();
        other.head();
        other.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        idle.response();
        let drained = std::thread::spawn(move || gate.proxy.drain(common::PATIENCE));
        idle.ends();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let (head, _) = client.response();
        assert_eq!((status(&head), field(&head, "connection")), (200, Some("close")));
        client.ends();
        drop(client);
        assert!(drained.join().unwrap());
    }
}
