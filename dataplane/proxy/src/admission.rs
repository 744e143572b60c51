//! Limits that hold over all cores, as a core meets them: it takes a token, or waits for one, and carries the messages.
//!
//! What is decided is in `ringway-core`'s `admission`. A [`Gate`] is one limit on one core; a [`Home`] is what this core decides for
//! all. A token is a value: dropping it frees it, however the request or connection that held it ends. A limit is told from an
//! earlier one of the same name by its epoch, the configuration that brought it, which is the same on all cores.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringway_config::ClusterKey;
use ringway_core::admission::clients::{self, Arrived, AskId, ClientHome, Clients};
use ringway_core::admission::home_of;
use ringway_core::admission::tokens::{
    Freed, Quantity, Take, ToCore, ToHome, TokenHome, TokenPurse, Told, WantId,
};
use ringway_core::balance::EndpointId;
use ringway_core::pool::{CleanEnd, Lease};

use crate::env::Env;
use crate::http1::Http1Client;
use crate::mailbox::Message;
use crate::worker::Worker;

/// What is limited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limited {
    /// Client connections of the process.
    Clients,
    /// Connections to a cluster.
    Connections(ClusterKey),
    /// Requests to a cluster.
    Requests(ClusterKey),
}

impl Limited {
    fn quantity(&self) -> Quantity {
        match self {
            Self::Clients | Self::Connections(_) => Quantity::Connections,
            Self::Requests(_) => Quantity::Requests,
        }
    }

    fn home(&self, cores: usize) -> usize {
        match self {
            Self::Clients => 0,
            Self::Connections(key) | Self::Requests(key) => home_of(key.as_str(), cores),
        }
    }
}

/// A limit, as cores name it to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitId {
    what: Limited,
    /// The configuration that brought it.
    epoch: u64,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// At once.
    pub limit: u32,
    /// How many may wait; `None`: any number.
    pub pending_max: Option<u32>,
}

/// There is no room, and none to wait in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// One limit on one core.
pub struct Gate<E: Env> {
    env: E,
    id: LimitId,
    terms: Cell<Terms>,
    purse: RefCell<TokenPurse>,
    /// Room for messages; kept, so that it is allocated once.
    post: RefCell<Vec<ToHome>>,
    waiting: RefCell<BTreeMap<WantId, Waiter<E>>>,
    /// Nothing is limited any more: whoever waited goes on, and tokens mean nothing.
    lifted: Cell<bool>,
}

struct Waiter<E: Env> {
    /// The endpoint that a connection is wanted to, if one that is handed over will do.
    endpoint: Option<EndpointId>,
    state: WaiterState<E>,
}

enum WaiterState<E: Env> {
    Waiting(Option<Waker>),
    Granted(Grant<E>),
    Refused,
}

/// What a wait ends with.
pub enum Grant<E: Env> {
    /// Go on.
    Token(Token<E>),
    /// Go on with this connection, which has its token.
    Connection(Lease<Http1Client<E>>),
}

/// The right to have one of what is limited; freed when dropped.
pub struct Token<E: Env> {
    gate: Rc<Gate<E>>,
}

impl<E: Env> Token<E> {
    fn is_of(&self, gate: &Rc<Gate<E>>) -> bool {
        Rc::ptr_eq(&self.gate, gate)
    }
}

impl<E: Env> Drop for Token<E> {
    fn drop(&mut self) {
        self.gate.release();
    }
}

impl<E: Env> Gate<E> {
    fn new(env: &E, what: Limited, epoch: u64, terms: Terms) -> Rc<Self> {
        Rc::new(Self {
            env: env.clone(),
            id: LimitId { what, epoch },
            terms: Cell::new(terms),
            purse: RefCell::default(),
            post: RefCell::default(),
            waiting: RefCell::default(),
            lifted: Cell::new(false),
        })
    }

    /// Takes a token if one is at hand.
    pub fn take(self: &Rc<Self>) -> Result<Token<E>, Waiting<E>> {
        self.take_or_connection(None)
    }

