//! What the proxy goes through. A scenario sets the stage; the checkers judge.

pub mod change;
pub mod http1;
pub mod http2;
pub mod imbalance;
pub mod tcp;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_core::limits::Limits;
use ringway_proxy::env::Env;

use crate::checker::http::{Http, Rules};
use crate::checker::rest;
use crate::env::SimEnv;
use crate::faults::{Faults, Severity};
use crate::network::SimSocket;
use crate::peer::http1::{Backend, Habits, Manners};
use crate::proxy::{Draft, Proxy, address};
use crate::scenario::Scenario;
use crate::world::{Bounds, Place, World};

/// All of them.
pub const ALL: &[Scenario] = &[
    http1::FAULTS,
    http1::STALE,
    http1::POLICY,
    change::ENDPOINTS,
    change::DRAIN,
    imbalance::IMBALANCE,
    tcp::HALF_CLOSE,
    http2::FAULTS,
    http2::UPSTREAM,
    http2::TLS,
];

/// No client needs longer: what takes longer has hung.
const CLIENTS_TIME: Duration = Duration::from_secs(5000);

/// How long the proxy may take to forget all clients and idle upstream connections: its longest idle timeout and more.
const REST_TIME: Duration = Duration::from_secs(200);

/// Two cores, and bounds that no sound run comes near.
const fn scenario(name: &'static str, script: fn(World) -> crate::scenario::Script) -> Scenario {
    let bounds = Bounds { polls_max: 3_000_000, spin_polls_max: 20_000, time_max: Duration::from_secs(7200) };
    Scenario { name, cores: 2, bounds, script }
}

/// The limits of production, but for those that slow networks would hit: no fault here is about them.
fn limits() -> Limits {
    Limits { header_read_timeout: Duration::from_secs(120), ..Limits::default() }
}

/// A rate of zero, a little, or the most.
fn draw_rate(world: &World, most: u32) -> u32 {
    world.draw(|random| random.pick(&[0, most / 10, most]))
}

/// Draws the faults of a run, and tells of them. Only for HTTP/2 the buffers are never tiny: it writes what opens a
/// connection before it reads.
fn draw_faults(world: &World, severity: Severity, roomy: bool) -> Faults {
    let mut faults = world.draw(|random| Faults::draw(random, severity));
    if roomy {
        faults.buffer = (2000, faults.buffer.1.max(16 << 10));
    }
    world.note(format!("{faults:?}"));
    faults
}

/// Clients under way.
#[derive(Clone, Default)]
struct Crowd {
    begun: Rc<Cell<usize>>,
    gone: Rc<Cell<usize>>,
}

impl Crowd {
    /// Starts a client.
    fn add(&self, world: &World, place: Place, client: impl Future<Output = ()> + 'static) {
        self.begun.set(self.begun.get() + 1);
        let gone = Rc::clone(&self.gone);
        world.spawn(place, async move {
            client.await;
            gone.set(gone.get() + 1);
        });
    }

    /// Starts up to so many clients, each of which connects to a port up to three times.
    fn connect<F>(
        &self,
        world: &World,
        most: u64,
        port: u16,
        client: impl Fn(SimEnv, SimSocket) -> F + Clone + 'static,
    ) where
        F: Future<Output = ()>,
    {
        let before = self.begun.get() as u16;
        for index in 0..world.draw(|random| random.between(1, most)) as u16 {
            let (env, client) = (world.peer(before + index), client.clone());
            self.add(world, env.place(), async move {
                for _ in 0..env.world().draw(|random| random.between(1, 3)) {
                    if let Ok(socket) = env.connect(address(port)).await {
                        client(env.clone(), socket).await;
                    }
                }
            });
        }
    }

    /// Whether all of them are done.
    fn is_gone(&self) -> bool {
        self.gone.get() == self.begun.get()
    }

    /// Waits for all of them.
    async fn gone(&self, world: &World) {
        if !world.until(CLIENTS_TIME, || self.is_gone()).await {
            world.violated(format!("{} of {} clients are done", self.gone.get(), self.begun.get()));
        }
    }
}

/// HTTP/1.1 backends, an oracle, and clients to come.
struct Stage {
    world: World,
    checker: Rc<Http>,
    backends: Vec<Backend>,
    crowd: Crowd,
}

impl Stage {
    /// Starts so many backends.
    fn new(world: &World, rules: Rules, backends: u16, manners: &Manners) -> Self {
        let checker = Http::new(world, rules);
        let backends = (0..backends)
            .map(|index| {
                Backend::start(&world.peer(100 + index), index, 8080, manners.clone(), Rc::clone(&checker))
            })
            .collect();
        Self { world: world.clone(), checker, backends, crowd: Crowd::default() }
    }

    fn endpoints(&self) -> Vec<SocketAddr> {
        self.backends.iter().map(Backend::address).collect()
    }

    /// Starts HTTP/1.1 clients.
    fn http1_clients(&self, most: u64, port: u16, habits: &Habits) {
        let (checker, habits) = (Rc::clone(&self.checker), habits.clone());
        self.crowd.connect(&self.world, most, port, move |env, socket| {
            crate::peer::http1::client(env, socket, habits.clone(), Rc::clone(&checker))
        });
    }

    /// Waits for the clients, then for the proxy to forget them, and judges.
    async fn end(self, proxy: &Proxy) {
        self.crowd.gone(&self.world).await;
        self.world.set_faults(Faults::none());
        rest::nothing_is_left(&self.world, proxy.tasks_at_rest(), REST_TIME).await;
        self.checker.finish();
    }
}

/// A listener on port 80 for one cluster of HTTP/1.1 backends.
fn plain(stage: &Stage) -> Draft {
    use ringway_config::{ListenerProtocol, Timeouts, UpstreamProtocol};
    Draft::new()
        .listener(80, ListenerProtocol::Http)
        .cluster("backends", UpstreamProtocol::Http1, &stage.endpoints())
        .http_route(80, "backends", Timeouts::default(), None)
}
