//! Several targets under the same load, in interleaved rounds: ratios to the first, with intervals, beside the noise.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cost::{Meter, Watched};
use crate::engine::{self, RunError};
use crate::gate::Metric;
use crate::live::Live;
use crate::outcome::{Machine, Outcome, Verdict};
use crate::plan::Plan;
use crate::statistics::{self, Interval};

/// With fewer rounds an interval says nothing.
pub const ROUNDS_MIN: usize = 5;

/// Who is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Contestant {
    /// What it is called in results.
    pub name: String,
    /// Its own target, the load of all.
    pub plan: Plan,
    /// Its processes, if they are on this machine and their cost is wanted.
    pub watched: Option<Watched>,
}

/// Why they cannot be compared.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum UnlikeError {
    /// Outcomes of different machines.
    #[error("{one} and {other} were measured on unlike machines: {}", differences.join("; "))]
    Machines {
        /// One.
        one: String,
        /// Another.
        other: String,
        /// What differs.
        differences: Vec<String>,
    },
}

/// All rounds of all.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Compared {
    /// By contestant, then by round.
    pub outcomes: Vec<(String, Vec<Outcome>)>,
}

/// Runs `rounds` rounds, each contestant once in each, in turning order. Ends early, after a whole round, when `stop` is set.
pub fn run(
    contestants: &[Contestant],
    rounds: usize,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(usize, &Outcome),
) -> Result<Compared, RunError> {
    let mut outcomes: Vec<(String, Vec<Outcome>)> =
        contestants.iter().map(|contestant| (contestant.name.clone(), Vec::new())).collect();
    for round in 0..rounds {
        for place in statistics::order(contestants.len(), round) {
            let outcome = once(&contestants[place], round, stop)?;
            if stop.load(Ordering::Relaxed) {
                outcomes.iter_mut().for_each(|(_, runs)| runs.truncate(round));
                return Ok(Compared { outcomes });
            }
            tell(round, &outcome);
            outcomes[place].1.push(outcome);
        }
    }
    Ok(Compared { outcomes })
}

fn once(contestant: &Contestant, round: usize, stop: &AtomicBool) -> Result<Outcome, RunError> {
    // Another schedule each round, but the same for all contestants of a round.
    let plan = Plan { seed: contestant.plan.seed.wrapping_add(round as u64), ..contestant.plan.clone() };
    let mut meter = contestant.watched.clone().map(Meter::new).transpose()?;
    let mut live = Live::new(&plan);
    let ended = engine::run(&plan, stop, &mut |mut progress| {
        if let Some(meter) = &mut meter {
            meter.see(&mut progress);
        }
        live.see(&progress);
    });
    drop(live);
    let mut outcome = ended?;
    outcome.name.clone_from(&contestant.name);
    outcome.machine = Machine::here();
    outcome.server = meter.and_then(|meter| meter.cost(outcome.done));
    Ok(outcome)
}

const COMPARED: [Metric; 6] = [
    Metric::Latency(5_000),
    Metric::Latency(9_900),
    Metric::Latency(9_990),
    Metric::Rate,
    Metric::Cpu,
    Metric::Memory,
];

impl Compared {
    /// Refuses outcomes of unlike machines, which matters where they were read from files.
    pub fn check(&self) -> Result<(), UnlikeError> {
        let all: Vec<&Outcome> = self.outcomes.iter().flat_map(|(_, runs)| runs).collect();
        let Some((first, others)) = all.split_first() else { return Ok(()) };
        for other in others {
            let differences = first.machine.differences(&other.machine);
            if !differences.is_empty() {
                return Err(UnlikeError::Machines {
                    one: first.name.clone(),
                    other: other.name.clone(),
                    differences,
                });
            }
        }
        Ok(())
    }

    fn rounds(&self, contestant: usize, metric: Metric) -> Vec<Option<f64>> {
        let counts = |outcome: &Outcome| {
            !matches!(outcome.verdict, Verdict::NoAnswers | Verdict::GeneratorSaturated { .. })
        };
        let runs = self.outcomes.get(contestant).map_or(&[][..], |(_, runs)| runs);
        runs.iter().map(|outcome| metric.of(outcome).filter(|_| counts(outcome))).collect()
    }

    /// Whether there is a round that counts for every contestant.
    pub fn counts(&self) -> bool {
        (1..self.outcomes.len()).all(|contestant| self.ratio(contestant, Metric::Latency(5_000)).is_some())
    }

    /// How a contestant's metric stands to the first one's.
    pub fn ratio(&self, contestant: usize, metric: Metric) -> Option<Interval> {
        let ratios = statistics::ratios(&self.rounds(contestant, metric), &self.rounds(0, metric));
        statistics::bootstrap(&ratios, 1)
    }

