//! The network in memory: addresses, accept queues, byte streams with bounded buffers, datagrams.
//!
//! A stream behaves as Linux's TCP does where it matters to a proxy: a close with unread bytes resets; bytes for a
//! closed socket are answered by a reset; a reset is reported once, by whichever call comes first, and then looks like
//! an end. Nothing is borrowed while a waker runs or a task is dropped.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ringway_proxy::env::{Acceptor, Datagrams, Received, Socket};

use ringway_core::Instant;

use crate::faults::{Faults, Harm};
use crate::trace::Event;
use crate::world::{Alarm, Place, World};

/// Datagrams that a socket keeps; further ones are lost.
const DATAGRAM_QUEUE_MAX: usize = 64;

/// How often and for how long Linux tries to connect: 1 s, 3 s, ... about two minutes.
const CONNECT_TIME: Duration = Duration::from_secs(127);

/// The first port that is given to those who did not choose one.
const EPHEMERAL_PORT_MIN: u16 = 32_768;

/// Everything that has an address.
#[derive(Default)]
pub(crate) struct Network {
    listeners: BTreeMap<SocketAddr, Vec<Rc<Listening>>>,
    datagram_sockets: BTreeMap<SocketAddr, Vec<Rc<DatagramQueue>>>,
    unattached: BTreeMap<u64, Bound>,
    /// Every connection that is not closed on both sides.
    links: BTreeMap<u64, Rc<Link>>,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    ports: BTreeMap<IpAddr, u16>,
    harm: HarmDone,
    open_max: usize,
}

/// How much harm the network has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HarmDone {
    /// To connections from clients.
    pub downstream: u64,
    /// To connections of the proxy.
    pub upstream: u64,
}

enum Bound {
    Stream(Rc<Listening>),
    Datagrams(Rc<DatagramQueue>),
    Connected(SimSocket),
}

/// A socket that no core owns yet. Dropping one that listens closes it.
#[derive(Debug)]
pub struct Unattached {
    id: u64,
    /// The network holds the weak half.
    alive: Arc<()>,
}

/// The address of a place: the cores share the proxy's.
pub(crate) fn address_of(place: Place, v6: bool) -> IpAddr {
    let (network, host) = match place {
        Place::Core(_) => (0, 1),
        Place::Script => (0, 2),
        Place::Peer(index) => (1, index),
    };
    if v6 {
        return Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, network, host).into();
    }
    let [high, low] = host.to_be_bytes();
    Ipv4Addr::new(10, network as u8, high, low).into()
}

impl World {
    /// Opens a listening socket; several may share an address, as with SO_REUSEPORT.
    pub fn listen(&self, address: SocketAddr, backlog: usize) -> Unattached {
        let alive = Arc::new(());
        let state = ListenState {
            queue: VecDeque::new(),
            wakers: Vec::new(),
            open: Openness::Unattached(Arc::downgrade(&alive)),
            place: Place::Script,
        };
        let listening = Rc::new(Listening { address, backlog, state: RefCell::new(state) });
        let id = self.serial();
        self.network(|network| {
            network.listeners.entry(address).or_default().push(Rc::clone(&listening));
            network.unattached.insert(id, Bound::Stream(listening));
        });
        Unattached { id, alive }
    }

    /// Opens a datagram socket; several may share an address, and then each sender has one of them.
    pub fn bind_datagrams(&self, address: SocketAddr) -> Unattached {
        let queue = Rc::new(DatagramQueue { address, connected: None, state: RefCell::default() });
        let id = self.serial();
        self.network(|network| {
            network.datagram_sockets.entry(address).or_default().push(Rc::clone(&queue));
            network.unattached.insert(id, Bound::Datagrams(queue));
        });
        Unattached { id, alive: Arc::new(()) }
    }

    /// The harm done by the network so far.
    pub fn harm_done(&self) -> HarmDone {
        self.network(|network| network.harm)
    }

    /// The connections that the proxy has open, for people to read.
    pub fn core_connections(&self) -> Vec<String> {
        let links: Vec<_> = self.network(|network| network.links.values().cloned().collect());
        links.iter().filter_map(|link| link.open_in_core()).collect()
    }

