//! The highest rate at which a promise still holds: doubles until it breaks, bisects, and confirms what it found.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::{self, RunError};
use crate::gate::Metric;
use crate::outcome::{Outcome, Verdict};
use crate::plan::{Arrivals, Load, Plan};

/// A promise, such as "99 of 100 requests are answered within 5 ms".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    metric: Metric,
    below_us: f64,
}

/// Of requests that may fail without the promise being broken for it.
const FAILURES: f64 = 0.001;

impl Promise {
    /// Whether a run kept it. A rate that the server or the generator did not reach keeps no promise.
    pub fn kept(&self, outcome: &Outcome) -> bool {
        outcome.verdict == Verdict::Valid
            && Metric::Errors.of(outcome).is_some_and(|failed| failed <= FAILURES)
            && self.metric.of(outcome).is_some_and(|latency| latency < self.below_us)
    }
}

impl FromStr for Promise {
    type Err = String;

    /// `p99<5ms`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no promise; write p99<5ms");
        let (metric, below) = text.split_once('<').ok_or_else(wrong)?;
        let metric: Metric = metric.trim().parse()?;
        if !matches!(metric, Metric::Latency(_) | Metric::Max) {
            return Err(wrong());
        }
        let below = below.trim();
        let (number, unit) =
            below.split_at(below.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?);
        let factor = match unit {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => return Err(wrong()),
        };
        let below_us = number.parse::<f64>().map_err(|_| wrong())? * factor;
        if !below_us.is_finite() || below_us <= 0.0 {
            return Err(wrong());
        }
        Ok(Self { metric, below_us })
    }
}

/// Which rate to try next. Pure.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    kept: Option<f64>,
    broken: Option<f64>,
    next: f64,
    tries_left: usize,
    /// How far apart, as a share, what was kept and what was broken may remain.
    resolution: f64,
    confirmed: bool,
}

impl Search {
    /// Begins with this rate and makes at most so many tries.
    pub fn new(first: f64, tries: usize) -> Self {
        Self { kept: None, broken: None, next: first, tries_left: tries, resolution: 0.05, confirmed: false }
    }

    /// The rate to try, or `None` when it is over.
    pub fn next(&self) -> Option<f64> {
        (self.tries_left > 0 && !self.confirmed && self.next >= 1.0).then_some(self.next)
    }

    /// Takes in how the try went.
    pub fn tell(&mut self, kept: bool) {
        self.tries_left = self.tries_left.saturating_sub(1);
        let confirming = self.kept == Some(self.next);
        match (kept, confirming) {
            (true, true) => {
                self.confirmed = true;
                return;
            }
            (true, false) => self.kept = Some(self.next),
            // It was luck before: what is kept lies below.
            (false, true) => {
                self.broken = Some(self.next);
                self.kept = None;
                self.next *= 0.9;
                return;
            }
            (false, false) => self.broken = Some(self.next),
        }
        self.next = match (self.kept, self.broken) {
            (Some(kept), None) => kept * 2.0,
            (None, Some(broken)) => broken / 2.0,
            (Some(kept), Some(broken)) if broken / kept - 1.0 <= self.resolution => kept,
            (Some(kept), Some(broken)) => f64::midpoint(kept, broken),
            (None, None) => self.next,
        };
    }

    /// The highest rate that kept the promise, and whether it did so twice.
    pub fn found(&self) -> Option<(f64, bool)> {
        Some((self.kept?, self.confirmed))
    }
}

/// What the search showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The highest rate that kept the promise, and whether it did so twice. `None` if none did.
    pub rate: Option<(f64, bool)>,
    /// All tries, in order, and whether each kept it.
    pub tries: Vec<(Outcome, bool)>,
}

impl Found {
    /// Whether what broke the promise at the lowest rate above the one that was found was the generator: then the
    /// target's limit lies somewhere above.
    pub fn limited_by_generator(&self) -> bool {
        let rate = |outcome: &Outcome| match outcome.plan.load {
            Load::Open { rate, .. } => rate,
            Load::Closed => 0.0,
        };
        let broken = self.tries.iter().filter(|(_, kept)| !kept).map(|(outcome, _)| outcome);
        broken
            .min_by(|a, b| rate(a).total_cmp(&rate(b)))
            .is_some_and(|outcome| matches!(outcome.verdict, Verdict::GeneratorSaturated { .. }))
    }
}

/// Searches. `plan` says everything but the rate; `tell` hears of every try.
pub fn find(
    plan: &Plan,
    promise: Promise,
    mut search: Search,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(f64, &Outcome, bool),
) -> Result<Found, RunError> {
    let mut tries = Vec::new();
    while let Some(rate) = search.next() {
        let plan = Plan { load: Load::Open { rate, arrivals: Arrivals::Poisson }, ..plan.clone() };
        let outcome = engine::run(&plan, stop, &mut |_| {})?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let kept = promise.kept(&outcome);
        search.tell(kept);
        tell(rate, &outcome, kept);
        tries.push((outcome, kept));
    }
    Ok(Found { rate: search.found(), tries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_read() {
        assert_eq!("p99<5ms".parse(), Ok(Promise { metric: Metric::Latency(9_900), below_us: 5_000.0 }));
        assert_eq!("p99.9 < 800us".parse(), Ok(Promise { metric: Metric::Latency(9_990), below_us: 800.0 }));
        for wrong in ["p99", "p99<5", "cpu<5ms", "p99<0ms", "p99<xms", "p99<5m"] {
            assert!(wrong.parse::<Promise>().is_err(), "{wrong}");
        }
    }

    fn search(first: f64, truth: impl Fn(f64) -> bool) -> (Search, usize) {
        let mut search = Search::new(first, 20);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            search.tell(truth(rate));
            tries += 1;
        }
        (search, tries)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for first in [100.0, 7_000.0, 1e6] {
            let (search, tries) = search(first, |rate| rate <= 7_300.0);
            let (rate, confirmed) = search.found().unwrap();
            assert!((6_900.0..=7_300.0).contains(&rate) && confirmed, "{first}: {rate} after {tries}");
            assert!(tries <= 20);
        }
    }

    #[test]
    fn what_is_never_kept_ends() {
        let (search, tries) = search(1_000.0, |_| false);
        assert_eq!(search.found(), None);
        assert!(tries <= 11, "{tries}");
    }

    #[test]
    fn luck_is_not_confirmed() {
        let mut luck = 1;
        let mut search = Search::new(1_000.0, 30);
        // It holds up to 900, and once, by luck, above.
        while let Some(rate) = search.next() {
            let lucky = rate > 900.0 && luck > 0;
            luck -= i32::from(lucky);
            search.tell(rate <= 900.0 || lucky);
        }
        let (rate, confirmed) = search.found().unwrap();
        assert!(rate <= 900.0 && confirmed, "{rate}");
    }

    #[test]
    fn a_limit_of_the_generator_is_not_the_targets() {
        let tried = |rate, verdict: Verdict| {
            let mut outcome = crate::example::outcome();
            outcome.plan.load = Load::Open { rate, arrivals: Arrivals::Poisson };
            outcome.verdict = verdict;
            (outcome, false)
        };
        let late = || Verdict::GeneratorSaturated { because: "late".into() };
        let found = |tries| Found { rate: Some((1_000.0, true)), tries };
        assert!(found(vec![tried(4_000.0, Verdict::Valid), tried(2_000.0, late())]).limited_by_generator());
        assert!(!found(vec![tried(4_000.0, late()), tried(2_000.0, Verdict::Valid)]).limited_by_generator());
        assert!(!found(Vec::new()).limited_by_generator());
    }
}
