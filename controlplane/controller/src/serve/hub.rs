//! Where what is published meets the proxies that are connected. The only lock of serving: nobody waits in it for I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use ringway_config::{Delta, GatewayKey, ListenerKey, ResourceKey};
use ringway_wire::proto::{Acknowledgement, FromController, Position};
use tokio::sync::Notify;

use super::ledger::{Ledger, seal};
use super::session::{Next, Session, Start, behind};

/// Counts what was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// A proxy that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyState {
    /// Whose configuration it has.
    pub gateway: GatewayKey,
    /// Its pod.
    pub pod: Arc<str>,
    /// Its version of ringway, as it says.
    pub version: String,
    /// All of this generation and older ones is in force there, but what is refused. `None`: it has not answered yet.
    pub acknowledged: Option<Generation>,
    /// Since when it is connected.
    pub since: SystemTime,
    /// What is not in force, and why. The last good version of each is.
    pub refusals: Vec<(ResourceKey, String)>,
    /// Listeners without a socket, and why.
    pub failed_binds: Vec<(ListenerKey, String)>,
    /// How many resources it was sent since then.
    pub resources_sent: u64,
}

/// What every proxy should have, by gateway. Cloning gives the same one.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    streams: BTreeMap<u64, Stream>,
    next: u64,
}

#[derive(Debug)]
struct Stream {
    proxy: Caller,
    since: SystemTime,
    session: Session,
    ended: bool,
    calls: Arc<Calls>,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) gateway: GatewayKey,
    pub(super) pod: Arc<str>,
    pub(super) version: String,
}

/// How the hub reaches what runs a stream.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// There may be something to send.
    pub(super) wake: Notify,
    /// The connection must end, whether or not anybody reads.
    pub(super) cut: Notify,
}

/// What a stream does next.
#[derive(Debug)]
pub(super) enum Step {
    Send(FromController),
    Wait(Instant),
    /// The proxy must begin again and say what it has.
    Resynchronise,
    End,
}

impl Hub {
    /// Nothing is published yet, and until something is, no proxy is sent anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that is in force changes so. Never waits for a proxy: each is sent its gateway's share of what it lacks, when
    /// it has room. `positions`: how far into the cluster's history this reaches, for each kind of objects.
    pub fn publish(&self, delta: Delta, positions: Vec<Position>) -> Generation {
        let sealed = seal(delta);
        for (key, size) in &sealed.refused {
            tracing::error!(?key, size, "too large to send to proxies; what it was before stays in force");
        }
        let mut state = self.state();
        let changed = state.ledger.publish(sealed, positions);
        for stream in state.streams.values() {
            // One that has not begun waits for the controller to catch up.
            if stream.session.start().is_some() || changed.contains(&stream.proxy.gateway) {
                stream.calls.wake.notify_one();
            }
        }
        state.forget_gateways(&changed);
        Generation(state.ledger.generation())
    }

    /// What is published is true up to these positions as well: nothing changed for proxies on the way to them.
    pub fn reached(&self, positions: Vec<Position>) {
        let mut state = self.state();
        state.ledger.reach(positions);
        for stream in state.streams.values().filter(|stream| stream.session.start().is_some()) {
            stream.calls.wake.notify_one();
        }
    }

    /// The proxies that are connected, by gateway and pod.
    pub fn proxies(&self) -> Vec<ProxyState> {
        let state = self.state();
        let mut proxies: Vec<_> = state.streams.values().map(|stream| state.proxy(stream)).collect();
        proxies.sort_by(|one, other| (&one.gateway, &one.pod).cmp(&(&other.gateway, &other.pod)));
        proxies
    }

    /// Resolves when a proxy came, went or answered since the last time. For one waiter.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// A proxy has come. An older stream of the same one ends.
    pub(super) fn enter(&self, proxy: Caller, start: Start, calls: Arc<Calls>, now: Instant) -> Entered {
        let mut state = self.state();
        let same = |it: &&Stream| it.proxy.gateway == proxy.gateway && it.proxy.pod == proxy.pod;
        if let Some(older) = state.streams.values().find(same) {
            older.calls.cut.notify_one();
        }
        state.next += 1;
        let id = state.next;
        let session = Session::new(start, now);
        state.streams.insert(id, Stream { proxy, since: SystemTime::now(), session, ended: false, calls });
        self.0.changed.notify_one();
        Entered { hub: self.clone(), id }
    }

