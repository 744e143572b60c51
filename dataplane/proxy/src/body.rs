//! Bodies as they pass: a [`Source`] is pulled, a [`Sink`] is pushed, and neither knows what the other speaks.
//!
//! A chunk is a slice of what was received; asking for the next one gives the room (or flow-control credit) of the last
//! one back. Chunks are small and many, or large and few: a sink gathers the small ones with the head before them.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use ringway_core::Fields;
use ringway_core::http1::{BodyDecoder, BodyError, MessageEnd, Piece, encode};

use crate::buffer::{Buffer, Buffers, RECEIVE_BYTES};
use crate::env::Env;
use crate::http1::ReplyState;
use crate::http2;
use crate::link::{Link, LinkError};
use crate::timer::Deadline;

/// A piece of a body.
pub enum Frame<'a> {
    /// Some bytes, at least one.
    Data(Chunk<'a>),
    /// The end, with trailers (perhaps none).
    End(Fields),
}

/// Bytes of a body, where they were received.
pub enum Chunk<'a> {
    /// In a buffer of the connection.
    Slice(&'a [u8]),
    /// Shared, from the HTTP/2 codec.
    Shared(Bytes),
}

impl Chunk<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Slice(slice) => slice,
            Self::Shared(bytes) => bytes,
        }
    }

    /// The bytes, shared: copied if they are in a connection's buffer.
    pub fn into_shared(self) -> Bytes {
        match self {
            Self::Slice(slice) => Bytes::copy_from_slice(slice),
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Why a body cannot be received or sent to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFailure {
    /// The connection broke or ended early.
    Broken,
    /// Nothing moved for too long.
    Idle,
    /// The sender broke the protocol.
    Protocol(&'static str),
    /// The stream was reset by the other end.
    Reset,
    /// The other end refused the stream: it did not act.
    Refused,
    /// It is larger than the limit.
    TooLarge,
}

impl From<LinkError> for BodyFailure {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Broken => Self::Broken,
            LinkError::Idle => Self::Idle,
        }
    }
}

/// Where a body comes from.
pub enum Source<'c, E: Env> {
    /// Nowhere: there is none.
    Empty,
    /// An HTTP/1 connection, or a tunnel.
    Http1(Http1Source<'c, E>),
    /// A stream of an HTTP/2 connection.
    Http2(http2::Source<E>),
}

impl<E: Env> Source<'_, E> {
    /// Whether there is no body at all.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether [`next`](Self::next) would return without waiting.
    pub fn is_ready(&mut self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(source) => source.is_ready(),
            Self::Http2(source) => source.is_ready(),
        }
    }

    /// When nothing is ready: receives what is there already, if much was when it last received. Says whether something
    /// is ready now.
    pub fn receive_now(&mut self) -> bool {
        match self {
            Self::Empty => false,
            Self::Http1(source) => source.receive_now(),
            Self::Http2(_) => false,
        }
    }

    /// How long it may be silent.
    pub fn set_idle(&mut self, idle: Duration) {
        match self {
            Self::Empty => {}
            Self::Http1(source) => source.idle = idle,
            Self::Http2(source) => source.set_idle(idle),
        }
    }

    /// The next frame. May be dropped and asked again, also after `Idle`; not after the end or another failure.
    pub async fn next(&mut self) -> Result<Frame<'_>, BodyFailure> {
        match self {
            Self::Empty => Ok(Frame::End(Fields::new())),
            Self::Http1(source) => source.next().await,
            Self::Http2(source) => source.next().await,
        }
    }
}

/// The body of a message on an HTTP/1 connection, or the bytes of a tunnel.
pub struct Http1Source<'c, E: Env> {
    link: &'c Link<E>,
    buffers: &'c Buffers,
    inbox: &'c mut Option<Buffer>,
    decoder: &'c mut BodyDecoder,
    idle: Duration,
    /// Bytes at the front of the inbox that the last frame lent out.
    lent: usize,
    /// A frame that was decoded ahead by `is_ready`.
    ahead: Option<Decoded>,
    /// Much was there when it last received, so there may be more.
    much: bool,
    /// What `receive_now` met; told by `next`.
    failed: Option<LinkError>,
    trailers: Fields,
    end: &'c mut Option<MessageEnd>,
}

/// Received at once, this is much: what follows it is likely to be there already.
const MUCH_BYTES: usize = RECEIVE_BYTES / 2;

enum Decoded {
    /// This many bytes of data at the front of the inbox.
    Data(usize),
    End,
}

