//! TCPRoute, UDPRoute and TLSRoute: bytes and datagrams as they are, both ways, to their ends, shared by weight.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

use ringway_e2e::{
    Authority, Connection, DEADLINE, Driver, Gateway, Port, eventually, fits, free_port, manifest,
    on_both_drivers,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use serde_json::{Value, json};

on_both_drivers!(
    each_direction_of_a_tcp_connection_ends_on_its_own,
    what_comes_in_plain_text_leaves_in_tls_where_a_policy_demands_it,
    a_tcp_backend_that_is_away_ends_the_connection,
    datagrams_of_a_client_keep_their_backend_and_come_back_to_it,
    tcp_connections_are_shared_by_weight_and_those_to_nobody_end,
    tls_connections_are_shared_by_weight_and_without_a_known_name_they_end,
    udp_flows_are_shared_by_weight_and_those_to_nobody_are_dropped,
    of_two_routes_the_older_has_a_listener_and_one_without_a_section_has_all,
);

/// Runs for each connection that comes in.
fn tcp_backend(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|number| (number * 31 % 251) as u8).collect()
}

fn each_direction_of_a_tcp_connection_ends_on_its_own(driver: Driver) {
    const LONG: usize = 3 << 20;
    let (listens, speaks) = (free_port(), free_port());
    // One reads to the end before it says a word; the other says everything, ends, and goes on reading.
    let listener = tcp_backend(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all == bytes(LONG));
        stream.write_all(&all).unwrap();
    });
    let (heard, hearing) = std::sync::mpsc::channel();
    let speaker = tcp_backend(move |mut stream| {
        stream.write_all(&bytes(LONG)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let _test_is_over = heard.send(all);
    });
    let mut objects = manifest::service("listens", &[listener]);
    objects.extend(manifest::service("speaks", &[speaker]));
    objects.push(manifest::gateway(json!([
        {"name": "listens", "port": listens.number(), "protocol": "TCP"},
        {"name": "speaks", "port": speaks.number(), "protocol": "TCP"},
    ])));
    for name in ["listens", "speaks"] {
        let mut route =
            manifest::route("TCPRoute", name, json!([{"backendRefs": [{"name": name, "port": 80}]}]));
        route["spec"]["parentRefs"][0]["sectionName"] = name.into();
        objects.push(route);
    }
    let _gateway = Gateway::start(driver, &objects);

    let mut client = Connection::open(("127.0.0.1", listens.number()));
    client.send(bytes(LONG)).end();
    assert!(client.rest().unwrap() == bytes(LONG), "all bytes, after the client had ended");

    let mut client = Connection::open(("127.0.0.1", speaks.number()));
    assert!(client.rest().unwrap() == bytes(LONG));
    client.send(b"still here").end();
    assert_eq!(hearing.recv_timeout(DEADLINE).unwrap(), b"still here", "sent after the backend had ended");
}

