//! h2spec, every case, through the gateway to a backend with long bodies: over TLS and by prior knowledge.

use ringway_e2e::{
    Authority, Backend, Driver, Gateway, Reply, figure, free_port, manifest, on_both_drivers, peer,
};
use serde_json::{Value, json};

on_both_drivers!(every_case_passes_by_prior_knowledge, every_case_passes_over_tls);

/// So many has the release that `tests/e2e/run` builds.
const CASES: u32 = 145;

fn every_case_passes_by_prior_knowledge(driver: Driver) {
    let port = free_port();
    let listener = json!({"name": "h2c", "port": port.number(), "protocol": "HTTP"});
    check(driver, port.number(), listener, &[], &[]);
}

fn every_case_passes_over_tls(driver: Driver) {
    let port = free_port();
    let identity = Authority::new("authority").sign(&["localhost"]);
    let listener = manifest::https_listener("https", port.number(), "edge");
    check(driver, port.number(), listener, &[manifest::secret("edge", &identity)], &["--tls", "--insecure"]);
}

fn check(driver: Driver, port: u16, listener: Value, more: &[Value], flags: &[&str]) {
    // Longer than a window: cases that stop the flow need something to stop.
    let backend = Backend::answering(|_| Reply::ok(vec![b'x'; 128 << 10]));
    let mut objects = manifest::service("app", &[backend.address]);
    objects.extend([manifest::gateway(json!([listener])), manifest::to_service("app")]);
    objects.extend_from_slice(more);
    let gateway = Gateway::start(driver, &objects);
    let report = gateway.folder().join("report.xml");
    let mut command = peer::h2spec();
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--timeout", "5"]).args(flags);
    let done = peer::run(command.arg("--junit-report").arg(&report), b"");
    let xml = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {}", done.all()));
    // One element for each section, with its own counts.
    let mut sums = [0u32; 4];
    for suite in xml.split("<testsuite ").skip(1) {
        for (sum, name) in sums.iter_mut().zip(["tests", "failures", "errors", "skipped"]) {
            let value = suite.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split('"').next());
            *sum += value.unwrap_or_else(|| panic!("no {name}: {xml}")).parse::<u32>().unwrap();
        }
    }
    let [tests, failures, errors, skipped] = sums;
    let passed = tests - failures - errors - skipped;
    figure("h2spec", &format!("h2spec, {driver:?}{}", flags.join(" ")), format!("{passed} of {tests}"));
    assert!(sums == [CASES, 0, 0, 0], "tests, failures, errors, skipped: {sums:?}\n{}", done.all());
    assert!(done.status.success(), "{}", done.all());
}
