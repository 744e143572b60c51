//! The state of one core: what its connections share, and nobody else sees.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::ClusterKey;
use ringway_core::access_log::Facts;
use ringway_core::headers::TrustedProxies;
use ringway_core::limits::Limits;
use ringway_core::record::{self, Event, Limit, Recorder, SeriesLimits, TunnelSummary};
use ringway_core::turn::Turns;
use ringway_core::{Arrival, Instant, RequestHead, ResponseHead, Summary, View};

use crate::access_log::{AccessLog, AccessLogSettings};
use crate::admission::{Admission, ClientPlace, Token};
use crate::buffer::Buffers;
use crate::cluster::Cluster;
use crate::date::{DATE_BYTES, HttpDate};
use crate::drain::{Drain, Open};
use crate::env::Env;
use crate::mailbox::Message;
use crate::names;
use crate::outbox::Outbox;
use crate::outliers::Outliers;
use crate::room::Rooms;
use crate::snapshot::Snapshot;
use crate::timer::{Deadline, Timers};
use crate::tls::TlsStore;

/// One core.
pub struct Worker<E: Env> {
    /// The outside world.
    pub env: E,
    /// Every limit.
    pub limits: Rc<Limits>,
    /// Networks whose forwarded headers are believed.
    pub trusted: TrustedProxies,
    /// Buffers to receive into.
    pub buffers: Buffers,
    /// Room for what serves requests.
    pub rooms: Rooms,
    /// Room for the beginnings of connections.
    pub beginnings: Rooms,
    /// Deadlines.
    pub timers: Timers,
    /// What leaves at the end of a turn.
    pub outbox: Rc<Outbox<E>>,
    /// Whether the core drains, and its connections.
    pub drain: Drain,
    /// Metrics. Shared with what counts its own end.
    pub recorder: Rc<RefCell<Recorder>>,
    /// Panics that were counted.
    panics: Cell<u64>,
    /// The access log, if there is one.
    pub log: Option<AccessLog>,
    /// Copies to mirrors under way.
    pub mirrors: Rc<Places>,
    /// UDP sessions, of every listener.
    pub udp_sessions: Rc<Places>,
    view: RefCell<Rc<View<Cluster<E>>>>,
    tls: RefCell<Arc<TlsStore>>,
    clusters: Clusters<E>,
    pub(crate) outliers: Outliers,
    pub(crate) admission: Admission<E>,
    /// Requests that wait or run.
    pub requests: Rc<Places>,
    /// Connections that were accepted here and handed on.
    lent: RefCell<Vec<Open>>,
    date: RefCell<HttpDate>,
    /// Boxed, so that lending one moves a pointer.
    #[expect(clippy::vec_box)]
    scratches: RefCell<Vec<Box<Scratch>>>,
}

/// What a core is told once, when it starts.
#[derive(Clone, Default)]
pub struct Settings {
    /// Every limit.
    pub limits: Limits,
    /// Networks whose forwarded headers are believed.
    pub trusted: TrustedProxies,
    /// How many metric series there may be.
    pub series: SeriesLimits,
    /// The access log, if there is one.
    pub access_log: Option<AccessLogSettings>,
    /// How full turns of the event loop are, to begin with.
    pub turns: Turns,
}

type Clusters<E> = Rc<RefCell<BTreeMap<ClusterKey, Rc<Cluster<E>>>>>;

/// Room for the heads of one exchange; kept by the core, so that a steady request allocates nothing.
pub struct Scratch {
    /// Bounds an exchange's attempts.
    pub deadline: Deadline,
    /// When a client that waits for its answer is looked at.
    pub watching: Deadline,
    /// The request's head.
    pub request: RequestHead,
    /// The response's head.
    pub response: ResponseHead,
    /// What the access log says of the request.
    pub facts: Facts,
    /// What is gathered for the client.
    pub out: Vec<u8>,
    /// What is gathered for the upstream.
    pub upstream_out: Vec<u8>,
}

/// Scratches that a core keeps; further ones are dropped.
const SCRATCHES_MAX: usize = 256;
/// A scratch whose gathered bytes took more than this is dropped rather than kept.
const SCRATCH_BYTES_MAX: usize = 128 << 10;

impl<E: Env> Worker<E> {
    /// A core with a first configuration.
    pub fn new(env: E, settings: Settings, snapshot: &Snapshot) -> Rc<Self> {
        let clusters = Clusters::default();
        let source = {
            let clusters = Rc::clone(&clusters);
            Rc::new(move |key: &ClusterKey| clusters.borrow().get(key).map(Rc::clone))
        };
        let worker = Self {
            admission: Admission::new(&env, &settings.limits),
            requests: Rc::default(),
            lent: RefCell::default(),
            env,
            limits: Rc::new(settings.limits),
            trusted: settings.trusted,
            buffers: Buffers::default(),
            rooms: Rooms::default(),
            beginnings: Rooms::default(),
            timers: Timers::new(),
            outbox: Rc::new(Outbox::new(settings.turns)),
            drain: Drain::default(),
            recorder: Rc::new(RefCell::new(Recorder::new(settings.series))),
            panics: Cell::new(0),
            log: settings.access_log.map(AccessLog::new),
            mirrors: Rc::default(),
            udp_sessions: Rc::default(),
            // Plans are made when they are first asked for, so the clusters may come after the view.
            view: RefCell::new(Rc::new(View::new(Arc::clone(&snapshot.compiled), source))),
            tls: RefCell::new(Arc::clone(&snapshot.tls)),
            clusters,
            outliers: Outliers::default(),
            date: RefCell::default(),
            scratches: RefCell::default(),
        };
        let worker = Rc::new(worker);
        worker.update_clusters(snapshot, snapshot.config.clusters.keys());
        worker
    }

