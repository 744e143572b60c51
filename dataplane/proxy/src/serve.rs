//! The life of one request, from routing to its last byte.
//!
//! Read [`route`], then [`forward`], then [`Attempt`]: what to do is decided in `ringway-core`, here it is done. HTTP/1
//! and HTTP/2 meet here, on both sides; there is no other forward path.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use ringway_config::UpstreamProtocol;
use ringway_core::balance::{Outcome, Pick};
use ringway_core::health::{Verdict, verdict, verdict_of};
use ringway_core::http1::{BodyFraming, ResponseKind};
use ringway_core::record::Limit;
use ringway_core::retry::{Again, Attempts, Circumstances, Expiry, Final};
use ringway_core::route::is_grpc;
use ringway_core::step::RequestFacts;
use ringway_core::{
    Answer, Decision, Evidence, Failure, Fields, Flag, Forward, Instant, PlanTarget, Summary, UpstreamCause,
    answer_for, headers,
};

use crate::admission::{Gate, Grant, Token};
use crate::body::{BodyFailure, Sink, Source};
use crate::busy::busy;
use crate::carry::{Beside, CarryFailure, beside, carry_beside};
use crate::cluster::{Cluster, InFlight};
use crate::env::Env;
use crate::exchange::Exchange;
use crate::http1;
use crate::mirror::Copies;
use crate::race::{First, race};
use crate::timer::Deadline;
use crate::tunnel::{Moved, tunnel};
use crate::upstream::{self, NoConnection, NoResponse, ResponseSide};
use crate::worker::Worker;

/// Serves one request. The caller records the summary.
pub async fn serve<E: Env>(exchange: &mut Exchange<'_, E>, worker: &Rc<Worker<E>>) -> Summary {
    let now = || worker.env.now();
    let (mut summary, worked) = busy(now, route(exchange, worker)).await;
    summary.processing_time = worked;
    summary
}

async fn route<E: Env>(exchange: &mut Exchange<'_, E>, worker: &Rc<Worker<E>>) -> Summary {
    let mut summary = worker.begin(exchange.started);
    let drawn = u128::from(worker.env.draw()) << 64 | u128::from(worker.env.draw());
    let client = headers::enter(exchange.request, exchange.arrival, &worker.trusted, drawn);
    if worker.log.is_some() {
        exchange.facts.capture(exchange.request, client);
    }
    let place = worker.requests.take(worker.limits.requests_max);
    let decision = match place {
        Some(_) => worker.view().decide(exchange.arrival, exchange.request, worker.env.draw()),
        None => {
            worker.hit(Limit::Requests);
            Decision::Answer(overload())
        }
    };
    match decision {
        Decision::Answer(answer) => {
            if let Err(failure) = Box::pin(answer_with(exchange, worker, answer, &mut summary)).await {
                cut_off(exchange, &failure, &mut summary);
            }
        }
        Decision::Forward(plan) => {
            let facts = plan.facts(exchange.request);
            if let Err(failure) = forward(exchange, &plan, &facts, worker, &mut summary).await {
                Box::pin(fail(exchange, &plan, &facts, worker, &failure, &mut summary)).await;
            }
        }
    }
    summary.request_body_bytes = exchange.body.received();
    summary.duration = worker.env.now().since(exchange.started);
    summary
}

/// There is too much to do. Whoever comes again soon is not turned away by a thundering herd of its like.
fn overload() -> Answer {
    let mut answer =
        Answer::refuse(StatusCode::SERVICE_UNAVAILABLE, Flag::OverloadManager, Limit::Requests.name());
    answer.fields.append(b"retry-after", b"1");
    answer.for_grpc(GRPC_UNAVAILABLE)
}

/// gRPC's `UNAVAILABLE`.
const GRPC_UNAVAILABLE: u8 = 14;

