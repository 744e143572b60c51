//! How objects fit together: what translation said of them in their statuses, as findings with places.
//!
//! Nothing is judged here a second time, so that findings and statuses cannot disagree. Only what has no
//! status, because it is nobody's (a parent that does not exist, a class of others), is looked up among the
//! documents.

mod conditions;
mod hints;
mod sentences;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::code::Code;
use super::finding::{self, Finding};
use crate::manifest::Document;
use crate::objects::{Kind, ObjectKey, ParentReference, RouteStatus};
use conditions::{backend, class, gateway, listener_set, policy, refined, route_told};
use hints::hinted;
use sentences::{sentences, within};

/// What the statuses of these documents, as translation made them, have to say. The documents are
/// [`admitted`], so that defaults and namespaces are filled in; `remarks` are what translation said of
/// objects without status.
///
/// [`admitted`]: super::admit
pub fn lint<'s>(
    documents: &[Document],
    statuses: &BTreeMap<ObjectKey, Value>,
    remarks: impl IntoIterator<Item = (&'s ObjectKey, &'s str)>,
) -> Vec<Finding> {
    let documents: BTreeMap<ObjectKey, &Document> =
        documents.iter().filter_map(|document| Some((key(document)?, document))).collect();
    let mut lint = Lint { documents: &documents, told: BTreeSet::new(), findings: Vec::new() };
    for (key, document) in &documents {
        lint.object(key, document, statuses.get(key));
    }
    for (key, message) in remarks {
        if let Some(document) = documents.get(key) {
            lint.tell(
                document,
                &[Told { code: Code::Remark, at: String::new(), message: message.to_owned() }],
            );
        }
    }
    finding::sort(&mut lint.findings);
    lint.findings
}

struct Lint<'d> {
    documents: &'d BTreeMap<ObjectKey, &'d Document>,
    /// A route says the same of its backends to every parent; once is enough.
    told: BTreeSet<(ObjectKey, Code, String, String)>,
    findings: Vec<Finding>,
}

/// One problem of an object.
struct Told {
    code: Code,
    /// The field that it is about, if the message names none.
    at: String,
    message: String,
}

