//! How objects fit together: what translation said of them in their statuses, as findings with places.
//!
//! Nothing is judged here a second time, so that findings and statuses cannot disagree. Only what has no
//! status, because it is nobody's (a parent that does not exist, a class of others), is looked up among the
//! documents.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::code::Code;
use super::finding::{self, Finding};
use crate::manifest::Document;
use crate::objects::{
    Condition, GatewayClassStatus, GatewayStatus, Kind, ListenerSetStatus, ListenerStatus, ObjectKey,
    ParentReference, PolicyStatus, RouteStatus, XBackendStatus,
};

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
                    self.findings.push(Finding::new(code, document, field, sentence, None));
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
        if parents.is_empty() && document.value.pointer("/spec/useDefaultGateways").is_none() {
            return vec![told(
                Code::RouteWithoutParents,
                "spec",
                "there are no parentRefs, so nothing leads here",
            )];
        }
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

fn class(status: GatewayClassStatus) -> Vec<Told> {
    let refused = status.conditions.iter().filter(|condition| fails(condition, "Accepted"));
    refused.map(|condition| told(Code::ClassNotAccepted, "spec", &*condition.message)).collect()
}

fn gateway(status: &GatewayStatus, document: &Document) -> Vec<Told> {
    let mut all: Vec<Told> = status.conditions.iter().filter_map(gateway_told).collect();
    all.extend(listeners(&status.listeners, document));
    all
}

fn gateway_told(condition: &Condition) -> Option<Told> {
    let code = match (&*condition.kind, &*condition.status, &*condition.reason) {
        // Summaries: the listeners themselves say what is wrong.
        (_, _, "ListenersNotValid" | "ListenersNotResolved") => return None,
        ("Accepted", "True", _) => return notes(condition),
        ("Accepted", "False", "UnsupportedAddress") => Code::AddressNotUsable,
        ("Accepted", "False", _) => Code::GatewayNotAccepted,
        ("Programmed", "False", "AddressNotUsable" | "AddressNotAssigned") => Code::AddressNotUsable,
        ("ResolvedRefs", "False", _) => Code::GatewayReferenceUnresolved,
        ("InsecureFrontendValidationMode", "True", _) => Code::ClientsUnverified,
        _ => return None,
    };
    Some(told(code, "spec", &*condition.message))
}

fn listener_set(status: &ListenerSetStatus, document: &Document) -> Vec<Told> {
    let refused = status.conditions.iter().find(|condition| fails(condition, "Accepted"));
    let mut all = listeners(&status.listeners, document);
    if let Some(condition) = refused.filter(|condition| condition.reason != "ListenersNotValid") {
        all.retain(|told| told.code != Code::ListenerIdle);
        all.push(told(Code::ListenerSetRefused, "spec.parentRef", &*condition.message));
    }
    all
}

fn listeners(listeners: &[ListenerStatus], document: &Document) -> Vec<Told> {
    let written = document.value.pointer("/spec/listeners").and_then(Value::as_array);
    let written = written.map_or(&[][..], Vec::as_slice);
    let mut all = vec![];
    for listener in listeners {
        let index = written
            .iter()
            .position(|written| written.get("name").is_some_and(|name| *name == *listener.name));
        let at =
            index.map_or_else(|| "spec.listeners".to_owned(), |index| format!("spec.listeners[{index}]"));
        let before = all.len();
        all.extend(listener.conditions.iter().filter_map(|condition| listener_told(condition, &at)));
        let sound = all[before..].iter().all(|told| told.code == Code::CertificatesOverlap);
        if sound && listener.attached_routes == 0 {
            all.push(told(Code::ListenerIdle, at, "no route is attached"));
        }
    }
    all
}

fn listener_told(condition: &Condition, at: &str) -> Option<Told> {
    let code = match (&*condition.kind, &*condition.status, &*condition.reason) {
        ("Accepted", "False", "ProtocolConflict" | "HostnameConflict") => Code::ListenerConflict,
        ("Accepted", "False", "PortUnavailable") => Code::PortUnavailable,
        ("Accepted", "False", "NoValidCACertificate") => Code::AuthorityUnusable,
        ("Accepted", "False", "UnsupportedValue" | "UnsupportedProtocol") => Code::ListenerUnsupported,
        ("Accepted", "False", _) => Code::ListenerProblem,
        ("ResolvedRefs", "False", "InvalidCertificateRef") => Code::CertificateUnusable,
        ("ResolvedRefs", "False", "RefNotPermitted") => Code::ListenerGrantMissing,
        ("ResolvedRefs", "False", "InvalidCACertificateRef" | "InvalidCACertificateKind") => {
            Code::AuthorityUnusable
        }
        ("ResolvedRefs", "False", "InvalidRouteKinds") => Code::RouteKindImpossible,
        ("ResolvedRefs", "False", _) => Code::ListenerProblem,
        ("OverlappingTLSConfig", "True", _) => Code::CertificatesOverlap,
        // What else keeps a listener from being programmed is its owner's matter, and told there.
        _ => return None,
    };
    Some(told(code, at, &*condition.message))
}