/// Sends a request to its backend, as often as it takes, and passes the response on.
async fn forward<E: Env>(
    exchange: &mut Exchange<'_, E>,
    forward: &Forward<Cluster<E>>,
    facts: &RequestFacts,
    worker: &Rc<Worker<E>>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let PlanTarget::Cluster(_, cluster) = &forward.backend().target else {
        unreachable!("a share without cluster is answered by `decide`");
    };
    summary.labels = Some(Rc::clone(&forward.backend().labels));
    exchange.body.limit(forward.plan.request_body_bytes_max);
    exchange.body.check_declared(exchange.framing)?;

    let mut mirrors = Vec::new();
    forward.apply_request(exchange.request, &mut || worker.env.draw() as u32, &mut mirrors);

    let translated = cluster.protocol() != UpstreamProtocol::Http2 && exchange.request.protocol.is_some();
    if translated {
        http1::upgrade_instead_of_connect(exchange.request, || worker.env.draw());
    }
    // Calls of gRPC may be silent for as long as they like: what is bounded is the stream.
    let limits = &worker.limits;
    let is_grpc = is_grpc(exchange.request);
    let idle = if is_grpc { limits.stream_idle_timeout } else { limits.body_idle_timeout };
    exchange.body.set_idle(if exchange.upgrade { limits.stream_idle_timeout } else { idle });
    let mut attempts = Attempts::new(&forward.plan.timeouts, exchange.started);
    let deadline = exchange.deadline;
    let mut tried = Vec::new();
    let _request = match cluster.gates.requests() {
        Some(gate) => Some(admit(&gate, cluster, worker, deadline).await?),
        None => None,
    };
    // What may become a tunnel is not copied: it has no end to wait for.
    match Copies::of(worker, mirrors) {
        Some(copies) if !exchange.upgrade => exchange.body.copy_to(copies),
        _ => {}
    }
    cluster.known(&worker.env, deadline).await;
    let idempotent = exchange.request.method.is_idempotent();
    loop {
        let now = worker.env.now();
        let pick = cluster.balancer.borrow_mut().pick(worker.env.draw(), now, &tried);
        let Some(pick) = pick else { return Err(Failure::NoEndpoint) };
        summary.attempts += 1;
        summary.details = "";
        summary.endpoint = Some(pick.address);
        let attempt = Attempt {
            forward,
            cluster,
            worker,
            facts,
            pick,
            idle,
            is_grpc,
            translated,
            sent: Cell::default(),
            uploaded: Cell::default(),
            whole: Cell::new(exchange.upgrade || exchange.body.is_ended()),
            timeless: Cell::default(),
            moved: Moved::default(),
        };
        let outcome = match attempts.timer(now) {
            None => attempt.make(exchange, &mut attempts, summary).await,
            Some((at, expiry)) => {
                let making = attempt.make(exchange, &mut attempts, summary);
                match deadline.within_unless(&attempt.timeless, at, making).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(attempt.expired(expiry)),
                }
            }
        };
        let failure = match outcome {
            Ok(Made::Done) => return Ok(()),
            Ok(Made::Again(at)) => {
                Box::pin(worker.env.sleep_until(at)).await;
                tried.push(pick.endpoint);
                exchange.body.rewind();
                continue;
            }
            Err(failure) => failure,
        };
        attempt.blame(&failure);
        if exchange.reply.is_begun() {
            return Err(failure);
        }
        tried.push(pick.endpoint);
        let given = Circumstances {
            idempotent,
            body_held: exchange.body.is_replayable(),
            elsewhere: cluster.balancer.borrow().has_untried(&tried),
        };
        let now = worker.env.now();
        match attempts.again(&failure, forward.plan.retry.as_ref(), given, worker.env.draw(), now) {
            Again::No(reason) => {
                summary.note_final(reason);
                if reason == Final::BodyGone {
                    worker.hit(Limit::ReplayBytes);
                }
                return Err(failure_for(reason, failure));
            }
            Again::At(at) => {
                // A wait without reason would let the other tasks of this core go first.
                if at > now {
                    Box::pin(worker.env.sleep_until(at)).await;
                }
                exchange.body.rewind();
            }
        }
    }
}

/// A place among the requests of a cluster.
async fn admit<E: Env>(
    gate: &Rc<Gate<E>>,
    cluster: &Cluster<E>,
    worker: &Worker<E>,
    deadline: &Deadline,
) -> Result<Token<E>, Failure> {
    let waiting = match gate.take() {
        Ok(token) => return Ok(token),
        Err(waiting) => waiting,
    };
    // Whoever decides answers at once; should it not, this is not the place to wait.
    match deadline.within(worker.env.now() + cluster.connect_timeout(), waiting).await {
        Ok(Ok(Grant::Token(token))) => Ok(token),
        _ => {
            worker.hit(Limit::ClusterRequests);
            Err(Failure::Overflow(Limit::ClusterRequests.name()))
        }
    }
}

/// There is no time left for another attempt: that is what the client is told (checklist TR8).
fn failure_for(reason: Final, failure: Failure) -> Failure {
    if reason == Final::Deadline { Failure::RequestTimeout } else { failure }
}

