//! Configuration as the router wants it: tables by bind, listener, host and path. Made once, off the data threads.
//!
//! [`Compiled::from_nothing`] is the definition; [`Compiled::next`] gives the same tables and shares with the ones before
//! whatever did not change: a changed route rebuilds the rule tables of its own hosts, nothing else. No request is seen
//! here; `route` decides with these tables. It never fails: what is dangling is decided (404, 500), not refused.

mod hosts;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringway_config::{
    BackendTarget, Bind, Cluster, ClusterKey, Config, Filter, HostPattern, HttpRoute, HttpRule, L4Route,
    Listener, ListenerKey, ListenerProtocol, Route, RouteKey, TlsRoute, differing, pack,
};

pub(crate) use hosts::HostMap;
#[cfg(test)]
pub(crate) use rules::Rank;
pub(crate) use rules::{Entry, RuleTable, grpc_parts};

/// The tables of one configuration. Immutable and shared by all cores.
#[derive(Debug, Default)]
pub struct Compiled {
    binds: BTreeMap<Bind, BindTable>,
    listeners: BTreeMap<ListenerKey, Arc<ListenerTable>>,
    /// By slot. A route keeps its slot on a listener while it stays attached, so that tables can name it by number
    /// and each core can keep what it derived from it. A change of the route, of its listener or of a cluster it
    /// names is a new `Arc` in the slot.
    attached: Vec<Option<Arc<AttachedRoute>>>,
    free_slots: Vec<u32>,
    /// What it was made from.
    config: Arc<Config>,
}

/// What a bind is for, as the accept loop needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindKind {
    /// HTTP without TLS.
    Http,
    /// TLS first: HTTPS, terminated TLS and passthrough by SNI.
    Tls,
    /// Plain TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl BindKind {
    fn of(protocol: &ListenerProtocol) -> Self {
        match protocol {
            ListenerProtocol::Http => Self::Http,
            ListenerProtocol::Https(_)
            | ListenerProtocol::TlsTerminate(_)
            | ListenerProtocol::TlsPassthrough => Self::Tls,
            ListenerProtocol::Tcp => Self::Tcp,
            ListenerProtocol::Udp => Self::Udp,
        }
    }
}

/// A route on one listener.
#[derive(Clone, Debug)]
pub(crate) struct AttachedRoute {
    pub(crate) listener: Arc<Listener>,
    pub(crate) route: Arc<Route>,
}

/// One listener with what is attached to it.
#[derive(Clone, Debug)]
pub(crate) struct ListenerTable {
    pub(crate) listener: Arc<Listener>,
    /// Slots of everything attached.
    slots: BTreeMap<RouteKey, u32>,
    /// HTTP rules by route hostname.
    pub(crate) hosts: HostMap<Arc<RuleTable>>,
    /// The TLS route that serves a hostname.
    pub(crate) tls: HostMap<u32>,
    /// The TCP or UDP route that serves.
    pub(crate) l4: Option<u32>,
}

/// The listeners behind one socket address.
#[derive(Clone, Debug)]
pub(crate) struct BindTable {
    pub(crate) kind: BindKind,
    pub(crate) proxy_protocol: bool,
    /// By hostname: HTTP listeners, or those that speak TLS. A bind has one kind only (checklist L2, L3).
    pub(crate) by_host: HostMap<Arc<ListenerTable>>,
    /// The TCP or UDP listener.
    pub(crate) raw: Option<Arc<ListenerTable>>,
}

impl Compiled {
    /// Compiles a whole configuration: the definition of what [`next`](Self::next) must give.
    pub fn from_nothing(config: &Config) -> Self {
        Self::default().next(&Arc::new(config.clone()))
    }

    /// Compiles a configuration that follows this one, sharing what did not change. Unchanged resources are those
    /// whose `Arc` is the same.
    pub fn next(&self, config: &Arc<Config>) -> Self {
        let mut draft = Draft {
            attached: self.attached.clone(),
            free_slots: self.free_slots.clone(),
            listeners: self.listeners.clone(),
        };
        let changes = self.changes(config);
        let tables_change = !changes.is_empty();
        // Old routes leave everywhere before new ones arrive, so that slots are reused.
        for (key, change) in &changes {
            draft.detach(key, change);
        }
        for (key, change) in changes {
            draft.attach(&key, change);
        }
        let clusters = differing(&self.config.clusters, &config.clusters);
        draft.renew_for_clusters(&clusters.into_iter().collect());
        let binds = match tables_change {
            true => bind_tables(&draft.listeners),
            false => self.binds.clone(),
        };
        Self {
            binds,
            listeners: draft.listeners,
            attached: draft.attached,
            free_slots: draft.free_slots,
            config: Arc::clone(config),
        }
    }

