//! Whether a status must be written, and what it is then. Pure: the time is an argument.
//!
//! Only what is ours is touched: entries of this controller, and the conditions that this controller makes. What is
//! equal is not written again; a date changes with its condition's status alone; what a newer generation said is never
//! replaced by what an older one says (checklist S2 to S6, S10).

use ringway_gateway_api::objects::Kind;
use serde_json::{Map, Value, json};

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// These fields, by server-side apply: conditions of others stay.
    Apply(Value),
    /// The whole list of that name. It is atomic, so it must be written against the state that was read.
    List(&'static str, Vec<Value>),
}

/// The conditions that we make. One of them that is not wanted any more goes; others belong to somebody else.
const CONDITIONS: &[&str] = &[
    "Accepted",
    "Programmed",
    "ResolvedRefs",
    "Conflicted",
    "OverlappingTLSConfig",
    "InsecureFrontendValidationMode",
    "PartiallyInvalid",
    "SupportedVersion",
];

/// The longest message that a condition may have.
const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// What to write so that an object that has the status `live` has the one that is wanted; `None`: nothing. Nothing is
/// wanted (`None`) where this controller has nothing to say.
pub fn plan(kind: Kind, controller: &str, wanted: Option<&Value>, live: &Value, now: &str) -> Option<Write> {
    match kind {
        Kind::GatewayClass | Kind::Gateway | Kind::ListenerSet => apply(wanted?, live, now),
        // The API allows so many entries.
        Kind::BackendTLSPolicy => list("ancestors", "ancestorRef", 16, controller, wanted, live, now),
        _ => list("parents", "parentRef", 32, controller, wanted, live, now),
    }
}

/// Whether a status holds anything of this controller's in a list that others write as well.
pub fn is_ours(kind: Kind, controller: &str, live: &Value) -> bool {
    let field = if kind == Kind::BackendTLSPolicy { "ancestors" } else { "parents" };
    items(live, field).any(|entry| entry["controllerName"] == controller)
}

fn apply(wanted: &Value, live: &Value, now: &str) -> Option<Write> {
    let mut status = wanted.clone();
    let mut verdict = Verdict::default();
    settle(&mut status, live, now, &mut verdict);
    for listener in status.get_mut("listeners").and_then(Value::as_array_mut).into_iter().flatten() {
        let before = items(live, "listeners").find(|before| before["name"] == listener["name"]);
        settle(listener, before.unwrap_or(&Value::Null), now, &mut verdict);
    }
    verdict.changed |= count(&status, "listeners") != count(live, "listeners");
    for field in ["addresses", "supportedFeatures", "attachedListenerSets"] {
        verdict.changed |= field_or_empty(&status, field) != field_or_empty(live, field);
    }
    (verdict.changed && !verdict.stale).then_some(Write::Apply(status))
}

fn list(
    field: &'static str,
    about: &str,
    entries_max: usize,
    controller: &str,
    wanted: Option<&Value>,
    live: &Value,
    now: &str,
) -> Option<Write> {
    let is_own = |entry: &&Value| entry["controllerName"] == controller;
    let own: Vec<&Value> = items(live, field).filter(is_own).collect();
    let foreign: Vec<&Value> = items(live, field).filter(|entry| !is_own(entry)).collect();
    let mut entries: Vec<Value> =
        wanted.into_iter().flat_map(|wanted| items(wanted, field)).cloned().collect();
    entries.truncate(entries_max.saturating_sub(foreign.len()));
    let mut verdict = Verdict { changed: entries.len() != own.len(), stale: false };
    for (index, entry) in entries.iter_mut().enumerate() {
        let reference = defaulted(&entry[about]);
        let same = |before: &&Value| defaulted(&before[about]) == reference;
        verdict.changed |= !own.get(index).is_some_and(same);
        let before = own.iter().copied().find(|before| same(before)).unwrap_or(&Value::Null);
        settle(entry, before, now, &mut verdict);
    }
    if !verdict.changed || verdict.stale {
        return None;
    }
    Some(Write::List(field, foreign.into_iter().cloned().chain(entries).collect()))
}

