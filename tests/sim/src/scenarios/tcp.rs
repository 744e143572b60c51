//! Bytes through the proxy, both ways, each ended by its sender.

use std::rc::Rc;
use std::time::Duration;

use ringway_config::{ListenerProtocol, UpstreamProtocol};

use crate::checker::rest;
use crate::checker::tcp::Tcp;
use crate::faults::Faults;
use crate::faults::Severity::{Both, Downstream, Harmless, Upstream};
use crate::peer::tcp;
use crate::proxy::{Draft, Proxy};
use crate::scenario::Scenario;
use crate::scenarios::{Crowd, REST_TIME, draw_faults, limits, scenario};
use crate::world::World;

/// Streams of many lengths, half-closed at different times.
pub const HALF_CLOSE: Scenario = scenario("tcp", |world| Box::pin(half_close(world)));

async fn half_close(world: World) {
    let checker = Tcp::new(&world);
    let pause = Duration::from_millis(5);
    let backends =
        [100, 101].map(|peer| tcp::backend(&world.peer(peer), 9000, 100_000, pause, Rc::clone(&checker)));
    let draft = Draft::new()
        .listener(90, ListenerProtocol::Tcp)
        .cluster("bytes", UpstreamProtocol::Opaque, &backends)
        .tcp_route(90, "bytes");
    let proxy = Proxy::start(&world, limits(), draft).await;
    let severity = world.draw(|random| random.pick(&[Harmless, Harmless, Upstream, Downstream, Both]));
    world.set_faults(draw_faults(&world, severity, false));
    let crowd = Crowd::default();
    {
        let checker = Rc::clone(&checker);
        crowd.connect(&world, 6, 90, move |env, socket| {
            let length = env.world().draw(|random| random.pick(&[0, 1, 1000, 100_000]));
            tcp::client(env.world().clone(), socket, length, pause, Rc::clone(&checker))
        });
    }
    crowd.gone(&world).await;
    world.set_faults(Faults::none());
    rest::nothing_is_left(&world, proxy.tasks_at_rest(), REST_TIME).await;
    checker.finish();
}
