//! An outcome for tests, which set what they are about.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::distribution::Distribution;
use crate::outcome::{FORMAT, Machine, Outcome, Usage, Verdict};
use crate::plan::{Load, Plan, Protocol};

/// A second of a closed loop in which nothing was asked and nothing failed.
pub(crate) fn outcome() -> Outcome {
    let plan = Plan {
        target: "http://127.0.0.1:1/".into(),
        protocol: Protocol::Http1,
        tls: None,
        load: Load::Closed,
        connections: 1,
        streams: 1,
        threads: 1,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        request_bytes: 0,
        response_bytes: None,
        headers: Vec::new(),
        seed: 1,
    };
    Outcome {
        format: FORMAT,
        name: "example".into(),
        started: "2026-01-01T00:00:00Z".into(),
        machine: Machine::default(),
        plan,
        verdict: Verdict::Valid,
        elapsed_s: 1.0,
        sent: 0,
        done: 0,
        bytes_received: 0,
        bytes_sent: 0,
        latency: Distribution::default(),
        service: Distribution::default(),
        lag: Distribution::default(),
        seconds: Vec::new(),
        statuses: BTreeMap::new(),
        errors: BTreeMap::new(),
        generator: Usage::default(),
        generator_spent: 0.0,
        server: None,
    }
}