    /// The same; whoever waits may be handed a connection to this endpoint instead.
    pub fn take_or_connection(self: &Rc<Self>, endpoint: Option<EndpointId>) -> Result<Token<E>, Waiting<E>> {
        match self.with_purse(TokenPurse::take) {
            Take::Spent => Ok(Token { gate: Rc::clone(self) }),
            Take::Wait(want) => {
                let state = match self.lifted.get() {
                    true => WaiterState::Granted(Grant::Token(Token { gate: Rc::clone(self) })),
                    false => WaiterState::Waiting(None),
                };
                self.waiting.borrow_mut().insert(want, Waiter { endpoint, state });
                Err(Waiting { gate: Rc::clone(self), want })
            }
        }
    }

    /// A connection could be used again. Gives it back if it is to be kept; else a waiter has it or its token, or it was
    /// closed.
    pub fn freed(
        self: &Rc<Self>,
        endpoint: EndpointId,
        lease: Lease<Http1Client<E>>,
        proof: CleanEnd,
    ) -> Option<(Lease<Http1Client<E>>, CleanEnd)> {
        if !lease.link().has_token(|token| token.is_of(self)) {
            // It was made before there was this limit, which counts it for nobody.
            return None;
        }
        match self.with_purse(TokenPurse::freed) {
            Freed::Keep => return Some((lease, proof)),
            Freed::Close => drop(lease),
            Freed::Hand(want) => {
                let wants = |waiter: &Waiter<E>| waiter.endpoint == Some(endpoint);
                let fits = self.waiting.borrow().get(&want).is_some_and(wants);
                if fits {
                    self.grant(want, Grant::Connection(lease.hand_over(proof)));
                } else {
                    // The connection is of no use to whoever waits, but its place is.
                    let token = lease.link().yield_token();
                    drop(lease);
                    if let Some(token) = token {
                        self.grant(want, Grant::Token(token));
                    }
                }
            }
        }
        None
    }

    fn release(self: &Rc<Self>) {
        if self.lifted.get() {
            return;
        }
        if let Some(want) = self.with_purse(TokenPurse::release) {
            self.grant(want, Grant::Token(Token { gate: Rc::clone(self) }));
        }
    }

    /// Takes in what the home says; whether idle connections are to be closed.
    fn heard(self: &Rc<Self>, message: ToCore) -> bool {
        let mut told = Vec::new();
        self.with_purse(|purse, post| purse.heard(message, &mut told, post));
        let mut close_idle = false;
        for told in told {
            match told {
                Told::Granted(want) => self.grant(want, Grant::Token(Token { gate: Rc::clone(self) })),
                Told::Refused(want) => self.settle(want, WaiterState::Refused),
                Told::CloseIdle => close_idle = true,
            }
        }
        close_idle
    }

    /// Returns tokens that were not needed for a while.
    pub fn tick(&self) {
        if !self.purse.borrow().is_idle() {
            self.with_purse(TokenPurse::tick);
        }
    }

    /// The limit is gone.
    fn lift(self: &Rc<Self>) {
        self.lifted.set(true);
        let wants: Vec<_> = self.waiting.borrow().keys().copied().collect();
        for want in wants {
            if self.purse.borrow_mut().cancel(want, &mut Vec::new()) {
                self.grant(want, Grant::Token(Token { gate: Rc::clone(self) }));
            }
        }
    }

    fn grant(&self, want: WantId, grant: Grant<E>) {
        self.settle(want, WaiterState::Granted(grant));
    }

    fn settle(&self, want: WantId, state: WaiterState<E>) {
        let before = match self.waiting.borrow_mut().get_mut(&want) {
            Some(waiter) => std::mem::replace(&mut waiter.state, state),
            // Whoever gives up waiting says so, and is told nothing from then on.
            None => unreachable!("only those who wait are told"),
        };
        if let WaiterState::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }

    fn with_purse<R>(&self, act: impl FnOnce(&mut TokenPurse, &mut Vec<ToHome>) -> R) -> R {
        let mut post = self.post.take();
        let done = act(&mut self.purse.borrow_mut(), &mut post);
        if !post.is_empty() && !self.lifted.get() {
            let cores = self.env.core();
            let home = self.id.what.home(cores.count);
            for message in &post {
                let (limit, terms) = (self.id.clone(), self.terms.get());
                let message = Message::LimitToHome { limit, core: cores.index, terms, message: *message };
                self.env.post(home, message);
            }
        }
        post.clear();
        self.post.replace(post);
        done
    }
}

