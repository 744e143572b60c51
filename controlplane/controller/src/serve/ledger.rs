//! What every proxy should have, and what differs from what one has. Pure.
//!
//! The state is numbered by generations. A gateway knows in which generation each of its resources last changed, so what
//! a proxy lacks is a range of that list, however long the proxy was away: nothing is kept for a proxy but a number, and
//! what it missed is told once, as it is now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use ringway_config::{Delta, EndpointSet, EndpointSource, GatewayKey, Resource, ResourceKey};
use ringway_wire::proto::{Name, Position};
use ringway_wire::{Digests, Version, decode_name, encode, encode_name};

use super::limits::{BATCH_BYTES, CHANGES_KEPT, REMOVED_MIN, RESOURCE_BYTES_MAX};
use super::scope::{Edge, Needs, Touched, edges};

/// A change, encoded. Made without holding anything up.
#[derive(Debug)]
pub(super) struct SealedDelta {
    set: Vec<(ResourceKey, Sealed, BTreeSet<Edge>)>,
    removed: Vec<ResourceKey>,
    /// What is too large to send, with its size.
    pub(super) refused: Vec<(ResourceKey, usize)>,
}

/// A resource as it goes to proxies.
#[derive(Clone)]
struct Sealed {
    bytes: Bytes,
    version: Version,
}

impl Sealed {
    fn new(resource: &Resource) -> Self {
        let bytes = encode(resource);
        Self { version: Version::of(&bytes), bytes }
    }
}

// The bytes of a certificate hold its private key.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("bytes", &self.bytes.len()).field("version", &self.version).finish()
    }
}

/// Encodes a change.
pub(super) fn seal(delta: Delta) -> SealedDelta {
    let mut sealed = SealedDelta { set: Vec::new(), removed: delta.removed, refused: Vec::new() };
    for resource in delta.set {
        let (key, bytes) = (resource.key(), Sealed::new(&resource));
        match bytes.bytes.len() {
            size if size > RESOURCE_BYTES_MAX => sealed.refused.push((key, size)),
            _ => sealed.set.push((key, bytes, edges(&resource))),
        }
    }
    sealed
}

/// What brings a proxy from what it has to a generation. Put in force as a whole.
#[derive(Debug)]
pub(super) struct Change {
    /// The generation that it leads to.
    pub(super) to: u64,
    /// Certificates, endpoint sets, clusters, listeners, routes: nothing comes before what it points to.
    pub(super) set: Vec<Bytes>,
    /// The other way round.
    pub(super) removed: Vec<Name>,
    /// Where it was made from.
    pub(super) positions: Arc<[Position]>,
    /// What a proxy has after it.
    pub(super) digests: Digests,
}

impl Change {
    /// How many of `set`, from `start` on, go into one message.
    pub(super) fn message_from(&self, start: usize) -> usize {
        let mut bytes = 0;
        let fits = self.set[start..].iter().take_while(|resource| {
            bytes += resource.len();
            bytes <= BATCH_BYTES
        });
        // One that is larger than a message should be goes alone.
        fits.count().max(usize::from(start < self.set.len()))
    }
}

/// All that is in force.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Counts what was published; 0 before the first.
    generation: u64,
    positions: Arc<[Position]>,
    resources: HashMap<ResourceKey, Sealed>,
    needs: Needs,
    shares: BTreeMap<GatewayKey, Share>,
}

impl Ledger {
    /// The newest generation.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Where it was made from.
    pub(super) fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// All that is in force is as well made from these.
    pub(super) fn reach(&mut self, positions: Vec<Position>) {
        self.positions = positions.into();
    }

