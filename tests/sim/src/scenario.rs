//! Runs scenarios over seeds, each seed twice to see that it decides everything, and says how to replay a failure.

use std::env::var;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::world::{Bounds, Run, World, run};

/// Seeds that an ordinary test tries.
const SEEDS: u64 = 20;

/// Lines of the trace that a failure shows.
const LINES_SHOWN: usize = 80;

/// What happens in a world, from its beginning to its end.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Names it on the command line.
    pub name: &'static str,
    /// Simulated cores.
    pub cores: usize,
    /// When a run is given up.
    pub bounds: Bounds,
    /// The script.
    pub script: fn(World) -> Script,
}

/// A script under way.
pub type Script = Pin<Box<dyn Future<Output = ()>>>;

/// Which seeds are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// One, with its whole trace on standard error.
    Replay(u64),
    /// So many from the first.
    Count {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// As many as time allows from the first.
    For {
        /// The first.
        first: u64,
        /// Real time.
        time: Duration,
    },
}

impl Seeds {
    /// What `RINGWAY_SIM_SEED`, `RINGWAY_SIM_SECONDS` and `RINGWAY_SIM_FIRST` ask for; otherwise a modest number.
    pub fn from_environment() -> Self {
        let number =
            |name| var(name).ok().map(|text| text.parse().expect("a RINGWAY_SIM_ variable is a number"));
        let first = number("RINGWAY_SIM_FIRST").unwrap_or(0);
        match (number("RINGWAY_SIM_SEED"), number("RINGWAY_SIM_SECONDS")) {
            (Some(seed), _) => Self::Replay(seed),
            (None, Some(seconds)) => Self::For { first, time: Duration::from_secs(seconds) },
            (None, None) => Self::Count { first, count: SEEDS },
        }
    }
}

impl Scenario {
    /// One run.
    pub fn run(&self, seed: u64, aloud: bool) -> Run {
        run(seed, self.cores, self.bounds, aloud, self.script)
    }

    /// One seed, twice; what is wrong, for people to read.
    pub fn check_seed(&self, seed: u64, aloud: bool) -> Result<Run, String> {
        let first = self.run(seed, aloud);
        if let Some(violation) = &first.violation {
            return Err(self.report(&first, violation));
        }
        let second = self.run(seed, false);
        if first.trace.fingerprint() != second.trace.fingerprint() {
            return Err(
                self.report(&first, "two runs of one seed differ: something else than the seed decides")
            );
        }
        Ok(first)
    }

    /// Many seeds; how many were tried, or the first failure.
    pub fn check(&self, seeds: Seeds) -> Result<u64, String> {
        let begun = Instant::now();
        let (first, aloud) = match seeds {
            Seeds::Replay(seed) => (seed, true),
            Seeds::Count { first, .. } | Seeds::For { first, .. } => (first, false),
        };
        let mut tried = 0;
        loop {
            self.check_seed(first + tried, aloud)?;
            tried += 1;
            let done = match seeds {
                Seeds::Replay(_) => true,
                Seeds::Count { count, .. } => tried >= count,
                Seeds::For { time, .. } => begun.elapsed() >= time,
            };
            if done {
                return Ok(tried);
            }
        }
    }

    /// Panics with the report of the first failure: for tests.
    pub fn assert(&self) {
        if let Err(report) = self.check(Seeds::from_environment()) {
            panic!("{report}");
        }
    }

    fn report(&self, run: &Run, what: &str) -> String {
        let (name, seed) = (self.name, run.seed);
        format!(
            "scenario {name}, seed {seed}: {what}\n\
             replay: cargo run -p ringway-sim -- {name} --seed {seed}\n\
             after {} polls and {:?} of virtual time; the last events:\n{}",
            run.polls,
            run.time,
            run.trace.last_lines(LINES_SHOWN),
        )
    }
}