/// A wait for a token; given up when dropped.
pub struct Waiting<E: Env> {
    gate: Rc<Gate<E>>,
    want: WantId,
}

impl<E: Env> Future for Waiting<E> {
    type Output = Result<Grant<E>, Refused>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiting = self.gate.waiting.borrow_mut();
        let waiter = waiting.get_mut(&self.want).expect("it is there until the wait is dropped");
        match std::mem::replace(&mut waiter.state, WaiterState::Waiting(Some(cx.waker().clone()))) {
            WaiterState::Waiting(_) => Poll::Pending,
            WaiterState::Granted(grant) => {
                waiting.remove(&self.want);
                Poll::Ready(Ok(grant))
            }
            WaiterState::Refused => {
                waiting.remove(&self.want);
                Poll::Ready(Err(Refused))
            }
        }
    }
}

impl<E: Env> Drop for Waiting<E> {
    fn drop(&mut self) {
        let Some(waiter) = self.gate.waiting.borrow_mut().remove(&self.want) else { return };
        if let WaiterState::Waiting(_) = waiter.state {
            self.gate.with_purse(|purse, post| purse.cancel(self.want, post));
        }
        // What was granted goes back as it is dropped.
        drop(waiter);
    }
}

/// The gates of a cluster.
pub struct ClusterGates<E: Env> {
    connections: RefCell<Option<Rc<Gate<E>>>>,
    requests: RefCell<Option<Rc<Gate<E>>>>,
}

impl<E: Env> Default for ClusterGates<E> {
    fn default() -> Self {
        Self { connections: RefCell::default(), requests: RefCell::default() }
    }
}

impl<E: Env> ClusterGates<E> {
    /// The limit on connections, if there is one.
    pub fn connections(&self) -> Option<Rc<Gate<E>>> {
        self.connections.borrow().as_ref().map(Rc::clone)
    }

    /// The limit on requests, if there is one.
    pub fn requests(&self) -> Option<Rc<Gate<E>>> {
        self.requests.borrow().as_ref().map(Rc::clone)
    }

    /// Takes over the limits of a configuration.
    pub fn adopt(&self, env: &E, spec: &ringway_config::Cluster, epoch: u64) {
        let limits = &spec.limits;
        let connections =
            limits.connections_max.map(|limit| Terms { limit, pending_max: limits.pending_max });
        // Waiting is for connections; a request too many is told at once.
        let requests = limits.requests_max.map(|limit| Terms { limit, pending_max: Some(0) });
        adopt(&self.connections, connections, || {
            Gate::new(
                env,
                Limited::Connections(spec.key.clone()),
                epoch,
                Terms { limit: 0, pending_max: None },
            )
        });
        adopt(&self.requests, requests, || {
            Gate::new(env, Limited::Requests(spec.key.clone()), epoch, Terms { limit: 0, pending_max: None })
        });
    }

    /// Limits nothing any more.
    pub fn lift(&self) {
        for gate in [&self.connections, &self.requests] {
            adopt(gate, None, || unreachable!("there are no terms"));
        }
    }

    /// Returns tokens that were not needed for a while.
    pub fn tick(&self) {
        self.connections.borrow().iter().chain(self.requests.borrow().iter()).for_each(|gate| gate.tick());
    }
}

fn adopt<E: Env>(
    slot: &RefCell<Option<Rc<Gate<E>>>>,
    terms: Option<Terms>,
    new: impl FnOnce() -> Rc<Gate<E>>,
) {
    match terms {
        Some(terms) => slot.borrow_mut().get_or_insert_with(new).terms.set(terms),
        None => {
            let gone = slot.borrow_mut().take();
            if let Some(gate) = gone {
                gate.lift();
            }
        }
    }
}

/// What a core decides for all, and what it asks others.
pub struct Admission<E: Env> {
    /// Client connections of the process.
    pub process: Rc<Gate<E>>,
    homes: RefCell<BTreeMap<Limited, Home>>,
    /// Messages about limits of a configuration that this core has yet to hear of.
    early: RefCell<Vec<(LimitId, ToCore)>>,
    /// Counts configurations.
    generation: Cell<u64>,
    clients: RefCell<Clients>,
    client_home: RefCell<ClientHome>,
    asking: RefCell<BTreeMap<AskId, Verdict>>,
}

