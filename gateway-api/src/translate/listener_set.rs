//! ListenerSets: whether their Gateway takes them, and what they say about themselves (checklist LSET1 to LSET5).

use super::condition::{Problem, fails, holds};
use super::listener::{Entry, From};
use crate::objects::*;
use crate::world::{Name, World};

/// The Gateway that a ListenerSet names.
pub(crate) fn parent(name: &Name, set: &ListenerSet) -> Option<Name> {
    let reference = &set.spec.parent_ref;
    let is_gateway =
        reference.group.as_deref() == Some(GROUP) && reference.kind.as_deref() == Some("Gateway");
    let namespace = reference.namespace.as_deref().unwrap_or(&name.namespace);
    is_gateway.then(|| Name::new(namespace, &reference.name))
}

/// Why a Gateway does not take a ListenerSet of `namespace`; by default it takes none (checklist LSET2).
pub(crate) fn refusal(
    world: &World,
    gateway: (&Name, &Gateway),
    gateway_refusal: Option<&Problem>,
    namespace: &str,
) -> Option<Problem> {
    let (name, object) = gateway;
    let allowed = object.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    let from = From::of(allowed, &FromNamespaces::None, &name.namespace).unwrap_or(From::None);
    if !from.allows(world, namespace) {
        let message = format!(
            "Gateway {name} does not allow ListenerSets of namespace {namespace} (spec.allowedListeners)"
        );
        return Some(Problem::new("NotAllowed", message));
    }
    gateway_refusal.map(|why| Problem::new("ParentNotAccepted", why.message.clone()))
}

/// The status of a ListenerSet, with no routes attached yet.
pub(crate) fn status(entries: &[Entry<'_>], refusal: Option<&Problem>, generation: i64) -> ListenerSetStatus {
    let invalid: Vec<&str> =
        entries.iter().filter(|entry| !entry.sound()).map(|entry| &*entry.spec.name).collect();
    let invalid_message = format!("Listeners that are not valid: {}", invalid.join(", "));
    let conditions = match refusal {
        Some(problem) => {
            let programmed = match problem.reason {
                "ParentNotAccepted" => "ParentNotProgrammed",
                reason => reason,
            };
            [("Accepted", problem.reason), ("Programmed", programmed)]
                .map(|(kind, reason)| fails(kind, reason, problem.message.clone(), generation))
        }
        None if !entries.iter().any(Entry::sound) => ["Accepted", "Programmed"]
            .map(|kind| fails(kind, "ListenersNotValid", invalid_message.clone(), generation)),
        None => {
            let (reason, message) = match invalid.is_empty() {
                true => ("Accepted", "The ListenerSet is accepted".to_owned()),
                false => ("ListenersNotValid", invalid_message),
            };
            [
                holds("Accepted", reason, message, generation),
                holds("Programmed", "Programmed", "The listeners are configured", generation),
            ]
        }
    };
    ListenerSetStatus {
        conditions: conditions.into(),
        listeners: entries.iter().map(Entry::status).collect(),
    }
}
