//! Draining: every connection of a core learns that it should end, and the core learns when the last one did.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::signal::Signal;

/// The state of a core's drain, and its count of connections.
#[derive(Default)]
pub struct Drain {
    draining: Cell<bool>,
    waiting: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    clients: Rc<Clients>,
}

/// What is still to end.
#[derive(Default)]
struct Clients {
    open: Cell<usize>,
    empty: Signal,
}

impl Drain {
    /// Tells every connection that waits for a request, and all later ones.
    pub fn begin(&self) {
        self.draining.set(true);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        self.free.borrow_mut().clear();
        waiting.into_iter().flatten().for_each(Waker::wake);
        if self.open() == 0 {
            self.clients.empty.notify();
        }
    }

    /// Whether it has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Runs a future until it ends or the drain begins (`None`).
    pub fn unless_draining<F: Future>(&self, future: F) -> UnlessDraining<'_, F> {
        UnlessDraining { place: Place { drain: self, at: None }, future }
    }

    /// Counts a connection, or a socket that may still bring some, for as long as the value lives.
    pub fn connection(&self) -> Open {
        self.clients.open.set(self.clients.open.get() + 1);
        Open(Rc::clone(&self.clients))
    }

    /// Open connections.
    pub fn open(&self) -> usize {
        self.clients.open.get()
    }

    /// Waits until the drain has begun and no connection is left.
    pub async fn emptied(&self) {
        while !(self.draining.get() && self.open() == 0) {
            self.clients.empty.wait().await;
        }
    }
}

/// A counted connection.
pub struct Open(Rc<Clients>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0 {
            self.0.empty.notify();
        }
    }
}

pin_project! {
    /// A future that the drain ends.
    pub struct UnlessDraining<'d, F> {
        place: Place<'d>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for UnlessDraining<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.place.drain.draining.get() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.place.wait(cx.waker());
        Poll::Pending
    }
}

/// A waiter's place in the list; left when the wait ends.
struct Place<'d> {
    drain: &'d Drain,
    at: Option<usize>,
}

impl Place<'_> {
    fn wait(&mut self, waker: &Waker) {
        let mut waiting = self.drain.waiting.borrow_mut();
        match self.at {
            Some(at) => match &mut waiting[at] {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            },
            None => {
                let at = self.drain.free.borrow_mut().pop().unwrap_or_else(|| {
                    waiting.push(None);
                    waiting.len() - 1
                });
                waiting[at] = Some(waker.clone());
                self.at = Some(at);
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // `begin` empties the list: places from before it are gone.
        if let (Some(at), false) = (self.at, self.drain.draining.get()) {
            self.drain.waiting.borrow_mut()[at] = None;
            self.drain.free.borrow_mut().push(at);
        }
    }
}
