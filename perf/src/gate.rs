//! Whether a run is worse than another by more than is allowed. Pure.

use std::fmt::Write;
use std::str::FromStr;

use crate::outcome::{Outcome, Verdict};

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Latency that so many hundredths of a per cent did not exceed.
    Latency(u32),
    /// The longest latency.
    Max,
    /// Answers a second: less is worse.
    Rate,
    /// CPU time of the server for each answer.
    Cpu,
    /// The most memory of the server.
    Memory,
    /// The share of requests that failed.
    Errors,
}

const METRICS: [(&str, Metric); 9] = [
    ("p50", Metric::Latency(5_000)),
    ("p90", Metric::Latency(9_000)),
    ("p99", Metric::Latency(9_900)),
    ("p99.9", Metric::Latency(9_990)),
    ("max", Metric::Max),
    ("rps", Metric::Rate),
    ("cpu", Metric::Cpu),
    ("rss", Metric::Memory),
    ("errors", Metric::Errors),
];

impl Metric {
    /// As it is written in limits and tables.
    pub fn name(self) -> &'static str {
        METRICS.iter().find(|(_, metric)| *metric == self).map_or("?", |(name, _)| name)
    }

    /// What a run shows of it. `None` if it does not.
    pub fn of(self, outcome: &Outcome) -> Option<f64> {
        match self {
            Self::Latency(hundredths) => Some(outcome.latency.percentile_us(f64::from(hundredths) / 100.0)),
            Self::Max => Some(outcome.latency.max_us()),
            Self::Rate => Some(outcome.done as f64 / outcome.elapsed_s),
            Self::Cpu => Some(outcome.server.as_ref()?.cpu_us_per_request),
            Self::Memory => Some(outcome.server.as_ref()?.rss_max as f64),
            Self::Errors => {
                let failed: u64 = outcome.errors.values().sum();
                Some(failed as f64 / (failed + outcome.done).max(1) as f64)
            }
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Latency(_) | Self::Max => "us",
            Self::Rate => "/s",
            Self::Cpu => "us/request",
            Self::Memory => "B",
            Self::Errors => "of all",
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = METRICS.iter().find(|(name, _)| *name == text).map(|(_, metric)| *metric);
        known.ok_or_else(|| {
            let names: Vec<_> = METRICS.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not measured; take one of {}", names.join(", "))
        })
    }
}

/// How much worse each may become.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits(Vec<(Metric, f64)>);

impl FromStr for Limits {
    type Err = String;

    /// `p99=10%,cpu=5%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let limits: Result<Vec<_>, String> = text
            .split(',')
            .map(|part| {
                let wrong = || format!("{part:?} is no limit; write p99=10%");
                let (metric, allowed) = part.trim().split_once('=').ok_or_else(wrong)?;
                let allowed: f64 =
                    allowed.strip_suffix('%').and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
                if !allowed.is_finite() || allowed < 0.0 {
                    return Err(wrong());
                }
                Ok((metric.parse()?, allowed / 100.0))
            })
            .collect();
        Ok(Self(limits?))
    }
}

/// Why two runs cannot be held against each other.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum GateError {
    /// The machines differ.
    #[error("the runs were made on unlike machines, so that their figures say nothing beside each other: {}", .0.join("; "))]
    UnlikeMachines(Vec<String>),
    /// The loads differ.
    #[error("the runs did not do the same: {0} and {1}")]
    UnlikePlans(String, String),
    /// A run's figures say nothing about the server.
    #[error("the figures of the {0} run do not hold: {1}")]
    Invalid(&'static str, Verdict),
    /// One run does not show what is limited.
    #[error("{0} is limited, but the {1} run does not show it")]
    NotMeasured(&'static str, &'static str),
}

/// One limit, held against both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// What.
    pub metric: Metric,
    /// In the baseline.
    pub before: f64,
    /// Now.
    pub now: f64,
    /// How much worse, as a share; below zero is better.
    pub worse: f64,
    /// How much worse it may be.
    pub allowed: f64,
}

impl Held {
    /// Whether the limit holds.
    pub fn holds(&self) -> bool {
        self.worse <= self.allowed
    }
}

