//! The one loop that carries a body from a source to a sink, and the one way to run it in both directions.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use ringway_core::http1::BodyFraming;
use ringway_core::{Failure, Fields};

use crate::body::{BodyFailure, Chunk, Frame, Sink, Source};
use crate::env::Env;
use crate::mirror::Copies;
use crate::race::{First, race};

/// Something that frames are pulled from: a [`Source`], or an [`Upload`] that can be pulled again.
pub trait Frames {
    /// Whether `next` would return without waiting.
    fn is_ready(&mut self) -> bool;
    /// When nothing is ready: receives what is there already, if much is likely to be. Says whether something is ready
    /// now.
    fn receive_now(&mut self) -> bool;
    /// The next frame.
    fn next(&mut self) -> impl Future<Output = Result<Frame<'_>, BodyFailure>>;
}

impl<E: Env> Frames for Source<'_, E> {
    fn is_ready(&mut self) -> bool {
        Source::is_ready(self)
    }

    fn receive_now(&mut self) -> bool {
        Source::receive_now(self)
    }

    async fn next(&mut self) -> Result<Frame<'_>, BodyFailure> {
        Source::next(self).await
    }
}

/// Which side ended a carry early, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarryFailure {
    /// The sender's.
    Source(BodyFailure),
    /// The receiver's.
    Sink(BodyFailure),
}

/// Carries a body to its end, and returns its trailers. What was gathered is sent before anything is waited for.
pub async fn carry<E: Env>(
    from: &mut impl Frames,
    to: &mut Sink<'_, E>,
    passed: &Cell<u64>,
) -> Result<Fields, CarryFailure> {
    loop {
        if !(from.is_ready() || to.gathers() && from.receive_now()) {
            to.flush().await.map_err(CarryFailure::Sink)?;
        }
        let next = match race(from.next(), to.gone()).await {
            First::One(next) => next,
            First::Two(()) => return Err(CarryFailure::Sink(BodyFailure::Reset)),
        };
        match next.map_err(CarryFailure::Source)? {
            Frame::Data(chunk) => {
                let length = chunk.as_slice().len() as u64;
                to.data(chunk).await.map_err(CarryFailure::Sink)?;
                passed.set(passed.get() + length);
            }
            Frame::End(trailers) => {
                to.end(&trailers).await.map_err(CarryFailure::Sink)?;
                return Ok(trailers);
            }
        }
    }
}

/// Carries one of two directions. Silence ends it only if the other one (`other`, counted like `passed`) was silent as
/// well: noticed after one to two idle times.
pub async fn carry_beside<E: Env>(
    from: &mut impl Frames,
    to: &mut Sink<'_, E>,
    passed: &Cell<u64>,
    other: &Cell<u64>,
) -> Result<Fields, CarryFailure> {
    loop {
        let before = other.get();
        match carry(from, to, passed).await {
            Err(CarryFailure::Source(BodyFailure::Idle)) if other.get() != before => {}
            outcome => return outcome,
        }
    }
}

/// How two futures that ran beside each other ended.
pub enum Beside<M, F> {
    /// The main one came to its end.
    Main(M),
    /// The side failed in a way that ends both.
    Side(F),
}

pin_project! {
    /// Two futures of which one decides.
    pub struct Besides<S, M, P> {
        #[pin]
        side: S,
        side_open: bool,
        #[pin]
        main: M,
        fatal: P,
    }
}

/// Runs one future to its end and another beside it, which may end the two early. The side is polled first, so that
/// what a client sent is on its way before its answer is looked for.
pub fn beside<M, S, T, F, P>(side: S, main: M, fatal: P) -> Besides<S, M, P>
where
    M: Future,
    S: Future<Output = Result<T, F>>,
    P: Fn(&F) -> bool,
{
    Besides { side, side_open: true, main, fatal }
}

impl<M, S, T, F, P> Future for Besides<S, M, P>
where
    M: Future,
    S: Future<Output = Result<T, F>>,
    P: Fn(&F) -> bool,
{
    type Output = Beside<M::Output, F>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if *this.side_open
            && let Poll::Ready(outcome) = this.side.poll(cx)
        {
            *this.side_open = false;
            match outcome {
                Err(failure) if (this.fatal)(&failure) => return Poll::Ready(Beside::Side(failure)),
                _ => {}
            }
        }
        this.main.poll(cx).map(Beside::Main)
    }
}