/// What came of an attempt that did not fail.
enum Made {
    /// The response was passed on.
    Done,
    /// Its status calls for another attempt, then.
    Again(Instant),
}

/// One attempt at one endpoint.
struct Attempt<'a, E: Env> {
    forward: &'a Forward<Cluster<E>>,
    cluster: &'a Rc<Cluster<E>>,
    worker: &'a Rc<Worker<E>>,
    facts: &'a RequestFacts,
    pick: Pick,
    /// How long either body may be silent.
    idle: Duration,
    is_grpc: bool,
    /// An extended CONNECT was made an upgrade.
    translated: bool,
    /// When the request was sent, and whether on a connection that had been used before.
    sent: Cell<Option<(Instant, bool)>>,
    /// The request was sent to its end, or cannot be.
    uploaded: Cell<Option<Instant>>,
    /// The request was received to its end.
    whole: Cell<bool>,
    /// It has become a tunnel: the time for a request no longer counts.
    timeless: Cell<bool>,
    moved: Moved,
}

impl<E: Env> Attempt<'_, E> {
    async fn make(
        &self,
        exchange: &mut Exchange<'_, E>,
        attempts: &mut Attempts,
        summary: &mut Summary,
    ) -> Result<Made, Failure> {
        let _in_flight = InFlight::new(self.cluster, self.pick.endpoint);
        let mut upstream =
            upstream::obtain(self.cluster, &self.pick, self.worker, attempts.wants_new_connection())
                .await
                .map_err(|no| self.no_connection(no))?;
        let reused = upstream.is_reused();
        // Over HTTP/2 only an extended CONNECT can become a tunnel.
        let exchange_upgrade = exchange.upgrade;
        let upgrade = exchange_upgrade && (!upstream.is_multiplexed() || exchange.request.protocol.is_some());
        let (request_side, response_side) = upstream.split(exchange.upstream_out);
        let mut up = request_side.begin(exchange.request, exchange.framing, upgrade, self.idle).map_err(
            |failure| match failure {
                // It has no form in this protocol: no endpoint is to blame.
                BodyFailure::Protocol(what) => Failure::ClientProtocol(what),
                failure => self.unanswered(reused, failure),
            },
        )?;
        self.sent.set(Some((self.worker.env.now(), reused)));

        let Exchange { body, reply, request, response, arrival: _, .. } = exchange;
        let method = request.method.clone();
        let sent_whole = Cell::new(false);
        let body_held = body.held();
        let informed = 0;
        let receiving =
            Receiving { attempt: self, method, reused, upgrade, attempts, summary, body_held, informed };
        let outcome = if body.is_empty() || exchange_upgrade {
            // A response may have been sent before the connection broke: look for it in any case.
            let outcome = if upgrade { up.flush().await } else { up.end(&Fields::new()).await };
            self.uploaded.set(Some(self.worker.env.now()));
            sent_whole.set(outcome.is_ok());
            receiving.run(response_side, response, reply, Some((body.source(), &mut up))).await
        } else {
            let upload = async {
                let outcome = carry_beside(body, &mut up, &self.moved.up, &self.moved.down).await;
                self.uploaded.set(Some(self.worker.env.now()));
                sent_whole.set(outcome.is_ok());
                self.whole.set(self.whole.get() || outcome.is_ok());
                outcome
            };
            let download = receiving.run(response_side, response, reply, None);
            let fatal = |failure: &CarryFailure| matches!(failure, CarryFailure::Source(_));
            match Box::pin(beside(upload, download, fatal)).await {
                Beside::Main(outcome) => outcome,
                Beside::Side(CarryFailure::Source(failure)) => Err(client_failure(failure, body.bytes_max())),
                Beside::Side(CarryFailure::Sink(_)) => unreachable!("only the source's failures are fatal"),
            }
        };
        if self.timeless.get() {
            body.count(self.moved.up.get());
        }
        if matches!(outcome, Ok(Made::Done)) {
            upstream.give_back(sent_whole.get(), self.cluster, self.pick.endpoint, self.worker.env.now());
        }
        outcome
    }

    /// Whether the time for a response is not over: it begins when the request was sent to its end.
    fn may_still_answer(&self, patience: Duration) -> bool {
        self.uploaded.get().is_none_or(|at| at + patience > self.worker.env.now())
    }

    fn no_connection(&self, no: NoConnection) -> Failure {
        match no {
            NoConnection::Cause(cause) => self.failure(Evidence::Unsent, cause),
            NoConnection::Overflow(limit) => {
                self.worker.hit(limit);
                Failure::Overflow(limit.name())
            }
        }
    }

    fn failure(&self, evidence: Evidence, cause: UpstreamCause) -> Failure {
        Failure::Upstream { endpoint: self.pick.address, evidence, cause }
    }

    fn unanswered(&self, reused: bool, failure: BodyFailure) -> Failure {
        match failure {
            BodyFailure::Refused => self.failure(Evidence::Refused, UpstreamCause::Closed),
            BodyFailure::Idle => self.failure(Evidence::Unanswered { reused }, UpstreamCause::Timeout),
            _ => self.failure(Evidence::Unanswered { reused }, UpstreamCause::Closed),
        }
    }

    fn expired(&self, expiry: Expiry) -> Failure {
        let evidence = match self.sent.get() {
            None => Evidence::Unsent,
            Some((_, reused)) => Evidence::Unanswered { reused },
        };
        match expiry {
            Expiry::Attempt => self.failure(evidence, UpstreamCause::Timeout),
            Expiry::Request => Failure::RequestTimeout,
        }
    }

    /// Counts a failure against the endpoint if it is its fault. Time that a client took to send its body is not.
    fn blame(&self, failure: &Failure) {
        let bad = match failure {
            Failure::Upstream { cause: UpstreamCause::Timeout, .. } | Failure::RequestTimeout => {
                self.uploaded.get().is_some()
            }
            Failure::Upstream { evidence, cause, .. } => verdict_of(*evidence, *cause) == Verdict::Bad,
            _ => false,
        };
        if bad {
            self.observe(Outcome::Failed);
        }
    }

    fn observe(&self, outcome: Outcome) {
        self.worker.observe(self.cluster, self.pick.endpoint, outcome);
    }
}

