//! TCP as clients and backends see it, on both drivers.

mod common;

use std::time::{Duration, Instant};

use common::{Gate, PATIENCE, Server, Setup, all_to, refusing};
use ringway_config::{BackendTarget, Weighted};
use ringway_core::limits::Limits;
use ringway_core::record::{Event, Limit};
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;

fn one(driver: Driver) -> (Gate, Server) {
    let backend = Server::listen();
    let gate = Setup::new().cluster("app", &[backend.address]).tcp(all_to("app")).serve(driver);
    (gate, backend)
}

on_both_drivers! {
    fn bytes_pass_both_ways_and_each_direction_ends_by_itself(driver: Driver) {
        let (gate, backend) = one(driver);
        let mut client = gate.client();
        let mut server = backend.accept();
        // The server speaks first in some protocols.
        server.send("220 ready");
        client.expect("220 ready");
        client.send("hello");
        server.expect("hello");
        client.half_close();
        server.ends();
        server.send("still here");
        client.expect("still here");
        drop(server);
        client.ends();
        gate.shows(r#"ringway_tunnels_total{listener="tcp"} 1"#);
        gate.shows(r#"ringway_tunnel_received_bytes_total{listener="tcp"} 5"#);
        gate.shows(r#"ringway_tunnel_sent_bytes_total{listener="tcp"} 19"#);
        gate.counted(|report| {
            report.events(Event::ConnectionClosed) == 1 && report.events(Event::UpstreamClosed) == 1
        });
    }

    fn a_lot_of_bytes_arrives_as_it_was_sent(driver: Driver) {
        let (gate, backend) = one(driver);
        let mut client = gate.client();
        let mut server = backend.accept();
        let bytes: Vec<u8> = (0..8u32 << 20).map(|number| (number % 251) as u8).collect();
        let sent = bytes.clone();
        let sending = std::thread::spawn(move || {
            client.send(&sent);
            client.half_close();
            client
        });
        assert!(server.rest() == bytes);
        let mut client = sending.join().unwrap();
        drop(server);
        client.ends();
    }

    fn a_reset_is_passed_on_as_one(driver: Driver) {
        let (gate, backend) = one(driver);
        let mut client = gate.client();
        let mut server = backend.accept();
        server.send("half of");
        client.expect("half of");
        server.reset();
        client.broken();
        gate.shows(r#"ringway_http_response_flags_total{listener="tcp",flag="UC"} 1"#);

        let client = gate.client();
        let mut server = backend.accept();
        client.reset();
        server.broken();
        gate.shows(r#"ringway_http_response_flags_total{listener="tcp",flag="DC"} 1"#);
    }

    fn an_endpoint_that_refuses_is_passed_over(driver: Driver) {
        let backend = Server::listen();
        let endpoints = [refusing(), backend.address];
        let gate = Setup::new().cluster("app", &endpoints).tcp(all_to("app")).serve(driver);
        for _ in 0..4 {
            let mut client = gate.client();
            let mut server = backend.accept();
            server.send("hello");
            client.expect("hello");
        }
    }

    fn a_connection_that_goes_nowhere_is_reset_and_recorded(driver: Driver) {
        let refused = Setup::new().cluster("app", &[refusing()]).tcp(all_to("app"));
        let empty = Setup::new().cluster("app", &[]).tcp(all_to("app"));
        let invalid = Setup::new().tcp(Weighted::new(vec![(BackendTarget::Invalid, 1)]));
        let nothing = Setup::new().tcp(None);
        for (setup, flag) in [(refused, "UF"), (empty, "UH"), (invalid, "NC"), (nothing, "NC")] {
            let gate = setup.serve(driver);
            gate.resets();
            gate.shows(&format!(r#"ringway_http_response_flags_total{{listener="tcp",flag="{flag}"}} 1"#));
            gate.shows(r#"ringway_tunnels_total{listener="tcp"} 1"#);
        }
    }

    fn a_tunnel_is_idle_only_if_both_directions_are(driver: Driver) {
        let backend = Server::listen();
        let limits = Limits { stream_idle_timeout: Duration::from_millis(500), ..Limits::default() };
        let setup = Setup::new().cluster("app", &[backend.address]).tcp(all_to("app"));
        let gate = setup.serve_with(driver, 1, Settings { limits, ..Settings::default() });
        let mut client = gate.client();
        let mut server = backend.accept();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            server.send("tick");
            client.expect("tick");
        }
        client.broken();
        assert!(begun.elapsed() < PATIENCE);
        server.gone();
        gate.counted(|report| report.hits(Limit::StreamIdle) == 1);
    }
}
