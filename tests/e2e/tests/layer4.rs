//! TCPRoute and UDPRoute: bytes and datagrams as they are, both ways, to their ends.
//!
//! Features: TCPRoute, UDPRoute

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

use ringway_e2e::{Connection, DEADLINE, Driver, Gateway, eventually, free_port, manifest, on_both_drivers};
use serde_json::json;

on_both_drivers!(
    each_direction_of_a_tcp_connection_ends_on_its_own,
    a_tcp_backend_that_is_away_ends_the_connection,
    datagrams_of_a_client_keep_their_backend_and_come_back_to_it,
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
