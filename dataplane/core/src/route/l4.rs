//! Connections and datagrams: by port, and for TLS by server name (checklist L4-1 to L4-7, TLS14).

use std::rc::Rc;

use ringway_config::{BackendTarget, Bind, ClusterKey, ListenerKey, Route, RouteKey, Weighted};

use super::{ClusterSource, View, plan};
use crate::compiled::{AttachedRoute, BindKind, ListenerTable};
use crate::decision::PlanTarget;
use crate::failure::Flag;

/// What to do with a connection or a UDP session.
#[derive(Debug)]
pub enum L4Decision<C> {
    /// Send it to a backend of a plan.
    Forward(L4Forward<C>),
    /// Reset the connection, drop the datagram.
    Reject(L4Refusal),
}

/// A plan and which of its backends was drawn.
#[derive(Debug)]
pub struct L4Forward<C> {
    /// What its route says.
    pub plan: Rc<L4Plan<C>>,
    key: ClusterKey,
    cluster: Rc<C>,
}

impl<C> L4Forward<C> {
    /// The name of the drawn cluster.
    pub fn key(&self) -> &ClusterKey {
        &self.key
    }

    /// The drawn cluster.
    pub fn cluster(&self) -> &Rc<C> {
        &self.cluster
    }
}

/// A TLS, TCP or UDP route as one core executes it.
#[derive(Debug)]
pub struct L4Plan<C> {
    /// The listener that serves it.
    pub listener: ListenerKey,
    /// The route.
    pub route: RouteKey,
    /// Where connections may go, by weight; `None`: nowhere.
    pub choice: Option<Weighted<Rc<PlanTarget<C>>>>,
}

/// Why a connection is not forwarded.
#[derive(Clone, Debug, PartialEq)]
pub struct L4Refusal {
    /// The same as a flag.
    pub flag: Flag,
    /// The same in words.
    pub details: &'static str,
    /// The listener, if one was found.
    pub listener: Option<ListenerKey>,
    /// The route, if one was found.
    pub route: Option<RouteKey>,
}

impl<C> View<C> {
    /// Decides about a TCP connection: one of a TCP listener, or one of a TLS listener by its server name, be it
    /// passed through or ended here. `draw` is chance, as for [`decide`](Self::decide).
    pub fn tcp(&self, bind: &Bind, sni: Option<&str>, draw: u64) -> L4Decision<C> {
        match self.compiled().bind_kind(bind) {
            Some(BindKind::Tcp) => self.raw(bind, draw),
            Some(BindKind::Tls) => {
                let Some(table) = self.tls_listener(bind, sni) else {
                    return reject("no listener for this server name", None);
                };
                // A route names its hosts, so a client that names none has no route.
                let slot = sni.and_then(|host| table.tls.covering_first(host));
                self.by_slot(table, slot.copied(), draw)
            }
            Some(BindKind::Http | BindKind::Udp) | None => reject("no listener for connections here", None),
        }
    }

    /// Decides about a new UDP session.
    pub fn udp(&self, bind: &Bind, draw: u64) -> L4Decision<C> {
        match self.compiled().bind_kind(bind) {
            Some(BindKind::Udp) => self.raw(bind, draw),
            Some(BindKind::Http | BindKind::Tls | BindKind::Tcp) | None => {
                reject("no listener for datagrams here", None)
            }
        }
    }

    fn raw(&self, bind: &Bind, draw: u64) -> L4Decision<C> {
        match self.compiled().bind(bind).and_then(|behind| behind.raw.as_deref()) {
            Some(table) => self.by_slot(table, table.l4, draw),
            None => reject("no listener here", None),
        }
    }

    fn by_slot(&self, table: &ListenerTable, slot: Option<u32>, draw: u64) -> L4Decision<C> {
        let Some(slot) = slot else {
            return reject("no route matched", Some(table.listener.key.clone()));
        };
        let plan = self
            .route_on_core(slot)
            .l4
            .get_or_init(|| Rc::new(build(self.compiled().attached(slot), &*self.source)));
        let refuse = |details| {
            L4Decision::Reject(L4Refusal {
                flag: Flag::NoCluster,
                details,
                listener: Some(plan.listener.clone()),
                route: Some(plan.route.clone()),
            })
        };
        match plan.choice.as_ref().map(|choice| &**choice.pick((draw >> 32) as u32)) {
            Some(PlanTarget::Cluster(key, cluster)) => L4Decision::Forward(L4Forward {
                plan: Rc::clone(plan),
                key: key.clone(),
                cluster: Rc::clone(cluster),
            }),
            Some(PlanTarget::Invalid) => refuse("backend reference is invalid"),
            None => refuse("route has no backend"),
        }
    }
}

fn build<C>(attached: &AttachedRoute, source: &dyn ClusterSource<C>) -> L4Plan<C> {
    let backends: &Option<Weighted<BackendTarget>> = match &*attached.route {
        Route::Tls(route) => &route.backends,
        Route::Tcp(route) | Route::Udp(route) => &route.backends,
        Route::Http(_) => &None,
    };
    L4Plan {
        listener: attached.listener.key.clone(),
        route: attached.route.key().clone(),
        choice: backends
            .as_ref()
            .map(|backends| backends.map(|target| Rc::new(plan::target(target, source)))),
    }
}

fn reject<C>(details: &'static str, listener: Option<ListenerKey>) -> L4Decision<C> {
    L4Decision::Reject(L4Refusal { flag: Flag::NoRoute, details, listener, route: None })
}