/// Holds the limits against two runs.
pub fn judge(baseline: &Outcome, now: &Outcome, limits: &Limits) -> Result<Vec<Held>, GateError> {
    let differences = baseline.machine.differences(&now.machine);
    if !differences.is_empty() {
        return Err(GateError::UnlikeMachines(differences));
    }
    let did = |outcome: &Outcome| {
        let plan = &outcome.plan;
        format!(
            "{:?} {:?} over {} connections x {} streams, {} bytes out, {:?} back",
            plan.protocol, plan.load, plan.connections, plan.streams, plan.request_bytes, plan.response_bytes
        )
    };
    if did(baseline) != did(now) {
        return Err(GateError::UnlikePlans(did(baseline), did(now)));
    }
    for (which, outcome) in [("baseline's", baseline), ("new", now)] {
        if matches!(outcome.verdict, Verdict::NoAnswers | Verdict::GeneratorSaturated { .. }) {
            return Err(GateError::Invalid(which, outcome.verdict.clone()));
        }
    }
    limits
        .0
        .iter()
        .map(|(metric, allowed)| {
            let of = |outcome, which| metric.of(outcome).ok_or(GateError::NotMeasured(metric.name(), which));
            let (before, after) = (of(baseline, "baseline's")?, of(now, "new")?);
            Ok(Held {
                metric: *metric,
                before,
                now: after,
                worse: worse(*metric, before, after),
                allowed: *allowed,
            })
        })
        .collect()
}

fn worse(metric: Metric, before: f64, now: f64) -> f64 {
    let (more, less) = if metric == Metric::Rate { (before, now) } else { (now, before) };
    match (more, less) {
        // A share of requests has no per cent of its own: it is compared as it is.
        _ if metric == Metric::Errors => now - before,
        (more, less) if more == less => 0.0,
        (_, 0.0) => f64::INFINITY,
        (more, less) => more / less - 1.0,
    }
}

/// As Markdown, for a comment or a summary.
pub fn markdown(held: &[Held]) -> String {
    let mut text = String::from("| | before | now | worse by | allowed | |\n|---|---|---|---|---|---|\n");
    for limit in held {
        let metric = limit.metric;
        let _to_a_string = writeln!(
            text,
            "| {} ({}) | {:.4} | {:.4} | {:+.1} % | {:.1} % | {} |",
            metric.name(),
            metric.unit(),
            limit.before,
            limit.now,
            limit.worse * 100.0,
            limit.allowed * 100.0,
            if limit.holds() { "ok" } else { "**too much**" }
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::outcome;

    fn run(latency_us: u64, done: u64) -> Outcome {
        let mut run = outcome();
        run.done = done;
        (0..done).for_each(|_| run.latency.record(latency_us * 1_000));
        run
    }

    #[test]
    fn limits_are_read() {
        let limits: Limits = "p99=10%, cpu=5%".parse().unwrap();
        assert_eq!(limits, Limits(vec![(Metric::Latency(9_900), 0.1), (Metric::Cpu, 0.05)]));
        for wrong in ["p99", "p99=10", "p42=1%", "p99=-1%", "p99=NaN%", ""] {
            assert!(wrong.parse::<Limits>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn worse_by_more_than_allowed_does_not_hold() {
        let limits = "p99=10%,rps=5%".parse().unwrap();
        let held = judge(&run(100, 1_000), &run(120, 970), &limits).unwrap();
        assert!(!held[0].holds() && held[1].holds(), "{held:?}");
        assert!(markdown(&held).contains("**too much**"));
        let better = judge(&run(120, 970), &run(100, 1_000), &limits).unwrap();
        assert!(better.iter().all(Held::holds), "{better:?}");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let limits = "cpu=5%".parse().unwrap();
        let mut elsewhere = run(100, 10);
        elsewhere.machine.cpu = "another".into();
        let error = judge(&run(100, 10), &elsewhere, &limits).unwrap_err();
        assert!(
            error.to_string().contains("unlike machines") && error.to_string().contains("another"),
            "{error}"
        );
        let mut more = run(100, 10);
        more.plan.connections += 1;
        assert!(matches!(judge(&run(100, 10), &more, &limits), Err(GateError::UnlikePlans(..))));
        assert_eq!(
            judge(&run(100, 10), &run(100, 10), &limits),
            Err(GateError::NotMeasured("cpu", "baseline's"))
        );
    }

    #[test]
    fn errors_are_compared_as_shares_of_all() {
        let mut failing = run(100, 980);
        failing.errors.insert("reset".into(), 20);
        let limits = "errors=1%".parse().unwrap();
        assert!(!judge(&run(100, 1_000), &failing, &limits).unwrap()[0].holds());
        assert!(judge(&run(100, 1_000), &run(100, 1_000), &limits).unwrap()[0].holds());
    }
}