    /// Every bind with what it is for, and whether its connections begin with a PROXY protocol header.
    pub fn binds(&self) -> impl Iterator<Item = (Bind, BindKind, bool)> {
        self.binds.iter().map(|(bind, table)| (*bind, table.kind, table.proxy_protocol))
    }

    /// Whether connections of a bind begin with a PROXY protocol header.
    pub fn expects_proxy_protocol(&self, bind: &Bind) -> bool {
        self.binds.get(bind).is_some_and(|table| table.proxy_protocol)
    }

    /// What a bind is for; `None` if it is not configured.
    pub fn bind_kind(&self, bind: &Bind) -> Option<BindKind> {
        self.binds.get(bind).map(|table| table.kind)
    }

    /// A cluster as it was configured.
    pub(crate) fn cluster(&self, key: &ClusterKey) -> Option<&Arc<Cluster>> {
        self.config.clusters.get(key)
    }

    pub(crate) fn bind(&self, bind: &Bind) -> Option<&BindTable> {
        self.binds.get(bind)
    }

    pub(crate) fn slot_count(&self) -> usize {
        self.attached.len()
    }

    pub(crate) fn slot(&self, slot: u32) -> Option<&Arc<AttachedRoute>> {
        self.attached.get(slot as usize)?.as_ref()
    }

    /// The route in a slot that a table of this configuration names.
    pub(crate) fn attached(&self, slot: u32) -> &AttachedRoute {
        self.slot(slot).expect("a table names only slots of routes that are attached")
    }

    /// What happens to each listener, from the difference of the two configurations.
    fn changes(&self, config: &Config) -> BTreeMap<ListenerKey, ListenerChange> {
        let mut changes = BTreeMap::<ListenerKey, ListenerChange>::new();
        for (key, table) in &self.listeners {
            match config.listeners.get(key) {
                Some(listener) if Arc::ptr_eq(listener, &table.listener) => {}
                Some(listener) => drop(changes.insert(key.clone(), ListenerChange::anew(listener))),
                None => drop(changes.insert(key.clone(), ListenerChange::gone())),
            }
        }
        for (key, listener) in &config.listeners {
            if !self.listeners.contains_key(key) {
                changes.insert(key.clone(), ListenerChange::anew(listener));
            }
        }
        let any_anew = changes.values().any(|change| matches!(change.whole, Some(Some(_))));
        let differing: BTreeSet<&RouteKey> =
            differing(&self.config.routes, &config.routes).into_iter().collect();
        let candidates: Vec<&Arc<Route>> = match any_anew {
            true => config.routes.values().collect(),
            false => differing.iter().filter_map(|key| config.routes.get(*key)).collect(),
        };
        for route in candidates {
            let changed = differing.contains(route.key());
            for listener in listeners_of(route) {
                match changes.get_mut(listener) {
                    Some(change) if changed || change.whole.is_some() => {
                        change.arriving.push(Arc::clone(route))
                    }
                    None if changed && config.listeners.contains_key(listener) => {
                        let arriving = vec![Arc::clone(route)];
                        changes.insert(listener.clone(), ListenerChange { arriving, ..Default::default() });
                    }
                    _ => {}
                }
            }
        }
        for old in differing.iter().filter_map(|key| self.config.routes.get(*key)) {
            for listener in listeners_of(old) {
                if self.listeners.contains_key(listener) {
                    changes.entry(listener.clone()).or_default().leaving.push(Arc::clone(old));
                }
            }
        }
        changes
    }
}

/// What a new configuration does to one listener.
#[derive(Debug, Default)]
struct ListenerChange {
    /// `Some(None)`: it is gone. `Some(Some(..))`: it is new or changed, and everything attaches anew.
    whole: Option<Option<Arc<Listener>>>,
    leaving: Vec<Arc<Route>>,
    arriving: Vec<Arc<Route>>,
}

impl ListenerChange {
    fn anew(listener: &Arc<Listener>) -> Self {
        Self { whole: Some(Some(Arc::clone(listener))), ..Self::default() }
    }

    fn gone() -> Self {
        Self { whole: Some(None), ..Self::default() }
    }
}

/// The parts of a `Compiled` that change together.
struct Draft {
    attached: Vec<Option<Arc<AttachedRoute>>>,
    free_slots: Vec<u32>,
    listeners: BTreeMap<ListenerKey, Arc<ListenerTable>>,
}

impl Draft {
    fn detach(&mut self, key: &ListenerKey, change: &ListenerChange) {
        let Some(table) = self.listeners.get(key) else { return };
        let slots: Vec<u32> = match change.whole {
            Some(_) => table.slots.values().copied().collect(),
            None => change.leaving.iter().filter_map(|route| table.slots.get(route.key()).copied()).collect(),
        };
        for slot in &slots {
            self.attached[*slot as usize] = None;
        }
        self.free_slots.extend(slots);
        if change.whole.is_some() {
            self.listeners.remove(key);
        }
    }

