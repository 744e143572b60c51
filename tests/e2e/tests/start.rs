//! What an operator sets and meets around the start: variables, a kernel that forbids io_uring, logs as JSON, and a log
//! that nobody reads.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use ringway_e2e::{
    Backend, Builder, DEADLINE, Driver, Gateway, Http2, binary, eventually, free_port, manifest,
    on_both_drivers,
};
use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;

on_both_drivers!(a_process_log_that_nobody_reads_costs_lines_and_no_requests);

/// `io_uring_setup(2)`; the number is the same on every architecture.
const IO_URING_SETUP: i64 = 425;
/// What seccomp profiles of containers answer.
const EPERM: u32 = 1;

/// Starts a gateway that may not use io_uring, on a thread of its own: a filter is for good, and children inherit it.
fn without_io_uring(builder: Builder) -> Gateway {
    let refusing = move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(IO_URING_SETUP, vec![])]),
            SeccompAction::Allow,
            SeccompAction::Errno(EPERM),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
        apply_filter(&program).unwrap();
        builder.launch()
    };
    std::thread::spawn(refusing).join().unwrap()
}

#[test]
fn where_io_uring_is_forbidden_epoll_carries_the_traffic_and_the_log_says_why() {
    let port = free_port();
    let backend = Backend::echo("app");
    let mut objects = manifest::service("app", &[backend.address]);
    objects.extend([manifest::http_gateway(port.number()), manifest::to_service("app")]);
    let mut gateway = without_io_uring(Builder::new(Driver::Auto).file("gateway.yaml", &objects));
    gateway.wait_until_ready();
    let line = gateway.logged("data threads run");
    assert!(line.contains("driver=\"epoll\"") && line.contains("io_uring cannot be used"), "{line}");
    assert_eq!(gateway.metric("ringway_driver_info", "driver=\"epoll\",reason=\"forbidden\""), 1.0);
    let mut client = ringway_e2e::Connection::open(("127.0.0.1", port.number()));
    assert_eq!(client.get("app.test", "/").backend().as_deref(), Some("app"));
    assert!(gateway.stop().success());
}

#[test]
fn io_uring_that_was_asked_for_and_is_forbidden_is_an_error_that_says_what_to_do() {
    let mut gateway = without_io_uring(Builder::new(Driver::IoUring));
    assert_eq!(gateway.ended().code(), Some(3));
    let log = gateway.log();
    assert!(log.contains("io_uring cannot be used") && log.contains("--driver auto or epoll"), "{log}");
}

/// A value that cannot be right, and how the process ends by it. That every flag has a variable of its name is a test
/// beside the flags.
const VARIABLES: [(&str, &str, i32, &str); 15] = [
    ("CONFIG", "/nowhere", 3, "/nowhere"),
    ("THREADS", "many", 2, "RINGWAY_THREADS (--threads"),
    ("PIN", "maybe", 2, "--pin"),
    ("DRIVER", "horses", 2, "--driver"),
    ("LIMITS", "nope=1", 2, "RINGWAY_LIMITS (--limit)"),
    ("TRUSTED_PROXIES", "everyone", 2, "everyone"),
    ("ALLOW_EXTERNAL_NAME", "maybe", 2, "--allow-external-name"),
    ("ROUTE_METRICS", "all", 2, "--route-metrics"),
    ("ADMIN_ADDR", "nowhere", 2, "nowhere"),
    ("DRAIN_DELAY", "soon", 2, "--drain-delay"),
    ("DRAIN_TIMEOUT", "later", 2, "--drain-timeout"),
    ("LOG_LEVEL", "loud", 2, "RINGWAY_LOG_LEVEL (--log-level): `loud`"),
    ("LOG_FORMAT", "prose", 2, "--log-format"),
    ("ACCESS_LOG", "verse", 2, "--access-log"),
    ("ACCESS_LOG_FILE", "/nowhere/log", 3, "RINGWAY_ACCESS_LOG_FILE (--access-log-file)"),
];

#[test]
fn every_variable_is_read() {
    for (name, value, code, said) in VARIABLES {
        let mut command = Command::new(binary());
        command.arg("run").env(format!("RINGWAY_{name}"), value).stdin(Stdio::null());
        match name {
            "CONFIG" => command.env("RINGWAY_ADMIN_ADDR", "off"),
            "ACCESS_LOG_FILE" => command.env("RINGWAY_ACCESS_LOG", "text").arg("-"),
            _ => command.arg("-"),
        };
        let output = command.output().unwrap();
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{name}: {shown}");
        assert!(shown.contains(said), "{name}: {shown}");
    }
}

#[test]
fn a_log_as_json_is_an_object_a_line() {
    let mut gateway = Builder::new(Driver::Auto).environment("RINGWAY_LOG_FORMAT", "json").launch();
    gateway.wait_until_ready();
    let line: Value = serde_json::from_str(&gateway.logged("data threads run")).unwrap();
    assert_eq!(
        (&line["level"], &line["message"], &line["threads"]),
        (&"INFO".into(), &"data threads run".into(), &2.into())
    );
    assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
}

fn a_process_log_that_nobody_reads_costs_lines_and_no_requests(driver: Driver) {
    let port = free_port();
    let backend = Backend::echo("app");
    let mut objects = manifest::service("app", &[backend.address]);
    objects.extend([manifest::http_gateway(port.number()), manifest::to_service("app")]);
    // HTTP/2 has much to say at this level.
    let builder = Builder::new(driver).arguments(["--log-level", "trace"]).stderr(Stdio::piped());
    let gateway = builder.start(&objects);
    let mut client = Http2::open(([127, 0, 0, 1], port.number()).into(), None).unwrap();
    let give_up = std::time::Instant::now() + DEADLINE * 3;
    while gateway.metric("ringway_log_lines_dropped_total", "") == 0.0 {
        for _ in 0..100 {
            let answer =
                client.ask("GET", "app.test", "/", &[("x-long".into(), "x".repeat(1000))], b"").unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        assert!(std::time::Instant::now() < give_up, "nothing was dropped");
    }
    let answer = client.ask("GET", "app.test", "/last", &[], b"").unwrap();
    assert_eq!(answer.json()["target"], "/last");
    eventually("it is still alive", || (gateway.admin("/live").status == 200).then_some(()));
}
