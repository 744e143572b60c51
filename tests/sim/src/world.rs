//! The executor: simulated cores and peers as tasks of one thread, under a virtual clock.
//!
//! Whatever could differ from run to run is drawn from the seed: which task runs next, how long that takes, when a
//! core stands still. When nothing can run, the clock jumps to the next timer. A run that makes no progress ends as a
//! failure, not as a hang.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use ringway_core::Instant;

use crate::env::{Mailbox, SimEnv};
use crate::faults::Faults;
use crate::network::{Link, Network};
use crate::random::Random;
use crate::trace::{Event, Trace};

/// Where a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// On a core of the proxy.
    Core(u16),
    /// In a client or backend.
    Peer(u16),
    /// In the scenario's own script.
    Script,
}

impl Place {
    /// Whether the proxy runs here.
    pub fn is_core(self) -> bool {
        matches!(self, Self::Core(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(index) => f.pad(&format!("core {index}")),
            Self::Peer(index) => f.pad(&format!("peer {index}")),
            Self::Script => f.pad("script"),
        }
    }
}

/// When a run is given up.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Polls of tasks in all: what a run may cost.
    pub polls_max: u64,
    /// Polls of one task within a virtual second in which it neither reads, writes nor does anything else that others
    /// could see: it spins.
    pub spin_polls_max: u64,
    /// Virtual time.
    pub time_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { polls_max: 3_000_000, spin_polls_max: 20_000, time_max: Duration::from_secs(7200) }
    }
}

/// Socket calls that one poll may make.
const CALLS_MAX: u64 = 100_000;

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// Replays it.
    pub seed: u64,
    /// What was violated, if anything was.
    pub violation: Option<String>,
    /// What happened.
    pub trace: Trace,
    /// Polls it took.
    pub polls: u64,
    /// Virtual time it took.
    pub time: Duration,
}

/// Runs a script to its end or to the first violation.
pub fn run<F>(seed: u64, cores: usize, bounds: Bounds, aloud: bool, script: impl FnOnce(World) -> F) -> Run
where
    F: Future<Output = ()> + 'static,
{
    let world = World(Rc::new(Inner {
        random: RefCell::new(Random::new(seed)),
        now: Cell::new(Instant::ORIGIN),
        trace: RefCell::new(Trace::new(aloud)),
        tasks: RefCell::new(BTreeMap::new()),
        serial: Cell::new(0),
        ready: Arc::default(),
        alarms: RefCell::new(BTreeMap::new()),
        current: Cell::new((Place::Script, 0)),
        events: Cell::new(0),
        calls: Cell::new(0),
        stalled: RefCell::new(BTreeMap::new()),
        violation: RefCell::new(None),
        faults: RefCell::new(Faults::none()),
        network: RefCell::new(Network::default()),
        mailboxes: (0..cores).map(|_| RefCell::new(Mailbox::default())).collect(),
    }));
    let finished = Rc::new(Cell::new(false));
    let main = {
        let (finished, script) = (Rc::clone(&finished), script(world.clone()));
        async move {
            script.await;
            finished.set(true);
        }
    };
    world.spawn(Place::Script, main);
    let polls = world.turn(bounds, &finished);
    world.clear();
    let violation = world.0.violation.borrow_mut().take();
    Run { seed, violation, trace: world.0.trace.take(), polls, time: world.now().since(Instant::ORIGIN) }
}

/// A simulated world. Cloning shares it.
#[derive(Clone)]
pub struct World(Rc<Inner>);

struct Inner {
    random: RefCell<Random>,
    now: Cell<Instant>,
    trace: RefCell<Trace>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    serial: Cell<u64>,
    ready: Arc<Ready>,
    /// By time, then by age: what happens at an instant.
    alarms: RefCell<BTreeMap<AlarmKey, Alarm>>,
    /// The place and task that run now.
    current: Cell<(Place, u64)>,
    /// What others could see, counted: progress.
    events: Cell<u64>,
    /// Calls of sockets within the poll that runs.
    calls: Cell<u64>,
    stalled: RefCell<BTreeMap<Place, Instant>>,
    violation: RefCell<Option<String>>,
    faults: RefCell<Faults>,
    network: RefCell<Network>,
    mailboxes: Vec<RefCell<Mailbox>>,
}