/// Receiving the response of an attempt.
struct Receiving<'a, 'b, E: Env> {
    attempt: &'a Attempt<'b, E>,
    method: http::Method,
    reused: bool,
    upgrade: bool,
    attempts: &'a mut Attempts,
    summary: &'a mut Summary,
    /// Whether the body that was sent so far is still held.
    body_held: &'a Cell<bool>,
    /// So many 1xx came: the upstream has the request, so it may have acted on it.
    informed: u32,
}

/// What an upgraded exchange goes on with: the client's bytes, and where they go.
type Tunnel<'t, 's, 'c, E> = (&'t mut Source<'c, E>, &'t mut Sink<'s, E>);

impl<E: Env> Receiving<'_, '_, E> {
    async fn run(
        mut self,
        mut side: ResponseSide<'_, E>,
        response: &mut ringway_core::ResponseHead,
        reply: &mut crate::exchange::Reply<'_, E>,
        after_upgrade: Option<Tunnel<'_, '_, '_, E>>,
    ) -> Result<Made, Failure> {
        let attempt = self.attempt;
        let limits = &attempt.worker.limits;
        let start = loop {
            let patience = limits.response_header_timeout;
            let head = side.head(limits, &self.method, response, patience);
            let head = match race(head, reply.gone()).await {
                First::One(head) => head,
                First::Two(()) => return Err(Failure::ClientGone),
            };
            let start = match head {
                Ok(start) => start,
                // The time for a response begins when the request has ended.
                Err(NoResponse::Idle) if attempt.may_still_answer(patience) => continue,
                Err(no) => return Err(self.no_response(no)),
            };
            match start.kind {
                ResponseKind::Informational => {
                    self.informed += 1;
                    if self.informed > limits.informational_max {
                        attempt.worker.hit(Limit::Informational);
                        self.summary.details = Limit::Informational.name();
                        return Err(attempt.failure(Evidence::Answered, UpstreamCause::Protocol));
                    }
                    headers::strip_hop_by_hop(&mut response.fields, false);
                    Box::pin(reply.inform(response)).await.map_err(|_| Failure::ClientGone)?;
                }
                ResponseKind::Switching if !self.upgrade => {
                    return Err(attempt.failure(Evidence::Answered, UpstreamCause::Protocol));
                }
                ResponseKind::Switching | ResponseKind::Final => break start,
            }
        };
        if start.kind == ResponseKind::Final && attempt.translated && response.status.is_success() {
            // The upstream did not upgrade. To a CONNECT its 2xx would say that it did (RFC 8441 section 5).
            return Err(attempt.failure(Evidence::Answered, UpstreamCause::Protocol));
        }
        let status = response.status.as_u16();
        let grpc_status = grpc_status(&response.fields);
        self.answered();
        // A call of gRPC has its status at its end.
        if !attempt.is_grpc || grpc_status.is_some() {
            self.judge(status, grpc_status);
        }
        if start.kind == ResponseKind::Final
            && let Some(at) = self.again(status)?
        {
            return Ok(Made::Again(at));
        }
        headers::strip_hop_by_hop(&mut response.fields, start.kind == ResponseKind::Switching);
        attempt.forward.apply_response(attempt.facts, &mut response.fields);
        self.summary.status = status;
        self.summary.details = "via_upstream";
        self.summary.grpc_status = grpc_status;
        match (start.kind, after_upgrade) {
            (ResponseKind::Switching, Some((client, up))) => {
                attempt.timeless.set(true);
                let mut down = reply.switch(response).await.map_err(|_| Failure::ClientGone)?;
                let mut from = side.body(limits.stream_idle_timeout);
                let ended = Box::pin(tunnel(client, up, &mut from, &mut down, &attempt.moved)).await;
                self.summary.response_body_bytes = attempt.moved.down.get();
                if let Err(severed) = ended {
                    self.summary.flags.insert(severed.note(attempt.worker));
                    drop(down);
                    reply.abort();
                }
                Ok(Made::Done)
            }
            _ => self.pass_on(side, response, reply, start.framing).await,
        }
    }

