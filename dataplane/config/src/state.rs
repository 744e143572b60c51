//! The whole configuration of a proxy, and changes to it.
//!
//! Each resource is behind an `Arc` of its own: an unchanged one keeps its pointer through every change, which is
//! how the compiler in `ringway-core` knows what it may share with the configuration before.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::{
    Certificate, CertificateKey, Cluster, ClusterKey, EndpointSet, EndpointSetKey, Listener, ListenerKey,
    Route, RouteKey,
};

/// Everything a proxy is told, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// Certificates with private keys.
    pub certificates: BTreeMap<CertificateKey, Arc<Certificate>>,
    /// Endpoint sets.
    pub endpoint_sets: BTreeMap<EndpointSetKey, Arc<EndpointSet>>,
    /// Clusters.
    pub clusters: BTreeMap<ClusterKey, Arc<Cluster>>,
    /// Listeners.
    pub listeners: BTreeMap<ListenerKey, Arc<Listener>>,
    /// Routes.
    pub routes: BTreeMap<RouteKey, Arc<Route>>,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Resource {
    /// A certificate.
    Certificate(Arc<Certificate>),
    /// An endpoint set.
    EndpointSet(Arc<EndpointSet>),
    /// A cluster.
    Cluster(Arc<Cluster>),
    /// A listener.
    Listener(Arc<Listener>),
    /// A route.
    Route(Arc<Route>),
}

impl Resource {
    /// Its name.
    pub fn key(&self) -> ResourceKey {
        match self {
            Self::Certificate(it) => ResourceKey::Certificate(it.key.clone()),
            Self::EndpointSet(it) => ResourceKey::EndpointSet(it.key.clone()),
            Self::Cluster(it) => ResourceKey::Cluster(it.key.clone()),
            Self::Listener(it) => ResourceKey::Listener(it.key.clone()),
            Self::Route(it) => ResourceKey::Route(it.key().clone()),
        }
    }
}

/// The name of a resource of any kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ResourceKey {
    /// A certificate's.
    Certificate(CertificateKey),
    /// An endpoint set's.
    EndpointSet(EndpointSetKey),
    /// A cluster's.
    Cluster(ClusterKey),
    /// A listener's.
    Listener(ListenerKey),
    /// A route's.
    Route(RouteKey),
}

/// A change. Applied as a whole: no request sees a part of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Delta {
    /// New and changed resources.
    pub set: Vec<Resource>,
    /// Names of those that are gone.
    pub removed: Vec<ResourceKey>,
}

impl Delta {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

impl Config {
    /// Applies a change.
    pub fn apply(&mut self, delta: Delta) {
        let large = 4 * delta.set.len() > self.routes.len() + self.clusters.len();
        for key in delta.removed {
            self.remove(&key);
        }
        for resource in delta.set {
            self.set(resource);
        }
        if large {
            pack(&mut self.certificates);
            pack(&mut self.endpoint_sets);
            pack(&mut self.clusters);
            pack(&mut self.listeners);
            pack(&mut self.routes);
        }
    }

    /// Everything in it, in the order of kinds: nothing comes before what it points to.
    pub fn resources(&self) -> impl Iterator<Item = Resource> {
        let certificates = self.certificates.values().cloned().map(Resource::Certificate);
        let sets = self.endpoint_sets.values().cloned().map(Resource::EndpointSet);
        let clusters = self.clusters.values().cloned().map(Resource::Cluster);
        let listeners = self.listeners.values().cloned().map(Resource::Listener);
        let routes = self.routes.values().cloned().map(Resource::Route);
        certificates.chain(sets).chain(clusters).chain(listeners).chain(routes)
    }

    /// The change that makes `self` into `next`; resources that are equal keep the pointer of `self`.
    pub fn delta(&self, next: &Config) -> Delta {
        let mut delta = Delta::default();
        diff(
            &self.certificates,
            &next.certificates,
            &mut delta,
            Resource::Certificate,
            ResourceKey::Certificate,
        );
        diff(
            &self.endpoint_sets,
            &next.endpoint_sets,
            &mut delta,
            Resource::EndpointSet,
            ResourceKey::EndpointSet,
        );
        diff(&self.clusters, &next.clusters, &mut delta, Resource::Cluster, ResourceKey::Cluster);
        diff(&self.listeners, &next.listeners, &mut delta, Resource::Listener, ResourceKey::Listener);
        diff(&self.routes, &next.routes, &mut delta, Resource::Route, ResourceKey::Route);
        delta
    }

