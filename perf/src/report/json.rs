//! Outcomes as JSON. What is written reads back as the same [`Outcome`]; `figures` are there for `jq` and for people,
//! and are worked out again when read.

use serde::Serialize;

use crate::outcome::Outcome;

use super::figures::{Figures, PERCENTILES, Times};

/// An outcome and what is read off its histograms.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    figures: Read,
}

/// Figures in microseconds and per second.
#[derive(Serialize)]
struct Read {
    latency_us: serde_json::Map<String, serde_json::Value>,
    service_us: serde_json::Map<String, serde_json::Value>,
    lag_us: serde_json::Map<String, serde_json::Value>,
    offered_per_second: Option<f64>,
    done_per_second: Option<f64>,
    failed: u64,
}

/// One run.
///
/// # Errors
///
/// A histogram that cannot be written: none of ours.
pub fn one(outcome: &Outcome) -> Result<String, serde_json::Error> {
    line_fed(serde_json::to_string_pretty(&written(outcome))?)
}

/// Several runs, as an array.
///
/// # Errors
///
/// See [`one`].
pub fn several(outcomes: &[Outcome]) -> Result<String, serde_json::Error> {
    line_fed(serde_json::to_string_pretty(&outcomes.iter().map(written).collect::<Vec<_>>())?)
}

fn line_fed(mut text: String) -> Result<String, serde_json::Error> {
    text.push('\n');
    Ok(text)
}

fn written(outcome: &Outcome) -> Written<'_> {
    let figures = Figures::of(outcome);
    Written {
        outcome,
        figures: Read {
            latency_us: times(figures.latency.as_ref()),
            service_us: times(figures.service.as_ref()),
            lag_us: times(figures.lag.as_ref()),
            offered_per_second: figures.offered,
            done_per_second: figures.done,
            failed: figures.failed,
        },
    }
}

fn times(times: Option<&Times>) -> serde_json::Map<String, serde_json::Value> {
    let names = PERCENTILES.iter().map(|(name, _)| *name).chain(["max", "mean"]);
    let values = |at: usize| {
        let times = times?;
        Some(match at {
            6 => times.max_us,
            7 => times.mean_us,
            at => times.percentiles[at],
        })
    };
    names.enumerate().map(|(at, name)| (name.to_owned(), values(at).into())).collect()
}
