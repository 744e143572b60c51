//! The statuses of all objects, as Kubernetes would show them.
//!
//! Translation says what each condition is; here is added what only running can tell: when a condition last changed,
//! and that a socket could not be bound or a certificate not be used. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ringway_config::{FailedBind, ListenerKey, PlaneProblem, ResourceKey, pack};
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
    /// Those of listeners.
    problems: Vec<PlaneProblem>,
}

/// A condition of a Gateway or ListenerSet, or of a listener of it, that holds no longer by what its objects say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// Whose condition it is.
    pub object: ObjectKey,
    /// The first listener that it is of, if it is one's.
    pub listener: Option<String>,
    /// Why, in a word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.object)?;
        if let Some(listener) = &self.listener {
            write!(f, "listener {listener}: ")?;
        }
        write!(f, "{}: {}", self.reason, self.message)
    }
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
        conditions(&mut status, Place::TOP, &mut |Place { hash: condition, .. }, fields| {
            let dated = told.dates.iter().find(|dated| dated.condition == condition);
            let since = dated.map(|dated| Value::from(&*dated.since));
            fields.insert("lastTransitionTime".to_owned(), since.unwrap_or_default());
        });
        Some(status)
    }

    /// Takes in new statuses (`None`: the object is gone), the listeners that have no socket and what else the data
    /// plane could not do. Says what holds no longer by the new statuses: once for an object and reason. What the data
    /// plane could not do is for others to tell.
    pub fn update(
        &mut self,
        told: impl IntoIterator<Item = (ObjectKey, Option<Arc<Status>>)>,
        failed: &[FailedBind],
        problems: &[PlaneProblem],
        now: &str,
    ) -> Vec<Turned> {
        let now: Arc<str> = now.into();
        let mut touched: BTreeSet<ObjectKey> = BTreeSet::new();
        touched.extend(self.overlaid_keys());
        self.failed = failed.to_vec();
        self.problems = problems.iter().filter(|problem| listener(problem).is_some()).cloned().collect();
        touched.extend(self.overlaid_keys());
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
        let overlaid: BTreeSet<ObjectKey> = self.overlaid_keys().collect();
        let mut turned = Vec::new();
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
            if matches!(key.kind, Kind::Gateway | Kind::ListenerSet) {
                turned.extend(turned_false(&key, told));
            }
            let mut dates = Vec::new();
            conditions(&mut status, Place::TOP, &mut |Place { hash: condition, .. }, fields| {
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
        turned
    }

    /// The objects whose statuses say more than translation said.
    fn overlaid_keys(&self) -> impl Iterator<Item = ObjectKey> {
        let listeners = self.failed.iter().map(|failed| &failed.listener);
        listeners.chain(self.problems.iter().filter_map(listener)).filter_map(|key| Some(owner(key)?.0))
    }

    /// What translation said, and what only running can tell.
    fn overlaid(&self, key: &ObjectKey, status: &Status) -> Value {
        let mut status = value_of(status);
        for problem in &self.problems {
            if let Some((owner, listener)) = listener(problem).and_then(owner)
                && owner == *key
            {
                mark_problem(&mut status, listener, problem);
            }
        }
        for failed in &self.failed {
            if let Some((owner, listener)) = owner(&failed.listener)
                && owner == *key
            {
                mark_unbound(&mut status, listener, failed);
            }
        }
        status
    }
}

/// The listener that a problem is of.
fn listener(problem: &PlaneProblem) -> Option<&ListenerKey> {
    match &problem.resource {
        Some(ResourceKey::Listener(key)) => Some(key),
        _ => None,
    }
}

fn value_of(status: &Status) -> Value {
    serde_json::to_value(status).expect("a status holds texts, numbers, lists and maps of texts")
}

/// What held before, or was not there, and is false now by what translation said: the first of each reason.
fn turned_false(key: &ObjectKey, told: &Told) -> Vec<Turned> {
    let mut turned: Vec<Turned> = Vec::new();
    conditions(&mut value_of(&told.status), Place::TOP, &mut |place, fields| {
        let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
        let was = told.dates.iter().find(|dated| dated.condition == place.hash).map(|dated| dated.status);
        let reason = text("reason");
        // Of others, `False` is the good one.
        let good = matches!(text("type"), "Accepted" | "Programmed" | "ResolvedRefs");
        if good
            && text("status") == "False"
            && was != Some(b'F')
            && turned.iter().all(|told| told.reason != reason)
        {
            turned.push(Turned {
                object: key.clone(),
                listener: place.name.map(str::to_owned),
                reason: reason.to_owned(),
                message: text("message").to_owned(),
            });
        }
    });
    turned
}

/// The object that a listener belongs to, and its name there: keys read `Gateway/namespace/name/listener`.
fn owner(listener: &ListenerKey) -> Option<(ObjectKey, &str)> {
    let mut parts = listener.as_str().splitn(4, '/');
    let kind = match parts.next()? {
        "Gateway" => Kind::Gateway,
        "ListenerSet" => Kind::ListenerSet,
        _ => return None,
    };
    let (namespace, name, listener) = (parts.next()?, parts.next()?, parts.next()?);
    Some((ObjectKey::new(kind, namespace, name), listener))
}

fn mark_unbound(status: &mut Value, listener: &str, failed: &FailedBind) {
    let message = format!("port {} cannot be bound: {}", failed.bind.port, failed.reason);
    mark_false(status, listener, &message, &[("Accepted", "PortUnavailable"), ("Programmed", "Invalid")]);
}

fn mark_problem(status: &mut Value, listener: &str, problem: &PlaneProblem) {
    let unresolved = problem.certificate.as_ref().map(|_| ("ResolvedRefs", "InvalidCertificateRef"));
    let silent = (!problem.serves).then_some(("Programmed", "Invalid"));
    let marks: Vec<_> = unresolved.into_iter().chain(silent).collect();
    mark_false(status, listener, &problem.reason, &marks);
}

/// Makes conditions of a listener false, each for its reason. What is false for that reason already keeps its message.
fn mark_false(status: &mut Value, listener: &str, message: &str, marks: &[(&str, &str)]) {
    let listeners = status.get_mut("listeners").and_then(Value::as_array_mut);
    let named = |entry: &&mut Value| entry.get("name").and_then(Value::as_str) == Some(listener);
    let Some(entry) = listeners.and_then(|listeners| listeners.iter_mut().find(named)) else { return };
    let conditions = entry.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let kind = condition.get("type").and_then(Value::as_str);
        let Some((_, reason)) = marks.iter().find(|(mark, _)| Some(*mark) == kind) else { continue };
        if condition["status"] == "False" && condition["reason"] == *reason {
            continue;
        }
        condition["status"] = json!("False");
        condition["reason"] = json!(reason);
        condition["message"] = json!(message);
    }
}