    fn attach(&mut self, key: &ListenerKey, change: ListenerChange) {
        let mut table = match change.whole {
            Some(None) => return,
            Some(Some(listener)) => ListenerTable::new(listener),
            None => match self.listeners.get(key) {
                Some(table) => ListenerTable::clone(table),
                None => return,
            },
        };
        // Old rule tables name the slots of leaving routes, so these are known by key and left out below.
        let mut touched = BTreeSet::new();
        let mut leaving = BTreeSet::new();
        for route in &change.leaving {
            touched.extend(hostnames_of(route, key).cloned());
            leaving.extend(table.slots.remove(route.key()));
        }
        let mut arriving = BTreeMap::<HostPattern, Vec<u32>>::new();
        for route in &change.arriving {
            let attached = AttachedRoute { listener: Arc::clone(&table.listener), route: Arc::clone(route) };
            let slot = self.place(attached);
            table.slots.insert(route.key().clone(), slot);
            for hostname in hostnames_of(route, key) {
                arriving.entry(hostname.clone()).or_default().push(slot);
            }
        }
        if 4 * change.arriving.len() > table.slots.len() {
            pack(&mut table.slots);
        }
        touched.extend(arriving.keys().cloned());
        for hostname in touched {
            let mut new = arriving.remove(&hostname).unwrap_or_default();
            new.dedup();
            let none = RuleTable::default();
            let before = table.hosts.at(&hostname).map_or(&none, Arc::as_ref);
            let rules = before.next(&leaving, &new, &self.attached);
            match rules.is_empty() {
                true => table.hosts.remove(&hostname),
                false => table.hosts.insert(hostname, Arc::new(rules)),
            }
        }
        match table.listener.protocol {
            ListenerProtocol::Http | ListenerProtocol::Https(_) => {}
            ListenerProtocol::TlsTerminate(_) | ListenerProtocol::TlsPassthrough => {
                table.tls = self.tls_routes(&table, key);
            }
            ListenerProtocol::Tcp | ListenerProtocol::Udp => table.l4 = self.l4_route(&table),
        }
        self.listeners.insert(key.clone(), Arc::new(table));
    }

    fn place(&mut self, attached: AttachedRoute) -> u32 {
        let attached = Some(Arc::new(attached));
        match self.free_slots.pop() {
            Some(slot) => {
                self.attached[slot as usize] = attached;
                slot
            }
            None => {
                self.attached.push(attached);
                u32::try_from(self.attached.len() - 1).expect("routes are counted in memory, far below 2^32")
            }
        }
    }

    /// Of several TLS routes for one hostname the oldest serves, then the first by name (checklist L4-1).
    fn tls_routes(&self, table: &ListenerTable, key: &ListenerKey) -> HostMap<u32> {
        let mut routes: Vec<(&TlsRoute, u32)> =
            self.of_table(table).filter_map(|(route, slot)| Some((route.as_tls()?, slot))).collect();
        routes.sort_by_key(|(route, _)| (route.created, &route.key));
        let mut by_host = HostMap::default();
        for (route, slot) in routes {
            let attachments = route.attachments.iter().filter(|attachment| attachment.listener == *key);
            for hostname in attachments.flat_map(|attachment| &attachment.hostnames) {
                if by_host.at(hostname).is_none() {
                    by_host.insert(hostname.clone(), slot);
                }
            }
        }
        by_host
    }

    /// Of several TCP or UDP routes the oldest serves, then the first by name (checklist R10).
    fn l4_route(&self, table: &ListenerTable) -> Option<u32> {
        self.of_table(table)
            .filter_map(|(route, slot)| Some((route.as_l4()?, slot)))
            .min_by_key(|(route, _)| (route.created, &route.key))
            .map(|(_, slot)| slot)
    }

    fn of_table<'d>(&'d self, table: &'d ListenerTable) -> impl Iterator<Item = (&'d Route, u32)> {
        let routes = table.slots.values().map(|slot| (self.attached[*slot as usize].as_deref(), *slot));
        routes.filter_map(|(attached, slot)| Some((&*attached?.route, slot)))
    }

    /// A plan holds its clusters as they were when it was made: where one came, went or changed, plans are made anew.
    fn renew_for_clusters(&mut self, changed: &BTreeSet<&ClusterKey>) {
        if changed.is_empty() {
            return;
        }
        for slot in &mut self.attached {
            if let Some(attached) = slot
                && names_any(&attached.route, changed)
            {
                *slot = Some(Arc::new(AttachedRoute::clone(attached)));
            }
        }
    }
}

