//! Which gateways need a resource: listeners of the gateway, routes attached to them, their clusters, and what those
//! point to. Kept up to date edge by edge, so that a change costs what changed, however many gateways and routes there
//! are. Pure.
//!
//! A resource counts whether or not it exists: one that is pointed to before it comes is needed the moment it comes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ringway_config::{
    BackendTarget, Cluster, ClusterKey, Filter, GatewayKey, HttpRule, Listener, ListenerProtocol, Resource,
    ResourceKey, Route, Weighted,
};

/// What points to resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum From {
    /// A gateway needs its listeners.
    Gateway(GatewayKey),
    /// A resource needs others.
    Resource(ResourceKey),
}

/// One need.
pub(super) type Edge = (From, ResourceKey);

/// The needs that a resource states. A listener and a route also say who needs *them*; so each edge is stated by one
/// resource only.
pub(super) fn edges(resource: &Resource) -> BTreeSet<Edge> {
    match resource {
        Resource::Certificate(_) | Resource::EndpointSet(_) => BTreeSet::new(),
        Resource::Cluster(cluster) => of_cluster(cluster),
        Resource::Listener(listener) => of_listener(listener),
        Resource::Route(route) => of_route(route),
    }
}

fn of_listener(listener: &Listener) -> BTreeSet<Edge> {
    let own = ResourceKey::Listener(listener.key.clone());
    let certificates = match &listener.protocol {
        ListenerProtocol::Https(tls) | ListenerProtocol::TlsTerminate(tls) => tls.certificates.as_slice(),
        ListenerProtocol::Http
        | ListenerProtocol::TlsPassthrough
        | ListenerProtocol::Tcp
        | ListenerProtocol::Udp => &[],
    };
    certificates
        .iter()
        .map(|certificate| (From::Resource(own.clone()), ResourceKey::Certificate(certificate.clone())))
        .chain([(From::Gateway(listener.gateway.clone()), own.clone())])
        .collect()
}

fn of_route(route: &Route) -> BTreeSet<Edge> {
    let own = ResourceKey::Route(route.key().clone());
    let mut edges = BTreeSet::new();
    let mut attached = |listener| {
        edges.insert((From::Resource(ResourceKey::Listener(listener)), own.clone()));
    };
    match route {
        Route::Http(route) => route.attachments.iter().for_each(|it| attached(it.listener.clone())),
        Route::Tls(route) => route.attachments.iter().for_each(|it| attached(it.listener.clone())),
        Route::Tcp(route) | Route::Udp(route) => route.listeners.iter().cloned().for_each(attached),
    }
    let needed = |cluster: &ClusterKey| (From::Resource(own.clone()), ResourceKey::Cluster(cluster.clone()));
    edges.extend(clusters(route).into_iter().map(needed));
    edges
}

fn clusters(route: &Route) -> Vec<&ClusterKey> {
    match route {
        Route::Tls(route) => choices(&route.backends).filter_map(cluster).collect(),
        Route::Tcp(route) | Route::Udp(route) => choices(&route.backends).filter_map(cluster).collect(),
        Route::Http(route) => route.rules.iter().flat_map(|rule| of_rule(rule)).collect(),
    }
}

fn of_rule(rule: &HttpRule) -> impl Iterator<Item = &ClusterKey> {
    let backends = || choices(&rule.backends);
    let targets = backends().filter_map(|backend| cluster(&backend.target));
    let filters = backends().flat_map(|backend| &backend.filters).chain(&rule.filters);
    let mirrors = filters.filter_map(|filter| match filter {
        Filter::Mirror(mirror) => Some(&mirror.cluster),
        Filter::RequestHeaders(_)
        | Filter::ResponseHeaders(_)
        | Filter::Redirect(_)
        | Filter::Rewrite(_)
        | Filter::Cors(_)
        | Filter::Unresolved => None,
    });
    targets.chain(mirrors)
}

fn cluster(target: &BackendTarget) -> Option<&ClusterKey> {
    match target {
        BackendTarget::Cluster(cluster) => Some(cluster),
        BackendTarget::Invalid => None,
    }
}

