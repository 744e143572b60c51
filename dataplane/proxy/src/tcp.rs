//! TCP, and TLS by server name: a connection in, a connection out, bytes both ways with half-close.

use std::cell::Cell;
use std::rc::Rc;

use ringway_core::http1::{BodyDecoder, BodyFraming};
use ringway_core::{Arrival, L4Decision};

use crate::body::{Coding, Http1Sink, Http1Source, Sink, Source};
use crate::buffer::Buffer;
use crate::cluster::InFlight;
use crate::env::Env;
use crate::link::Link;
use crate::serve::tunnel;
use crate::upstream::connect;
use crate::worker::Worker;

/// How many endpoints are tried before the client is told that there is none (by a reset).
const ATTEMPTS_MAX: usize = 3;

/// Carries a connection to the backend that its bind, or its server name, says.
pub(crate) async fn serve<E: Env>(
    worker: &Rc<Worker<E>>,
    link: Rc<Link<E>>,
    arrival: Rc<Arrival>,
    mut inbox: Option<Buffer>,
) {
    let decision = worker.view().tcp(&arrival.bind, arrival.sni.as_deref(), worker.env.draw());
    let L4Decision::Forward(forward) = decision else { return link.reset() };
    let cluster = forward.cluster();
    let mut tried = Vec::new();
    let upstream = loop {
        let now = worker.env.now();
        let pick = cluster.balancer.borrow_mut().pick(worker.env.draw(), now, &tried);
        let Some(pick) = pick.filter(|_| tried.len() < ATTEMPTS_MAX) else { return link.reset() };
        let in_flight = InFlight::new(cluster, pick.endpoint);
        match Box::pin(connect(cluster, &pick, worker)).await {
            Ok(upstream) => break (upstream, in_flight),
            Err(_) => {
                worker.observe(cluster, pick.endpoint, ringway_core::balance::Outcome::Failed);
                tried.push(pick.endpoint);
            }
        }
    };
    let (upstream, _in_flight) = upstream;
    let idle = worker.limits.stream_idle_timeout;
    let buffers = &worker.buffers;
    let mut decoders = [(); 2].map(|()| BodyDecoder::new(BodyFraming::UntilClose, &worker.limits));
    let [down_decoder, up_decoder] = &mut decoders;
    let (mut down_end, mut up_end) = (None, None);
    let mut up_inbox = None;
    let (mut down_out, mut up_out) = (Vec::new(), Vec::new());
    let mut client =
        Source::Http1(Http1Source::new(&link, buffers, &mut inbox, down_decoder, &mut down_end, idle));
    let mut server =
        Source::Http1(Http1Source::new(&upstream, buffers, &mut up_inbox, up_decoder, &mut up_end, idle));
    let mut up = Sink::Http1(Http1Sink::new(&upstream, &mut up_out, Coding::Close, idle));
    let mut down = Sink::Http1(Http1Sink::new(&link, &mut down_out, Coding::Close, idle));
    let (sent, received) = (Cell::new(0), Cell::new(0));
    tunnel(&mut client, &mut up, &mut server, &mut down, &sent, &received).await;
}
