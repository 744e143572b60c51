//! One core of the machine.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use ringway_core::Instant;
use ringway_core::health::Finding;

use super::clock::{self, Clock};
use super::datagrams::MachineDatagrams;
use super::stream::{MachineAcceptor, MachineSocket};
use super::turn::Turns;
use crate::env::{CoreIndex, Env};
use crate::mailbox::Message;
use crate::resolver::Resolver;

/// A socket that no core owns yet.
pub struct Unattached {
    pub(super) fd: OwnedFd,
    /// The other end of an accepted one, which the kernel told already.
    pub(super) remote: Option<SocketAddr>,
}

impl Unattached {
    /// A listening or datagram socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, remote: None }
    }

    pub(crate) fn accepted(fd: OwnedFd, remote: SocketAddr) -> Self {
        Self { fd, remote: Some(remote) }
    }
}

/// The mailboxes of all cores: what the control thread and every core holds.
#[derive(Clone)]
pub struct Mailboxes(Arc<[Mailbox]>);

struct Mailbox {
    sender: flume::Sender<Message<Unattached>>,
    load: Load,
    /// Messages that found no room.
    shed: AtomicU64,
}

/// Messages that wait for a core. Each is about a connection, a waiting request, a token or an endpoint of its sender, one or two
/// for each; only failures of endpoints have no such bound. A core that reads nothing while `requests_max` wait on each of six
/// others could still be sent more: then messages are lost, and counted.
const MAILBOX_MAX: usize = 1 << 20;

/// With so many waiting, further failures of endpoints are not told: enough are known to decide.
const CROWDED: usize = 1 << 14;

/// Client connections of a core. Touched when one begins or ends, never by a request; on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Load(AtomicUsize);

impl Mailboxes {
    /// Mailboxes for so many cores, and the end that each core receives from.
    pub fn new(cores: usize) -> (Self, Vec<flume::Receiver<Message<Unattached>>>) {
        let one = |_| {
            let (sender, receiver) = flume::bounded(MAILBOX_MAX);
            (Mailbox { sender, load: Load::default(), shed: AtomicU64::new(0) }, receiver)
        };
        let (mailboxes, receivers): (Vec<_>, Vec<_>) = (0..cores).map(one).unzip();
        (Self(mailboxes.into()), receivers)
    }

    /// How many cores there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Sends to a core, without waiting. One that has ended needs no message.
    pub fn post(&self, core: usize, message: Message<Unattached>) {
        let Mailbox { sender, shed, .. } = &self.0[core];
        let spare = matches!(&message, Message::Observed { report, .. } if report.finding == Finding::Failed);
        if spare && sender.len() >= CROWDED {
            shed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Err(flume::TrySendError::Full(_)) = sender.try_send(message)
            && shed.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!(
                core,
                "a core does not read its messages, a fault of ringway's: limits may be too strict now"
            );
        }
    }

    /// Client connections of all cores.
    pub fn connections(&self) -> usize {
        self.0.iter().map(|mailbox| mailbox.load.0.load(Ordering::Relaxed)).sum()
    }

    /// Messages that found no room so far.
    pub fn shed(&self) -> u64 {
        self.0.iter().map(|mailbox| mailbox.shed.load(Ordering::Relaxed)).sum()
    }
}

/// The environment of one core.
#[derive(Clone)]
pub struct Machine(Rc<Core>);

struct Core {
    clock: Clock,
    random: RefCell<fastrand::Rng>,
    index: CoreIndex,
    mailboxes: Mailboxes,
    mailbox: flume::Receiver<Message<Unattached>>,
    resolver: Resolver,
    panics: Cell<u64>,
    turns: Turns,
}

/// How long a turn lasts where there are no descriptors to tell when it is over: the least that the clock can.
const REST: Duration = Duration::from_millis(1);

