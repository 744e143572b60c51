//! Which code a condition of a status has, kind by kind.

use super::super::code::Code;
use super::{Told, told};
use crate::manifest::Document;
use crate::objects::{
    Condition, GatewayClassStatus, GatewayStatus, ListenerSetStatus, ListenerStatus, PolicyStatus,
    XBackendStatus,
};
use serde_json::Value;

pub(super) fn class(status: GatewayClassStatus) -> Vec<Told> {
    let refused = status.conditions.iter().filter(|condition| fails(condition, "Accepted"));
    refused.map(|condition| told(Code::ClassNotAccepted, "spec", &*condition.message)).collect()
}

pub(super) fn gateway(status: &GatewayStatus, document: &Document) -> Vec<Told> {
    let mut all: Vec<Told> = status.conditions.iter().filter_map(gateway_told).collect();
    all.extend(listeners(&status.listeners, document));
    all
}

fn gateway_told(condition: &Condition) -> Option<Told> {
    let code = match (&*condition.kind, &*condition.status, &*condition.reason) {
        ("Accepted", "True", _) => return notes(condition),
        // Summaries: the listeners themselves say what is wrong.
        (_, _, "ListenersNotValid" | "ListenersNotResolved") => return None,
        ("Accepted", "False", "UnsupportedAddress") => Code::AddressNotUsable,
        ("Accepted", "False", _) => Code::GatewayNotAccepted,
        ("Programmed", "False", "AddressNotUsable" | "AddressNotAssigned") => Code::AddressNotUsable,
        ("ResolvedRefs", "False", _) => Code::GatewayReferenceUnresolved,
        ("InsecureFrontendValidationMode", "True", _) => Code::ClientsUnverified,
        _ => return None,
    };
    Some(told(code, "spec", &*condition.message))
}

pub(super) fn listener_set(status: &ListenerSetStatus, document: &Document) -> Vec<Told> {
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
        let sound = all[before..].iter().all(|told| told.code == Code::HostnamesOverlap);
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
        ("OverlappingTLSConfig", "True", _) => Code::HostnamesOverlap,
        // What else keeps a listener from being programmed is its owner's matter, and told there.
        _ => return None,
    };
    Some(told(code, at, &*condition.message))
}

pub(super) fn route_told(condition: &Condition, at: &str) -> Option<Told> {
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

pub(super) fn policy(status: &PolicyStatus) -> Vec<Told> {
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

pub(super) fn backend(status: &XBackendStatus) -> Vec<Told> {
    let conditions = status.parents.iter().flat_map(|parent| &parent.conditions);
    let failing = conditions.filter(|condition| condition.status == "False");
    failing.map(|condition| told(Code::BackendProblem, "spec", &*condition.message)).collect()
}

/// What an accepted object is told all the same, of its fields: annotations that are not understood, and what is not
/// served yet.
fn notes(condition: &Condition) -> Option<Told> {
    let mut start = 0;
    for part in condition.message.split("; ") {
        if ["spec.", "metadata."].iter().any(|root| part.starts_with(root)) {
            return Some(told(Code::NotServedYet, "", &condition.message[start..]));
        }
        start += part.len() + "; ".len();
    }
    None
}

/// One condition may stand for several problems, and has the reason of the first. They are mended differently, so each is
/// told apart by its field and by what is said of it.
pub(super) fn refined(code: Code, field: &str, sentence: &str) -> Code {
    use Code::*;
    let says = |part: &str| sentence.contains(part);
    match code {
        HostnamesOverlap if field.ends_with("certificateRefs") => CertificateNamesOverlap,
        NotServedYet if field.starts_with("metadata.annotations") => NotUnderstood,
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

fn fails(condition: &Condition, kind: &str) -> bool {
    condition.kind == kind && condition.status == "False"
}
