//! A client's HTTP/2 connection: every stream is served by a task of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, StatusCode};
use ringway_core::http1::{BodyFraming, Refusal, encode};
use ringway_core::limits::Limits;
use ringway_core::record::Limit;
use ringway_core::{Answer, Arrival, Fields, Instant, ResponseHead};

use super::body_failure;
use super::io::Transport;
use super::message::{read_request, write_response};
use super::stream::{Sink, Source};
use crate::body::BodyFailure;
use crate::buffer::Buffer;
use crate::carry::Upload;
use crate::env::Env;
use crate::exchange::{Exchange, Reply as AnyReply};
use crate::link::Link;
use crate::serve::serve;
use crate::timer::Timers;
use crate::worker::{Scratch, Worker};

/// Serves a connection until either side ends it. `inbox` holds what was read to learn the protocol.
pub async fn serve_connection<E: Env>(
    worker: &Rc<Worker<E>>,
    link: Rc<Link<E>>,
    arrival: Rc<Arrival>,
    inbox: Option<Buffer>,
) {
    let transport = Transport::new(worker, link, inbox);
    let builder = builder(&worker.limits);
    let at = worker.env.now() + worker.limits.handshake_timeout;
    let shaken = worker.timers.deadline().within(at, builder.handshake::<_, Bytes>(transport)).await;
    let Ok(Ok(mut connection)) = shaken else { return worker.hit(Limit::Handshake) };
    let mut left = worker.limits.requests_per_connection_max;
    let mut leaving = false;
    let streams = Rc::new(Streams::default());
    let deadline = worker.timers.deadline();
    let idle = worker.limits.idle_timeout;
    let mut until = worker.env.now() + idle;
    loop {
        let accepting = worker.drain.unless_draining_if(!leaving, connection.accept());
        let Ok(next) = deadline.within(until, accepting).await else {
            let now = worker.env.now();
            match streams.idle_since(now) + idle {
                later if later > now => until = later,
                // It was told to leave, and there is nothing that it could still be told.
                _ if leaving => return,
                _ => {
                    worker.hit(Limit::Idle);
                    connection.graceful_shutdown();
                    leaving = true;
                    until = now + worker.limits.linger_timeout;
                }
            }
            continue;
        };
        let Some(next) = next else {
            // GOAWAY: streams that are there go on, the client opens no further ones.
            connection.graceful_shutdown();
            leaving = true;
            continue;
        };
        match next {
            Some(Ok((request, reply))) => {
                left = left.saturating_sub(1);
                if (left == 0 || worker.drain.is_retiring()) && !leaving {
                    connection.graceful_shutdown();
                    leaving = true;
                }
                let (worker, arrival) = (Rc::clone(worker), Rc::clone(&arrival));
                let env = worker.env.clone();
                let open = OpenStream::new(&streams, env.clone());
                env.spawn(async move {
                    serve_stream(&worker, &arrival, request, reply).await;
                    drop(open);
                });
            }
            Some(Err(error)) => {
                if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                    worker.hit(Limit::Http2Resets);
                }
                return close(connection).await;
            }
            None => return close(connection).await,
        }
    }
}

/// The streams of a connection that are being served.
#[derive(Default)]
struct Streams {
    open: Cell<usize>,
    last_ended: Cell<Instant>,
}

impl Streams {
    /// Since when none is open; `now` if one is.
    fn idle_since(&self, now: Instant) -> Instant {
        if self.open.get() > 0 { now } else { self.last_ended.get() }
    }
}

/// A stream that is being served; over when dropped.
struct OpenStream<E: Env> {
    streams: Rc<Streams>,
    env: E,
}

impl<E: Env> OpenStream<E> {
    fn new(streams: &Rc<Streams>, env: E) -> Self {
        streams.open.set(streams.open.get() + 1);
        Self { streams: Rc::clone(streams), env }
    }
}

impl<E: Env> Drop for OpenStream<E> {
    fn drop(&mut self) {
        self.streams.open.set(self.streams.open.get() - 1);
        self.streams.last_ended.set(self.env.now());
    }
}

/// Lets the codec say its last words.
async fn close(mut connection: Connection<Transport, Bytes>) {
    let _ = poll_fn(|cx| connection.poll_closed(cx)).await;
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(limits.http2_stream_window)
        .initial_connection_window_size(limits.http2_connection_window)
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(limits.http2_resets_max)
        .max_pending_accept_reset_streams(limits.http2_resets_max)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .max_send_buffer_size(SEND_BYTES_MAX)
        .enable_connect_protocol();
    builder
}

/// Streams that we had to reset for what the client sent (MadeYouReset). GOAWAY.
const LOCAL_RESETS_MAX: usize = 100;
/// What one stream may have waiting in the codec.
const SEND_BYTES_MAX: usize = 64 << 10;

