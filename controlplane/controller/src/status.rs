//! The statuses of all objects, as Kubernetes would show them.
//!
//! Translation says what each condition is; here is added what only running can tell: when a condition last changed,
//! and that a socket could not be bound. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringway_gateway_api::Status;
use ringway_gateway_api::objects::{Kind, ObjectKey};
use serde_json::{Value, json};

use crate::publish::FailedBind;

/// The status of every object that has one.
#[derive(Debug, Default)]
pub struct Statuses {
    // As translated, and as shown.
    told: BTreeMap<ObjectKey, Arc<Status>>,
    shown: BTreeMap<ObjectKey, Value>,
    unbound: BTreeSet<ObjectKey>,
}

impl Statuses {
    /// The statuses by object.
    pub fn shown(&self) -> &BTreeMap<ObjectKey, Value> {
        &self.shown
    }

    /// Takes in new statuses (`None`: the object is gone) and the listeners that have no socket.
    pub fn update(
        &mut self,
        told: impl IntoIterator<Item = (ObjectKey, Option<Arc<Status>>)>,
        failed: &[FailedBind],
        now: &str,
    ) {
        let mut touched = std::mem::take(&mut self.unbound);
        self.unbound = failed.iter().filter_map(|failed| Some(owner(failed)?.0)).collect();
        touched.extend(self.unbound.iter().cloned());
        for (key, status) in told {
            match status {
                Some(status) => drop(self.told.insert(key.clone(), status)),
                None => drop(self.told.remove(&key)),
            }
            touched.insert(key);
        }
        for key in touched {
            let Some(told) = self.told.get(&key) else {
                self.shown.remove(&key);
                continue;
            };
            let mut status = serde_json::to_value(&**told)
                .expect("a status holds texts, numbers, lists and maps of texts");
            for failed in failed {
                if let Some((owner, listener)) = owner(failed)
                    && owner == key
                {
                    mark_unbound(&mut status, listener, failed);
                }
            }
            stamp(&mut status, self.shown.get(&key), now);
            self.shown.insert(key, status);
        }
    }
}

/// The object that a listener belongs to, and its name there: keys read `Gateway/namespace/name/listener`.
fn owner(failed: &FailedBind) -> Option<(ObjectKey, &str)> {
    let mut parts = failed.listener.as_str().splitn(4, '/');
    let kind = match parts.next()? {
        "Gateway" => Kind::Gateway,
        "ListenerSet" => Kind::ListenerSet,
        _ => return None,
    };
    let (namespace, name, listener) = (parts.next()?, parts.next()?, parts.next()?);
    Some((ObjectKey::new(kind, namespace, name), listener))
}

fn mark_unbound(status: &mut Value, listener: &str, failed: &FailedBind) {
    let listeners = status.get_mut("listeners").and_then(Value::as_array_mut);
    let named = |entry: &&mut Value| entry.get("name").and_then(Value::as_str) == Some(listener);
    let Some(entry) = listeners.and_then(|listeners| listeners.iter_mut().find(named)) else { return };
    let message = format!("port {} cannot be bound: {}", failed.bind.port, failed.reason);
    let conditions = entry.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let (status, reason) = match condition.get("type").and_then(Value::as_str) {
            Some("Accepted") => ("False", "PortUnavailable"),
            Some("Programmed") => ("False", "Invalid"),
            _ => continue,
        };
        condition["status"] = json!(status);
        condition["reason"] = json!(reason);
        condition["message"] = json!(message);
    }
}

/// Dates every condition: now, or when it last changed its status.
fn stamp(status: &mut Value, before: Option<&Value>, now: &str) {
    match status {
        Value::Array(items) => {
            for item in items {
                // Lists of a status are keyed by what their items are about, not by position.
                let before = before.and_then(Value::as_array);
                let same = |old: &&Value| IDENTITY.iter().all(|field| old.get(*field) == item.get(*field));
                let before = before.and_then(|before| before.iter().find(same));
                stamp(item, before, now);
            }
        }
        Value::Object(fields) => {
            if fields.contains_key("type") && fields.contains_key("status") {
                let unchanged = before.filter(|before| before.get("status") == fields.get("status"));
                let since = unchanged.and_then(|before| before.get("lastTransitionTime"));
                let since = since.cloned().unwrap_or_else(|| json!(now));
                fields.insert("lastTransitionTime".to_owned(), since);
                return;
            }
            for (field, value) in fields {
                stamp(value, before.and_then(|before| before.get(field)), now);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The fields that say what an item of a status's list is about.
const IDENTITY: [&str; 5] = ["type", "name", "parentRef", "ancestorRef", "controllerName"];

#[cfg(test)]
mod tests {
    use ringway_config::{Bind, ListenerKey, Transport};

    use super::*;

    fn gateway(programmed: &str) -> Vec<(ObjectKey, Option<Arc<Status>>)> {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": kind});
        let status = json!({
            "conditions": [condition("Accepted", "True")],
            "listeners": [
                {"name": "web", "conditions": [condition("Accepted", "True"), condition("Programmed", programmed)]},
                {"name": "tls", "conditions": [condition("Programmed", "True")]},
            ],
        });
        let status = Status::Gateway(serde_json::from_value(status).unwrap());
        vec![(ObjectKey::new(Kind::Gateway, "ns", "g"), Some(Arc::new(status)))]
    }

    fn field<'a>(statuses: &'a Statuses, path: &str) -> &'a Value {
        statuses.shown().values().next().unwrap().pointer(path).unwrap()
    }

    #[test]
    fn a_condition_keeps_its_date_until_its_status_changes() {
        let mut statuses = Statuses::default();
        statuses.update(gateway("True"), &[], "first");
        statuses.update(gateway("False"), &[], "second");
        statuses.update(gateway("False"), &[], "third");
        assert_eq!(field(&statuses, "/conditions/0/lastTransitionTime"), "first");
        assert_eq!(field(&statuses, "/listeners/0/conditions/0/lastTransitionTime"), "first");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/lastTransitionTime"), "second");
    }

    #[test]
    fn a_listener_without_a_socket_says_so_until_it_has_one() {
        let failed = FailedBind {
            listener: ListenerKey::new("Gateway/ns/g/web"),
            bind: Bind { address: None, port: 80, transport: Transport::Tcp },
            reason: "address in use".to_owned(),
        };
        let mut statuses = Statuses::default();
        statuses.update(gateway("True"), std::slice::from_ref(&failed), "first");
        assert_eq!(field(&statuses, "/listeners/0/conditions/0/reason"), "PortUnavailable");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/status"), "False");
        assert_eq!(
            field(&statuses, "/listeners/0/conditions/1/message"),
            "port 80 cannot be bound: address in use"
        );
        assert_eq!(field(&statuses, "/listeners/1/conditions/0/status"), "True");

        statuses.update(vec![], &[failed], "second");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/lastTransitionTime"), "first");
        statuses.update(vec![], &[], "third");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/status"), "True");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/lastTransitionTime"), "third");
    }

    #[test]
    fn the_status_of_a_removed_object_is_gone() {
        let mut statuses = Statuses::default();
        statuses.update(gateway("True"), &[], "first");
        statuses.update(vec![(ObjectKey::new(Kind::Gateway, "ns", "g"), None)], &[], "second");
        assert!(statuses.shown().is_empty());
    }
}
