//! Runs that never were, with drawn times: the same for the same seed.

use std::time::Duration;

use ringway_perf::distribution::Distribution;
use ringway_perf::outcome::{FORMAT, Machine, Outcome, Second, ServerCost, Usage, Verdict};
use ringway_perf::plan::{Arrivals, Load, Plan, Protocol};

/// A run of so many seconds at a rate, with a median latency.
pub(crate) fn run(name: &str, rate: f64, seconds: u64, median_us: f64, seed: u64) -> Outcome {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut outcome = empty(name, rate);
    outcome.plan.duration = Duration::from_secs(seconds);
    outcome.plan.seed = seed;
    outcome.elapsed_s = seconds as f64;
    for at in 0..seconds {
        let mut times = Distribution::default();
        let stall = at % 10 == 7;
        for _ in 0..rate as u64 {
            let service = drawn(&mut chance, median_us);
            let wait = if stall && chance.u32(0..100) < 3 { chance.u64(0..20_000_000) } else { 0 };
            times.record(service + wait);
            outcome.service.record(service);
            outcome.lag.record(2_000 + chance.u64(0..40_000));
        }
        let failed = if stall { chance.u64(1..20) } else { 0 };
        let done = rate as u64 - failed;
        outcome.latency.merge(&times);
        outcome.seconds.push(Second {
            done,
            failed,
            p50_us: times.percentile_us(50.0),
            p99_us: times.percentile_us(99.0),
            p999_us: times.percentile_us(99.9),
            max_us: times.max_us(),
            server_cpu_us: Some(done as f64 * (median_us * 0.4 + chance.f64())),
            server_rss: Some(9_000_000 + at * 40_000 + chance.u64(0..100_000)),
        });
        outcome.sent += done + failed;
        outcome.done += done;
        *outcome.statuses.entry(200).or_default() += done;
        if failed > 0 {
            *outcome.statuses.entry(503).or_default() += failed.div_ceil(2);
            *outcome.errors.entry("status 503".to_owned()).or_default() += failed.div_ceil(2);
            *outcome.errors.entry("timeout".to_owned()).or_default() += failed / 2;
        }
    }
    outcome.errors.retain(|_, number| *number > 0);
    outcome.bytes_received = outcome.done * 1024;
    outcome.generator = Usage {
        user_us: outcome.done as f64 * 3.0,
        system_us: outcome.done as f64 * 6.5,
        ..Usage::default()
    };
    outcome.generator_spent = outcome.generator.total_us() / (seconds as f64 * 1e6);
    let cpu: f64 = outcome.seconds.iter().filter_map(|second| second.server_cpu_us).sum();
    outcome.server = Some(ServerCost {
        cpu: Usage { user_us: cpu * 0.3, system_us: cpu * 0.7, ..Usage::default() },
        cpu_us_per_request: cpu / outcome.done as f64,
        busy: cpu / (seconds as f64 * 1e6),
        rss_before: 8_000_000,
        rss_max: 9_600_000,
        rss_after: 9_500_000,
        rss_per_connection: 23_437.5,
    });
    outcome
}

/// A run of which nothing came back.
pub(crate) fn empty(name: &str, rate: f64) -> Outcome {
    Outcome {
        format: FORMAT,
        name: name.to_owned(),
        started: "2026-03-01T12:00:00Z".to_owned(),
        machine: Machine {
            cpu: "A processor of 3 GHz".to_owned(),
            cpus: 2,
            kernel: "6.1.0".to_owned(),
            governor: Some("performance".to_owned()),
            mitigations: [("meltdown".to_owned(), "Not affected".to_owned())].into(),
            congestion: "reno".to_owned(),
            memory: 8 << 30,
            harness: "ringway-perf 0.1.0 (release)".to_owned(),
        },
        plan: Plan {
            target: "http://127.0.0.1:8080/".to_owned(),
            protocol: Protocol::Http1,
            tls: None,
            load: Load::Open { rate, arrivals: Arrivals::Poisson },
            connections: 64,
            streams: 1,
            threads: 1,
            warmup: Duration::from_secs(2),
            duration: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            request_bytes: 0,
            response_bytes: Some(1024),
            headers: vec![("accept".to_owned(), "*/*".to_owned())],
            seed: 1,
        },
        verdict: Verdict::Valid,
        elapsed_s: 0.0,
        sent: 0,
        done: 0,
        bytes_received: 0,
        bytes_sent: 0,
        latency: Distribution::default(),
        service: Distribution::default(),
        lag: Distribution::default(),
        seconds: Vec::new(),
        statuses: Default::default(),
        errors: Default::default(),
        generator: Usage::default(),
        generator_spent: 0.0,
        server: None,
    }
}

/// As [`empty`], with the verdict and the errors that go with it.
pub(crate) fn unanswered() -> Outcome {
    let mut outcome = empty("nobody", 100.0);
    outcome.verdict = Verdict::NoAnswers;
    outcome.sent = 1_000;
    outcome.elapsed_s = 10.0;
    outcome.errors.insert("connect refused".to_owned(), 1_000);
    outcome.seconds = vec![Second { failed: 100, ..Second::default() }; 10];
    outcome
}

/// As `run`, but the generator was too slow.
pub(crate) fn saturated(name: &str, rate: f64) -> Outcome {
    let mut outcome = run(name, rate, 5, 900.0, 9);
    outcome.verdict = Verdict::GeneratorSaturated { because: "lag p99 4.2 ms exceeds 1 ms".to_owned() };
    outcome
}

/// Two contestants at four loads, in two rounds; the second cannot keep up at the highest.
pub(crate) fn ladder() -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for round in 0..2 {
        for (at, rate) in [500.0, 1_000.0, 2_000.0, 3_000.0].into_iter().enumerate() {
            for (name, median) in [("gateway A", 80.0), ("gateway B", 105.0)] {
                let busier = 1.0 + (at as f64).powi(3) / 8.0;
                let mut outcome = run(name, rate, 8, median * busier, round * 100 + at as u64);
                if (name, at, round) == ("gateway B", 3, 1) {
                    outcome.verdict =
                        Verdict::GeneratorSaturated { because: "lag p99 4.2 ms exceeds 1 ms".to_owned() };
                }
                outcomes.push(outcome);
            }
        }
    }
    outcomes
}

/// A time in nanoseconds around a median, with the long tail that times have.
fn drawn(chance: &mut fastrand::Rng, median_us: f64) -> u64 {
    // Box and Muller: two even draws make one normal one.
    let (radius, turn) = ((-2.0 * (1.0 - chance.f64()).ln()).sqrt(), chance.f64() * std::f64::consts::TAU);
    let tail = if chance.u32(0..1_000) == 0 { 8.0 } else { 1.0 };
    (median_us * 1e3 * (0.35 * radius * turn.cos()).exp() * tail) as u64
}
