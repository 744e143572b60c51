//! Copies of requests to other clusters: sent beside the request, their responses read and forgotten (checklist F7).
//!
//! A copy leaves once the body has come whole and was held (`replay_bytes_max`): a copy neither slows a request down nor
//! waits for its answer. Copies under way are bounded by `mirrors_max`; further ones are not made, and counted.

use std::rc::Rc;

use ringway_core::http1::{BodyFraming, ResponseKind};
use ringway_core::record::{Event, Limit};
use ringway_core::step::MirrorTo;
use ringway_core::{Fields, ResponseHead};

use crate::body::{Chunk, Frame};
use crate::cluster::{Cluster, InFlight};
use crate::env::Env;
use crate::upstream;
use crate::worker::Worker;

/// The copies of a request whose body is still coming. Those that never left are counted when it is dropped.
pub(crate) struct Copies<E: Env> {
    worker: Rc<Worker<E>>,
    to: Vec<MirrorTo<Cluster<E>>>,
}

impl<E: Env> Copies<E> {
    /// Boxed: most requests have none. `None` for none.
    pub(crate) fn of(worker: &Rc<Worker<E>>, to: Vec<MirrorTo<Cluster<E>>>) -> Option<Box<Self>> {
        (!to.is_empty()).then(|| Box::new(Self { worker: Rc::clone(worker), to }))
    }

    /// Sends them with this body, each by a task of its own.
    pub(crate) fn send(mut self, body: &[u8]) {
        let body: Rc<[u8]> = Rc::from(body);
        for copy in std::mem::take(&mut self.to) {
            send(&self.worker, copy, Rc::clone(&body));
        }
    }

    /// The body is longer than what may be held.
    pub(crate) fn too_large(self) {
        self.worker.hit(Limit::ReplayBytes);
    }
}

impl<E: Env> Drop for Copies<E> {
    fn drop(&mut self) {
        self.to.iter().for_each(|_| self.worker.count(Event::MirrorDropped));
    }
}

fn send<E: Env>(worker: &Rc<Worker<E>>, copy: MirrorTo<Cluster<E>>, body: Rc<[u8]>) {
    let Some(place) = worker.mirrors.take(worker.limits.mirrors_max) else {
        worker.hit(Limit::Mirrors);
        return worker.count(Event::MirrorDropped);
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

async fn deliver<E: Env>(worker: &Rc<Worker<E>>, copy: MirrorTo<Cluster<E>>, body: &[u8]) -> Option<()> {
    let MirrorTo { cluster, head } = copy;
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
    let mut informed = 0;
    loop {
        let patience = limits.response_header_timeout;
        let start = response_side.head(limits, &head.method, &mut response, patience).await.ok()?;
        if start.kind == ResponseKind::Final {
            break;
        }
        informed += 1;
        if informed > limits.informational_max {
            return None;
        }
    }
    let mut from = response_side.body(limits.body_idle_timeout);
    while let Frame::Data(_) = from.next().await.ok()? {}
    drop((from, up));
    upstream.give_back(true, &cluster, pick.endpoint, worker.env.now());
    Some(())
}
