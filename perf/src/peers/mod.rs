//! `ringway perf peers`: the same traffic through several proxies and raw relays, side by side, in interleaved rounds.
//!
//! Nothing here knows one contestant from another: each is files in `perf/peers/` and a process that is started with
//! them, ringway too. A run counts only if nothing speaks against it (`check.rs`).

mod agreed;
mod certificates;
mod check;
mod contestant;
mod measure;
mod process;
mod results;
mod rows;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contestant::{Contestant, Programs};
use measure::Timing;
use process::{Scratch, StartError};
pub use results::{Entry, Figure, Results, RowResult};
pub use rows::Unit;

use crate::isolate;
use crate::outcome::Machine;
use crate::statistics;

/// What is to be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// `W1` to `W8`, or `all`.
    pub workloads: Vec<String>,
    /// Names, `floor` or `all`.
    pub contestants: Vec<String>,
    /// How often all of it is done.
    pub rounds: usize,
    /// Recorded time of each run.
    pub duration: Duration,
    /// Load before that.
    pub warmup: Duration,
    /// The command, to be written into the results.
    pub command: String,
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// What was asked for does not exist.
    #[error("{0}")]
    Asked(String),
    /// A contestant is not there. Contestants are not left out silently.
    #[error("{contestant} is not here ({source}); install it, or leave it out with --contestants")]
    Absent {
        /// Which.
        contestant: String,
        /// Why.
        source: StartError,
    },
    /// The machine refused something.
    #[error("cannot prepare the comparison: {0}")]
    Prepare(#[from] io::Error),
}

/// Compares, and tells of each run in one line as it is done. Ends early, with what there is
/// and [`Results::interrupted`], when `stop` is set.
pub fn compare(
    asked: &Comparison,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&str),
) -> Result<Results, PeersError> {
    let rows = rows::chosen(&asked.workloads).map_err(PeersError::Asked)?;
    let contestants = Contestant::chosen(&asked.contestants).map_err(PeersError::Asked)?;
    let scratch = Scratch::new()?;
    let programs = Programs::find(&contestants, scratch.path())?;
    let mut versions = BTreeMap::new();
    for contestant in &contestants {
        let version = programs
            .version(*contestant)
            .map_err(|source| PeersError::Absent { contestant: contestant.name().into(), source })?;
        versions.insert(contestant.name().to_owned(), version);
    }
    let mut results = Results {
        started: jiff::Timestamp::now().to_string(),
        command: asked.command.clone(),
        machine: Machine::here(),
        versions,
        missing: isolate::prefer(),
        rounds: asked.rounds,
        seconds: asked.duration.as_secs_f64(),
        interrupted: false,
        rows: Vec::new(),
    };
    let mut agreed: BTreeMap<(&str, rows::Shape), String> = BTreeMap::new();
    for row in rows {
        if results.interrupted {
            break;
        }
        let able: Vec<Contestant> =
            contestants.iter().copied().filter(|contestant| contestant.can(&row)).collect();
        let mut entries = vec![Entry::default(); able.len()];
        if row.shape.hides_tls() {
            for (contestant, entry) in able.iter().zip(&mut entries) {
                let known = agreed.entry((contestant.name(), row.shape)).or_insert_with(|| {
                    measure::agreed(*contestant, &row, &programs, scratch.path())
                        .unwrap_or_else(|error| format!("not seen: {error}"))
                });
                entry.agreed = Some(known.clone());
            }
        }
        'row: for round in 0..asked.rounds {
            for place in statistics::order(able.len(), round) {
                if stop.load(Ordering::Relaxed) {
                    results.interrupted = true;
                    break 'row;
                }
                let timing =
                    Timing { warmup: asked.warmup, duration: asked.duration, seed: round as u64 + 1 };
                let measured = measure::measure(able[place], &row, &programs, scratch.path(), timing, stop);
                // What a run showed that was not let finish, nor its failure, says nothing.
                if stop.load(Ordering::Relaxed) {
                    results.interrupted = true;
                    break 'row;
                }
                let said = take(&mut entries[place], &row, measured, &mut results.missing);
                tell(&format!("{}, round {}: {}: {said}", row.name(), round + 1, able[place].name()));
            }
        }
        if entries.iter().all(|entry| entry.rounds.is_empty()) {
            continue;
        }
        let names = able.iter().map(|contestant| contestant.name().to_owned());
        results.rows.push(RowResult {
            name: row.name(),
            unit: row.unit,
            entries: names.zip(entries).collect(),
        });
    }
    Ok(results)
}

/// Takes a run into an entry, or the reason why it does not count. Returns what is said of it.
fn take(
    entry: &mut Entry,
    row: &rows::Row,
    measured: Result<measure::Measured, measure::MeasureError>,
    missing: &mut Vec<String>,
) -> String {
    let remark = |entry: &mut Entry, text: String| *entry.remarks.entry(text).or_insert(0) += 1;
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => {
            let said = error.to_string();
            // The table has room for a line: what was said last is mostly the reason.
            let reason = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            remark(entry, format!("did not run: {reason}"));
            entry.rounds.push(None);
            return said;
        }
    };
    for text in measured.missing {
        if !missing.contains(&text) {
            missing.push(text);
        }
    }
    let objections = check::run(row, &measured.outcome, measured.opened);
    let said =
        objections.disqualifying.iter().chain(&objections.remarks).cloned().collect::<Vec<_>>().join("; ");
    for text in &objections.remarks {
        // Figures in a remark would make each run's its own.
        remark(entry, text.split([':', '(']).next().unwrap_or(text).trim_end().to_owned());
    }
    for text in &objections.disqualifying {
        remark(entry, format!("does not count: {text}"));
    }
    let figure = Figure::of(row.unit, &measured.outcome).filter(|_| objections.disqualifying.is_empty());
    if figure.is_some() {
        entry.latency.merge(&measured.outcome.latency);
    }
    let shown = figure.as_ref().map_or_else(String::new, |figure| {
        format!(
            "{:.3} {}, {:.0}/s, core {:.0} %, p50 {:.0} us, p99 {:.0} us ",
            figure.cost,
            row.unit.name(),
            figure.rate,
            figure.busy * 100.0,
            figure.p50_us,
            figure.p99_us
        )
    });
    entry.rounds.push(figure);
    shown + &said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_interrupted_says_so_and_shows_no_rows_of_nothing() {
        let asked = Comparison {
            workloads: vec!["W1".into(), "W4".into()],
            contestants: vec!["floor".into()],
            rounds: 2,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            command: "ringway perf peers".into(),
        };
        let mut told = Vec::new();
        let results =
            compare(&asked, &AtomicBool::new(true), &mut |text: &str| told.push(text.to_owned())).unwrap();
        assert!(results.interrupted && !results.sound());
        assert_eq!((results.rows, told), (Vec::new(), Vec::<String>::new()));
    }
}