    /// A live cluster.
    pub fn cluster(&self, key: &ClusterKey) -> Option<Rc<Cluster<E>>> {
        self.clusters.borrow().get(key).map(Rc::clone)
    }

    /// The configuration in force. A request keeps the plan it got, not the view.
    pub fn view(&self) -> Rc<View<Cluster<E>>> {
        Rc::clone(&self.view.borrow())
    }

    /// The TLS configurations in force.
    pub fn tls(&self) -> Arc<TlsStore> {
        Arc::clone(&self.tls.borrow())
    }

    /// Swaps to another configuration, in one step between two requests. Live clusters keep their pools and state.
    pub fn configure(self: &Rc<Self>, snapshot: &Snapshot) {
        // Each core hears of every configuration, in order; one that did not would have to look at all clusters.
        match snapshot.generation == self.generation() + 1 {
            true => self.update_clusters(snapshot, snapshot.changed.iter()),
            false => {
                let known: Vec<ClusterKey> = self.clusters.borrow().keys().cloned().collect();
                self.update_clusters(snapshot, known.iter().chain(snapshot.config.clusters.keys()));
            }
        }
        let before = self.view();
        let next = before.next(Arc::clone(&snapshot.compiled));
        let old = self.view.replace(Rc::new(next));
        let old_tls = self.tls.replace(Arc::clone(&snapshot.tls));
        // Dropped after the borrows have ended: a destructor may look at the view.
        drop((old, old_tls, before));
    }

    /// Takes over what a configuration says about some clusters, and leaves all others alone.
    fn update_clusters<'k>(
        self: &Rc<Self>,
        snapshot: &Snapshot,
        changed: impl Iterator<Item = &'k ClusterKey> + Clone,
    ) {
        let config = &snapshot.config;
        let mut gone = Vec::new();
        for key in changed.clone() {
            let Some(spec) = config.clusters.get(key) else {
                gone.extend(self.clusters.borrow_mut().remove(key));
                self.forget_endpoints(key);
                continue;
            };
            let endpoints = config.endpoint_sets.get(&spec.endpoints);
            let tls = snapshot.tls.client(key);
            let known = self.cluster(key);
            let cluster = match known {
                Some(cluster) => {
                    cluster.update(spec, endpoints, tls);
                    cluster
                }
                None => {
                    let cluster = Cluster::new(spec, endpoints, tls, &self.limits);
                    self.clusters.borrow_mut().insert(key.clone(), Rc::clone(&cluster));
                    cluster
                }
            };
            cluster.gates.adopt(&self.env, spec, snapshot.generation);
            self.watch_endpoints(&cluster);
            if cluster.name().is_some() && !cluster.set_kept(true) {
                self.env.spawn(names::keep(Rc::clone(self), cluster));
            }
        }
        gone.iter().for_each(|cluster| cluster.retire());
        self.adopt_limits(snapshot.generation, changed);
    }

    /// Room for an exchange.
    pub fn scratch(self: &Rc<Self>) -> ScratchLease<E> {
        let kept = self.scratches.borrow_mut().pop();
        let scratch = kept.unwrap_or_else(|| {
            Box::new(Scratch {
                deadline: self.timers.deadline(),
                watching: self.timers.deadline(),
                request: RequestHead::new(),
                response: ResponseHead::new(),
                facts: Facts::default(),
                out: Vec::new(),
                upstream_out: Vec::new(),
            })
        });
        ScratchLease { scratch: Some(scratch), worker: Rc::clone(self) }
    }

    /// Closes what has been idle for too long, for ever.
    pub async fn expire(self: Rc<Self>) {
        const EVERY: Duration = Duration::from_secs(1);
        loop {
            self.env.sleep_until(self.env.now() + EVERY).await;
            let now = self.env.now();
            for cluster in self.clusters.borrow().values() {
                cluster.expire(now);
                cluster.gates.tick();
            }
            self.admission.process.tick();
            self.recorder.borrow_mut().tick(now);
            self.flush_log();
        }
    }

    /// The `date` of answers made now.
    pub fn date(&self) -> [u8; DATE_BYTES] {
        self.date.borrow_mut().at(self.env.wall())
    }

    /// A client connection begins, which a core (this one, or another) has accepted; it ends with the value.
    pub fn connection(self: &Rc<Self>, accepted_by: usize) -> Box<ClientConnection<E>> {
        self.count(Event::ConnectionAccepted);
        let worker = Rc::clone(self);
        let _open = self.drain.connection();
        Box::new(ClientConnection { worker, token: None, place: None, accepted_by, _open })
    }

    /// A connection that was accepted here is handed on. It counts here until it has ended: this core's drain is not over
    /// before.
    pub fn lend(&self) {
        self.count(Event::ConnectionMoved);
        self.lent.borrow_mut().push(self.drain.connection());
    }

    /// A connection that was handed on has ended.
    pub fn lent_ended(&self) {
        let ended = self.lent.borrow_mut().pop();
        drop(ended);
    }

    /// A request begins.
    pub fn begin(&self, started: Instant) -> Summary {
        self.count(Event::RequestStarted);
        Summary::begun(started)
    }

    /// Counts a finished request and writes its access log line.
    pub fn record(&self, summary: &Summary, arrival: &Arrival, facts: &Facts) {
        let mut recorder = self.recorder.borrow_mut();
        recorder.record(summary, self.env.now());
        if let Some(log) = &self.log {
            let began = self.env.wall() - summary.duration;
            log.request(summary, facts, arrival, began, &mut recorder);
        }
    }

    /// Counts a finished tunnel and writes its access log line.
    pub fn record_tunnel(&self, summary: &TunnelSummary, arrival: &Arrival) {
        let mut recorder = self.recorder.borrow_mut();
        recorder.record_tunnel(summary, self.env.now());
        if let Some(log) = &self.log {
            let began = self.env.wall() - summary.duration;
            log.tunnel(summary, arrival, began, &mut recorder);
        }
    }

    /// Counts a datagram that was dropped; a line in the access log for each would be one for every packet of a flood.
    pub fn record_drop(&self, summary: &TunnelSummary) {
        self.recorder.borrow_mut().record_tunnel(summary, self.env.now());
    }

    /// Hands on the access log lines that were gathered.
    pub fn flush_log(&self) {
        if let Some(log) = &self.log {
            log.flush(&mut self.recorder.borrow_mut());
        }
    }

    /// What was counted until now.
    pub fn report(&self) -> record::Snapshot {
        let panics = self.env.panics();
        for _ in self.panics.replace(panics)..panics {
            self.count(Event::Panic);
        }
        self.recorder.borrow().snapshot()
    }

    /// Counts an event.
    pub fn count(&self, event: Event) {
        self.recorder.borrow_mut().count(event);
    }

    /// Counts a limit that was hit.
    pub fn hit(&self, limit: Limit) {
        self.recorder.borrow_mut().hit(limit);
    }
}

