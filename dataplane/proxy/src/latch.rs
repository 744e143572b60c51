//! Something that happens once, and that many tasks of this core may wait for.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Shut until it is opened, for good.
#[derive(Default)]
pub struct Latch {
    open: Cell<bool>,
    waiting: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Latch {
    /// Opens it and wakes everyone.
    pub fn open(&self) {
        self.open.set(true);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        self.free.borrow_mut().clear();
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether it was opened.
    pub fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Waits until it is open.
    pub fn opened(&self) -> Opened<'_> {
        Opened { latch: self, at: None }
    }
}

/// A wait; its place in the list is left when it ends. Small: every idle connection is in one.
pub struct Opened<'l> {
    latch: &'l Latch,
    at: Option<usize>,
}

impl Opened<'_> {
    /// Whether the wait is over.
    pub fn is_over(&self) -> bool {
        self.latch.is_open()
    }

    fn wait(&mut self, waker: &Waker) {
        let mut waiting = self.latch.waiting.borrow_mut();
        match self.at {
            Some(at) => match &mut waiting[at] {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            },
            None => {
                let at = self.latch.free.borrow_mut().pop().unwrap_or_else(|| {
                    waiting.push(None);
                    waiting.len() - 1
                });
                waiting[at] = Some(waker.clone());
                self.at = Some(at);
            }
        }
    }
}

impl Future for Opened<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        self.wait(cx.waker());
        Poll::Pending
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        // Opening empties the list: places from before it are gone.
        if let (Some(at), false) = (self.at, self.latch.open.get()) {
            self.latch.waiting.borrow_mut()[at] = None;
            self.latch.free.borrow_mut().push(at);
        }
    }
}