    /// Takes a change in. Says which gateways' proxies must hear of it.
    pub(super) fn publish(&mut self, delta: SealedDelta, positions: Vec<Position>) -> BTreeSet<GatewayKey> {
        self.generation += 1;
        self.positions = positions.into();
        let mut touched = Touched::new();
        for key in delta.removed {
            if self.resources.remove(&key).is_some() {
                self.note(&key, &mut touched);
                self.needs.state(&key, BTreeSet::new(), &mut touched);
            }
        }
        for (key, sealed, edges) in delta.set {
            let before = self.resources.insert(key.clone(), sealed.clone());
            if before.is_none_or(|before| before.version != sealed.version) {
                self.note(&key, &mut touched);
                self.needs.state(&key, edges, &mut touched);
            }
        }
        let mut changed = BTreeSet::new();
        for (gateway, key) in touched {
            let needed = self.needs.needs(&gateway, &key);
            let version = if needed { self.sealed(&key).map(|sealed| sealed.version) } else { None };
            let share = self.shares.entry(gateway.clone()).or_default();
            if share.note(key, version, self.generation) {
                changed.insert(gateway);
            }
        }
        changed
    }

    fn note(&self, key: &ResourceKey, touched: &mut Touched) {
        touched.extend(self.needs.gateways(key).map(|gateway| (gateway.clone(), key.clone())));
    }

    /// The generation in which a gateway's share last changed; 0 if it never had one.
    pub(super) fn changed_in(&self, gateway: &GatewayKey) -> u64 {
        self.shares.get(gateway).map_or(0, |share| share.changed_in)
    }

    /// Forgets what was removed of a gateway that has nothing any more. Only while no proxy of it is connected.
    pub(super) fn forget_if_gone(&mut self, gateway: &GatewayKey) {
        if self.shares.get(gateway).is_some_and(|share| share.present().next().is_none()) {
            self.shares.remove(gateway);
        }
    }

    /// What a proxy lacks that has all of generation `from`. `None`: what it should forget is forgotten here, so it must
    /// say what it has.
    pub(super) fn change_since(&mut self, gateway: &GatewayKey, from: u64) -> Option<Arc<Change>> {
        let share = self.shares.get(gateway);
        if from > 0 && share.is_some_and(|share| from < share.forgotten) {
            return None;
        }
        let kept = share.and_then(|share| share.kept.iter().find(|(start, _)| *start == from));
        if let Some((_, change)) = kept.filter(|(_, change)| change.to == self.generation) {
            return Some(Arc::clone(change));
        }
        let changed = share.into_iter().flat_map(|share| share.since(from));
        let change = Arc::new(self.change(gateway, changed.filter(|(_, set)| *set || from > 0)));
        if let Some(share) = self.shares.get_mut(gateway) {
            share.keep(from, Arc::clone(&change));
        }
        Some(change)
    }

    /// What a proxy lacks that has these. Names that nobody here knows are removed from it too: they are of another
    /// version of ringway.
    pub(super) fn change_from(&mut self, gateway: &GatewayKey, held: &[(Name, Version)]) -> Arc<Change> {
        if held.is_empty() {
            // From nothing, nothing can have been forgotten.
            return self.change_since(gateway, 0).expect("a change from nothing can always be made");
        }
        let mut unknown = Vec::new();
        let mut has = BTreeMap::new();
        for (name, version) in held {
            match decode_name(name) {
                Ok(key) => drop(has.insert(key, *version)),
                Err(_) => unknown.push(name.clone()),
            }
        }
        let needed = self.shares.get(gateway).into_iter().flat_map(Share::present);
        let set = needed.filter(|(key, version)| has.get(*key) != Some(version)).map(|(key, _)| (key, true));
        let present = |key: &ResourceKey| self.shares.get(gateway).is_some_and(|share| share.has(key));
        let removed = has.keys().filter(|key| !present(key)).map(|key| (key, false));
        let mut change = self.change(gateway, set.chain(removed));
        change.removed.extend(unknown);
        Arc::new(change)
    }

    fn change<'k>(
        &self,
        gateway: &GatewayKey,
        keys: impl Iterator<Item = (&'k ResourceKey, bool)>,
    ) -> Change {
        let (mut set, mut removed): (Vec<_>, Vec<_>) = keys.partition(|(_, set)| *set);
        // By kind: a name's kinds are in the order in which they point to each other.
        set.sort_unstable();
        removed.sort_unstable_by(|one, other| other.cmp(one));
        Change {
            to: self.generation,
            set: set.into_iter().filter_map(|(key, _)| self.sealed(key)).map(|sealed| sealed.bytes).collect(),
            removed: removed.into_iter().map(|(key, _)| encode_name(key)).collect(),
            positions: Arc::clone(&self.positions),
            digests: self.shares.get(gateway).map(|share| share.digests.clone()).unwrap_or_default(),
        }
    }

