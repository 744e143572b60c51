//! UDP as clients and backends see it, on both drivers.

mod common;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use common::{Gate, PATIENCE, Setup, all_to};
use ringway_core::limits::Limits;
use ringway_core::record::{Event, Limit};
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;

const LOCALHOST: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// The next datagram, and who sent it.
fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 65535];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8(buffer[..length].to_vec()).unwrap(), from)
}

/// A datagram to the proxy and the reply to it.
fn round(client: &UdpSocket, gate: SocketAddr, server: &UdpSocket, text: &str) {
    client.send_to(text.as_bytes(), gate).unwrap();
    let (came, from) = receive(server);
    assert_eq!(came, text);
    server.send_to(format!("re: {text}").as_bytes(), from).unwrap();
    assert_eq!(receive(client), (format!("re: {text}"), gate));
}

fn limited(driver: Driver, server: &UdpSocket, limits: Limits) -> Gate {
    let setup = Setup::new().cluster("app", &[address(server)]).udp(LOCALHOST, all_to("app"));
    setup.serve_with(driver, 1, Settings { limits, ..Settings::default() })
}

on_both_drivers! {
    fn each_client_has_a_session_and_gets_its_own_replies(driver: Driver) {
        let server = socket("127.0.0.1:0");
        let setup = Setup::new().cluster("app", &[address(&server)]).udp(LOCALHOST, all_to("app"));
        let mut gate = setup.serve_with(driver, 2, Settings::default());
        let clients: Vec<_> = (0..8).map(|_| socket("127.0.0.1:0")).collect();
        for turn in 0..3 {
            for (number, client) in clients.iter().enumerate() {
                round(client, gate.address(), &server, &format!("{turn} of {number}"));
            }
        }
        gate.counted(|report| report.events(Event::UdpSessionStarted) == 8);
        gate.shows("ringway_udp_sessions_active 8");
        assert!(gate.proxy.drain(PATIENCE));
        gate.shows("ringway_udp_sessions_active 0");
        gate.shows(r#"ringway_tunnels_total{listener="udp"} 8"#);
        gate.shows(r#"ringway_tunnel_received_bytes_total{listener="udp"} 144"#);
        gate.shows(r#"ringway_tunnel_sent_bytes_total{listener="udp"} 240"#);
    }

    fn a_reply_leaves_from_the_address_that_was_sent_to(driver: Driver) {
        let server = socket("127.0.0.1:0");
        let setup = Setup::new().cluster("app", &[address(&server)]).udp(None, all_to("app"));
        let gate = setup.serve(driver);
        let port = gate.address().port();
        let client = socket("127.0.0.1:0");
        for host in ["127.0.0.1", "127.0.0.2"] {
            round(&client, format!("{host}:{port}").parse().unwrap(), &server, host);
        }
        let client = socket("[::1]:0");
        round(&client, SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port), &server, "over IPv6");
        gate.counted(|report| report.events(Event::UdpSessionStarted) == 3);
    }

    fn endpoints_may_be_reached_by_ipv6(driver: Driver) {
        let server = socket("[::1]:0");
        let bind = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
        let gate = Setup::new().cluster("app", &[address(&server)]).udp(bind, all_to("app")).serve(driver);
        round(&socket("[::1]:0"), gate.address(), &server, "hello");
    }

    fn a_burst_and_the_longest_datagrams_pass(driver: Driver) {
        let server = socket("127.0.0.1:0");
        let gate = limited(driver, &server, Limits::default());
        let client = socket("127.0.0.1:0");
        let long = "x".repeat(60_000);
        round(&client, gate.address(), &server, &long);
        round(&client, gate.address(), &server, "");
        for number in 0..200 {
            client.send_to(number.to_string().as_bytes(), gate.address()).unwrap();
        }
        for number in 0..200 {
            assert_eq!(receive(&server).0, number.to_string());
        }
    }

    fn a_session_that_is_idle_is_forgotten(driver: Driver) {
        let server = socket("127.0.0.1:0");
        let limits = Limits { udp_session_idle_timeout: Duration::from_millis(200), ..Limits::default() };
        let gate = limited(driver, &server, limits);
        let client = socket("127.0.0.1:0");
        round(&client, gate.address(), &server, "hello");
        gate.counted(|report| report.events(Event::UdpSessionEnded) == 1);
        round(&client, gate.address(), &server, "again");
        gate.counted(|report| report.events(Event::UdpSessionStarted) == 2);
    }

    fn the_session_that_was_idle_longest_makes_room(driver: Driver) {
        let server = socket("127.0.0.1:0");
        let gate = limited(driver, &server, Limits { udp_sessions_max: 2, ..Limits::default() });
        let [first, second, third] = [(); 3].map(|()| socket("127.0.0.1:0"));
        round(&first, gate.address(), &server, "first");
        round(&second, gate.address(), &server, "second");
        round(&first, gate.address(), &server, "first again");
        round(&third, gate.address(), &server, "third");
        let report = gate.counted(|report| report.events(Event::UdpSessionEnded) == 1);
        assert_eq!(report.hits(Limit::UdpSessions), 1);
        round(&first, gate.address(), &server, "first is still there");
        gate.counted(|report| report.events(Event::UdpSessionStarted) == 3);
        round(&second, gate.address(), &server, "second begins again");
        gate.counted(|report| report.events(Event::UdpSessionStarted) == 4);
    }

    fn what_goes_nowhere_is_dropped_and_counted(driver: Driver) {
        let empty = Setup::new().cluster("app", &[]).udp(LOCALHOST, all_to("app"));
        for (setup, flag) in [(empty, "UH"), (Setup::new().udp(LOCALHOST, None), "NC")] {
            let gate = setup.serve(driver);
            let client = socket("127.0.0.1:0");
            client.send_to(b"hello", gate.address()).unwrap();
            gate.shows(&format!(r#"ringway_http_response_flags_total{{listener="udp",flag="{flag}"}} 1"#));
            client.set_nonblocking(true).unwrap();
            let error = client.recv_from(&mut [0; 16]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
    }

    fn a_session_whose_endpoint_refuses_begins_anew_with_another(driver: Driver) {
        let refusing = address(&socket("127.0.0.1:0"));
        let server = socket("127.0.0.1:0");
        let endpoints = [refusing, address(&server)];
        let gate = Setup::new().cluster("app", &endpoints).udp(LOCALHOST, all_to("app")).serve(driver);
        let clients = [(); 2].map(|()| socket("127.0.0.1:0"));
        // Both endpoints get a session in turn; one client's first datagram is lost.
        for client in &clients {
            client.send_to(b"lost?", gate.address()).unwrap();
        }
        gate.counted(|report| report.events(Event::UdpSessionStarted) == 2);
        for client in &clients {
            client.send_to(b"hello", gate.address()).unwrap();
        }
        let came: Vec<_> = (0..3).map(|_| receive(&server).0).collect();
        assert_eq!(came.iter().filter(|text| *text == "hello").count(), 2, "{came:?}");
        gate.shows(r#"ringway_http_response_flags_total{listener="udp",flag="UF"} 1"#);
    }

    fn a_session_whose_endpoint_is_removed_moves_to_another(driver: Driver) {
        let (one, other) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let setup = |server| Setup::new().cluster("app", &[address(server)]).udp(LOCALHOST, all_to("app"));
        let mut gate = setup(&one).serve(driver);
        let client = socket("127.0.0.1:0");
        round(&client, gate.address(), &one, "hello");
        gate.apply(setup(&other));
        round(&client, gate.address(), &other, "hello again");
    }
}
