//! What connections put off until the end of an event-loop turn, to leave together.
//!
//! While turns are full (`ringway_core::turn` says when), a link keeps a short message and enters the outbox; a task that
//! runs after all that were ready sends for each. A socket that does not take all of it gets a task of its own, which
//! waits on it with the usual patience; whoever wants to write more, or to end the link, waits for that.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ringway_core::Instant;
use ringway_core::turn::Turns;

use crate::env::Env;
use crate::latch::Latch;
use crate::link::Link;
use crate::signal::Signal;

/// Longer messages are sent from where they are: a copy of them would cost more than it gains.
pub(crate) const LATE_BYTES_MAX: usize = 8 << 10;
/// Unused ones that a core keeps.
const FREE_MAX: usize = 256;

/// What a link has put off.
#[derive(Default)]
pub(crate) struct Late {
    /// What is to be sent; of a TLS session nothing, since it keeps its records itself.
    pub(crate) bytes: Vec<u8>,
    /// How much of that was sent.
    pub(crate) sent: usize,
    /// How long its receiver may take nothing.
    pub(crate) patience: Duration,
    /// Opens when a task that waits on the socket is done, if there is one.
    pub(crate) stuck: Option<Rc<Latch>>,
}

/// The outbox of a core.
pub struct Outbox<E: Env> {
    turns: Cell<Turns>,
    links: RefCell<Vec<Rc<Link<E>>>>,
    some: Signal,
    /// Boxed, so that a link without pays for a pointer.
    #[expect(clippy::vec_box)]
    free: RefCell<Vec<Box<Late>>>,
}

impl<E: Env> Outbox<E> {
    /// An empty one.
    pub fn new(turns: Turns) -> Self {
        let turns = Cell::new(turns);
        Self { turns, links: RefCell::default(), some: Signal::default(), free: RefCell::default() }
    }

    /// Something is to be sent now: whether it is put off.
    pub(crate) fn puts_off(&self, now: Instant) -> bool {
        let mut turns = self.turns.get();
        let puts_off = turns.puts_off(now);
        self.turns.set(turns);
        puts_off
    }

    /// An empty message to put off.
    pub(crate) fn late(&self, patience: Duration) -> Box<Late> {
        let mut late = self.free.borrow_mut().pop().unwrap_or_default();
        late.patience = patience;
        late
    }

    /// Takes one back that was sent.
    pub(crate) fn sent(&self, mut late: Box<Late>) {
        let mut free = self.free.borrow_mut();
        if free.len() < FREE_MAX && late.bytes.capacity() <= 2 * LATE_BYTES_MAX {
            late.bytes.clear();
            (late.sent, late.stuck) = (0, None);
            free.push(late);
        }
    }

    /// A link has put something off: once, until it is sent.
    pub(crate) fn enter(&self, link: Rc<Link<E>>) {
        let mut links = self.links.borrow_mut();
        links.push(link);
        if links.len() == 1 {
            self.some.notify();
        }
    }

    /// Sends at the end of each turn, for ever.
    pub async fn run(&self, env: &E) {
        let mut ready = Vec::new();
        loop {
            self.some.wait().await;
            std::mem::swap(&mut ready, &mut *self.links.borrow_mut());
            let mut turns = self.turns.get();
            turns.ended(ready.len());
            self.turns.set(turns);
            for link in ready.drain(..) {
                if let Some(waiting) = link.send_late_or_wait() {
                    env.spawn(waiting);
                }
            }
        }
    }
}
