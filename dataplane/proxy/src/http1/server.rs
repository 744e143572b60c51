//! A client's HTTP/1 connection: reads one request after another, has each served, and decides whether to go on.
//!
//! Between requests it holds no buffer, and one that stays idle nothing at all that only serving needs. Every way out
//! that leaves input unread lingers, so that the last answer is not turned into a reset.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use http::Method;
use ringway_core::access_log::Facts;
use ringway_core::http1::encode::{self, Persistence};
use ringway_core::http1::{BodyDecoder, BodyFraming, HeadScan, Parsed, Refusal, parse_request};
use ringway_core::record::Limit;
use ringway_core::{Answer, Arrival, Instant, RequestHead, ResponseHead, Scheme, Version};

use crate::body::{BodyFailure, Coding, Http1Sink, Http1Source, Source};
use crate::buffer::Buffer;
use crate::carry::Upload;
use crate::env::Env;
use crate::exchange::{Exchange, Reply};
use crate::link::{Link, LinkError};
use crate::serve::serve;
use crate::timer::Deadline;
use crate::worker::{Scratch, Worker};

/// How long a connection that has just served a request keeps the room in which it did, for the next one. Longer than
/// a busy client takes, and short, since those that come and wait all have one meanwhile.
const STAY: Duration = Duration::from_millis(20);

/// Serves a connection until either side ends it. `inbox` holds what was read to learn the protocol.
///
/// Waiting is all that its own future can do; requests are served in a room that the core lends.
pub async fn serve_connection<E: Env>(
    worker: &Rc<Worker<E>>,
    link: Rc<Link<E>>,
    arrival: Rc<Arrival>,
    mut inbox: Option<Buffer>,
) {
    let mut left = worker.limits.requests_per_connection_max;
    let mut fresh = true;
    loop {
        let patience = if fresh { worker.limits.header_read_timeout } else { worker.limits.idle_timeout };
        match wait_for_request(worker, &link, &mut inbox, fresh, patience).await {
            Next::Request => {}
            Next::Nothing if fresh => {
                fresh = false;
                continue;
            }
            Next::Nothing => {
                worker.hit(Limit::Idle);
                return link.say_goodbye();
            }
            Next::End => return link.say_goodbye(),
        }
        fresh = false;
        let (link, arrival) = (Rc::clone(&link), Rc::clone(&arrival));
        let serving = serve_some(Rc::clone(worker), link, arrival, inbox.take(), left);
        match worker.rooms.enter(serving).await {
            Some(still_left) => left = still_left,
            None => return,
        }
    }
}

/// Serves requests as long as they come. Then says how many more there may be, or `None` if the connection is to end.
async fn serve_some<E: Env>(
    worker: Rc<Worker<E>>,
    link: Rc<Link<E>>,
    arrival: Rc<Arrival>,
    mut inbox: Option<Buffer>,
    mut left: u64,
) -> Option<u64> {
    loop {
        match wait_for_request(&worker, &link, &mut inbox, false, STAY).await {
            Next::Request => {}
            Next::Nothing => return Some(left),
            Next::End => {
                link.say_goodbye();
                return None;
            }
        }
        let mut scratch = worker.scratch();
        left = left.saturating_sub(1);
        match serve_request(&worker, &link, &arrival, &mut inbox, &mut scratch, left == 0).await {
            Fate::Again => {}
            Fate::Close => return None,
            Fate::Linger => {
                let mut scratch = inbox.unwrap_or_else(|| worker.buffers.take());
                let limits = &worker.limits;
                let lingering = link.linger(limits.linger_bytes_max, limits.linger_timeout, &mut scratch);
                if let Some(limit) = Box::pin(lingering).await {
                    worker.hit(limit);
                }
                return None;
            }
            Fate::Reset => {
                link.reset();
                return None;
            }
        }
    }
}

/// What a connection that waits for a request gets.
enum Next {
    /// The first byte of one.
    Request,
    /// Nothing for so long.
    Nothing,
    /// The client is done, or we drain.
    End,
}

