//! One request and the place for its answer, whatever protocol they came by.

use std::rc::Rc;

use http::Method;
use ringway_core::access_log::Facts;
use ringway_core::http1::BodyFraming;
use ringway_core::{Answer, Arrival, Instant, RequestHead, ResponseHead};

use crate::body::{BodyFailure, Sink};
use crate::carry::Upload;
use crate::env::Env;
use crate::http1::Http1Reply;
use crate::http2;
use crate::timer::Deadline;

/// One request being served.
pub struct Exchange<'c, E: Env> {
    /// What is fixed for its connection.
    pub arrival: &'c Rc<Arrival>,
    /// Its head; edited on its way up.
    pub request: &'c mut RequestHead,
    /// Room for the response's head.
    pub response: &'c mut ResponseHead,
    /// What the access log says of the request.
    pub facts: &'c mut Facts,
    /// Bounds each attempt.
    pub deadline: &'c Deadline,
    /// Room for an HTTP/1 upstream's request bytes.
    pub upstream_out: &'c mut Vec<u8>,
    /// Its body.
    pub body: Upload<'c, E>,
    /// The declared length of its body.
    pub framing: BodyFraming,
    /// It may become a tunnel.
    pub upgrade: bool,
    /// Where the answer goes.
    pub reply: Reply<'c, E>,
    /// When its first byte came.
    pub started: Instant,
}

/// Where an answer goes.
pub enum Reply<'c, E: Env> {
    /// To an HTTP/1 connection.
    Http1(Http1Reply<'c, E>),
    /// To a stream of an HTTP/2 connection.
    Http2(http2::Reply<E>),
}

impl<'c, E: Env> Reply<'c, E> {
    /// Whether a final head has been sent: from then on a failure can only cut the answer off.
    pub fn is_begun(&self) -> bool {
        match self {
            Self::Http1(reply) => reply.is_begun(),
            Self::Http2(reply) => reply.is_begun(),
        }
    }

    /// The connection ends with this answer, where connections end with answers.
    pub fn close_after(&mut self) {
        match self {
            Self::Http1(reply) => reply.close_after(),
            // Its connection is told to go away as a whole, and drains by itself.
            Self::Http2(_) => {}
        }
    }

    /// Passes a 1xx head on.
    pub async fn inform(&mut self, head: &ResponseHead) -> Result<(), BodyFailure> {
        match self {
            Self::Http1(reply) => reply.inform(head).await,
            Self::Http2(reply) => reply.inform(head),
        }
    }

    /// Sends the final head; the body goes into the sink.
    pub fn begin(&mut self, head: &ResponseHead, length: BodyFraming) -> Result<Sink<'_, E>, BodyFailure> {
        match self {
            Self::Http1(reply) => Ok(Sink::Http1(reply.begin(head, length))),
            Self::Http2(reply) => reply.begin(head, length).map(Sink::Http2),
        }
    }

    /// Sends the head that makes this a tunnel: 101, or 200 to an extended CONNECT.
    pub async fn switch(&mut self, head: &ResponseHead) -> Result<Sink<'_, E>, BodyFailure> {
        match self {
            Self::Http1(reply) => Ok(Sink::Http1(reply.switch(head).await?)),
            Self::Http2(reply) => reply.switch(head).map(Sink::Http2),
        }
    }

    /// Sends an answer of ours, whole. Returns the body's length.
    pub async fn answer(
        &mut self,
        answer: &Answer,
        method: &Method,
        date: &[u8],
    ) -> Result<u64, BodyFailure> {
        match self {
            Self::Http1(reply) => reply.answer(answer, method, date).await,
            Self::Http2(reply) => reply.answer(answer, method, date).await,
        }
    }

    /// Ends when the client has given up the exchange. An HTTP/1 client that ends its side may still read: it has only
    /// once its connection is gone.
    pub async fn gone(&mut self) {
        match self {
            Self::Http1(reply) => reply.gone().await,
            Self::Http2(reply) => reply.gone().await,
        }
    }

    /// Cuts off an answer that has begun: the client must not take it for whole.
    pub fn abort(&mut self) {
        match self {
            Self::Http1(reply) => reply.abort(),
            Self::Http2(reply) => reply.abort(),
        }
    }
}
