//! Runs a plan: opens the connections, offers the load, and says what it showed.
//!
//! Threads share nothing while they run; each has its part of the schedule, its connections and its own histograms,
//! which are merged at the end. The calling thread only looks on, once a second. Threads inherit its CPUs: who wants
//! the generator on one CPU pins the calling thread before.

use std::sync::atomic::AtomicBool;

use crate::outcome::{Outcome, Second};
use crate::plan::Plan;

/// Where a run is. Told to the observer in the calling thread; the load goes on while it looks.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Nothing has been opened yet: what the server uses now is what it uses at rest.
    Starting,
    /// The connections stand. The warm-up, if there is one, begins.
    Connected {
        /// How many of them.
        connections: usize,
    },
    /// What comes now is recorded.
    Recording,
    /// A recorded second is over. The observer may fill in what it knows of the server.
    Second {
        /// Which one, from 0.
        index: usize,
        /// What it showed.
        second: &'a mut Second,
    },
    /// The last recorded second is over; no more requests are due. Connections stay open until the observer returns,
    /// while late answers are still awaited.
    Ended,
}

/// Why a run did not come about.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan contradicts itself.
    #[error("{0}")]
    Plan(String),
    /// Not one connection could be opened.
    #[error("cannot connect to {target}: {cause}")]
    Unreachable {
        /// Where to.
        target: String,
        /// What the first failure was.
        cause: String,
    },
    /// The generator's own system calls failed.
    #[error("the generator cannot work: {0}")]
    Generator(#[from] std::io::Error),
}

/// Does what `plan` says and returns what it showed. Ends early, with what there is until then, when `stop` is set.
///
/// `machine`, `server` and the observer's additions to seconds are the caller's; `name` is the plan's target until the
/// caller gives it another.
pub fn run(
    plan: &Plan,
    stop: &AtomicBool,
    observer: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RunError> {
    let _ = (stop, observer);
    Err(RunError::Plan(format!("{:?} is not spoken yet", plan.protocol)))
}