fn route_told(condition: &Condition, at: &str) -> Option<Told> {
    let message = &*condition.message;
    let code = match (&*condition.kind, &*condition.status, &*condition.reason) {
        ("Accepted", "True", _) => return notes(condition),
        ("Accepted", "False", "NoMatchingParent") => Code::NoMatchingListener,
        ("Accepted", "False", "NotAllowedByListeners") => Code::NotAllowed,
        ("Accepted", "False", "NoMatchingListenerHostname") => Code::NoCommonHostname,
        ("Accepted", "False", "Conflicted") => Code::RouteConflict,
        ("Accepted", "False", "UnsupportedValue" | "IncompatibleFilters") => Code::RouteUnsupported,
        ("ResolvedRefs", "False", "BackendNotFound") => Code::BackendMissing,
        ("ResolvedRefs", "False", "RefNotPermitted") => Code::GrantMissing,
        ("ResolvedRefs", "False", "InvalidKind") => Code::BackendKindUnknown,
        ("ResolvedRefs", "False", "UnsupportedProtocol") => Code::BackendProtocol,
        ("Accepted" | "ResolvedRefs", "False", _) => Code::RouteProblem,
        ("PartiallyInvalid", "True", _) => {
            let message = message.strip_prefix("Dropped Rule: ").unwrap_or(message);
            return Some(told(Code::RuleDropped, "spec.rules", message));
        }
        _ => return None,
    };
    Some(told(code, at, message))
}

fn policy(status: &PolicyStatus) -> Vec<Told> {
    let conditions = status.ancestors.iter().flat_map(|ancestor| &ancestor.conditions);
    let failing = conditions.filter(|condition| condition.status == "False");
    let code = |condition: &Condition| match &*condition.reason {
        "TargetNotFound" => Code::TargetMissing,
        "Conflicted" => Code::PolicyConflict,
        "NoValidCACertificate" | "InvalidCACertificateRef" => Code::PolicyAuthority,
        _ => Code::PolicyProblem,
    };
    failing.map(|condition| told(code(condition), "spec", &*condition.message)).collect()
}

fn backend(status: &XBackendStatus) -> Vec<Told> {
    let conditions = status.parents.iter().flat_map(|parent| &parent.conditions);
    let failing = conditions.filter(|condition| condition.status == "False");
    failing.map(|condition| told(Code::BackendProblem, "spec", &*condition.message)).collect()
}

/// What an accepted object is told all the same: of annotations that are not understood.
fn notes(condition: &Condition) -> Option<Told> {
    let start = condition.message.find("metadata.annotations")?;
    Some(told(Code::NotUnderstood, "metadata", &condition.message[start..]))
}

/// One condition may stand for several problems, and has the reason of the first. They are mended differently, so each is
/// told apart by its field and by what is said of it.
fn refined(code: Code, field: &str, sentence: &str) -> Code {
    use Code::*;
    let says = |part: &str| sentence.contains(part);
    match code {
        BackendMissing | GrantMissing | BackendKindUnknown | BackendProtocol => match () {
            () if says("no ReferenceGrant") => GrantMissing,
            () if says("of type ExternalName") => ExternalNameRefused,
            () if says("is no kind of") => BackendKindUnknown,
            () if says("not found") || says(" has no ") => BackendMissing,
            () if says("rotocol") => BackendProtocol,
            () => code,
        },
        CertificateUnusable | ListenerGrantMissing | AuthorityUnusable | RouteKindImpossible => match () {
            () if says("no ReferenceGrant") => ListenerGrantMissing,
            () if field.contains("allowedRoutes") => RouteKindImpossible,
            () if field.contains("caCertificateRefs") => AuthorityUnusable,
            () if field.contains("certificateRefs") => CertificateUnusable,
            () => code,
        },
        other => other,
    }
}