    fn set(&mut self, resource: Resource) {
        match resource {
            Resource::Certificate(value) => drop(self.certificates.insert(value.key.clone(), value)),
            Resource::EndpointSet(value) => drop(self.endpoint_sets.insert(value.key.clone(), value)),
            Resource::Cluster(value) => drop(self.clusters.insert(value.key.clone(), value)),
            Resource::Listener(value) => drop(self.listeners.insert(value.key.clone(), value)),
            Resource::Route(value) => drop(self.routes.insert(value.key().clone(), value)),
        }
    }

    fn remove(&mut self, key: &ResourceKey) {
        match key {
            ResourceKey::Certificate(key) => drop(self.certificates.remove(key)),
            ResourceKey::EndpointSet(key) => drop(self.endpoint_sets.remove(key)),
            ResourceKey::Cluster(key) => drop(self.clusters.remove(key)),
            ResourceKey::Listener(key) => drop(self.listeners.remove(key)),
            ResourceKey::Route(key) => drop(self.routes.remove(key)),
        }
    }
}

/// Gives back the room that a map has made for more: a tree that was filled in order is half empty. As dear as filling
/// it, so it is for after a large change.
pub fn pack<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    *map = std::mem::take(map).into_iter().collect();
}

/// The names under which two configurations hold something different: another pointer, or something in one of them
/// only. One walk over both, which looks at no value: a resource names itself, so the same pointer stands under the same
/// name.
pub fn differing<'c, K: Ord, V>(
    before: &'c BTreeMap<K, Arc<V>>,
    after: &'c BTreeMap<K, Arc<V>>,
) -> Vec<&'c K> {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    let mut differing = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return differing,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((_, old)), Some((_, new))) if Arc::ptr_eq(old, new) => {
                before.next();
                after.next();
                continue;
            }
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        differing.extend(new.or(old).map(|(key, _)| key));
    }
}

fn diff<K: Ord + Clone, V: PartialEq>(
    before: &BTreeMap<K, Arc<V>>,
    after: &BTreeMap<K, Arc<V>>,
    delta: &mut Delta,
    set: impl Fn(Arc<V>) -> Resource,
    removed: impl Fn(K) -> ResourceKey,
) {
    let same = |old: &Arc<V>, new: &Arc<V>| Arc::ptr_eq(old, new) || old == new;
    let changed = after.iter().filter(|(key, new)| !before.get(*key).is_some_and(|old| same(old, new)));
    delta.set.extend(changed.map(|(_, new)| set(Arc::clone(new))));
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    delta.removed.extend(gone.map(|key| removed(key.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EndpointSource;

    fn set(name: &str, host: &str) -> Resource {
        let key = EndpointSetKey::new(name);
        let source = EndpointSource::Dns { host: host.into(), port: 80 };
        Resource::EndpointSet(Arc::new(EndpointSet { key, source }))
    }

    #[test]
    fn a_delta_makes_one_configuration_into_the_other_and_leaves_equal_resources_alone() {
        let mut before = Config::default();
        before.apply(Delta { set: vec![set("a", "1"), set("b", "1"), set("c", "1")], removed: vec![] });
        let mut after = Config::default();
        after.apply(Delta { set: vec![set("a", "1"), set("b", "2")], removed: vec![] });

        let delta = before.delta(&after);
        assert_eq!(delta.set, vec![set("b", "2")]);
        assert_eq!(delta.removed, vec![ResourceKey::EndpointSet(EndpointSetKey::new("c"))]);

        let names = |differing: Vec<&EndpointSetKey>| {
            differing.into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(differing(&before.endpoint_sets, &after.endpoint_sets)), ["a", "b", "c"]);
        let kept = Arc::clone(&before.endpoint_sets[&EndpointSetKey::new("a")]);
        before.apply(delta);
        assert_eq!(before, after);
        assert_eq!(names(differing(&before.endpoint_sets, &after.endpoint_sets)), ["a"]);
        assert_eq!(names(differing(&before.endpoint_sets, &before.endpoint_sets)), [""; 0]);
        assert!(Arc::ptr_eq(&kept, &before.endpoint_sets[&EndpointSetKey::new("a")]));
    }
}
