//! Connections to HTTP/2 upstreams: few, shared by many exchanges.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Response};
use ringway_core::balance::{EndpointId, Pick};
use ringway_core::http1::{BodyFraming, ResponseKind};
use ringway_core::limits::Limits;
use ringway_core::pool::{SharedId, Stream};
use ringway_core::record::Event;
use ringway_core::{RequestHead, ResponseHead, UpstreamCause};

use super::io::Transport;
use super::message::{framing, read_response, write_request};
use super::stream::{Sink, Source};
use super::{body_failure, is_refusal};
use crate::body::BodyFailure;
use crate::cluster::Cluster;
use crate::env::Env;
use crate::tls::Alpn;
use crate::upstream::{NoConnection, NoResponse, ResponseStart, connect};
use crate::worker::Worker;

/// A handle to a shared connection.
pub type SharedClient = SendRequest<Bytes>;

/// A stream to an upstream, for one exchange.
pub struct ClientStream<E: Env> {
    env: E,
    worker: Rc<Worker<E>>,
    client: SharedClient,
    reused: bool,
    sending: Option<SendStream<Bytes>>,
    response: RefCell<Option<ResponseFuture>>,
    received: Option<RecvStream>,
    place: Place<E>,
}

/// A stream's place on its connection; free again when dropped.
struct Place<E: Env> {
    cluster: Rc<Cluster<E>>,
    endpoint: EndpointId,
    id: SharedId,
    env: E,
}

impl<E: Env> Drop for Place<E> {
    fn drop(&mut self) {
        self.cluster.stream_ended(self.endpoint, self.id, self.env.now());
    }
}

/// Opens a stream to an endpoint: on a connection that is there if it has room, else on a new one.
pub async fn obtain<E: Env>(
    cluster: &Rc<Cluster<E>>,
    pick: &Pick,
    worker: &Rc<Worker<E>>,
) -> Result<ClientStream<E>, NoConnection> {
    loop {
        let begun = cluster.begin_stream(pick.endpoint);
        let fresh = begun.is_none();
        let stream = match begun {
            Some(stream) => stream,
            None => match cluster.begin_opening(pick.endpoint) {
                Ok(opener) => opener.done(Box::pin(open(cluster, pick, worker)).await)?,
                Err(opening) => {
                    opening.over().await?;
                    continue;
                }
            },
        };
        let place = Place {
            cluster: Rc::clone(cluster),
            endpoint: pick.endpoint,
            id: stream.id,
            env: worker.env.clone(),
        };
        let mut client = stream.conn;
        // Ready unless the connection has ended: its room was looked at when the stream was begun.
        let at = worker.env.now() + cluster.connect_timeout();
        let ready = worker.timers.deadline().within(at, poll_fn(|cx| client.poll_ready(cx))).await;
        match ready {
            Ok(Ok(())) => {
                if stream.reused {
                    worker.count(Event::UpstreamReused);
                }
                return Ok(ClientStream {
                    env: worker.env.clone(),
                    worker: Rc::clone(worker),
                    client,
                    reused: stream.reused,
                    sending: None,
                    response: RefCell::new(None),
                    received: None,
                    place,
                });
            }
            Ok(Err(_)) => {
                cluster.retire_connection(pick.endpoint, place.id);
                if fresh {
                    return Err(UpstreamCause::Closed.into());
                }
            }
            Err(_) => return Err(UpstreamCause::ConnectTimeout.into()),
        }
    }
}

/// Makes a connection, adds it to the endpoint's, and begins a stream on it.
async fn open<E: Env>(
    cluster: &Rc<Cluster<E>>,
    pick: &Pick,
    worker: &Rc<Worker<E>>,
) -> Result<Stream<SharedClient>, NoConnection> {
    let epoch = cluster.epoch();
    let link = connect(cluster, pick, worker, worker.limits.response_header_timeout).await?;
    if cluster.tls().is_some() && link.alpn() != Some(Alpn::Http2) {
        return Err(UpstreamCause::Protocol.into());
    }
    let transport = Transport::new(worker, link, None);
    let builder = builder(&worker.limits);
    let at = worker.env.now() + cluster.connect_timeout();
    let shaken = worker.timers.deadline().within(at, builder.handshake::<_, Bytes>(transport)).await;
    let (client, connection) =
        shaken.map_err(|_| UpstreamCause::ConnectTimeout)?.map_err(|_| UpstreamCause::Protocol)?;
    let stream = cluster.add_connection(pick.endpoint, client, STREAMS_MAX, epoch, worker.env.now());
    let id = stream.id;
    let weak: Weak<Cluster<E>> = Rc::downgrade(cluster);
    let endpoint = pick.endpoint;
    worker.env.spawn(async move {
        // However it ends: its streams have learned of it, and no further one begins.
        let _ = connection.await;
        if let Some(cluster) = weak.upgrade() {
            cluster.retire_connection(endpoint, id);
        }
    });
    Ok(stream)
}

