//! Runs scenarios over seeds: `ringway-sim [NAME] [--seed N | --seconds N] [--first N]`.
//!
//! With `--seed` the whole trace is shown. Without a name all scenarios take turns. Exits 1 at the first failure.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringway_sim::scenario::{Scenario, Seeds};
use ringway_sim::scenarios;

fn main() -> ExitCode {
    match wanted(std::env::args().skip(1)) {
        Some(wanted) => run(&wanted),
        None => {
            eprintln!("usage: ringway-sim [NAME] [--seed N | --seconds N] [--first N]");
            for scenario in scenarios::ALL {
                eprintln!("  {}", scenario.name);
            }
            ExitCode::from(2)
        }
    }
}

struct Wanted {
    scenarios: Vec<Scenario>,
    seed: Option<u64>,
    time: Duration,
    first: u64,
}

fn wanted(mut arguments: impl Iterator<Item = String>) -> Option<Wanted> {
    let mut wanted =
        Wanted { scenarios: scenarios::ALL.to_vec(), seed: None, time: Duration::from_secs(10), first: 0 };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => wanted.seed = Some(arguments.next()?.parse().ok()?),
            "--seconds" => wanted.time = Duration::from_secs(arguments.next()?.parse().ok()?),
            "--first" => wanted.first = arguments.next()?.parse().ok()?,
            name => wanted.scenarios.retain(|scenario| scenario.name == name),
        }
    }
    (!wanted.scenarios.is_empty()).then_some(wanted)
}

fn run(wanted: &Wanted) -> ExitCode {
    let begun = Instant::now();
    let mut tried = 0;
    for seed in wanted.seed.map_or(wanted.first.., |seed| seed..) {
        for scenario in &wanted.scenarios {
            let seeds = match wanted.seed {
                Some(seed) => Seeds::Replay(seed),
                None => Seeds::Count { first: seed, count: 1 },
            };
            if let Err(report) = scenario.check(seeds) {
                eprintln!("{report}");
                return ExitCode::FAILURE;
            }
            tried += 1;
        }
        if wanted.seed.is_some() || begun.elapsed() >= wanted.time {
            break;
        }
    }
    eprintln!("{tried} runs in {:.1?}, each of them twice: all is well", begun.elapsed());
    ExitCode::SUCCESS
}
