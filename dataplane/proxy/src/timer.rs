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
use crate::race::{First, race};
use crate::signal::Signal;

/// How late a deadline may be noticed.
pub const TICK: Duration = Duration::from_millis(10);
/// Slots of the wheel: a turn is 10.24 s; what is later waits for more turns.
const SLOTS: usize = 1024;
const TICK_NANOS: u64 = TICK.as_nanos() as u64;

/// The wheel of a core.
#[derive(Clone)]
pub struct Timers(Rc<Wheel>);

struct Wheel {
    /// Each the first of a list, so that queueing allocates nothing.
    slots: RefCell<Vec<Option<Rc<Entry>>>>,
    /// A bit for each slot that has entries: the wheel sleeps to the next one, or stands still.
    filled: RefCell<[u64; SLOTS / 64]>,
    /// The tick for which the wheel will wake by itself.
    wakes: Cell<u64>,
    /// There is an entry for an earlier one.
    sooner: Signal,
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
            filled: RefCell::new([0; SLOTS / 64]),
            wakes: Cell::new(0),
            sooner: Signal::default(),
            tick: Cell::new(0),
        }))
    }

    /// Turns the wheel, for ever.
    pub async fn run<E: Env>(&self, env: &E) {
        let wheel = &*self.0;
        loop {
            let next = wheel.next_filled();
            wheel.wakes.set(next.unwrap_or(u64::MAX));
            match next {
                None => wheel.sooner.wait().await,
                Some(next) => {
                    let at = start_of(next).max(env.now());
                    match race(env.sleep_until(at), wheel.sooner.wait()).await {
                        First::One(()) | First::Two(()) => {}
                    }
                }
            }
            // What is queued now is seen before the next sleep.
            wheel.wakes.set(0);
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
        if target <= wheel.tick.get() {
            return;
        }
        // After a long standstill one turn sees every slot.
        let last = target.min(wheel.tick.get() + SLOTS as u64);
        while let Some(tick) = wheel.next_filled().filter(|tick| *tick <= last) {
            wheel.tick.set(tick);
            let mut due = wheel.take(tick);
            while let Some(entry) = due {
                due = entry.next.take();
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
        wheel.tick.set(target);
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
        let index = tick as usize % SLOTS;
        let slot = &mut self.slots.borrow_mut()[index];
        entry.next.replace(slot.replace(Rc::clone(entry)));
        entry.queued.set(true);
        self.filled.borrow_mut()[index / 64] |= 1 << (index % 64);
        if tick < self.wakes.get() {
            self.sooner.notify();
        }
    }

    fn take(&self, tick: u64) -> Option<Rc<Entry>> {
        let index = tick as usize % SLOTS;
        self.filled.borrow_mut()[index / 64] &= !(1 << (index % 64));
        self.slots.borrow_mut()[index].take()
    }

    /// The first tick after the one handled last whose slot has entries.
    fn next_filled(&self) -> Option<u64> {
        let first = self.tick.get() + 1;
        let filled = self.filled.borrow();
        let mut ahead = 0;
        while ahead < SLOTS as u64 {
            let index = (first + ahead) as usize % SLOTS;
            let rest = filled[index / 64] >> (index % 64);
            if rest != 0 {
                return Some(first + ahead + u64::from(rest.trailing_zeros()));
            }
            ahead += 64 - index as u64 % 64;
        }
        None
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
    at.as_nanos() / TICK_NANOS
}

fn start_of(tick: u64) -> Instant {
    Instant::ORIGIN + Duration::from_nanos(tick.saturating_mul(TICK_NANOS))
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

    /// Forgets the task as well: a waker keeps the whole memory of the task that it would wake, long after that has ended,
    /// and the entry may stay queued, or be of a link that is idle for hours.
    fn disarm(&self) {
        if let Some(entry) = &*self.entry.borrow() {
            entry.armed.set(false);
            entry.waker.take();
        }
    }
}

impl Drop for Deadline {
    /// The wheel forgets the entry when it next comes by.
    fn drop(&mut self) {
        self.disarm();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    fn after(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn the_next_filled_slot_is_found_from_everywhere() {
        for tick in [0, 1, 63, 64, 100, 1023, 1024, 5_000_000_000] {
            for ahead in [1, 2, 62, 63, 64, 65, 500, 1000, 1023, 1024] {
                let timers = Timers::new();
                timers.0.tick.set(tick);
                assert_eq!(timers.0.next_filled(), None);
                let deadline = timers.deadline();
                deadline.arm(start_of(tick + ahead - 1), Waker::noop());
                assert_eq!(timers.0.next_filled(), Some(tick + ahead), "{ahead} after {tick}");
            }
        }
    }

    #[test]
    fn a_wait_that_has_ended_keeps_no_task_alive() {
        struct Task;
        impl Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let task = Arc::new(Task);
        let waker = Waker::from(Arc::clone(&task));
        let mut cx = Context::from_waker(&waker);
        let timers = Timers::new();
        let (deadline, other) = (timers.deadline(), timers.deadline());
        // A late one, then a sooner one that must leave the entry of the first behind; and one that stays as it is.
        for (deadline, millis) in [(&deadline, 10_000), (&deadline, 200), (&other, 10_000)] {
            let mut wait = Box::pin(deadline.within(after(millis), std::future::pending::<()>()));
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            assert!(Arc::strong_count(&task) > 2, "the wait must be able to wake it");
        }
        // Ours and the waker's: the entries are still queued, and the deadlines live.
        assert_eq!(Arc::strong_count(&task), 2);
        drop((deadline, other));
    }

    #[test]
    fn a_deadline_is_noticed_at_most_two_ticks_late_and_never_early() {
        // Within a turn, after several, and after a run of two years.
        for began in [0, 7, 730 * 24 * 3_600_000] {
            for millis in [1, 10, 99, 5_000, 10_240, 25_003] {
                let timers = Timers::new();
                timers.advance(after(began));
                let deadline = timers.deadline();
                let at = after(began + millis);
                deadline.arm(at, Waker::noop());
                let mut wakes = 0;
                while !deadline.fired() {
                    let now = start_of(timers.0.next_filled().expect("it is queued"));
                    timers.advance(now);
                    wakes += 1;
                    assert_eq!(deadline.fired(), now >= at, "{millis} ms after {began}");
                    assert!(now.since(at) <= 2 * TICK);
                }
                assert!(wakes <= 1 + millis / 10_240 + 1, "{wakes} for {millis} ms");
            }
        }
    }
}
