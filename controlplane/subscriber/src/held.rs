//! What a proxy has been told, and what of it is good. Pure: batches in; what to put in force, and what to answer, out.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringway_config::{Applied, Config, Delta, PlaneProblem, ResourceKey};
use ringway_wire::proto::{
    Acknowledgement, Batch, Digest, FailedBind, Heartbeat, Held as HeldName, Kind, Name, Position, Refusal,
};
use ringway_wire::{Digests, Version, decode, decode_name, encode_name, name_of};

use crate::limits::{CHANGE_BYTES_MAX, UNKNOWN_MAX};

/// Why a stream cannot go on. The proxy begins again and says what it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("batch {came} came after batch {after}")]
    Gap { came: u64, after: u64 },
    #[error("a change of more than {CHANGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("what this proxy has is not what the controller says it should have")]
    Differs,
}

/// A resource that is not in force as it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name; `None`: of a kind that this version does not know.
    pub name: Option<ResourceKey>,
    /// Why.
    pub reason: String,
}

/// The configuration of a proxy, as told.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The last good version of each resource.
    config: Config,
    versions: BTreeMap<ResourceKey, Version>,
    /// What was told and is not good.
    refused: BTreeMap<ResourceKey, (Version, String)>,
    /// The same, of what has no name here.
    unknown: Vec<String>,
    positions: Vec<Position>,
    /// The last batch of this stream.
    number: u64,
    pending: Pending,
}

#[derive(Debug, Default)]
struct Pending {
    delta: Delta,
    bytes: usize,
}

impl Held {
    /// From a file: what it held was good.
    pub(crate) fn resumed(resources: Vec<Bytes>, positions: Vec<Position>) -> Self {
        let mut held = Self { positions, ..Self::default() };
        for bytes in resources {
            // What this version reads otherwise than the one that wrote it must be told again: the version is that of
            // what is understood.
            if let Ok(resource) = decode(bytes) {
                let bytes = ringway_wire::encode(&resource);
                held.versions.insert(resource.key(), Version::of(&bytes));
                held.config.apply(Delta { set: vec![resource], removed: vec![] });
            }
        }
        held
    }

    /// What is good.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Where it was made from.
    pub(crate) fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// A new stream begins: what to say is here. What was refused is told again.
    pub(crate) fn begin(&mut self) -> Vec<HeldName> {
        self.number = 0;
        self.pending = Pending::default();
        self.refused.clear();
        self.unknown.clear();
        let held = |(key, version): (&ResourceKey, &Version)| HeldName {
            name: Some(encode_name(key)),
            version: version.to_wire(),
        };
        self.versions.iter().map(held).collect()
    }

    /// Takes a batch in. At the end of a change, what to put in force.
    pub(crate) fn take(&mut self, batch: Batch) -> Result<Option<Delta>, Fault> {
        if batch.number != self.number + 1 {
            return Err(Fault::Gap { came: batch.number, after: self.number });
        }
        self.number = batch.number;
        self.pending.bytes += batch.set.iter().map(Bytes::len).sum::<usize>();
        if self.pending.bytes > CHANGE_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        for bytes in batch.set {
            self.set(bytes);
        }
        for name in &batch.removed {
            // A name that nobody here knows is of nothing that is here.
            if let Ok(key) = decode_name(name) {
                self.versions.remove(&key);
                self.refused.remove(&key);
                self.pending.delta.removed.push(key);
            }
        }
        if !batch.ends {
            return Ok(None);
        }
        self.positions = batch.position;
        let delta = std::mem::take(&mut self.pending).delta;
        self.config.apply(delta.clone());
        Ok(Some(delta))
    }

    fn set(&mut self, bytes: Bytes) {
        let version = Version::of(&bytes);
        let name = name_of(&bytes).and_then(|name| decode_name(&name).ok());
        match (decode(bytes), name) {
            (Ok(resource), _) => {
                let key = resource.key();
                self.refused.remove(&key);
                self.versions.insert(key, version);
                self.pending.delta.set.push(resource);
            }
            (Err(error), Some(key)) => drop(self.refused.insert(key, (version, error.to_string()))),
            (Err(error), None) if self.unknown.len() < UNKNOWN_MAX => self.unknown.push(error.to_string()),
            (Err(_), None) => {}
        }
    }

