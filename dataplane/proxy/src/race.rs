//! Waits for the first of two things.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Which came first.
pub(crate) enum First<A, B> {
    /// The first one (also when both are there).
    One(A),
    /// The second one.
    Two(B),
}

pin_project! {
    /// Two futures of which one will be dropped.
    pub(crate) struct Race<A, B> {
        #[pin]
        one: A,
        #[pin]
        two: B,
    }
}

/// Runs two futures until one is there; the other is dropped.
pub(crate) fn race<A: Future, B: Future>(one: A, two: B) -> Race<A, B> {
    Race { one, two }
}

impl<A: Future, B: Future> Future for Race<A, B> {
    type Output = First<A::Output, B::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.one.poll(cx) {
            return Poll::Ready(First::One(output));
        }
        this.two.poll(cx).map(First::Two)
    }
}