impl ListenerTable {
    fn new(listener: Arc<Listener>) -> Self {
        Self {
            listener,
            slots: BTreeMap::new(),
            hosts: HostMap::default(),
            tls: HostMap::default(),
            l4: None,
        }
    }
}

impl AttachedRoute {
    /// The route as an HTTP route; tables of HTTP rules name no others.
    pub(crate) fn http(&self) -> Option<&HttpRoute> {
        match &*self.route {
            Route::Http(route) => Some(route),
            Route::Tls(_) | Route::Tcp(_) | Route::Udp(_) => None,
        }
    }

    /// The rules, none for what is no HTTP route.
    pub(crate) fn rules(&self) -> &[Arc<HttpRule>] {
        self.http().map_or(&[], |route| &route.rules)
    }
}

/// Views of a route as one of its kinds.
trait AsKind {
    fn as_tls(&self) -> Option<&TlsRoute>;
    fn as_l4(&self) -> Option<&L4Route>;
}

impl AsKind for Route {
    fn as_tls(&self) -> Option<&TlsRoute> {
        match self {
            Self::Tls(route) => Some(route),
            Self::Http(_) | Self::Tcp(_) | Self::Udp(_) => None,
        }
    }

    fn as_l4(&self) -> Option<&L4Route> {
        match self {
            Self::Tcp(route) | Self::Udp(route) => Some(route),
            Self::Http(_) | Self::Tls(_) => None,
        }
    }
}

/// The listeners a route is attached to, each once.
fn listeners_of(route: &Route) -> BTreeSet<&ListenerKey> {
    match route {
        Route::Http(route) => route.attachments.iter().map(|attachment| &attachment.listener).collect(),
        Route::Tls(route) => route.attachments.iter().map(|attachment| &attachment.listener).collect(),
        Route::Tcp(route) | Route::Udp(route) => route.listeners.iter().collect(),
    }
}

/// The hostnames whose HTTP rule tables hold a route.
fn hostnames_of<'r>(route: &'r Route, listener: &'r ListenerKey) -> impl Iterator<Item = &'r HostPattern> {
    let attachments = match route {
        Route::Http(route) => &*route.attachments,
        Route::Tls(_) | Route::Tcp(_) | Route::Udp(_) => &[],
    };
    attachments
        .iter()
        .filter(move |attachment| attachment.listener == *listener)
        .flat_map(|attachment| &attachment.hostnames)
}

fn names_any(route: &Route, clusters: &BTreeSet<&ClusterKey>) -> bool {
    let target = |target: &BackendTarget| match target {
        BackendTarget::Cluster(key) => clusters.contains(key),
        BackendTarget::Invalid => false,
    };
    let mirror = |filter: &Filter| match filter {
        Filter::Mirror(mirror) => clusters.contains(&mirror.cluster),
        _ => false,
    };
    match route {
        Route::Http(route) => route.rules.iter().any(|rule| {
            let backends = || rule.backends.iter().flat_map(|backends| backends.iter());
            rule.filters.iter().any(mirror)
                || backends()
                    .any(|(backend, _)| target(&backend.target) || backend.filters.iter().any(mirror))
        }),
        Route::Tls(TlsRoute { backends, .. })
        | Route::Tcp(L4Route { backends, .. })
        | Route::Udp(L4Route { backends, .. }) => {
            backends.iter().flat_map(|backends| backends.iter()).any(|(backend, _)| target(backend))
        }
    }
}

/// Puts listeners behind their binds. Where two claim the same place (translation allows it across gateways only), the
/// first by name has it: which one serves must not depend on the order of changes.
fn bind_tables(listeners: &BTreeMap<ListenerKey, Arc<ListenerTable>>) -> BTreeMap<Bind, BindTable> {
    let mut binds = BTreeMap::<Bind, BindTable>::new();
    for table in listeners.values() {
        let listener = &table.listener;
        let kind = BindKind::of(&listener.protocol);
        for bind in &listener.binds {
            let behind = binds.entry(*bind).or_insert_with(|| BindTable {
                kind,
                proxy_protocol: listener.proxy_protocol,
                by_host: HostMap::default(),
                raw: None,
            });
            if behind.kind != kind {
                continue;
            }
            match kind {
                BindKind::Http | BindKind::Tls => {
                    if behind.by_host.at(&listener.hostname).is_none() {
                        behind.by_host.insert(listener.hostname.clone(), Arc::clone(table));
                    }
                }
                BindKind::Tcp | BindKind::Udp => drop(behind.raw.get_or_insert_with(|| Arc::clone(table))),
            }
        }
    }
    binds
}