    /// How many connections from clients a core has open, or is about to get.
    pub fn client_connections(&self, core: usize) -> usize {
        let links: Vec<_> = self.network(|network| network.links.values().cloned().collect());
        let place = Place::Core(core as u16);
        let open = |link: &Link| {
            let end = &link.state.borrow().ends[1];
            end.place == place && !end.closed
        };
        links.iter().filter(|link| open(link)).count()
    }

    /// The most connections that were open at once.
    pub fn connections_max(&self) -> usize {
        self.network(|network| network.open_max)
    }

    fn harmed(&self, link: u64, upstream: bool, what: &'static str) {
        self.network(|network| {
            if upstream {
                network.harm.upstream += 1;
            } else {
                network.harm.downstream += 1;
            }
        });
        self.record(Event::Harm(link, what));
    }

    /// A scripted peer did what the network might have done: the checkers must allow for it.
    pub fn harmed_by_backend(&self, what: &'static str) {
        self.harmed(0, true, what);
    }

    fn harm_rates(&self, upstream: bool) -> Harm {
        let faults = self.faults();
        if upstream { faults.upstream } else { faults.downstream }
    }

    fn latency(&self) -> Duration {
        let most = if self.fault(|faults| faults.stalls) {
            self.faults().stall_max
        } else {
            self.faults().latency_max
        };
        self.draw_duration(most)
    }

    fn free_port(&self, address: IpAddr) -> u16 {
        self.network(|network| {
            let port = network.ports.entry(address).or_insert(EPHEMERAL_PORT_MIN);
            std::mem::replace(port, port.checked_add(1).unwrap_or(EPHEMERAL_PORT_MIN))
        })
    }
}

/// Where a connect or datagram for an address goes: to sockets of that address, or of any address and that port.
fn candidates<T: Clone>(sockets: &BTreeMap<SocketAddr, Vec<T>>, to: SocketAddr) -> Vec<T> {
    let any_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), to.port());
    let any_v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), to.port());
    let found = [to, any_v4, any_v6].into_iter().find_map(|address| sockets.get(&address));
    found.cloned().unwrap_or_default()
}

// ---------------------------------------------------------------------------------------------- listening

struct Listening {
    address: SocketAddr,
    backlog: usize,
    state: RefCell<ListenState>,
}

struct ListenState {
    queue: VecDeque<Rc<Link>>,
    wakers: Vec<Waker>,
    open: Openness,
    place: Place,
}

enum Openness {
    Unattached(Weak<()>),
    Attached,
    Closed,
}

impl Listening {
    fn is_open(&self) -> bool {
        match &self.state.borrow().open {
            Openness::Unattached(alive) => alive.strong_count() > 0,
            Openness::Attached => true,
            Openness::Closed => false,
        }
    }

    fn is_full(&self) -> bool {
        self.state.borrow().queue.len() >= self.backlog
    }
}

/// A listening socket of a core or backend.
pub struct SimAcceptor {
    world: World,
    listening: Rc<Listening>,
}

