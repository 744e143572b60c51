//! Connections to endpoints: one from the pool if there is one, else a new one; and the two sides of an exchange on it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::Method;
use ringway_config::UpstreamProtocol;
use ringway_core::balance::{EndpointId, Pick};
use ringway_core::http1::{BodyFraming, ResponseKind};
use ringway_core::limits::Limits;
use ringway_core::pool::Lease;
use ringway_core::record::{Event, Limit, Recorder};
use ringway_core::{Instant, RequestHead, ResponseHead, UpstreamCause};

use crate::admission::{Grant, Refused, Token};
use crate::body::{BodyFailure, Sink, Source};
use crate::cluster::Cluster;
use crate::env::Env;
use crate::http1::{self, Http1Client};
use crate::http2;
use crate::link::Link;
use crate::timer::Elapsed;
use crate::worker::Worker;

/// A connection, or a stream of one, for one exchange.
pub enum Upstream<E: Env> {
    /// An HTTP/1 connection of our own.
    Http1(Lease<Http1Client<E>>),
    /// A stream of an HTTP/2 connection.
    Http2(http2::ClientStream<E>),
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoConnection {
    /// The endpoint.
    Cause(UpstreamCause),
    /// A limit of the cluster.
    Overflow(Limit),
}

impl From<UpstreamCause> for NoConnection {
    fn from(cause: UpstreamCause) -> Self {
        Self::Cause(cause)
    }
}

/// Gets a connection to an endpoint. `new`: none that was used before (a multiplexed one says what it refused, so it
/// may be).
pub async fn obtain<E: Env>(
    cluster: &Rc<Cluster<E>>,
    pick: &Pick,
    worker: &Rc<Worker<E>>,
    new: bool,
) -> Result<Upstream<E>, NoConnection> {
    match cluster.protocol() {
        UpstreamProtocol::Http1 | UpstreamProtocol::Opaque => {
            let kept = if new { None } else { cluster.take(pick.endpoint, worker.env.now()) };
            if let Some(lease) = kept {
                worker.count(Event::UpstreamReused);
                return Ok(Upstream::Http1(lease));
            }
            // Boxed: it is rare, and its future is large.
            Box::pin(obtain_http1(cluster, pick, worker, new)).await.map(Upstream::Http1)
        }
        UpstreamProtocol::Http2 => Box::pin(http2::obtain(cluster, pick, worker)).await.map(Upstream::Http2),
    }
}

/// A new connection; or one that somebody else has just done with, where connections are limited.
async fn obtain_http1<E: Env>(
    cluster: &Cluster<E>,
    pick: &Pick,
    worker: &Worker<E>,
    new: bool,
) -> Result<Lease<Http1Client<E>>, NoConnection> {
    let wanted = (!new).then_some(pick.endpoint);
    let token = match admit(cluster, wanted, worker, worker.limits.response_header_timeout).await? {
        Some(Grant::Connection(lease)) => {
            worker.count(Event::UpstreamReused);
            return Ok(lease);
        }
        Some(Grant::Token(token)) => Some(token),
        None => None,
    };
    let epoch = cluster.epoch();
    let link = counted(cluster, pick, worker, token).await?;
    Ok(Lease::fresh(Http1Client::new(link, worker.buffers.clone(), &worker.limits, epoch)))
}

/// Makes a connection to an endpoint, with TLS where the cluster asks for it: never without. Waits for so long if the
/// cluster has as many as it may.
pub async fn connect<E: Env>(
    cluster: &Cluster<E>,
    pick: &Pick,
    worker: &Worker<E>,
    patience: Duration,
) -> Result<Rc<Link<E>>, NoConnection> {
    let token = match admit(cluster, None, worker, patience).await? {
        Some(Grant::Token(token)) => Some(token),
        None => None,
        Some(Grant::Connection(_)) => unreachable!("a connection is handed over only to who can use it"),
    };
    counted(cluster, pick, worker, token).await
}

/// A place among the connections of a cluster, if they are limited.
async fn admit<E: Env>(
    cluster: &Cluster<E>,
    wanted: Option<EndpointId>,
    worker: &Worker<E>,
    patience: Duration,
) -> Result<Option<Grant<E>>, NoConnection> {
    let Some(gate) = cluster.gates.connections() else { return Ok(None) };
    let waiting = match gate.take_or_connection(wanted) {
        Ok(token) => return Ok(Some(Grant::Token(token))),
        Err(waiting) => waiting,
    };
    match worker.timers.deadline().within(worker.env.now() + patience, waiting).await {
        Ok(Ok(grant)) => Ok(Some(grant)),
        Ok(Err(Refused)) => Err(NoConnection::Overflow(Limit::ClusterPending)),
        Err(Elapsed) => Err(NoConnection::Overflow(Limit::ClusterConnections)),
    }
}

async fn counted<E: Env>(
    cluster: &Cluster<E>,
    pick: &Pick,
    worker: &Worker<E>,
    token: Option<Token<E>>,
) -> Result<Rc<Link<E>>, NoConnection> {
    let made = make(cluster, pick, worker).await;
    match &made {
        Ok(link) => link.hold(Open::new(&worker.recorder, token)),
        Err(_) => worker.count(Event::UpstreamConnectFailed),
    }
    Ok(made?)
}

/// What a connection to an upstream has for as long as it is open: its count, and its place where there are only so many.
pub struct Open<E: Env> {
    recorder: Rc<RefCell<Recorder>>,
    token: RefCell<Option<Token<E>>>,
}

impl<E: Env> Open<E> {
    fn new(recorder: &Rc<RefCell<Recorder>>, token: Option<Token<E>>) -> Self {
        recorder.borrow_mut().count(Event::UpstreamConnected);
        Self { recorder: Rc::clone(recorder), token: RefCell::new(token) }
    }