    /// What to answer to the last batch, by what came of it.
    pub(crate) fn answer(&self, applied: &Applied) -> Acknowledgement {
        let binds = applied.failed_binds.iter().map(|failed| FailedBind {
            listener: failed.listener.to_string(),
            reason: format!("port {}: {}", failed.bind.port, failed.reason),
        });
        let refusals = self
            .refused(&applied.problems)
            .into_iter()
            .map(|refused| Refusal { name: refused.name.as_ref().map(encode_name), reason: refused.reason });
        Acknowledgement { batch: self.number, refusals: refusals.collect(), failed_binds: binds.collect() }
    }

    /// All that is not in force as it was told.
    pub(crate) fn refused(&self, problems: &[PlaneProblem]) -> Vec<Refused> {
        let refused = self
            .refused
            .iter()
            .map(|(key, (_, reason))| Refused { name: Some(key.clone()), reason: reason.clone() });
        let unknown = self.unknown.iter().map(|reason| Refused { name: None, reason: reason.clone() });
        let problems = problems
            .iter()
            .map(|problem| Refused { name: problem.resource.clone(), reason: problem.reason.clone() });
        refused.chain(unknown).chain(problems).collect()
    }

    /// Compares what the controller says this proxy should have with what it was told. Kinds that nobody here knows are
    /// no difference.
    pub(crate) fn check(&self, beat: &Heartbeat) -> Result<(), Fault> {
        // Before the first batch there is nothing to compare: the controller itself waits for something.
        if beat.batch == 0 {
            return Ok(());
        }
        let mut told = Digests::default();
        for (key, version) in &self.versions {
            if !self.refused.contains_key(key) {
                told.add(&encode_name(key), *version);
            }
        }
        self.refused.iter().for_each(|(key, (version, _))| told.add(&encode_name(key), *version));
        let known = |it: &&Digest| Name { kind: it.kind, key: String::new() }.kind() != Kind::Unspecified;
        let theirs: Vec<Digest> = beat.digests.iter().filter(known).cloned().collect();
        if beat.batch == self.number && Digests::from_wire(&theirs) == told {
            Ok(())
        } else {
            Err(Fault::Differs)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ringway_config::{EndpointSet, EndpointSetKey, EndpointSource, Resource};
    use ringway_wire::encode;
    use ringway_wire::proto::{self, EndpointSet as Wire, endpoint_set, resource};

    use super::*;

    fn set(name: &str, port: u16) -> Resource {
        let source = EndpointSource::Dns { host: "a.b".into(), port };
        Resource::EndpointSet(Arc::new(EndpointSet { key: EndpointSetKey::new(name), source }))
    }

    /// A resource with a name and nothing that makes sense.
    fn broken(name: &str) -> Bytes {
        let source = endpoint_set::Source::Dns(endpoint_set::Dns { host: String::new(), port: 1 });
        let kind = resource::Kind::EndpointSet(Wire { key: name.into(), source: Some(source) });
        prost::Message::encode_to_vec(&proto::Resource { kind: Some(kind) }).into()
    }

    fn batch(number: u64, set: Vec<Bytes>, ends: bool) -> Batch {
        Batch { number, set, ends, ..Batch::default() }
    }

    fn name(name: &str) -> ResourceKey {
        ResourceKey::EndpointSet(EndpointSetKey::new(name))
    }

    fn beat(batch: u64, resources: &[(&str, Bytes)]) -> Heartbeat {
        let mut digests = Digests::default();
        resources.iter().for_each(|(key, bytes)| digests.add(&encode_name(&name(key)), Version::of(bytes)));
        Heartbeat { batch, digests: digests.to_wire() }
    }

    #[test]
    fn a_change_counts_at_its_end_and_as_a_whole() {
        let mut held = Held::default();
        assert!(held.begin().is_empty());
        assert_eq!(held.take(batch(1, vec![encode(&set("a", 1))], false)), Ok(None));
        assert_eq!(held.config(), &Config::default());
        let delta = held.take(batch(2, vec![encode(&set("b", 1))], true)).unwrap().unwrap();
        assert_eq!(delta.set, [set("a", 1), set("b", 1)]);
        assert_eq!(held.answer(&Applied::default()).batch, 2);
        assert_eq!(held.take(batch(4, vec![], true)), Err(Fault::Gap { came: 4, after: 2 }));
    }

    #[test]
    fn half_a_change_is_forgotten_when_the_stream_ends() {
        let mut held = Held::default();
        held.begin();
        held.take(batch(1, vec![encode(&set("a", 1))], true)).unwrap();
        held.take(batch(2, vec![encode(&set("a", 2)), encode(&set("b", 1))], false)).unwrap();
        let again = held.begin();
        let versions: Vec<_> = again.iter().map(|it| (it.name.clone().unwrap().key, it.version)).collect();
        assert_eq!(versions, [("a".to_owned(), Version::of(&encode(&set("a", 1))).to_wire())]);
    }

    #[test]
    fn a_refused_resource_keeps_its_last_good_version_and_all_else_is_applied() {
        let mut held = Held::default();
        held.begin();
        held.take(batch(1, vec![encode(&set("a", 1))], true)).unwrap();
        let delta = held.take(batch(2, vec![broken("a"), encode(&set("b", 1))], true)).unwrap().unwrap();
        assert_eq!(delta.set, [set("b", 1)]);
        assert_eq!(held.config().resources().collect::<Vec<_>>(), [set("a", 1), set("b", 1)]);
        let answer = held.answer(&Applied::default());
        assert_eq!(answer.refusals.len(), 1);
        assert_eq!(answer.refusals[0].name, Some(encode_name(&name("a"))));
        // It was told, so that is no difference; and it does not claim to have it.
        let told = [("a", broken("a")), ("b", encode(&set("b", 1)))];
        assert_eq!(held.check(&beat(2, &told)), Ok(()));
        let good = held.begin();
        assert_eq!(good[0].version, Version::of(&encode(&set("a", 1))).to_wire());

        held.take(batch(1, vec![encode(&set("a", 3))], true)).unwrap();
        assert!(held.answer(&Applied::default()).refusals.is_empty());
    }

    #[test]
    fn a_resource_of_a_newer_kind_is_refused_without_a_name_and_is_no_difference() {
        let mut held = Held::default();
        held.begin();
        // Field 99, a message: a kind that is not there yet.
        let newer = Bytes::from_static(&[0x9a, 0x06, 0x00]);
        held.take(batch(1, vec![newer, encode(&set("a", 1))], true)).unwrap();
        let answer = held.answer(&Applied::default());
        assert_eq!((answer.refusals.len(), &answer.refusals[0].name), (1, &None));
        let mut beat = beat(1, &[("a", encode(&set("a", 1)))]);
        beat.digests.push(Digest { kind: 99, count: 1, sum: 7 });
        assert_eq!(held.check(&beat), Ok(()));
    }

    #[test]
    fn a_difference_is_noticed() {
        let mut held = Held::default();
        held.begin();
        assert_eq!(held.check(&beat(0, &[("x", Bytes::new())])), Ok(()), "the controller itself waits");
        held.take(batch(1, vec![encode(&set("a", 1))], true)).unwrap();
        assert_eq!(held.check(&beat(1, &[("a", encode(&set("a", 1)))])), Ok(()));
        assert_eq!(held.check(&beat(1, &[("a", encode(&set("a", 2)))])), Err(Fault::Differs));
        assert_eq!(held.check(&beat(2, &[("a", encode(&set("a", 1)))])), Err(Fault::Differs));
        assert_eq!(held.check(&beat(1, &[])), Err(Fault::Differs));
    }

    #[test]
    fn what_came_from_a_file_is_told_as_it_is_understood() {
        let held = Held::resumed(vec![encode(&set("a", 1)), broken("b")], vec![]);
        assert_eq!(held.config().resources().collect::<Vec<_>>(), [set("a", 1)]);
    }
}
