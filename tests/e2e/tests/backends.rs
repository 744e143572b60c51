//! nginx and HAProxy as backends: keep-alive, chunks, long bodies, Expect, HEAD, early hints, h2c, TLS and client
//! certificates.

use std::io::Write;

use ringway_e2e::{
    Authority, Backend, Connection, Driver, Gateway, Port, free_port, manifest, on_both_drivers, peer,
};
use serde_json::{Value, json};

on_both_drivers!(
    nginx_serves_short_and_long_chunked_and_no_bodies,
    nginx_restarted_costs_no_request,
    nginx_with_tls_is_verified,
    nginx_that_asks_for_a_certificate_gets_it,
    haproxy_serves_over_http_1_and_h2c,
    haproxy_hints_early_and_both_answers_pass,
);

fn objects(port: &Port, backend: &Port, protocol: Option<&str>) -> Vec<Value> {
    let endpoint = ([127, 0, 0, 1], backend.number()).into();
    let mut objects = manifest::service_speaking("app", &[endpoint], protocol);
    objects.extend([manifest::http_gateway(port.number()), manifest::to_service("app")]);
    objects
}

fn long() -> Vec<u8> {
    (0..10_000_000).map(|number: u32| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn nginx_serves_short_and_long_chunked_and_no_bodies(driver: Driver) {
    let port = free_port();
    let long = long();
    let text = "a line that compresses well\n".repeat(10_000);
    let upload = Backend::answering(|request| ringway_e2e::Reply::ok(request.body.len().to_string()));
    let http = format!(
        "gzip on; gzip_types text/plain; keepalive_requests 100000;\n\
         server {{ listen 127.0.0.1:PORT; location / {{ add_header x-connection $connection; }}\n\
         location /up {{ proxy_pass http://{}; }} location /none {{ return 204; }} }}",
        upload.address
    );
    let files: &[(&str, &[u8])] =
        &[("short.txt", b"short"), ("long.bin", &long), ("text.txt", text.as_bytes())];
    let (nginx, _nginx) = peer::nginx(files, &http);
    let _gateway = Gateway::start(driver, &objects(&port, &nginx, None));
    let mut client = Connection::open(("127.0.0.1", port.number()));

    let mut upstream = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = client.get("app.test", "/short.txt");
        assert_eq!((answer.status, answer.text().as_str()), (200, "short"));
        upstream.insert(answer.field("x-connection").unwrap().to_owned());
    }
    assert_eq!(upstream.len(), 1, "one upstream connection serves them all");

    assert!(client.get("app.test", "/long.bin").body == long);
    let chunked =
        client.send("GET /text.txt HTTP/1.1\r\nhost: app.test\r\naccept-encoding: gzip\r\n\r\n").answer();
    assert_eq!(chunked.field("transfer-encoding"), Some("chunked"));
    assert_eq!(chunked.field("content-encoding"), Some("gzip"));
    assert!(chunked.body.len() < text.len() / 10 && !chunked.body.is_empty());

    client.send("HEAD /long.bin HTTP/1.1\r\nhost: app.test\r\n\r\n");
    let head = client.try_answer(true).unwrap();
    assert_eq!(head.field("content-length"), Some("10000000"));
    assert_eq!(client.get("app.test", "/none").status, 204);
    let range = client.send("GET /long.bin HTTP/1.1\r\nhost: app.test\r\nrange: bytes=5-14\r\n\r\n").answer();
    assert_eq!((range.status, &*range.body), (206, &long[5..15]));

    client.send(format!(
        "PUT /up HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        long.len()
    ));
    assert_eq!(client.head().unwrap().status, 100, "nginx wants the body, and says so");
    assert_eq!(client.send(&long).answer().text(), "10000000");
    client.send("PUT /up HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in long.chunks(70_000) {
        let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
        framed.write_all(chunk).unwrap();
        framed.write_all(b"\r\n").unwrap();
        client.send(framed);
    }
    assert_eq!(client.send("0\r\n\r\n").answer().text(), "10000000");
    assert_eq!(client.get("app.test", "/short.txt").text(), "short", "and the connection goes on");
}

fn nginx_restarted_costs_no_request(driver: Driver) {
    let port = free_port();
    // Each of its connections serves three requests and is closed: reused ones are closed under our hands.
    let http = "keepalive_requests 3; server { listen 127.0.0.1:PORT; }";
    let (nginx, _nginx) = peer::nginx(&[("short.txt", b"short")], http);
    let _gateway = Gateway::start(driver, &objects(&port, &nginx, None));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let address = ("127.0.0.1", port.number());
            std::thread::spawn(move || {
                let mut client = Connection::open(address);
                for _ in 0..250 {
                    let answer = client.get("app.test", "/short.txt");
                    assert_eq!((answer.status, answer.text().as_str()), (200, "short"));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

fn nginx_with_tls_is_verified(driver: Driver) {
    let authority = Authority::new("authority");
    let stranger = Authority::new("stranger");
    let good = authority.sign(&["backend.test"]);
    let http = "server { listen 127.0.0.1:PORT ssl; ssl_certificate ROOT/good.crt; ssl_certificate_key ROOT/good.key;\n\
                ssl_protocols TLSv1.2 TLSv1.3; location / { return 200 \"$ssl_protocol $ssl_server_name\"; } }";
    let files: &[(&str, &[u8])] = &[("good.crt", good.cert.as_bytes()), ("good.key", good.key.as_bytes())];
    let (nginx, _nginx) = peer::nginx(files, http);
    for (hostname, pem, trusted) in [
        ("backend.test", &authority.pem, true),
        ("other.test", &authority.pem, false),
        ("backend.test", &stranger.pem, false),
    ] {
        let port = free_port();
        let mut objects = objects(&port, &nginx, None);
        objects.push(manifest::authority("authority", pem));
        objects.push(manifest::backend_tls("app", hostname, "authority"));
        let _gateway = Gateway::start(driver, &objects);
        let answer = Connection::open(("127.0.0.1", port.number())).get("app.test", "/");
        if trusted {
            assert_eq!((answer.status, answer.text().as_str()), (200, "TLSv1.3 backend.test"));
        } else {
            assert!([502, 503].contains(&answer.status), "{hostname}: {answer:?}");
        }
    }
}

fn nginx_that_asks_for_a_certificate_gets_it(driver: Driver) {
    let port = free_port();
    let authority = Authority::new("authority");
    let good = authority.sign(&["backend.test"]);
    let http = "server { listen 127.0.0.1:PORT ssl; ssl_certificate ROOT/good.crt; ssl_certificate_key ROOT/good.key;\n\
                ssl_client_certificate ROOT/ca.pem; ssl_verify_client on;\n\
                location / { return 200 \"$ssl_client_verify $ssl_client_s_dn\"; } }";
    let files: &[(&str, &[u8])] = &[
        ("good.crt", good.cert.as_bytes()),
        ("good.key", good.key.as_bytes()),
        ("ca.pem", authority.pem.as_bytes()),
    ];
    let (nginx, _nginx) = peer::nginx(files, http);
    let mut objects = objects(&port, &nginx, None);
    objects.push(manifest::authority("authority", &authority.pem));
    objects.push(manifest::backend_tls("app", "backend.test", "authority"));
    objects.push(manifest::secret("ours", &authority.sign(&["gateway.test"])));
    for object in &mut objects {
        if object["kind"] == "Gateway" {
            object["spec"]["tls"] = json!({"backend": {"clientCertificateRef": {"name": "ours"}}});
        }
    }
    let _gateway = Gateway::start(driver, &objects);
    let answer = Connection::open(("127.0.0.1", port.number())).get("app.test", "/");
    assert_eq!((answer.status, answer.text().as_str()), (200, "SUCCESS CN=gateway.test"), "{answer:?}");
}

fn haproxy_serves_over_http_1_and_h2c(driver: Driver) {
    for (bind, protocol, version) in [("", None, "1.1"), (" proto h2", Some("kubernetes.io/h2c"), "2.0")] {
        let port = free_port();
        let long = Backend::answering(|_| ringway_e2e::Reply::ok(vec![b'x'; 3 << 20]));
        let sections = format!(
            "frontend f\n  mode http\n  bind 127.0.0.1:PORT{bind}\n\
             \x20 http-request return status 200 content-type text/plain lf-string \"%[req.ver] %[path]\" if {{ path_beg /ver }}\n\
             \x20 http-request return status 418 content-type text/plain string \"no coffee\" if {{ path_beg /tea }}\n\
             \x20 default_backend b\nbackend b\n  mode http\n  server s {}\n",
            long.address
        );
        let (haproxy, _haproxy) = peer::haproxy(&[], &sections);
        let _gateway = Gateway::start(driver, &objects(&port, &haproxy, protocol));
        let mut client = Connection::open(("127.0.0.1", port.number()));
        for _ in 0..10 {
            let answer = client.get("app.test", "/version");
            assert_eq!((answer.status, answer.text()), (200, format!("{version} /version")));
        }
        let answer = client.get("app.test", "/tea");
        assert_eq!((answer.status, answer.text().as_str()), (418, "no coffee"));
        assert!(client.get("app.test", "/long").body == vec![b'x'; 3 << 20]);
        client.send("HEAD /long HTTP/1.1\r\nhost: app.test\r\n\r\n");
        assert_eq!(client.try_answer(true).unwrap().field("content-length"), Some("3145728"));
        let body = vec![b'y'; 2 << 20];
        client
            .send(format!("POST /post HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\n\r\n", body.len()));
        assert_eq!(client.send(&body).answer().status, 200);
        assert_eq!(client.get("app.test", "/version").status, 200, "and the connection goes on");
    }
}

fn haproxy_hints_early_and_both_answers_pass(driver: Driver) {
    let port = free_port();
    let sections = "frontend f\n  mode http\n  bind 127.0.0.1:PORT\n\
                    \x20 http-request early-hint Link \"</style.css>; rel=preload\"\n\
                    \x20 http-request return status 200 content-type text/plain string done\n";
    let (haproxy, _haproxy) = peer::haproxy(&[], sections);
    let _gateway = Gateway::start(driver, &objects(&port, &haproxy, None));
    let mut client = Connection::open(("127.0.0.1", port.number()));
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n");
    let hint = client.head().unwrap();
    assert_eq!((hint.status, hint.field("link")), (103, Some("</style.css>; rel=preload")));
    assert_eq!(client.answer().text(), "done");

    let mut curl = peer::curl();
    curl.args(["--http2-prior-knowledge", "-i", &format!("http://127.0.0.1:{}/", port.number())]);
    let shown = peer::run_well(&mut curl);
    assert!(shown.starts_with("HTTP/2 103"), "{shown}");
    assert!(shown.contains("HTTP/2 200") && shown.ends_with("done"), "{shown}");
}
