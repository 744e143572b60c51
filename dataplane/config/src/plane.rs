//! What carries the traffic, as whoever configures it sees it.

use std::fmt;

use crate::{Bind, CertificateKey, Delta, ListenerKey, ResourceKey};

/// Takes changes: a proxy in the same process, or streams to others.
pub trait DataPlane: Send {
    /// Makes a change the truth on every core before it returns. An empty change tries failed binds again.
    fn apply(&mut self, delta: Delta) -> Applied;

    /// Gives memory back to the system that changes have used. There may be nothing to do.
    fn give_back_memory(&mut self) {}
}

/// What came of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Counts the configurations that were in force.
    pub generation: u64,
    /// Every listener that has no socket now, not only those of this change.
    pub failed_binds: Vec<FailedBind>,
    /// What else could not be done as configured: a certificate that TLS refuses.
    pub problems: Vec<PlaneProblem>,
}

/// A listener that has no socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedBind {
    /// The listener.
    pub listener: ListenerKey,
    /// The socket it asked for.
    pub bind: Bind,
    /// Why it has none, in the kernel's words.
    pub reason: String,
}

/// What could not be done as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneProblem {
    /// What is not in force as it is; `None`: nothing of the change is known to be.
    pub resource: Option<ResourceKey>,
    /// Where and why, in words.
    pub reason: String,
    /// The certificate that cannot be used, if that is what it is.
    pub certificate: Option<CertificateKey>,
    /// Whether the resource serves all the same, such as by the last certificate that worked.
    pub serves: bool,
}

impl fmt::Display for PlaneProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
