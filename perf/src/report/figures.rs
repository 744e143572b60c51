//! What every report says of one run, worked out once, so that none of them can disagree.

use crate::distribution::Distribution;
use crate::outcome::{Outcome, Verdict};
use crate::plan::Load;

use super::units;

/// The percentiles of every table, and their names.
pub(super) const PERCENTILES: [(&str, f64); 6] =
    [("p50", 50.0), ("p75", 75.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// A percentile with fewer slower answers than this says hardly more than the maximum.
const SLOWER_MIN: f64 = 10.0;

/// Times of one kind: percentiles in the order of [`PERCENTILES`].
pub(super) struct Times {
    pub(super) percentiles: [f64; 6],
    pub(super) max_us: f64,
    pub(super) mean_us: f64,
    counted: u64,
}

impl Times {
    /// `None` if nothing was counted: no time is not a short time.
    pub(super) fn of(times: &Distribution) -> Option<Self> {
        (times.count() > 0).then(|| Self {
            percentiles: PERCENTILES.map(|(_, per_cent)| times.percentile_us(per_cent)),
            max_us: times.max_us(),
            mean_us: times.mean_us(),
            counted: times.count(),
        })
    }

    /// Whether so few answers were slower than a percentile that it is little more than the maximum.
    pub(super) fn scant(&self, per_cent: f64) -> bool {
        (self.counted as f64) * (100.0 - per_cent) / 100.0 < SLOWER_MIN - 1e-6
    }
}

/// One run in numbers.
pub(super) struct Figures {
    pub(super) latency: Option<Times>,
    pub(super) service: Option<Times>,
    pub(super) lag: Option<Times>,
    /// What was to be offered each second; in a closed loop nothing was.
    pub(super) offered: Option<f64>,
    /// What was sent and answered each second.
    pub(super) sent: Option<f64>,
    pub(super) done: Option<f64>,
    pub(super) failed: u64,
    /// Of those that were sent.
    pub(super) failed_share: Option<f64>,
    pub(super) received: Option<f64>,
    pub(super) transmitted: Option<f64>,
    /// The generator's CPU time for each request.
    pub(super) generator_us: Option<f64>,
    /// The server's CPU time for each request.
    pub(super) server_us: Option<f64>,
}

impl Figures {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let elapsed = outcome.elapsed_s;
        let failed = outcome.errors.values().sum();
        let generator = outcome.generator.total_us();
        Self {
            latency: Times::of(&outcome.latency),
            service: Times::of(&outcome.service),
            lag: Times::of(&outcome.lag),
            offered: offered(outcome),
            sent: ratio(outcome.sent as f64, elapsed),
            done: ratio(outcome.done as f64, elapsed),
            failed,
            failed_share: ratio(failed as f64, outcome.sent as f64),
            received: ratio(outcome.bytes_received as f64, elapsed),
            transmitted: ratio(outcome.bytes_sent as f64, elapsed),
            generator_us: ratio(generator, outcome.done as f64),
            server_us: outcome
                .server
                .as_ref()
                .filter(|server| outcome.done > 0 && server.cpu_us_per_request.is_finite())
                .map(|server| server.cpu_us_per_request),
        }
    }
}

/// The rate of an open loop.
pub(super) fn offered(outcome: &Outcome) -> Option<f64> {
    match outcome.plan.load {
        Load::Open { rate, .. } => Some(rate),
        Load::Closed => None,
    }
}

/// `None` where there is nothing to divide by.
pub(super) fn ratio(of: f64, by: f64) -> Option<f64> {
    (by > 0.0).then_some(of / by).filter(|ratio| ratio.is_finite())
}

/// A verdict in words: what to shout, and what it means.
pub(super) fn verdict(outcome: &Outcome) -> (&'static str, String) {
    match &outcome.verdict {
        Verdict::Valid => ("VALID", "the figures describe the server".to_owned()),
        Verdict::GeneratorSaturated { because } => (
            "GENERATOR SATURATED",
            format!("the figures describe the load generator, not the server: {because}"),
        ),
        Verdict::ServerNotBusy { busy } => (
            "SERVER NOT BUSY",
            format!(
                "a closed loop that used {} of the server's core says little about it: compare at an equal rate",
                units::share(*busy)
            ),
        ),
        Verdict::NoAnswers => {
            let worst = outcome.errors.iter().max_by_key(|(_, number)| **number);
            let why = worst.map_or(String::new(), |(cause, number)| {
                format!("; most often: {cause} ({} times)", units::count(*number))
            });
            ("NO ANSWERS", format!("nothing was answered as it should be, so nothing was measured{why}"))
        }
    }
}

/// What a plan asks for, in one line.
pub(super) fn plan(outcome: &Outcome) -> String {
    let plan = &outcome.plan;
    let load = match plan.load {
        Load::Open { rate, arrivals } => {
            format!("open loop, {} ({} arrivals)", units::rate(rate), word(&arrivals))
        }
        Load::Closed => "closed loop".to_owned(),
    };
    let streams = match plan.streams {
        0 | 1 => String::new(),
        streams => format!(" × {streams} streams"),
    };
    let plural = if plan.connections == 1 { "" } else { "s" };
    format!(
        "{} · {load} · {} connection{plural}{streams} · {} after {} of warm-up",
        word(&plan.protocol),
        units::count(plan.connections as u64),
        units::time(plan.duration.as_secs_f64() * 1e6),
        units::time(plan.warmup.as_secs_f64() * 1e6),
    )
}

/// The word by which a choice is written in JSON.
pub(super) fn word(choice: &impl serde::Serialize) -> String {
    serde_json::to_value(choice).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}
