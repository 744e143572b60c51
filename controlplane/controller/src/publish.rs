//! From changed objects to the data plane: translate, apply, remember what came of it.
//!
//! A change is applied as a whole, and its statuses belong to the same pass. Time is an argument.

use std::fmt;

use ringway_config::{DataPlane, Delta, FailedBind, PlaneProblem};
use ringway_gateway_api::{Changes, Notice, Options, Translator};

use crate::status::{Statuses, Turned};

/// Publishes to one data plane.
pub struct Publisher<D> {
    translator: Translator,
    plane: D,
    failed_binds: Vec<FailedBind>,
    plane_problems: Vec<PlaneProblem>,
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
    /// Remarks of translation that were not there before.
    pub notices: Vec<Notice>,
    /// Conditions of Gateways and ListenerSets that hold no longer.
    pub turned: Vec<Turned>,
}

impl<D: DataPlane> Publisher<D> {
    /// Nothing is published yet.
    pub fn new(options: Options, plane: D) -> Self {
        let translator = Translator::new(options);
        Self { translator, plane, failed_binds: Vec::new(), plane_problems: Vec::new() }
    }

    /// Publishes a change and brings the statuses up to date. `now` is RFC 3339.
    pub fn publish(&mut self, changes: Changes, statuses: &mut Statuses, now: &str) -> Published {
        let delta = self.translator.apply(changes);
        let (set, removed) = (delta.resources.set.len(), delta.resources.removed.len());
        let generation = self.apply(delta.resources);
        let turned = statuses.update(delta.statuses, &self.failed_binds, &self.plane_problems, now);
        Published { generation, set, removed, notices: delta.notices.into_iter().collect(), turned }
    }

    /// Tries again to bind what could not be bound.
    pub fn retry_binds(&mut self, statuses: &mut Statuses, now: &str) {
        self.apply(Delta::default());
        statuses.update([], &self.failed_binds, &self.plane_problems, now);
    }

    /// Gives memory back to the system that changes have used.
    pub fn give_back_memory(&mut self) {
        self.plane.give_back_memory();
    }

    /// The listeners that have no socket.
    pub fn failed_binds(&self) -> &[FailedBind] {
        &self.failed_binds
    }

    /// What else the data plane could not do.
    pub fn plane_problems(&self) -> &[PlaneProblem] {
        &self.plane_problems
    }

    fn apply(&mut self, delta: Delta) -> u64 {
        let applied = self.plane.apply(delta);
        self.failed_binds = applied.failed_binds;
        self.plane_problems = applied.problems;
        applied.generation
    }
}

impl<D> fmt::Debug for Publisher<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("failed_binds", &self.failed_binds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ringway_config::{Applied, Config, Transport};
    use ringway_gateway_api::{Kind, Object, ObjectKey};
    use serde_json::json;

    use super::*;

    /// Keeps what it is told; has one port that is taken.
    #[derive(Default)]
    struct Fake {
        config: Config,
        generation: u64,
        taken: Option<u16>,
    }

    impl DataPlane for &mut Fake {
        fn apply(&mut self, delta: Delta) -> Applied {
            self.config.apply(delta);
            self.generation += 1;
            let binds = self
                .config
                .listeners
                .values()
                .flat_map(|listener| listener.binds.iter().map(|bind| (listener.key.clone(), *bind)));
            let failed_binds = binds
                .filter(|(_, bind)| Some(bind.port) == self.taken)
                .map(|(listener, bind)| FailedBind { listener, bind, reason: "in use".to_owned() })
                .collect();
            Applied { generation: self.generation, failed_binds, problems: Vec::new() }
        }
    }

    fn gateway(port: u16) -> Object {
        let value = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "g", "namespace": "ns", "generation": 1},
            "spec": {
                "gatewayClassName": "ringway",
                "listeners": [{"name": "web", "port": port, "protocol": "HTTP"}],
            },
        });
        Object::decode(value).unwrap().unwrap()
    }

    fn condition(statuses: &Statuses, kind: &str) -> (String, String) {
        let status = statuses.get(&ObjectKey::new(Kind::Gateway, "ns", "g")).unwrap();
        let conditions = status.pointer("/listeners/0/conditions").unwrap().as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
        let text = |field: &str| found[field].as_str().unwrap().to_owned();
        (text("status"), text("reason"))
    }

    #[test]
    fn objects_become_configuration_and_statuses_in_one_step() {
        let mut plane = Fake::default();
        let mut statuses = Statuses::default();
        let mut publisher = Publisher::new(Options::standalone(vec![]), &mut plane);
        let published = publisher.publish(Changes::all([gateway(80)]), &mut statuses, "first");
        assert_eq!((published.generation, published.set, published.removed), (1, 1, 0));
        assert_eq!(condition(&statuses, "Programmed").0, "True");

        let gone = Changes { upserts: vec![], deletes: vec![ObjectKey::new(Kind::Gateway, "ns", "g")] };
        let published = publisher.publish(gone, &mut statuses, "second");
        assert_eq!((published.generation, published.set, published.removed), (2, 0, 1));
        assert_eq!(statuses.get(&ObjectKey::new(Kind::Gateway, "ns", "g")), None);
        assert_eq!(plane.config, Config::default());
    }

    #[test]
    fn a_port_that_is_taken_is_the_listeners_condition_until_it_is_free() {
        let mut plane = Fake { taken: Some(80), ..Fake::default() };
        let mut statuses = Statuses::default();
        let mut publisher = Publisher::new(Options::standalone(vec![]), &mut plane);
        publisher.publish(Changes::all([gateway(80)]), &mut statuses, "first");
        assert_eq!(publisher.failed_binds()[0].bind.transport, Transport::Tcp);
        assert_eq!(condition(&statuses, "Accepted"), ("False".into(), "PortUnavailable".into()));
        publisher.plane.taken = None;
        publisher.retry_binds(&mut statuses, "second");
        assert_eq!(condition(&statuses, "Accepted").0, "True");
        assert!(publisher.failed_binds().is_empty());
    }
}