impl<'c, E: Env> Http1Source<'c, E> {
    /// A body whose framing the decoder knows. `end` receives the proof when it was read to its end.
    pub fn new(
        link: &'c Link<E>,
        buffers: &'c Buffers,
        inbox: &'c mut Option<Buffer>,
        decoder: &'c mut BodyDecoder,
        end: &'c mut Option<MessageEnd>,
        idle: Duration,
    ) -> Self {
        let trailers = Fields::new();
        let much = inbox.as_ref().is_some_and(|inbox| inbox.filled().len() >= MUCH_BYTES);
        Self { link, buffers, inbox, decoder, idle, lent: 0, ahead: None, much, failed: None, trailers, end }
    }

    fn receive_now(&mut self) -> bool {
        if !self.much || self.failed.is_some() || self.link.had_its_turn() {
            return false;
        }
        debug_assert!(self.lent == 0 && self.ahead.is_none(), "only when nothing is ready");
        let inbox = self.inbox.get_or_insert_with(|| self.buffers.take());
        if inbox.space().is_empty() {
            return false;
        }
        match self.link.try_fill(inbox) {
            Ok(Some(count @ 1..)) => self.much = count >= MUCH_BYTES,
            // The end is told again to whoever receives.
            Ok(_) => self.much = false,
            // An error may be told only once.
            Err(error) => self.failed = Some(error),
        }
        if inbox.is_empty() {
            // Nobody waits with a buffer in hand.
            *self.inbox = None;
        }
        self.is_ready()
    }

    fn is_ready(&mut self) -> bool {
        if self.ahead.is_none() {
            self.release();
            // A failure is not ahead: `next` meets it again.
            self.ahead = self.decode().ok().flatten();
        }
        self.ahead.is_some()
    }

    async fn next(&mut self) -> Result<Frame<'_>, BodyFailure> {
        self.release();
        let decoded = loop {
            let ahead = match self.ahead.take() {
                Some(ahead) => Some(ahead),
                None => self.decode()?,
            };
            match ahead {
                Some(decoded) => break decoded,
                // The end of the connection is the end of the body; nothing follows it that could be proof of one.
                None if self.receive().await? == 0 => break Decoded::End,
                None => {}
            }
        };
        match decoded {
            Decoded::End => Ok(Frame::End(std::mem::take(&mut self.trailers))),
            Decoded::Data(length) => {
                self.lent = length;
                let inbox = self.inbox.as_ref().expect("data was decoded from the inbox");
                Ok(Frame::Data(Chunk::Slice(&inbox.filled()[..length])))
            }
        }
    }

    fn release(&mut self) {
        if self.lent > 0 {
            let inbox = self.inbox.as_mut().expect("what was lent is in the inbox");
            inbox.consume(self.lent);
            self.lent = 0;
        }
    }

    fn decode(&mut self) -> Result<Option<Decoded>, BodyFailure> {
        loop {
            let input = self.inbox.as_ref().map_or(&[][..], Buffer::filled);
            let (done, piece) = self.decoder.decode(input).map_err(protocol)?;
            // Framing goes at once; data stays until the next frame is asked for.
            let keep = match &piece {
                Piece::Data(range) => {
                    debug_assert_eq!(range.end, done, "data is the last of what was done with");
                    range.len()
                }
                _ => 0,
            };
            if let (Some(inbox), 1..) = (self.inbox.as_mut(), done - keep) {
                inbox.consume(done - keep);
            }
            match piece {
                Piece::Data(_) => return Ok(Some(Decoded::Data(keep))),
                Piece::Trailers(trailers) => self.trailers = trailers,
                Piece::End(proof) => {
                    *self.end = Some(proof);
                    return Ok(Some(Decoded::End));
                }
                Piece::NeedMore => return Ok(None),
            }
        }
    }

    /// Receives some bytes; 0: the connection ended, and the body may end with it.
    async fn receive(&mut self) -> Result<usize, BodyFailure> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        let count = match &mut *self.inbox {
            Some(inbox) => self.link.fill(inbox, self.idle).await?,
            None => {
                *self.inbox = self.link.first_fill(self.buffers, self.idle).await?;
                self.inbox.as_ref().map_or(0, |inbox| inbox.filled().len())
            }
        };
        self.much = count >= MUCH_BYTES;
        if count == 0 {
            self.decoder.connection_ended().map_err(|_| BodyFailure::Broken)?;
        }
        Ok(count)
    }
}

fn protocol(error: BodyError) -> BodyFailure {
    BodyFailure::Protocol(error.details())
}

