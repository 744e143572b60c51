//! Every figure of a report as tables: what the charts show, and what no chart can.

use maud::{Markup, html};

use crate::outcome::{Machine, Outcome, Verdict};
use crate::plan::{Plan, Tls};
use crate::report::figures::{Figures, PERCENTILES, Times, offered, ratio, verdict, word};
use crate::report::runs::{Group, load, spans};
use crate::report::units::{self, known};

/// Rows of a table of seconds; with more seconds than that, each is several at their worst.
const ROWS_MAX: usize = 600;

/// Percentiles of one kind of time, a row for each run.
pub(super) fn times(outcomes: &[Outcome], caption: &str, of: impl Fn(&Figures) -> Option<&Times>) -> Markup {
    let mut scant = false;
    let rows: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let figures = Figures::of(outcome);
            let times = of(&figures);
            let percentiles = PERCENTILES.iter().enumerate().map(|(at, (_, per_cent))| {
                let mark = times.is_some_and(|times| times.scant(*per_cent));
                scant |= mark;
                let shown = known(times.map(|times| times.percentiles[at]), units::time);
                if mark { shown + " *" } else { shown }
            });
            let mut cells: Vec<String> = percentiles.collect();
            cells.push(known(times.map(|times| times.max_us), units::time));
            cells.push(known(times.map(|times| times.mean_us), units::time));
            (outcome, figures.offered, known(figures.done, units::rate), cells)
        })
        .collect();
    html! {
        div class="scroll" {
            table {
                caption { (caption) }
                thead {
                    tr {
                        th scope="col" { "run" } th class="word" scope="col" { "verdict" }
                        th scope="col" { "offered" } th scope="col" { "done" }
                        @for (name, _) in PERCENTILES { th scope="col" { (name) } }
                        th scope="col" { "max" } th scope="col" { "mean" }
                    }
                }
                tbody {
                    @for (outcome, offered, done, cells) in &rows {
                        tr class=[bad(outcome)] {
                            th scope="row" { (named(outcome)) }
                            td class="word words" { (verdict(outcome).0) }
                            td { (load(*offered)) } td { (done) }
                            @for cell in cells { td class="time" { (cell) } }
                        }
                    }
                }
            }
        }
        @if scant { p class="note" { "* fewer than ten answers were slower: read it as a maximum." } }
    }
}

/// What was asked for and came back, and the generator's own part in it.
pub(super) fn requests(outcomes: &[Outcome]) -> Markup {
    let columns =
        ["sent", "done", "failed", "received", "transmitted", "lag p99", "lag max", "CPU/request", "busy"];
    rows(
        outcomes,
        "Requests, and the generator's own part: its delay (lag), CPU time, and what its busiest thread used of its own (busy)",
        columns,
        |outcome| {
            let figures = Figures::of(outcome);
            let share = figures.failed_share.filter(|_| figures.failed > 0);
            let share = share.map_or(String::new(), |share| format!(" ({})", units::share(share)));
            let a_second = |bytes: Option<f64>| known(bytes, |bytes| units::bytes(bytes) + "/s");
            let lag = |of: fn(&Times) -> f64| known(figures.lag.as_ref().map(of), units::time);
            [
                units::count(outcome.sent),
                units::count(outcome.done),
                units::count(figures.failed) + &share,
                a_second(figures.received),
                a_second(figures.transmitted),
                lag(|lag| lag.percentiles[3]),
                lag(|lag| lag.max_us),
                known(figures.generator_us, units::time),
                units::share(outcome.generator_spent),
            ]
        },
    )
}

/// What the server used.
pub(super) fn server(outcomes: &[Outcome]) -> Markup {
    let columns = [
        "CPU/request",
        "user",
        "system",
        "io workers",
        "of a core",
        "RSS before",
        "RSS max",
        "RSS after",
        "RSS/connection",
    ];
    rows(outcomes, "The server's CPU time for each request, and its memory", columns, |outcome| {
        let server = outcome.server.as_ref();
        let divided = server.and_then(|server| server.cpu.division_us());
        let each = |us: Option<f64>| known(us.and_then(|us| ratio(us, outcome.done as f64)), units::time);
        let bytes = |bytes: Option<f64>| known(bytes, units::bytes);
        [
            known(Figures::of(outcome).server_us, units::time),
            each(divided.map(|(user, _)| user)),
            each(divided.map(|(_, system)| system)),
            each(server.map(|server| server.cpu.io_workers_us)),
            known(server.map(|server| server.busy), units::share),
            bytes(server.map(|server| server.rss_before as f64)),
            bytes(server.map(|server| server.rss_max as f64)),
            bytes(server.map(|server| server.rss_after as f64)),
            bytes(server.map(|server| server.rss_per_connection)),
        ]
    })
}

