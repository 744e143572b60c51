//! One HTML file with everything in it, for one run or several: no script, nothing loaded, nothing from outside that
//! is not escaped. The markup is `maud`'s, which escapes by itself; the charts are ours, since their axis of nines,
//! their colours for light, dark and paper, and their warnings are what no chart library at hand has.

mod chart;
mod charts;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::outcome::{Outcome, Verdict};

use super::figures::verdict;
use super::runs::groups;

/// The page's style. Ours, and without a character that would end its element.
const STYLE: &str = include_str!("style.css");

/// Even if something got in, the page could load and run nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// What surrounds the figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page<'a> {
    /// Its heading.
    pub title: &'a str,
    /// The command that made it, so that anyone can make it again.
    pub command: Option<&'a str>,
}

/// A report on some runs: rounds, contestants, loads, or all of these.
pub fn report(outcomes: &[Outcome], page: Page<'_>) -> String {
    let groups = groups(outcomes);
    let body = html! {
        header {
            h1 { (page.title) }
            (banner(outcomes))
            @if let Some(first) = outcomes.first() { p class="soft" { "Started " (first.started) } }
            @if let Some(command) = page.command { pre { code { (command) } } }
        }
        @if let Some(first) = outcomes.first() {
            main {
                (figures(outcomes, &groups))
                h2 { "What was done" }
                @for (plan, names) in distinct(outcomes, |outcome| &outcome.plan) {
                    @if plan != &first.plan || groups.len() > 1 { p class="soft" { (names) } }
                    (tables::plan(plan))
                }
                h2 { "On what" }
                @for (machine, names) in distinct(outcomes, |outcome| &outcome.machine) {
                    @if machine != &first.machine { p class="soft" { (names) } }
                    (tables::machine(machine))
                }
            }
        }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (page.title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
    .into_string()
}

/// The tables and charts.
fn figures(outcomes: &[Outcome], groups: &[super::runs::Group<'_>]) -> Markup {
    let facets = charts::facets(groups);
    html! {
        h2 { "Latency" }
        p class="note" {
            "From when a request was due until its answer was whole, so that a server that stalls cannot hide it by "
            "slowing the generator down."
        }
        (tables::times(outcomes, "Latency", |figures| figures.latency.as_ref()))
        (charts::percentiles(&facets))
        p class="note" { "A curve is faint where fewer than ten answers were slower. Rounds are counted together." }
        (tables::times(outcomes, "Service time: from when a request was sent", |figures| figures.service.as_ref()))
        @if let Some(chart) = charts::load_latency(groups) {
            h2 { "Latency by load" }
            (chart)
            p class="note" { "Hollow marks are runs with a verdict against them." }
        }
        h2 { "Over time" }
        (charts::seconds(groups))
        @if groups.iter().any(|group| group.rounds.len() > 1) {
            p class="note" { "With several rounds, each second is shown at its worst." }
        }
        @for group in groups { (tables::seconds(group)) }
        (tables::requests(outcomes))
        h2 { "Cost" }
        @let costs: Vec<_> = facets.iter().enumerate().filter_map(|(at, facet)| charts::cost(facet, at)).collect();
        @if costs.is_empty() { p class="note" { "The server was not watched: its processes were not named." } }
        div class="panels" { @for cost in costs { (cost) } }
        (tables::server(outcomes))
        h2 { "Errors" }
        @match charts::errors(groups) {
            Some(errors) => (errors),
            None => p { "No request failed." },
        }
        (tables::statuses(outcomes))
    }
}

/// The verdict: what is wrong with any run, or that nothing is.
fn banner(outcomes: &[Outcome]) -> Markup {
    let doubtful: Vec<_> = outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Valid).collect();
    let unlike = outcomes.iter().any(|outcome| outcome.machine != outcomes[0].machine);
    html! {
        @if outcomes.is_empty() {
            div class="banner bad" role="alert" { strong { "NO RUNS" } p { "There is nothing to report on." } }
        }
        @if unlike {
            div class="banner bad" role="alert" {
                strong { "UNLIKE MACHINES" }
                p { "These runs were not made on the same machine, kernel and harness: do not compare them." }
            }
        }
        @for outcome in &doubtful {
            @let (words, meaning) = verdict(outcome);
            div class="banner bad" role="alert" {
                strong { (words) }
                p { @if outcomes.len() > 1 { (outcome.name) ", " (super::figures::plan(outcome)) ": " } (meaning) }
            }
        }
        @if doubtful.is_empty() && !unlike && !outcomes.is_empty() {
            @let (words, meaning) = verdict(&outcomes[0]);
            div class="banner good" { strong { "✓ " (words) } p { "Of every run here: " (meaning) "." } }
        }
    }
}

/// The different values of something, each with the names of the runs that have it.
fn distinct<T: PartialEq>(outcomes: &[Outcome], of: impl Fn(&Outcome) -> &T) -> Vec<(&T, String)> {
    let mut values: Vec<(&T, Vec<&str>)> = Vec::new();
    for outcome in outcomes {
        match values.iter_mut().find(|(value, _)| *value == of(outcome)) {
            Some((_, names)) if names.contains(&outcome.name.as_str()) => {}
            Some((_, names)) => names.push(&outcome.name),
            None => values.push((of(outcome), vec![&outcome.name])),
        }
    }
    values.into_iter().map(|(value, names)| (value, names.join(", "))).collect()
}