pub(crate) fn attach_acceptor(world: &World, place: Place, socket: Unattached) -> io::Result<SimAcceptor> {
    match world.network(|network| network.unattached.remove(&socket.id)) {
        Some(Bound::Stream(listening)) => {
            let mut state = listening.state.borrow_mut();
            state.open = Openness::Attached;
            state.place = place;
            for link in &state.queue {
                link.state.borrow_mut().ends[1].place = place;
            }
            drop(state);
            drop(socket.alive);
            Ok(SimAcceptor { world: world.clone(), listening })
        }
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

pub(crate) fn attach_socket(world: &World, place: Place, socket: Unattached) -> io::Result<SimSocket> {
    match world.network(|network| network.unattached.remove(&socket.id)) {
        Some(Bound::Connected(socket)) => {
            socket.link.state.borrow_mut().ends[socket.side].place = place;
            Ok(socket)
        }
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

impl Acceptor for SimAcceptor {
    type Accepted = Unattached;

    async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut state = self.listening.state.borrow_mut();
            let closed = matches!(state.open, Openness::Closed);
            if closed || !state.queue.is_empty() || self.world.fault(|faults| faults.spurious) {
                return Poll::Ready(Ok(()));
            }
            register(&mut state.wakers, cx);
            Poll::Pending
        })
        .await
    }

    fn try_accept(&self) -> io::Result<Unattached> {
        let (socket, _) = self.accept_here()?;
        let id = self.world.serial();
        self.world.network(|network| network.unattached.insert(id, Bound::Connected(socket)));
        Ok(Unattached { id, alive: Arc::new(()) })
    }

    fn local(&self) -> SocketAddr {
        self.listening.address
    }
}

impl SimAcceptor {
    /// Accepts a connection that is there, for where this is; `WouldBlock` if none is.
    pub fn accept_here(&self) -> io::Result<(SimSocket, SocketAddr)> {
        self.world.called();
        let Some(link) = self.listening.state.borrow_mut().queue.pop_front() else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let aborted = self.world.harm_rates(link.upstream).aborted;
        let socket = SimSocket { world: self.world.clone(), link, side: 1 };
        if self.world.draw(|random| random.chance(aborted)) {
            socket.link.harm(&self.world, "aborted before it was accepted");
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.world.record(Event::Accept(socket.link.id));
        let remote = socket.remote();
        Ok((socket, remote))
    }

    /// Whether it accepts no more.
    pub fn is_closed(&self) -> bool {
        !self.listening.is_open()
    }

    /// Closes it: who waits to be accepted is reset.
    pub fn close(&self) {
        let mut state = self.listening.state.borrow_mut();
        state.open = Openness::Closed;
        let queue = std::mem::take(&mut state.queue);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.world.network(|network| {
            if let Some(group) = network.listeners.get_mut(&self.listening.address) {
                group.retain(|other| !Rc::ptr_eq(other, &self.listening));
            }
        });
        for link in queue {
            link.state.borrow_mut().ends[1].reset_on_close = true;
            drop(SimSocket { world: self.world.clone(), link, side: 1 });
        }
        wake(wakers);
    }
}

impl Drop for SimAcceptor {
    fn drop(&mut self) {
        self.close();
    }
}

// ---------------------------------------------------------------------------------------------- connecting

pub(crate) async fn connect(world: &World, place: Place, to: SocketAddr) -> io::Result<SimSocket> {
    let upstream = place.is_core();
    let deadline = world.now() + CONNECT_TIME;
    let failed = |kind: ErrorKind| {
        world.record(Event::ConnectFailed(to, kind));
        io::Error::from(kind)
    };
    world.sleep(world.latency()).await;
    let rates = world.harm_rates(upstream);
    if world.draw(|random| random.chance(rates.refused)) {
        world.harmed(0, upstream, "connect refused");
        return Err(failed(ErrorKind::ConnectionRefused));
    }
    if world.draw(|random| random.chance(rates.black_holes)) {
        world.harmed(0, upstream, "connect never answered");
        world.sleep_until(deadline).await;
        return Err(failed(ErrorKind::TimedOut));
    }
    loop {
        let mut open = world.network(|network| candidates(&network.listeners, to));
        open.retain(|listening| listening.is_open());
        if open.is_empty() {
            return Err(failed(ErrorKind::ConnectionRefused));
        }
        let chosen = &open[world.draw(|random| random.below(open.len() as u64)) as usize];
        if !chosen.is_full() {
            return Ok(establish(world, place, to, chosen));
        }
        // A full accept queue drops what comes; the network tries again a second later.
        if world.now() >= deadline {
            return Err(failed(ErrorKind::TimedOut));
        }
        world.sleep(Duration::from_secs(1)).await;
    }
}

fn establish(world: &World, place: Place, to: SocketAddr, listening: &Rc<Listening>) -> SimSocket {
    let address = address_of(place, to.is_ipv6());
    let from = SocketAddr::new(address, world.free_port(address));
    let mut listen = listening.state.borrow_mut();
    let faults = world.faults();
    let end = |place, local, remote| {
        // As many small ones as large ones.
        let (least, most) = faults.buffer;
        let capacity = world.draw(|random| random.size(least, most) >> random.below(10));
        End::new(place, local, remote, capacity.max(least))
    };
    let ends = [end(place, from, to), end(listen.place, to, from)];
    let link = Rc::new(Link {
        id: world.serial(),
        upstream: place.is_core(),
        state: RefCell::new(LinkState { ends, harmed: false }),
    });
    listen.queue.push_back(Rc::clone(&link));
    let wakers = std::mem::take(&mut listen.wakers);
    drop(listen);
    world.network(|network| {
        network.links.insert(link.id, Rc::clone(&link));
        network.open_max = network.open_max.max(network.links.len());
    });
    world.record(Event::Connect { link: link.id, from, to });
    wake(wakers);
    SimSocket { world: world.clone(), link, side: 0 }
}

// ---------------------------------------------------------------------------------------------- streams

/// A connection: two ends, and what is on its way to each.
pub(crate) struct Link {
    id: u64,
    /// The proxy made it.
    upstream: bool,
    state: RefCell<LinkState>,
}

struct LinkState {
    /// Who connected, who was connected to.
    ends: [End; 2],
    harmed: bool,
}

struct End {
    place: Place,
    local: SocketAddr,
    remote: SocketAddr,
    /// On its way to here, in order, with the time of arrival.
    transit: VecDeque<(Instant, Arriving)>,
    transit_bytes: usize,
    /// Arrived and not yet read.
    received: VecDeque<u8>,
    /// What transit and received may hold together.
    capacity: usize,
    /// The other side will write no more, and everything before that was received.
    ended: bool,
    /// An error not yet told to anybody.
    error: Option<ErrorKind>,
    /// A reset came or went: nothing more will pass.
    broken: bool,
    write_shut: bool,
    write_stalled_until: Instant,
    reset_on_close: bool,
    closed: bool,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

enum Arriving {
    Bytes(Vec<u8>),
    End,
    Reset,
}

impl End {
    fn new(place: Place, local: SocketAddr, remote: SocketAddr, capacity: usize) -> Self {
        Self {
            place,
            local,
            remote,
            transit: VecDeque::new(),
            transit_bytes: 0,
            received: VecDeque::new(),
            capacity,
            ended: false,
            error: None,
            broken: false,
            write_shut: false,
            write_stalled_until: Instant::ORIGIN,
            reset_on_close: false,
            closed: false,
            readers: Vec::new(),
            writers: Vec::new(),
        }
    }

    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.transit_bytes + self.received.len())
    }

    fn readable(&self) -> bool {
        !self.received.is_empty() || self.ended || self.broken || self.error.is_some()
    }

    fn break_off(&mut self, wakers: &mut Vec<Waker>) {
        self.error = Some(ErrorKind::ConnectionReset);
        self.broken = true;
        self.transit.clear();
        self.transit_bytes = 0;
        wakers.append(&mut self.readers);
        wakers.append(&mut self.writers);
    }
}

impl Link {
    /// Moves what is due from the way into the end's hands.
    pub(crate) fn arrive(self: &Rc<Self>, world: &World, side: usize) {
        let mut wakers = Vec::new();
        let mut reset_back = false;
        let mut state = self.state.borrow_mut();
        let end = &mut state.ends[side];
        while end.transit.front().is_some_and(|(at, _)| *at <= world.now()) {
            let (_, arriving) = end.transit.pop_front().expect("it is there");
            match arriving {
                Arriving::Bytes(bytes) => {
                    end.transit_bytes -= bytes.len();
                    if end.closed {
                        reset_back = true;
                    } else if !end.broken {
                        end.received.extend(bytes);
                    }
                }
                Arriving::End => end.ended = true,
                Arriving::Reset => {
                    // Whether what was received before stays readable depends on the stack, and on the moment.
                    if world.draw(|random| random.chance(500_000)) {
                        end.received.clear();
                    }
                    end.break_off(&mut wakers);
                    world.record(Event::Reset(self.id, side as u8));
                }
            }
            wakers.append(&mut end.readers);
        }
        // Its writer may have waited for room that bytes to a closed end have left.
        wakers.append(&mut state.ends[1 - side].writers);
        drop(state);
        if reset_back {
            self.send(world, 1 - side, Arriving::Reset);
        }
        wake(wakers);
    }

    /// Puts something on its way to a side.
    fn send(self: &Rc<Self>, world: &World, to: usize, what: Arriving) {
        let latency = world.latency();
        let mut state = self.state.borrow_mut();
        let end = &mut state.ends[to];
        if end.broken {
            return;
        }
        // Nothing overtakes within a stream.
        let last = end.transit.back().map_or(world.now(), |(at, _)| *at);
        let at = last.max(world.now() + latency);
        if let Arriving::Bytes(bytes) = &what {
            end.transit_bytes += bytes.len();
        }
        end.transit.push_back((at, what));
        drop(state);
        world.alarm(at, Alarm::Arrive(Rc::clone(self), to));
    }

    /// The network breaks the connection, for both sides at once.
    fn harm(&self, world: &World, what: &'static str) {
        let mut wakers = Vec::new();
        let purge = world.draw(|random| random.chance(500_000));
        let mut state = self.state.borrow_mut();
        if state.ends.iter().any(|end| end.broken) {
            return;
        }
        state.harmed = true;
        for end in &mut state.ends {
            if purge {
                end.received.clear();
            }
            end.break_off(&mut wakers);
        }
        drop(state);
        world.harmed(self.id, self.upstream, what);
        wake(wakers);
    }

    fn open_in_core(&self) -> Option<String> {
        let state = self.state.borrow();
        let end = state.ends.iter().find(|end| end.place.is_core() && !end.closed)?;
        Some(format!("link {} of {}: {} - {}", self.id, end.place, end.local, end.remote))
    }
}

/// A connection that is watched for harm.
pub struct Watch(Rc<Link>);

impl Watch {
    /// Whether the network has broken it.
    pub fn harmed(&self) -> bool {
        self.0.state.borrow().harmed
    }
}

/// A connected stream socket.
pub struct SimSocket {
    world: World,
    link: Rc<Link>,
    side: usize,
}

impl SimSocket {
    /// Whether the network has broken this connection: then its failure is nobody's fault.
    pub fn harmed(&self) -> bool {
        self.link.state.borrow().harmed
    }

    /// Tells of harm to this connection, also after this side has ended: what it sent may still be on its way.
    pub fn watch(&self) -> Watch {
        Watch(Rc::clone(&self.link))
    }

    /// Whether a reset has reached this side, from the network or from the other.
    pub fn was_reset(&self) -> bool {
        self.link.state.borrow().ends[self.side].broken
    }

    /// [`harmed`](Self::harmed) for when the socket is in other hands.
    pub fn harm_watch(&self) -> impl Fn() -> bool + Clone + 'static {
        let link = Rc::clone(&self.link);
        move || link.state.borrow().harmed
    }

    /// The number of the connection in the trace.
    pub fn link(&self) -> u64 {
        self.link.id
    }

    /// Waits until reading may give something.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let spurious = self.world.fault(|faults| faults.spurious);
        let mut state = self.link.state.borrow_mut();
        let end = &mut state.ends[self.side];
        if spurious || end.readable() {
            return Poll::Ready(Ok(()));
        }
        register(&mut end.readers, cx);
        Poll::Pending
    }

    /// Waits until writing may take something.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let spurious = self.world.fault(|faults| faults.spurious);
        let now = self.world.now();
        let mut state = self.link.state.borrow_mut();
        let room = state.ends[1 - self.side].room() > 0;
        let end = &mut state.ends[self.side];
        if spurious || end.broken || end.write_shut || (room && end.write_stalled_until <= now) {
            return Poll::Ready(Ok(()));
        }
        register(&mut end.writers, cx);
        let stalled_until = end.write_stalled_until;
        drop(state);
        if stalled_until > now {
            self.world.alarm(stalled_until, Alarm::Wake(cx.waker().clone()));
        }
        Poll::Pending
    }

    fn maybe_reset(&self) {
        let rate = self.world.harm_rates(self.link.upstream).resets;
        if self.world.draw(|random| random.chance(rate)) {
            self.link.harm(&self.world, "reset");
        }
    }

    /// What a call may move of what it could: sometimes less, never nothing.
    fn amount(&self, possible: usize, short: impl FnOnce(&Faults) -> u32) -> usize {
        if possible > 1 && self.world.fault(short) {
            return self.world.draw(|random| random.size(1, possible - 1));
        }
        possible
    }
}

