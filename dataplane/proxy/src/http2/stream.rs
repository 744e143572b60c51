//! The two directions of a stream, as bodies.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use ringway_core::Fields;

use super::body_failure;
use super::message::{header_map, read_trailers};
use crate::body::{BodyFailure, Chunk, Frame};
use crate::env::Env;
use crate::timer::{Deadline, Timers};

/// The body of a message on a stream.
pub struct Source<E: Env> {
    env: E,
    deadline: Deadline,
    idle: Duration,
    stream: RecvStream,
    /// Credit for the last frame, to be given back.
    lent: usize,
    /// A chunk that `is_ready` took.
    ahead: Option<Bytes>,
}

impl<E: Env> Source<E> {
    pub(super) fn new(env: E, timers: &Timers, stream: RecvStream, idle: Duration) -> Self {
        Self { env, deadline: timers.deadline(), idle, stream, lent: 0, ahead: None }
    }

    pub(crate) fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
    }

    pub(crate) fn is_ready(&mut self) -> bool {
        if self.ahead.is_some() {
            return true;
        }
        self.release();
        // Whoever is not ready waits in `next`, which leaves its own waker.
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match self.stream.poll_data(&mut cx) {
                // Nothing that `next` would return for.
                Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => {}
                Poll::Ready(Some(Ok(bytes))) => {
                    self.ahead = Some(bytes);
                    return true;
                }
                Poll::Ready(Some(Err(_)) | None) => return true,
                Poll::Pending => return false,
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Frame<'_>, BodyFailure> {
        self.release();
        loop {
            let data = match self.ahead.take() {
                Some(bytes) => Some(Ok(bytes)),
                None => {
                    let at = self.env.now() + self.idle;
                    let next = self.deadline.within(at, poll_fn(|cx| self.stream.poll_data(cx)));
                    next.await.map_err(|_| BodyFailure::Idle)?
                }
            };
            match data {
                // Empty frames are legal, and no news.
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.lent = bytes.len();
                    return Ok(Frame::Data(Chunk::Shared(bytes)));
                }
                Some(Err(error)) => return Err(body_failure(&error)),
                None => break,
            }
        }
        let at = self.env.now() + self.idle;
        let trailers =
            self.deadline.within(at, self.stream.trailers()).await.map_err(|_| BodyFailure::Idle)?;
        let trailers = trailers.map_err(|error| body_failure(&error))?;
        Ok(Frame::End(trailers.as_ref().map(read_trailers).unwrap_or_default()))
    }

    fn release(&mut self) {
        if self.lent > 0 {
            // Fails only for a stream that has ended.
            let _ = self.stream.flow_control().release_capacity(self.lent);
            self.lent = 0;
        }
    }
}

/// Where the body of a message on a stream goes.
pub struct Sink<'c, E: Env> {
    env: E,
    deadline: Deadline,
    idle: Duration,
    /// `None`: the head said that there is no body.
    stream: Option<&'c mut SendStream<Bytes>>,
    ended: Option<&'c mut bool>,
    /// Small chunks. A frame for each would cost the other end more than their bytes, and some hang up over it.
    gathered: BytesMut,
}

/// Chunks up to this size are gathered; larger ones are sent as they are.
const GATHER_BYTES_MAX: usize = 4 << 10;
/// What is gathered before it is sent: the largest frame that every receiver takes.
const GATHERED_BYTES_MAX: usize = 16 << 10;

impl<'c, E: Env> Sink<'c, E> {
    pub(super) fn new(
        env: E,
        timers: &Timers,
        stream: Option<&'c mut SendStream<Bytes>>,
        ended: Option<&'c mut bool>,
        idle: Duration,
    ) -> Self {
        Self { env, deadline: timers.deadline(), idle, stream, ended, gathered: BytesMut::new() }
    }

    pub(crate) async fn data(&mut self, chunk: Chunk<'_>) -> Result<(), BodyFailure> {
        if self.stream.is_none() {
            return Ok(());
        }
        let bytes = chunk.as_slice();
        if bytes.len() > GATHER_BYTES_MAX {
            self.flush().await?;
            return self.send(chunk.into_shared()).await;
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED_BYTES_MAX {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what was gathered: before waiting for anything else.
    pub(crate) async fn flush(&mut self) -> Result<(), BodyFailure> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = self.gathered.split().freeze();
        self.send(gathered).await
    }

    async fn send(&mut self, mut bytes: Bytes) -> Result<(), BodyFailure> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            let at = self.env.now() + self.idle;
            let granted = self.deadline.within(at, poll_fn(|cx| stream.poll_capacity(cx)));
            match granted.await.map_err(|_| BodyFailure::Idle)? {
                // It may wake without a grant; an empty frame would be no progress, and receivers count them.
                Some(Ok(0)) => {}
                Some(Ok(granted)) => {
                    let part = bytes.split_to(granted.min(bytes.len()));
                    stream.send_data(part, false).map_err(|error| body_failure(&error))?;
                }
                Some(Err(error)) => return Err(body_failure(&error)),
                None => return Err(BodyFailure::Reset),
            }
        }
        Ok(())
    }

    pub(crate) async fn end(&mut self, trailers: &Fields) -> Result<(), BodyFailure> {
        self.flush().await?;
        if let Some(stream) = &mut self.stream {
            let sent = match trailers.is_empty() {
                true => stream.send_data(Bytes::new(), true),
                false => stream.send_trailers(header_map(trailers)),
            };
            sent.map_err(|error| body_failure(&error))?;
        }
        if let Some(ended) = &mut self.ended {
            **ended = true;
        }
        Ok(())
    }

    /// Ends when the other end wants no more of it.
    pub(crate) async fn gone(&mut self) {
        match &mut self.stream {
            Some(stream) => {
                let _: Result<Reason, _> = poll_fn(|cx| stream.poll_reset(cx)).await;
            }
            None => std::future::pending().await,
        }
    }
}
