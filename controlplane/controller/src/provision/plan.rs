//! What is to be done so that there is what there should be. Pure: equal things are left alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use twox_hash::XxHash3_64;

use super::labels::MANAGED_BY;
use super::objects::{Made, Objects};

/// The annotation with a hash of what was applied: by it a field that is no longer asked for is noticed.
const APPLIED: &str = "ringway.dev/applied";

/// What is there: the objects in a Gateway's namespace that are labelled as made for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live(BTreeMap<(Made, String), Value>);

impl Live {
    /// Takes an object in; one without a name is none.
    pub fn insert(&mut self, made: Made, object: Value) {
        if let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str) {
            self.0.insert((made, name.to_owned()), object);
        }
    }

    /// An object.
    pub fn get(&self, made: Made, name: &str) -> Option<&Value> {
        self.0.get(&(made, name.to_owned()))
    }

    /// The objects of a kind, by name.
    pub fn of(&self, made: Made) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |((kind, _), _)| *kind == made).map(|(_, object)| object)
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Apply an object.
    Apply {
        /// Its kind.
        made: Made,
        /// Its name.
        name: String,
        /// All that is said about it.
        document: Value,
        /// It was seen to be the Gateway's. If not, that is looked up before it is touched.
        ours: bool,
    },
    /// Delete an object of the Gateway that should not be there any more.
    Delete {
        /// Its kind.
        made: Made,
        /// Its name.
        name: String,
        /// Its UID, so that nothing else of the name is deleted.
        uid: String,
    },
    /// Leave an object alone that is somebody else's, and say so.
    Refuse {
        /// Its kind.
        made: Made,
        /// Its name.
        name: String,
        /// Whose it is.
        message: String,
    },
}

/// What is to be done about what there is.
pub fn plan(desired: &Objects, live: &Live) -> Vec<Step> {
    let uid = &*desired.owner.uid;
    let mut steps = vec![];
    let mut wanted = vec![];
    for (made, mut document) in desired.documents() {
        let name = text(&document, "/metadata/name").to_owned();
        document["metadata"]["annotations"][APPLIED] = json!(hash(&document));
        match live.get(made, &name) {
            None => steps.push(Step::Apply { made, name: name.clone(), document, ours: false }),
            Some(there) => match foreign(there, uid) {
                Some(message) => steps.push(Step::Refuse { made, name: name.clone(), message }),
                None => {
                    keep_replicas(made, &mut document, there);
                    if !contains(there, &document) {
                        steps.push(Step::Apply { made, name: name.clone(), document, ours: true });
                    }
                }
            },
        }
        wanted.push((made, name));
    }
    let left = live.0.iter().filter(|(key, there)| !wanted.contains(key) && foreign(there, uid).is_none());
    let deletes = left.map(|((made, name), there)| Step::Delete {
        made: *made,
        name: name.clone(),
        uid: text(there, "/metadata/uid").to_owned(),
    });
    steps.extend(deletes);
    steps
}

/// Whose an object is, if not the Gateway's of this UID.
pub(super) fn foreign(object: &Value, uid: &str) -> Option<String> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == json!(true));
    match controller {
        Some(owner) if owner["uid"] == json!(uid) => None,
        Some(owner) => Some(format!(
            "it belongs to {} {} ({})",
            text(owner, "/kind"),
            text(owner, "/name"),
            text(owner, "/uid")
        )),
        None => Some("it was not made by ringway; rename it or the Gateway".to_owned()),
    }
}

/// A number of replicas that we once set and nobody changed since would fall back to 1 if we only stopped saying it:
/// it is said on until an autoscaler or a person takes it over, and from then on never again.
fn keep_replicas(made: Made, document: &mut Value, there: &Value) {
    if made != Made::Deployment || document.pointer("/spec/replicas").is_some() {
        return;
    }
    let managers = there.pointer("/metadata/managedFields").and_then(Value::as_array);
    let still_ours = managers.into_iter().flatten().any(|entry| {
        entry["manager"] == json!(MANAGED_BY)
            && entry["operation"] == json!("Apply")
            && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    });
    if let Some(replicas) = there.pointer("/spec/replicas").filter(|_| still_ours) {
        document["spec"]["replicas"] = replicas.clone();
    }
}

/// Whether everything that is said stands there. The API server adds defaults, and others may add what is theirs.
fn contains(there: &Value, said: &Value) -> bool {
    match (there, said) {
        (Value::Object(there), Value::Object(said)) => {
            said.iter().all(|(key, said)| there.get(key).is_some_and(|there| contains(there, said)))
        }
        // Lists of objects are told apart by a key in each; what is there beside is somebody else's.
        (Value::Array(there), Value::Array(said)) if said.iter().all(Value::is_object) => {
            said.iter().all(|said| there.iter().any(|there| contains(there, said)))
        }
        (there, said) => there == said,
    }
}

