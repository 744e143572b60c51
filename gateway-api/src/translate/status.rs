//! The status of an object of any kind, as one value, and how statuses are completed once routes are counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_config::ListenerKey;
use serde::Serialize;

use super::front::Front;
use crate::objects::*;
use crate::world::Name;

/// What an object's status should be: entries of this controller alone, without times.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Status {
    /// Of a GatewayClass.
    GatewayClass(GatewayClassStatus),
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of a ListenerSet.
    ListenerSet(ListenerSetStatus),
    /// Of a route of any kind.
    Route(RouteStatus),
    /// Of a BackendTLSPolicy.
    Policy(PolicyStatus),
    /// Of an XBackend.
    XBackend(XBackendStatus),
}

/// Statuses by object.
pub type Statuses = BTreeMap<ObjectKey, Arc<Status>>;

/// How many routes each listener has; absent is none.
pub(crate) type Counts = BTreeMap<ListenerKey, usize>;

/// The statuses of classes, gateways and ListenerSets.
pub(crate) fn of_front(front: &Front, counts: &Counts) -> Statuses {
    let classes = front.classes.iter().map(|(name, status)| {
        (ObjectKey::new(Kind::GatewayClass, "", name), Arc::new(Status::GatewayClass(status.clone())))
    });
    let gateways = front.gateways.keys().map(|name| (key(Kind::Gateway, name), gateway(front, name, counts)));
    let sets = front.listener_sets.keys();
    let sets = sets.map(|name| (key(Kind::ListenerSet, name), listener_set(front, name, counts)));
    let gateways = gateways.chain(sets).filter_map(|(key, status)| Some((key, status?)));
    classes.chain(gateways).collect()
}

/// The status of one gateway.
pub(crate) fn gateway(front: &Front, name: &Name, counts: &Counts) -> Option<Arc<Status>> {
    let (status, keys) = front.gateways.get(name)?;
    let mut status = status.clone();
    count(&mut status.listeners, keys, counts);
    Some(Arc::new(Status::Gateway(status)))
}

/// The status of one ListenerSet.
pub(crate) fn listener_set(front: &Front, name: &Name, counts: &Counts) -> Option<Arc<Status>> {
    let (status, keys) = front.listener_sets.get(name)?;
    let mut status = status.clone();
    count(&mut status.listeners, keys, counts);
    Some(Arc::new(Status::ListenerSet(status)))
}

/// The name of an object of a kind.
pub(crate) fn key(kind: Kind, name: &Name) -> ObjectKey {
    ObjectKey { kind, namespace: Arc::clone(&name.namespace), name: Arc::clone(&name.name) }
}

fn count(listeners: &mut [ListenerStatus], keys: &[ListenerKey], counts: &Counts) {
    for (listener, key) in listeners.iter_mut().zip(keys) {
        let count = counts.get(key).copied().unwrap_or_default();
        listener.attached_routes = i32::try_from(count).unwrap_or(i32::MAX);
    }
}