fn what_comes_in_plain_text_leaves_in_tls_where_a_policy_demands_it(driver: Driver) {
    const LONG: usize = 3 << 20;
    let authority = Authority::new("authority.test");
    let server = authority.sign(&["backend.test"]).server();
    let backend = tcp_backend(move |stream| {
        let session = ServerConnection::new(server.clone()).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let mut all = Vec::new();
        // Whoever does not speak TLS, or does not like the certificate, ends here.
        if stream.read_to_end(&mut all).is_ok() {
            stream.write_all(&all).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    });
    for (hostname, expected) in [("backend.test", bytes(LONG)), ("other.test", Vec::new())] {
        let port = free_port();
        let mut objects = manifest::service("secure", &[backend]);
        objects.push(manifest::authority("authority", &authority.pem));
        objects.push(manifest::backend_tls("secure", hostname, "authority"));
        objects.push(manifest::gateway(json!([{"name": "tcp", "port": port.number(), "protocol": "TCP"}])));
        objects.push(manifest::route(
            "TCPRoute",
            "secure",
            json!([{"backendRefs": [{"name": "secure", "port": 80}]}]),
        ));
        let _gateway = Gateway::start(driver, &objects);
        let mut client = Connection::open(("127.0.0.1", port.number()));
        // The connection to a backend that is not who it should be ends at once.
        if client.try_send(bytes(LONG)).is_ok() {
            client.end();
        }
        let came = client.rest().unwrap_or_default();
        assert!(came == expected, "{hostname}: {} bytes came back", came.len());
    }
}

fn a_tcp_backend_that_is_away_ends_the_connection(driver: Driver) {
    let (port, nobody) = (free_port(), free_port());
    let mut objects = manifest::service("away", &[([127, 0, 0, 1], nobody.number()).into()]);
    objects.push(manifest::gateway(json!([{"name": "tcp", "port": port.number(), "protocol": "TCP"}])));
    objects.push(manifest::route(
        "TCPRoute",
        "away",
        json!([{"backendRefs": [{"name": "away", "port": 80}]}]),
    ));
    let gateway = Gateway::start(driver, &objects);
    let mut client = Connection::open(("127.0.0.1", port.number()));
    let _ended_already = client.try_send(b"hello");
    // An end or a reset: nothing that looks like an answer.
    assert!(client.rest().map_or(true, |bytes| bytes.is_empty()));
    assert_eq!(gateway.admin("/live").status, 200);
}

fn datagrams_of_a_client_keep_their_backend_and_come_back_to_it(driver: Driver) {
    let port = free_port();
    let backend = |name: &'static str| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok((count, from)) = socket.recv_from(&mut buffer) {
                let mut reply = format!("{name} {} ", from.port()).into_bytes();
                reply.extend(&buffer[..count]);
                socket.send_to(&reply, from).unwrap();
            }
        });
        address
    };
    let mut objects = manifest::service_over("UDP", "echo", &[backend("a"), backend("b")], None);
    objects.push(manifest::gateway(json!([{"name": "udp", "port": port.number(), "protocol": "UDP"}])));
    objects.push(manifest::route(
        "UDPRoute",
        "echo",
        json!([{"backendRefs": [{"name": "echo", "port": 80}]}]),
    ));
    let _gateway = Gateway::start(driver, &objects);

    let mut names = std::collections::BTreeSet::new();
    for client in 0..16 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port.number())).unwrap();
        socket.set_read_timeout(Some(DEADLINE / 40)).unwrap();
        let mut session = None;
        for turn in 0..5 {
            let said = format!("client {client} turn {turn} {}", "x".repeat(turn * 300));
            let mut buffer = [0; 65_536];
            // UDP may lose what nobody had room for: asked again, like any client of it.
            let reply = eventually("a datagram comes back", || {
                socket.send(said.as_bytes()).unwrap();
                let count = socket.recv(&mut buffer).ok()?;
                let reply = String::from_utf8_lossy(&buffer[..count]).into_owned();
                reply.ends_with(&said).then_some(reply)
            });
            let from: Vec<String> = reply.split(' ').take(2).map(str::to_owned).collect();
            names.insert(from[0].clone());
            assert_eq!(*session.get_or_insert(from.clone()), from, "one session, one backend");
        }
    }
    assert_eq!(names.len(), 2, "sessions are spread: {names:?}");
}

/// Over so many connections a share is looked at.
const FLOWS: u64 = 300;

/// Waits for a first byte, says its name, and ends.
fn named(name: &'static str) -> SocketAddr {
    tcp_backend(move |mut stream| {
        let _ended_already = stream.read(&mut [0; 1024]).and_then(|_| stream.write_all(name.as_bytes()));
    })
}

/// Services `a` and `b` and a route to them, and to one that is not there, with weights 3, 1 and 1.
fn weighted(kind: &str, transport: &str, a: SocketAddr, b: SocketAddr) -> Vec<Value> {
    let backends = json!([
        {"name": "a", "port": 80, "weight": 3}, {"name": "b", "port": 80, "weight": 1},
        {"name": "missing", "port": 80, "weight": 1},
    ]);
    let mut objects = manifest::service_over(transport, "a", &[a], None);
    objects.extend(manifest::service_over(transport, "b", &[b], None));
    objects.push(manifest::route(kind, "weighted", json!([{ "backendRefs": backends }])));
    objects
}

