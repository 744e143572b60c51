//! Looks for reasons not to believe a figure, before it counts. Pure.

use super::rows::Row;
use crate::outcome::{Outcome, Verdict};

/// Between them nginx costs this many times what the kernel alone does, on W1 in a closed loop.
const NGINX_TO_FLOOR: std::ops::RangeInclusive<f64> = 1.3..=1.9;
/// A contestant cheaper than this share of the floor shows that the floor is too high.
const BELOW_FLOOR: f64 = 0.97;
/// Connections may be opened while a run is recorded (a pool that grows, a health check), but so many requests must share one.
const REQUESTS_PER_CONNECTION: u64 = 50;

/// What speaks against a run; empty if nothing does. The first kind disqualifies it, the second is said beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Objections {
    pub(crate) disqualifying: Vec<String>,
    pub(crate) remarks: Vec<String>,
}

pub(crate) fn run(row: &Row, outcome: &Outcome, opened: Option<u64>) -> Objections {
    let mut objections = Objections::default();
    let failed: u64 = outcome.errors.values().sum();
    // The comparison is of equal answers: status and size are checked by the generator.
    if failed * 1_000 > outcome.done {
        let mut causes: Vec<_> = outcome.errors.iter().collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let causes: Vec<String> =
            causes.iter().take(3).map(|(cause, count)| format!("{cause} ({count})")).collect();
        objections.disqualifying.push(format!(
            "{failed} of {} failed: {}",
            failed + outcome.done,
            causes.join(", ")
        ));
    }
    let others: u64 = outcome
        .statuses
        .iter()
        .filter(|(status, _)| ![0, 200].contains(*status))
        .map(|(_, count)| count)
        .sum();
    if others > 0 {
        objections.disqualifying.push(format!("{others} answers had another status than 200"));
    }
    if row.keeps_connections()
        && let Some(opened) = opened
        && opened > 16
        && opened * REQUESTS_PER_CONNECTION > outcome.done
    {
        objections
            .disqualifying
            .push(format!("connections are not kept: {opened} were opened for {} requests", outcome.done));
    }
    match &outcome.verdict {
        Verdict::Valid => {}
        Verdict::NoAnswers => objections.disqualifying.push("nothing was answered".into()),
        // At a settled rate what the server costs is right even then; its latency is not.
        Verdict::GeneratorSaturated { because } => {
            objections.remarks.push(format!("latency does not count: {because}"))
        }
        Verdict::ServerNotBusy { busy } => {
            objections
                .remarks
                .push(format!("the core was not full ({:.0} %): compare at a rate", busy * 100.0));
        }
    }
    if outcome.server.is_none() {
        objections.disqualifying.push("its cost was not seen".into());
    }
    objections
}

/// What the medians of a row say about the floor; `floor` is the cheapest relay.
pub(crate) fn floor(is_saturated_w1: bool, floor: f64, contestants: &[(&str, f64)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, cost) in contestants {
        let ratio = cost / floor;
        if ratio < BELOW_FLOOR {
            found.push(format!("{name} costs {ratio:.2} x floor: the floor is wrong, improve it"));
        }
        if is_saturated_w1 && *name == "nginx" && !NGINX_TO_FLOOR.contains(&ratio) {
            found.push(format!(
                "nginx costs {ratio:.2} x floor, which should be {} to {}: something is wrong with one of them",
                NGINX_TO_FLOOR.start(),
                NGINX_TO_FLOOR.end()
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::outcome::{ServerCost, Usage};

    fn row() -> Row {
        super::super::rows::all().remove(0)
    }

    fn outcome() -> Outcome {
        let cost = ServerCost {
            cpu: Usage::default(),
            cpu_us_per_request: 1.0,
            busy: 0.1,
            rss_before: 0,
            rss_max: 0,
            rss_after: 0,
            rss_per_connection: 0.0,
        };
        Outcome {
            done: 2_000,
            statuses: BTreeMap::from([(200, 2_000)]),
            server: Some(cost),
            ..crate::example::outcome()
        }
    }

    #[test]
    fn nothing_speaks_against_a_sound_run() {
        assert_eq!(run(&row(), &outcome(), Some(3)), Objections::default());
    }

    #[test]
    fn unequal_answers_disqualify() {
        let mut wrong = outcome();
        wrong.errors.insert("size".into(), 100);
        wrong.statuses.insert(503, 7);
        assert_eq!(
            run(&row(), &wrong, None).disqualifying,
            ["100 of 2100 failed: size (100)", "7 answers had another status than 200"]
        );
    }

    #[test]
    fn a_connection_for_each_request_disqualifies_only_where_they_should_be_kept() {
        let objections = run(&row(), &outcome(), Some(2_000));
        assert_eq!(
            objections.disqualifying,
            ["connections are not kept: 2000 were opened for 2000 requests"]
        );
        let anew = Row { protocol: crate::plan::Protocol::Connect, ..row() };
        assert_eq!(run(&anew, &outcome(), Some(4_000)), Objections::default());
    }

    #[test]
    fn an_idle_core_is_remarked() {
        let idle = Outcome { verdict: Verdict::ServerNotBusy { busy: 0.5 }, ..outcome() };
        assert_eq!(run(&row(), &idle, None).remarks, ["the core was not full (50 %): compare at a rate"]);
    }

    #[test]
    fn nobody_is_cheaper_than_the_kernel() {
        assert_eq!(floor(true, 10.0, &[("nginx", 16.0), ("ringway", 10.0)]), Vec::<String>::new());
        assert_eq!(
            floor(false, 10.0, &[("ringway", 9.0)]),
            ["ringway costs 0.90 x floor: the floor is wrong, improve it"]
        );
        assert_eq!(floor(true, 10.0, &[("nginx", 25.0)]).len(), 1);
        assert_eq!(floor(false, 10.0, &[("nginx", 25.0)]).len(), 0);
    }
}