/// The sentences of a message, each with the field that it begins with: `spec.rules[0]: what is wrong;
/// spec.rules[1]: …`.
fn sentences(message: &str) -> Vec<(Option<String>, String)> {
    let mut all: Vec<(Option<String>, String)> = vec![];
    for part in message.split("; ") {
        match (field_of(part), all.last_mut()) {
            (Some((field, sentence)), _) => all.push((Some(field), sentence.to_owned())),
            (None, Some((_, sentence))) => {
                sentence.push_str("; ");
                sentence.push_str(part);
            }
            (None, None) => all.push((None, part.to_owned())),
        }
    }
    all
}

fn field_of(part: &str) -> Option<(String, &str)> {
    let (field, sentence) = part.split_once(": ")?;
    let path = field.starts_with(|first: char| first.is_ascii_lowercase())
        && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._[]-/".contains(&byte));
    if !path {
        return None;
    }
    // An annotation is named by its key.
    match sentence.split_once(": ") {
        Some((key, sentence)) if field == "metadata.annotations" && !key.contains(' ') => {
            Some((format!("{field}[\"{key}\"]"), sentence))
        }
        _ => Some((field.to_owned(), sentence)),
    }
}

/// A field that a listener names from itself is found from the object.
fn within(at: &str, field: &str) -> String {
    let root = field.split(['.', '[']).next();
    let absolute = matches!(root, Some("spec" | "metadata"));
    if absolute || at.is_empty() { field.to_owned() } else { format!("{at}.{field}") }
}

fn told(code: Code, at: impl Into<String>, message: impl Into<String>) -> Told {
    Told { code, at: at.into(), message: message.into() }
}