struct Home {
    epoch: u64,
    tokens: TokenHome,
}

#[derive(Default)]
struct Verdict {
    admitted: Option<bool>,
    waker: Option<Waker>,
}

/// Messages that may be early. There are a few for each limit that is new, if at all; without one a wait lasts longer.
const EARLY_MAX: usize = 1024;

impl<E: Env> Admission<E> {
    /// With the process's own limits.
    pub fn new(env: &E, limits: &ringway_core::limits::Limits) -> Self {
        let bounded = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        let terms = Terms { limit: bounded(limits.connections_max), pending_max: Some(0) };
        let (per_client, cores) = (bounded(limits.connections_per_client_max), env.core().count);
        Self {
            process: Gate::new(env, Limited::Clients, 0, terms),
            homes: RefCell::default(),
            early: RefCell::default(),
            generation: Cell::new(0),
            clients: RefCell::new(Clients::new(per_client, cores)),
            client_home: RefCell::new(ClientHome::new(per_client, cores)),
            asking: RefCell::default(),
        }
    }
}

impl<E: Env> Worker<E> {
    fn gate(&self, limit: &LimitId) -> Option<Rc<Gate<E>>> {
        let gate = match &limit.what {
            Limited::Clients => Some(Rc::clone(&self.admission.process)),
            Limited::Connections(key) => self.cluster(key)?.gates.connections(),
            Limited::Requests(key) => self.cluster(key)?.gates.requests(),
        };
        gate.filter(|gate| gate.id.epoch == limit.epoch)
    }

    fn is_to_come(&self, limit: &LimitId) -> bool {
        limit.epoch > self.admission.generation.get()
    }

    /// Takes in what a core tells a limit's home.
    pub(crate) fn limit_to_home(&self, limit: &LimitId, core: usize, terms: Terms, message: ToHome) {
        if self.gate(limit).is_none() && !self.is_to_come(limit) {
            // The limit has gone.
            return;
        }
        let mut post = Vec::new();
        {
            let mut homes = self.admission.homes.borrow_mut();
            let new = || Home {
                epoch: limit.epoch,
                tokens: TokenHome::new(
                    limit.what.quantity(),
                    terms.limit,
                    terms.pending_max,
                    self.env.core().count,
                ),
            };
            let home = homes.entry(limit.what.clone()).or_insert_with(new);
            if home.epoch < limit.epoch {
                *home = new();
            }
            if home.epoch == limit.epoch {
                home.tokens.heard(core, message, &mut post);
            }
        }
        self.limit_to_cores(limit, post);
    }

    fn limit_to_cores(&self, limit: &LimitId, post: Vec<(usize, ToCore)>) {
        for (core, message) in post {
            self.env.post(core, Message::LimitToCore { limit: limit.clone(), message });
        }
    }

    /// Takes in what a limit's home tells a core.
    pub(crate) fn limit_to_core(&self, limit: LimitId, message: ToCore) {
        match self.gate(&limit) {
            Some(gate) => {
                if gate.heard(message)
                    && let Limited::Connections(key) = &limit.what
                    && let Some(cluster) = self.cluster(key)
                {
                    cluster.close_idle();
                }
            }
            None if self.is_to_come(&limit) => {
                let mut early = self.admission.early.borrow_mut();
                if early.len() < EARLY_MAX {
                    early.push((limit, message));
                }
            }
            // The limit has gone.
            None => {}
        }
    }

    /// The configuration whose limits hold.
    pub(crate) fn generation(&self) -> u64 {
        self.admission.generation.get()
    }