/// A request's body, kept while it is small so that it can be sent again.
pub struct Upload<'c, E: Env> {
    source: Source<'c, E>,
    kept: Vec<u8>,
    kept_bytes_max: usize,
    /// All of what was received is in `kept`. Outside, so that it can be seen while the body is being carried.
    held: &'c Cell<bool>,
    /// How much of `kept` this attempt has been given.
    given: usize,
    ended: Option<Fields>,
    received: u64,
    bytes_max: Option<u64>,
    /// What is to leave once the body has come whole.
    copies: Option<Box<Copies<E>>>,
}

impl<'c, E: Env> Upload<'c, E> {
    /// Keeps at most `kept_bytes_max` bytes.
    pub fn new(source: Source<'c, E>, held: &'c Cell<bool>, kept_bytes_max: usize) -> Self {
        held.set(true);
        Self {
            source,
            kept: Vec::new(),
            kept_bytes_max,
            held,
            given: 0,
            ended: None,
            received: 0,
            bytes_max: None,
            copies: None,
        }
    }

    /// Has copies sent as soon as the body has come whole: at once if it has.
    pub(crate) fn copy_to(&mut self, copies: Box<Copies<E>>) {
        match self.is_ended() {
            true => copies.send(&self.kept),
            false => self.copies = Some(copies),
        }
    }

    /// Fails with `TooLarge` once more than this was received.
    pub fn limit(&mut self, bytes_max: Option<u64>) {
        self.bytes_max = bytes_max;
    }

    /// Whether there is no body at all.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// Whether the body can be sent from its beginning again.
    pub fn is_replayable(&self) -> bool {
        self.held.get()
    }

    /// The same, to be asked while the body is being carried.
    pub fn held(&self) -> &'c Cell<bool> {
        self.held
    }

    /// The limit in force.
    pub fn bytes_max(&self) -> Option<u64> {
        self.bytes_max
    }

    /// Whether the declared length keeps the limit.
    pub fn check_declared(&self, framing: BodyFraming) -> Result<(), Failure> {
        match (framing, self.bytes_max) {
            (BodyFraming::Length(declared), Some(limit)) if declared > limit => {
                Err(Failure::BodyTooLarge { limit })
            }
            _ => Ok(()),
        }
    }

    /// Whether the body was received to its end.
    pub fn is_ended(&self) -> bool {
        self.ended.is_some() || self.source.is_empty()
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Starts again from the beginning; only if it is replayable.
    pub fn rewind(&mut self) {
        assert!(self.held.get(), "a body is sent again only if all of it was kept");
        self.given = 0;
    }

    /// Reads what came already and throws it away: the request was answered without it. The end may be among it.
    pub async fn discard(&mut self) {
        self.held.set(false);
        self.kept = Vec::new();
        self.given = 0;
        self.copies = None;
        while !self.is_ended() && self.source.is_ready() {
            if self.next().await.is_err() {
                return;
            }
        }
    }

    /// How long it may be silent.
    pub fn set_idle(&mut self, idle: Duration) {
        self.source.set_idle(idle);
    }

    /// Counts what a tunnel received past it.
    pub fn count(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// The source itself, for a tunnel.
    pub fn source(&mut self) -> &mut Source<'c, E> {
        &mut self.source
    }
}

impl<E: Env> Frames for Upload<'_, E> {
    fn is_ready(&mut self) -> bool {
        self.given < self.kept.len() || self.ended.is_some() || self.source.is_ready()
    }

    fn receive_now(&mut self) -> bool {
        self.source.receive_now()
    }

    async fn next(&mut self) -> Result<Frame<'_>, BodyFailure> {
        if self.given < self.kept.len() {
            let rest = self.given;
            self.given = self.kept.len();
            return Ok(Frame::Data(Chunk::Slice(&self.kept[rest..])));
        }
        if let Some(trailers) = &self.ended {
            return Ok(Frame::End(trailers.clone()));
        }
        // Split so that the frame borrows the source alone.
        let Self { source, kept, kept_bytes_max, held, given, ended, received, bytes_max, copies } = self;
        let frame = source.next().await?;
        match &frame {
            Frame::End(trailers) => {
                *ended = Some(trailers.clone());
                if let Some(copies) = copies.take() {
                    copies.send(kept);
                }
            }
            Frame::Data(chunk) => {
                let bytes = chunk.as_slice();
                *received += bytes.len() as u64;
                if bytes_max.is_some_and(|limit| *received > limit) {
                    return Err(BodyFailure::TooLarge);
                }
                if held.get() && kept.len() + bytes.len() <= *kept_bytes_max {
                    kept.extend_from_slice(bytes);
                } else {
                    held.set(false);
                    *kept = Vec::new();
                    if let Some(copies) = copies.take() {
                        copies.too_large();
                    }
                }
                *given = kept.len();
            }
        }
        Ok(frame)
    }
}
