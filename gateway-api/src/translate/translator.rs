//! Translation step by step: the same as from nothing (`translate`), at the price of what changed.
//!
//! Three circles. The front (gateways, listeners) is made anew when anything but a route or Service changes, and
//! concerns routes only if their surface differs. Routes are translated anew when they change, when a backend that
//! they name changes, or when they win or lose a rival. Clusters, endpoint sets and statuses follow what refers to
//! them. Whatever is not sure to be unconcerned is made anew: only the effort may depend on history, never the result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringway_config::{Config, ListenerKey, Resource, ResourceKey, Route, RouteKey, pack};

use super::attach::{Attached, RouteObject, attach};
use super::backend::{BackendName, ClusterId, PortId, Resolver};
use super::few::Few;
use super::front::Front;
use super::notice::Notice;
use super::policy::Policies;
use super::pool::Pool;
use super::rivals::{Losers, Lost, Rivals, changed};
use super::route::{self, Outcome};
use super::status::{self, Counts};
use super::{
    Options, Reach, Slices, Status, Statuses, Translation, claims, cluster, gateways_of, of_backends, reached,
};
use crate::objects::{Kind, Object, ObjectKey};
use crate::world::{Changes, Name, World};

/// What changes for proxies, objects and users.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// For proxies.
    pub resources: ringway_config::Delta,
    /// Statuses by object; `None`: this controller has nothing more to say there.
    pub statuses: BTreeMap<ObjectKey, Option<Arc<Status>>>,
    /// Remarks that were not there before.
    pub notices: BTreeSet<Notice>,
}

/// A world under translation.
pub struct Translator {
    options: Options,
    world: World,
    slices: Slices,
    front: Front,
    policies: Policies,
    routes: BTreeMap<ObjectKey, Box<State>>,
    rivals: BTreeMap<ListenerKey, (Rivals, Losers)>,
    /// The routes that name a backend.
    dependents: BTreeSet<(BackendName, ObjectKey)>,
    counts: Counts,
    clusters: BTreeMap<ClusterId, usize>,
    ports: BTreeMap<PortId, usize>,
    reach: Reach,
    notices: BTreeMap<ClusterId, Vec<Notice>>,
    config: Config,
    statuses: Statuses,
    /// Routes say little of their own in their status: one for all that say the same.
    told: Pool<Status>,
    /// Nor do they differ much in where they are attached.
    listeners: Pool<Few<ListenerKey>>,
    gateways: Pool<Few<Name>>,
}

/// A route under translation.
#[derive(Default)]
struct State {
    attached: Vec<Attached>,
    lost: Lost,
    outcome: Outcome,
}

/// What a batch of changes may concern.
#[derive(Default)]
struct Touched {
    front: bool,
    policies: bool,
    all_routes: bool,
    x_backends: bool,
    routes: BTreeSet<ObjectKey>,
    backends: BTreeSet<BackendName>,
    /// Services whose endpoints changed.
    slices: BTreeSet<Name>,
}

/// What must be made anew, beside routes.
#[derive(Default)]
struct Dirty {
    front: bool,
    backends: bool,
    listeners: BTreeSet<ListenerKey>,
    clusters: BTreeSet<ClusterId>,
    ports: BTreeSet<PortId>,
    routes: BTreeMap<RouteKey, Option<Arc<Route>>>,
    statuses: BTreeMap<ObjectKey, Option<Arc<Status>>>,
}

impl Translator {
    /// A translator of an empty world.
    pub fn new(options: Options) -> Self {
        let world = World::default();
        Self {
            front: Front::of(&world, &options),
            options,
            world,
            slices: Slices::default(),
            policies: Policies::default(),
            routes: BTreeMap::new(),
            rivals: BTreeMap::new(),
            dependents: BTreeSet::new(),
            counts: Counts::new(),
            clusters: BTreeMap::new(),
            ports: BTreeMap::new(),
            reach: Reach::new(),
            notices: BTreeMap::new(),
            config: Config::default(),
            statuses: Statuses::new(),
            told: Pool::default(),
            listeners: Pool::default(),
            gateways: Pool::default(),
        }
    }