    /// Whether it has such a place.
    pub fn has_token(&self, such: impl FnOnce(&Token<E>) -> bool) -> bool {
        self.token.borrow().as_ref().is_some_and(such)
    }

    /// Gives up its place.
    pub fn yield_token(&self) -> Option<Token<E>> {
        self.token.take()
    }
}

impl<E: Env> Drop for Open<E> {
    fn drop(&mut self) {
        self.recorder.borrow_mut().count(Event::UpstreamClosed);
    }
}

async fn make<E: Env>(
    cluster: &Cluster<E>,
    pick: &Pick,
    worker: &Worker<E>,
) -> Result<Rc<Link<E>>, UpstreamCause> {
    let tls = cluster.tls();
    if cluster.wants_tls() && tls.is_none() {
        // What was configured cannot be used: no plain text in its place.
        return Err(UpstreamCause::Tls);
    }
    let until = worker.env.now() + cluster.connect_timeout();
    let deadline = worker.timers.deadline();
    let socket = deadline
        .within(until, worker.env.connect(pick.address))
        .await
        .map_err(|_| UpstreamCause::ConnectTimeout)?
        .map_err(|_| UpstreamCause::Connect)?;
    let Some(tls) = tls else {
        return Ok(Link::plain(worker.env.clone(), socket, &worker.timers, &worker.outbox));
    };
    let link = Link::client(worker.env.clone(), socket, &worker.timers, &worker.outbox, &tls)
        .map_err(|_| UpstreamCause::Tls)?;
    let shaken = deadline.within(until, link.handshake()).await;
    shaken.map_err(|_| UpstreamCause::ConnectTimeout)?.map_err(|_| UpstreamCause::Tls)?;
    Ok(link)
}

impl<E: Env> Upstream<E> {
    /// Whether the connection had served a request before.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.reused(),
            Self::Http2(stream) => stream.is_reused(),
        }
    }

    /// Whether it shares its connection with other exchanges.
    pub fn is_multiplexed(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// The two directions.
    pub fn split<'c>(&'c mut self, out: &'c mut Vec<u8>) -> (RequestSide<'c, E>, ResponseSide<'c, E>) {
        match self {
            Self::Http1(lease) => {
                let (request, response) = lease.split(out);
                (RequestSide::Http1(request), ResponseSide::Http1(response))
            }
            Self::Http2(stream) => {
                let (request, response) = stream.split();
                (RequestSide::Http2(request), ResponseSide::Http2(response))
            }
        }
    }

    /// Gives a connection back if its response was read to its end.
    pub fn give_back(self, request_sent: bool, cluster: &Cluster<E>, endpoint: EndpointId, now: Instant) {
        match self {
            Self::Http1(mut lease) => {
                if let Some(proof) = lease.reusable(request_sent) {
                    cluster.give_back(endpoint, lease, proof, now);
                }
            }
            Self::Http2(_) => {}
        }
    }
}

/// Sends a request.
pub enum RequestSide<'c, E: Env> {
    /// On an HTTP/1 connection.
    Http1(http1::RequestSide<'c, E>),
    /// On an HTTP/2 stream.
    Http2(http2::RequestSide<'c, E>),
}

impl<'c, E: Env> RequestSide<'c, E> {
    /// Sends the head; the body goes into the sink.
    pub fn begin(
        self,
        head: &RequestHead,
        framing: BodyFraming,
        upgrade: bool,
        idle: Duration,
    ) -> Result<Sink<'c, E>, BodyFailure> {
        match self {
            Self::Http1(side) => Ok(Sink::Http1(side.begin(head, framing, upgrade, idle))),
            Self::Http2(side) => side.begin(head, framing, upgrade, idle).map(Sink::Http2),
        }
    }
}

/// Receives a response.
pub enum ResponseSide<'c, E: Env> {
    /// On an HTTP/1 connection.
    Http1(http1::ResponseSide<'c, E>),
    /// On an HTTP/2 stream.
    Http2(http2::ResponseSide<'c, E>),
}

/// What a response's head says beside its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseStart {
    /// What follows.
    pub kind: ResponseKind,
    /// How long its body is.
    pub framing: BodyFraming,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoResponse {
    /// The upstream said that it did not act.
    Refused,
    /// The connection ended before a byte of it.
    Unanswered,
    /// The connection ended within its head.
    Cut,
    /// Nothing came for too long. May be asked again.
    Idle,
    /// It is no response that can be passed on.
    Bad(&'static str),
}

impl<'c, E: Env> ResponseSide<'c, E> {
    /// Receives the next head, informational ones included.
    pub async fn head(
        &mut self,
        limits: &Limits,
        method: &Method,
        head: &mut ResponseHead,
        patience: Duration,
    ) -> Result<ResponseStart, NoResponse> {
        match self {
            Self::Http1(side) => side.head(limits, method, head, patience).await,
            Self::Http2(side) => side.head(method, head, patience).await,
        }
    }

    /// The body that follows the final head.
    pub fn body(self, idle: Duration) -> Source<'c, E> {
        match self {
            Self::Http1(side) => Source::Http1(side.body(idle)),
            Self::Http2(side) => side.body(idle),
        }
    }
}