/// What comparing a status with what stands there yields.
#[derive(Default)]
struct Verdict {
    changed: bool,
    /// What stands there is about a newer generation than ours.
    stale: bool,
}

/// Dates the conditions of a wanted status, listener or entry by those that stand there, and compares.
fn settle(wanted: &mut Value, live: &Value, now: &str, verdict: &mut Verdict) {
    let conditions = wanted.get_mut("conditions").and_then(Value::as_array_mut);
    let mut kinds = Vec::new();
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        cut(condition);
        let before = items(live, "conditions").find(|before| before["type"] == condition["type"]);
        let since = before.filter(|before| before["status"] == condition["status"]);
        let since = since.and_then(|before| before.get("lastTransitionTime")).cloned();
        let generation = |of: Option<&Value>| of.and_then(Value::as_i64).unwrap_or_default();
        let ours = generation(condition.get("observedGeneration"));
        let theirs = generation(before.and_then(|before| before.get("observedGeneration")));
        verdict.stale |= theirs > ours;
        condition.insert("lastTransitionTime".to_owned(), since.unwrap_or_else(|| json!(now)));
        verdict.changed |= before.and_then(Value::as_object) != Some(condition);
        kinds.extend(condition.get("type").cloned());
    }
    let dropped = |before: &Value| {
        let kind = before["type"].as_str().unwrap_or_default();
        CONDITIONS.contains(&kind) && !kinds.contains(&before["type"])
    };
    verdict.changed |= items(live, "conditions").any(dropped);
    for field in ["supportedKinds", "attachedRoutes"] {
        verdict.changed |= field_or_empty(wanted, field) != field_or_empty(live, field);
    }
}

fn cut(condition: &mut Map<String, Value>) {
    if let Some(Value::String(message)) = condition.get_mut("message")
        && message.len() > MESSAGE_BYTES_MAX
    {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - 3));
        message.push_str("...");
    }
}

/// A reference with what the API server fills in.
fn defaulted(reference: &Value) -> Value {
    let mut reference = reference.clone();
    if let Some(fields) = reference.as_object_mut() {
        fields.entry("group").or_insert_with(|| json!("gateway.networking.k8s.io"));
        fields.entry("kind").or_insert_with(|| json!("Gateway"));
    }
    reference
}

fn items<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn count(value: &Value, field: &str) -> usize {
    items(value, field).count()
}

