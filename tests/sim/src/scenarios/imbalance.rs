//! All connections come in on one core of four: the others get their share, and a drain loses none on its way.

use std::time::Duration;

use ringway_proxy::env::Env;

use crate::checker::http::Rules;
use crate::faults::Severity::Harmless;
use crate::peer::http1::Manners;
use crate::proxy::{Proxy, address};
use crate::scenario::Scenario;
use crate::scenarios::change::drain_under_load;
use crate::scenarios::{Stage, draw_faults, limits, plain, scenario};
use crate::world::World;

/// Connections that stay open while it is looked where they are.
const HELD: u16 = 32;

/// One core accepts, four serve, and in the end they drain.
pub const IMBALANCE: Scenario =
    Scenario { cores: 4, ..scenario("accept-imbalance", |world| Box::pin(imbalance(world))) };

async fn imbalance(world: World) {
    let stage = Stage::new(&world, Rules::default(), 2, &Manners::default());
    let proxy = Proxy::start_listening(&world, limits(), plain(&stage), 1).await;
    world.set_faults(draw_faults(&world, Harmless, false));
    let mut held = Vec::new();
    for index in 0..HELD {
        held.extend(world.peer(1000 + index).connect(address(80)).await);
    }
    world.sleep(Duration::from_secs(10)).await;
    let loads: Vec<_> = (0..world.cores()).map(|core| world.client_connections(core)).collect();
    let fair = usize::from(HELD) / world.cores();
    if loads.iter().sum::<usize>() != held.len()
        || loads.iter().any(|load| *load < fair / 3 || *load > 2 * fair)
    {
        world.violated(format!("{} connections are served by the cores like this: {loads:?}", held.len()));
    }
    // From here on half of the cores have less to do than they seem to have.
    held.truncate(world.draw(|random| random.below(u64::from(HELD))) as usize);
    drain_under_load(&world, &stage, &proxy, 12).await;
    drop(held);
    stage.crowd.gone(&world).await;
    stage.checker.finish();
}
