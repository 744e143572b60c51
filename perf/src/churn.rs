//! Changes while load runs: a command is run again and again, and what it did to the traffic is counted by cause.

use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{self, Progress, RunError};
use crate::outcome::Outcome;
use crate::plan::Plan;

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Shell commands, run in turn, from the first again after the last. Each sees its number, from 0, as `$CHANGE`.
    pub commands: Vec<String>,
    /// From the start of one until the start of the next. One that takes longer delays the next.
    pub every: Duration,
}

impl Changes {
    /// From a script: a command a line; empty lines and lines that begin with `#` are left out.
    pub fn from_script(script: &str, every: Duration) -> Option<Self> {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let commands: Vec<String> = lines.map(str::to_owned).collect();
        (!commands.is_empty()).then_some(Self { commands, every })
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its number, from 0.
    pub number: usize,
    /// How long its command took.
    pub took: Duration,
    /// Why it did not come about, if it did not.
    pub failure: Option<String>,
}

/// What a run with changes showed. Failures of requests are in the outcome, by cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Churned {
    /// Of the load.
    pub outcome: Outcome,
    /// In order.
    pub changes: Vec<Change>,
}

/// Runs a plan, and changes while it is recorded.
pub fn run(plan: &Plan, changes: &Changes, stop: &AtomicBool) -> Result<Churned, RunError> {
    let (begin, over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let changing = thread::Builder::new().name("perf-churn".into()).spawn_scoped(scope, || {
            while !begin.load(Ordering::Acquire) && !over.load(Ordering::Acquire) {
                thread::park();
            }
            change(changes, &over)
        })?;
        let outcome = engine::run(plan, stop, &mut |progress| match progress {
            Progress::Recording => {
                begin.store(true, Ordering::Release);
                changing.thread().unpark();
            }
            Progress::Ended => {
                over.store(true, Ordering::Release);
                changing.thread().unpark();
            }
            _ => {}
        });
        // Also where the run did not come so far.
        over.store(true, Ordering::Release);
        changing.thread().unpark();
        let changes = changing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Churned { outcome: outcome?, changes })
    })
}

/// Changes until it is over.
fn change(changes: &Changes, over: &AtomicBool) -> Vec<Change> {
    let mut done = Vec::new();
    let mut due = Instant::now();
    for (number, command) in changes.commands.iter().cycle().enumerate() {
        while !over.load(Ordering::Acquire) {
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            thread::park_timeout(wait);
        }
        if over.load(Ordering::Acquire) {
            break;
        }
        let begun = Instant::now();
        let failure = failure(once(command, number));
        done.push(Change { number, took: begun.elapsed(), failure });
        due = (due + changes.every).max(begun);
    }
    done
}

fn once(command: &str, number: usize) -> io::Result<std::process::Output> {
    Command::new("/bin/sh")
        .args(["-c", command])
        .env("CHANGE", number.to_string())
        .stdin(Stdio::null())
        .output()
}

/// Why a change did not come about: its status and the last line that it wrote to standard error.
fn failure(output: io::Result<std::process::Output>) -> Option<String> {
    match output {
        Err(error) => Some(format!("not run: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().next_back().unwrap_or_default();
            Some(format!("{}: {last}", output.status))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_its_commands() {
        let changes = Changes::from_script("# swap\n cp a b\n\ncp b a\n", Duration::ZERO).unwrap();
        assert_eq!(changes.commands, ["cp a b", "cp b a"]);
        assert_eq!(Changes::from_script("# nothing\n", Duration::ZERO), None);
    }

    #[test]
    fn commands_take_turns_and_failures_say_why() {
        let over = AtomicBool::new(false);
        let changes = Changes {
            commands: vec!["exit 0".into(), "echo it broke $CHANGE >&2; exit 3".into()],
            every: Duration::from_millis(1),
        };
        let done = thread::scope(|scope| {
            let changing = scope.spawn(|| change(&changes, &over));
            // Four changes are certain once it was waited for that long or longer: the bound is on the test's patience only.
            thread::sleep(Duration::from_millis(200));
            over.store(true, Ordering::Release);
            changing.join().unwrap()
        });
        assert_eq!(done[0].failure, None);
        assert_eq!(done[1].failure.as_deref(), Some("exit status: 3: it broke 1"));
        assert_eq!(done[2].failure, None);
    }
}