impl Lint<'_> {
    fn object(&mut self, key: &ObjectKey, document: &Document, status: Option<&Value>) {
        let told = match key.kind {
            Kind::GatewayClass => of(status).map_or(vec![], class),
            Kind::Gateway => of(status)
                .map_or_else(|| self.gateway_of_others(document), |status| gateway(&status, document)),
            Kind::ListenerSet => match of(status) {
                Some(status) => listener_set(&status, document),
                None => vec![self.parent_of_others(key, document, "/spec/parentRef", "spec.parentRef")],
            },
            Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute | Kind::UDPRoute => {
                self.route(key, document, &of(status).unwrap_or_default())
            }
            Kind::BackendTLSPolicy => {
                of(status).map_or_else(|| self.idle_policy(key, document), |status| policy(&status))
            }
            Kind::XBackend => match of(status) {
                Some(status) => backend(&status),
                None => vec![told(Code::BackendIdle, "", "no route leads here")],
            },
            _ => vec![],
        };
        self.tell(document, &told);
    }

    fn tell(&mut self, document: &Document, told: &[Told]) {
        let Some(key) = key(document) else { return };
        for Told { code, at, message } in told {
            for (field, sentence) in sentences(message) {
                let field = field.map_or_else(|| at.clone(), |field| within(at, &field));
                let code = refined(*code, &field, &sentence);
                if self.told.insert((key.clone(), code, field.clone(), sentence.clone())) {
                    let (sentence, hint) = hinted(code, sentence);
                    self.findings.push(Finding::new(code, document, field, sentence, hint));
                }
            }
        }
    }

    fn exists(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.documents.contains_key(&ObjectKey::new(kind, namespace, name))
    }

    fn gateway_of_others(&self, document: &Document) -> Vec<Told> {
        let class =
            document.value.pointer("/spec/gatewayClassName").and_then(Value::as_str).unwrap_or_default();
        let at = "spec.gatewayClassName";
        vec![match self.exists(Kind::GatewayClass, "", class) {
            true => told(Code::GatewayNotServed, at, format!("GatewayClass {class} is another controller's")),
            false => told(Code::ClassMissing, at, format!("GatewayClass {class} not found")),
        }]
    }

    fn route(&self, key: &ObjectKey, document: &Document, status: &RouteStatus) -> Vec<Told> {
        let parents = document.value.pointer("/spec/parentRefs").and_then(Value::as_array);
        let parents = parents.map_or(&[][..], Vec::as_slice);
        let mut all = vec![];
        for (index, parent) in parents.iter().enumerate() {
            let at = format!("spec.parentRefs[{index}]");
            let wanted = reference(parent);
            let entry = status.parents.iter().find(|entry| same(&entry.parent_ref, &wanted));
            match entry {
                Some(entry) => {
                    all.extend(entry.conditions.iter().filter_map(|condition| route_told(condition, &at)))
                }
                None => {
                    all.push(self.parent_of_others(key, document, &format!("/spec/parentRefs/{index}"), &at))
                }
            }
        }
        all
    }

    /// A parent that said nothing: it does not exist, or is not ours.
    fn parent_of_others(&self, key: &ObjectKey, document: &Document, pointer: &str, at: &str) -> Told {
        let parent = document.value.pointer(pointer).map(reference).unwrap_or_default();
        let namespace = parent.namespace.as_deref().unwrap_or(&key.namespace);
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        let group = parent.group.as_deref().unwrap_or(Kind::Gateway.group());
        let known = Kind::ALL.iter().find(|known| known.as_str() == kind && known.group() == group);
        match known {
            Some(known) if self.exists(*known, namespace, &parent.name) => told(
                Code::ParentNotServed,
                at,
                format!("{kind} {namespace}/{} is not served by ringway", parent.name),
            ),
            Some(Kind::Gateway | Kind::ListenerSet) => {
                told(Code::ParentMissing, at, format!("{kind} {namespace}/{} not found", parent.name))
            }
            _ => told(
                Code::ParentNotServed,
                at,
                format!("{kind} of group {group:?} is no parent that ringway serves"),
            ),
        }
    }

    fn idle_policy(&self, key: &ObjectKey, document: &Document) -> Vec<Told> {
        let targets = document.value.pointer("/spec/targetRefs").and_then(Value::as_array);
        let text = |target: &Value, field: &str| {
            target.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let missing: Vec<Told> = targets
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|(_, target)| text(target, "group").is_empty() && text(target, "kind") == "Service")
            .filter(|(_, target)| !self.exists(Kind::Service, &key.namespace, &text(target, "name")))
            .map(|(index, target)| {
                let message = format!("Service {}/{} not found", key.namespace, text(target, "name"));
                told(Code::TargetMissing, format!("spec.targetRefs[{index}]"), message)
            })
            .collect();
        match missing.is_empty() {
            true => {
                vec![told(Code::PolicyIdle, "spec.targetRefs", "no route of ringway's leads to its targets")]
            }
            false => missing,
        }
    }
}
fn told(code: Code, at: impl Into<String>, message: impl Into<String>) -> Told {
    Told { code, at: at.into(), message: message.into() }
}

fn of<T: DeserializeOwned>(status: Option<&Value>) -> Option<T> {
    T::deserialize(status?).ok()
}

fn reference(value: &Value) -> ParentReference {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// Whether two references name the same part of the same parent, defaults aside.
fn same(a: &ParentReference, b: &ParentReference) -> bool {
    let kind = |reference: &ParentReference| {
        let group = reference.group.clone().unwrap_or_else(|| Kind::Gateway.group().to_owned());
        (group, reference.kind.clone().unwrap_or_else(|| "Gateway".to_owned()))
    };
    let rest = |reference: &ParentReference| {
        (reference.name.clone(), reference.namespace.clone(), reference.section_name.clone(), reference.port)
    };
    kind(a) == kind(b) && rest(a) == rest(b)
}

/// The name of a document's object; `None`: a kind that is not read.
pub(super) fn key(document: &Document) -> Option<ObjectKey> {
    let text = |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str);
    let kind = Kind::of(text("/apiVersion")?, text("/kind")?)?;
    Some(ObjectKey::new(kind, text("/metadata/namespace").unwrap_or("default"), text("/metadata/name")?))
}