    /// As Markdown: a table for each metric that was measured.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for metric in COMPARED {
            if self.rounds(0, metric).iter().all(Option::is_none) {
                continue;
            }
            let _to_a_string = self.table(metric, &mut text);
        }
        for (contestant, (name, runs)) in self.outcomes.iter().enumerate() {
            let counted = self.rounds(contestant, Metric::Rate).iter().flatten().count();
            if counted < runs.len() {
                let _to_a_string = writeln!(
                    text,
                    "**{name}: {counted} of {} rounds count; in the others nothing was answered or the generator was the limit.**",
                    runs.len()
                );
            }
        }
        text
    }

    fn table(&self, metric: Metric, to: &mut String) -> std::fmt::Result {
        writeln!(
            to,
            "| {}, {} | median | x {} | 95 % interval | noise | |",
            metric.name(),
            metric.unit(),
            self.outcomes[0].0
        )?;
        writeln!(to, "|---|---|---|---|---|---|")?;
        let noise = statistics::noise_floor(&self.rounds(0, metric));
        for (contestant, (name, _)) in self.outcomes.iter().enumerate() {
            let rounds = self.rounds(contestant, metric);
            let median = statistics::median(&rounds.iter().copied().flatten().collect::<Vec<_>>());
            let median = median.map_or_else(|| "-".to_owned(), |median| format!("{median:.1}"));
            let own = statistics::noise_floor(&rounds)
                .map_or_else(|| "-".to_owned(), |noise| format!("{:.1} %", noise * 100.0));
            match self.ratio(contestant, metric).filter(|_| contestant > 0) {
                None => writeln!(to, "| {name} | {median} | | | {own} | |")?,
                Some(ratio) => writeln!(
                    to,
                    "| {name} | {median} | {:.3} | {:.3}-{:.3} | {own} | {} |",
                    ratio.median,
                    ratio.low,
                    ratio.high,
                    says(&ratio, noise)
                )?,
            }
        }
        writeln!(to)
    }
}

/// What a ratio says, in a word or two.
fn says(ratio: &Interval, noise: Option<f64>) -> &'static str {
    let inside = noise.is_some_and(|noise| (ratio.median - 1.0).abs() <= noise);
    match () {
        () if !ratio.above(1.0) && !ratio.below(1.0) => "no difference shown",
        () if inside => "within the noise",
        () if ratio.above(1.0) => "more",
        () => "less",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::outcome;

    fn runs(name: &str, latencies_us: &[u64]) -> (String, Vec<Outcome>) {
        let run = |latency: &u64| {
            let mut run = outcome();
            (0..100).for_each(|_| run.latency.record(latency * 1_000));
            run.done = 100;
            run
        };
        (name.to_owned(), latencies_us.iter().map(run).collect())
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine became twice as slow from round to round; the ratio did not.
        let compared = Compared { outcomes: vec![runs("a", &[100, 200, 400]), runs("b", &[150, 300, 600])] };
        let ratio = compared.ratio(1, Metric::Latency(5_000)).unwrap();
        assert!((ratio.median - 1.5).abs() < 0.01 && ratio.high - ratio.low < 0.02, "{ratio:?}");
        let text = compared.markdown();
        assert!(text.contains("| b | 300.") && text.contains("within the noise"), "{text}");
        assert!(!text.contains("cpu"), "what was not measured has no table: {text}");
    }

    #[test]
    fn rounds_that_do_not_count_are_told() {
        let mut compared = Compared { outcomes: vec![runs("a", &[100, 100]), runs("b", &[150, 150])] };
        assert!(compared.counts() && !compared.markdown().contains("rounds count"));
        compared.outcomes[1].1[0].verdict = Verdict::NoAnswers;
        assert!(compared.counts());
        assert!(compared.markdown().contains("**b: 1 of 2 rounds count;"), "{}", compared.markdown());
        compared.outcomes[0].1[1].verdict = Verdict::GeneratorSaturated { because: "late".into() };
        assert!(!compared.counts(), "they have no round in common");
    }

    #[test]
    fn what_ratios_say() {
        let interval = |low, median, high| Interval { median, low, high };
        assert_eq!(says(&interval(0.9, 1.0, 1.1), None), "no difference shown");
        assert_eq!(says(&interval(1.1, 1.2, 1.3), Some(0.05)), "more");
        assert_eq!(says(&interval(1.01, 1.02, 1.03), Some(0.05)), "within the noise");
        assert_eq!(says(&interval(0.5, 0.6, 0.7), Some(0.05)), "less");
    }

    #[test]
    fn unlike_machines_are_refused() {
        let mut compared = Compared { outcomes: vec![runs("a", &[100]), runs("b", &[100])] };
        assert_eq!(compared.check(), Ok(()));
        compared.outcomes[1].1[0].machine.cpus = 9;
        assert!(compared.check().unwrap_err().to_string().contains("unlike machines: number of processors"));
    }
}
