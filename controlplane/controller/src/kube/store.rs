//! What the cluster holds, as far as it has been heard of, and what has changed since it was last asked.
//!
//! Pure. A relist gathers beside what is held and replaces it at its end, all at once: a watch that breaks, an API
//! server that restarts or a history that is gone takes nothing away. An object that does not decode keeps what it
//! last said, and is told of.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::DynamicObject;
use ringway_gateway_api::Changes;
use ringway_gateway_api::objects::{Kind, Object, ObjectKey};

use super::raw::{self, Held, Record};

/// What a watch of a kind says.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A list begins, of a state that is this resource version or a later one; `None`: that is not known.
    Begins(Option<String>),
    /// An object of the list that began.
    Listed(Box<DynamicObject>),
    /// The list is whole.
    Whole,
    /// An object as it is now.
    Now(Box<DynamicObject>),
    /// An object that is gone.
    Gone(Box<DynamicObject>),
    /// The kind does not exist, or no longer.
    Absent,
}

/// Everything that is held, by kind.
#[derive(Debug, Default)]
pub struct Store {
    kinds: BTreeMap<Kind, Shelf>,
    /// Objects that changed and have not been taken yet, but for endpoints.
    structure: BTreeSet<ObjectKey>,
    /// The same for EndpointSlices, which never wait.
    endpoints: BTreeSet<ObjectKey>,
    /// Objects whose record changed: somebody wrote their status.
    recorded: BTreeSet<ObjectKey>,
    undecodable: BTreeMap<ObjectKey, String>,
}

#[derive(Debug, Default)]
struct Shelf {
    held: BTreeMap<ObjectKey, Held>,
    /// A list that is not whole yet.
    coming: Option<BTreeMap<ObjectKey, Held>>,
    /// The oldest state that it may be of.
    coming_at: u64,
    /// Whether there was a whole list, or is no such kind.
    known: bool,
    position: u64,
}

impl Store {
    /// Takes in what a watch says.
    pub fn hear(&mut self, kind: Kind, version: &str, heard: Heard) {
        match heard {
            Heard::Begins(at) => {
                let shelf = self.shelf(kind);
                shelf.coming = Some(BTreeMap::new());
                shelf.coming_at = position(at.as_deref());
            }
            Heard::Listed(raw) => {
                if let Some((key, held)) = self.decode(kind, version, *raw)
                    && let Some(held) = held.or_else(|| self.shelf(kind).held.get(&key).cloned())
                {
                    self.shelf(kind).coming.get_or_insert_default().insert(key, held);
                }
            }
            Heard::Whole => {
                let shelf = self.shelf(kind);
                let list = shelf.coming.take().unwrap_or_default();
                // What was last heard of may be gone, and then no object of the list is as new as that.
                shelf.position = shelf.position.max(shelf.coming_at);
                self.replace(kind, list);
            }
            Heard::Absent => {
                let shelf = self.shelf(kind);
                (shelf.coming, shelf.position) = (None, 0);
                self.replace(kind, BTreeMap::new());
            }
            Heard::Now(raw) => {
                let key = raw::key(kind, &raw);
                match self.decode(kind, version, *raw) {
                    Some((key, Some(held))) => self.put(key, held),
                    // It keeps what it last said.
                    Some((_, None)) => {}
                    None => self.take_out(&key),
                }
            }
            Heard::Gone(raw) => {
                let shelf = self.shelf(kind);
                shelf.position = shelf.position.max(position(raw.metadata.resource_version.as_deref()));
                self.take_out(&raw::key(kind, &raw));
            }
        }
    }

