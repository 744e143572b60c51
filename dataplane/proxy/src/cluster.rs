//! A cluster as it lives on one core: today's endpoints, their health, and connections to them.
//!
//! A request's plan holds this value, not the configuration it came from: each attempt sees what is there now.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::{EndpointSet, EndpointSource, UpstreamProtocol};
use ringway_core::Instant;
use ringway_core::balance::{Balancer, EndpointId};
use ringway_core::limits::Limits;
use ringway_core::pool::{CleanEnd, Lease, Pool, PoolLimits, SharedId, SharedPool, Stream};

use crate::admission::ClusterGates;
use crate::env::Env;
use crate::http1::Http1Client;
use crate::http2::SharedClient;
use crate::latch::Latch;
use crate::signal::Signal;
use crate::timer::Deadline;
use crate::tls::ClientTls;
use crate::upstream::NoConnection;

/// A live cluster.
pub struct Cluster<E: Env> {
    spec: RefCell<Arc<ringway_config::Cluster>>,
    endpoints: RefCell<Option<Arc<EndpointSet>>>,
    tls: RefCell<Option<Arc<ClientTls>>>,
    /// Which endpoint, by policy and health.
    pub balancer: RefCell<Balancer>,
    /// Ordered, so that what is closed together is closed in the same order in every simulation.
    pools: RefCell<BTreeMap<EndpointId, Pool<Http1Client<E>>>>,
    shared: RefCell<BTreeMap<EndpointId, SharedPool<SharedClient>>>,
    pool_limits: PoolLimits,
    /// Limits that hold over all cores.
    pub gates: ClusterGates<E>,
    /// HTTP/2 connections that are being made, one at a time for an endpoint.
    openings: RefCell<BTreeMap<EndpointId, Rc<Opening>>>,
    retired: Cell<bool>,
    /// Counts the ways of speaking to it: a connection that was made for an earlier one is not used again.
    epoch: Cell<u64>,
    /// A task keeps its endpoints as its name resolves.
    kept: Cell<bool>,
    /// The name was asked for once, with or without success; open from the beginning if there is no name.
    asked: RefCell<Rc<Latch>>,
    renamed: Signal,
}

impl<E: Env> Cluster<E> {
    /// A cluster that is new to this core.
    pub fn new(
        spec: &Arc<ringway_config::Cluster>,
        endpoints: Option<&Arc<EndpointSet>>,
        tls: Option<&Arc<ClientTls>>,
        limits: &Limits,
    ) -> Rc<Self> {
        let cluster = Self {
            spec: RefCell::new(Arc::clone(spec)),
            endpoints: RefCell::new(None),
            tls: RefCell::new(tls.map(Arc::clone)),
            balancer: RefCell::new(Balancer::new(spec.balance, spec.outlier.is_some())),
            pools: RefCell::default(),
            shared: RefCell::default(),
            pool_limits: PoolLimits {
                idle_max: limits.upstream_idle_connections_max,
                idle_age_max: limits.upstream_idle_timeout,
            },
            gates: ClusterGates::default(),
            openings: RefCell::default(),
            retired: Cell::new(false),
            epoch: Cell::new(0),
            kept: Cell::new(false),
            asked: RefCell::default(),
            renamed: Signal::default(),
        };
        cluster.set_endpoints(endpoints);
        Rc::new(cluster)
    }

    /// What the configuration says about it today. For what is rare: it is shared with the other cores, so that even counting
    /// who holds it is a write that they feel.
    pub fn spec(&self) -> Arc<ringway_config::Cluster> {
        Arc::clone(&self.spec.borrow())
    }

    /// What is spoken to it today.
    pub fn protocol(&self) -> UpstreamProtocol {
        self.spec.borrow().protocol
    }

    /// In which way it is spoken to now; a connection remembers it from before it was made.
    pub fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Whether its configuration asks for TLS; if that cannot be made, no connection may be.
    pub fn wants_tls(&self) -> bool {
        self.spec.borrow().tls.is_some()
    }

    /// How long a connection to it may take to be made.
    pub fn connect_timeout(&self) -> Duration {
        self.spec.borrow().connect_timeout
    }

    /// TLS to its endpoints, if it is asked for.
    pub fn tls(&self) -> Option<Arc<ClientTls>> {
        self.tls.borrow().as_ref().map(Arc::clone)
    }

