//! What the proxy goes through. A scenario sets the stage; the checkers judge.

pub mod http1;

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use ringway_core::limits::Limits;

use crate::scenario::Scenario;
use crate::world::{Place, World};

/// All of them.
pub const ALL: &[Scenario] = &[http1::FAULTS, http1::STALE];

/// No client needs longer: what takes longer has hung.
const CLIENTS_TIME: Duration = Duration::from_secs(5000);

/// How long the proxy may take to forget all clients and idle upstream connections: its longest idle timeout and more.
pub(crate) const REST_TIME: Duration = Duration::from_secs(200);

/// Clients under way.
#[derive(Clone, Default)]
pub(crate) struct Crowd {
    begun: Rc<Cell<usize>>,
    gone: Rc<Cell<usize>>,
}

impl Crowd {
    /// Starts a client.
    pub(crate) fn add(&self, world: &World, place: Place, client: impl Future<Output = ()> + 'static) {
        self.begun.set(self.begun.get() + 1);
        let gone = Rc::clone(&self.gone);
        world.spawn(place, async move {
            client.await;
            gone.set(gone.get() + 1);
        });
    }

    /// Waits for all of them.
    pub(crate) async fn gone(&self, world: &World) {
        if !world.until(CLIENTS_TIME, || self.gone.get() == self.begun.get()).await {
            world.violated(format!("{} of {} clients are done", self.gone.get(), self.begun.get()));
        }
    }
}

/// The limits of production, but for those that slow networks would hit: no fault here is about them.
pub(crate) fn limits() -> Limits {
    Limits { header_read_timeout: Duration::from_secs(120), ..Limits::default() }
}
