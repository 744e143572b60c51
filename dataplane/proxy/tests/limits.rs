//! Limits that hold over all cores, on both drivers. Whatever a core has is a part of the whole.

mod common;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Gate, Peer, Server, Setup, all_to, field, response, serving, status, to};
use ringway_config::ClusterLimits;
use ringway_core::limits::Limits;
use ringway_core::record::{Event, Limit, Snapshot};
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// A backend that takes a moment for each request, and the most that it had at once.
fn busy() -> (SocketAddr, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let address = serving(move |_| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Long enough for others to come meanwhile.
        std::thread::sleep(Duration::from_millis(2));
        now.fetch_sub(1, Ordering::SeqCst);
        response(200, "ok")
    });
    (address, most)
}

fn cluster(driver: Driver, backend: SocketAddr, limits: ClusterLimits) -> Gate {
    let setup =
        Setup::new().cluster_with("app", &[backend], |cluster| cluster.limits = limits).http(vec![to("app")]);
    setup.serve_with(driver, 4, Settings::default())
}

/// Many clients, each with some requests one after another; the statuses they got.
fn crowd(gate: &Gate, clients: usize, requests: usize) -> BTreeMap<u16, usize> {
    let address = gate.address();
    let running: Vec<_> = (0..clients)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Peer::connect(address);
                let one = |_| {
                    client.send(GET);
                    status(&client.response().0)
                };
                (0..requests).map(one).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut statuses = BTreeMap::new();
    for status in running.into_iter().flat_map(|client| client.join().unwrap()) {
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}

/// Settings with these limits.
fn settings(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings.limits);
    settings
}