    /// A resource that is there. An endpoint set that is not is empty: no cluster goes without one.
    fn sealed(&self, key: &ResourceKey) -> Option<Sealed> {
        match (self.resources.get(key), key) {
            (Some(sealed), _) => Some(sealed.clone()),
            (None, ResourceKey::EndpointSet(key)) => {
                let source = EndpointSource::Listed(Vec::new());
                let set = EndpointSet { key: key.clone(), source };
                Some(Sealed::new(&Resource::EndpointSet(Arc::new(set))))
            }
            (None, _) => None,
        }
    }
}

/// What one gateway's proxies should have.
#[derive(Debug, Default)]
struct Share {
    /// Each resource as it is since when; `None`: it was removed then.
    entries: BTreeMap<ResourceKey, (u64, Option<Version>)>,
    /// The same by generation.
    changes: BTreeMap<u64, BTreeSet<ResourceKey>>,
    removed: usize,
    changed_in: u64,
    /// Removals of this generation and older ones are not remembered.
    forgotten: u64,
    digests: Digests,
    /// Changes ready to be sent, by the generation that they start from.
    kept: Vec<(u64, Arc<Change>)>,
}

impl Share {
    /// Says whether that is something new.
    fn note(&mut self, key: ResourceKey, version: Option<Version>, generation: u64) -> bool {
        let before = self.entries.get(&key).copied();
        let version_before = before.and_then(|(_, version)| version);
        if version_before == version {
            return false;
        }
        if let Some((at, _)) = before {
            self.strike(at, &key);
        }
        let name = encode_name(&key);
        version_before.iter().for_each(|version| self.digests.remove(&name, *version));
        version.iter().for_each(|version| self.digests.add(&name, *version));
        self.removed += usize::from(version.is_none());
        self.removed -= usize::from(before.is_some() && version_before.is_none());
        self.changes.entry(generation).or_default().insert(key.clone());
        self.entries.insert(key, (generation, version));
        self.changed_in = generation;
        self.kept.clear();
        self.forget();
        true
    }

    fn strike(&mut self, generation: u64, key: &ResourceKey) {
        if let Some(keys) = self.changes.get_mut(&generation) {
            keys.remove(key);
            if keys.is_empty() {
                self.changes.remove(&generation);
            }
        }
    }

    /// Forgets the oldest half of the removals when there are more than there may be.
    fn forget(&mut self) {
        let removals_max = (self.entries.len() - self.removed).max(REMOVED_MIN);
        if self.removed <= removals_max {
            return;
        }
        let mut removals: Vec<(u64, ResourceKey)> = self
            .entries
            .iter()
            .filter(|(_, (_, version))| version.is_none())
            .map(|(key, (at, _))| (*at, key.clone()))
            .collect();
        removals.sort_unstable();
        for (at, key) in removals.into_iter().take(removals_max / 2) {
            self.strike(at, &key);
            self.entries.remove(&key);
            self.removed -= 1;
            self.forgotten = at;
        }
    }

    /// What changed after a generation, and whether it is there.
    fn since(&self, from: u64) -> impl Iterator<Item = (&ResourceKey, bool)> {
        let newer = self.changes.range((Bound::Excluded(from), Bound::Unbounded));
        newer.flat_map(|(_, keys)| keys).map(|key| (key, self.has(key)))
    }

    fn has(&self, key: &ResourceKey) -> bool {
        self.entries.get(key).is_some_and(|(_, version)| version.is_some())
    }

    fn present(&self) -> impl Iterator<Item = (&ResourceKey, Version)> {
        self.entries.iter().filter_map(|(key, (_, version))| Some((key, (*version)?)))
    }

    fn keep(&mut self, from: u64, change: Arc<Change>) {
        if self.kept.len() == CHANGES_KEPT {
            self.kept.remove(0);
        }
        self.kept.push((from, change));
    }
}
