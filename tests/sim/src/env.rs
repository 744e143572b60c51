//! The simulated outside world as the proxy sees it: [`Env`] over a [`World`].

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use ringway_core::Instant;
use ringway_proxy::env::{CoreIndex, Env};
use ringway_proxy::mailbox::Message;

use crate::network::{self, SimAcceptor, SimDatagrams, SimSocket, Unattached};
use crate::random::Random;
use crate::trace::Event;
use crate::world::{Alarm, Place, World};

/// 2026-01-01: the wall clock at the beginning of every run.
const WALL_AT_ORIGIN: Duration = Duration::from_secs(1_767_225_600);

/// Messages that wait for a core. The worlds here are small.
const MAILBOX_MAX: usize = 10_000;

/// One core's, or one peer's, view of the world.
#[derive(Clone)]
pub struct SimEnv {
    world: World,
    place: Place,
}

/// Messages on their way to a core.
#[derive(Default)]
pub(crate) struct Mailbox {
    /// In the order of sending, with when each arrives: never before the one ahead of it.
    messages: VecDeque<(Instant, Message<Unattached>)>,
    closed: bool,
    /// Client connections that the core has or is about to get.
    load: usize,
    receiver: Option<Waker>,
}

impl SimEnv {
    pub(crate) fn new(world: World, place: Place) -> Self {
        Self { world, place }
    }

    /// The world behind it.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Where this is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The address that connections from here come from.
    pub fn address(&self) -> IpAddr {
        network::address_of(self.place, false)
    }

    /// Listens: what a backend does. The proxy is sent its sockets by mail.
    pub fn listen(&self, port: u16) -> SimAcceptor {
        let socket = self.world.listen(SocketAddr::new(self.address(), port), 128);
        self.attach_acceptor(socket).expect("it was made just now")
    }

    /// A datagram socket on a port.
    pub fn bind_datagrams(&self, port: u16) -> SimDatagrams {
        let socket = self.world.bind_datagrams(SocketAddr::new(self.address(), port));
        self.attach_datagrams(socket).expect("it was made just now")
    }

    /// Waits for a while.
    pub async fn sleep(&self, duration: Duration) {
        self.world.sleep(duration).await;
    }
}

impl Env for SimEnv {
    type Socket = SimSocket;
    type Acceptor = SimAcceptor;
    type Datagrams = SimDatagrams;
    type Unattached = Unattached;

    fn now(&self) -> Instant {
        self.world.now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + WALL_AT_ORIGIN + self.now().since(Instant::ORIGIN)
    }

    fn draw(&self) -> u64 {
        self.world.draw(Random::bits)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.spawn(self.place, task);
    }

    fn panics(&self) -> u64 {
        // A panic ends the whole run.
        0
    }

    async fn sleep_until(&self, at: Instant) {
        self.world.sleep_until(at).await;
    }

    async fn turn(&self) {
        self.world.pause().await;
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<SimSocket> {
        network::connect(&self.world, self.place, to).await
    }

    fn connect_datagrams(&self, to: SocketAddr) -> io::Result<SimDatagrams> {
        Ok(network::connect_datagrams(&self.world, self.place, to))
    }

    fn attach_acceptor(&self, socket: Unattached) -> io::Result<SimAcceptor> {
        network::attach_acceptor(&self.world, self.place, socket)
    }

    fn attach_socket(&self, socket: Unattached) -> io::Result<SimSocket> {
        network::attach_socket(&self.world, self.place, socket)
    }

    fn attach_datagrams(&self, socket: Unattached) -> io::Result<SimDatagrams> {
        network::attach_datagrams(&self.world, socket)
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let most = self.world.faults().latency_max;
        self.world.sleep(self.world.draw_duration(most)).await;
        let answer = self.world.network(|network| network.names.get(host).cloned());
        answer.filter(|addresses| !addresses.is_empty()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn core(&self) -> CoreIndex {
        match self.place {
            Place::Core(index) => CoreIndex { index: usize::from(index), count: self.world.cores() },
            Place::Peer(_) | Place::Script => CoreIndex { index: 0, count: 1 },
        }
    }

    fn post(&self, core: usize, message: Message<Unattached>) {
        self.world.post(core, message);
    }

    fn load(&self, core: usize) -> usize {
        self.world.mailbox(core).borrow().load
    }

    fn add_load(&self, core: usize) {
        self.world.mailbox(core).borrow_mut().load += 1;
    }

    fn end_load(&self) {
        let mut mailbox = self.world.mailbox(self.core().index).borrow_mut();
        // The end of a run empties the mailboxes first.
        mailbox.load = mailbox.load.saturating_sub(1);
    }

    async fn receive(&self) -> Option<Message<Unattached>> {
        let Place::Core(core) = self.place else { return None };
        poll_fn(|cx| {
            let mut mailbox = self.world.mailbox(usize::from(core)).borrow_mut();
            match mailbox.messages.front() {
                Some((at, _)) if *at <= self.world.now() => {}
                None if mailbox.closed => return Poll::Ready(None),
                _ => {
                    mailbox.receiver = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            let message = mailbox.messages.pop_front().map(|(_, message)| message);
            drop(mailbox);
            self.world.record(Event::Mail(core));
            Poll::Ready(message)
        })
        .await
    }
}

impl World {
    /// Sends a message to a core. Messages to one core arrive in order, each after a drawn delay.
    pub fn post(&self, core: usize, message: Message<Unattached>) {
        let delay = self.draw_duration(self.faults().mail_max);
        let mut mailbox = self.mailbox(core).borrow_mut();
        let last = mailbox.messages.back().map_or(self.now(), |(at, _)| *at);
        let at = last.max(self.now() + delay);
        mailbox.messages.push_back((at, message));
        let waiting = mailbox.messages.len();
        drop(mailbox);
        if waiting > MAILBOX_MAX {
            self.violated(format!("{waiting} messages wait for core {core}"));
        }
        self.alarm(at, Alarm::Mail(core));
    }

    /// Says that no core will get a further message.
    pub fn close_mailboxes(&self) {
        for core in 0..self.cores() {
            self.mailbox(core).borrow_mut().closed = true;
            deliver_mail(self, core);
        }
    }

    /// What a name resolves to from now on; nothing: the name does not exist.
    pub fn name(&self, host: &str, addresses: Vec<IpAddr>) {
        self.network(|network| network.names.insert(host.to_owned(), addresses));
    }
}

pub(crate) fn deliver_mail(world: &World, core: usize) {
    let receiver = world.mailbox(core).borrow_mut().receiver.take();
    if let Some(waker) = receiver {
        waker.wake();
    }
}