    /// Brings changes in, and returns what they come to.
    pub fn apply(&mut self, changes: Changes) -> Delta {
        let large = 4 * changes.upserts.len() > self.statuses.len();
        let touched = self.bring_in(changes);
        let mut dirty = Dirty::default();
        let routes = self.concerned(&touched, &mut dirty);
        let routes = self.attach(routes);
        self.translate(routes, &mut dirty);
        let delta = self.publish(&touched, dirty);
        self.told.forget_unused();
        self.listeners.forget_unused();
        self.gateways.forget_unused();
        if large {
            self.pack();
        }
        delta
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The statuses in force.
    pub fn statuses(&self) -> &Statuses {
        &self.statuses
    }

    /// The world as it is.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Everything in force, as [`super::translate`] would make it.
    pub fn translation(&self) -> Translation {
        Translation {
            config: self.config.clone(),
            statuses: self.statuses.clone(),
            notices: self.notices.values().flatten().cloned().collect(),
        }
    }

    /// Gives back the room that was made for more, after a large change.
    fn pack(&mut self) {
        self.world.pack();
        self.slices.pack();
        pack(&mut self.routes);
        self.rivals.values_mut().for_each(|(rivals, _)| rivals.pack());
        self.dependents = std::mem::take(&mut self.dependents).into_iter().collect();
        pack(&mut self.clusters);
        pack(&mut self.ports);
        pack(&mut self.reach);
        pack(&mut self.config.routes);
        pack(&mut self.config.clusters);
        pack(&mut self.config.endpoint_sets);
        pack(&mut self.statuses);
    }

    fn resolver(&self) -> Resolver<'_> {
        Resolver { world: &self.world, policies: &self.policies, options: &self.options }
    }

    fn bring_in(&mut self, changes: Changes) -> Touched {
        let mut touched = Touched::default();
        // A name that is also among the upserts is there: so deletes first.
        for key in changes.deletes {
            if key.kind == Kind::EndpointSlice {
                touched.slices.extend(self.slices.remove(&key));
            } else if self.world.remove(&key) {
                touched.by(key);
            }
        }
        for object in changes.upserts {
            if let Object::EndpointSlice(slice) = &object {
                touched.slices.extend(self.slices.set(&object.key(), slice));
            } else if let Some(key) = self.world.enter(&object) {
                touched.by(key);
            }
        }
        touched
    }

    /// Makes front and policies anew if need be; returns the routes that are concerned.
    fn concerned(&mut self, touched: &Touched, dirty: &mut Dirty) -> BTreeSet<ObjectKey> {
        let mut all = touched.all_routes;
        if touched.front {
            let front = Front::of(&self.world, &self.options);
            all |= front.surface != self.front.surface;
            self.front = front;
            dirty.front = true;
        }
        if touched.policies {
            let policies = Policies::of(&self.world);
            all |= policies != self.policies;
            self.policies = policies;
            dirty.backends = true;
        }
        let mut routes = touched.routes.clone();
        let x_backends = self.world.x_backends.iter().filter(|_| touched.x_backends);
        let x_backends = x_backends.map(|(name, _)| BackendName { kind: Kind::XBackend, name });
        for backend in touched.backends.iter().cloned().chain(x_backends) {
            routes.extend(of_backend(&self.dependents, &backend));
            let first = ClusterId::first_of(&backend);
            let same = |(id, _): &(&ClusterId, &usize)| id.port.backend == backend;
            dirty.clusters.extend(self.clusters.range(first..).take_while(same).map(|(id, _)| id.clone()));
            dirty.ports.extend(ports_of(&self.ports, &backend));
        }
        for service in &touched.slices {
            let backend = BackendName { kind: Kind::Service, name: service.clone() };
            dirty.ports.extend(ports_of(&self.ports, &backend));
        }
        dirty.backends |= !touched.backends.is_empty() || touched.x_backends;
        if all {
            dirty.clusters.extend(self.clusters.keys().cloned());
            routes.extend(RouteObject::keys(&self.world).chain(self.routes.keys().cloned()));
        }
        routes
    }

    /// Attaches routes anew; returns them with those whose rivals won or lost by it.
    fn attach(&mut self, mut routes: BTreeSet<ObjectKey>) -> BTreeSet<ObjectKey> {
        let mut contested: BTreeSet<ListenerKey> = BTreeSet::new();
        for key in &routes {
            if let Some(state) = self.routes.get(key) {
                for listener in listeners(&state.attached) {
                    if let Some((rivals, _)) = self.rivals.get_mut(listener) {
                        rivals.remove(key);
                        contested.insert(listener.clone());
                    }
                }
            }
            let Some(route) = RouteObject::of(&self.world, key) else { continue };
            let attached = attach(key, &route, &self.front.surface, &self.world);
            for (listener, seniority, hostnames) in claims(key, &route, &attached) {
                let (rivals, _) = self.rivals.entry(listener.clone()).or_default();
                rivals.add(key.clone(), seniority, hostnames);
                contested.insert(listener);
            }
            let state = self.routes.entry(key.clone()).or_default();
            state.attached = attached;
        }
        for listener in contested {
            let Some((rivals, before)) = self.rivals.get_mut(&listener) else { continue };
            let losers = rivals.losers();
            for key in changed(before, &losers) {
                if let Some(state) = self.routes.get_mut(&key) {
                    match losers.get(&key) {
                        Some(winner) => drop(state.lost.insert(listener.clone(), winner.clone())),
                        None => drop(state.lost.remove(&listener)),
                    }
                }
                routes.insert(key);
            }
            *before = losers;
            if rivals.is_empty() {
                self.rivals.remove(&listener);
            }
        }
        routes
    }