fn choices<T>(weighted: &Option<Weighted<T>>) -> impl Iterator<Item = &T> {
    weighted.iter().flat_map(|all| all.iter()).map(|(choice, _)| choice)
}

fn of_cluster(cluster: &Cluster) -> BTreeSet<Edge> {
    let own = From::Resource(ResourceKey::Cluster(cluster.key.clone()));
    let client = cluster.tls.as_ref().and_then(|tls| tls.client_certificate.clone());
    client
        .map(|certificate| (own.clone(), ResourceKey::Certificate(certificate)))
        .into_iter()
        .chain([(own.clone(), ResourceKey::EndpointSet(cluster.endpoints.clone()))])
        .collect()
}

/// A gateway and a resource that it needs now and did not before, or the other way round.
pub(super) type Touched = BTreeSet<(GatewayKey, ResourceKey)>;

/// Who needs what, and by how many ways.
#[derive(Debug, Default)]
pub(super) struct Needs {
    stated: HashMap<ResourceKey, BTreeSet<Edge>>,
    targets: HashMap<From, BTreeSet<ResourceKey>>,
    needed: HashMap<ResourceKey, BTreeMap<GatewayKey, u32>>,
}

impl Needs {
    /// A resource states these needs now, and no others. What came or went by that is added to `touched`.
    pub(super) fn state(&mut self, key: &ResourceKey, edges: BTreeSet<Edge>, touched: &mut Touched) {
        let before = match edges.is_empty() {
            true => self.stated.remove(key),
            false => self.stated.insert(key.clone(), edges.clone()),
        };
        let before = before.unwrap_or_default();
        // New ways first: what is still needed by another way is then never thought gone.
        for (from, to) in edges.difference(&before) {
            self.targets.entry(from.clone()).or_default().insert(to.clone());
            for gateway in self.needing(from) {
                self.enter(&gateway, to, touched);
            }
        }
        for (from, to) in before.difference(&edges) {
            for gateway in self.needing(from) {
                self.leave(&gateway, to, touched);
            }
            if let Some(targets) = self.targets.get_mut(from) {
                targets.remove(to);
                if targets.is_empty() {
                    self.targets.remove(from);
                }
            }
        }
    }

    /// The gateways that need it.
    pub(super) fn gateways(&self, key: &ResourceKey) -> impl Iterator<Item = &GatewayKey> {
        self.needed.get(key).into_iter().flat_map(BTreeMap::keys)
    }

    /// Whether this one does.
    pub(super) fn needs(&self, gateway: &GatewayKey, key: &ResourceKey) -> bool {
        self.needed.get(key).is_some_and(|by| by.contains_key(gateway))
    }

    fn needing(&self, from: &From) -> Vec<GatewayKey> {
        match from {
            From::Gateway(gateway) => vec![gateway.clone()],
            From::Resource(key) => self.gateways(key).cloned().collect(),
        }
    }

    // The kinds of resources point one way (listener, route, cluster, endpoint set), so this ends.
    fn enter(&mut self, gateway: &GatewayKey, key: &ResourceKey, touched: &mut Touched) {
        let ways = self.needed.entry(key.clone()).or_default().entry(gateway.clone()).or_default();
        *ways += 1;
        if *ways == 1 {
            touched.insert((gateway.clone(), key.clone()));
            for target in self.targets_of(key) {
                self.enter(gateway, &target, touched);
            }
        }
    }

    fn leave(&mut self, gateway: &GatewayKey, key: &ResourceKey, touched: &mut Touched) {
        let Some(by) = self.needed.get_mut(key) else { return };
        let Some(ways) = by.get_mut(gateway) else { return };
        *ways -= 1;
        if *ways > 0 {
            return;
        }
        by.remove(gateway);
        if by.is_empty() {
            self.needed.remove(key);
        }
        touched.insert((gateway.clone(), key.clone()));
        for target in self.targets_of(key) {
            self.leave(gateway, &target, touched);
        }
    }

    fn targets_of(&self, key: &ResourceKey) -> Vec<ResourceKey> {
        let targets = self.targets.get(&From::Resource(key.clone()));
        targets.into_iter().flatten().cloned().collect()
    }
}