/// An open client connection, and its places. Boxed where it is kept: it is of no use while the connection is.
pub struct ClientConnection<E: Env> {
    worker: Rc<Worker<E>>,
    /// Its place among those of the process.
    pub(crate) token: Option<Token<E>>,
    /// Its place among those of its client.
    pub(crate) place: Option<ClientPlace<E>>,
    /// The core that accepted it.
    accepted_by: usize,
    _open: Open,
}

impl<E: Env> Drop for ClientConnection<E> {
    fn drop(&mut self) {
        let env = &self.worker.env;
        self.worker.count(Event::ConnectionClosed);
        env.end_load();
        if self.accepted_by != env.core().index {
            env.post(self.accepted_by, Message::ConnectionEnded);
        }
    }
}

/// A bounded number of places.
#[derive(Default)]
pub struct Places(Cell<usize>);

impl Places {
    /// A place, if fewer than so many are taken.
    pub fn take(self: &Rc<Self>, places_max: usize) -> Option<Place> {
        let taken = self.0.get();
        (taken < places_max).then(|| {
            self.0.set(taken + 1);
            Place(Rc::clone(self))
        })
    }
}

/// A place; free again when dropped.
pub struct Place(Rc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

/// A scratch on loan.
pub struct ScratchLease<E: Env> {
    scratch: Option<Box<Scratch>>,
    worker: Rc<Worker<E>>,
}

impl<E: Env> Deref for ScratchLease<E> {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        self.scratch.as_ref().expect("it is there until it is dropped")
    }
}

impl<E: Env> DerefMut for ScratchLease<E> {
    fn deref_mut(&mut self) -> &mut Scratch {
        self.scratch.as_mut().expect("it is there until it is dropped")
    }
}

impl<E: Env> Drop for ScratchLease<E> {
    fn drop(&mut self) {
        let mut scratch = self.scratch.take().expect("it is there until it is dropped");
        let mut kept = self.worker.scratches.borrow_mut();
        let bytes = scratch.out.capacity() + scratch.upstream_out.capacity();
        if kept.len() < SCRATCHES_MAX && bytes <= SCRATCH_BYTES_MAX {
            scratch.out.clear();
            scratch.upstream_out.clear();
            kept.push(scratch);
        }
    }
}
