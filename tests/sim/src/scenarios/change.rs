//! The proxy is changed while it serves: endpoints come and go, listeners too, and in the end it drains.

use std::time::Duration;

use ringway_config::{ListenerProtocol, ResourceKey, Timeouts, UpstreamProtocol};

use crate::checker::http::Rules;
use crate::faults::Severity::{Downstream, Harmless};
use crate::peer::http1::{Habits, Manners};
use crate::proxy::{Draft, Proxy, listener_key, route_key};
use crate::scenario::Scenario;
use crate::scenarios::{Stage, draw_faults, draw_rate, limits, plain, scenario};
use crate::world::World;

/// Endpoints are removed while their connections are on loan, and come back. No request fails for it, and none that is
/// asked after a removal reaches the removed.
pub const ENDPOINTS: Scenario = scenario("change-endpoints", |world| Box::pin(endpoints(world)));

/// A drain at any moment: what is under way is finished, nothing is cut off, and it comes to an end.
pub const DRAIN: Scenario = scenario("drain", |world| Box::pin(drain(world)));

async fn endpoints(world: World) {
    let manners = Manners { silent_close: draw_rate(&world, 100_000), ..Manners::default() };
    let stage = Stage::new(&world, Rules::default(), 4, &manners);
    let proxy = Proxy::start(&world, limits(), plain(&stage)).await;
    let severity = world.draw(|random| random.pick(&[Harmless, Harmless, Downstream]));
    world.set_faults(draw_faults(&world, severity, false));
    let habits = Habits { requests_max: 30, pipeline_max: 2, body_max: 5000, ..Habits::default() };
    stage.http1_clients(8, 80, &habits);
    while !stage.crowd.is_gone() {
        world.sleep(world.draw_duration(Duration::from_millis(300))).await;
        let mut kept = Vec::new();
        let mut removed = Vec::new();
        for (index, address) in stage.endpoints().into_iter().enumerate() {
            if world.draw(|random| random.chance(600_000)) || (index == 3 && kept.is_empty()) {
                stage.checker.restored(index as u16);
                kept.push(address);
            } else {
                removed.push(index as u16);
            }
        }
        let mut draft = Draft::new().endpoints("backends", &kept);
        let mut gone = Vec::new();
        // Something that has nothing to do with the clients changes as well.
        if world.draw(|random| random.chance(500_000)) {
            draft =
                draft.listener(81, ListenerProtocol::Http).http_route(81, "other", Timeouts::default(), None);
            draft = draft.cluster("other", UpstreamProtocol::Http1, &kept);
        } else {
            gone = vec![ResourceKey::Listener(listener_key(81)), ResourceKey::Route(route_key(81))];
        }
        proxy.change(draft.resources(), gone).await;
        for index in removed {
            stage.checker.retired(index);
        }
    }
    let gone = vec![ResourceKey::Listener(listener_key(81)), ResourceKey::Route(route_key(81))];
    proxy.change(Vec::new(), gone).await;
    stage.end(&proxy).await;
}

async fn drain(world: World) {
    let stage = Stage::new(&world, Rules::default(), 2, &Manners::default());
    let proxy = Proxy::start(&world, limits(), plain(&stage)).await;
    world.set_faults(draw_faults(&world, Harmless, false));
    drain_under_load(&world, &stage, &proxy, 8).await;
    stage.crowd.gone(&world).await;
    stage.checker.finish();
}

/// Drains while so many clients ask and rest. Nothing may be open on the listener afterwards.
pub(super) async fn drain_under_load(world: &World, stage: &Stage, proxy: &Proxy, clients: u64) {
    let habits = Habits {
        requests_max: 30,
        pipeline_max: world.draw(|random| random.size(1, 3)),
        pause_max: world.draw(|random| random.pick(&[Duration::from_millis(20), Duration::from_secs(5)])),
        body_max: 5000,
        ..Habits::default()
    };
    stage.http1_clients(clients, 80, &habits);
    world.sleep(world.draw_duration(Duration::from_secs(3))).await;
    stage.checker.may_close();
    proxy.drain(Duration::from_secs(1000)).await;
    if let Some(open) = world.core_connections().iter().find(|open| open.contains("10.0.0.1:80 ")) {
        world.violated(format!("drained, and still open: {open}"));
    }
}
