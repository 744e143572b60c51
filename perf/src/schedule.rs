//! When requests are due. Pure: a schedule depends on the plan alone, never on how the server does, and is drawn as it
//! is needed, so that a long run takes no memory.

use crate::plan::Arrivals;

const NANOSECONDS: f64 = 1e9;

/// One thread's part of the arrivals: times in nanoseconds from the beginning of the run, ascending.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Mean time between two of this thread.
    gap: f64,
    next: f64,
    /// `None`: all gaps are the same.
    chance: Option<fastrand::Rng>,
}

impl Schedule {
    /// The part of thread `index` of `threads` in `rate` requests a second. The parts together have the rate; constant
    /// arrivals of the threads lie evenly between each other, and drawn ones are independent.
    pub fn new(rate: f64, arrivals: Arrivals, seed: u64, index: usize, threads: usize) -> Self {
        let gap = NANOSECONDS * threads as f64 / rate;
        match arrivals {
            Arrivals::Constant => Self { gap, next: NANOSECONDS * index as f64 / rate, chance: None },
            Arrivals::Poisson => {
                // An odd multiplier takes different indices to different seeds, for every seed.
                let own = seed ^ (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let mut schedule = Self { gap, next: 0.0, chance: Some(fastrand::Rng::with_seed(own)) };
                schedule.advance();
                schedule
            }
        }
    }

    /// When the next one is due.
    pub fn due(&self) -> u64 {
        self.next as u64
    }

    /// Goes on to the one after it.
    pub fn advance(&mut self) {
        self.next += match &mut self.chance {
            None => self.gap,
            // Times between arrivals that do not know of each other are exponential. 1 - x is never 0.
            Some(chance) => -(1.0 - chance.f64()).ln() * self.gap,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(schedule: &mut Schedule, before: u64) -> Vec<u64> {
        let mut dues = Vec::new();
        while schedule.due() < before {
            dues.push(schedule.due());
            schedule.advance();
        }
        dues
    }

    #[test]
    fn the_rate_is_held_whatever_the_threads() {
        for threads in [1, 2, 3, 7] {
            for (arrivals, tolerance) in [(Arrivals::Constant, 1.0), (Arrivals::Poisson, 1_000.0)] {
                let all: usize = (0..threads)
                    .map(|index| {
                        dues(&mut Schedule::new(5_000.0, arrivals, 1, index, threads), 10_000_000_000).len()
                    })
                    .sum();
                // Poisson: 50,000 with a standard deviation of 224.
                assert!((all as f64 - 50_000.0).abs() <= tolerance, "{arrivals:?} on {threads}: {all}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_gives_another() {
        let drawn =
            |seed, index| dues(&mut Schedule::new(1_000.0, Arrivals::Poisson, seed, index, 2), 1_000_000_000);
        assert_eq!(drawn(7, 0), drawn(7, 0));
        assert_ne!(drawn(7, 0), drawn(8, 0));
        assert_ne!(drawn(7, 0), drawn(7, 1));
    }

    #[test]
    fn drawn_gaps_vary_as_much_as_their_mean() {
        let dues = dues(&mut Schedule::new(1_000.0, Arrivals::Poisson, 3, 0, 1), 100_000_000_000);
        let gaps: Vec<f64> = dues.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn constant_arrivals_of_threads_lie_between_each_other() {
        let mut all: Vec<u64> = (0..4)
            .flat_map(|index| dues(&mut Schedule::new(1_000.0, Arrivals::Constant, 0, index, 4), 100_000_000))
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).map(|at| at * 1_000_000).collect::<Vec<_>>());
    }
}
