//! What the controller shows of itself: for probes, metrics and `/status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringway_gateway_api::objects::{Kind, ObjectKey};

/// How the controller is doing.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every kind that exists was listed, and what came of it was published.
    pub synced: bool,
    /// This replica writes statuses and provisions.
    pub leads: bool,
    /// Counts what was published.
    pub generation: u64,
    /// When that was, RFC 3339.
    pub since: String,
    /// How many objects are held.
    pub objects: usize,
    /// How far the watch of each kind has come.
    pub positions: BTreeMap<Kind, u64>,
    /// Objects that do not decode, and why. What they last said stays in force.
    pub undecodable: BTreeMap<ObjectKey, String>,
    /// Remarks of translation.
    pub notices: u64,
    /// Statuses that were written.
    pub writes: u64,
    /// Writes that failed and are tried again.
    pub write_failures: u64,
    /// Statuses that wait to be written.
    pub waiting: usize,
}

/// Where the report stands.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Report>>);

impl Board {
    /// The report as it is.
    pub fn read(&self) -> MutexGuard<'_, Report> {
        // A report that somebody panicked over is still the newest one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