fn fails(condition: &Condition, kind: &str) -> bool {
    condition.kind == kind && condition.status == "False"
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

fn key(document: &Document) -> Option<ObjectKey> {
    let text = |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str);
    let kind = Kind::of(text("/apiVersion")?, text("/kind")?)?;
    Some(ObjectKey::new(kind, text("/metadata/namespace").unwrap_or("default"), text("/metadata/name")?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::admit;
    use super::*;
    use crate::manifest::parse;
    use crate::translate::{Options, Status, Translator};
    use crate::world::Changes;

    const WORLD: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: ringway
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - name: https
    port: 443
    protocol: HTTPS
    tls:
      certificateRefs:
      - name: cert
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs:
  - {name: edge, sectionName: http}
  - {name: other}
  rules:
  - backendRefs:
    - {name: a, port: 80}
    - {name: b, namespace: shop, port: 80}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: tls}
spec:
  targetRefs: [{group: '', kind: Service, name: a}]
  validation: {hostname: example.com, wellKnownCACertificates: System}
";

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    }

    fn shown(text: &str, statuses: impl IntoIterator<Item = (Kind, &'static str, Value)>) -> Vec<String> {
        let (documents, errors) = parse("in.yaml".into(), text);
        assert_eq!(errors, []);
        let admitted = admit(documents);
        assert_eq!(admitted.findings, []);
        let statuses = statuses.into_iter();
        let statuses =
            statuses.map(|(kind, name, status)| (ObjectKey::new(kind, "default", name), status)).collect();
        let findings = lint(&admitted.documents, &statuses, []);
        findings
            .iter()
            .map(|finding| {
                let Finding { code, place, field, message, .. } = finding;
                format!("{}:{} {code} {field}: {message}", place.line, place.column)
            })
            .collect()
    }

    #[test]
    fn a_condition_is_told_at_the_fields_that_it_names() {
        let accepted = condition("Accepted", "True", "Accepted", "The route is accepted");
        let resolved = condition(
            "ResolvedRefs",
            "False",
            "BackendNotFound",
            "spec.rules[0].backendRefs[0]: Service default/a not found; spec.rules[0].backendRefs[1]: no ReferenceGrant \
             lets this HTTPRoute use Service shop/b; and 2 more",
        );
        let parent = |section: Option<&str>, conditions: &[&Value]| {
            let mut reference = json!({"name": "edge"});
            if let Some(section) = section {
                reference["sectionName"] = json!(section);
            }
            json!({"parentRef": reference, "controllerName": "x/y", "conditions": conditions})
        };
        let gateway = json!({
            "conditions": [
                condition("Accepted", "True", "ListenersNotValid", "Listeners that are not accepted: https; accepted: http"),
                condition("ResolvedRefs", "False", "ListenersNotResolved", "References of listeners: https"),
            ],
            "listeners": [
                {"name": "http", "attachedRoutes": 1, "conditions": [
                    condition("Accepted", "True", "Accepted", "The listener is accepted"),
                ]},
                {"name": "https", "attachedRoutes": 0, "conditions": [
                    condition("ResolvedRefs", "False", "InvalidCertificateRef",
                        "tls.certificateRefs[0]: Secret default/cert not found"),
                    condition("Programmed", "False", "Invalid", "tls.certificateRefs[0]: Secret default/cert not found"),
                ]},
            ],
        });
        let route = json!({"parents": [parent(Some("http"), &[&accepted, &resolved])]});
        assert_eq!(
            shown(WORLD, [(Kind::Gateway, "edge", gateway), (Kind::HTTPRoute, "web", route)]),
            [
                "13:9 RW2104 spec.listeners[1].tls.certificateRefs[0]: Secret default/cert not found",
                "21:5 RW2201 spec.parentRefs[1]: Gateway default/other not found",
                "24:7 RW2210 spec.rules[0].backendRefs[0]: Service default/a not found",
                "25:7 RW2211 spec.rules[0].backendRefs[1]: no ReferenceGrant lets this HTTPRoute use Service shop/b; \
                 and 2 more",
                "31:16 RW2301 spec.targetRefs[0]: Service default/a not found",
            ]
        );
    }

    #[test]
    fn what_has_no_status_is_nobodys() {
        let text = "\
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: a}, spec: {controllerName: x/y}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {gatewayClassName: a, listeners: [{name: a, port: 1, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: b}, spec: {gatewayClassName: b, listeners: [{name: a, port: 1, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: a}, spec: {rules: [{backendRefs: [{name: a, port: 1}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: a}, spec: {parentRefs: [{name: a}, {kind: Service, group: '', name: a}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: ListenerSet, metadata: {name: a}, spec: {parentRef: {name: c, namespace: d}, listeners: [{name: a, port: 1, protocol: HTTP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: a}, spec: {targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a, wellKnownCACertificates: System}}}
---
{apiVersion: gateway.networking.x-k8s.io/v1alpha1, kind: XBackend, metadata: {name: a}, spec: {type: ExternalHostname, externalHostname: {hostname: a}, port: {port: 1}}}
";
        let told: Vec<String> = shown(text, [])
            .iter()
            .map(|shown| shown.split_once(' ').expect("place and finding").1.to_owned())
            .collect();
        assert_eq!(
            told,
            [
                "RW2002 spec.gatewayClassName: GatewayClass a is another controller's",
                "RW2001 spec.gatewayClassName: GatewayClass b not found",
                "RW2203 spec: there are no parentRefs, so nothing leads here",
                "RW2202 spec.parentRefs[0]: Gateway default/a is not served by ringway",
                "RW2202 spec.parentRefs[1]: Service default/a is not served by ringway",
                "RW2201 spec.parentRef: Gateway d/c not found",
                "RW2305 spec.targetRefs: no route of ringway's leads to its targets",
                "RW2307 : no route leads here",
            ]
        );
    }

    /// Where a condition is found in a status: of the Gateway, of its listener, or of a parent of the route.
    fn one(place: &str, condition: Value) -> Vec<String> {
        let sound = json!([]);
        let (gateway, listener, route) = match place {
            "gateway" => (json!([condition]), sound.clone(), sound),
            "listener" => (sound.clone(), json!([condition]), sound),
            _ => (sound.clone(), sound, json!([condition])),
        };
        let parent =
            |reference: Value| json!({"parentRef": reference, "controllerName": "x/y", "conditions": route});
        let statuses = [
            (
                Kind::Gateway,
                "edge",
                json!({"conditions": gateway, "listeners": [
                {"name": "http", "attachedRoutes": 1, "conditions": listener}]}),
            ),
            (
                Kind::HTTPRoute,
                "web",
                json!({"parents": [
                parent(json!({"name": "edge", "sectionName": "http", "kind": "Gateway"})), parent(json!({"name": "other"}))]}),
            ),
            (Kind::BackendTLSPolicy, "tls", json!({"ancestors": []})),
        ];
        shown(WORLD, statuses)
    }

    #[test]
    fn each_reason_has_its_code() {
        for (place, kind, status, reason, expected) in [
            ("gateway", "Accepted", "False", "InvalidParameters", "RW2004"),
            ("gateway", "Accepted", "False", "UnsupportedAddress", "RW2005"),
            ("gateway", "Programmed", "False", "AddressNotUsable", "RW2005"),
            ("gateway", "ResolvedRefs", "False", "InvalidClientCertificateRef", "RW2006"),
            ("gateway", "InsecureFrontendValidationMode", "True", "ConfigurationChanged", "RW2007"),
            ("listener", "Accepted", "False", "HostnameConflict", "RW2101"),
            ("listener", "Accepted", "False", "PortUnavailable", "RW2102"),
            ("listener", "Accepted", "False", "UnsupportedProtocol", "RW2103"),
            ("listener", "Accepted", "False", "Surprise", "RW2111"),
            ("listener", "ResolvedRefs", "False", "RefNotPermitted", "RW2105"),
            ("listener", "ResolvedRefs", "False", "InvalidCACertificateRef", "RW2106"),
            ("listener", "ResolvedRefs", "False", "InvalidRouteKinds", "RW2107"),
            ("listener", "OverlappingTLSConfig", "True", "OverlappingHostnames", "RW2108"),
            ("route", "Accepted", "False", "NoMatchingParent", "RW2204"),
            ("route", "Accepted", "False", "NotAllowedByListeners", "RW2205"),
            ("route", "Accepted", "False", "NoMatchingListenerHostname", "RW2206"),
            ("route", "Accepted", "False", "Conflicted", "RW2207"),
            ("route", "Accepted", "False", "IncompatibleFilters", "RW2208"),
            ("route", "Accepted", "False", "Surprise", "RW2214"),
            ("route", "PartiallyInvalid", "True", "UnsupportedValue", "RW2209"),
            ("route", "ResolvedRefs", "False", "InvalidKind", "RW2212"),
            ("route", "ResolvedRefs", "False", "UnsupportedProtocol", "RW2213"),
        ] {
            let shown = one(place, condition(kind, status, reason, "spec: why"));
            assert!(
                matches!(&shown[..], [only] if only.contains(expected) && only.ends_with("spec: why")),
                "{shown:?}"
            );
        }
    }

    #[test]
    fn what_holds_is_not_told() {
        for (place, kind, status, reason) in [
            ("gateway", "Accepted", "True", "Accepted"),
            ("gateway", "Programmed", "True", "Programmed"),
            ("gateway", "Accepted", "False", "ListenersNotValid"),
            ("listener", "Conflicted", "False", "NoConflicts"),
            ("listener", "Programmed", "False", "Invalid"),
            ("route", "Accepted", "True", "Accepted"),
            ("route", "ResolvedRefs", "True", "ResolvedRefs"),
        ] {
            assert_eq!(
                one(place, condition(kind, status, reason, "good")),
                Vec::<String>::new(),
                "{kind} {reason}"
            );
        }
    }

    #[test]
    fn an_annotation_that_is_not_understood_is_told_by_its_key() {
        let note = "metadata.annotations: ringway.dev/limit: \"x\" is no number";
        let told = one("route", condition("Accepted", "True", "Accepted", note));
        assert_eq!(told, ["17:1 RW2008 metadata.annotations[\"ringway.dev/limit\"]: \"x\" is no number"]);
    }

    #[test]
    fn a_listener_without_routes_is_worth_a_notice() {
        let listener = json!({"name": "http", "attachedRoutes": 0, "conditions": []});
        let told =
            shown(WORLD, [(Kind::Gateway, "edge", json!({"conditions": [], "listeners": [listener]}))]);
        assert_eq!(told[0], "7:5 RW2110 spec.listeners[0]: no route is attached");
    }

    /// From text to findings, through the translation itself: what its sentences say is found at their fields.
    fn translated(text: &str) -> Vec<String> {
        let (documents, errors) = parse("in.yaml".into(), text);
        assert_eq!(errors, []);
        let admitted = admit(documents);
        assert_eq!(admitted.findings, []);
        let objects = admitted.documents.iter().map(|document| document.object().expect("it was admitted"));
        let mut translator = Translator::new(Options::standalone(vec![[127, 0, 0, 1].into()]));
        translator.apply(Changes::all(objects.flatten()));
        let translation = translator.translation();
        let json = |status: &Status| serde_json::to_value(status).expect("a status is JSON");
        let statuses = translation.statuses.iter().map(|(key, status)| (key.clone(), json(status))).collect();
        let remarks = translation.notices.iter().map(|notice| (&notice.object, &*notice.message));
        let findings = lint(&admitted.documents, &statuses, remarks);
        let shown = |finding: &Finding| format!("{} {} {}", finding.place.line, finding.code, finding.field);
        findings.iter().map(shown).collect()
    }

    const SOUND: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: ringway
  listeners:
  - {name: http, port: 80, protocol: HTTP}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [example.com]
  rules:
  - backendRefs:
    - {name: web, port: 80}
";

    #[test]
    fn a_sound_world_has_no_findings() {
        assert_eq!(translated(SOUND), Vec::<String>::new());
    }

    #[test]
    fn what_translation_refuses_is_found_where_it_stands() {
        let listener = "  - {name: http, port: 80, protocol: HTTP}\n";
        let backend = "    - {name: web, port: 80}\n";
        let parent = "[{name: edge}]";
        for (old, new, expected) in [
            (backend, "    - {name: wep, port: 80}\n", &["22 RW2210 spec.rules[0].backendRefs[0]"][..]),
            (backend, "    - {name: web, port: 81}\n", &["22 RW2210 spec.rules[0].backendRefs[0]"]),
            (
                backend,
                "    - {name: a, port: 80}\n    - {name: web, namespace: shop, port: 80}\n    - {kind: Pod, name: a}\n",
                &[
                    "22 RW2210 spec.rules[0].backendRefs[0]",
                    "23 RW2211 spec.rules[0].backendRefs[1]",
                    "24 RW2212 spec.rules[0].backendRefs[2]",
                ],
            ),
            (
                "spec: {ports: [{port: 80}]}",
                "spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}",
                &["22 RW2215 spec.rules[0].backendRefs[0]"],
            ),
            (
                "spec: {ports: [{port: 80}]}",
                "spec: {ports: [{port: 80, appProtocol: https}]}",
                &["22 RW2213 spec.rules[0].backendRefs[0]"],
            ),
            (
                listener,
                "  - {name: http, port: 80, protocol: HTTP}\n  - {name: https, port: 443, protocol: HTTPS, \
                 allowedRoutes: {kinds: [{kind: TCPRoute}]}, tls: {certificateRefs: [{name: a}]}}\n",
                &[
                    "8 RW2107 spec.listeners[1].allowedRoutes.kinds[0]",
                    "8 RW2104 spec.listeners[1].tls.certificateRefs[0]",
                ],
            ),
            (parent, "[{name: egde}]", &["7 RW2110 spec.listeners[0]", "18 RW2201 spec.parentRefs[0]"]),
            (
                parent,
                "[{name: edge, sectionName: https}]",
                &["7 RW2110 spec.listeners[0]", "18 RW2204 spec.parentRefs[0]"],
            ),
            (
                listener,
                "  - {name: http, port: 80, protocol: HTTP, hostname: example.org}\n",
                &["7 RW2110 spec.listeners[0]", "19 RW2206 spec.hostnames"],
            ),
            (
                listener,
                "  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}\n",
                &["7 RW2110 spec.listeners[0]", "18 RW2205 spec.parentRefs[0]"],
            ),
            (
                listener,
                "  - {name: http, port: 80, protocol: HTTP}\n  - {name: tcp, port: 80, protocol: TCP}\n",
                &["7 RW2101 spec.listeners[0]", "8 RW2101 spec.listeners[1]"],
            ),
            (
                listener,
                "  - {name: http, port: 80, protocol: HTTP}\n  - {name: https, port: 443, protocol: HTTPS, \
                 tls: {certificateRefs: [{name: a}]}}\n",
                &["8 RW2104 spec.listeners[1].tls.certificateRefs[0]"],
            ),
            (
                listener,
                "  - {name: http, port: 80, protocol: HTTP}\n  - {name: https, port: 443, protocol: HTTPS, \
                 tls: {certificateRefs: [{name: a, namespace: b}]}}\n",
                &["8 RW2105 spec.listeners[1].tls.certificateRefs[0]"],
            ),
            (
                "gatewayClassName: ringway",
                "gatewayClassName: other",
                &["5 RW2001 spec.gatewayClassName", "18 RW2202 spec.parentRefs[0]"],
            ),
        ] {
            assert!(SOUND.contains(old), "{old}");
            assert_eq!(translated(&SOUND.replacen(old, new, 1)), expected, "{new}");
        }
    }
}