/// Where a condition stands.
#[derive(Clone, Copy)]
struct Place<'n> {
    /// Of where it stands and what it is.
    hash: u64,
    /// What the part that it is of is named, if it is: a listener.
    name: Option<&'n str>,
}

impl Place<'_> {
    const TOP: Place<'static> = Place { hash: 0, name: None };
}

/// Visits every condition of a status.
fn conditions(
    status: &mut Value,
    place: Place<'_>,
    visit: &mut impl FnMut(Place<'_>, &mut Map<String, Value>),
) {
    match status {
        Value::Array(items) => {
            for item in items {
                // Lists of a status are keyed by what their items are about, not by position.
                let about = IDENTITY.map(|field| item.get(field).cloned());
                let hash = hash(&(place.hash, &about));
                let [_, name, ..] = &about;
                conditions(
                    item,
                    Place { hash, name: name.as_ref().and_then(Value::as_str).or(place.name) },
                    visit,
                );
            }
        }
        Value::Object(fields) if fields.contains_key("type") && fields.contains_key("status") => {
            visit(place, fields);
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                conditions(value, Place { hash: hash(&(place.hash, field)), ..place }, visit);
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
        statuses.update(gateway("True"), &[], &[], "first");
        statuses.update(gateway("False"), &[], &[], "second");
        statuses.update(gateway("False"), &[], &[], "third");
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
        statuses.update(gateway("True"), std::slice::from_ref(&failed), &[], "first");
        assert_eq!(field(&statuses, "/listeners/0/conditions/0/reason"), "PortUnavailable");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/status"), "False");
        assert_eq!(
            field(&statuses, "/listeners/0/conditions/1/message"),
            "port 80 cannot be bound: address in use"
        );
        assert_eq!(field(&statuses, "/listeners/1/conditions/0/status"), "True");

        statuses.update(vec![], &[failed], &[], "second");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/lastTransitionTime"), "first");
        statuses.update(vec![], &[], &[], "third");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/status"), "True");
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/lastTransitionTime"), "third");
    }

    fn certificate(listener: &str, why: &str, serves: bool) -> PlaneProblem {
        PlaneProblem {
            resource: Some(ResourceKey::Listener(ListenerKey::new(format!("Gateway/ns/g/{listener}")))),
            reason: why.to_owned(),
            certificate: Some(ringway_config::CertificateKey::new("Secret/ns/shop")),
            serves,
        }
    }

    #[test]
    fn a_listener_whose_certificate_tls_refuses_says_so_until_it_has_a_good_one() {
        let mut gateway = gateway("True");
        let mut statuses = Statuses::default();
        let resolved = json!({"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs"});
        let mut value = value_of(gateway[0].1.as_ref().unwrap());
        value["listeners"][1]["conditions"].as_array_mut().unwrap().push(resolved);
        gateway[0].1 = Some(Arc::new(Status::Gateway(serde_json::from_value(value).unwrap())));

        let none = PlaneProblem { certificate: None, ..certificate("tls", "no certificate", false) };
        let problems = [certificate("tls", "another's key", false), none];
        let turned = statuses.update(gateway, &[], &problems, "first");
        assert_eq!(turned, [], "the problem itself is told");
        let shown = |statuses: &Statuses, condition: usize| {
            ["status", "reason", "message"].map(|name| {
                let conditions = field(statuses, &format!("/listeners/1/conditions/{condition}"));
                conditions[name].as_str().unwrap_or_default().to_owned()
            })
        };
        assert_eq!(shown(&statuses, 0), ["False", "Invalid", "another's key"]);
        assert_eq!(shown(&statuses, 1), ["False", "InvalidCertificateRef", "another's key"]);
        assert_eq!(field(&statuses, "/listeners/0/conditions/1/status"), "True", "the other listener's");

        statuses.update([], &[], &[certificate("tls", "the last one is used", true)], "second");
        assert_eq!(shown(&statuses, 0)[0], "True", "it serves");
        assert_eq!(shown(&statuses, 1), ["False", "InvalidCertificateRef", "the last one is used"]);
        statuses.update([], &[], &[], "third");
        assert_eq!([&shown(&statuses, 0)[0], &shown(&statuses, 1)[0]], ["True", "True"]);
    }

    #[test]
    fn what_holds_no_longer_is_told_once_for_a_reason() {
        let mut statuses = Statuses::default();
        let mut told = |programmed: &str, now| statuses.update(gateway(programmed), &[], &[], now);
        assert_eq!(told("True", "first"), []);
        let turned = told("False", "second");
        assert_eq!(turned.len(), 1, "{turned:?}");
        assert_eq!(turned[0].to_string(), "Gateway/ns/g: listener web: Programmed: ");
        assert_eq!(told("False", "third"), [], "for as long as it lasts");
        assert_eq!(told("True", "fourth"), []);
        assert_eq!(told("False", "fifth").len(), 1);
    }

    #[test]
    fn the_status_of_a_removed_object_is_gone() {
        let mut statuses = Statuses::default();
        statuses.update(gateway("True"), &[], &[], "first");
        statuses.update(vec![(ObjectKey::new(Kind::Gateway, "ns", "g"), None)], &[], &[], "second");
        assert_eq!(statuses.keys().count(), 0);
    }
}
