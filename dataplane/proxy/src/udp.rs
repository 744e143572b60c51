//! UDP: datagrams from one client address to one of ours are a session, and a session has one endpoint.
//!
//! A session has a connected socket of its own, so that the kernel sorts the replies; they leave from the address that
//! the client sent to. Sessions end when they are idle, when their endpoint refuses or goes away, or with the listener;
//! when there are too many, the one that has been idle longest makes room. What cannot be passed on is dropped, as a network
//! would, and counted.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringway_config::Bind;
use ringway_core::balance::{EndpointId, Outcome};
use ringway_core::record::{Event, Limit, TunnelSummary};
use ringway_core::{Arrival, Flag, Instant, L4Decision, L4Forward, Scheme};

use crate::cluster::Cluster;
use crate::env::{Datagrams, Env};
use crate::race::{First, race};
use crate::signal::Signal;
use crate::worker::{Place, Worker};

/// Datagrams taken from a socket before other tasks get a turn.
const TURN_MAX: usize = 64;
/// The longest datagram there can be.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// How long receiving rests after an error of the socket that is none of a datagram.
const REST: Duration = Duration::from_millis(100);

/// Serves a bind until told to stop; its sessions end with it.
pub(crate) async fn serve<E: Env>(
    worker: Rc<Worker<E>>,
    bind: Bind,
    datagrams: E::Datagrams,
    stop: Rc<Signal>,
) {
    let mut front = Front {
        socket: Rc::new(datagrams),
        buffer: Rc::new(RefCell::new(vec![0; DATAGRAM_BYTES_MAX].into())),
        sessions: HashMap::new(),
        idle: BinaryHeap::new(),
        serial: 0,
        bind,
        worker: Rc::clone(&worker),
    };
    let deadline = worker.timers.deadline();
    loop {
        let at = front.next_expiry(worker.env.now());
        match deadline.within(at, race(front.socket.readable(), stop.wait())).await {
            Ok(First::Two(())) => return front.close(),
            Ok(First::One(_)) => {
                if front.receive_turn().is_err() {
                    worker.env.sleep_until(worker.env.now() + REST).await;
                }
            }
            Err(_) => front.expire(worker.env.now()),
        }
    }
}

/// Who sends, and to which of our addresses.
type SessionKey = (SocketAddr, IpAddr);

/// A socket that clients send to, with its sessions.
struct Front<E: Env> {
    worker: Rc<Worker<E>>,
    bind: Bind,
    socket: Rc<E::Datagrams>,
    /// Holds one datagram between receiving and sending it; shared with the sessions, since nothing waits in between.
    buffer: Rc<RefCell<Box<[u8]>>>,
    sessions: HashMap<SessionKey, Entry<E>>,
    /// Who may have been idle longest, by an instant no later than its last datagram; one for each session, and some that
    /// are over.
    idle: BinaryHeap<Reverse<(Instant, u64, SessionKey)>>,
    serial: u64,
}

struct Entry<E: Env> {
    session: Rc<Session<E>>,
    /// Tells it from an earlier one of the same client.
    serial: u64,
    _place: Place,
}