/// Streams that are begun on one connection before another is made. A peer with a lower limit makes them wait.
const STREAMS_MAX: u32 = 100;

fn builder(limits: &Limits) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(limits.http2_stream_window)
        .initial_connection_window_size(limits.http2_connection_window)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(limits.http2_resets_max)
        .max_send_buffer_size(64 << 10)
        .enable_push(false);
    builder
}

impl<E: Env> ClientStream<E> {
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(crate) fn split(&mut self) -> (RequestSide<'_, E>, ResponseSide<'_, E>) {
        let request = RequestSide {
            env: &self.env,
            worker: &self.worker,
            client: &mut self.client,
            sending: &mut self.sending,
            response: &self.response,
        };
        let response = ResponseSide {
            env: &self.env,
            worker: &self.worker,
            response: &self.response,
            received: &mut self.received,
        };
        (request, response)
    }

    /// Where it goes.
    pub fn endpoint(&self) -> EndpointId {
        self.place.endpoint
    }
}

/// Sends a request on a stream.
pub struct RequestSide<'c, E: Env> {
    env: &'c E,
    worker: &'c Worker<E>,
    client: &'c mut SharedClient,
    sending: &'c mut Option<SendStream<Bytes>>,
    response: &'c RefCell<Option<ResponseFuture>>,
}

impl<'c, E: Env> RequestSide<'c, E> {
    pub(crate) fn begin(
        self,
        head: &RequestHead,
        framing: BodyFraming,
        upgrade: bool,
        idle: Duration,
    ) -> Result<Sink<'c, E>, BodyFailure> {
        let request =
            write_request(head, framing).ok_or(BodyFailure::Protocol("request has no HTTP/2 form"))?;
        let empty = framing.is_empty() && !upgrade;
        let (response, sending) =
            self.client.send_request(request, empty).map_err(|error| match body_failure(&error) {
                // Nothing was sent yet.
                BodyFailure::Protocol(what) => BodyFailure::Protocol(what),
                _ => BodyFailure::Refused,
            })?;
        self.response.replace(Some(response));
        let sending = self.sending.insert(sending);
        Ok(Sink::new(self.env.clone(), &self.worker.timers, (!empty).then_some(sending), None, idle))
    }
}

/// Receives a response on a stream.
pub struct ResponseSide<'c, E: Env> {
    env: &'c E,
    worker: &'c Worker<E>,
    response: &'c RefCell<Option<ResponseFuture>>,
    received: &'c mut Option<RecvStream>,
}

impl<'c, E: Env> ResponseSide<'c, E> {
    pub(crate) async fn head(
        &mut self,
        method: &Method,
        head: &mut ResponseHead,
        patience: Duration,
    ) -> Result<ResponseStart, NoResponse> {
        enum Next {
            Informational(Response<()>),
            Final(Response<RecvStream>),
        }
        let at = self.env.now() + patience;
        let next = poll_fn(|cx| {
            use std::pin::Pin;
            use std::task::Poll;
            let mut waiting = self.response.borrow_mut();
            let Some(response) = waiting.as_mut() else {
                return Poll::Ready(Err(NoResponse::Unanswered));
            };
            if let Poll::Ready(Some(informational)) = response.poll_informational(cx) {
                return Poll::Ready(
                    informational.map(Next::Informational).map_err(|error| no_response(&error)),
                );
            }
            Pin::new(response).poll(cx).map(|done| done.map(Next::Final).map_err(|error| no_response(&error)))
        });
        let next = self.worker.timers.deadline().within(at, next).await.map_err(|_| NoResponse::Idle)??;
        match next {
            Next::Informational(response) => {
                read_response(&response, method, head);
                Ok(ResponseStart { kind: ResponseKind::Informational, framing: BodyFraming::None })
            }
            Next::Final(response) => {
                self.response.replace(None);
                let (parts, body) = response.into_parts();
                let ended = body.is_end_stream();
                let framing = framing(&parts.headers, ended);
                read_response(&Response::from_parts(parts, ()), method, head);
                *self.received = Some(body);
                // A CONNECT that was accepted is a tunnel (RFC 8441 section 5).
                let kind = match *method == Method::CONNECT && head.status.is_success() {
                    true => ResponseKind::Switching,
                    false => ResponseKind::Final,
                };
                Ok(ResponseStart { kind, framing })
            }
        }
    }

    pub(crate) fn body(self, idle: Duration) -> crate::body::Source<'c, E> {
        match self.received.take() {
            Some(stream) => {
                let source = Source::new(self.env.clone(), &self.worker.timers, stream, idle);
                crate::body::Source::Http2(source)
            }
            None => crate::body::Source::Empty,
        }
    }
}

fn no_response(error: &h2::Error) -> NoResponse {
    if is_refusal(error) {
        NoResponse::Refused
    } else if error.is_io() || error.is_go_away() || error.is_reset() {
        NoResponse::Unanswered
    } else {
        NoResponse::Bad("upstream broke HTTP/2")
    }
}
