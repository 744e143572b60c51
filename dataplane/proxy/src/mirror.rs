//! Copies of requests to other clusters: sent beside the request, their responses read and forgotten (checklist F7).
//!
//! A body is copied once it has passed whole and was held (`replay_bytes_max`): a copy never slows a request down.
//! Copies under way are bounded by `mirrors_max`; further ones are not made, and counted.

use std::rc::Rc;

use ringway_core::http1::{BodyFraming, ResponseKind};
use ringway_core::record::{Event, Limit};
use ringway_core::step::MirrorTo;
use ringway_core::{Fields, ResponseHead};

use crate::body::{Chunk, Frame};
use crate::cluster::{Cluster, InFlight};
use crate::env::Env;
use crate::exchange::Exchange;
use crate::upstream;
use crate::worker::Worker;

/// Sends the copies of a request whose body has passed.
pub(crate) fn send<E: Env>(
    worker: &Rc<Worker<E>>,
    copies: Vec<MirrorTo<Cluster<E>>>,
    exchange: &Exchange<'_, E>,
) {
    if copies.is_empty() {
        return;
    }
    let body: Option<Rc<[u8]>> = if exchange.upgrade { None } else { exchange.body.whole().map(Rc::from) };
    for copy in copies {
        let place = worker.mirrors.take(worker.limits.mirrors_max);
        let (body, place) = match (&body, place) {
            (Some(body), Some(place)) => (Rc::clone(body), place),
            (_, place) => {
                worker.hit(if place.is_none() { Limit::Mirrors } else { Limit::ReplayBytes });
                worker.count(Event::MirrorDropped);
                continue;
            }
        };
        worker.count(Event::MirrorSent);
        let worker = Rc::clone(worker);
        let env = worker.env.clone();
        env.spawn(async move {
            let until = worker.env.now() + worker.limits.response_header_timeout;
            let deadline = worker.timers.deadline();
            // Whatever comes of it, nobody waits for it.
            let _ = deadline.within(until, deliver(&worker, copy, &body)).await;
            drop(place);
        });
    }
}

async fn deliver<E: Env>(worker: &Rc<Worker<E>>, copy: MirrorTo<Cluster<E>>, body: &[u8]) -> Option<()> {
    let MirrorTo { cluster, head, .. } = copy;
    let limits = &worker.limits;
    let _request = match cluster.gates.requests().map(|gate| gate.take()) {
        None => None,
        Some(Ok(token)) => Some(token),
        // Nobody waits for a copy, and no copy waits.
        Some(Err(_)) => {
            worker.hit(Limit::ClusterRequests);
            return None;
        }
    };
    cluster.known(&worker.env, &worker.timers.deadline()).await;
    let pick = cluster.balancer.borrow_mut().pick(worker.env.draw(), worker.env.now(), &[])?;
    let _in_flight = InFlight::new(&cluster, pick.endpoint);
    let mut upstream = upstream::obtain(&cluster, &pick, worker, false).await.ok()?;
    let mut out = Vec::new();
    let (request_side, mut response_side) = upstream.split(&mut out);
    let framing = match body.len() {
        0 => BodyFraming::None,
        length => BodyFraming::Length(length as u64),
    };
    let mut up = request_side.begin(&head, framing, false, limits.body_idle_timeout).ok()?;
    if !body.is_empty() {
        up.data(Chunk::Slice(body)).await.ok()?;
    }
    up.end(&Fields::new()).await.ok()?;
    let mut response = ResponseHead::new();
    loop {
        let patience = limits.response_header_timeout;
        let start = response_side.head(limits, &head.method, &mut response, patience).await.ok()?;
        if start.kind == ResponseKind::Final {
            break;
        }
    }
    let mut from = response_side.body(limits.body_idle_timeout);
    while let Frame::Data(_) = from.next().await.ok()? {}
    drop((from, up));
    upstream.give_back(true, &cluster, pick.endpoint, worker.env.now());
    Some(())
}
