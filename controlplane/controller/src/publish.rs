//! From changed objects to the data plane: translate, apply, remember what came of it.
//!
//! A change is applied as a whole or not at all, and its statuses belong to the same pass. Time is an argument.

use ringway_config::{Bind, Delta, ListenerKey};
use ringway_gateway_api::objects::ObjectKey;
use serde_json::Value;

use crate::inventory::Changed;
use crate::status::Statuses;

/// What carries the traffic, as this crate sees it.
pub trait DataPlane: Send {
    /// Makes a change the truth on every core before it returns. An empty change tries failed binds again.
    fn apply(&mut self, delta: Delta) -> Applied;
}

/// What came of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Counts the configurations that were in force.
    pub generation: u64,
    /// Every listener that could not be bound, now, not only by this change.
    pub failed_binds: Vec<FailedBind>,
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

/// Makes configuration of objects. Pure; the seam behind which `ringway-gateway-api` translates.
pub trait Translate: Send {
    /// What a change of objects means for proxies, and for the objects' statuses (`None`: the object is gone).
    fn translate(&mut self, changed: Changed) -> (Delta, Vec<(ObjectKey, Option<Value>)>);
}

/// Publishes to one data plane.
#[derive(Debug)]
pub struct Publisher<T, D> {
    translator: T,
    plane: D,
    failed_binds: Vec<FailedBind>,
}

/// What was published.
#[derive(Debug)]
pub struct Published {
    /// Counts the configurations that were in force.
    pub generation: u64,
    /// How many resources are new or changed.
    pub set: usize,
    /// How many are gone.
    pub removed: usize,
}

impl<T: Translate, D: DataPlane> Publisher<T, D> {
    /// Nothing is published yet.
    pub fn new(translator: T, plane: D) -> Self {
        Self { translator, plane, failed_binds: Vec::new() }
    }

    /// Publishes a change and brings the statuses up to date. `now` is RFC 3339.
    pub fn publish(&mut self, changed: Changed, statuses: &mut Statuses, now: &str) -> Published {
        let (delta, told) = self.translator.translate(changed);
        let (set, removed) = (delta.set.len(), delta.removed.len());
        let applied = self.plane.apply(delta);
        statuses.update(told, &applied.failed_binds, now);
        self.failed_binds = applied.failed_binds;
        Published { generation: applied.generation, set, removed }
    }

    /// Tries again to bind what could not be bound.
    pub fn retry_binds(&mut self, statuses: &mut Statuses, now: &str) {
        let applied = self.plane.apply(Delta::default());
        statuses.update(Vec::new(), &applied.failed_binds, now);
        self.failed_binds = applied.failed_binds;
    }

    /// The listeners that have no socket.
    pub fn failed_binds(&self) -> &[FailedBind] {
        &self.failed_binds
    }
}