    /// Cuts the connections of proxies that neither read nor answer.
    pub(super) fn cut_stalled(&self, now: Instant) {
        for stream in self.state().streams.values().filter(|stream| stream.session.stalled(now)) {
            let Caller { gateway, pod, .. } = &stream.proxy;
            tracing::warn!(%gateway, %pod, "the proxy does not answer: its connection is cut");
            stream.calls.cut.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What somebody panicked over is still the newest there is.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn proxy(&self, stream: &Stream) -> ProxyState {
        let Caller { gateway, pod, version } = stream.proxy.clone();
        let said = stream.session.acknowledged();
        let acknowledged = said.map(|said| {
            // Generations that did not concern this gateway are in force with the one that did.
            let all = self.ledger.changed_in(&gateway) <= said.generation;
            Generation(if all { self.ledger.generation() } else { said.generation })
        });
        ProxyState {
            gateway,
            pod,
            version,
            acknowledged,
            since: stream.since,
            refusals: said.map(|said| said.refusals.clone()).unwrap_or_default(),
            failed_binds: said.map(|said| said.failed_binds.clone()).unwrap_or_default(),
            resources_sent: stream.session.resources_sent,
        }
    }

    /// Gateways that are gone are not remembered for nobody.
    fn forget_gateways(&mut self, gateways: &BTreeSet<GatewayKey>) {
        for gateway in gateways {
            if !self.streams.values().any(|stream| stream.proxy.gateway == *gateway) {
                self.ledger.forget_if_gone(gateway);
            }
        }
    }

    fn step(&mut self, id: u64, now: Instant) -> Step {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.ended) else {
            return Step::End;
        };
        let (gateway, session) = (&stream.proxy.gateway, &mut stream.session);
        let next = match session.next(now) {
            Next::First => {
                let ready = session.start().filter(|start| {
                    self.ledger.generation() > 0
                        && (!behind(self.ledger.positions(), &start.positions) || session.waited_enough(now))
                });
                match ready.map(|start| self.ledger.change_from(gateway, &start.held)) {
                    Some(change) => session.begin(change, now),
                    None => session.idle(now),
                }
            }
            Next::Since(from) if self.ledger.changed_in(gateway) > from => {
                match self.ledger.change_since(gateway, from) {
                    Some(change) => session.begin(change, now),
                    None => return Step::Resynchronise,
                }
            }
            Next::Since(_) => session.idle(now),
            other => other,
        };
        match next {
            Next::Send(message) => Step::Send(message),
            Next::Wait(until) => Step::Wait(until),
            Next::First | Next::Since(_) => Step::Wait(now),
        }
    }
}

/// A proxy's place at the hub. Dropping it is its leaving.
#[derive(Debug)]
pub(super) struct Entered {
    hub: Hub,
    id: u64,
}

impl Entered {
    /// Decides what to do next.
    pub(super) fn step(&self, now: Instant) -> Step {
        self.hub.state().step(self.id, now)
    }

    /// What the proxy says is told by this.
    pub(super) fn voice(&self) -> Voice {
        Voice { hub: self.hub.clone(), id: self.id }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        if let Some(stream) = state.streams.remove(&self.id) {
            state.forget_gateways(&BTreeSet::from([stream.proxy.gateway]));
        }
        self.hub.0.changed.notify_one();
    }
}

/// Tells the hub what a proxy says.
#[derive(Debug)]
pub(super) struct Voice {
    hub: Hub,
    id: u64,
}

impl Voice {
    /// The proxy answered. Says whether that is an answer to something.
    pub(super) fn acknowledge(&self, said: Acknowledgement) -> bool {
        let mut state = self.hub.state();
        let Some(stream) = state.streams.get_mut(&self.id) else { return false };
        let answered = stream.session.acknowledge(said);
        stream.calls.wake.notify_one();
        self.hub.0.changed.notify_one();
        answered
    }

    /// The proxy says no more.
    pub(super) fn end(&self) {
        if let Some(stream) = self.hub.state().streams.get_mut(&self.id) {
            stream.ended = true;
            stream.calls.wake.notify_one();
        }
    }
}
