//! The end of the process: what is under way finishes, what is new goes elsewhere, and the exit code says how it went.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use ringway_e2e::{
    Backend, Builder, Connection, DEADLINE, Driver, Port, Reply, eventually, free_port, manifest,
    on_both_drivers,
};
use rustix::process::Signal;
use serde_json::Value;

on_both_drivers!(
    a_request_under_way_finishes_while_new_ones_are_refused,
    load_balancers_are_given_time_to_notice,
    what_does_not_finish_in_time_is_cut,
    a_second_signal_ends_it_at_once,
    idle_connections_are_no_reason_to_wait,
    a_client_that_is_gone_is_no_reason_to_wait,
);

/// A backend that answers when it is told to; and when a request has arrived, it says so.
fn held() -> (Backend, Receiver<()>, Sender<()>) {
    let (arrived, arrivals) = channel();
    let (release, released) = channel();
    let (arrived, released) = (Arc::new(Mutex::new(arrived)), Arc::new(Mutex::new(released)));
    let backend = Backend::answering(move |_| {
        let _test_is_over = arrived.lock().unwrap().send(());
        let _test_is_over = released.lock().unwrap().recv_timeout(DEADLINE);
        Reply::ok("done")
    });
    (backend, arrivals, release)
}

fn objects(port: &Port, backend: &Backend) -> Vec<Value> {
    let mut objects = manifest::service("app", &[backend.address]);
    objects.extend([manifest::http_gateway(port.number()), manifest::to_service("app")]);
    objects
}

const GET: &str = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";

fn a_request_under_way_finishes_while_new_ones_are_refused(driver: Driver) {
    let port = free_port();
    let (backend, arrivals, release) = held();
    let mut gateway = Builder::new(driver).start(&objects(&port, &backend));
    let mut client = Connection::open(("127.0.0.1", port.number()));
    client.send(GET);
    arrivals.recv_timeout(DEADLINE).unwrap();

    gateway.signal(Signal::TERM);
    eventually("the listener is closed", || Connection::try_open(("127.0.0.1", port.number())).err());
    if let Ok(answer) = gateway.try_admin("/ready") {
        assert_eq!(answer.status, 503, "it is not ready while it drains");
    }
    release.send(()).unwrap();
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    assert_eq!(answer.field("connection"), Some("close"), "the client is told to go elsewhere");
    assert_eq!(client.rest().unwrap(), b"");
    assert_eq!(gateway.ended().code(), Some(0));
}

fn load_balancers_are_given_time_to_notice(driver: Driver) {
    let port = free_port();
    let backend = Backend::echo("app");
    let mut gateway =
        Builder::new(driver).arguments(["--drain-delay", "2s"]).start(&objects(&port, &backend));
    let mut kept = Connection::open(("127.0.0.1", port.number()));
    assert_eq!(kept.get("app.test", "/").status, 200);

    gateway.signal(Signal::TERM);
    eventually("/ready fails", || gateway.try_admin("/ready").ok().filter(|answer| answer.status == 503));
    let mut late = Connection::open(("127.0.0.1", port.number()));
    let answer = late.get("app.test", "/");
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")), "late, but served");
    let answer = kept.get("app.test", "/");
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert_eq!(gateway.ended().code(), Some(0));
}

fn what_does_not_finish_in_time_is_cut(driver: Driver) {
    let port = free_port();
    let (backend, arrivals, release) = held();
    let mut gateway =
        Builder::new(driver).arguments(["--drain-timeout", "300ms"]).start(&objects(&port, &backend));
    let mut client = Connection::open(("127.0.0.1", port.number()));
    client.send(GET);
    arrivals.recv_timeout(DEADLINE).unwrap();
    gateway.signal(Signal::TERM);
    let status = gateway.ended();
    assert!(client.try_answer(false).is_err(), "nothing pretends to be an answer");
    assert!(status.code().is_some(), "it exits by itself: {status}");
    release.send(()).unwrap();
}

fn a_second_signal_ends_it_at_once(driver: Driver) {
    let port = free_port();
    let (backend, arrivals, release) = held();
    let mut gateway = Builder::new(driver).start(&objects(&port, &backend));
    let mut client = Connection::open(("127.0.0.1", port.number()));
    client.send(GET);
    arrivals.recv_timeout(DEADLINE).unwrap();
    gateway.signal(Signal::TERM);
    eventually("the listener is closed", || Connection::try_open(("127.0.0.1", port.number())).err());
    assert_eq!(gateway.insist(Signal::TERM).code(), Some(4), "and says that something was cut");
    release.send(()).unwrap();
}

fn idle_connections_are_no_reason_to_wait(driver: Driver) {
    let port = free_port();
    let backend = Backend::echo("app");
    let mut gateway =
        Builder::new(driver).arguments(["--drain-timeout", "1h"]).start(&objects(&port, &backend));
    let mut idle: Vec<Connection> = (0..8).map(|_| Connection::open(("127.0.0.1", port.number()))).collect();
    for client in &mut idle[..4] {
        assert_eq!(client.get("app.test", "/").status, 200);
    }
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().code(), Some(0));
    for client in &mut idle {
        assert_eq!(client.rest().unwrap(), b"", "closed, not reset");
    }
}

fn a_client_that_is_gone_is_no_reason_to_wait(driver: Driver) {
    let port = free_port();
    let (backend, arrivals, release) = held();
    let mut gateway =
        Builder::new(driver).arguments(["--drain-timeout", "1h"]).start(&objects(&port, &backend));
    let mut client = Connection::open(("127.0.0.1", port.number()));
    client.send(GET);
    arrivals.recv_timeout(DEADLINE).unwrap();
    gateway.signal(Signal::TERM);
    eventually("the listener is closed", || Connection::try_open(("127.0.0.1", port.number())).err());
    client.reset();
    assert_eq!(gateway.ended().code(), Some(0));
    release.send(()).unwrap();
}
