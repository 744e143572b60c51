//! Which charts a report has, and what is drawn in each.

use maud::{Markup, html};

use crate::distribution::Distribution;
use crate::outcome::{Outcome, Second};

use super::chart::{Axis, Chart, Dot, Line, Size, short};
use crate::report::figures::{PERCENTILES, ratio, verdict};
use crate::report::runs::{Group, load, loads, spans};
use crate::report::units;

/// Columns of a chart over time; with more seconds than that, each is several at their worst.
const SPANS_MAX: usize = 300;
/// Causes of failures that have a lane of their own; the rest shares one.
const CAUSES_MAX: usize = 12;
/// The nines that a percentile curve reaches.
const NINES_MAX: f64 = 5.0;
/// Memory is drawn in these, so that its axis has round steps.
const MIB: f64 = 1_048_576.0;
/// Steps of a percentile curve for each halving of the distance to 100 %.
const STEPS: u32 = 10;

/// The runs that are drawn over each other, and what they have in common.
pub(super) struct Facet<'a> {
    title: String,
    groups: Vec<&'a Group<'a>>,
}

/// One for each load, if there are several contestants and loads; otherwise all in one.
pub(super) fn facets<'a>(groups: &'a [Group<'a>]) -> Vec<Facet<'a>> {
    let loads = loads(groups);
    let several = groups.iter().any(|group| group.name != groups[0].name);
    if !several || loads.len() < 2 {
        return vec![Facet { title: String::new(), groups: groups.iter().collect() }];
    }
    let facet = |offered: Option<f64>| Facet {
        title: load(offered),
        groups: groups.iter().filter(|group| group.offered == offered).collect(),
    };
    loads.into_iter().map(facet).collect()
}

/// The class of a group's lines.
fn class(group: &Group<'_>) -> String {
    coloured(group.colour)
}

/// Six colours, then the same in other dashes.
fn coloured(colour: usize) -> String {
    format!("c{} d{}", colour % 6, colour / 6 % 4)
}

/// What is written across a chart of which some run must not be believed.
fn warning<'a>(mut groups: impl Iterator<Item = &'a Group<'a>>) -> Option<&'static str> {
    groups.find_map(|group| group.doubtful()).map(|outcome| verdict(outcome).0)
}

/// A figure: the chart, what its lines are, and a heading if there are several.
fn figure(title: &str, chart: &Chart, keys: &[(String, String, Option<&'static str>)]) -> Markup {
    html! {
        figure {
            @if !title.is_empty() { figcaption { (title) } }
            (chart.draw())
            ul class="legend" {
                @for (class, label, doubt) in keys {
                    li {
                        svg class="key" viewBox="0 0 30 10" aria-hidden="true" {
                            line class=(format!("line {class}")) x1="1" x2="29" y1="5" y2="5" {}
                        }
                        (label)
                        @if let Some(doubt) = doubt { " " strong class="bad" { (doubt) } }
                    }
                }
            }
        }
    }
}

fn keys(facet: &Facet<'_>) -> Vec<(String, String, Option<&'static str>)> {
    let doubt = |group: &Group<'_>| group.doubtful().map(|outcome| verdict(outcome).0);
    facet.groups.iter().map(|group| (class(group), group.label.clone(), doubt(group))).collect()
}

/// Latency by percentile. A single group has its service time beside it.
pub(super) fn percentiles(facets: &[Facet<'_>]) -> Markup {
    let size = if facets.len() == 1 { Size::Wide } else { Size::Panel };
    html! {
        div class=[(facets.len() > 1).then_some("panels")] {
            @for (at, facet) in facets.iter().enumerate() { (percentile_curves(facet, at, size)) }
        }
    }
}

fn percentile_curves(facet: &Facet<'_>, at: usize, size: Size) -> Markup {
    let mut lines = Vec::new();
    let mut legend = keys(facet);
    for group in &facet.groups {
        lines.extend(curve(&group.latency(), &class(group), &group.label));
    }
    if let [group] = facet.groups[..] {
        lines.extend(curve(&group.service(), "c1 d1", "service time"));
        legend = vec![
            (class(group), "latency, from when a request was due".to_owned(), legend[0].2),
            ("c1 d1".to_owned(), "service time, from when it was sent".to_owned(), None),
        ];
    }
    let values =
        lines.iter().flat_map(|line| line.points.iter().flatten().map(|(_, y)| *y)).collect::<Vec<_>>();
    let chart = Chart {
        id: format!("percentiles-{at}"),
        title: format!("Latency by percentile {}", facet.title).trim_end().to_owned(),
        description:
            "Latency on a logarithmic axis over the share of answers that were at least as fast, from 0 % to \
                      99.999 %. The table of latency holds the same figures."
                .to_owned(),
        size,
        x: Axis::nines("share of answers that were at least as fast"),
        y: Axis::log("latency", values.into_iter(), units::time),
        lines,
        warning: warning(facet.groups.iter().copied()),
    };
    figure(&facet.title, &chart, &legend)
}

/// A curve, whose part with fewer than ten slower answers is faint: there it is little more than the maximum.
fn curve(times: &Distribution, class: &str, label: &str) -> Vec<Line> {
    let count = times.count() as f64;
    if count == 0.0 {
        return Vec::new();
    }
    let end = count.log10().min(NINES_MAX);
    let sure = (count / 10.0).log10().clamp(0.0, NINES_MAX);
    let value = |nines: f64| times.percentile_us(100.0 * (1.0 - 10_f64.powf(-nines)));
    let mut points: Vec<(f64, f64)> = vec![(0.0, times.histogram().min() as f64 / 1e3)];
    for step in times.histogram().iter_quantiles(STEPS) {
        let nines = -(1.0 - step.quantile_iterated_to()).log10();
        if nines > 0.0 && nines < end {
            points.push((nines, step.value_iterated_to() as f64 / 1e3));
        }
    }
    points.extend([(sure, value(sure)), (end, value(end))]);
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let dots = PERCENTILES
        .iter()
        .map(|(name, per_cent)| (name, -(1.0 - per_cent / 100.0).log10(), times.percentile_us(*per_cent)))
        .filter(|(_, nines, _)| *nines <= sure + 1e-9)
        .map(|(name, nines, us)| Dot {
            at: (nines, us),
            text: format!("{label}: {name} {}", units::time(us)),
            hollow: false,
        });
    let dots = dots.collect();
    let part =
        |keep: &dyn Fn(f64) -> bool| points.iter().filter(|(x, _)| keep(*x)).map(|p| Some(*p)).collect();
    vec![
        Line { class: class.to_owned(), points: part(&|x| x <= sure), dots },
        Line { class: format!("{class} faint"), points: part(&|x| x >= sure), dots: Vec::new() },
    ]
}

/// Latency over offered load, if any contestant was given several loads.
pub(super) fn load_latency(groups: &[Group<'_>]) -> Option<Markup> {
    let mut names: Vec<&str> = groups.iter().map(|group| group.name).collect();
    names.dedup();
    let mut seen = Vec::new();
    names.retain(|name| !seen.contains(name) && (seen.push(*name), true).1);
    let (mut lines, mut legend) = (Vec::new(), Vec::new());
    let (mut rates, mut values) = (Vec::new(), Vec::new());
    for (at, name) in names.iter().enumerate() {
        let mut rungs: Vec<_> = groups
            .iter()
            .filter(|group| group.name == *name)
            .filter_map(|group| Some((group.offered?, group, group.latency())))
            .collect();
        if rungs.len() < 2 {
            continue;
        }
        rungs.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (percentile, per_cent, dashes) in [("p99", 99.0, 0), ("p50", 50.0, 2)] {
            let class = format!("c{} d{dashes}", at % 6);
            let point = |(rate, _, times): &(f64, &Group<'_>, Distribution)| {
                (times.count() > 0).then(|| (*rate, times.percentile_us(per_cent)))
            };
            let points: Vec<_> = rungs.iter().map(point).collect();
            let dots = rungs.iter().zip(&points).filter_map(|((_, group, _), at)| {
                let (rate, us) = (*at)?;
                let doubt = group.doubtful();
                let words = doubt.map_or(String::new(), |outcome| format!(" ({})", verdict(outcome).0));
                let text =
                    format!("{name} at {}: {percentile} {}{words}", units::rate(rate), units::time(us));
                Some(Dot { at: (rate, us), text, hollow: doubt.is_some() })
            });
            let dots = dots.collect();
            rates.extend(points.iter().flatten().map(|point| point.0));
            values.extend(points.iter().flatten().map(|point| point.1));
            let shown = if name.is_empty() { percentile.to_owned() } else { format!("{name} {percentile}") };
            legend.push((class.clone(), shown, None));
            lines.push(Line { class, points, dots });
        }
    }
    if lines.is_empty() {
        return None;
    }
    let chart = Chart {
        id: "load".to_owned(),
        title: "Latency by load".to_owned(),
        description: "Latency at the 50th and 99th percentile over the requests a second that were offered. Hollow \
                      marks are runs with a verdict against them. The table of latency holds the same figures."
            .to_owned(),
        size: Size::Wide,
        x: Axis::linear("offered load, requests a second", rates.into_iter().fold(0.0, f64::max), |rate| {
            units::count(rate.round() as u64)
        }),
        y: Axis::log("latency", values.into_iter(), units::time),
        lines,
        warning: None,
    };
    Some(figure("", &chart, &legend))
}

/// A line over time: its name, and what of a second it shows.
type Kind = (&'static str, fn(&Second) -> f64);

/// Latency over time, a panel for each group; all on the same axes, so that they can be compared.
pub(super) fn seconds(groups: &[Group<'_>]) -> Markup {
    let columns: Vec<_> = groups.iter().map(|group| spans(&group.worst_seconds(), SPANS_MAX)).collect();
    let kinds: [Kind; 4] =
        [("max", |s| s.max_us), ("p99.9", |s| s.p999_us), ("p99", |s| s.p99_us), ("p50", |s| s.p50_us)];
    let answered = |second: &&Second| second.done > 0;
    let all: Vec<f64> = columns
        .iter()
        .flat_map(|(seconds, _)| seconds.iter().filter(answered).flat_map(|s| kinds.map(|(_, of)| of(s))))
        .collect();
    let end = columns.iter().map(|(seconds, span)| seconds.len() * span).max().unwrap_or(0);
    let size = if groups.len() == 1 { Size::Wide } else { Size::Panel };
    html! {
        div class=[(groups.len() > 1).then_some("panels")] {
            @for (at, (group, (seconds, span))) in groups.iter().zip(&columns).enumerate() {
                @let line = |(name, of): Kind| Line {
                    class: style(name).to_owned(),
                    points: over_time(seconds, *span, |second| (second.done > 0).then(|| of(second))),
                    dots: Vec::new(),
                };
                @let chart = Chart {
                    id: format!("seconds-{at}"),
                    title: format!("Latency over time, {}", group.label),
                    description: "Latency of each second at the 50th, 99th and 99.9th percentile and at its maximum. \
                                  The table of seconds holds the same figures.".to_owned(),
                    size,
                    x: time_axis(end),
                    y: Axis::log("latency", all.iter().copied(), units::time),
                    lines: kinds.map(line).into(),
                    warning: warning(std::iter::once(group)),
                };
                @let keys: Vec<_> =
                    kinds.iter().map(|(name, _)| (style(name).to_owned(), (*name).to_owned(), None)).collect();
                (figure(&group.label, &chart, &keys))
            }
        }
    }
}

/// The class of a percentile's line over time.
fn style(name: &str) -> &'static str {
    match name {
        "p50" => "q0",
        "p99" => "q1",
        "p99.9" => "q2",
        _ => "q3",
    }
}

fn time_axis(seconds: usize) -> Axis {
    Axis::until("time, seconds", seconds.max(1) as f64, |at| format!("{at}"))
}

fn over_time(
    seconds: &[Second],
    span: usize,
    of: impl Fn(&Second) -> Option<f64>,
) -> Vec<Option<(f64, f64)>> {
    let middle = |at: usize| (at as f64 + 0.5) * span as f64;
    seconds.iter().enumerate().map(|(at, second)| Some((middle(at), of(second)?))).collect()
}

/// CPU a request and memory over time, if any server was watched.
pub(super) fn cost(facet: &Facet<'_>, at: usize) -> Option<Markup> {
    let watched = |outcome: &&Outcome| {
        outcome.seconds.iter().any(|s| s.server_cpu_us.is_some() || s.server_rss.is_some())
    };
    if !facet.groups.iter().any(|group| group.rounds.iter().any(&watched)) {
        return None;
    }
    let end = facet.groups.iter().flat_map(|group| &group.rounds).map(|o| o.seconds.len()).max().unwrap_or(0);
    let lines = |of: fn(&Second) -> Option<f64>| {
        let mut lines = Vec::new();
        for group in &facet.groups {
            for outcome in &group.rounds {
                let (seconds, span) = spans(&outcome.seconds, SPANS_MAX);
                lines.push(Line {
                    class: class(group),
                    points: over_time(&seconds, span, of),
                    dots: Vec::new(),
                });
            }
        }
        lines
    };
    let chart = |id: &str, title: &str, label, lines: Vec<Line>, text: fn(f64) -> String| {
        let max = lines.iter().flat_map(|line| line.points.iter().flatten()).map(|p| p.1).fold(0.0, f64::max);
        let title = format!("{title} {}", facet.title);
        let chart = Chart {
            id: format!("{id}-{at}"),
            title: title.trim_end().to_owned(),
            description: format!("{title} of the server in each second; a line for each run."),
            size: Size::Panel,
            x: time_axis(end),
            y: Axis::linear(label, max, text),
            lines,
            warning: warning(facet.groups.iter().copied()),
        };
        figure(title.trim_end(), &chart, &keys(facet))
    };
    let cpu = lines(|second| ratio(second.server_cpu_us?, second.done as f64));
    let rss = lines(|second| second.server_rss.map(|bytes| bytes as f64 / MIB));
    Some(html! {
        (chart("cpu", "CPU time per request", "CPU time per request", cpu, units::time))
        (chart("rss", "Resident memory", "resident memory", rss, |mib| units::bytes(mib * MIB)))
    })
}

/// Failures: a lane for each cause with its number, and below it when they came.
pub(super) fn errors(groups: &[Group<'_>]) -> Option<Markup> {
    let mut causes: Vec<(String, Vec<u64>)> = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        for (cause, number) in group.rounds.iter().flat_map(|outcome| &outcome.errors) {
            let known = causes.iter().position(|(known, _)| known == cause);
            let row = known.unwrap_or_else(|| {
                causes.push((cause.clone(), vec![0; groups.len()]));
                causes.len() - 1
            });
            causes[row].1[at] += number;
        }
    }
    if causes.is_empty() {
        return None;
    }
    causes.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.iter().sum::<u64>()));
    if causes.len() > CAUSES_MAX {
        let rest = causes.split_off(CAUSES_MAX - 1);
        let sums = (0..groups.len()).map(|at| rest.iter().map(|(_, numbers)| numbers[at]).sum());
        causes.push((format!("{} other causes", rest.len()), sums.collect()));
    }
    let most = causes.iter().flat_map(|(_, numbers)| numbers).copied().max().unwrap_or(1).max(1);
    let when: Vec<_> = groups.iter().map(|group| spans(&group.worst_seconds(), SPANS_MAX)).collect();
    let worst =
        when.iter().flat_map(|(seconds, _)| seconds).map(|second| second.failed).max().unwrap_or(0).max(1);
    let end = when.iter().map(|(seconds, span)| seconds.len() * span).max().unwrap_or(1).max(1) as f64;
    Some(html! {
        figure {
            figcaption { "By cause" }
            div class="scroll" {
                table class="lanes" {
                    thead { tr { th scope="col" { "cause" } th class="word" scope="col" { "run" } th scope="col" { "requests" } th class="bar" scope="col" { "" } } }
                    tbody {
                        @for (cause, numbers) in &causes {
                            @for (at, number) in numbers.iter().enumerate().filter(|(_, number)| **number > 0) {
                                tr {
                                    th scope="row" { (cause) }
                                    td class="word" { (groups[at].label) }
                                    td { (units::count(*number)) }
                                    td class="bar" {
                                        svg viewBox="0 0 200 12" preserveAspectRatio="none" aria-hidden="true" {
                                            rect class=(format!("fill {}", class(&groups[at]))) x="0" y="1" height="10"
                                                width=(short((*number as f64 / most as f64 * 200.0).max(1.0))) {}
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        figure {
            figcaption { "Over time: the taller the bar, the more failed" }
            @let height = groups.len() as f64 * 44.0 + 44.0;
            svg class="chart wide" viewBox=(format!("0 0 760 {height}")) role="img" aria-labelledby="failures-title failures-desc" {
                title id="failures-title" { "Failures over time" }
                desc id="failures-desc" { "A lane for each run with the requests that failed in each second. The table of seconds holds the same figures." }
                @for (at, (group, (seconds, span))) in groups.iter().zip(&when).enumerate() {
                    @let base = at as f64 * 44.0 + 40.0;
                    text class="axis" x="4" y=(base - 22.0) { (group.label) }
                    line class="grid" x1="4" x2="740" y1=(base) y2=(base) {}
                    @for (column, second) in seconds.iter().enumerate().filter(|(_, second)| second.failed > 0) {
                        @let wide = *span as f64 / end * 736.0;
                        @let tall = (second.failed as f64 / worst as f64 * 18.0).max(2.0);
                        rect class=(format!("fill {}", class(group))) x=(short(4.0 + column as f64 * wide)) y=(short(base - tall))
                            width=(short((wide * 0.85).max(0.8))) height=(short(tall)) {
                            title { "second " (column * span) ": " (units::count(second.failed)) " failed" }
                        }
                    }
                }
                text class="axis" x="4" y=(height - 8.0) { "0 s" }
                text class="axis" x="740" y=(height - 8.0) text-anchor="end" { (end) " s" }
            }
        }
    })
}
