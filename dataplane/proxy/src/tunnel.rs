//! Bytes both ways, each direction with an end of its own: what an upgraded exchange becomes, and a TCP connection is.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use ringway_core::Flag;
use ringway_core::record::Limit;

use crate::body::{BodyFailure, Sink, Source};
use crate::carry::{CarryFailure, carry_beside};
use crate::env::Env;
use crate::worker::Worker;

/// How many bytes have passed.
#[derive(Default)]
pub(crate) struct Moved {
    /// From the client.
    pub up: Cell<u64>,
    /// To the client.
    pub down: Cell<u64>,
}

/// Why a tunnel ended otherwise than by both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severed {
    /// The client broke it.
    Client,
    /// The upstream broke it.
    Upstream,
    /// Nothing moved for too long.
    Idle,
}

impl Severed {
    /// As the access log shows it, counted if a limit was hit.
    pub(crate) fn note<E: Env>(self, worker: &Worker<E>) -> Flag {
        match self {
            Self::Client => Flag::DownstreamConnectionTermination,
            Self::Upstream => Flag::UpstreamConnectionTermination,
            Self::Idle => {
                worker.hit(Limit::StreamIdle);
                Flag::StreamIdleTimeout
            }
        }
    }
}

/// Carries both directions until both have ended or one has failed. A half-close is passed on.
pub(crate) async fn tunnel<E: Env>(
    client: &mut Source<'_, E>,
    up: &mut Sink<'_, E>,
    upstream: &mut Source<'_, E>,
    down: &mut Sink<'_, E>,
    moved: &Moved,
) -> Result<(), Severed> {
    let upward = async {
        let outcome = carry_beside(client, up, &moved.up, &moved.down).await;
        outcome.map(drop).map_err(|failure| severed(failure, Severed::Client, Severed::Upstream))
    };
    let downward = async {
        let outcome = carry_beside(upstream, down, &moved.down, &moved.up).await;
        outcome.map(drop).map_err(|failure| severed(failure, Severed::Upstream, Severed::Client))
    };
    both(upward, downward).await
}

fn severed(failure: CarryFailure, source: Severed, sink: Severed) -> Severed {
    match failure {
        CarryFailure::Source(BodyFailure::Idle) | CarryFailure::Sink(BodyFailure::Idle) => Severed::Idle,
        CarryFailure::Source(_) => source,
        CarryFailure::Sink(_) => sink,
    }
}

/// Runs two futures until both have ended well or one has failed.
async fn both<F>(
    one: impl Future<Output = Result<(), F>>,
    other: impl Future<Output = Result<(), F>>,
) -> Result<(), F> {
    let mut one = pin!(one);
    let mut other = pin!(other);
    let (mut one_open, mut other_open) = (true, true);
    poll_fn(|cx| {
        if one_open && let Poll::Ready(outcome) = one.as_mut().poll(cx) {
            one_open = false;
            if outcome.is_err() {
                return Poll::Ready(outcome);
            }
        }
        if other_open && let Poll::Ready(outcome) = other.as_mut().poll(cx) {
            other_open = false;
            if outcome.is_err() {
                return Poll::Ready(outcome);
            }
        }
        if one_open || other_open { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await
}
