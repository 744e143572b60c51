//! Deadlines on a coarse wheel, one wheel a core.
//!
//! A connection keeps its [`Deadline`]s for life and moves them for every wait, which costs one store: the wheel looks
//! again only when the earlier time it knew has come. So a timeout that does not happen costs almost nothing.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use ringway_core::Instant;

use crate::env::Env;
use crate::signal::Signal;

/// How late a deadline may be noticed.
pub const TICK: Duration = Duration::from_millis(10);
/// Slots of the wheel: a turn is 10.24 s; what is later waits for more turns.
const SLOTS: usize = 1024;

/// The wheel of a core.
#[derive(Clone)]
pub struct Timers(Rc<Wheel>);

struct Wheel {
    /// Each the first of a list, so that queueing allocates nothing.
    slots: RefCell<Vec<Option<Rc<Entry>>>>,
    /// How many entries are in the slots; at zero the wheel stands still.
    queued: Cell<usize>,
    started: Signal,
    /// The tick that was handled last.
    tick: Cell<u64>,
}

#[derive(Default)]
struct Entry {
    at: Cell<Instant>,
    armed: Cell<bool>,
    queued: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The next one in its slot.
    next: RefCell<Option<Rc<Entry>>>,
}

/// The time was over before the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl Timers {
    /// A wheel that stands still until [`run`](Self::run) turns it.
    pub fn new() -> Self {
        Self(Rc::new(Wheel {
            slots: RefCell::new(vec![None; SLOTS]),
            queued: Cell::new(0),
            started: Signal::default(),
            tick: Cell::new(0),
        }))
    }

    /// Turns the wheel, for ever.
    pub async fn run<E: Env>(&self, env: &E) {
        loop {
            if self.0.queued.get() == 0 {
                self.0.started.wait().await;
            }
            let next = Instant::ORIGIN
                + TICK.saturating_mul(u32::try_from(self.0.tick.get() + 1).unwrap_or(u32::MAX));
            env.sleep_until(next.max(env.now())).await;
            self.advance(env.now());
        }
    }

    /// A deadline that no wait uses yet.
    pub fn deadline(&self) -> Deadline {
        Deadline { entry: RefCell::new(None), wheel: Rc::clone(&self.0) }
    }

    fn advance(&self, now: Instant) {
        let wheel = &*self.0;
        let target = tick_of(now);
        // After a long standstill one turn sees every slot.
        let first = wheel.tick.get().max(target.saturating_sub(SLOTS as u64)) + 1;
        for tick in first..=target {
            wheel.tick.set(tick);
            let mut due = wheel.slots.borrow_mut()[tick as usize % SLOTS].take();
            while let Some(entry) = due {
                due = entry.next.take();
                wheel.queued.set(wheel.queued.get() - 1);
                entry.queued.set(false);
                if !entry.armed.get() {
                    continue;
                }
                if entry.at.get() > now {
                    wheel.queue(&entry);
                } else {
                    entry.armed.set(false);
                    let waker = entry.waker.take();
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            }
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

impl Wheel {
    fn queue(&self, entry: &Rc<Entry>) {
        // The slot after the one in which it falls due, so that it is never early.
        let tick = (tick_of(entry.at.get()) + 1).max(self.tick.get() + 1);
        let slot = &mut self.slots.borrow_mut()[tick as usize % SLOTS];
        entry.next.replace(slot.replace(Rc::clone(entry)));
        entry.queued.set(true);
        self.queued.set(self.queued.get() + 1);
        if self.queued.get() == 1 {
            self.started.notify();
        }
    }
}

impl Drop for Wheel {
    /// One entry after the other: a list that drops itself would need the stack of its length.
    fn drop(&mut self) {
        for slot in self.slots.get_mut() {
            let mut next = slot.take();
            while let Some(entry) = next {
                next = entry.next.take();
            }
        }
    }
}

fn tick_of(at: Instant) -> u64 {
    at.as_nanos() / TICK.as_nanos() as u64
}

/// A place on the wheel that is used for one wait after another.
pub struct Deadline {
    entry: RefCell<Option<Rc<Entry>>>,
    wheel: Rc<Wheel>,
}

impl Deadline {
    /// Runs a future until an instant; it is polled first, so that a future that is ready is never late.
    pub fn within<F: Future>(&self, at: Instant, future: F) -> Within<'_, F> {
        Within { deadline: self, lifted: None, at, armed: false, future }
    }

    /// The same, unless the bound was lifted by then.
    pub fn within_unless<'d, F: Future>(
        &'d self,
        lifted: &'d Cell<bool>,
        at: Instant,
        future: F,
    ) -> Within<'d, F> {
        Within { deadline: self, lifted: Some(lifted), at, armed: false, future }
    }

    fn arm(&self, at: Instant, waker: &Waker) {
        let mut slot = self.entry.borrow_mut();
        // An entry that is queued for a later time would come too late: leave it to die and queue a new one.
        let reusable = slot.take().filter(|entry| !entry.queued.get() || entry.at.get() <= at);
        let entry = slot.insert(reusable.unwrap_or_default());
        entry.at.set(at);
        entry.armed.set(true);
        let mut kept = entry.waker.borrow_mut();
        match &mut *kept {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        if !entry.queued.get() {
            self.wheel.queue(entry);
        }
    }

    fn fired(&self) -> bool {
        self.entry.borrow().as_ref().is_some_and(|entry| !entry.armed.get())
    }

    fn disarm(&self) {
        if let Some(entry) = &*self.entry.borrow() {
            entry.armed.set(false);
        }
    }
}

impl Drop for Deadline {
    /// The wheel forgets the entry when it next comes by.
    fn drop(&mut self) {
        self.disarm();
        // What it would wake may be gone long before that.
        if let Some(entry) = self.entry.get_mut() {
            entry.waker.take();
        }
    }
}

pin_project! {
    /// A future with a bound. Not an `async fn`: that would hold the future it is given twice, and each connection's
    /// memory is the size of its futures.
    pub struct Within<'d, F> {
        deadline: &'d Deadline,
        lifted: Option<&'d Cell<bool>>,
        at: Instant,
        armed: bool,
        #[pin]
        future: F,
    }

    impl<F> PinnedDrop for Within<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            if this.armed {
                this.deadline.disarm();
            }
        }
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if this.lifted.is_some_and(Cell::get) {
            return Poll::Pending;
        }
        if *this.armed && this.deadline.fired() {
            return Poll::Ready(Err(Elapsed));
        }
        *this.armed = true;
        this.deadline.arm(*this.at, cx.waker());
        Poll::Pending
    }
}