impl Socket for SimSocket {
    async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "a read into nothing cannot be told from the end");
        self.world.called();
        self.maybe_reset();
        let mut state = self.link.state.borrow_mut();
        let end = &mut state.ends[self.side];
        let count = self.amount(end.received.len().min(buffer.len()), |faults| faults.short_reads);
        if count == 0 {
            if let Some(kind) = end.error.take() {
                return Err(kind.into());
            }
            if end.broken || end.ended {
                drop(state);
                self.world.record(Event::Read(self.link.id, self.side as u8, 0));
                return Ok(0);
            }
            return Err(ErrorKind::WouldBlock.into());
        }
        let (front, back) = end.received.as_slices();
        let from_front = count.min(front.len());
        buffer[..from_front].copy_from_slice(&front[..from_front]);
        buffer[from_front..count].copy_from_slice(&back[..count - from_front]);
        end.received.drain(..count);
        let wakers = std::mem::take(&mut state.ends[1 - self.side].writers);
        drop(state);
        self.world.record(Event::Read(self.link.id, self.side as u8, count));
        wake(wakers);
        Ok(count)
    }

    fn try_write(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.world.called();
        self.maybe_reset();
        let stall = self.world.fault(|faults| faults.write_stalls);
        let now = self.world.now();
        let mut state = self.link.state.borrow_mut();
        let room = state.ends[1 - self.side].room();
        let end = &mut state.ends[self.side];
        if let Some(kind) = end.error.take() {
            return Err(kind.into());
        }
        if end.broken || end.write_shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if stall {
            end.write_stalled_until = now + self.world.draw_duration(self.world.faults().stall_max);
        }
        let wanted: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if wanted == 0 {
            return Ok(0);
        }
        if room == 0 || end.write_stalled_until > now {
            return Err(ErrorKind::WouldBlock.into());
        }
        drop(state);
        let count = self.amount(wanted.min(room), |faults| faults.short_writes);
        let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).take(count).collect();
        self.link.send(&self.world, 1 - self.side, Arriving::Bytes(bytes));
        self.world.record(Event::Write(self.link.id, self.side as u8, count));
        Ok(count)
    }

    fn is_gone(&self) -> bool {
        self.world.called();
        self.link.state.borrow().ends[self.side].broken
    }

    fn shutdown_write(&self) -> io::Result<()> {
        let mut state = self.link.state.borrow_mut();
        let end = &mut state.ends[self.side];
        if end.broken {
            return Err(ErrorKind::NotConnected.into());
        }
        if std::mem::replace(&mut end.write_shut, true) {
            return Ok(());
        }
        drop(state);
        self.world.record(Event::Shutdown(self.link.id, self.side as u8));
        self.link.send(&self.world, 1 - self.side, Arriving::End);
        Ok(())
    }

    fn reset_on_close(&self) {
        self.link.state.borrow_mut().ends[self.side].reset_on_close = true;
    }

    fn local(&self) -> SocketAddr {
        self.link.state.borrow().ends[self.side].local
    }

    fn remote(&self) -> SocketAddr {
        self.link.state.borrow().ends[self.side].remote
    }

    fn original_destination(&self) -> Option<SocketAddr> {
        None
    }

    fn raw_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut state = self.link.state.borrow_mut();
        let end = &mut state.ends[self.side];
        end.closed = true;
        let farewell = match end {
            End { broken: true, .. } => None,
            End { reset_on_close: true, .. } => Some(Arriving::Reset),
            End { received, .. } if !received.is_empty() => Some(Arriving::Reset),
            End { write_shut: true, .. } => None,
            _ => Some(Arriving::End),
        };
        end.broken |= matches!(farewell, Some(Arriving::Reset));
        end.received.clear();
        end.readers.clear();
        end.writers.clear();
        let both_closed = state.ends.iter().all(|end| end.closed);
        drop(state);
        self.world.record(Event::Close(self.link.id, self.side as u8));
        if both_closed {
            self.world.network(|network| network.links.remove(&self.link.id));
        }
        if let Some(farewell) = farewell {
            self.link.send(&self.world, 1 - self.side, farewell);
        }
    }
}