/// What becomes of a connection after a request.
enum Fate {
    /// It serves another.
    Again,
    /// Nothing is left to say or to read.
    Close,
    /// The answer is whole, the client may still be sending.
    Linger,
    /// The answer was cut off: the client must notice.
    Reset,
}

/// Waits for the first byte of a request, without a buffer. A drain ends the wait, unless the connection is `fresh`: who
/// just came was promised to be served.
async fn wait_for_request<E: Env>(
    worker: &Worker<E>,
    link: &Link<E>,
    inbox: &mut Option<Buffer>,
    fresh: bool,
    patience: Duration,
) -> Next {
    if inbox.as_ref().is_some_and(|buffer| !buffer.is_empty()) {
        return Next::Request;
    }
    *inbox = None;
    let filling = link.first_fill(&worker.buffers, patience);
    *inbox = match worker.drain.unless_draining_if(!fresh, filling).await {
        Some(Ok(buffer)) => buffer,
        Some(Err(LinkError::Idle)) => return Next::Nothing,
        Some(Err(LinkError::Broken)) => return Next::End,
        // A request may have come in the same moment.
        None => link.fill_now(&worker.buffers),
    };
    if inbox.is_some() { Next::Request } else { Next::End }
}

async fn serve_request<E: Env>(
    worker: &Rc<Worker<E>>,
    link: &Rc<Link<E>>,
    arrival: &Rc<Arrival>,
    inbox: &mut Option<Buffer>,
    scratch: &mut Scratch,
    last: bool,
) -> Fate {
    let started = worker.env.now();
    let Scratch { deadline, watching, request, response, facts, out, upstream_out } = scratch;
    facts.clear();
    let parsed = match read_head(worker, link, arrival.scheme, inbox, request).await {
        Ok(parsed) => parsed,
        Err(NoHead::Gone) => return Fate::Close,
        Err(NoHead::Refused(refusal)) => {
            if let Some(limit) = limit_of(refusal) {
                worker.hit(limit);
            }
            let answer = (refusal != Refusal::OtherProtocol).then_some(out);
            return Box::pin(refuse(worker, link, arrival, &refusal.answer(), facts, answer, started)).await;
        }
    };
    if last {
        worker.hit(Limit::RequestsPerConnection);
    }
    let mut keep_alive = parsed.keep_alive && !last && !worker.drain.is_retiring();
    let upgrade = parsed.upgrade && parsed.framing.is_empty();
    // What follows the head of an upgrade, if it is accepted, is the tunnel; otherwise it is the next request.
    let framing = if upgrade { BodyFraming::UntilClose } else { parsed.framing };
    let mut decoder = BodyDecoder::new(framing, &worker.limits);
    let mut end = None;
    let body_held = Cell::new(true);
    let mut state = ReplyState::Waiting;
    let idle = worker.limits.body_idle_timeout;
    let source = if framing.is_empty() {
        Source::Empty
    } else {
        Source::Http1(Http1Source::new(link, &worker.buffers, inbox, &mut decoder, &mut end, idle))
    };
    let mut exchange = Exchange {
        arrival,
        body: Upload::new(source, &body_held, worker.limits.replay_bytes_max),
        framing: parsed.framing,
        upgrade,
        reply: Reply::Http1(Http1Reply {
            link,
            out,
            version: request.version,
            is_head: request.method == http::Method::HEAD,
            keep_alive: &mut keep_alive,
            state: &mut state,
            idle,
            watching: Some(watching),
        }),
        request,
        response,
        facts,
        deadline,
        upstream_out,
        started,
    };
    let summary = serve(&mut exchange, worker).await;
    let body_ended = upgrade || exchange.body.is_ended();
    worker.record(&summary, arrival, exchange.facts);
    drop(exchange);
    match state {
        ReplyState::Ended if keep_alive && body_ended => Fate::Again,
        ReplyState::Ended => Fate::Linger,
        ReplyState::Tunnelled => Fate::Close,
        ReplyState::Waiting | ReplyState::Begun => Fate::Reset,
    }
}