/// A field; an absent one, an empty list and zero are the same to the API server.
fn field_or_empty<'v>(value: &'v Value, field: &str) -> Option<&'v Value> {
    let found = value.get(field)?;
    let empty = match found {
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        other => other.is_null(),
    };
    (!empty).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "ringway.dev/gateway-controller";

    fn condition(kind: &str, status: &str, generation: i64) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": "m", "observedGeneration": generation})
    }

    fn dated(mut condition: Value, since: &str) -> Value {
        condition["lastTransitionTime"] = json!(since);
        condition
    }

    fn entry(controller: &str, gateway: &str, condition: Value) -> Value {
        json!({
            "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway},
            "controllerName": controller, "conditions": [condition],
        })
    }

    fn route(wanted: Option<&Value>, live: &Value) -> Option<Vec<Value>> {
        match plan(Kind::HTTPRoute, OURS, wanted, live, "now")? {
            Write::List("parents", entries) => Some(entries),
            other => panic!("{other:?}"),
        }
    }

    fn gateway(wanted: &Value, live: &Value) -> Option<Value> {
        match plan(Kind::Gateway, OURS, Some(wanted), live, "now")? {
            Write::Apply(status) => Some(status),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn entries_of_others_stay_and_ours_are_replaced() {
        let foreign = entry("other", "g", dated(condition("Accepted", "True", 1), "then"));
        let wanted = json!({"parents": [entry(OURS, "g", condition("Accepted", "True", 2))]});
        let written = route(Some(&wanted), &json!({"parents": [foreign.clone()]})).unwrap();
        let ours = entry(OURS, "g", dated(condition("Accepted", "True", 2), "now"));
        assert_eq!(written, [foreign.clone(), ours.clone()]);

        let live = json!({"parents": [ours, foreign.clone()]});
        assert_eq!(route(Some(&wanted), &live), None, "equal: nothing is written, in whatever order");
        assert_eq!(route(None, &live), Some(vec![foreign.clone()]), "nothing to say: ours goes");
        assert_eq!(route(None, &json!({"parents": [foreign]})), None);
        assert_eq!(route(None, &Value::Null), None);
    }

    #[test]
    fn a_date_changes_with_the_status_alone() {
        let live = json!({"parents": [entry(OURS, "g", dated(condition("Accepted", "True", 1), "then"))]});
        let date = |status: &str| {
            let wanted = json!({"parents": [entry(OURS, "g", condition("Accepted", status, 2))]});
            route(Some(&wanted), &live).unwrap()[0]["conditions"][0]["lastTransitionTime"].clone()
        };
        assert_eq!(date("True"), "then");
        assert_eq!(date("False"), "now");
    }

    #[test]
    fn what_a_newer_generation_said_is_not_replaced() {
        let live = json!({"parents": [entry(OURS, "g", dated(condition("Accepted", "True", 3), "then"))]});
        let wanted = json!({"parents": [entry(OURS, "g", condition("Accepted", "False", 2))]});
        assert_eq!(route(Some(&wanted), &live), None);
        let live = json!({"conditions": [dated(condition("Accepted", "True", 3), "then")]});
        assert_eq!(gateway(&json!({"conditions": [condition("Accepted", "False", 2)]}), &live), None);
    }

    #[test]
    fn there_is_room_for_so_many_entries_only() {
        let foreign: Vec<Value> =
            (0..31).map(|at| entry("other", &format!("g{at}"), condition("Accepted", "True", 1))).collect();
        let ours = |name| entry(OURS, name, condition("Accepted", "True", 1));
        let wanted = json!({"parents": [ours("a"), ours("b")]});
        assert_eq!(route(Some(&wanted), &json!({"parents": foreign})).unwrap().len(), 32);
    }

    #[test]
    fn conditions_of_others_are_no_reason_to_write_and_stale_ones_of_ours_are() {
        let wanted = json!({"addresses": [], "attachedListenerSets": 0, "conditions": [condition("Accepted", "True", 1)]});
        let live = |kind: &str| {
            json!({"conditions": [
                dated(condition("Accepted", "True", 1), "then"), dated(condition(kind, "True", 1), "then"),
            ]})
        };
        assert_eq!(gateway(&wanted, &live("example.com/Monitored")), None);
        let written = gateway(&wanted, &live("ResolvedRefs")).unwrap();
        assert_eq!(written["conditions"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn each_listener_is_compared_by_its_name() {
        let listener = |name: &str, routes: i64| json!({"name": name, "attachedRoutes": routes, "conditions": [condition("Programmed", "True", 1)]});
        let live = |listeners: Vec<Value>| {
            let mut status = json!({"listeners": listeners});
            for listener in status["listeners"].as_array_mut().unwrap() {
                listener["conditions"][0]["lastTransitionTime"] = json!("then");
            }
            status
        };
        let wanted = json!({"listeners": [listener("a", 0), listener("b", 2)]});
        assert_eq!(gateway(&wanted, &live(vec![listener("b", 2), listener("a", 0)])), None);
        let written = gateway(&wanted, &live(vec![listener("a", 0), listener("b", 1)])).unwrap();
        assert_eq!(written["listeners"][1]["conditions"][0]["lastTransitionTime"], "then");
        assert!(
            gateway(&wanted, &live(vec![listener("a", 0), listener("b", 2), listener("c", 0)])).is_some()
        );
    }

    #[test]
    fn a_message_fits() {
        let mut long = condition("Accepted", "True", 1);
        long["message"] = json!("ä".repeat(40_000));
        let written = gateway(&json!({"conditions": [long]}), &Value::Null).unwrap();
        assert!(written["conditions"][0]["message"].as_str().unwrap().len() <= MESSAGE_BYTES_MAX);
    }
}