impl Machine {
    /// The environment of a core, to be made on its own thread.
    pub fn new(
        origin: std::time::Instant,
        index: usize,
        mailboxes: Mailboxes,
        mailbox: flume::Receiver<Message<Unattached>>,
        resolver: Resolver,
    ) -> Self {
        let index = CoreIndex { index, count: mailboxes.count() };
        Self(Rc::new(Core {
            clock: Clock::new(origin),
            random: RefCell::new(fastrand::Rng::new()),
            index,
            mailboxes,
            mailbox,
            resolver,
            panics: Cell::new(0),
            turns: Turns::default(),
        }))
    }
}

impl Env for Machine {
    type Socket = MachineSocket;
    type Acceptor = MachineAcceptor;
    type Datagrams = MachineDatagrams;
    type Unattached = Unattached;

    fn now(&self) -> Instant {
        self.0.clock.now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn draw(&self) -> u64 {
        self.0.random.borrow_mut().u64(..)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        drop(monoio::spawn(Guarded { task, core: Rc::clone(&self.0) }));
    }

    fn panics(&self) -> u64 {
        self.0.panics.get()
    }

    async fn sleep_until(&self, at: Instant) {
        monoio::time::sleep_until(monoio::time::Instant::from_std(self.0.clock.machine(at))).await;
        clock::pass();
    }

    async fn turn(&self) {
        let (turn, begins) = self.0.turns.join();
        if begins {
            let env = self.clone();
            self.spawn(async move {
                let over = Over(&env.0.turns);
                if !env.0.turns.pass().await {
                    env.sleep_until(env.now() + REST).await;
                }
                drop(over);
            });
        }
        turn.opened().await;
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<MachineSocket> {
        MachineSocket::connect(to).await
    }

    fn connect_datagrams(&self, to: SocketAddr) -> io::Result<MachineDatagrams> {
        MachineDatagrams::connect(to)
    }

    fn attach_acceptor(&self, socket: Unattached) -> io::Result<MachineAcceptor> {
        MachineAcceptor::attach(socket.fd)
    }

    fn attach_socket(&self, socket: Unattached) -> io::Result<MachineSocket> {
        MachineSocket::attach(socket)
    }

    fn attach_datagrams(&self, socket: Unattached) -> io::Result<MachineDatagrams> {
        MachineDatagrams::attach(socket.fd)
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.0.resolver.resolve(host).await
    }

    fn core(&self) -> CoreIndex {
        self.0.index
    }

    fn post(&self, core: usize, message: Message<Unattached>) {
        self.0.mailboxes.post(core, message);
    }

    fn load(&self, core: usize) -> usize {
        self.0.mailboxes.0[core].load.0.load(Ordering::Relaxed)
    }

    fn add_load(&self, core: usize) {
        self.0.mailboxes.0[core].load.0.fetch_add(1, Ordering::Relaxed);
    }

    fn end_load(&self) {
        self.0.mailboxes.0[self.0.index.index].load.0.fetch_sub(1, Ordering::Relaxed);
    }

    async fn receive(&self) -> Option<Message<Unattached>> {
        let message = self.0.mailbox.recv_async().await;
        // The core's main future is no spawned task.
        clock::pass();
        message.ok()
    }
}

/// Ends a turn, come what may: others wait for it.
struct Over<'a>(&'a Turns);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A task whose panic ends it alone: monoio would let it end the core.
struct Guarded<F> {
    task: F,
    core: Rc<Core>,
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Since the last task ran, or while this one waited.
        clock::pass();
        let core = Rc::clone(&self.core);
        // SAFETY: the field is pinned because its owner is, and nothing moves it out.
        #[allow(unsafe_code)]
        let task = unsafe { self.map_unchecked_mut(|guarded| &mut guarded.task) };
        // The task is not polled again after a panic, so nobody sees what it left half done, except through cells
        // that it shares with its core; those are borrowed for single statements only.
        match std::panic::catch_unwind(AssertUnwindSafe(|| task.poll(cx))) {
            Ok(poll) => poll,
            Err(_) => {
                tracing::error!("a task panicked: its connection is lost, the core goes on");
                core.panics.set(core.panics.get() + 1);
                Poll::Ready(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway_config::ClusterKey;
    use ringway_core::health::Report;

    use super::*;

    #[test]
    fn a_core_that_does_not_read_is_told_of_failures_up_to_a_number_and_of_the_rest_in_full() {
        let (mailboxes, receivers) = Mailboxes::new(1);
        let failed = || Message::Observed {
            cluster: ClusterKey::new("app"),
            core: 0,
            report: Report { address: ([127, 0, 0, 1], 80).into(), finding: Finding::Failed },
        };
        (0..CROWDED + 10).for_each(|_| mailboxes.post(0, failed()));
        assert_eq!((receivers[0].len(), mailboxes.shed()), (CROWDED, 10));
        mailboxes.post(0, Message::Retire);
        assert_eq!((receivers[0].len(), mailboxes.shed()), (CROWDED + 1, 10));
    }
    use crate::io::{Driver, run_on};

    #[test]
    fn tasks_that_take_turns_at_once_all_go_on_and_leave_the_clock_its_own() {
        for driver in [Driver::IoUring, Driver::Epoll] {
            let ran = run_on(&driver.choose(1).unwrap(), async {
                let (mailboxes, mut receivers) = Mailboxes::new(1);
                let resolver = Resolver::start().unwrap();
                let env =
                    Machine::new(std::time::Instant::now(), 0, mailboxes, receivers.remove(0), resolver);
                let (sender, receiver) = flume::bounded::<()>(1);
                let over = Rc::new(Cell::new(false));
                for _ in 0..3 {
                    let (env, sender, over) = (env.clone(), sender.clone(), Rc::clone(&over));
                    env.clone().spawn(async move {
                        while !over.get() {
                            env.turn().await;
                        }
                        drop(sender);
                    });
                }
                drop(sender);
                env.sleep_until(env.now() + Duration::from_millis(5)).await;
                over.set(true);
                // Disconnected: all three have seen it.
                assert!(receiver.recv_async().await.is_err());
            });
            ran.unwrap();
        }
    }

    #[test]
    fn a_turn_is_far_shorter_than_the_clock_can_tell() {
        const TURNS: u32 = 200;
        for driver in [Driver::IoUring, Driver::Epoll] {
            let ran = run_on(&driver.choose(1).unwrap(), async {
                let (mailboxes, mut receivers) = Mailboxes::new(1);
                let resolver = Resolver::start().unwrap();
                let env =
                    Machine::new(std::time::Instant::now(), 0, mailboxes, receivers.remove(0), resolver);
                let begun = std::time::Instant::now();
                for _ in 0..TURNS {
                    env.turn().await;
                }
                let turned = begun.elapsed();
                assert!(env.0.turns.join().1, "none is waited for any more");
                let begun = std::time::Instant::now();
                for _ in 0..TURNS {
                    monoio::time::sleep(REST).await;
                }
                assert!(turned * 2 < begun.elapsed(), "{turned:?} for {TURNS} turns");
            });
            ran.unwrap();
        }
    }

    #[test]
    fn a_panic_ends_its_task_alone_and_is_counted() {
        for driver in [Driver::IoUring, Driver::Epoll] {
            let choice = driver.choose(1).unwrap();
            let counted = Rc::new(Cell::new(0));
            let seen = Rc::clone(&counted);
            let ran = run_on(&choice, async move {
                let (mailboxes, mut receivers) = Mailboxes::new(1);
                let resolver = Resolver::start().unwrap();
                let env =
                    Machine::new(std::time::Instant::now(), 0, mailboxes, receivers.remove(0), resolver);
                let (sender, receiver) = flume::bounded(1);
                env.spawn(async { panic!("as this test wants it") });
                env.spawn(async move { sender.send(()).unwrap() });
                receiver.recv_async().await.unwrap();
                seen.set(env.panics());
            });
            ran.unwrap();
            assert_eq!(counted.get(), 1);
        }
    }
}