    /// Whether every one of these kinds was listed, or does not exist.
    pub fn knows(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.kinds.get(kind).is_some_and(|shelf| shelf.known))
    }

    /// Whether something but endpoints changed.
    pub fn structure_changed(&self) -> bool {
        !self.structure.is_empty()
    }

    /// Whether endpoints changed.
    pub fn endpoints_changed(&self) -> bool {
        !self.endpoints.is_empty()
    }

    /// All changes since the last time.
    pub fn changes(&mut self) -> Changes {
        let mut keys = std::mem::take(&mut self.structure);
        keys.append(&mut self.endpoints);
        self.of(keys)
    }

    /// The changes of EndpointSlices alone.
    pub fn endpoint_changes(&mut self) -> Changes {
        let keys = std::mem::take(&mut self.endpoints);
        self.of(keys)
    }

    /// Objects whose status was written by somebody since the last time; perhaps by us.
    pub fn take_recorded(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.recorded)
    }

    /// An object.
    pub fn get(&self, key: &ObjectKey) -> Option<&Held> {
        self.kinds.get(&key.kind)?.held.get(key)
    }

    /// Every object of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Held)> {
        self.kinds.get(&kind).into_iter().flat_map(|shelf| &shelf.held)
    }

    /// Notes what the API server said when a status was written, which the watch will say again.
    pub fn written(&mut self, key: &ObjectKey, record: Record) {
        let Some(held) = self.kinds.get_mut(&key.kind).and_then(|shelf| shelf.held.get_mut(key)) else {
            return;
        };
        let newer = position(Some(&record.resource_version)) > position(Some(&held.record.resource_version));
        if held.record.uid == record.uid && newer {
            held.record = record;
        }
    }

    /// How far the watches have come, by kind; without kinds that do not exist, which can be behind nothing.
    pub fn positions(&self) -> impl Iterator<Item = (Kind, u64)> {
        self.kinds.iter().map(|(kind, shelf)| (*kind, shelf.position)).filter(|(_, position)| *position > 0)
    }

    /// What does not decode, and why.
    pub fn undecodable(&self) -> &BTreeMap<ObjectKey, String> {
        &self.undecodable
    }

    /// How many objects are held.
    pub fn len(&self) -> usize {
        self.kinds.values().map(|shelf| shelf.held.len()).sum()
    }

    /// Whether no object is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shelf(&mut self, kind: Kind) -> &mut Shelf {
        self.kinds.entry(kind).or_default()
    }

    /// `None`: nothing for us. Without a `Held`: it does not decode.
    fn decode(&mut self, kind: Kind, version: &str, raw: DynamicObject) -> Option<(ObjectKey, Option<Held>)> {
        let key = raw::key(kind, &raw);
        let shelf = self.shelf(kind);
        shelf.position = shelf.position.max(position(raw.metadata.resource_version.as_deref()));
        match raw::decode(kind, version, raw) {
            Ok(held) => {
                self.undecodable.remove(&key);
                held.map(|held| (key, Some(held)))
            }
            Err(error) => {
                self.undecodable.insert(key.clone(), error.to_string());
                Some((key, None))
            }
        }
    }

    fn put(&mut self, key: ObjectKey, held: Held) {
        let shelf = self.kinds.entry(key.kind).or_default();
        let before = shelf.held.get(&key);
        let (same_object, same_status) = before.map_or((false, false), |before| {
            (before.object == held.object, before.record.status == held.record.status)
        });
        if !same_object {
            self.changed(&key);
        }
        if !same_status {
            self.recorded.insert(key.clone());
        }
        self.shelf(key.kind).held.insert(key, held);
    }

    fn take_out(&mut self, key: &ObjectKey) {
        self.undecodable.remove(key);
        if self.shelf(key.kind).held.remove(key).is_some() {
            self.changed(key);
        }
    }

    fn replace(&mut self, kind: Kind, list: BTreeMap<ObjectKey, Held>) {
        let gone: Vec<ObjectKey> =
            self.shelf(kind).held.keys().filter(|key| !list.contains_key(*key)).cloned().collect();
        gone.iter().for_each(|key| self.take_out(key));
        list.into_iter().for_each(|(key, held)| self.put(key, held));
        self.shelf(kind).known = true;
    }

    fn changed(&mut self, key: &ObjectKey) {
        let lane = if key.kind == Kind::EndpointSlice { &mut self.endpoints } else { &mut self.structure };
        lane.insert(key.clone());
    }

    fn of(&self, keys: BTreeSet<ObjectKey>) -> Changes {
        let mut changes = Changes::default();
        for key in keys {
            match self.get(&key) {
                Some(held) => changes.upserts.push(Object::clone(&held.object)),
                None => changes.deletes.push(key),
            }
        }
        changes
    }
}

