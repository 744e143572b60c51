//! curl and h2load as clients: HTTP/1.1, HTTP/2 by ALPN and by prior knowledge.

use ringway_e2e::{Authority, Backend, Driver, Gateway, Reply, free_port, manifest, on_both_drivers, peer};
use serde_json::{Value, json};

on_both_drivers!(
    curl_speaks_http_1_and_2_with_and_without_tls,
    curl_uploads_and_downloads_what_is_long,
    h2load_gets_every_answer,
);

struct Edge {
    gateway: Gateway,
    plain: u16,
    tls: u16,
    _ports: [ringway_e2e::Port; 2],
}

fn edge(driver: Driver, backend: &Backend) -> Edge {
    let ports = [free_port(), free_port()];
    let (plain, tls) = (ports[0].number(), ports[1].number());
    let authority = Authority::new("authority");
    let mut objects = manifest::service("app", &[backend.address]);
    objects.push(manifest::gateway(json!([
        {"name": "http", "port": plain, "protocol": "HTTP"},
        manifest::https_listener("https", tls, "edge"),
    ])));
    objects.push(manifest::to_service("app"));
    objects.push(manifest::secret("edge", &authority.sign(&["localhost"])));
    let gateway = Gateway::start(driver, &objects);
    std::fs::write(gateway.folder().join("authority.pem"), authority.pem).unwrap();
    Edge { gateway, plain, tls, _ports: ports }
}

/// Flags of curl, and what they ask for.
fn ways(edge: &Edge) -> Vec<(&'static str, Vec<String>, String)> {
    let pem = edge.gateway.folder().join("authority.pem").display().to_string();
    let flags = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
    let (plain, tls) =
        (format!("http://localhost:{}", edge.plain), format!("https://localhost:{}", edge.tls));
    vec![
        ("1.1", flags(&["--http1.1"]), plain.clone()),
        ("2", flags(&["--http2-prior-knowledge"]), plain.clone()),
        ("1.1", flags(&["--http2", "-4"]), plain),
        ("1.1", flags(&["--http1.1", "--cacert", &pem]), tls.clone()),
        ("2", flags(&["--http2", "--cacert", &pem]), tls.clone()),
        ("2", flags(&["--http2", "--tlsv1.3", "--cacert", &pem]), tls.clone()),
        ("2", flags(&["--http2", "--tls-max", "1.2", "--cacert", &pem]), tls),
    ]
}

fn curl_speaks_http_1_and_2_with_and_without_tls(driver: Driver) {
    let backend = Backend::echo("app");
    let edge = edge(driver, &backend);
    for (version, flags, url) in ways(&edge) {
        let ask = |paths: &[&str]| {
            let mut curl = peer::curl();
            curl.args(&flags).args(["-w", "\n%{http_code} %{http_version} %{num_connects}\n"]);
            peer::run_well(
                curl.args(["-H", "x-asked: yes"]).args(paths.iter().map(|path| format!("{url}{path}"))),
            )
        };
        // Two requests, one connection; but curl 7.88 cannot use one again that it opened by prior knowledge.
        let shown = match flags[0].as_str() {
            "--http2-prior-knowledge" => ask(&["/first?a=b"]) + &ask(&["/second"]).replace("2 1\n", "2 0\n"),
            _ => ask(&["/first?a=b", "/second"]),
        };
        // An offer of h2c by upgrade is declined, and the request served as it is.
        let lines: Vec<&str> = shown.lines().collect();
        let [first, told, second, again] = lines[..] else { panic!("{flags:?}: {shown}") };
        assert_eq!(told, format!("200 {version} 1"), "{flags:?}");
        assert_eq!(again, format!("200 {version} 0"), "{flags:?}");
        let first: Value = serde_json::from_str(first).unwrap();
        let second: Value = serde_json::from_str(second).unwrap();
        assert_eq!((&first["target"], &second["target"]), (&"/first?a=b".into(), &"/second".into()));
        let fields = first["fields"].as_array().unwrap();
        assert!(fields.contains(&json!(["x-asked", "yes"])), "{first}");
        let scheme = url.split(':').next().unwrap();
        assert!(fields.contains(&json!(["x-forwarded-proto", scheme])), "{first}");
    }
}

fn curl_uploads_and_downloads_what_is_long(driver: Driver) {
    const LONG: usize = 20 << 20;
    let long: Vec<u8> = (0..LONG).map(|number| (number * 31 % 251) as u8).collect();
    let expected = long.clone();
    let backend = Backend::answering(move |request| match request.method.as_str() {
        "GET" => Reply::ok(expected.clone()),
        _ => Reply::ok(format!("{}", request.body == expected)),
    });
    let edge = edge(driver, &backend);
    let file = edge.gateway.folder().join("long");
    std::fs::write(&file, &long).unwrap();
    for (_, flags, url) in ways(&edge) {
        let out = edge.gateway.folder().join("out");
        peer::run_well(peer::curl().args(&flags).arg("-o").arg(&out).arg(format!("{url}/")));
        assert!(std::fs::read(&out).unwrap() == long, "{flags:?}");
        for expect in ["Expect: 100-continue", "Expect:"] {
            for framing in ["Transfer-Encoding:", "Transfer-Encoding: chunked"] {
                let mut curl = peer::curl();
                curl.args(&flags).args(["-H", expect, "-H", framing, "-T"]).arg(&file);
                let shown = peer::run_well(curl.arg(format!("{url}/up")));
                assert_eq!(shown, "true", "{flags:?} {expect} {framing}");
            }
        }
    }
}

fn h2load_gets_every_answer(driver: Driver) {
    let backend = Backend::answering(|_| Reply::ok(vec![b'x'; 1024]));
    let edge = edge(driver, &backend);
    for (flags, url) in [
        (&["--h1"][..], format!("http://localhost:{}/", edge.plain)),
        (&["--no-tls-proto=h2c"], format!("http://localhost:{}/", edge.plain)),
        (&["--npn-list=http/1.1"], format!("https://localhost:{}/", edge.tls)),
        (&["--npn-list=h2"], format!("https://localhost:{}/", edge.tls)),
    ] {
        let mut h2load = std::process::Command::new(peer::program("h2load"));
        h2load.args(flags).args(["-n", "4000", "-c", "20", "-m", "20", "-T", "20", "-N", "20"]).arg(&url);
        let shown = peer::run_well(&mut h2load);
        assert!(shown.contains("4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed"), "{shown}");
        assert!(shown.contains("status codes: 4000 2xx"), "{flags:?}: {shown}");
    }
}
