//! HTTP/2 on both sides, over the `h2` crate: the only file that names it.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use http::Method;
use ringway_core::balance::Pick;
use ringway_core::http1::BodyFraming;
use ringway_core::{Answer, Arrival, Fields, RequestHead, ResponseHead, UpstreamCause};

use crate::body::{BodyFailure, Chunk, Frame};
use crate::buffer::Buffer;
use crate::cluster::Cluster;
use crate::env::Env;
use crate::link::Link;
use crate::upstream::{NoResponse, ResponseStart};
use crate::worker::Worker;

/// Serves a client's connection until either side ends it.
pub async fn serve_connection<E: Env>(
    _worker: &Rc<Worker<E>>,
    _link: Rc<Link<E>>,
    _arrival: Rc<Arrival>,
    _inbox: Option<Buffer>,
) {
}

/// The body of a message on a stream.
pub struct Source<E>(Infallible, PhantomData<E>);

impl<E: Env> Source<E> {
    pub(crate) fn is_ready(&mut self) -> bool {
        match self.0 {}
    }

    pub(crate) async fn next(&mut self) -> Result<Frame<'_>, BodyFailure> {
        match self.0 {}
    }
}

/// Where the body of a message on a stream goes.
pub struct Sink<'c, E>(Infallible, PhantomData<&'c E>);

impl<E: Env> Sink<'_, E> {
    pub(crate) async fn data(&mut self, _chunk: Chunk<'_>) -> Result<(), BodyFailure> {
        match self.0 {}
    }

    pub(crate) async fn end(&mut self, _trailers: Fields) -> Result<(), BodyFailure> {
        match self.0 {}
    }
}

/// The answer's side of an exchange on a stream.
pub struct Reply<E>(Infallible, PhantomData<E>);

impl<E: Env> Reply<E> {
    pub(crate) fn is_begun(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn inform(&mut self, _head: &ResponseHead) -> Result<(), BodyFailure> {
        match self.0 {}
    }

    pub(crate) fn begin(
        &mut self,
        _head: &ResponseHead,
        _length: BodyFraming,
    ) -> Result<Sink<'_, E>, BodyFailure> {
        match self.0 {}
    }

    pub(crate) fn switch(&mut self, _head: &ResponseHead) -> Result<Sink<'_, E>, BodyFailure> {
        match self.0 {}
    }

    pub(crate) async fn answer(
        &mut self,
        _answer: &Answer,
        _method: &Method,
        _date: &[u8],
    ) -> Result<u64, BodyFailure> {
        match self.0 {}
    }

    pub(crate) fn abort(&mut self) {
        match self.0 {}
    }
}

/// A stream to an upstream.
pub struct ClientStream<E>(Infallible, PhantomData<E>);

/// Opens a stream to an endpoint, on a connection that is there if it has room.
pub async fn obtain<E: Env>(
    _cluster: &Rc<Cluster<E>>,
    _pick: &Pick,
    _worker: &Rc<Worker<E>>,
) -> Result<ClientStream<E>, UpstreamCause> {
    Err(UpstreamCause::Protocol)
}

impl<E: Env> ClientStream<E> {
    pub(crate) fn is_reused(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn split(&mut self) -> (RequestSide<'_, E>, ResponseSide<'_, E>) {
        match self.0 {}
    }
}

/// Sends a request on a stream.
pub struct RequestSide<'c, E>(Infallible, PhantomData<&'c E>);

impl<'c, E: Env> RequestSide<'c, E> {
    pub(crate) fn begin(
        self,
        _head: &RequestHead,
        _framing: BodyFraming,
        _upgrade: bool,
    ) -> Result<Sink<'c, E>, BodyFailure> {
        match self.0 {}
    }
}

/// Receives a response on a stream.
pub struct ResponseSide<'c, E>(Infallible, PhantomData<&'c E>);

impl<'c, E: Env> ResponseSide<'c, E> {
    pub(crate) async fn head(
        &mut self,
        _method: &Method,
        _head: &mut ResponseHead,
        _patience: Duration,
    ) -> Result<ResponseStart, NoResponse> {
        match self.0 {}
    }

    pub(crate) fn body(self, _idle: Duration) -> Source<E> {
        match self.0 {}
    }
}