    async fn pass_on(
        mut self,
        side: ResponseSide<'_, E>,
        response: &ringway_core::ResponseHead,
        reply: &mut crate::exchange::Reply<'_, E>,
        framing: BodyFraming,
    ) -> Result<Made, Failure> {
        let attempt = self.attempt;
        let (worker, moved) = (attempt.worker, &attempt.moved);
        // Before the request is whole: the rest of it may never be read, and then its connection ends.
        if worker.drain.is_retiring() || !attempt.whole.get() {
            reply.close_after();
        }
        let mut from = side.body(attempt.idle);
        let outcome = match reply.begin(response, framing) {
            Err(failure) => Err(CarryFailure::Sink(failure)),
            Ok(mut down) => carry_beside(&mut from, &mut down, &moved.down, &moved.up).await,
        };
        self.summary.response_body_bytes = moved.down.get();
        match outcome {
            Ok(trailers) => {
                if attempt.is_grpc && self.summary.grpc_status.is_none() {
                    self.summary.grpc_status = grpc_status(&trailers);
                    self.judge(self.summary.status, self.summary.grpc_status);
                }
                Ok(Made::Done)
            }
            Err(CarryFailure::Sink(failure)) => {
                if failure == BodyFailure::Idle {
                    worker.hit(Limit::BodyIdle);
                }
                Err(Failure::ClientGone)
            }
            Err(CarryFailure::Source(failure)) => {
                let cause = match failure {
                    BodyFailure::Idle => {
                        worker.hit(Limit::BodyIdle);
                        UpstreamCause::Timeout
                    }
                    BodyFailure::Protocol(_) => UpstreamCause::Protocol,
                    _ => UpstreamCause::Closed,
                };
                Err(attempt.failure(Evidence::Answered, cause))
            }
        }
    }

    fn answered(&mut self) {
        let attempt = self.attempt;
        let now = attempt.worker.env.now();
        self.summary.upstream_time = attempt.sent.get().map(|(sent, _)| now.since(sent));
    }

    fn judge(&mut self, status: u16, grpc_status: Option<u16>) {
        let took = self.summary.upstream_time.unwrap_or_default();
        self.attempt.observe(match verdict(status, grpc_status) {
            Verdict::Good => Outcome::Answered(took),
            Verdict::Bad => Outcome::Failed,
        });
    }

    /// Whether policy wants this status tried again, and may have it. Without the time for that it is no answer.
    fn again(&mut self, status: u16) -> Result<Option<Instant>, Failure> {
        let attempt = self.attempt;
        let Some(policy) = attempt.forward.plan.retry.as_ref() else { return Ok(None) };
        let failure = Failure::of_status(attempt.pick.address, status);
        let given = Circumstances {
            idempotent: self.method.is_idempotent(),
            body_held: self.body_held.get(),
            elsewhere: true,
        };
        let env = &attempt.worker.env;
        match self.attempts.again(&failure, Some(policy), given, env.draw(), env.now()) {
            Again::At(at) => Ok(Some(at)),
            Again::No(reason) => {
                self.summary.note_final(reason);
                if reason == Final::Deadline { Err(Failure::RequestTimeout) } else { Ok(None) }
            }
        }
    }