    /// Takes a new configuration over. Connections made under another protocol or TLS are not used again.
    pub fn update(
        &self,
        spec: &Arc<ringway_config::Cluster>,
        endpoints: Option<&Arc<EndpointSet>>,
        tls: Option<&Arc<ClientTls>>,
    ) {
        let same_tls = match (&*self.tls.borrow(), tls) {
            (None, None) => true,
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if !same_tls {
            self.tls.replace(tls.map(Arc::clone));
            self.begin_epoch();
        }
        if !Arc::ptr_eq(&self.spec.borrow(), spec) {
            let old = self.spec.replace(Arc::clone(spec));
            self.balancer.borrow_mut().adopt(spec.balance, spec.outlier.is_some());
            if old.protocol != spec.protocol {
                self.begin_epoch();
            }
        }
        self.set_endpoints(endpoints);
    }

    /// Replaces a resolved set's addresses.
    pub fn resolved(&self, endpoints: &[ringway_config::Endpoint]) {
        let changed = self.balancer.borrow_mut().update(endpoints);
        let closed: Vec<_> = {
            let mut pools = self.pools.borrow_mut();
            changed.removed.iter().filter_map(|endpoint| pools.remove(endpoint)).collect()
        };
        let drained: Vec<_> = {
            let mut shared = self.shared.borrow_mut();
            let gone = shared.iter_mut().filter(|(endpoint, _)| changed.removed.contains(endpoint));
            gone.flat_map(|(_, pool)| pool.drain()).collect()
        };
        // Closed after the borrow has ended.
        drop((closed, drained));
    }

    /// It is no longer configured: nothing idle is kept, what is under way ends by itself.
    pub fn retire(&self) {
        self.retired.set(true);
        self.renamed.notify();
        self.asked();
        self.gates.lift();
        self.begin_epoch();
    }

    /// Whether an endpoint may get anything new.
    pub fn is_listed(&self, endpoint: EndpointId) -> bool {
        !self.retired.get() && self.balancer.borrow().is_listed(endpoint)
    }

    /// An idle connection to an endpoint.
    pub fn take(&self, endpoint: EndpointId, now: Instant) -> Option<Lease<Http1Client<E>>> {
        let mut pools = self.pools.borrow_mut();
        pools.get_mut(&endpoint)?.take(now, |connection| connection.is_quiet())
    }

    /// Gives a connection back after a response that was read to its end.
    pub fn give_back(
        &self,
        endpoint: EndpointId,
        lease: Lease<Http1Client<E>>,
        proof: CleanEnd,
        now: Instant,
    ) {
        if !self.is_listed(endpoint) || lease.epoch() != self.epoch.get() {
            return;
        }
        let kept = match self.gates.connections() {
            Some(gate) => gate.freed(endpoint, lease, proof),
            None => Some((lease, proof)),
        };
        let Some((lease, proof)) = kept else { return };
        let closed = {
            let mut pools = self.pools.borrow_mut();
            let pool = pools.entry(endpoint).or_insert_with(|| Pool::new(self.pool_limits));
            lease.give_back(proof, pool, now)
        };
        drop(closed);
    }

    /// A stream on a connection that is there and has room.
    pub fn begin_stream(&self, endpoint: EndpointId) -> Option<Stream<SharedClient>> {
        // What the peer allows today; a stream above that would wait within the codec.
        let room =
            |client: &SharedClient| u32::try_from(client.current_max_send_streams()).unwrap_or(u32::MAX);
        self.shared.borrow_mut().get_mut(&endpoint)?.begin(room)
    }

    /// Begins to make a shared connection, if nobody else is making one to this endpoint.
    pub fn begin_opening(&self, endpoint: EndpointId) -> Result<Opener<'_, E>, Rc<Opening>> {
        if let Some(opening) = self.openings.borrow().get(&endpoint) {
            return Err(Rc::clone(opening));
        }
        let opening = Rc::new(Opening::default());
        self.openings.borrow_mut().insert(endpoint, Rc::clone(&opening));
        Ok(Opener { cluster: self, endpoint, opening })
    }

    /// Adds a shared connection with a first stream on it. One that was made for another configuration gets no second.
    pub fn add_connection(
        &self,
        endpoint: EndpointId,
        client: SharedClient,
        streams_max: u32,
        epoch: u64,
        now: Instant,
    ) -> Stream<SharedClient> {
        let mut shared = self.shared.borrow_mut();
        let pool = shared.entry(endpoint).or_insert_with(|| SharedPool::new(self.pool_limits));
        let first = pool.add(client, streams_max, now);
        if epoch != self.epoch.get() || self.retired.get() {
            // It has a stream, so it does not come back yet.
            let none = pool.retire(first.id);
            debug_assert!(none.is_none(), "a connection with a stream stays");
        }
        first
    }

    /// A stream has ended; its connection goes with it if it is the last one of a connection that is closing.
    pub fn stream_ended(&self, endpoint: EndpointId, id: SharedId, now: Instant) {
        let closed = self.shared.borrow_mut().get_mut(&endpoint).and_then(|pool| pool.ended(id, now));
        drop(closed);
    }

    /// A shared connection takes no further stream.
    pub fn retire_connection(&self, endpoint: EndpointId, id: SharedId) {
        let closed = self.shared.borrow_mut().get_mut(&endpoint).and_then(|pool| pool.retire(id));
        drop(closed);
    }

