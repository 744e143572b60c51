//! Waits for the first of two things.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Which came first.
pub(crate) enum First<A, B> {
    /// The first one (also when both are there).
    One(A),
    /// The second one.
    Two(B),
}

/// Runs two futures until one is there; the other is dropped.
pub(crate) async fn race<A: Future, B: Future>(one: A, two: B) -> First<A::Output, B::Output> {
    let mut one = pin!(one);
    let mut two = pin!(two);
    poll_fn(|cx| {
        if let Poll::Ready(output) = one.as_mut().poll(cx) {
            return Poll::Ready(First::One(output));
        }
        two.as_mut().poll(cx).map(First::Two)
    })
    .await
}