// ---------------------------------------------------------------------------------------------- datagrams

/// A datagram on its way.
pub(crate) struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct DatagramQueue {
    address: SocketAddr,
    connected: Option<SocketAddr>,
    state: RefCell<DatagramState>,
}

#[derive(Default)]
struct DatagramState {
    queue: VecDeque<Datagram>,
    error: Option<ErrorKind>,
    wakers: Vec<Waker>,
}

/// A datagram socket.
pub struct SimDatagrams {
    world: World,
    queue: Rc<DatagramQueue>,
}

pub(crate) fn attach_datagrams(world: &World, socket: Unattached) -> io::Result<SimDatagrams> {
    match world.network(|network| network.unattached.remove(&socket.id)) {
        Some(Bound::Datagrams(queue)) => Ok(SimDatagrams { world: world.clone(), queue }),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

pub(crate) fn connect_datagrams(world: &World, place: Place, to: SocketAddr) -> SimDatagrams {
    let address = address_of(place, to.is_ipv6());
    let address = SocketAddr::new(address, world.free_port(address));
    let queue = Rc::new(DatagramQueue { address, connected: Some(to), state: RefCell::default() });
    world.network(|network| network.datagram_sockets.entry(address).or_default().push(Rc::clone(&queue)));
    SimDatagrams { world: world.clone(), queue }
}

impl Datagram {
    pub(crate) fn arrive(self, world: &World) {
        let sockets = world.network(|network| candidates(&network.datagram_sockets, self.to));
        // A sender always has the same one of several sockets, as the kernel's hash sees to.
        let hash = usize::from(self.from.port());
        let Some(queue) = sockets.get(hash % sockets.len().max(1)) else {
            return self.unreachable(world);
        };
        if queue.connected.is_some_and(|to| to != self.from) {
            return;
        }
        let mut state = queue.state.borrow_mut();
        if state.queue.len() < DATAGRAM_QUEUE_MAX {
            state.queue.push_back(self);
        }
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wake(wakers);
    }

    /// Nobody is there: a connected sender is told, once.
    fn unreachable(self, world: &World) {
        let senders = world.network(|network| candidates(&network.datagram_sockets, self.from));
        for sender in senders.iter().filter(|sender| sender.connected == Some(self.to)) {
            let mut state = sender.state.borrow_mut();
            state.error = Some(ErrorKind::ConnectionRefused);
            let wakers = std::mem::take(&mut state.wakers);
            drop(state);
            wake(wakers);
        }
    }
}

impl Datagrams for SimDatagrams {
    async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let spurious = self.world.fault(|faults| faults.spurious);
            let mut state = self.queue.state.borrow_mut();
            if spurious || !state.queue.is_empty() || state.error.is_some() {
                return Poll::Ready(Ok(()));
            }
            register(&mut state.wakers, cx);
            Poll::Pending
        })
        .await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.world.called();
        let mut state = self.queue.state.borrow_mut();
        if let Some(kind) = state.error.take() {
            return Err(kind.into());
        }
        let Some(datagram) = state.queue.pop_front() else { return Err(ErrorKind::WouldBlock.into()) };
        let length = datagram.bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram.bytes[..length]);
        Ok(Received { length, from: datagram.from, to: datagram.to.ip() })
    }

    fn try_send(&self, datagram: &[u8], to: Option<SocketAddr>, from: Option<IpAddr>) -> io::Result<()> {
        let to = to.or(self.queue.connected).ok_or(ErrorKind::NotConnected)?;
        let from = SocketAddr::new(from.unwrap_or(self.queue.address.ip()), self.queue.address.port());
        let lost = self.world.fault(|faults| faults.datagram_loss);
        let copied = self.world.fault(|faults| faults.datagram_copies);
        let copies = u8::from(!lost) * (1 + u8::from(copied));
        self.world.record(Event::Datagram(from, to, datagram.len(), copies));
        for _ in 0..copies {
            // Each takes its own time: this is how they are reordered.
            let at = self.world.now() + self.world.latency();
            self.world.alarm(at, Alarm::Datagram(Datagram { from, to, bytes: datagram.to_vec() }));
        }
        Ok(())
    }

    fn local(&self) -> SocketAddr {
        self.queue.address
    }
}

impl Drop for SimDatagrams {
    fn drop(&mut self) {
        self.world.network(|network| {
            if let Some(group) = network.datagram_sockets.get_mut(&self.queue.address) {
                group.retain(|other| !Rc::ptr_eq(other, &self.queue));
            }
        });
    }
}

// ---------------------------------------------------------------------------------------------- waking

fn register(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