async fn serve_stream<E: Env>(
    worker: &Rc<Worker<E>>,
    arrival: &Rc<Arrival>,
    request: Request<RecvStream>,
    reply: SendResponse<Bytes>,
) {
    let started = worker.env.now();
    let mut scratch = worker.scratch();
    let Scratch { deadline, request: head, response, facts, upstream_out, .. } = &mut *scratch;
    facts.clear();
    let (parts, stream) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let ended = stream.is_end_stream();
    let idle = worker.limits.body_idle_timeout;
    let mut reply = Reply {
        env: worker.env.clone(),
        timers: worker.timers.clone(),
        idle,
        is_head: *request.method() == Method::HEAD,
        respond: reply,
        stream: None,
        ended: false,
    };
    let framing = match read_request(&request, ended, &worker.limits, arrival.scheme, head) {
        Ok(framing) => framing,
        Err(refusal) => return refuse(worker, arrival, &mut reply, refusal, scratch, started).await,
    };
    let upgrade = head.protocol.is_some();
    let source = match ended {
        true => crate::body::Source::Empty,
        false => {
            let idle = if upgrade { worker.limits.stream_idle_timeout } else { idle };
            crate::body::Source::Http2(Source::new(worker.env.clone(), &worker.timers, stream, idle))
        }
    };
    let body_held = Cell::new(true);
    let mut exchange = Exchange {
        arrival,
        request: head,
        response,
        facts,
        deadline,
        upstream_out,
        body: Upload::new(source, &body_held, worker.limits.replay_bytes_max),
        framing: if upgrade { BodyFraming::None } else { framing },
        upgrade,
        reply: AnyReply::Http2(reply),
        started,
    };
    let summary = serve(&mut exchange, worker).await;
    worker.record(&summary, arrival, exchange.facts);
}

async fn refuse<E: Env>(
    worker: &Rc<Worker<E>>,
    arrival: &Rc<Arrival>,
    reply: &mut Reply<E>,
    refusal: Refusal,
    scratch: crate::worker::ScratchLease<E>,
    started: Instant,
) {
    let answer = refusal.answer();
    let sent = reply.answer(&answer, &Method::GET, &worker.date()).await;
    let mut summary = worker.begin(started);
    summary.status = answer.status.as_u16();
    summary.flags = answer.flags;
    summary.details = answer.details;
    summary.response_body_bytes = sent.unwrap_or_default();
    summary.duration = worker.env.now().since(started);
    worker.record(&summary, arrival, &scratch.facts);
}

/// The answer's side of an exchange on a stream.
pub struct Reply<E: Env> {
    env: E,
    timers: Timers,
    idle: Duration,
    is_head: bool,
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    ended: bool,
}

impl<E: Env> Reply<E> {
    pub(crate) fn is_begun(&self) -> bool {
        self.stream.is_some()
    }

    pub(crate) fn inform(&mut self, head: &ResponseHead) -> Result<(), BodyFailure> {
        self.respond.send_informational(write_response(head, None)).map_err(|error| body_failure(&error))
    }

    pub(crate) fn begin(
        &mut self,
        head: &ResponseHead,
        length: BodyFraming,
    ) -> Result<Sink<'_, E>, BodyFailure> {
        let known = match length {
            BodyFraming::None => Some(0),
            BodyFraming::Length(length) => Some(length),
            BodyFraming::Chunked | BodyFraming::UntilClose => None,
        };
        let bodiless = self.is_head || matches!(head.status.as_u16(), 204 | 304);
        // Trailers may follow an empty body, so only what can have none ends with its head; a gRPC error of an upstream
        // has all it has in its head.
        let empty = bodiless || (known == Some(0));
        let told = known.filter(|_| !bodiless && length != BodyFraming::None);
        let response = write_response(head, told);
        self.send(response, empty)
    }

    pub(crate) fn switch(&mut self, head: &ResponseHead) -> Result<Sink<'_, E>, BodyFailure> {
        let mut response = write_response(head, None);
        // An extended CONNECT is accepted by 200; what speaks of the HTTP/1 upgrade has no place (RFC 8441 section 5).
        *response.status_mut() = StatusCode::OK;
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            response.headers_mut().remove(name);
        }
        self.send(response, false)
    }

    fn send(&mut self, response: http::Response<()>, empty: bool) -> Result<Sink<'_, E>, BodyFailure> {
        let stream = self.respond.send_response(response, empty).map_err(|error| body_failure(&error))?;
        let stream = self.stream.insert(stream);
        let stream = (!empty).then_some(stream);
        Ok(Sink::new(self.env.clone(), &self.timers, stream, Some(&mut self.ended), self.idle))
    }

    pub(crate) async fn answer(
        &mut self,
        answer: &Answer,
        method: &Method,
        date: &[u8],
    ) -> Result<u64, BodyFailure> {
        let mut head = ResponseHead::new();
        let text = Bytes::copy_from_slice(encode::answer_head(answer, date, &mut head).as_bytes());
        let bodiless = *method == Method::HEAD || text.is_empty();
        let told = (answer.grpc_status.is_none()).then_some(text.len() as u64);
        let response = write_response(&head, told);
        let mut sink = self.send(response, bodiless)?;
        let sent = if bodiless { 0 } else { text.len() as u64 };
        sink.data(crate::body::Chunk::Shared(text)).await?;
        sink.end(&Fields::new()).await?;
        Ok(sent)
    }

    pub(crate) fn abort(&mut self) {
        if !self.ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
            if let Some(stream) = &mut self.stream {
                stream.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }

    /// Ends when the client has reset the stream, or the connection is gone.
    pub(crate) async fn gone(&mut self) {
        let _: Result<Reason, _> = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }
}
