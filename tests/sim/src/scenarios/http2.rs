//! HTTP/2 on either side, and TLS.

use std::rc::Rc;

use ringway_config::{ListenerProtocol, Timeouts, UpstreamProtocol};

use crate::checker::http::Rules;
use crate::faults::Severity::{Both, Downstream, Harmless, Upstream};
use crate::peer::http1::{self, Habits, Manners};
use crate::peer::http2;
use crate::peer::tls::{Identity, Tls};
use crate::proxy::{Draft, Proxy};
use crate::scenario::Scenario;
use crate::scenarios::{Stage, draw_faults, draw_rate, limits, plain, scenario};
use crate::world::World;

/// HTTP/2 clients by prior knowledge beside HTTP/1.1 ones, HTTP/1.1 backends.
pub const FAULTS: Scenario = scenario("http2-faults", |world| Box::pin(faults(world)));

/// HTTP/2 backends, which refuse streams and go away; clients of both versions.
pub const UPSTREAM: Scenario = scenario("http2-upstream", |world| Box::pin(upstream(world)));

/// TLS from clients, the version agreed on by ALPN.
pub const TLS: Scenario = scenario("tls", |world| Box::pin(tls(world)));

/// Streams at a time.
const PARALLEL: usize = 5;

async fn faults(world: World) {
    let severity = world.draw(|random| random.pick(&[Harmless, Harmless, Upstream, Downstream, Both]));
    let harms = matches!(severity, Upstream | Both);
    let manners = Manners {
        silent_close: draw_rate(&world, 100_000),
        break_before: if harms { draw_rate(&world, 50_000) } else { 0 },
        break_within: if harms { draw_rate(&world, 50_000) } else { 0 },
        ..Manners::default()
    };
    let stage = Stage::new(&world, Rules::default(), 2, &manners);
    let proxy = Proxy::start(&world, limits(), plain(&stage)).await;
    world.set_faults(draw_faults(&world, severity, true));
    let habits = Habits { pipeline_max: PARALLEL, ..Habits::default() };
    http2_clients(&stage, &habits);
    stage.http1_clients(2, 80, &Habits::default());
    stage.end(&proxy).await;
}

fn http2_clients(stage: &Stage, habits: &Habits) {
    let (checker, habits) = (Rc::clone(&stage.checker), habits.clone());
    stage.crowd.connect(&stage.world, 4, 80, move |env, socket| {
        http2::client(env, socket, habits.clone(), Rc::clone(&checker))
    });
}

async fn upstream(world: World) {
    let few = world.draw(|random| random.chance(500_000));
    let severity = world.draw(|random| random.pick(&[Harmless, Harmless, Upstream, Downstream]));
    let harms = severity == Upstream;
    let manners = Manners {
        close: draw_rate(&world, 20_000),
        refuse: draw_rate(&world, 20_000),
        streams_max: if few { &[3] } else { &[100] },
        break_before: if harms { draw_rate(&world, 50_000) } else { 0 },
        break_within: if harms { draw_rate(&world, 50_000) } else { 0 },
        ..Manners::default()
    };
    let rules = Rules { broken_by_harm_max: 50, ..Rules::default() };
    let stage = Stage::new(&world, rules, 0, &manners);
    let backends = [100, 101].map(|peer| {
        http2::backend(&world.peer(peer), peer - 100, 8080, manners.clone(), Rc::clone(&stage.checker))
    });
    let draft = Draft::new()
        .listener(80, ListenerProtocol::Http)
        .cluster("backends", UpstreamProtocol::Http2, &backends)
        .http_route(80, "backends", Timeouts::default(), None);
    let proxy = Proxy::start(&world, limits(), draft).await;
    world.set_faults(draw_faults(&world, severity, true));
    // The h2 crate takes trailers of a stream that it refused for its number for an error of the whole connection.
    let trailers = if few { 0 } else { 100_000 };
    http2_clients(&stage, &Habits { pipeline_max: PARALLEL, trailers, ..Habits::default() });
    stage.http1_clients(4, 80, &Habits { pipeline_max: 2, trailers, ..Habits::default() });
    stage.end(&proxy).await;
}

async fn tls(world: World) {
    let severity = world.draw(|random| random.pick(&[Harmless, Harmless, Downstream]));
    let stage = Stage::new(&world, Rules::default(), 2, &Manners::default());
    let identity = Identity::new("test.example");
    let draft =
        plain(&stage).https_listener(443, &identity).http_route(443, "backends", Timeouts::default(), None);
    let proxy = Proxy::start(&world, limits(), draft).await;
    world.set_faults(draw_faults(&world, severity, true));
    let (old, new) = (identity.client(&["http/1.1"]), identity.client(&["h2"]));
    let habits = Habits { pipeline_max: 3, body_max: 50_000, ..Habits::default() };
    let checker = Rc::clone(&stage.checker);
    stage.crowd.connect(&world, 4, 443, move |env, socket| {
        let modern = env.world().draw(|random| random.chance(500_000));
        let config = if modern { new.clone() } else { old.clone() };
        let (habits, checker) = (habits.clone(), Rc::clone(&checker));
        async move {
            let wire = Tls::client(socket, config, "test.example");
            if modern {
                http2::client(env, wire, habits, checker).await;
            } else {
                http1::client(env, wire, habits, checker).await;
            }
        }
    });
    stage.end(&proxy).await;
}