/// A table with a row for each run.
fn rows<const COLUMNS: usize>(
    outcomes: &[Outcome],
    caption: &str,
    columns: [&str; COLUMNS],
    cells: impl Fn(&Outcome) -> [String; COLUMNS],
) -> Markup {
    html! {
        div class="scroll" {
            table {
                caption { (caption) }
                thead {
                    tr {
                        th scope="col" { "run" } th scope="col" { "offered" }
                        @for column in columns { th scope="col" { (column) } }
                    }
                }
                tbody {
                    @for outcome in outcomes {
                        tr class=[bad(outcome)] {
                            th scope="row" { (named(outcome)) }
                            td { (load(offered(outcome))) }
                            @for cell in cells(outcome) { td { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// Answers by status.
pub(super) fn statuses(outcomes: &[Outcome]) -> Markup {
    html! {
        div class="scroll" {
            table {
                caption { "Answers by status" }
                thead { tr { th scope="col" { "run" } th scope="col" { "offered" } th scope="col" { "status" } th scope="col" { "answers" } } }
                tbody {
                    @for outcome in outcomes {
                        @for (status, number) in &outcome.statuses {
                            tr { th scope="row" { (named(outcome)) } td { (load(offered(outcome))) } td { (status) } td { (units::count(*number)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The seconds of a group, folded until wanted.
pub(super) fn seconds(group: &Group<'_>) -> Markup {
    let (rows, span) = spans(&group.worst_seconds(), ROWS_MAX);
    let rounds = group.rounds.len();
    html! {
        details {
            summary { (group.label) ", second by second" }
            @if rounds > 1 {
                p class="note" { "Times are the worst of " (rounds) " rounds, requests and CPU time their sum." }
            }
            @if span > 1 { p class="note" { "Each row is " (span) " seconds: times at their worst, requests in sum." } }
            div class="scroll" {
                table {
                    thead {
                        tr {
                            th scope="col" { "second" } th scope="col" { "done" } th scope="col" { "failed" }
                            th scope="col" { "p50" } th scope="col" { "p99" } th scope="col" { "p99.9" }
                            th scope="col" { "max" } th scope="col" { "CPU/request" } th scope="col" { "RSS" }
                        }
                    }
                    tbody {
                        @for (at, second) in rows.iter().enumerate() {
                            @let time = |us: f64| known((second.done > 0).then_some(us), units::time);
                            tr {
                                th scope="row" { (at * span) }
                                td { (units::count(second.done)) } td { (units::count(second.failed)) }
                                td { (time(second.p50_us)) } td { (time(second.p99_us)) }
                                td { (time(second.p999_us)) } td { (time(second.max_us)) }
                                td { (known(second.server_cpu_us.and_then(|us| ratio(us, second.done as f64)), units::time)) }
                                td { (known(second.server_rss, |bytes| units::bytes(bytes as f64))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What was to be done.
pub(super) fn plan(plan: &Plan) -> Markup {
    let tls = |tls: &Tls| {
        let name = tls.server_name.as_deref().unwrap_or("the target's host");
        let trust = if tls.ca.is_some() { "verified" } else { "any certificate is taken" };
        let client = if tls.identity.is_some() { ", with a client certificate" } else { "" };
        let exchange = if tls.hybrid { "X25519MLKEM768" } else { "X25519" };
        format!("asks for {name}, {trust}{client}, {exchange}")
    };
    let seconds = |time: std::time::Duration| units::time(time.as_secs_f64() * 1e6);
    let rows = [
        ("target", plan.target.clone()),
        ("protocol", word(&plan.protocol)),
        ("TLS", plan.tls.as_ref().map_or_else(|| "none".to_owned(), tls)),
        (
            "load",
            match plan.load {
                crate::plan::Load::Open { rate, arrivals } => {
                    format!(
                        "open loop, {}, {} arrivals, seed {}",
                        units::rate(rate),
                        word(&arrivals),
                        plan.seed
                    )
                }
                crate::plan::Load::Closed => "closed loop".to_owned(),
            },
        ),
        ("connections", units::count(plan.connections as u64)),
        ("streams on each", units::count(plan.streams as u64)),
        ("generator threads", units::count(plan.threads as u64)),
        ("warm-up", seconds(plan.warmup)),
        ("duration", seconds(plan.duration)),
        ("timeout", seconds(plan.timeout)),
        ("request body", units::bytes(plan.request_bytes as f64)),
        ("response body", plan.response_bytes.map_or_else(|| "any".to_owned(), |n| units::bytes(n as f64))),
    ];
    html! {
        dl {
            @for (name, value) in rows { dt { (name) } dd { (value) } }
            @for (name, value) in &plan.headers { dt { "header" } dd { code { (name) ": " (value) } } }
        }
    }
}

/// On what.
pub(super) fn machine(machine: &Machine) -> Markup {
    let rows = [
        ("processor", machine.cpu.clone()),
        ("processors", machine.cpus.to_string()),
        ("memory", units::bytes(machine.memory as f64)),
        ("kernel", machine.kernel.clone()),
        ("governor", machine.governor.clone().unwrap_or_else(|| "not readable".to_owned())),
        ("congestion control", machine.congestion.clone()),
        ("harness", machine.harness.clone()),
    ];
    html! {
        dl { @for (name, value) in rows { dt { (name) } dd { (value) } } }
        @if !machine.mitigations.is_empty() {
            details {
                summary { "Mitigations of processor faults" }
                dl { @for (name, value) in &machine.mitigations { dt { (name) } dd { (value) } } }
            }
        }
    }
}

fn bad(outcome: &Outcome) -> Option<&'static str> {
    (outcome.verdict != Verdict::Valid).then_some("bad")
}

fn named(outcome: &Outcome) -> &str {
    if outcome.name.is_empty() { "run" } else { &outcome.name }
}
