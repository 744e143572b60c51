//! Which runs belong together. Rounds of one contestant under one load are a group: their times are counted
//! together, never averaged.

use crate::distribution::Distribution;
use crate::outcome::{Outcome, Second, Verdict};

use super::figures::offered;
use super::units;

/// The rounds of one contestant under one load.
pub(super) struct Group<'a> {
    pub(super) label: String,
    pub(super) name: &'a str,
    pub(super) offered: Option<f64>,
    pub(super) rounds: Vec<&'a Outcome>,
    /// Which colour it has: one for each contestant, or for each load of a single one.
    pub(super) colour: usize,
}

/// Runs by contestant and load, in the order in which they came.
pub(super) fn groups(outcomes: &[Outcome]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for outcome in outcomes {
        let same = |group: &&mut Group<'_>| {
            let first = group.rounds[0];
            let like = &first.plan;
            group.name == outcome.name
                && like.load == outcome.plan.load
                && like.protocol == outcome.plan.protocol
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.rounds.push(outcome),
            None => groups.push(Group {
                label: String::new(),
                name: &outcome.name,
                offered: offered(outcome),
                rounds: vec![outcome],
                colour: 0,
            }),
        }
        if !names.contains(&outcome.name.as_str()) {
            names.push(&outcome.name);
        }
    }
    let loads = loads(&groups);
    for (at, group) in groups.iter_mut().enumerate() {
        let position = names.iter().position(|name| *name == group.name).unwrap_or(0);
        group.colour = if names.len() > 1 { position } else { at };
        group.label = match (loads.len() > 1, group.name.is_empty()) {
            (true, true) => load(group.offered),
            (true, false) => format!("{} · {}", group.name, load(group.offered)),
            (false, true) => "run".to_owned(),
            (false, false) => group.name.to_owned(),
        };
    }
    groups
}

/// The loads that occur.
pub(super) fn loads(groups: &[Group<'_>]) -> Vec<Option<f64>> {
    let mut loads = Vec::new();
    for group in groups {
        if !loads.contains(&group.offered) {
            loads.push(group.offered);
        }
    }
    loads
}

/// A load's name.
pub(super) fn load(offered: Option<f64>) -> String {
    offered.map_or_else(|| "closed loop".to_owned(), units::rate)
}

impl Group<'_> {
    /// The times of all rounds together.
    pub(super) fn latency(&self) -> Distribution {
        self.pooled(|outcome| &outcome.latency)
    }

    /// See `latency`.
    pub(super) fn service(&self) -> Distribution {
        self.pooled(|outcome| &outcome.service)
    }

    fn pooled(&self, times: impl Fn(&Outcome) -> &Distribution) -> Distribution {
        let mut all = Distribution::default();
        for outcome in &self.rounds {
            all.merge(times(outcome));
        }
        all
    }

    /// The first verdict that is not the good one.
    pub(super) fn doubtful(&self) -> Option<&Outcome> {
        self.rounds.iter().find(|outcome| outcome.verdict != Verdict::Valid).copied()
    }

    /// Each second at its worst over the rounds; what was done and failed is of all of them.
    pub(super) fn worst_seconds(&self) -> Vec<Second> {
        let mut worst: Vec<Second> = Vec::new();
        for outcome in &self.rounds {
            for (at, second) in outcome.seconds.iter().enumerate() {
                match worst.get_mut(at) {
                    Some(known) => *known = worse(known, second),
                    None => worst.push(second.clone()),
                }
            }
        }
        worst
    }
}

/// So many spans at most, each at its worst: a chart has only so many columns. Also how many seconds a span has.
pub(super) fn spans(seconds: &[Second], spans_max: usize) -> (Vec<Second>, usize) {
    let span = seconds.len().div_ceil(spans_max).max(1);
    let worst =
        |chunk: &[Second]| chunk[1..].iter().fold(chunk[0].clone(), |worst, second| worse(&worst, second));
    (seconds.chunks(span).map(worst).collect(), span)
}

/// Two seconds as one: the worse of the times, the sum of what is counted.
fn worse(one: &Second, other: &Second) -> Second {
    let sum = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
    Second {
        done: one.done + other.done,
        failed: one.failed + other.failed,
        p50_us: one.p50_us.max(other.p50_us),
        p99_us: one.p99_us.max(other.p99_us),
        p999_us: one.p999_us.max(other.p999_us),
        max_us: one.max_us.max(other.max_us),
        server_cpu_us: sum(one.server_cpu_us, other.server_cpu_us),
        server_rss: one.server_rss.max(other.server_rss),
    }
}
