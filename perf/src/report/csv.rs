//! Rows for spreadsheets and plots: one a run, or one a second. Times are in microseconds; what is not known is empty.

use csv::Writer;
use serde::Serialize;

use crate::outcome::Outcome;

use super::figures::{Figures, word};

/// A run.
#[derive(Serialize)]
struct Run<'a> {
    name: &'a str,
    started: &'a str,
    verdict: &'static str,
    protocol: String,
    offered_per_second: Option<f64>,
    done_per_second: Option<f64>,
    connections: usize,
    elapsed_s: f64,
    sent: u64,
    done: u64,
    failed: u64,
    latency_p50_us: Option<f64>,
    latency_p75_us: Option<f64>,
    latency_p90_us: Option<f64>,
    latency_p99_us: Option<f64>,
    latency_p999_us: Option<f64>,
    latency_p9999_us: Option<f64>,
    latency_max_us: Option<f64>,
    latency_mean_us: Option<f64>,
    service_p50_us: Option<f64>,
    service_p99_us: Option<f64>,
    service_p999_us: Option<f64>,
    service_max_us: Option<f64>,
    lag_p99_us: Option<f64>,
    generator_cpu_us_per_request: Option<f64>,
    server_cpu_us_per_request: Option<f64>,
    server_busy: Option<f64>,
    server_rss_max_bytes: Option<u64>,
    server_rss_per_connection_bytes: Option<f64>,
}

/// A second of a run.
#[derive(Serialize)]
struct Second<'a> {
    name: &'a str,
    started: &'a str,
    offered_per_second: Option<f64>,
    second: usize,
    done: u64,
    failed: u64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    p999_us: Option<f64>,
    max_us: Option<f64>,
    server_cpu_us: Option<f64>,
    server_rss_bytes: Option<u64>,
}

/// One row a run.
///
/// # Errors
///
/// A row that cannot be written: none of ours.
pub fn runs(outcomes: &[Outcome]) -> Result<String, csv::Error> {
    written(outcomes.iter().map(|outcome| {
        let figures = Figures::of(outcome);
        let latency = |at: usize| figures.latency.as_ref().map(|times| times.percentiles[at]);
        let service = |at: usize| figures.service.as_ref().map(|times| times.percentiles[at]);
        Run {
            name: &outcome.name,
            started: &outcome.started,
            verdict: super::figures::verdict(outcome).0,
            protocol: word(&outcome.plan.protocol),
            offered_per_second: figures.offered,
            done_per_second: figures.done,
            connections: outcome.plan.connections,
            elapsed_s: outcome.elapsed_s,
            sent: outcome.sent,
            done: outcome.done,
            failed: figures.failed,
            latency_p50_us: latency(0),
            latency_p75_us: latency(1),
            latency_p90_us: latency(2),
            latency_p99_us: latency(3),
            latency_p999_us: latency(4),
            latency_p9999_us: latency(5),
            latency_max_us: figures.latency.as_ref().map(|times| times.max_us),
            latency_mean_us: figures.latency.as_ref().map(|times| times.mean_us),
            service_p50_us: service(0),
            service_p99_us: service(3),
            service_p999_us: service(4),
            service_max_us: figures.service.as_ref().map(|times| times.max_us),
            lag_p99_us: figures.lag.as_ref().map(|times| times.percentiles[3]),
            generator_cpu_us_per_request: figures.generator_us,
            server_cpu_us_per_request: figures.server_us,
            server_busy: outcome.server.as_ref().map(|server| server.busy),
            server_rss_max_bytes: outcome.server.as_ref().map(|server| server.rss_max),
            server_rss_per_connection_bytes: outcome.server.as_ref().map(|server| server.rss_per_connection),
        }
    }))
}

/// One row a second of each run.
///
/// # Errors
///
/// See [`runs`].
pub fn seconds(outcomes: &[Outcome]) -> Result<String, csv::Error> {
    written(outcomes.iter().flat_map(|outcome| {
        outcome.seconds.iter().enumerate().map(|(at, second)| {
            // A second without answers has no times.
            let time = |us: f64| (second.done > 0).then_some(us);
            Second {
                name: &outcome.name,
                started: &outcome.started,
                offered_per_second: super::figures::offered(outcome),
                second: at,
                done: second.done,
                failed: second.failed,
                p50_us: time(second.p50_us),
                p99_us: time(second.p99_us),
                p999_us: time(second.p999_us),
                max_us: time(second.max_us),
                server_cpu_us: second.server_cpu_us,
                server_rss_bytes: second.server_rss,
            }
        })
    }))
}

fn written(rows: impl Iterator<Item = impl Serialize>) -> Result<String, csv::Error> {
    let mut writer = Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8(bytes).expect("made of strings and numbers"))
}
