//! The line that is seen while a run goes on. On a terminal it is rewritten in place, elsewhere each is its own.

use std::time::Duration;

use crate::outcome::Second;
use crate::plan::{Load, Plan};

use super::units;

/// The lag at its 99th percentile from which the generator is too late to be believed, in microseconds.
const LATE_US: f64 = 1_000.0;

/// Where a run stands.
pub struct Progress<'a> {
    /// What is to be done.
    pub plan: &'a Plan,
    /// Since the first request, warm-up included.
    pub at: Duration,
    /// The second that was completed last.
    pub last: &'a Second,
    /// The generator's own delay in it, at the 99th percentile, in microseconds.
    pub lag_p99_us: f64,
    /// Requests that failed since recording began.
    pub failed: u64,
}

/// Where the line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// On a terminal of so many columns: the line is rewritten.
    Rewritten {
        /// What does not fit is left out, since a line that wraps cannot be rewritten.
        columns: usize,
    },
    /// In a log or a file: a line each.
    Lines,
}

/// The line, to be written as it is.
pub fn line(progress: &Progress<'_>, show: Show) -> String {
    let Progress { plan, at, last, .. } = progress;
    let (phase, at, of) = match at.checked_sub(plan.warmup) {
        None => ("warm-up", *at, plan.warmup),
        Some(recorded) => ("measured", recorded.min(plan.duration), plan.duration),
    };
    let mut parts = vec![format!("{phase} {}/{} s", at.as_secs(), of.as_secs())];
    // What must not be cut off comes first.
    if progress.lag_p99_us > LATE_US {
        parts.push(format!("GENERATOR LATE {}", units::time(progress.lag_p99_us)));
    }
    if progress.failed > 0 {
        parts.push(format!("{} FAILED", units::count(progress.failed)));
    }
    parts.push(match plan.load {
        Load::Open { rate, .. } => {
            format!("{} of {}", units::count(last.done), units::rate(rate))
        }
        Load::Closed => units::rate(last.done as f64),
    });
    match last.done {
        0 => parts.push("no answers".to_owned()),
        _ => {
            let times = [("p50", last.p50_us), ("p99", last.p99_us), ("max", last.max_us)];
            parts.extend(times.map(|(name, us)| format!("{name} {}", units::time(us))));
        }
    }
    if let Some(cpu) = last.server_cpu_us.filter(|_| last.done > 0) {
        parts.push(format!("{}/request", units::time(cpu / last.done as f64)));
    }
    let text = parts.join("  ");
    match show {
        // To the line's start, the text, and nothing of the line before it.
        Show::Rewritten { columns } => {
            format!("\r{}\x1b[K", text.chars().take(columns.saturating_sub(1)).collect::<String>())
        }
        Show::Lines => text + "\n",
    }
}