fn hash(document: &Value) -> String {
    // Keys are sorted, so that equal documents are equal texts.
    format!("{:016x}", XxHash3_64::oneshot(document.to_string().as_bytes()))
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ringway_gateway_api::objects::{Gateway, Parameters, RawParameters};

    use super::super::{GatewayView, Install, desired};
    use super::*;

    fn objects(parameters: Value) -> Objects {
        let gateway: Gateway = serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "ns", "uid": "u1" },
            "spec": {
                "gatewayClassName": "ringway",
                "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
            },
        }))
        .unwrap();
        let parameters: Parameters = RawParameters(parameters).read().unwrap();
        let install = Install { image: "i:1".into(), controller: "https://c:1".into(), ca: "pem".into() };
        desired(&GatewayView::of(&gateway, [].into()), &parameters, &install)
    }

    /// A cluster that does what it is told, as far as a plan can tell.
    fn carry_out(live: &mut Live, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Apply { made, document, .. } => {
                    let mut object = document.clone();
                    object["metadata"]["uid"] = json!(format!("{made:?}"));
                    // A default, as the API server adds it.
                    object["spec"]["defaulted"] = json!(true);
                    let replicas = document.pointer("/spec/replicas").map(|_| json!({ "f:replicas": {} }));
                    object["metadata"]["managedFields"] = json!([{ "manager": "ringway", "operation": "Apply", "fieldsV1": { "f:spec": replicas } }]);
                    live.insert(*made, object);
                }
                Step::Delete { made, name, .. } => drop(live.0.remove(&(*made, name.clone()))),
                Step::Refuse { .. } => {}
            }
        }
    }

    fn shown(steps: &[Step]) -> Vec<String> {
        let one = |step: &Step| match step {
            Step::Apply { made, ours, .. } => format!("{} {made:?}", if *ours { "repair" } else { "make" }),
            Step::Delete { made, .. } => format!("delete {made:?}"),
            Step::Refuse { made, message, .. } => format!("refuse {made:?}: {message}"),
        };
        steps.iter().map(one).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone_and_drift_is_repaired() {
        let mut live = Live::default();
        let desired = objects(json!({ "disruptionBudget": { "minAvailable": 1 } }));
        let first = plan(&desired, &live);
        let all = ["ServiceAccount", "ConfigMap", "Service", "Deployment", "PodDisruptionBudget"];
        assert_eq!(shown(&first), all.map(|kind| format!("make {kind}")));
        carry_out(&mut live, &first);
        assert_eq!(plan(&desired, &live), []);

        let service = live.0.get_mut(&(Made::Service, "web-ringway".into())).unwrap();
        service["spec"]["ports"][0]["targetPort"] = json!(1);
        let repair = plan(&desired, &live);
        assert_eq!(shown(&repair), ["repair Service"]);
        carry_out(&mut live, &repair);

        let without = objects(Value::Null);
        assert_eq!(shown(&plan(&without, &live)), ["delete PodDisruptionBudget"]);
    }

    #[test]
    fn a_field_that_is_not_asked_for_any_more_goes() {
        let mut live = Live::default();
        let annotated = objects(json!({ "service": { "annotations": { "a": "1" } } }));
        let first = plan(&annotated, &live);
        carry_out(&mut live, &first);
        assert_eq!(shown(&plan(&objects(Value::Null), &live)), ["repair Service"]);
    }

    #[test]
    fn what_belongs_to_others_is_not_touched() {
        let mut live = Live::default();
        live.insert(Made::Service, json!({ "metadata": { "name": "web-ringway" } }));
        let owner = json!({ "controller": true, "kind": "Gateway", "name": "web", "uid": "u0" });
        live.insert(
            Made::Deployment,
            json!({ "metadata": { "name": "web-ringway", "ownerReferences": [owner] } }),
        );
        live.insert(Made::ConfigMap, json!({ "metadata": { "name": "other" } }));
        let steps = plan(&objects(Value::Null), &live);
        assert_eq!(
            shown(&steps),
            [
                "make ServiceAccount",
                "make ConfigMap",
                "refuse Service: it was not made by ringway; rename it or the Gateway",
                "refuse Deployment: it belongs to Gateway web (u0)",
            ]
        );
    }

    #[test]
    fn replicas_are_handed_over_and_not_fought_over() {
        let mut live = Live::default();
        let first = plan(&objects(json!({ "replicas": 4 })), &live);
        carry_out(&mut live, &first);
        let scaled = objects(json!({ "autoscaling": { "minReplicas": 2, "maxReplicas": 9 } }));
        let steps = plan(&scaled, &live);
        assert_eq!(shown(&steps), ["repair Deployment", "make HorizontalPodAutoscaler"]);
        let Step::Apply { document, .. } = &steps[0] else { panic!() };
        assert_eq!(document["spec"]["replicas"], json!(4), "not back to 1");
        carry_out(&mut live, &steps);

        // The autoscaler takes the field over.
        let deployment = live.0.get_mut(&(Made::Deployment, "web-ringway".into())).unwrap();
        deployment["spec"]["replicas"] = json!(7);
        deployment["metadata"]["managedFields"] = json!([]);
        assert_eq!(plan(&scaled, &live), []);
    }
}
