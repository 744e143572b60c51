//! Whether a run's figures say something about the server. Pure.

use crate::outcome::{Outcome, Verdict};
use crate::plan::{Load, Protocol};

/// The generator's own delay, in microseconds, that one in a hundred requests may have.
pub const LAG_P99_MAX_US: f64 = 1_000.0;
/// The share of its time that a thread of the generator may be busy in an open loop.
pub const SPENT_MAX: f64 = 0.97;
/// The share of its core that a server must use for a closed loop to say what it can do.
pub const BUSY_MIN: f64 = 0.95;

/// Judges a run by what it showed. Judge again once the server's cost is known.
pub fn judge(outcome: &Outcome) -> Verdict {
    if outcome.done == 0 {
        return Verdict::NoAnswers;
    }
    match (outcome.plan.load, &outcome.server) {
        _ if outcome.plan.protocol == Protocol::Idle => Verdict::Valid,
        (Load::Open { .. }, _) => {
            let lag = outcome.lag.percentile_us(99.0);
            if lag > LAG_P99_MAX_US {
                let because = format!(
                    "one in a hundred requests left {:.1} ms after it was due and could be sent",
                    lag / 1e3
                );
                Verdict::GeneratorSaturated { because }
            } else if outcome.generator_spent >= SPENT_MAX {
                let because =
                    format!("a thread was busy for {:.0} % of the time", outcome.generator_spent * 100.0);
                Verdict::GeneratorSaturated { because }
            } else {
                Verdict::Valid
            }
        }
        (Load::Closed, Some(server)) if server.busy < BUSY_MIN => {
            Verdict::ServerNotBusy { busy: server.busy }
        }
        (Load::Closed, _) => Verdict::Valid,
    }
}
