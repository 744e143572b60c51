//! The commands that set runs against each other: what was said becomes calls, what came of them becomes text and an
//! exit code.

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::args::{Carried, Churn, Compare, FindMax, Floor, Gate, Peers, Run};
use crate::churn::{self, Changes};
use crate::compare::{self, Contestant};
use crate::cost::Watched;
use crate::engine::RunError;
use crate::find_max::{self, Search};
use crate::floor::{self, Relay};
use crate::gate;
use crate::outcome::{Machine, Outcome, Verdict};
use crate::peers::{self, Comparison, PeersError, Results};
use crate::run::{exit, interruptible, print};

pub(crate) fn compare(said: &Compare) -> Result<ExitCode, RunError> {
    let stop = interruptible()?;
    let mut contestants = Vec::new();
    for target in std::iter::once(&said.first.target).chain(&said.others) {
        let (name, target) = named(target);
        let plan = Run { target: target.to_owned(), ..said.first.clone() }.plan();
        let processes: Vec<u32> =
            said.watch.iter().filter(|(watched, _)| watched == name).map(|(_, process)| *process).collect();
        let watched = (!processes.is_empty()).then_some(Watched::Trees(processes));
        contestants.push(Contestant { name: name.to_owned(), plan, watched });
    }
    if let Some((unknown, _)) =
        said.watch.iter().find(|(name, _)| !contestants.iter().any(|contestant| contestant.name == *name))
    {
        return Err(RunError::Plan(format!("--watch names {unknown:?}, which is no target")));
    }
    let compared = compare::run(&contestants, said.rounds.into(), &stop, &mut |round, outcome| {
        say(&format!(
            "round {}: {}: p50 {:.0} us, p99 {:.0} us, {}",
            round + 1,
            outcome.name,
            outcome.latency.percentile_us(50.0),
            outcome.latency.percentile_us(99.0),
            outcome.verdict
        ));
    })?;
    if let Some(file) = &said.first.json {
        fs::write(file, serde_json::to_vec_pretty(&compared).map_err(io::Error::from)?)?;
    }
    write!(io::stdout(), "{}", compared.markdown())?;
    let rounds = compared.outcomes.first().map_or(0, |(_, runs)| runs.len());
    if rounds < said.rounds.into() {
        say(&format!("interrupted after {rounds} of {} rounds", said.rounds));
        return Ok(ExitCode::from(exit::INVALID));
    }
    if !compared.counts() {
        say("not one round counts for all of them");
        return Ok(ExitCode::from(exit::INVALID));
    }
    Ok(ExitCode::SUCCESS)
}

/// `new=http://…`: a name before a target. Without one the target is its own name.
fn named(text: &str) -> (&str, &str) {
    match text.split_once('=') {
        Some((name, target)) if !name.contains([':', '/']) => (name, target),
        _ => (text, text),
    }
}

