//! Endpoints that keep failing are left out by all cores, and come back. On both drivers, with two cores.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Gate, PATIENCE, Peer, Setup, response, serving, status, to};
use ringway_config::Outlier;
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;

/// Three endpoints, of which one answers 503 while it is ill.
fn setup(driver: Driver, ejection_min: Duration) -> (Gate, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&ill);
    let patient = serving(move |_| match seen.load(Ordering::Relaxed) {
        true => response(503, "ill"),
        false => response(200, "well again"),
    });
    let [one, other] = [(); 2].map(|()| serving(|_| response(200, "well")));
    let policy = Outlier { consecutive_failures: 3, ejection_min, ..Outlier::default() };
    let setup = Setup::new()
        .cluster_with("app", &[patient, one, other], |cluster| cluster.outlier = Some(policy))
        .http(vec![to("app")]);
    (setup.serve_with(driver, 2, Settings::default()), ill)
}

/// Clients enough to have some on each core.
fn clients(gate: &Gate) -> Vec<Peer> {
    (0..16).map(|_| gate.client()).collect()
}

fn ask(client: &mut Peer) -> (u16, String) {
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let (head, body) = client.response();
    (status(&head), body)
}

/// How many of so many requests got 503.
fn failed(clients: &mut [Peer], rounds: usize) -> usize {
    (0..rounds)
        .map(|_| clients.iter_mut().filter_map(|client| (ask(client).0 == 503).then_some(())).count())
        .sum()
}

on_both_drivers! {
    fn an_endpoint_that_keeps_failing_is_left_out_by_every_core(driver: Driver) {
        let (gate, _ill) = setup(driver, Duration::from_secs(600));
        let mut clients = clients(&gate);
        assert!(failed(&mut clients, 3) >= 3, "it takes three failures in a row");
        gate.shows(r#"ringway_backend_ejections_total{backend="app"} 1"#);
        // Counting came first, and what each core was told is behind it in its mailbox by now.
        gate.proxy.report().unwrap();
        assert_eq!(failed(&mut clients, 20), 0);
    }

    fn an_endpoint_that_is_well_again_comes_back(driver: Driver) {
        let (gate, ill) = setup(driver, Duration::from_millis(100));
        let mut clients = clients(&gate);
        failed(&mut clients, 3);
        gate.counted(|report| {
            let mut text = String::new();
            report.prometheus(&mut text);
            text.contains("ringway_backend_ejections_total{backend=\"app\"} ")
        });
        ill.store(false, Ordering::Relaxed);
        let until = Instant::now() + PATIENCE;
        // Most clients see it, so both cores do.
        let mut seen = vec![false; clients.len()];
        while !seen.iter().all(|seen| *seen) {
            assert!(Instant::now() < until, "it does not come back everywhere: {seen:?}");
            for (client, seen) in clients.iter_mut().zip(&mut seen) {
                *seen |= ask(client) == (200, "well again".to_owned());
            }
        }
    }
}