impl<E: Env> Front<E> {
    /// Passes on what is there, a bounded number.
    fn receive_turn(&mut self) -> Result<(), ErrorKind> {
        let buffer = Rc::clone(&self.buffer);
        let mut buffer = buffer.borrow_mut();
        for _ in 0..TURN_MAX {
            match self.socket.try_receive(&mut buffer) {
                Ok(received) => {
                    self.pass_on((received.from, received.to), &buffer[..received.length]);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    // A signal, or news about a reply that did not arrive.
                    ErrorKind::Interrupted
                    | ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable => {}
                    other => return Err(other),
                },
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, key: SessionKey, datagram: &[u8]) {
        let known = self.sessions.get(&key).map(|entry| Rc::clone(&entry.session));
        let mut tried = None;
        if let Some(session) = known {
            if session.is_good() && session.send(datagram) {
                return;
            }
            // Its endpoint is gone: the datagram begins a session with another one.
            tried = Some(session.endpoint);
            self.end(&key);
        }
        match self.begin(key, tried.as_slice()) {
            Ok(session) => {
                session.send(datagram);
            }
            Err(summary) => self.worker.record_drop(&summary),
        }
    }

    /// Begins a session, elsewhere if it was tried; or says what became of its datagram.
    fn begin(&mut self, key: SessionKey, tried: &[EndpointId]) -> Result<Rc<Session<E>>, TunnelSummary> {
        let worker = &self.worker;
        let mut summary = TunnelSummary::default();
        let forward = match worker.view().udp(&self.bind, worker.env.draw()) {
            L4Decision::Forward(forward) => forward,
            L4Decision::Reject(refusal) => {
                (summary.listener, summary.route) = (refusal.listener, refusal.route);
                return Err(flagged(summary, refusal.flag));
            }
        };
        summary.listener = Some(forward.plan.listener.clone());
        summary.route = Some(forward.plan.route.clone());
        summary.cluster = Some(forward.key().clone());
        let now = worker.env.now();
        let pick = forward.cluster().balancer.borrow_mut().pick(worker.env.draw(), now, tried);
        let Some(pick) = pick else { return Err(flagged(summary, Flag::NoHealthyUpstream)) };
        summary.endpoint = Some(pick.address);
        let Some(place) = self.place() else { return Err(flagged(summary, Flag::OverloadManager)) };
        let worker = &self.worker;
        let Ok(upstream) = worker.env.connect_datagrams(pick.address) else {
            return Err(flagged(summary, Flag::UpstreamConnectionFailure));
        };
        let session = Rc::new(Session {
            cluster: Rc::clone(forward.cluster()),
            _forward: forward,
            endpoint: pick.endpoint,
            upstream,
            key,
            began: now,
            last: Cell::new(now),
            received: Cell::new(0),
            sent: Cell::new(0),
            over: Cell::new(false),
            end: Signal::default(),
            worker: Rc::clone(worker),
        });
        self.serial += 1;
        self.idle.push(Reverse((now, self.serial, key)));
        let entry = Entry { session: Rc::clone(&session), serial: self.serial, _place: place };
        self.sessions.insert(key, entry);
        let live = Rc::clone(&session).live(
            Rc::clone(&self.socket),
            Rc::clone(&self.buffer),
            self.arrival(key),
            summary,
        );
        self.worker.env.spawn(live);
        Ok(session)
    }

    /// A place for a session; the one that has been idle longest makes room if there is none.
    fn place(&mut self) -> Option<Place> {
        let worker = Rc::clone(&self.worker);
        let take = || worker.udp_sessions.take(worker.limits.udp_sessions_max);
        if let Some(place) = take() {
            return Some(place);
        }
        worker.hit(Limit::UdpSessions);
        let (_, key) = self.longest_idle()?;
        self.end(&key);
        take()
    }

    /// Which session has been idle longest, and since when.
    fn longest_idle(&mut self) -> Option<(Instant, SessionKey)> {
        loop {
            let Reverse((noted, serial, key)) = *self.idle.peek()?;
            let entry = self.sessions.get(&key).filter(|entry| entry.serial == serial);
            let last = entry.map(|entry| entry.session.last.get());
            if last == Some(noted) {
                return Some((noted, key));
            }
            self.idle.pop();
            self.idle.extend(last.map(|last| Reverse((last, serial, key))));
        }
    }

    /// When to look again for sessions that are idle: never too late, often too early.
    fn next_expiry(&self, now: Instant) -> Instant {
        let noted = self.idle.peek().map_or(now, |Reverse((noted, ..))| *noted);
        noted + self.worker.limits.udp_session_idle_timeout
    }

    /// Ends sessions that have been idle for too long.
    fn expire(&mut self, now: Instant) {
        let limit = self.worker.limits.udp_session_idle_timeout;
        while let Some((_, key)) = self.longest_idle().filter(|(since, _)| now.since(*since) >= limit) {
            self.end(&key);
        }
    }

    fn end(&mut self, key: &SessionKey) {
        if let Some(entry) = self.sessions.remove(key) {
            entry.session.end.notify();
        }
        // Entries of sessions that are over go when they are met; here, before there are many.
        if self.idle.len() > 2 * self.sessions.len() + TURN_MAX {
            let sessions = &self.sessions;
            self.idle.retain(|Reverse((_, serial, key))| {
                sessions.get(key).is_some_and(|entry| entry.serial == *serial)
            });
        }
    }

    fn close(self) {
        // In their order, so that they end in the same one in every simulation.
        let mut entries: Vec<_> = self.sessions.into_values().collect();
        entries.sort_unstable_by_key(|entry| entry.serial);
        entries.iter().for_each(|entry| entry.session.end.notify());
    }

    fn arrival(&self, (client, local): SessionKey) -> Arrival {
        let unmapped = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let client = unmapped(client);
        Arrival {
            bind: self.bind,
            local: unmapped(SocketAddr::new(local, self.socket.local().port())),
            original_destination: None,
            client,
            trusted: self.worker.trusted.contains(client.ip()),
            scheme: Scheme::Http,
            sni: None,
            listener: None,
            peer: None,
        }
    }
}

fn flagged(mut summary: TunnelSummary, flag: Flag) -> TunnelSummary {
    summary.flags.insert(flag);
    summary
}

/// A client's datagrams to one of our addresses, and the endpoint that they go to.
struct Session<E: Env> {
    worker: Rc<Worker<E>>,
    /// What its route says; kept so that it stays true for the session.
    _forward: L4Forward<Cluster<E>>,
    cluster: Rc<Cluster<E>>,
    endpoint: EndpointId,
    upstream: E::Datagrams,
    key: SessionKey,
    began: Instant,
    last: Cell<Instant>,
    received: Cell<u64>,
    sent: Cell<u64>,
    /// Its endpoint refuses.
    over: Cell<bool>,
    end: Signal,
}

impl<E: Env> Session<E> {
    /// Whether its endpoint may have further datagrams.
    fn is_good(&self) -> bool {
        !self.over.get() && self.cluster.is_listed(self.endpoint)
    }

    /// Passes a datagram on; `false` if the endpoint refused an earlier one, and this one is still to be sent.
    fn send(&self, datagram: &[u8]) -> bool {
        self.last.set(self.worker.env.now());
        match self.upstream.try_send(datagram, None, None) {
            Ok(()) => self.received.set(self.received.get() + datagram.len() as u64),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.refused();
                return false;
            }
            // No room, or too long for the way: lost, as datagrams are.
            Err(_) => {}
        }
        true
    }

    fn refused(&self) {
        if !self.over.replace(true) {
            self.worker.observe(&self.cluster, self.endpoint, Outcome::Failed);
        }
    }

    /// From the first datagram to the record of the last.
    async fn live(
        self: Rc<Self>,
        front: Rc<E::Datagrams>,
        buffer: Rc<RefCell<Box<[u8]>>>,
        arrival: Arrival,
        mut summary: TunnelSummary,
    ) {
        let worker = &self.worker;
        let _open = worker.drain.connection();
        worker.count(Event::UdpSessionStarted);
        self.cluster.balancer.borrow_mut().started(self.endpoint);
        loop {
            match race(self.upstream.readable(), self.end.wait()).await {
                First::Two(()) => break,
                First::One(_) => self.reply_turn(&front, &mut buffer.borrow_mut()),
            }
            if self.over.get() {
                break;
            }
        }
        self.cluster.balancer.borrow_mut().finished(self.endpoint);
        if self.over.get() {
            summary.flags.insert(Flag::UpstreamConnectionFailure);
        }
        (summary.received_bytes, summary.sent_bytes) = (self.received.get(), self.sent.get());
        summary.duration = worker.env.now().since(self.began);
        worker.count(Event::UdpSessionEnded);
        worker.record_tunnel(&summary, &arrival);
    }

    /// Passes replies back, a bounded number.
    fn reply_turn(&self, front: &E::Datagrams, buffer: &mut [u8]) {
        let (client, local) = self.key;
        for _ in 0..TURN_MAX {
            match self.upstream.try_receive(buffer) {
                Ok(reply) => {
                    let now = self.worker.env.now();
                    if self.sent.get() == 0 {
                        let took = now.since(self.began);
                        self.worker.observe(&self.cluster, self.endpoint, Outcome::Answered(took));
                    }
                    self.last.set(now);
                    // What finds no room is lost, as datagrams are.
                    if front.try_send(&buffer[..reply.length], Some(client), Some(local)).is_ok() {
                        self.sent.set(self.sent.get() + reply.length as u64);
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionRefused => return self.refused(),
                    _ => return,
                },
            }
        }
    }
}
