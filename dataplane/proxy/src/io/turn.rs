//! Turns of the event loop, for whoever could go on without an end: everyone else of the core has had theirs when one is
//! over, its sockets and its clock too.
//!
//! A task that woke itself would keep the loop from looking at either. So one task for all rings a bell that only the kernel
//! hears: it waits for a byte that is not there yet, sends it, and is woken by what the loop finds.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use monoio::io::AsyncReadRent;

use crate::latch::Latch;

/// The turns of a core.
#[derive(Default)]
pub(super) struct Turns {
    /// Opens at the end of the turn that is waited for, if one is.
    current: RefCell<Option<Rc<Latch>>>,
    /// Made when first needed.
    bell: RefCell<Option<Bell>>,
}

struct Bell {
    hears: monoio::net::UnixStream,
    rings: UnixStream,
}

impl Turns {
    /// The turn to wait for, and whether it is for the caller to have it taken.
    pub(super) fn join(&self) -> (Rc<Latch>, bool) {
        let mut current = self.current.borrow_mut();
        let begins = current.is_none();
        (Rc::clone(current.get_or_insert_default()), begins)
    }

    /// Waits for a turn. `false`: there are no descriptors for a bell.
    pub(super) async fn pass(&self) -> bool {
        let Some(mut bell) = self.bell.take().or_else(|| Bell::new().ok()) else { return false };
        let passed = bell.ring().await;
        if passed {
            self.bell.replace(Some(bell));
        }
        passed
    }

    /// Lets go on whoever waited.
    pub(super) fn end(&self) {
        if let Some(turn) = self.current.take() {
            turn.open();
        }
    }
}

impl Bell {
    fn new() -> io::Result<Self> {
        let (hears, rings) = UnixStream::pair()?;
        hears.set_nonblocking(true)?;
        rings.set_nonblocking(true)?;
        Ok(Self { hears: monoio::net::UnixStream::from_std(hears)?, rings })
    }

    async fn ring(&mut self) -> bool {
        let mut hearing = pin!(self.hears.read(vec![0; 1]));
        // Before there is anything: epoll would remember that there was, and answer without a turn.
        let early = poll_fn(|cx| Poll::Ready(hearing.as_mut().poll(cx).is_ready())).await;
        !early && self.rings.write_all(b"x").is_ok() && matches!(hearing.await.0, Ok(1))
    }
}