    fn no_response(&mut self, no: NoResponse) -> Failure {
        let unanswered = match self.informed {
            1.. => Evidence::Answered,
            0 => Evidence::Unanswered { reused: self.reused },
        };
        let (evidence, cause) = match no {
            NoResponse::Refused => (Evidence::Refused, UpstreamCause::Closed),
            NoResponse::Unanswered => (unanswered, UpstreamCause::Closed),
            NoResponse::Cut => (Evidence::Answered, UpstreamCause::Closed),
            NoResponse::Idle => {
                self.attempt.worker.hit(Limit::ResponseHeader);
                (unanswered, UpstreamCause::Timeout)
            }
            NoResponse::Bad(details) => {
                self.summary.details = details;
                (Evidence::Answered, UpstreamCause::Protocol)
            }
        };
        self.attempt.failure(evidence, cause)
    }
}

/// Sends an answer of our own.
async fn answer_with<E: Env>(
    exchange: &mut Exchange<'_, E>,
    worker: &Worker<E>,
    mut answer: Answer,
    summary: &mut Summary,
) -> Result<(), Failure> {
    // Errors are told the way the client understands.
    if !is_grpc(exchange.request) {
        answer.grpc_status = None;
    }
    // What came with the request is read, so that the connection can serve the next one. What is still to come is not
    // waited for.
    if !(answer.close || exchange.upgrade || exchange.body.is_ended()) {
        exchange.body.discard().await;
        if !exchange.body.is_ended() {
            exchange.reply.close_after();
        }
    }
    if worker.drain.is_retiring() {
        exchange.reply.close_after();
    }
    if let Some(labels) = answer.labels.take() {
        summary.labels = Some(labels);
    }
    summary.status = answer.shown_status().as_u16();
    summary.grpc_status = answer.grpc_status.map(u16::from);
    summary.flags = answer.flags;
    summary.details = answer.details;
    let date = worker.date();
    let sent = exchange.reply.answer(&answer, &exchange.request.method, &date).await;
    summary.response_body_bytes = sent.map_err(|_| Failure::ClientGone)?;
    Ok(())
}

/// Tells the client of a failure, if there still is somebody to tell and nothing was told yet. The rule's response
/// steps apply: without its CORS fields a browser would hide the error from the script that needs to see it.
async fn fail<E: Env>(
    exchange: &mut Exchange<'_, E>,
    forward: &Forward<Cluster<E>>,
    facts: &RequestFacts,
    worker: &Worker<E>,
    failure: &Failure,
    summary: &mut Summary,
) {
    match failure {
        Failure::BodyTooLarge { .. } => worker.hit(Limit::RequestBody),
        Failure::ClientIdle => worker.hit(Limit::BodyIdle),
        _ => {}
    }
    let used_up = summary.flags.contains(Flag::UpstreamRetryLimitExceeded);
    let Some(mut answer) = answer_for(failure, used_up).filter(|_| !exchange.reply.is_begun()) else {
        return cut_off(exchange, failure, summary);
    };
    forward.apply_response(facts, &mut answer.fields);
    // What exactly the upstream did wrong is for the log alone.
    if !summary.details.is_empty() {
        answer.details = summary.details;
    }
    if let Err(failure) = answer_with(exchange, worker, answer, summary).await {
        cut_off(exchange, &failure, summary);
    }
}

/// Ends an exchange whose client can only be shown that the answer is not whole.
fn cut_off<E: Env>(exchange: &mut Exchange<'_, E>, failure: &Failure, summary: &mut Summary) {
    let account = failure.account();
    summary.flags.merge(account.flags);
    summary.details = account.details;
    exchange.reply.abort();
}

/// What a client's failure means.
fn client_failure(failure: BodyFailure, bytes_max: Option<u64>) -> Failure {
    match failure {
        BodyFailure::Broken | BodyFailure::Reset | BodyFailure::Refused => Failure::ClientGone,
        BodyFailure::Idle => Failure::ClientIdle,
        BodyFailure::Protocol(what) => Failure::ClientProtocol(what),
        BodyFailure::TooLarge => Failure::BodyTooLarge { limit: bytes_max.unwrap_or_default() },
    }
}

fn grpc_status(fields: &Fields) -> Option<u16> {
    std::str::from_utf8(fields.first("grpc-status")?).ok()?.parse().ok()
}