    /// Closes connections that have been idle for too long. Empty pools stay as long as their endpoints: a request
    /// that comes back just after would have to make them again.
    pub fn expire(&self, now: Instant) {
        let closed: Vec<_> = {
            let mut pools = self.pools.borrow_mut();
            pools.values_mut().flat_map(|pool| pool.expire(now)).collect()
        };
        let unused: Vec<_> = {
            let mut shared = self.shared.borrow_mut();
            let unused = shared.values_mut().flat_map(|pool| pool.expire(now)).collect();
            // Those of endpoints that are gone end with their last stream.
            shared.retain(|endpoint, pool| !pool.is_empty() || self.is_listed(*endpoint));
            unused
        };
        drop((closed, unused));
    }

    /// Connections that were made until now are not used again: they are spoken to in another way from here on.
    fn begin_epoch(&self) {
        self.epoch.set(self.epoch.get() + 1);
        self.close_idle();
    }

    /// Closes what nobody uses; multiplexed connections end with their last stream.
    pub fn close_idle(&self) {
        let pools = self.pools.take();
        // Streams that are under way keep their connections; no further one begins on them.
        let drained: Vec<_> = self.shared.borrow_mut().values_mut().flat_map(SharedPool::close_all).collect();
        drop((pools, drained));
    }

    fn set_endpoints(&self, endpoints: Option<&Arc<EndpointSet>>) {
        let same = match (&*self.endpoints.borrow(), endpoints) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        let before = self.endpoints.replace(endpoints.map(Arc::clone));
        self.renamed.notify();
        match endpoints.map(|set| &set.source) {
            Some(EndpointSource::Listed(listed)) => {
                self.resolved(listed);
                self.asked();
            }
            Some(source @ EndpointSource::Dns { .. }) => {
                // Resolving begins with what is known: of the same name, the addresses of before.
                if before.is_none_or(|before| before.source != *source) {
                    self.resolved(&[]);
                }
                if self.balancer.borrow().is_empty() {
                    let before = self.asked.replace(Rc::default());
                    before.open();
                }
            }
            None => {
                self.resolved(&[]);
                self.asked();
            }
        }
    }

    /// Notes that a task keeps its endpoints as its name resolves, or does no longer; says whether one did before.
    pub(crate) fn set_kept(&self, kept: bool) -> bool {
        self.kept.replace(kept)
    }

    /// The name was asked for: whoever waits for that goes on.
    pub(crate) fn asked(&self) {
        self.asked.borrow().open();
    }

    /// Ends when the name may be another.
    pub(crate) async fn renamed(&self) {
        self.renamed.wait().await;
    }

    /// Waits until it is known where the endpoints are, if that is being found out for the first time; no longer than a
    /// connection may take.
    pub async fn known(&self, env: &E, deadline: &Deadline) {
        let asked = Rc::clone(&self.asked.borrow());
        if !asked.is_open() {
            let at = env.now() + self.connect_timeout();
            let _ = deadline.within(at, asked.opened()).await;
        }
    }

    /// The name to resolve, if the endpoints come from one.
    pub fn name(&self) -> Option<(Arc<str>, u16)> {
        if self.retired.get() {
            return None;
        }
        match &self.endpoints.borrow().as_ref()?.source {
            EndpointSource::Dns { host, port } => Some((Arc::clone(host), *port)),
            EndpointSource::Listed(_) => None,
        }
    }

    /// Where an endpoint is.
    pub fn address(&self, endpoint: EndpointId) -> Option<SocketAddr> {
        self.balancer.borrow().address(endpoint)
    }
}

/// A connection that is being made and that many may share; the others wait for whoever makes it.
#[derive(Default)]
pub struct Opening {
    over: Latch,
    failed: Cell<Option<NoConnection>>,
}

impl Opening {
    /// Waits until it is made, or cannot be, or was given up.
    pub async fn over(&self) -> Result<(), NoConnection> {
        self.over.opened().await;
        self.failed.get().map_or(Ok(()), Err)
    }
}

/// The task to make a connection that others wait for; given up when dropped.
pub struct Opener<'c, E: Env> {
    cluster: &'c Cluster<E>,
    endpoint: EndpointId,
    opening: Rc<Opening>,
}

impl<E: Env> Opener<'_, E> {
    /// Passes on how it went, and tells those who wait.
    pub fn done<T>(self, outcome: Result<T, NoConnection>) -> Result<T, NoConnection> {
        self.opening.failed.set(outcome.as_ref().err().copied());
        outcome
    }
}

impl<E: Env> Drop for Opener<'_, E> {
    fn drop(&mut self) {
        self.cluster.openings.borrow_mut().remove(&self.endpoint);
        self.opening.over.open();
    }
}

/// A request or connection under way at an endpoint; over when dropped.
pub struct InFlight<'c, E: Env> {
    cluster: &'c Cluster<E>,
    endpoint: EndpointId,
}

impl<'c, E: Env> InFlight<'c, E> {
    /// Begins now.
    pub fn new(cluster: &'c Cluster<E>, endpoint: EndpointId) -> Self {
        cluster.balancer.borrow_mut().started(endpoint);
        Self { cluster, endpoint }
    }
}

impl<E: Env> Drop for InFlight<'_, E> {
    fn drop(&mut self) {
        self.cluster.balancer.borrow_mut().finished(self.endpoint);
    }
}