/// Where a body goes.
pub enum Sink<'c, E: Env> {
    /// An HTTP/1 connection, or a tunnel.
    Http1(Http1Sink<'c, E>),
    /// A stream of an HTTP/2 connection.
    Http2(http2::Sink<'c, E>),
}

impl<E: Env> Sink<'_, E> {
    /// Sends a chunk; waits while there is no room for it.
    pub async fn data(&mut self, chunk: Chunk<'_>) -> Result<(), BodyFailure> {
        match self {
            Self::Http1(sink) => sink.data(chunk.as_slice()).await,
            Self::Http2(sink) => sink.data(chunk).await,
        }
    }

    /// Sends the end.
    pub async fn end(&mut self, trailers: &Fields) -> Result<(), BodyFailure> {
        match self {
            Self::Http1(sink) => sink.end(trailers).await,
            Self::Http2(sink) => sink.end(trailers).await,
        }
    }

    /// Ends when the receiver wants no more of it.
    pub async fn gone(&mut self) {
        match self {
            Self::Http1(sink) => sink.gone().await,
            Self::Http2(sink) => sink.gone().await,
        }
    }

    /// Whether a send can be saved by giving it more before it is flushed.
    pub fn gathers(&self) -> bool {
        match self {
            Self::Http1(sink) => sink.link.holds_gathered(),
            // The codec writes behind: it gathers by itself.
            Self::Http2(_) => false,
        }
    }

    /// Sends what was gathered: before waiting for anything else.
    pub async fn flush(&mut self) -> Result<(), BodyFailure> {
        match self {
            Self::Http1(sink) => sink.flush().await,
            Self::Http2(sink) => sink.flush().await,
        }
    }
}

/// How the end of an HTTP/1 body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// By a length that was said: so many bytes are to come.
    Length(u64),
    /// By a last chunk.
    Chunked,
    /// By the end of our side of the connection.
    Close,
    /// There is no body, whatever the head says (HEAD, 204, 304): bytes are dropped.
    Nothing,
}

/// The body of a message on an HTTP/1 connection, or the bytes of a tunnel.
pub struct Http1Sink<'c, E: Env> {
    link: &'c Link<E>,
    out: &'c mut Vec<u8>,
    coding: Coding,
    idle: Duration,
    state: Option<&'c mut ReplyState>,
    /// When the receiver is looked at while there is nothing to send.
    watching: Option<&'c Deadline>,
}

/// Chunks up to this size are gathered; larger ones are sent from where they are.
const GATHER_BYTES_MAX: usize = 8 << 10;
/// What is gathered before it is sent.
const GATHERED_BYTES_MAX: usize = 32 << 10;

impl<'c, E: Env> Http1Sink<'c, E> {
    /// A body that follows the head in `out`.
    pub fn new(link: &'c Link<E>, out: &'c mut Vec<u8>, coding: Coding, idle: Duration) -> Self {
        Self { link, out, coding, idle, state: None, watching: None }
    }

    /// Notices in long pauses that the receiver is gone.
    pub fn watching(mut self, watching: Option<&'c Deadline>) -> Self {
        self.watching = watching;
        self
    }

    /// Tells when the last byte was sent.
    pub fn ending(mut self, state: &'c mut ReplyState) -> Self {
        self.state = Some(state);
        self
    }

    async fn gone(&self) {
        match self.watching {
            Some(watching) => self.link.gone(watching).await,
            None => pending().await,
        }
    }

    async fn data(&mut self, bytes: &[u8]) -> Result<(), BodyFailure> {
        match &mut self.coding {
            Coding::Nothing => return Ok(()),
            Coding::Length(left) => {
                // The sender's framing was checked by its decoder, so this holds unless the two disagree.
                let next = left.checked_sub(bytes.len() as u64);
                *left = next.ok_or(BodyFailure::Protocol("body longer than its content-length"))?;
            }
            Coding::Chunked => encode::chunk_prefix(bytes.len(), self.out),
            Coding::Close => {}
        }
        if bytes.len() <= GATHER_BYTES_MAX {
            self.out.extend_from_slice(bytes);
            if self.out.len() >= GATHERED_BYTES_MAX {
                self.flush().await?;
            }
        } else {
            self.link.gather(self.out, bytes, self.idle).await?;
            self.out.clear();
        }
        if self.coding == Coding::Chunked {
            self.out.extend_from_slice(encode::CHUNK_SUFFIX);
        }
        Ok(())
    }

    async fn end(&mut self, trailers: &Fields) -> Result<(), BodyFailure> {
        match self.coding {
            Coding::Length(1..) => return Err(BodyFailure::Protocol("body shorter than its content-length")),
            Coding::Chunked => encode::last_chunk(trailers, self.out),
            Coding::Length(0) | Coding::Close | Coding::Nothing => {}
        }
        self.flush().await?;
        if self.coding == Coding::Close {
            self.link.finish(self.idle).await?;
        }
        if let Some(state) = &mut self.state {
            **state = ReplyState::Ended;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), BodyFailure> {
        if !self.out.is_empty() {
            self.link.gather(self.out, &[], self.idle).await?;
            self.out.clear();
        }
        Ok(self.link.flush_gathered(self.idle).await?)
    }
}
