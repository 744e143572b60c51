//! HTTP/1.1 to HTTP/1.1.

use std::rc::Rc;
use std::time::Duration;

use ringway_config::{ListenerProtocol, Timeouts, UpstreamProtocol};
use ringway_proxy::env::Env;

use crate::checker::http::{Http, Rules};
use crate::checker::rest;
use crate::faults::{Faults, Severity};
use crate::peer::http1::{Backend, Habits, Manners, client};
use crate::proxy::{Draft, Proxy, address};
use crate::scenario::Scenario;
use crate::scenarios::{Crowd, REST_TIME, limits};
use crate::world::{Bounds, World};

/// All methods, framings and pipelines; every fault there is, in drawn amounts.
pub const FAULTS: Scenario = Scenario {
    name: "http1-faults",
    cores: 2,
    bounds: Bounds { polls_max: 3_000_000, spin_polls_max: 20_000, time_max: Duration::from_secs(7200) },
    script: |world| Box::pin(faults(world)),
};

/// Backends close connections that the proxy keeps for reuse. What is safe to send again must succeed.
pub const STALE: Scenario =
    Scenario { name: "http1-stale", script: |world| Box::pin(stale(world)), ..FAULTS };

async fn faults(world: World) {
    use Severity::{Both, Downstream, Harmless, Upstream};
    let severity = world.draw(|random| random.pick(&[Harmless, Harmless, Upstream, Downstream, Both]));
    let rate = |most: u32| world.draw(|random| random.pick(&[0, most / 10, most]));
    let harms = matches!(severity, Upstream | Both);
    let manners = Manners {
        silent_close: rate(200_000),
        break_before: if harms { rate(50_000) } else { 0 },
        break_within: if harms { rate(50_000) } else { 0 },
        ..Manners::default()
    };
    let habits = Habits {
        pipeline_max: world.draw(|random| random.size(1, 4)),
        leave: if matches!(severity, Downstream | Both) { rate(100_000) } else { 0 },
        ..Habits::default()
    };
    let rules = Rules { retries_max: 0, may_close: false };
    http(world, severity, manners, habits, rules).await;
}

async fn stale(world: World) {
    let manners = Manners {
        silent_close: 300_000,
        idle_max: Duration::from_millis(50),
        close: 0,
        ..Manners::default()
    };
    let habits = Habits { methods: &["GET", "HEAD", "PUT"], requests_max: 20, ..Habits::default() };
    let rules = Rules { retries_max: 0, may_close: false };
    http(world, Severity::Harmless, manners, habits, rules).await;
}

async fn http(world: World, severity: Severity, manners: Manners, habits: Habits, rules: Rules) {
    let checker = Http::new(&world, rules);
    let mut backends = Vec::new();
    for index in 0..world.draw(|random| random.between(1, 3)) as u16 {
        let env = world.peer(100 + index);
        backends.push(Backend::start(&env, index, 8080, manners.clone(), Rc::clone(&checker)));
    }
    let endpoints: Vec<_> = backends.iter().map(Backend::address).collect();
    let draft = Draft::new()
        .listener(80, ListenerProtocol::Http)
        .cluster("backends", UpstreamProtocol::Http1, &endpoints)
        .http_route(80, "backends", Timeouts::default(), None);
    let proxy = Proxy::start(&world, limits(), draft).await;

    let faults = world.draw(|random| Faults::draw(random, severity));
    world.note(format!("{faults:?} {manners:?}"));
    world.set_faults(faults);
    let crowd = Crowd::default();
    for index in 0..world.draw(|random| random.between(1, 8)) as u16 {
        let (env, habits, checker) = (world.peer(index), habits.clone(), Rc::clone(&checker));
        crowd.add(&world, env.place(), async move {
            for _ in 0..env.world().draw(|random| random.between(1, 3)) {
                if let Ok(socket) = env.connect(address(80)).await {
                    client(env.clone(), socket, habits.clone(), Rc::clone(&checker)).await;
                }
            }
        });
    }
    crowd.gone(&world).await;
    world.set_faults(Faults::none());
    rest::nothing_is_left(&world, proxy.tasks_at_rest(), REST_TIME).await;
    checker.finish();
}