/// What comes back on a connection that begins with these bytes; an end or a reset is nothing.
fn said(port: &Port, bytes: &[u8]) -> String {
    let mut client = Connection::open(("127.0.0.1", port.number()));
    let _ended_already = client.try_send(bytes);
    let mut said = Vec::new();
    // A reset after what was said takes nothing back.
    let _reset = client.transport().read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

fn are_shared(kind: &str, shares: &[(&str, f64)], flow: impl Fn() -> String) {
    let mut counts = BTreeMap::<String, u64>::new();
    for _ in 0..FLOWS {
        *counts.entry(flow()).or_default() += 1;
    }
    for (name, share) in shares {
        let hits = counts.get(*name).copied().unwrap_or_default();
        assert!(fits(hits, FLOWS, *share), "{kind}: {name:?} has {hits} of {FLOWS} instead of {share}");
    }
    assert_eq!(counts.len(), shares.len(), "{kind}: {counts:?}");
}

fn tcp_connections_are_shared_by_weight_and_those_to_nobody_end(driver: Driver) {
    let port = free_port();
    let mut objects = weighted("TCPRoute", "TCP", named("a"), named("b"));
    objects.push(manifest::gateway(json!([{"name": "tcp", "port": port.number(), "protocol": "TCP"}])));
    let _gateway = Gateway::start(driver, &objects);
    are_shared("TCPRoute", &[("a", 0.6), ("b", 0.2), ("", 0.2)], || said(&port, b"x"));
}

/// How a client begins that asks for a name; by an address it asks for none.
fn hello(name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Authority::new("any").client(&[], None), name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}

fn tls_connections_are_shared_by_weight_and_without_a_known_name_they_end(driver: Driver) {
    let port = free_port();
    let mut objects = weighted("TLSRoute", "TCP", named("a"), named("b"));
    let route = objects.iter_mut().find(|object| object["kind"] == "TLSRoute").unwrap();
    route["spec"]["hostnames"] = json!(["*.through.test"]);
    objects.push(manifest::gateway(json!([
        {"name": "tls", "port": port.number(), "protocol": "TLS", "tls": {"mode": "Passthrough"}},
    ])));
    let _gateway = Gateway::start(driver, &objects);
    let known = hello("x.through.test");
    are_shared("TLSRoute", &[("a", 0.6), ("b", 0.2), ("", 0.2)], || said(&port, &known));
    for name in ["through.test", "other.test", "127.0.0.1"] {
        let hello = hello(name);
        for _ in 0..10 {
            let said = said(&port, &hello);
            // An alert at most.
            assert!(said != "a" && said != "b", "{name}: {said:?}");
        }
    }
}

fn udp_flows_are_shared_by_weight_and_those_to_nobody_are_dropped(driver: Driver) {
    let (port, nobody) = (free_port(), free_port());
    let backend = |name: &'static str| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 100]) {
                socket.send_to(name.as_bytes(), from).unwrap();
            }
        });
        address
    };
    let mut objects = weighted("UDPRoute", "UDP", backend("a"), backend("b"));
    let route = objects.iter_mut().find(|object| object["kind"] == "UDPRoute").unwrap();
    route["spec"]["parentRefs"][0]["sectionName"] = "shared".into();
    // What is dropped cannot be told from what is late: the share of nobody has a listener of its own.
    route["spec"]["rules"][0]["backendRefs"].as_array_mut().unwrap().pop();
    let mut missing =
        manifest::route("UDPRoute", "missing", json!([{"backendRefs": [{"name": "missing", "port": 80}]}]));
    missing["spec"]["parentRefs"][0]["sectionName"] = "nobody".into();
    objects.extend([
        missing,
        manifest::gateway(json!([
            {"name": "shared", "port": port.number(), "protocol": "UDP"},
            {"name": "nobody", "port": nobody.number(), "protocol": "UDP"},
        ])),
    ]);
    let gateway = Gateway::start(driver, &objects);
    let to_nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    to_nobody.set_nonblocking(true).unwrap();
    to_nobody.send_to(b"x", ("127.0.0.1", nobody.number())).unwrap();
    are_shared("UDPRoute", &[("a", 0.75), ("b", 0.25)], || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port.number())).unwrap();
        socket.set_read_timeout(Some(DEADLINE / 40)).unwrap();
        eventually("a datagram comes back", || {
            socket.send(b"x").unwrap();
            let mut buffer = [0; 100];
            let count = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
        })
    });
    assert!(to_nobody.recv(&mut [0; 100]).is_err(), "nobody answers for a backend that is not there");
    assert_eq!(gateway.admin("/live").status, 200);
}

fn of_two_routes_the_older_has_a_listener_and_one_without_a_section_has_all(driver: Driver) {
    let (one, two, http) = (free_port(), free_port(), free_port());
    let names = ["older", "newer", "everywhere"];
    let mut objects: Vec<Value> =
        names.iter().flat_map(|name| manifest::service(name, &[named(name)])).collect();
    objects.push(manifest::gateway(json!([
        {"name": "one", "port": one.number(), "protocol": "TCP"},
        {"name": "two", "port": two.number(), "protocol": "TCP"},
        {"name": "http", "port": http.number(), "protocol": "HTTP"},
    ])));
    for (day, name) in (1..).zip(names) {
        let mut route =
            manifest::route("TCPRoute", name, json!([{"backendRefs": [{"name": name, "port": 80}]}]));
        route["metadata"]["creationTimestamp"] = format!("2026-01-0{day}T00:00:00Z").into();
        if name != "everywhere" {
            route["spec"]["parentRefs"][0]["sectionName"] = "one".into();
            route["spec"]["parentRefs"][0]["port"] = one.number().into();
        }
        objects.push(route);
    }
    let gateway = Gateway::start(driver, &objects);
    for _ in 0..10 {
        assert_eq!([said(&one, b"x"), said(&two, b"x")], ["older", "everywhere"]);
    }
    let answer = Connection::open(("127.0.0.1", http.number())).get("a.test", "/");
    assert_eq!(answer.status, 404, "a route of bytes attaches to no listener of HTTP");
    let generation = gateway.generation();
    objects.retain(|object| object["kind"] != "TCPRoute" || object["metadata"]["name"] != "older");
    gateway.set("gateway.yaml", &objects);
    eventually("the older has gone", || (gateway.generation() > generation).then_some(()));
    assert_eq!(said(&one, b"x"), "newer", "the next has what it waited for");
}
