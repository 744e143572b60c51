//! The statuses of all objects, as Kubernetes would show them.
//!
//! Translation says what each condition is; here is added what only running can tell: when a condition last changed,
//! and that a socket could not be bound. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ringway_config::{FailedBind, pack};
use ringway_gateway_api::Status;
use ringway_gateway_api::objects::{Kind, ObjectKey};
use serde_json::{Map, Value, json};

/// The status of every object that has one.
///
/// Thousands of objects have one and hardly anybody looks, so what is kept is what translation said, which it keeps
/// as well, and dates. What is shown is made when it is asked for.
#[derive(Debug, Default)]
pub struct Statuses {
    told: BTreeMap<ObjectKey, Told>,
    failed: Vec<FailedBind>,
}

#[derive(Debug)]
struct Told {
    status: Arc<Status>,
    /// Shared by those that say the same since the same time.
    dates: Arc<[Dated]>,
}

/// When a condition last changed.
#[derive(Clone, Debug, PartialEq)]
struct Dated {
    /// Which condition, by a hash of its place and type. A collision costs a date.
    condition: u64,
    /// `True`, `False` or `Unknown`, by its first letter.
    status: u8,
    since: Arc<str>,
}

impl Statuses {
    /// The objects that have a status.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.told.keys()
    }

    /// The status of an object, as Kubernetes would show it.
    pub fn get(&self, key: &ObjectKey) -> Option<Value> {
        let told = self.told.get(key)?;
        let mut status = self.overlaid(key, &told.status);
        conditions(&mut status, 0, &mut |condition, fields| {
            let dated = told.dates.iter().find(|dated| dated.condition == condition);
            let since = dated.map(|dated| Value::from(&*dated.since));
            fields.insert("lastTransitionTime".to_owned(), since.unwrap_or_default());
        });
        Some(status)
    }

    /// Takes in new statuses (`None`: the object is gone) and the listeners that have no socket.
    pub fn update(
        &mut self,
        told: impl IntoIterator<Item = (ObjectKey, Option<Arc<Status>>)>,
        failed: &[FailedBind],
        now: &str,
    ) {
        let now: Arc<str> = now.into();
        let mut touched: BTreeSet<ObjectKey> = BTreeSet::new();
        touched.extend(self.failed.iter().chain(failed).filter_map(|failed| Some(owner(failed)?.0)));
        self.failed = failed.to_vec();
        let no_dates: Arc<[Dated]> = Arc::default();
        for (key, status) in told {
            match status {
                Some(status) => {
                    let dates = self.told.get(&key).map_or(&no_dates, |told| &told.dates).clone();
                    self.told.insert(key.clone(), Told { status, dates });
                    touched.insert(key);
                }
                None => {
                    self.told.remove(&key);
                    touched.remove(&key);
                }
            }
        }
        if 4 * touched.len() > self.told.len() {
            pack(&mut self.told);
        }
        let overlaid: BTreeSet<ObjectKey> =
            self.failed.iter().filter_map(|failed| Some(owner(failed)?.0)).collect();
        // What has one status and had one set of dates has one set of dates again: so it is for thousands of routes.
        let mut made: BTreeMap<(*const Status, *const Dated), Arc<[Dated]>> = BTreeMap::new();
        let mut kept = Vec::new();
        for key in touched {
            let Some(told) = self.told.get_mut(&key) else { continue };
            let alike = (Arc::as_ptr(&told.status), told.dates.as_ptr());
            if let Some(dates) = made.get(&alike).filter(|_| !overlaid.contains(&key)) {
                kept.push(std::mem::replace(&mut told.dates, Arc::clone(dates)));
                continue;
            }
            let Some(told) = self.told.get(&key) else { continue };
            let mut status = self.overlaid(&key, &told.status);
            let mut dates = Vec::new();
            conditions(&mut status, 0, &mut |condition, fields| {
                let status = fields.get("status").and_then(Value::as_str).unwrap_or_default();
                let status = status.as_bytes().first().copied().unwrap_or_default();
                let same = |dated: &&Dated| dated.condition == condition && dated.status == status;
                let before = told.dates.iter().find(same);
                let since = Arc::clone(before.map_or(&now, |dated| &dated.since));
                dates.push(Dated { condition, status, since });
            });
            let dates: Arc<[Dated]> = dates.into();
            if !overlaid.contains(&key) {
                made.insert(alike, Arc::clone(&dates));
            }
            if let Some(told) = self.told.get_mut(&key) {
                // Should the old ones go, their place in memory could become that of others.
                kept.push(std::mem::replace(&mut told.dates, dates));
            }
        }
    }

    /// What translation said, and what only running can tell.
    fn overlaid(&self, key: &ObjectKey, status: &Status) -> Value {
        let mut status =
            serde_json::to_value(status).expect("a status holds texts, numbers, lists and maps of texts");
        for failed in &self.failed {
            if let Some((owner, listener)) = owner(failed)
                && owner == *key
            {
                mark_unbound(&mut status, listener, failed);
            }
        }
        status
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

/// Visits every condition of a status, with a hash of where it stands and what it is.
fn conditions(status: &mut Value, place: u64, visit: &mut impl FnMut(u64, &mut Map<String, Value>)) {
    match status {
        Value::Array(items) => {
            for item in items {
                // Lists of a status are keyed by what their items are about, not by position.
                let about = IDENTITY.map(|field| item.get(field).cloned());
                conditions(item, hash(&(place, about)), visit);
            }
        }
        Value::Object(fields) if fields.contains_key("type") && fields.contains_key("status") => {
            visit(place, fields);
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                conditions(value, hash(&(place, field)), visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
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

    fn field(statuses: &Statuses, path: &str) -> Value {
        let status = statuses.get(statuses.keys().next().unwrap()).unwrap();
        status.pointer(path).unwrap().clone()
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
        assert_eq!(statuses.keys().count(), 0);
    }
}