/// A resource version as a number, by which states of one kind are ordered; 0 if it is none.
fn position(resource_version: Option<&str>) -> u64 {
    resource_version.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::raw::tests::{raw, route};
    use super::*;

    fn service(name: &str, version: u64, port: Value) -> Box<DynamicObject> {
        Box::new(raw(json!({
            "metadata": {"name": name, "namespace": "ns", "resourceVersion": version.to_string()},
            "spec": {"ports": [{"port": port}]},
        })))
    }

    fn hear(store: &mut Store, heard: impl IntoIterator<Item = Heard>) -> (Vec<String>, Vec<String>) {
        heard.into_iter().for_each(|heard| store.hear(Kind::Service, "v1", heard));
        let changes = store.changes();
        (
            changes.upserts.iter().map(|object| object.key().name.to_string()).collect(),
            changes.deletes.iter().map(|key| key.name.to_string()).collect(),
        )
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_relist_replaces_at_its_end_and_nothing_before() {
        let mut store = Store::default();
        let first = [Heard::Begins(None), Heard::Listed(service("a", 1, json!(1)))];
        assert_eq!(hear(&mut store, first), (vec![], vec![]));
        assert!(!store.knows(&[Kind::Service]));
        let rest = [Heard::Listed(service("b", 2, json!(1))), Heard::Whole];
        assert_eq!(hear(&mut store, rest), (names(&["a", "b"]), vec![]));
        assert!(store.knows(&[Kind::Service]));

        let again = [Heard::Begins(None), Heard::Listed(service("b", 2, json!(1)))];
        assert_eq!(hear(&mut store, again), (vec![], vec![]), "a broken list takes nothing away");
        let again = [Heard::Begins(None), Heard::Listed(service("b", 9, json!(2))), Heard::Whole];
        assert_eq!(hear(&mut store, again), (names(&["b"]), names(&["a"])));
        assert_eq!(store.positions().collect::<Vec<_>>(), [(Kind::Service, 9)]);
    }

    #[test]
    fn a_list_reaches_as_far_as_the_state_that_it_is_of_and_not_as_its_newest_object() {
        let mut store = Store::default();
        hear(&mut store, [Heard::Begins(Some("7".to_owned())), Heard::Listed(service("a", 1, json!(1)))]);
        assert_eq!(store.positions().collect::<Vec<_>>(), [(Kind::Service, 1)], "it is not whole");
        hear(&mut store, [Heard::Whole]);
        assert_eq!(store.positions().collect::<Vec<_>>(), [(Kind::Service, 7)]);
        hear(&mut store, [Heard::Absent]);
        assert_eq!(store.positions().count(), 0);
    }

    #[test]
    fn an_object_that_does_not_decode_keeps_what_it_said_and_is_told_of() {
        let mut store = Store::default();
        hear(&mut store, [Heard::Begins(None), Heard::Listed(service("a", 1, json!(1))), Heard::Whole]);
        assert_eq!(hear(&mut store, [Heard::Now(service("a", 2, json!("x")))]), (vec![], vec![]));
        assert!(store.undecodable().values().next().unwrap().contains("spec.ports[0].port"));
        let relist = [
            Heard::Begins(None),
            Heard::Listed(service("a", 2, json!("x"))),
            Heard::Listed(service("b", 3, json!("x"))),
            Heard::Whole,
        ];
        assert_eq!(hear(&mut store, relist), (vec![], vec![]));
        assert_eq!(store.undecodable().len(), 2);
        assert_eq!(hear(&mut store, [Heard::Now(service("a", 4, json!(2)))]).0, names(&["a"]));
        assert_eq!(store.undecodable().len(), 1);
    }

    #[test]
    fn a_kind_that_goes_takes_its_objects_along_and_may_come_back() {
        let mut store = Store::default();
        hear(&mut store, [Heard::Absent]);
        assert!(store.knows(&[Kind::Service]));
        hear(&mut store, [Heard::Begins(None), Heard::Listed(service("a", 1, json!(1))), Heard::Whole]);
        assert_eq!(hear(&mut store, [Heard::Absent]).1, names(&["a"]));
    }

    #[test]
    fn a_written_status_is_recorded_and_changes_nothing_else() {
        let mut store = Store::default();
        let mut hear = |generation, version: &str, status: Value| {
            store.hear(Kind::HTTPRoute, "v1", Heard::Now(Box::new(route(generation, version, status))));
            (store.changes().upserts.len(), store.take_recorded().len())
        };
        assert_eq!(hear(1, "1", json!({})), (1, 1));
        assert_eq!(hear(1, "2", json!({"parents": []})), (0, 1));
        assert_eq!(hear(1, "3", json!({"parents": []})), (0, 0));
        assert_eq!(hear(2, "4", json!({"parents": []})), (1, 0));
    }

    #[test]
    fn endpoints_have_a_lane_of_their_own() {
        let mut store = Store::default();
        let slice = raw(json!({
            "metadata": {"name": "s", "namespace": "ns"}, "addressType": "IPv4", "endpoints": [],
        }));
        store.hear(Kind::EndpointSlice, "v1", Heard::Now(Box::new(slice)));
        store.hear(Kind::Service, "v1", Heard::Now(service("a", 1, json!(1))));
        assert_eq!(store.endpoint_changes().upserts.len(), 1);
        assert!(store.structure_changed() && !store.endpoints_changed());
    }
}
