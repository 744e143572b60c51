//! TCP, and TLS by server name: a connection in, a connection out, bytes both ways with half-close.

use std::rc::Rc;

use ringway_core::balance::Outcome;
use ringway_core::http1::{BodyDecoder, BodyFraming};
use ringway_core::record::TunnelSummary;
use ringway_core::{Arrival, Flag, L4Decision};

use crate::body::{Coding, Http1Sink, Http1Source, Sink, Source};
use crate::buffer::Buffer;
use crate::cluster::{Cluster, InFlight};
use crate::env::Env;
use crate::link::Link;
use crate::tunnel::{Moved, tunnel};
use crate::upstream::{NoConnection, connect};
use crate::worker::Worker;

/// How many endpoints are tried before the client is told that there is none (by a reset).
const ATTEMPTS_MAX: usize = 3;

/// Carries a connection to the backend that its bind, or its server name, says, and records it.
pub(crate) async fn serve<E: Env>(
    worker: &Rc<Worker<E>>,
    link: Rc<Link<E>>,
    arrival: Rc<Arrival>,
    inbox: Option<Buffer>,
) {
    let started = worker.env.now();
    let mut summary = TunnelSummary::default();
    if let Err(flag) = forward(worker, &link, &arrival, inbox, &mut summary).await {
        summary.flags.insert(flag);
        // What was sent is not whole, or there was nobody to send it to: an orderly end would say otherwise.
        link.reset();
    }
    summary.duration = worker.env.now().since(started);
    worker.record_tunnel(&summary, &arrival);
}

async fn forward<E: Env>(
    worker: &Rc<Worker<E>>,
    link: &Rc<Link<E>>,
    arrival: &Arrival,
    inbox: Option<Buffer>,
    summary: &mut TunnelSummary,
) -> Result<(), Flag> {
    let decision = worker.view().tcp(&arrival.bind, arrival.sni.as_deref(), worker.env.draw());
    let forward = match decision {
        L4Decision::Forward(forward) => forward,
        L4Decision::Reject(refusal) => {
            (summary.listener, summary.route) = (refusal.listener, refusal.route);
            return Err(refusal.flag);
        }
    };
    summary.listener = Some(forward.plan.listener.clone());
    summary.route = Some(forward.plan.route.clone());
    summary.cluster = Some(forward.key().clone());
    let (upstream, _in_flight) = connect_somewhere(forward.cluster(), worker, summary).await?;
    carry(worker, link, &upstream, inbox, summary).await
}

/// A connection to one of a few endpoints.
async fn connect_somewhere<'c, E: Env>(
    cluster: &'c Rc<Cluster<E>>,
    worker: &Rc<Worker<E>>,
    summary: &mut TunnelSummary,
) -> Result<(Rc<Link<E>>, InFlight<'c, E>), Flag> {
    let mut tried = Vec::new();
    cluster.known(&worker.env, &worker.timers.deadline()).await;
    loop {
        let now = worker.env.now();
        let pick = cluster.balancer.borrow_mut().pick(worker.env.draw(), now, &tried);
        let pick = pick.ok_or(Flag::NoHealthyUpstream)?;
        summary.endpoint = Some(pick.address);
        let in_flight = InFlight::new(cluster, pick.endpoint);
        match Box::pin(connect(cluster, &pick, worker, cluster.connect_timeout())).await {
            Ok(upstream) => {
                worker.observe(cluster, pick.endpoint, Outcome::Answered(worker.env.now().since(now)));
                return Ok((upstream, in_flight));
            }
            Err(NoConnection::Cause(_)) => worker.observe(cluster, pick.endpoint, Outcome::Failed),
            Err(NoConnection::Overflow(limit)) => {
                worker.hit(limit);
                return Err(Flag::UpstreamOverflow);
            }
        }
        tried.push(pick.endpoint);
        let elsewhere = cluster.balancer.borrow().has_untried(&tried);
        if tried.len() == ATTEMPTS_MAX || !elsewhere {
            return Err(Flag::UpstreamConnectionFailure);
        }
    }
}

async fn carry<E: Env>(
    worker: &Rc<Worker<E>>,
    link: &Link<E>,
    upstream: &Link<E>,
    mut inbox: Option<Buffer>,
    summary: &mut TunnelSummary,
) -> Result<(), Flag> {
    let idle = worker.limits.stream_idle_timeout;
    let buffers = &worker.buffers;
    let [mut down_decoder, mut up_decoder] =
        [(); 2].map(|()| BodyDecoder::new(BodyFraming::UntilClose, &worker.limits));
    let (mut down_end, mut up_end) = (None, None);
    let mut up_inbox = None;
    let (mut down_out, mut up_out) = (Vec::new(), Vec::new());
    let mut client =
        Source::Http1(Http1Source::new(link, buffers, &mut inbox, &mut down_decoder, &mut down_end, idle));
    let mut server =
        Source::Http1(Http1Source::new(upstream, buffers, &mut up_inbox, &mut up_decoder, &mut up_end, idle));
    let mut up = Sink::Http1(Http1Sink::new(upstream, &mut up_out, Coding::Close, idle));
    let mut down = Sink::Http1(Http1Sink::new(link, &mut down_out, Coding::Close, idle));
    let moved = Moved::default();
    let ended = tunnel(&mut client, &mut up, &mut server, &mut down, &moved).await;
    (summary.received_bytes, summary.sent_bytes) = (moved.up.get(), moved.down.get());
    ended.map_err(|severed| {
        upstream.reset();
        severed.note(worker)
    })
}