enum NoHead {
    /// The client went away before it was complete.
    Gone,
    /// It cannot be served.
    Refused(Refusal),
}

async fn read_head<E: Env>(
    worker: &Worker<E>,
    link: &Link<E>,
    scheme: Scheme,
    inbox: &mut Option<Buffer>,
    head: &mut RequestHead,
) -> Result<Parsed, NoHead> {
    let limits = &*worker.limits;
    let inbox = inbox.as_mut().expect("a request begins with its first byte");
    let until = worker.env.now() + limits.header_read_timeout;
    let mut scan = HeadScan::request(limits);
    loop {
        if scan.ready(inbox.filled())
            && let Some(parsed) =
                parse_request(inbox.filled(), limits, scheme, head).map_err(NoHead::Refused)?
        {
            inbox.consume(parsed.consumed);
            return Ok(parsed);
        }
        // Blank lines may come before the head, so the buffer may hold a little more than the head may.
        if !inbox.grow(limits.header_bytes_max + 16) {
            return Err(NoHead::Refused(Refusal::HeadTooLarge));
        }
        let patience = until.since(worker.env.now());
        match link.fill(inbox, patience).await {
            Ok(1..) => {}
            Ok(0) | Err(LinkError::Broken) => return Err(NoHead::Gone),
            Err(LinkError::Idle) => return Err(NoHead::Refused(Refusal::TooSlow)),
        }
    }
}

/// The limit that a refusal comes from, if it does.
fn limit_of(refusal: Refusal) -> Option<Limit> {
    match refusal {
        Refusal::TooSlow => Some(Limit::HeaderRead),
        Refusal::LineTooLong => Some(Limit::RequestLine),
        Refusal::HeadTooLarge => Some(Limit::HeaderBytes),
        Refusal::TooManyFields => Some(Limit::HeaderCount),
        _ => None,
    }
}

/// Answers what is no request. Nothing of the client's bytes is echoed. `out`: none for whoever speaks another protocol,
/// and would not understand an answer of ours.
async fn refuse<E: Env>(
    worker: &Rc<Worker<E>>,
    link: &Link<E>,
    arrival: &Rc<Arrival>,
    answer: &Answer,
    facts: &Facts,
    out: Option<&mut Vec<u8>>,
    started: Instant,
) -> Fate {
    let mut summary = worker.begin(started);
    if let Some(out) = out {
        let mut keep_alive = false;
        let mut state = ReplyState::Waiting;
        let mut reply = Http1Reply {
            link,
            out,
            version: Version::Http11,
            is_head: false,
            keep_alive: &mut keep_alive,
            state: &mut state,
            idle: worker.limits.body_idle_timeout,
            watching: None,
        };
        let sent = reply.answer(answer, &Method::GET, &worker.date()).await;
        summary.status = answer.status.as_u16();
        summary.response_body_bytes = sent.unwrap_or_default();
    }
    summary.flags = answer.flags;
    summary.details = answer.details;
    summary.duration = worker.env.now().since(started);
    worker.record(&summary, arrival, facts);
    Fate::Linger
}

/// The answer's side of an exchange on an HTTP/1 connection.
pub struct Http1Reply<'c, E: Env> {
    link: &'c Link<E>,
    out: &'c mut Vec<u8>,
    version: Version,
    is_head: bool,
    keep_alive: &'c mut bool,
    state: &'c mut ReplyState,
    idle: Duration,
    /// When the client is looked at while its answer is waited for; `None`: not at all, nothing is waited for.
    watching: Option<&'c Deadline>,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyState {
    /// Nothing, or 1xx only.
    Waiting,
    /// The final head was sent.
    Begun,
    /// Its last byte was sent.
    Ended,
    /// The connection has become a tunnel.
    Tunnelled,
}