    fn translate(&mut self, routes: BTreeSet<ObjectKey>, dirty: &mut Dirty) {
        for key in routes {
            let outcome = match (RouteObject::of(&self.world, &key), self.routes.get(&key)) {
                (Some(route), Some(state)) => {
                    let resolver = self.resolver();
                    let mut outcome = route::translate(&key, &route, &state.attached, &state.lost, resolver);
                    route::keep_equal(&state.outcome.routes, &mut outcome.routes);
                    Some(outcome)
                }
                _ => None,
            };
            let before = match &outcome {
                Some(_) => self.routes.get_mut(&key).map(|state| std::mem::take(&mut state.outcome)),
                None => self.routes.remove(&key).map(|state| state.outcome),
            };
            let mut after = outcome.unwrap_or_default();
            after.status = after.status.map(|status| self.told.share(status));
            after.attached = self.listeners.share(after.attached);
            after.gateways = self.gateways.share(after.gateways);
            self.account(&key, &before.unwrap_or_default(), &after, dirty);
            if let Some(state) = self.routes.get_mut(&key) {
                state.outcome = after;
            }
        }
    }

    /// Moves everything that is counted by routes from what a route was to what it is.
    fn account(&mut self, key: &ObjectKey, before: &Outcome, after: &Outcome, dirty: &mut Dirty) {
        for route in &before.routes {
            dirty.routes.insert(route.key().clone(), None);
        }
        for route in &after.routes {
            dirty.routes.insert(route.key().clone(), Some(Arc::clone(route)));
        }
        dirty.statuses.insert(key.clone(), after.status.clone());
        for listener in before.attached.difference(&after.attached) {
            leave(&mut self.counts, listener);
            dirty.listeners.insert(listener.clone());
        }
        for listener in after.attached.difference(&before.attached) {
            enter(&mut self.counts, listener);
            dirty.listeners.insert(listener.clone());
        }
        for id in before.clusters.difference(&after.clusters) {
            if leave(&mut self.clusters, id) {
                dirty.clusters.insert(id.clone());
            }
            if leave(&mut self.ports, &id.port) {
                dirty.ports.insert(id.port.clone());
            }
        }
        for id in after.clusters.difference(&before.clusters) {
            if enter(&mut self.clusters, id) {
                dirty.clusters.insert(id.clone());
            }
            if enter(&mut self.ports, &id.port) {
                dirty.ports.insert(id.port.clone());
            }
        }
        for backend in before.backends.difference(&after.backends) {
            self.dependents.remove(&(backend.clone(), key.clone()));
        }
        for backend in after.backends.difference(&before.backends) {
            self.dependents.insert((backend.clone(), key.clone()));
        }
        if before.gateways != after.gateways || !before.reached().eq(after.reached()) {
            for pair in reached(after) {
                dirty.backends |= enter(&mut self.reach, &pair);
            }
            for pair in reached(before) {
                dirty.backends |= leave(&mut self.reach, &pair);
            }
        }
    }

    /// Makes anew what is dirty, and finds out what differs.
    fn publish(&mut self, touched: &Touched, dirty: Dirty) -> Delta {
        let mut delta = Delta::default();
        let mut gone = Gone::default();
        // The order in which a proxy can take it: nothing refers to what comes later.
        let clusters = self.made_clusters(&dirty, &mut delta.notices);
        let shows = |id: &ClusterId| id.certificate.is_some();
        let certificates_touched = dirty.front || touched.x_backends || dirty.clusters.iter().any(shows);
        let set = &mut delta.resources.set;
        if certificates_touched {
            let after = self.certificates();
            let config = &mut self.config.certificates;
            replace(config, after, set, &mut gone.certificates, Resource::Certificate);
        }
        let resolver = Resolver { world: &self.world, policies: &self.policies, options: &self.options };
        for id in &dirty.ports {
            let made = self.ports.contains_key(id);
            let made = made.then(|| Arc::new(cluster::endpoint_set(resolver, id, &self.slices)));
            let sets = &mut self.config.endpoint_sets;
            put(sets, id.key(), made, set, &mut gone.endpoint_sets, Resource::EndpointSet);
        }
        for (id, made) in clusters {
            put(&mut self.config.clusters, id.key(), made, set, &mut gone.clusters, Resource::Cluster);
        }
        if dirty.front {
            let after = self.front.listeners.clone();
            replace(&mut self.config.listeners, after, set, &mut gone.listeners, Resource::Listener);
        }
        for (key, made) in dirty.routes.clone() {
            put(&mut self.config.routes, key, made, set, &mut gone.routes, Resource::Route);
        }
        delta.resources.removed = gone.in_order();
        delta.statuses = self.publish_statuses(dirty);
        delta
    }