pub(crate) fn find_max(said: &FindMax) -> Result<ExitCode, RunError> {
    let stop = interruptible()?;
    let search = Search::new(said.load.rate, said.tries);
    let found = find_max::find(&said.load.plan(), said.slo, search, &stop, &mut |rate, outcome, kept| {
        say(&format!(
            "{rate:.0}/s: p50 {:.0} us, p99 {:.0} us, {}: {}",
            outcome.latency.percentile_us(50.0),
            outcome.latency.percentile_us(99.0),
            outcome.verdict,
            if kept { "kept" } else { "broken" }
        ));
    })?;
    if found.limited_by_generator() {
        writeln!(
            io::stdout(),
            "the generator was the limit, not the target: take more threads, or a processor for it"
        )?;
        return Ok(ExitCode::from(exit::INVALID));
    }
    match found.rate {
        Some((rate, true)) => writeln!(io::stdout(), "{rate:.0} requests a second")?,
        Some((rate, false)) => writeln!(io::stdout(), "{rate:.0} requests a second, not confirmed")?,
        None => {
            writeln!(io::stdout(), "no rate kept the promise")?;
            return Ok(ExitCode::from(exit::INVALID));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn churn(said: &Churn) -> Result<ExitCode, RunError> {
    let changes = match &said.script {
        None => Changes { commands: said.change.clone(), every: said.every },
        Some(file) => Changes::from_script(&read(file)?, said.every)
            .ok_or_else(|| RunError::Plan(format!("{} has no commands", file.display())))?,
    };
    let stop = interruptible()?;
    let churned = churn::run(&said.load.plan(), &changes, &stop)?;
    print(&churned.outcome)?;
    let failed: Vec<_> =
        churned.changes.iter().filter_map(|change| Some((change.number, change.failure.as_ref()?))).collect();
    writeln!(io::stdout(), "{} changes, {} failed", churned.changes.len(), failed.len())?;
    for (number, failure) in failed.iter().take(10) {
        writeln!(io::stdout(), "  change {number}: {failure}")?;
    }
    let sound = failed.is_empty()
        && churned.outcome.errors.is_empty()
        && churned.outcome.done > 0
        && !matches!(churned.outcome.verdict, Verdict::GeneratorSaturated { .. });
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
}

pub(crate) fn gate(said: &Gate) -> Result<ExitCode, RunError> {
    let load = |file: &Path| -> Result<Outcome, RunError> {
        serde_json::from_str(&read(file)?).map_err(|error| {
            RunError::Plan(format!("{} is not what `perf run --json` writes: {error}", file.display()))
        })
    };
    let held = gate::judge(&load(&said.baseline)?, &load(&said.now)?, &said.max_regress)
        .map_err(|error| RunError::Plan(error.to_string()))?;
    write!(io::stdout(), "{}", gate::markdown(&held))?;
    let holds = held.iter().all(gate::Held::holds);
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
}

pub(crate) fn peers(said: &Peers) -> Result<ExitCode, RunError> {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let comparison = Comparison {
        workloads: if said.smoke { list(&["W1", "W2"]) } else { said.workloads.clone() },
        contestants: if said.smoke { list(&["nginx", "floor", "ringway"]) } else { said.contestants.clone() },
        rounds: if said.smoke { 2 } else { said.rounds },
        duration: Duration::from_secs(if said.smoke { 1 } else { said.seconds }),
        warmup: Duration::from_millis(if said.smoke { 200 } else { 500 }),
        command: command(),
    };
    let stop = interruptible()?;
    let results = peers::compare(&comparison, &stop, &mut say).map_err(|error| match error {
        PeersError::Prepare(error) => RunError::Generator(error),
        other => RunError::Plan(other.to_string()),
    })?;
    let markdown = results.markdown();
    if !said.smoke {
        let files = write(&results, &markdown, &said.results)?;
        say(&format!("written to {files}.md and .json"));
    }
    write!(io::stdout(), "{markdown}")?;
    if results.interrupted {
        say("interrupted: not all of it was measured");
    }
    Ok(if results.sound() { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
}

/// What was typed, without the place of the program.
fn command() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("ringway {}", words.join(" "))
}

/// Writes both files under the day's name. Results of another machine of the same day are not overwritten, nor whole ones
/// by those of a comparison that was interrupted.
fn write(results: &Results, markdown: &str, directory: &Path) -> io::Result<String> {
    fs::create_dir_all(directory)?;
    let day = results.started.get(..10).unwrap_or("undated");
    let day = if results.interrupted { format!("{day}-interrupted") } else { day.to_owned() };
    let mut name = directory.join(&day);
    let theirs = |path: &Path| -> Option<Machine> {
        Some(
            serde_json::from_str::<Results>(&fs::read_to_string(path.with_extension("json")).ok()?)
                .ok()?
                .machine,
        )
    };
    for other in 2.. {
        match theirs(&name) {
            Some(machine) if !machine.differences(&results.machine).is_empty() => {
                name = directory.join(format!("{day}-{other}"))
            }
            _ => break,
        }
    }
    fs::write(name.with_extension("md"), markdown)?;
    fs::write(name.with_extension("json"), serde_json::to_vec(results)?)?;
    Ok(name.display().to_string())
}

pub(crate) fn floor(said: &Floor) -> Result<ExitCode, RunError> {
    let relay = match said.relay {
        Carried::Epoll => Relay::Epoll,
        Carried::Splice => Relay::Splice,
        Carried::Ring => Relay::Ring,
    };
    floor::run(relay, &TcpListener::bind(said.listen)?, said.to)?;
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String, RunError> {
    fs::read_to_string(file)
        .map_err(|error| RunError::Plan(format!("cannot read {}: {error}", file.display())))
}

/// Progress goes where it can be left out.
fn say(text: &str) {
    let _nobody_listens = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_may_have_names() {
        assert_eq!(named("new=http://a/"), ("new", "http://a/"));
        assert_eq!(named("http://a/?x=y"), ("http://a/?x=y", "http://a/?x=y"));
    }
}
