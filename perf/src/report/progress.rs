//! The line that is seen while a run goes on, rewritten in place every second.

use crate::outcome::Second;
use crate::plan::{Load, Plan};

use super::units;

/// Where a run stands.
pub struct Progress<'a> {
    /// What is to be done.
    pub plan: &'a Plan,
    /// How many seconds were recorded.
    pub seconds: usize,
    /// The one that was completed last.
    pub last: &'a Second,
    /// Requests that failed since recording began.
    pub failed: u64,
}

/// The line, to be written as it is to a terminal of so many columns. What does not fit is left out, since a line that wraps
/// cannot be rewritten.
pub fn line(progress: &Progress<'_>, columns: usize) -> String {
    let Progress { plan, seconds, last, failed } = progress;
    let mut parts = vec![format!("{seconds}/{} s", plan.duration.as_secs_f64().ceil())];
    // What must not be cut off comes first.
    if *failed > 0 {
        parts.push(format!("{} FAILED", units::count(*failed)));
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
    let text: String = parts.join("  ").chars().take(columns.saturating_sub(1)).collect();
    // To the line's start, the text, and nothing of the line before it.
    format!("\r{text}\x1b[K")
}