impl<'c, E: Env> Http1Reply<'c, E> {
    pub(crate) fn is_begun(&self) -> bool {
        *self.state != ReplyState::Waiting
    }

    pub(crate) fn close_after(&mut self) {
        *self.keep_alive = false;
    }

    pub(crate) async fn inform(&mut self, head: &ResponseHead) -> Result<(), BodyFailure> {
        // HTTP/1.0 does not know 1xx (RFC 9110 section 15.2).
        if self.version >= Version::Http11 {
            encode::response_head(head, BodyFraming::None, Persistence::Implied, self.out);
            self.link.write(self.out, &[], self.idle).await?;
            self.out.clear();
        }
        Ok(())
    }

    pub(crate) fn begin(&mut self, head: &ResponseHead, length: BodyFraming) -> Http1Sink<'_, E> {
        let bodiless = self.is_head || matches!(head.status.as_u16(), 204 | 304);
        let known = match length {
            BodyFraming::None => Some(0),
            BodyFraming::Length(bytes) => Some(bytes),
            BodyFraming::Chunked | BodyFraming::UntilClose => None,
        };
        let (framing, coding) = match encode::frame_response(self.version, known) {
            _ if bodiless => (BodyFraming::None, Coding::Nothing),
            framing @ BodyFraming::Chunked => (framing, Coding::Chunked),
            framing @ BodyFraming::UntilClose => (framing, Coding::Close),
            framing @ BodyFraming::Length(bytes) => (framing, Coding::Length(bytes)),
            BodyFraming::None => (BodyFraming::Length(0), Coding::Length(0)),
        };
        if coding == Coding::Close {
            *self.keep_alive = false;
        }
        encode::response_head(head, framing, Persistence::tell(self.version, *self.keep_alive), self.out);
        *self.state = ReplyState::Begun;
        Http1Sink::new(self.link, self.out, coding, self.idle).watching(self.watching).ending(self.state)
    }

    pub(crate) async fn switch(&mut self, head: &ResponseHead) -> Result<Http1Sink<'_, E>, BodyFailure> {
        encode::response_head(head, BodyFraming::None, Persistence::Upgrade, self.out);
        self.link.write(self.out, &[], self.idle).await?;
        self.out.clear();
        *self.keep_alive = false;
        *self.state = ReplyState::Tunnelled;
        Ok(Http1Sink::new(self.link, self.out, Coding::Close, self.idle))
    }

    pub(crate) async fn answer(
        &mut self,
        answer: &Answer,
        method: &Method,
        date: &[u8],
    ) -> Result<u64, BodyFailure> {
        if answer.close {
            *self.keep_alive = false;
        }
        let persistence = Persistence::tell(self.version, *self.keep_alive);
        encode::answer(answer, method, persistence, date, self.out);
        *self.state = ReplyState::Begun;
        self.link.write(self.out, &[], self.idle).await?;
        self.out.clear();
        *self.state = ReplyState::Ended;
        Ok(if self.is_head { 0 } else { answer.body.bytes() })
    }

    /// Ends when the client is gone.
    pub(crate) async fn gone(&self) {
        match self.watching {
            Some(watching) => self.link.gone(watching).await,
            None => pending().await,
        }
    }

    pub(crate) fn abort(&mut self) {
        *self.keep_alive = false;
        self.out.clear();
        if *self.state == ReplyState::Tunnelled {
            *self.state = ReplyState::Begun;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Machine, size_of_future};

    /// What serving a request may take: as much for each connection that is busy at the moment.
    const BUSY_BYTES_MAX: usize = 5 << 10;

    type Begin = (Rc<Worker<Machine>>, Rc<Link<Machine>>, Rc<Arrival>);

    #[test]
    fn a_busy_connection_fits_into_5_kib() {
        let size =
            size_of_future(|(worker, link, arrival): Begin| serve_some(worker, link, arrival, None, 1));
        assert!(size <= BUSY_BYTES_MAX, "{size} bytes");
    }
}