on_both_drivers! {
    fn connections_that_the_kernel_dealt_unevenly_are_handed_on_and_served(driver: Driver) {
        let backend = serving(|_| response(200, "ok"));
        let setup = Setup::new().cluster("app", &[backend]).http(vec![to("app")]);
        let mut gate = setup.serve_with(driver, 4, Settings::default());
        let mut clients = Vec::new();
        // It deals by a hash of the ports, so sooner or later unevenly.
        let moved = |report: &Snapshot| report.events(Event::ConnectionMoved) > 0;
        while !moved(&gate.proxy.report().unwrap()) {
            clients.clear();
            for _ in 0..40 {
                clients.push(gate.client());
            }
            for client in &mut clients {
                client.send(GET);
                assert_eq!(status(&client.response().0), 200);
            }
        }
        // A drain waits for those that were handed on, and ends them in order.
        assert!(gate.proxy.drain(common::PATIENCE));
        clients.iter_mut().for_each(Peer::ends);
    }

    fn one_connection_serves_all_cores_in_turn_and_nobody_starves(driver: Driver) {
        for connections in [1, 2, 3] {
            let (backend, most) = busy();
            let limits = ClusterLimits { connections_max: Some(connections), ..ClusterLimits::default() };
            let gate = cluster(driver, backend, limits);
            assert_eq!(crowd(&gate, 16, 20), BTreeMap::from([(200, 320)]));
            let most = most.load(Ordering::SeqCst);
            assert!(most <= connections as usize, "{most} at once, {connections} allowed");
        }
    }

    fn one_request_at_a_time_is_one_over_all_cores(driver: Driver) {
        let (backend, most) = busy();
        let limits = ClusterLimits { requests_max: Some(1), ..ClusterLimits::default() };
        let gate = cluster(driver, backend, limits);
        let statuses = crowd(&gate, 16, 20);
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(statuses[&200] > 0 && statuses[&503] > 0, "{statuses:?}");
        assert_eq!(statuses.values().sum::<usize>(), 320);
        gate.counted(|report| report.hits(Limit::ClusterRequests) == statuses[&503] as u64);
        gate.shows(&format!(
            r#"ringway_http_response_flags_total{{listener="http",flag="UO"}} {}"#,
            statuses[&503]
        ));
        // Whoever asks alone is served, whatever core it comes to; what another core had may be on its way home still.
        for _ in 0..16 {
            let mut client = gate.client();
            let mut ask = || {
                client.send(GET);
                status(&client.response().0)
            };
            while ask() != 200 {}
            assert_eq!([(); 3].map(|()| ask()), [200; 3]);
        }
    }

    fn requests_wait_for_a_connection_in_a_queue_that_is_bounded(driver: Driver) {
        let backend = Server::listen();
        let limits =
            ClusterLimits { connections_max: Some(1), pending_max: Some(1), ..ClusterLimits::default() };
        let gate = cluster(driver, backend.address, limits);
        let [mut first, mut second, mut third] = [(); 3].map(|()| gate.client());
        first.send(GET);
        let mut server = backend.accept();
        server.head();
        // Of two more, one waits; the other is told at once.
        second.send("GET /waits HTTP/1.1\r\nhost: a.test\r\n\r\n");
        third.send("GET /waits HTTP/1.1\r\nhost: a.test\r\n\r\n");
        gate.counted(|report| report.hits(Limit::ClusterPending) == 1);
        server.send(response(200, "first"));
        assert_eq!(first.response().1, "first");
        // The connection is handed over, or closed for one of another core.
        let mut server = server.next_or(&backend);
        assert!(server.head().starts_with("GET /waits "));
        server.send(response(200, "second"));
        let mut bodies = [second.response().1, third.response().1];
        bodies.sort();
        assert_eq!(bodies, ["cluster.pending_max", "second"]);
    }

    fn a_limit_may_change_and_go_while_requests_wait_for_it(driver: Driver) {
        let backend = Server::listen();
        let limited = |connections_max| {
            let limits = ClusterLimits { connections_max, ..ClusterLimits::default() };
            Setup::new()
                .cluster_with("app", &[backend.address], |cluster| cluster.limits = limits)
                .http(vec![to("app")])
        };
        let mut gate = limited(Some(1)).serve_with(driver, 2, Settings::default());
        let mut clients: Vec<_> = (0..4).map(|_| gate.client()).collect();
        clients.iter_mut().for_each(|client| client.send(GET));
        let mut servers = vec![backend.accept()];
        gate.apply(limited(Some(2)));
        servers.push(backend.accept());
        gate.apply(limited(None));
        servers.push(backend.accept());
        servers.push(backend.accept());
        for server in &mut servers {
            server.head();
            server.send(response(200, "ok"));
        }
        clients.iter_mut().for_each(|client| assert_eq!(client.response().1, "ok"));
        gate.apply(limited(Some(1)));
        drop(servers);
        let mut client = gate.client();
        client.send(GET);
        let mut server = backend.accept();
        server.head();
        server.send(response(200, "limited again"));
        assert_eq!(client.response().1, "limited again");
    }

    fn a_connection_from_before_a_limit_is_handed_to_nobody_who_waits_for_it(driver: Driver) {
        let backend = Server::listen();
        let limited = |connections_max| {
            let limits = ClusterLimits { connections_max, pending_max: Some(1), ..ClusterLimits::default() };
            Setup::new()
                .cluster_with("app", &[backend.address], |cluster| cluster.limits = limits)
                .http(vec![to("app")])
        };
        let mut gate = limited(None).serve_with(driver, 1, Settings::default());
        let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| gate.client());
        first.send(GET);
        let mut before = backend.accept();
        before.head();
        gate.apply(limited(Some(1)));
        second.send(GET);
        let mut counted = backend.accept();
        counted.head();
        // Of two more, one waits.
        third.send("GET /waits HTTP/1.1\r\nhost: a.test\r\n\r\n");
        fourth.send("GET /waits HTTP/1.1\r\nhost: a.test\r\n\r\n");
        gate.counted(|report| report.hits(Limit::ClusterPending) == 1);
        before.send(response(200, "first"));
        assert_eq!(first.response().1, "first");
        before.ends();
        counted.send(response(200, "second"));
        assert_eq!(second.response().1, "second");
        assert!(counted.head().starts_with("GET /waits "));
        counted.send(response(200, "third"));
        let mut bodies = [third.response().1, fourth.response().1];
        bodies.sort();
        assert_eq!(bodies, ["cluster.pending_max", "third"]);
    }

    fn a_tcp_connection_waits_for_its_turn(driver: Driver) {
        let backend = Server::listen();
        let limits = ClusterLimits { connections_max: Some(1), ..ClusterLimits::default() };
        let setup = Setup::new()
            .cluster_with("app", &[backend.address], |cluster| cluster.limits = limits)
            .tcp(all_to("app"));
        let gate = setup.serve_with(driver, 4, Settings::default());
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut client = gate.client();
                std::thread::spawn(move || {
                    client.send("hello");
                    assert_eq!(client.rest(), b"goodbye");
                })
            })
            .collect();
        for _ in 0..clients.len() {
            let mut server = backend.accept();
            server.expect("hello");
            assert!(backend.is_unused(), "there is one connection at a time");
            server.send("goodbye");
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
    }

    fn connections_beyond_the_processs_limit_are_closed_at_once(driver: Driver) {
        let (backend, _) = busy();
        let setup = Setup::new().cluster("app", &[backend]).http(vec![to("app")]);
        let gate = setup.serve_with(driver, 2, settings(|limits| limits.connections_max = 4));
        let served = |client: &mut Peer| {
            client.send(GET);
            assert_eq!(status(&client.response().0), 200);
        };
        let mut clients: Vec<_> = (0..4).map(|_| gate.client()).collect();
        clients.iter_mut().for_each(served);
        for _ in 0..8 {
            gate.resets();
        }
        gate.counted(|report| report.hits(Limit::Connections) == 8);
        clients.pop();
        gate.counted(|report| report.events(Event::ConnectionClosed) == 9);
        clients.push(gate.client());
        clients.iter_mut().for_each(served);
    }

    fn one_client_address_has_only_so_many_connections(driver: Driver) {
        let (backend, _) = busy();
        let setup = Setup::new().cluster("app", &[backend]).http(vec![to("app")]);
        let gate = setup.serve_with(driver, 4, settings(|limits| limits.connections_per_client_max = 5));
        let served = |client: &mut Peer| {
            client.send(GET);
            assert_eq!(status(&client.response().0), 200);
        };
        let mut clients: Vec<_> = (0..5).map(|_| gate.client()).collect();
        clients.iter_mut().for_each(served);
        for _ in 0..8 {
            gate.resets();
        }
        gate.counted(|report| report.hits(Limit::ConnectionsPerClient) == 8);
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        served(&mut Peer::connect_from(other, gate.address()));
        clients.pop();
        gate.counted(|report| report.events(Event::ConnectionClosed) == 10);
        clients.push(gate.client());
        clients.iter_mut().for_each(served);
    }

    fn a_core_with_too_many_requests_says_when_to_come_again(driver: Driver) {
        let backend = Server::listen();
        let setup = Setup::new().cluster("app", &[backend.address]).http(vec![to("app")]);
        let gate = setup.serve_with(driver, 1, settings(|limits| limits.requests_max = 1));
        let mut first = gate.client();
        first.send(GET);
        let mut server = backend.accept();
        server.head();
        let mut second = gate.client();
        second.send(GET);
        let (head, body) = second.response();
        assert_eq!((status(&head), field(&head, "retry-after"), body.as_str()), (503, Some("1"), "requests_max"));
        gate.shows(r#"ringway_http_response_flags_total{listener="none",flag="OM"} 1"#);
        server.send(response(200, "ok"));
        assert_eq!(first.response().1, "ok");
        second.send(GET);
        server.head();
        server.send(response(200, "ok"));
        assert_eq!(second.response().1, "ok");
    }
}