struct Task {
    place: Place,
    /// `None` while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Arc<TaskWaker>,
    spin: Spin,
}

/// Polls since the task was last seen to do something.
#[derive(Clone, Copy)]
struct Spin {
    since: Instant,
    polls: u64,
}

#[derive(Default)]
struct Ready(Mutex<Vec<u64>>);

impl Ready {
    fn push(&self, task: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn take(&self, random: &mut Random) -> Option<u64> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.is_empty() {
            return None;
        }
        let index = random.below(tasks.len() as u64) as usize;
        Some(tasks.swap_remove(index))
    }
}

struct TaskWaker {
    task: u64,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.task);
        }
    }
}

/// Time and age of an alarm.
pub(crate) type AlarmKey = (Instant, u64);

/// What happens at an instant.
pub(crate) enum Alarm {
    /// A sleeper, or who waits for a socket, is woken.
    Wake(Waker),
    /// A task of a stalled core may run again.
    Unstall(u64),
    /// Something on its way to a side of a connection arrives.
    Arrive(Rc<Link>, usize),
    /// A message arrives at a core.
    Mail(usize),
    /// A datagram arrives.
    Datagram(crate::network::Datagram),
}

impl World {
    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// Draws from the one source of chance.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.0.random.borrow_mut())
    }

    /// A duration from zero to `most`.
    pub fn draw_duration(&self, most: Duration) -> Duration {
        let most = most.as_nanos() as u64;
        Duration::from_nanos(if most == 0 { 0 } else { self.draw(|random| random.between(0, most)) })
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        self.0.faults.borrow().clone()
    }

    /// Changes what may go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.0.faults.borrow_mut() = faults;
    }

    /// Whether a fault with this rate happens now.
    pub(crate) fn fault(&self, rate: impl FnOnce(&Faults) -> u32) -> bool {
        let rate = rate(&self.0.faults.borrow());
        self.draw(|random| random.chance(rate))
    }

    /// The number of simulated cores.
    pub fn cores(&self) -> usize {
        self.0.mailboxes.len()
    }

    /// The outside world as a core of the proxy sees it.
    pub fn core(&self, index: usize) -> SimEnv {
        assert!(index < self.cores(), "core {index} does not exist");
        SimEnv::new(self.clone(), Place::Core(index as u16))
    }

    /// The outside world as a client or backend sees it. Each index has an address of its own.
    pub fn peer(&self, index: u16) -> SimEnv {
        SimEnv::new(self.clone(), Place::Peer(index))
    }

    /// Starts a task.
    pub fn spawn(&self, place: Place, future: impl Future<Output = ()> + 'static) {
        let id = self.serial();
        let waker =
            Arc::new(TaskWaker { task: id, queued: AtomicBool::new(true), ready: Arc::clone(&self.0.ready) });
        let spin = Spin { since: self.now(), polls: 0 };
        self.0.tasks.borrow_mut().insert(id, Task { place, future: Some(Box::pin(future)), waker, spin });
        self.record(Event::Spawn(id));
        self.0.ready.push(id);
    }

    /// Waits until an instant.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep { world: self.clone(), at, alarm: None }
    }

    /// Waits for a while.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Lets others run first.
    pub async fn pause(&self) {
        let mut paused = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut paused, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Waits for a result, but not for ever: `None` when the time is over.
    pub async fn within<T>(&self, bound: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let mut sleep = std::pin::pin!(self.sleep(bound));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// Waits until something is true, looking less and less often; `false` when the time is over.
    pub async fn until(&self, bound: Duration, condition: impl Fn() -> bool) -> bool {
        let end = self.now() + bound;
        let mut wait = Duration::from_millis(1);
        while !condition() {
            if self.now() >= end {
                return false;
            }
            self.sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
        true
    }

    /// Says something in the trace.
    pub fn note(&self, text: impl Into<Rc<str>>) {
        self.record(Event::Note(text.into()));
    }

    /// Ends the run as a failure. Only the first violation counts: what follows it is noise.
    pub fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(format!("VIOLATED: {what}"));
        self.0.violation.borrow_mut().get_or_insert(what);
    }

    /// Tasks under way in the proxy.
    pub fn core_tasks(&self) -> usize {
        self.0.tasks.borrow().values().filter(|task| task.place.is_core()).count()
    }

    pub(crate) fn record(&self, event: Event) {
        self.0.events.set(self.0.events.get() + 1);
        self.0.trace.borrow_mut().record(self.now(), self.0.current.get().0, event);
    }

    /// Counts a call of a socket. A task that never gives way cannot be stopped in another way.
    pub(crate) fn called(&self) {
        let calls = self.0.calls.replace(self.0.calls.get() + 1);
        assert!(calls < CALLS_MAX, "livelock: {calls} socket calls without giving way to other tasks");
    }

    /// A number that nothing else has.
    pub(crate) fn serial(&self) -> u64 {
        self.0.serial.replace(self.0.serial.get() + 1)
    }

    pub(crate) fn network<T>(&self, with: impl FnOnce(&mut Network) -> T) -> T {
        with(&mut self.0.network.borrow_mut())
    }

    pub(crate) fn mailbox(&self, core: usize) -> &RefCell<Mailbox> {
        &self.0.mailboxes[core]
    }

    pub(crate) fn alarm(&self, at: Instant, alarm: Alarm) -> AlarmKey {
        let key = (at, self.serial());
        self.0.alarms.borrow_mut().insert(key, alarm);
        key
    }

    pub(crate) fn disarm(&self, key: AlarmKey) {
        let alarm = self.0.alarms.borrow_mut().remove(&key);
        drop(alarm);
    }

    /// Runs tasks until the script is finished or something is violated. Returns the number of polls.
    fn turn(&self, bounds: Bounds, finished: &Cell<bool>) -> u64 {
        let mut polls = 0;
        while !finished.get() && self.0.violation.borrow().is_none() {
            if self.now().since(Instant::ORIGIN) > bounds.time_max {
                self.violated(format!("hang: not finished after {:?} of virtual time", bounds.time_max));
                break;
            }
            if polls > bounds.polls_max {
                self.violated(format!("livelock: not finished after {polls} polls"));
                break;
            }
            self.ring_due_alarms();
            let next = self.draw(|random| self.0.ready.take(random));
            let Some(id) = next else {
                let next = self.0.alarms.borrow().first_key_value().map(|((at, _), _)| *at);
                match next {
                    Some(at) => self.0.now.set(at),
                    None => self.violated("hang: nothing can run and no timer is set"),
                }
                continue;
            };
            polls += u64::from(self.step(id, bounds));
        }
        polls
    }

    fn ring_due_alarms(&self) {
        loop {
            let now = self.now();
            let mut alarms = self.0.alarms.borrow_mut();
            let Some(entry) = alarms.first_entry().filter(|entry| entry.key().0 <= now) else { return };
            let alarm = entry.remove();
            drop(alarms);
            match alarm {
                Alarm::Wake(waker) => waker.wake(),
                Alarm::Unstall(task) => self.0.ready.push(task),
                Alarm::Arrive(link, side) => link.arrive(self, side),
                Alarm::Mail(core) => crate::env::deliver_mail(self, core),
                Alarm::Datagram(datagram) => datagram.arrive(self),
            }
        }
    }

    /// Polls one task; `false` if it is gone or its core stands still.
    fn step(&self, id: u64, bounds: Bounds) -> bool {
        let Some(place) = self.0.tasks.borrow().get(&id).map(|task| task.place) else { return false };
        if place.is_core() && self.stalled(place, id) {
            return false;
        }
        let mut tasks = self.0.tasks.borrow_mut();
        let task = tasks.get_mut(&id).expect("it was there");
        let mut future = task.future.take().expect("a task is not polled within itself");
        let waker = Arc::clone(&task.waker);
        drop(tasks);
        waker.queued.store(false, Ordering::Relaxed);
        self.0.current.set((place, id));
        self.0.trace.borrow_mut().record(self.now(), place, Event::Poll(id));
        let cost = self.draw(|random| random.between(1, 3));
        self.0.now.set(self.now() + Duration::from_micros(cost));

        let events = self.0.events.get();
        self.0.calls.set(0);
        let waker = Waker::from(waker);
        let mut cx = Context::from_waker(&waker);
        let outcome = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
        match outcome {
            Ok(Poll::Pending) => {
                let quiet = self.0.events.get() == events;
                if let Some(task) = self.0.tasks.borrow_mut().get_mut(&id) {
                    task.future = Some(future);
                    if task.spin.still(quiet, self.now()) <= bounds.spin_polls_max {
                        return true;
                    }
                }
                self.violated(format!("livelock: task {id} of {place} spins"));
            }
            Ok(Poll::Ready(())) => {
                drop(future);
                self.record(Event::End(id));
                self.0.tasks.borrow_mut().remove(&id);
            }
            Err(panic) => {
                // Dropping what is left of it may panic again; that is the same failure.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
                self.record(Event::Panic(id));
                self.0.tasks.borrow_mut().remove(&id);
                self.violated(format!("panic in task {id} of {place}: {}", text_of(&*panic)));
            }
        }
        self.0.current.set((Place::Script, 0));
        true
    }

    /// Whether the core stands still; if so, the task runs again when it does not.
    fn stalled(&self, place: Place, id: u64) -> bool {
        if self.fault(|faults| faults.core_stalls) {
            let most = self.faults().stall_max;
            let until = self.now() + self.draw_duration(most);
            self.0.stalled.borrow_mut().insert(place, until);
            self.0.current.set((place, 0));
            self.record(Event::Stall(until));
        }
        match self.0.stalled.borrow().get(&place) {
            Some(until) if *until > self.now() => {
                self.alarm(*until, Alarm::Unstall(id));
                true
            }
            _ => false,
        }
    }

    /// Drops every task and alarm: they hold the world, and the world holds them.
    fn clear(&self) {
        loop {
            let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
            let alarms = std::mem::take(&mut *self.0.alarms.borrow_mut());
            let network = std::mem::take(&mut *self.0.network.borrow_mut());
            for mailbox in &self.0.mailboxes {
                drop(mailbox.take());
            }
            if tasks.is_empty() && alarms.is_empty() {
                return;
            }
            let _ = catch_unwind(AssertUnwindSafe(|| drop((tasks, alarms, network))));
        }
    }
}

impl Spin {
    /// Counts a poll; returns how many there were since the task last did something.
    fn still(&mut self, quiet: bool, now: Instant) -> u64 {
        if !quiet || now.since(self.since) > Duration::from_secs(1) {
            *self = Self { since: now, polls: 0 };
        }
        self.polls += 1;
        self.polls
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

/// Waits until an instant.
pub struct Sleep {
    world: World,
    at: Instant,
    alarm: Option<AlarmKey>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(key) = self.alarm.take() {
            self.world.disarm(key);
        }
        if self.world.now() >= self.at {
            return Poll::Ready(());
        }
        let key = self.world.alarm(self.at, Alarm::Wake(cx.waker().clone()));
        self.alarm = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.alarm.take() {
            self.world.disarm(key);
        }
    }
}
