//! HTTP/1.1 to HTTP/1.1.

use std::time::Duration;

use ringway_config::{ListenerProtocol, Retry, Timeouts, UpstreamProtocol};

use crate::checker::http::Rules;
use crate::faults::Severity::{self, Both, Downstream, Harmless, Upstream};
use crate::peer::http1::{Habits, Manners};
use crate::proxy::{Draft, Proxy};
use crate::scenario::Scenario;
use crate::scenarios::{Stage, draw_faults, draw_rate, limits, plain, scenario};
use crate::world::World;

/// All methods, framings and pipelines; every fault there is, in drawn amounts.
pub const FAULTS: Scenario = scenario("http1-faults", |world| Box::pin(faults(world)));

/// Backends close connections that the proxy keeps for reuse. What is safe to send again must succeed.
pub const STALE: Scenario = scenario("http1-stale", |world| Box::pin(stale(world)));

/// Backends that fail, refuse and never answer, under timeouts and a retry policy: every client has its answer in time.
pub const POLICY: Scenario = scenario("http1-policy", |world| Box::pin(policy(world)));

async fn faults(world: World) {
    let severity = world.draw(|random| random.pick(&[Harmless, Harmless, Upstream, Downstream, Both]));
    let harms = matches!(severity, Upstream | Both);
    let manners = Manners {
        silent_close: draw_rate(&world, 200_000),
        break_before: if harms { draw_rate(&world, 50_000) } else { 0 },
        break_within: if harms { draw_rate(&world, 50_000) } else { 0 },
        ..Manners::default()
    };
    let habits = Habits {
        pipeline_max: world.draw(|random| random.size(1, 4)),
        leave: if matches!(severity, Downstream | Both) { draw_rate(&world, 100_000) } else { 0 },
        ..Habits::default()
    };
    http(world, severity, manners, habits).await;
}

async fn stale(world: World) {
    let manners = Manners {
        silent_close: 300_000,
        idle_max: Duration::from_millis(50),
        close: 0,
        ..Manners::default()
    };
    let habits = Habits { methods: &["GET", "HEAD", "PUT"], requests_max: 20, ..Habits::default() };
    http(world, Severity::Harmless, manners, habits).await;
}

async fn http(world: World, severity: Severity, manners: Manners, habits: Habits) {
    let backends = world.draw(|random| random.between(1, 3)) as u16;
    let stage = Stage::new(&world, Rules::default(), backends, &manners);
    let proxy = Proxy::start(&world, limits(), plain(&stage)).await;
    world.set_faults(draw_faults(&world, severity, false));
    stage.http1_clients(8, 80, &habits);
    stage.end(&proxy).await;
}

async fn policy(world: World) {
    let manners = Manners {
        break_before: draw_rate(&world, 100_000),
        hang: draw_rate(&world, 100_000),
        statuses: &[200, 200, 200, 503, 404],
        ..Manners::default()
    };
    let attempts = world.draw(|random| random.below(3)) as u32;
    let retry = Retry { codes: vec![503], attempts, backoff: Some(Duration::from_millis(10)) };
    let timeouts = Timeouts {
        request: Some(Duration::from_secs(40)),
        backend_request: world.draw(|random| random.pick(&[None, Some(Duration::from_secs(5))])),
    };
    let stage = Stage::new(&world, Rules { retries_max: attempts, ..Rules::default() }, 2, &manners);
    let draft = Draft::new()
        .listener(80, ListenerProtocol::Http)
        .cluster("backends", UpstreamProtocol::Http1, &stage.endpoints())
        .http_route(80, "backends", timeouts, Some(retry));
    let proxy = Proxy::start(&world, limits(), draft).await;
    let mut faults = draw_faults(&world, Upstream, false);
    // A slow network would make the clients wait as well, and nobody could tell who was too slow.
    faults.latency_max = faults.latency_max.min(Duration::from_millis(5));
    faults.stall_max = faults.stall_max.min(Duration::from_millis(500));
    faults.core_stalls = 0;
    world.set_faults(faults);
    let habits = Habits { patience: Duration::from_secs(100), body_max: 5000, ..Habits::default() };
    stage.http1_clients(8, 80, &habits);
    stage.end(&proxy).await;
}