    /// The dirty clusters as they are now, and what is odd about them.
    fn made_clusters(
        &mut self,
        dirty: &Dirty,
        notices: &mut BTreeSet<Notice>,
    ) -> Vec<(ClusterId, Option<Arc<ringway_config::Cluster>>)> {
        let mut made = vec![];
        for id in &dirty.clusters {
            let mut found = vec![];
            let cluster =
                self.clusters.contains_key(id).then(|| cluster::cluster(self.resolver(), id, &mut found));
            made.push((id.clone(), cluster.flatten().map(Arc::new)));
            let before = self.notices.remove(id).unwrap_or_default();
            notices.extend(found.iter().filter(|notice| !before.contains(notice)).cloned());
            if !found.is_empty() {
                self.notices.insert(id.clone(), found);
            }
        }
        made
    }

    /// All certificates: those of listeners and gateways, and those that XBackends show.
    fn certificates(&self) -> BTreeMap<ringway_config::CertificateKey, Arc<ringway_config::Certificate>> {
        let resolver = self.resolver();
        let own = self.clusters.keys().filter(|id| id.certificate.is_some());
        let own = own.filter_map(|id| cluster::certificate(resolver, id));
        let mut certificates = self.front.certificates.clone();
        certificates.extend(own.map(|certificate| (certificate.key.clone(), certificate)));
        certificates
    }

    fn publish_statuses(&mut self, dirty: Dirty) -> BTreeMap<ObjectKey, Option<Arc<Status>>> {
        let mut made = dirty.statuses;
        if dirty.front {
            const KINDS: &[Kind] = &[Kind::GatewayClass, Kind::Gateway, Kind::ListenerSet];
            let after = status::of_front(&self.front, &self.counts);
            made.extend(of_kinds(&self.statuses, KINDS).map(|key| (key, None)));
            made.extend(after.into_iter().map(|(key, status)| (key, Some(status))));
        } else {
            for listener in &dirty.listeners {
                let Some((key, name)) = owner(listener) else { continue };
                let status = match key.kind {
                    Kind::Gateway => status::gateway(&self.front, &name, &self.counts),
                    _ => status::listener_set(&self.front, &name, &self.counts),
                };
                made.insert(key, status);
            }
        }
        if dirty.backends {
            const KINDS: &[Kind] = &[Kind::BackendTLSPolicy, Kind::XBackend];
            let after = of_backends(self.resolver(), |backend| gateways_of(&self.reach, backend));
            made.extend(of_kinds(&self.statuses, KINDS).map(|key| (key, None)));
            made.extend(after.into_iter().map(|(key, status)| (key, Some(status))));
        }
        made.retain(|key, status| self.statuses.get(key) != status.as_ref());
        for (key, status) in &made {
            match status {
                Some(status) => drop(self.statuses.insert(key.clone(), Arc::clone(status))),
                None => drop(self.statuses.remove(key)),
            }
        }
        made
    }
}

impl Touched {
    fn by(&mut self, key: ObjectKey) {
        match key.kind {
            Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute | Kind::UDPRoute => {
                self.routes.insert(key);
            }
            Kind::Service | Kind::XBackend => {
                self.backends.insert(BackendName { kind: key.kind, name: Name::from(&key) });
            }
            Kind::GatewayClass | Kind::Gateway | Kind::ListenerSet | Kind::GatewayParameters => {
                self.front = true
            }
            Kind::Namespace => (self.front, self.all_routes) = (true, true),
            Kind::ReferenceGrant => (self.front, self.all_routes, self.x_backends) = (true, true, true),
            Kind::BackendTLSPolicy => self.policies = true,
            Kind::Secret => (self.front, self.x_backends) = (true, true),
            Kind::ConfigMap => (self.front, self.policies, self.x_backends) = (true, true, true),
            Kind::EndpointSlice => {}
        }
    }
}