    /// Takes over the limits of a configuration, after these clusters did: those of others are as they were.
    pub(crate) fn adopt_limits<'k>(&self, generation: u64, clusters: impl Iterator<Item = &'k ClusterKey>) {
        self.admission.generation.set(generation);
        let mut changed = Vec::new();
        let limits =
            clusters.flat_map(|key| [Limited::Connections(key.clone()), Limited::Requests(key.clone())]);
        for what in limits {
            let mut homes = self.admission.homes.borrow_mut();
            let Some(home) = homes.get_mut(&what) else { continue };
            let limit = LimitId { what, epoch: home.epoch };
            match self.gate(&limit) {
                Some(gate) => {
                    let Terms { limit: tokens, pending_max } = gate.terms.get();
                    let mut post = Vec::new();
                    home.tokens.adopt(tokens, pending_max, &mut post);
                    changed.push((limit, post));
                }
                None if self.is_to_come(&limit) => {}
                None => drop(homes.remove(&limit.what)),
            }
        }
        changed.into_iter().for_each(|(limit, post)| self.limit_to_cores(&limit, post));
        let early = self.admission.early.take();
        early.into_iter().for_each(|(limit, message)| self.limit_to_core(limit, message));
    }

    /// Whether one more connection of this client may stay. Counts it until the place is dropped.
    pub(crate) fn arrive(self: &Rc<Self>, client: IpAddr) -> Result<Option<ClientPlace<E>>, Asking<E>> {
        let arrived = self.admission.clients.borrow_mut().arrived(client);
        match arrived {
            Arrived::Admitted => Ok(Some(ClientPlace { worker: Rc::clone(self), client })),
            Arrived::Refused => Ok(None),
            Arrived::Ask(ask, question) => {
                self.admission.asking.borrow_mut().insert(ask, Verdict::default());
                self.clients_to_home(question);
                Err(Asking { worker: Rc::clone(self), client, ask })
            }
        }
    }

    fn clients_to_home(&self, message: clients::ToHome) {
        let address = match message {
            clients::ToHome::Ask(address, _)
            | clients::ToHome::Open(address, _)
            | clients::ToHome::Closed(address) => address,
        };
        let core = self.env.core();
        self.env.post(home_of(&address, core.count), Message::ClientsToHome { core: core.index, message });
    }

    /// Takes in what a core tells an address's home.
    pub(crate) fn heard_of_clients(&self, core: usize, message: clients::ToHome) {
        let mut post = Vec::new();
        self.admission.client_home.borrow_mut().heard(core, message, &mut post);
        for (core, message) in post {
            self.env.post(core, Message::ClientsToCore(message));
        }
    }

    /// Takes in what an address's home tells a core.
    pub(crate) fn told_of_clients(&self, message: clients::ToCore) {
        let address = match message {
            clients::ToCore::Watch(address)
            | clients::ToCore::Unwatch(address)
            | clients::ToCore::Verdict(address, ..) => address,
        };
        let answer = self.admission.clients.borrow_mut().heard(message);
        match answer {
            None => {}
            Some(Ok(reply)) => self.clients_to_home(reply),
            Some(Err((ask, admitted))) => {
                let waker = match self.admission.asking.borrow_mut().get_mut(&ask) {
                    Some(verdict) => {
                        verdict.admitted = Some(admitted);
                        verdict.waker.take()
                    }
                    None => {
                        // The connection is gone already.
                        if admitted {
                            self.left(address);
                        }
                        return;
                    }
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    fn left(&self, client: IpAddr) {
        let news = self.admission.clients.borrow_mut().left(client);
        if let Some(news) = news {
            self.clients_to_home(news);
        }
    }
}

/// A client connection among those of its address; leaves them when dropped.
pub struct ClientPlace<E: Env> {
    worker: Rc<Worker<E>>,
    client: IpAddr,
}

impl<E: Env> Drop for ClientPlace<E> {
    fn drop(&mut self) {
        self.worker.left(self.client);
    }
}

/// A wait for the verdict about a connection; `None`: it may not stay.
pub(crate) struct Asking<E: Env> {
    worker: Rc<Worker<E>>,
    client: IpAddr,
    ask: AskId,
}

impl<E: Env> Future for Asking<E> {
    type Output = Option<ClientPlace<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut asking = self.worker.admission.asking.borrow_mut();
        let verdict = asking.get_mut(&self.ask).expect("it is there until the wait is over");
        let Some(admitted) = verdict.admitted else {
            verdict.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        asking.remove(&self.ask);
        Poll::Ready(admitted.then(|| ClientPlace { worker: Rc::clone(&self.worker), client: self.client }))
    }
}

impl<E: Env> Drop for Asking<E> {
    fn drop(&mut self) {
        let verdict = self.worker.admission.asking.borrow_mut().remove(&self.ask);
        if verdict.is_some_and(|verdict| verdict.admitted == Some(true)) {
            self.worker.left(self.client);
        }
    }
}
