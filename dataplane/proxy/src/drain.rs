//! Draining: every connection of a core learns that it should end, and the core learns when the last one did.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::latch::{Latch, Opened};
use crate::signal::Signal;

/// The state of a core's drain, and its count of connections.
#[derive(Default)]
pub struct Drain {
    retiring: Cell<bool>,
    begun: Latch,
    clients: Rc<Clients>,
}

/// What is still to end.
#[derive(Default)]
struct Clients {
    open: Cell<usize>,
    empty: Signal,
}

impl Drain {
    /// From now on no connection is kept alive: whoever comes is served, and told not to come back.
    pub fn retire(&self) {
        self.retiring.set(true);
    }

    /// Whether connections are no longer kept alive.
    pub fn is_retiring(&self) -> bool {
        self.retiring.get()
    }

    /// Tells every connection that waits for a request, and all later ones.
    pub fn begin(&self) {
        self.retire();
        self.begun.open();
        if self.open() == 0 {
            self.clients.empty.notify();
        }
    }

    /// Whether it has begun.
    pub fn is_draining(&self) -> bool {
        self.begun.is_open()
    }

    /// Runs a future until it ends or, if `ends`, the drain begins (`None`). A future that is ready is not cut off.
    pub fn unless_draining_if<F: Future>(&self, ends: bool, future: F) -> UnlessDraining<'_, F> {
        UnlessDraining { begun: ends.then(|| self.begun.opened()), future }
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
        while !(self.is_draining() && self.open() == 0) {
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
        begun: Option<Opened<'d>>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for UnlessDraining<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        match this.begun {
            Some(begun) => Pin::new(begun).poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn polled<F: Future>(future: F) -> Poll<F::Output> {
        std::pin::pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn the_drain_ends_what_waits_but_not_what_is_ready() {
        let drain = Drain::default();
        assert_eq!(polled(drain.unless_draining_if(true, pending::<()>())), Poll::Pending);
        drain.begin();
        assert_eq!(polled(drain.unless_draining_if(true, pending::<()>())), Poll::Ready(None));
        assert_eq!(polled(drain.unless_draining_if(true, ready(1))), Poll::Ready(Some(1)));
        assert_eq!(polled(drain.unless_draining_if(false, pending::<()>())), Poll::Pending);
    }
}