/// What is taken out, kind by kind.
#[derive(Default)]
struct Gone {
    routes: Vec<RouteKey>,
    listeners: Vec<ListenerKey>,
    clusters: Vec<ringway_config::ClusterKey>,
    endpoint_sets: Vec<ringway_config::EndpointSetKey>,
    certificates: Vec<ringway_config::CertificateKey>,
}

impl Gone {
    /// What refers goes before what is referred to.
    fn in_order(self) -> Vec<ResourceKey> {
        let routes = self.routes.into_iter().map(ResourceKey::Route);
        let listeners = self.listeners.into_iter().map(ResourceKey::Listener);
        let clusters = self.clusters.into_iter().map(ResourceKey::Cluster);
        let endpoint_sets = self.endpoint_sets.into_iter().map(ResourceKey::EndpointSet);
        let certificates = self.certificates.into_iter().map(ResourceKey::Certificate);
        routes.chain(listeners).chain(clusters).chain(endpoint_sets).chain(certificates).collect()
    }
}

/// Puts one value in or takes it out, and tells if that made a difference.
fn put<K: Ord + Clone, V: PartialEq>(
    map: &mut BTreeMap<K, Arc<V>>,
    key: K,
    value: Option<Arc<V>>,
    set: &mut Vec<Resource>,
    gone: &mut Vec<K>,
    resource: impl Fn(Arc<V>) -> Resource,
) {
    match value {
        Some(value) => {
            let same = |before: &Arc<V>| Arc::ptr_eq(before, &value) || **before == *value;
            if !map.get(&key).is_some_and(same) {
                set.push(resource(Arc::clone(&value)));
                map.insert(key, value);
            }
        }
        None => gone.extend(map.remove(&key).map(|_| key)),
    }
}

/// Makes a map into another one; equal values keep their pointer.
fn replace<K: Ord + Clone, V: PartialEq>(
    map: &mut BTreeMap<K, Arc<V>>,
    after: BTreeMap<K, Arc<V>>,
    set: &mut Vec<Resource>,
    gone: &mut Vec<K>,
    resource: impl Fn(Arc<V>) -> Resource + Copy,
) {
    let missing: Vec<K> = map.keys().filter(|key| !after.contains_key(*key)).cloned().collect();
    for key in missing {
        put(map, key, None, set, gone, resource);
    }
    for (key, value) in after {
        put(map, key, Some(value), set, gone, resource);
    }
}

/// Counts one more; whether it is the first.
fn enter<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: &K) -> bool {
    match counts.get_mut(key) {
        Some(count) => {
            *count += 1;
            false
        }
        None => counts.insert(key.clone(), 1).is_none(),
    }
}

/// Counts one less; whether it was the last.
fn leave<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(key);
    }
    last
}

fn listeners(attached: &[Attached]) -> impl Iterator<Item = &ListenerKey> {
    attached
        .iter()
        .flat_map(|attached| attached.places.as_deref().unwrap_or_default())
        .map(|place| &place.listener)
}

fn of_backend<'a>(
    dependents: &'a BTreeSet<(BackendName, ObjectKey)>,
    backend: &'a BackendName,
) -> impl Iterator<Item = ObjectKey> + 'a {
    let first = (backend.clone(), ObjectKey::new(Kind::ALL[0], "", ""));
    dependents.range(first..).take_while(move |(other, _)| other == backend).map(|(_, route)| route.clone())
}

fn ports_of<'a>(
    ports: &'a BTreeMap<PortId, usize>,
    backend: &'a BackendName,
) -> impl Iterator<Item = PortId> + 'a {
    let same = move |(id, _): &(&PortId, &usize)| id.backend == *backend;
    ports.range(PortId::first_of(backend)..).take_while(same).map(|(id, _)| id.clone())
}

fn of_kinds<'a>(statuses: &'a Statuses, kinds: &'a [Kind]) -> impl Iterator<Item = ObjectKey> + 'a {
    kinds.iter().flat_map(|kind| {
        let first = ObjectKey { kind: *kind, namespace: "".into(), name: "".into() };
        statuses.range(first..).take_while(|(key, _)| key.kind == *kind).map(|(key, _)| key.clone())
    })
}

/// The object that a listener belongs to: its key is made of kind, namespace, name and its own name.
fn owner(listener: &ListenerKey) -> Option<(ObjectKey, Name)> {
    let mut parts = listener.as_str().splitn(4, '/');
    let kind = match parts.next()? {
        "Gateway" => Kind::Gateway,
        "ListenerSet" => Kind::ListenerSet,
        _ => return None,
    };
    let name = Name::new(parts.next()?, parts.next()?);
    Some((status::key(kind, &name), name))
}
