//! What a person reads after a run. The verdict comes first, and again last if it is not a good one: the last line is
//! what the eye falls on.

use std::fmt::Write as _;

use crate::outcome::{Outcome, Verdict};

use super::figures::{self, Figures, PERCENTILES, Times};
use super::units::{self, UNKNOWN, known};

/// Whether colours are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Text and nothing else.
    Plain,
    /// With the escape sequences of terminals.
    Coloured,
}

const GOOD: &str = "\x1b[1;32m";
const BAD: &str = "\x1b[1;97;41m";
const END: &str = "\x1b[0m";

/// The widest line of the report.
const COLUMNS: usize = 78;

/// All of one run.
pub fn report(outcome: &Outcome, ink: Ink) -> String {
    let figures = Figures::of(outcome);
    let mut text = verdict(outcome, ink);
    let _ = writeln!(text, "\n{}  {}", printable(&outcome.name), printable(&outcome.plan.target));
    let _ = writeln!(text, "{}\n", figures::plan(outcome));
    text.push_str(&times(&figures));
    text.push('\n');
    for (name, value) in facts(outcome, &figures) {
        let _ = writeln!(text, "{name:<12}{value}");
    }
    if outcome.verdict != Verdict::Valid {
        text.push('\n');
        text.push_str(&verdict(outcome, ink));
    }
    text
}

/// One line a run, to set several side by side.
pub fn summary(outcomes: &[Outcome]) -> String {
    let head = ["run", "offered", "done", "p50", "p99", "p99.9", "max", "failed", "CPU/request", "verdict"];
    let mut rows = vec![head.map(str::to_owned)];
    for outcome in outcomes {
        let figures = Figures::of(outcome);
        let time = |of: fn(&Times) -> f64| known(figures.latency.as_ref().map(of), units::time);
        rows.push([
            printable(&outcome.name),
            figures.offered.map_or_else(|| "closed".to_owned(), units::rate),
            known(figures.done, units::rate),
            time(|times| times.percentiles[0]),
            time(|times| times.percentiles[3]),
            time(|times| times.percentiles[4]),
            time(|times| times.max_us),
            units::count(figures.failed),
            known(figures.server_us, units::time),
            figures::verdict(outcome).0.to_owned(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 10] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            0 | 9 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// A bar with the verdict's words, and below it what they mean.
fn verdict(outcome: &Outcome, ink: Ink) -> String {
    let (words, meaning) = figures::verdict(outcome);
    let good = outcome.verdict == Verdict::Valid;
    let bar = match good {
        true => words.to_owned(),
        false => format!("{:!^COLUMNS$}", format!("  {words}  ")),
    };
    let bar = match (ink, good) {
        (Ink::Plain, _) => bar,
        (Ink::Coloured, true) => format!("{GOOD}{bar}{END}"),
        (Ink::Coloured, false) => format!("{BAD}{bar}{END}"),
    };
    format!("{bar}\n{}", wrapped(&printable(&meaning)))
}

/// Latency and service time side by side.
fn times(figures: &Figures) -> String {
    let mut text = format!("{:<8}{:>14}{:>16}\n", "", "latency", "service time");
    let cell = |times: &Option<Times>, at: usize| match times {
        None => UNKNOWN.to_owned(),
        Some(times) => {
            let scant = if times.scant(PERCENTILES[at].1) { " *" } else { "" };
            format!("{}{scant}", units::time(times.percentiles[at]))
        }
    };
    let mut row = |name: &str, latency: String, service: String| {
        // A mark stands outside of the column, so that figures stay aligned.
        let pad = |cell: &str, width: usize| {
            let marked = cell.strip_suffix(" *");
            format!("{:>width$}{}", marked.unwrap_or(cell), if marked.is_some() { " *" } else { "  " })
        };
        let line = format!("{name:<8}{}{}", pad(&latency, 14), pad(&service, 14));
        let _ = writeln!(text, "{}", line.trim_end());
    };
    for (at, (name, _)) in PERCENTILES.iter().enumerate() {
        row(name, cell(&figures.latency, at), cell(&figures.service, at));
    }
    let both = |of: fn(&Times) -> f64| {
        [&figures.latency, &figures.service].map(|times| known(times.as_ref().map(of), units::time))
    };
    let [latency, service] = both(|times| times.max_us);
    row("max", latency, service);
    let [latency, service] = both(|times| times.mean_us);
    row("mean", latency, service);
    if text.contains(" *") {
        text.push_str("* fewer than ten answers were slower: read it as a maximum\n");
    }
    text
}

/// Everything but times, in rows.
fn facts(outcome: &Outcome, figures: &Figures) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let offered = figures.offered.map_or_else(|| "closed loop".to_owned(), units::rate);
    let (sent, done) = (known(figures.sent, units::rate), known(figures.done, units::rate));
    rows.push(("rate", format!("offered {offered}, sent {sent}, done {done}")));
    rows.push((
        "requests",
        format!("{} sent, {} done", units::count(outcome.sent), units::count(outcome.done)),
    ));
    let (received, sent) = (known(figures.received, units::bytes), known(figures.transmitted, units::bytes));
    rows.push(("bodies", format!("{received}/s received, {sent}/s sent")));
    let listed = |pairs: Vec<String>| if pairs.is_empty() { "none".to_owned() } else { pairs.join(", ") };
    let statuses =
        outcome.statuses.iter().map(|(status, number)| format!("{status} × {}", units::count(*number)));
    rows.push(("statuses", listed(statuses.collect())));
    let causes: Vec<_> = outcome
        .errors
        .iter()
        .map(|(cause, number)| format!("{} × {}", printable(cause), units::count(*number)))
        .collect();
    let share = figures.failed_share.filter(|_| figures.failed > 0);
    let share = share.map_or(String::new(), |share| format!(" ({} of those sent)", units::share(share)));
    rows.push(("errors", listed(causes) + &share));
    let lag = match &figures.lag {
        Some(lag) => format!("p99 {}, max {}", units::time(lag.percentiles[3]), units::time(lag.max_us)),
        None => UNKNOWN.to_owned(),
    };
    rows.push((
        "generator",
        format!(
            "lag {lag}; CPU {} a request; busiest thread {} spent",
            known(figures.generator_us, units::time),
            units::share(outcome.generator_spent),
        ),
    ));
    match &outcome.server {
        None => rows.push(("server", "not watched: its processes were not named".to_owned())),
        Some(server) => {
            let each = |us: f64| known(figures::ratio(us, outcome.done as f64), units::time);
            let cpu = &server.cpu;
            let divided = match cpu.division_us() {
                Some((user, system)) => format!("user {}, system {}", each(user), each(system)),
                None => "user and system together, too short to be told apart".to_owned(),
            };
            rows.push((
                "server CPU",
                format!(
                    "{} a request, {} of a core",
                    known(figures.server_us, units::time),
                    units::share(server.busy),
                ),
            ));
            rows.push(("", format!("{divided}, io workers {}", each(cpu.io_workers_us))));
            rows.push((
                "server RSS",
                format!(
                    "{} before, {} at most, {} after; {} a connection",
                    units::bytes(server.rss_before as f64),
                    units::bytes(server.rss_max as f64),
                    units::bytes(server.rss_after as f64),
                    units::bytes(server.rss_per_connection),
                ),
            ));
        }
    }
    rows
}

/// Text from outside without what would steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if last > 0 && last + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) if last == 0 => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}
