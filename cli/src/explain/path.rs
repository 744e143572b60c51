//! Which objects had a part in what became of a request: those whose faults its explanation must tell.

use std::collections::BTreeSet;

use ringway_config::{Config, ListenerKey, RouteKey};
use ringway_core::Explanation;
use ringway_gateway_api::manifest::Document;
use serde_json::Value;

/// A listener and, if it came so far, a route with the rules that count.
#[derive(Debug, Default)]
pub(super) struct Path {
    listeners: Vec<ListenerKey>,
    /// A rule's place; `None`: all of the route.
    routes: Vec<(RouteKey, Option<usize>)>,
}

impl Path {
    /// A connection that a route has as a whole.
    pub(super) fn of_connection(listener: &ListenerKey, route: &RouteKey) -> Self {
        Self { listeners: vec![listener.clone()], routes: vec![(route.clone(), None)] }
    }

    /// A listener, before any route.
    pub(super) fn of_listener(listener: &ListenerKey) -> Self {
        Self { listeners: vec![listener.clone()], routes: Vec::new() }
    }

    /// The listener and rule that serve; where none does, all that might have.
    pub(super) fn of_request(explanation: &Explanation) -> Self {
        let Explanation { listeners, matches, .. } = explanation;
        let serves = |serves| listeners.iter().filter(move |it| it.why_not.is_none() == serves);
        let chosen = serves(true).next().is_some();
        let served = matches.iter().any(|it| it.why_not.is_none());
        let rules = matches.iter().filter(|it| it.why_not.is_none() == served);
        Self {
            listeners: serves(chosen).map(|it| it.key.clone()).collect(),
            routes: rules.map(|it| (it.route.clone(), Some(it.rule))).collect(),
        }
    }

    /// The names of the objects on the path, as findings have them.
    pub(super) fn objects(&self, config: &Config, documents: &[Document]) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for key in &self.listeners {
            let Some((owner, listener)) = key.as_str().rsplit_once('/') else { continue };
            names.insert(owner.to_owned());
            for part in named(documents, owner).flat_map(|it| items(it, "/spec/listeners")) {
                if part.get("name").and_then(Value::as_str) == Some(listener) {
                    references(part, namespace_of(owner), &mut names);
                }
            }
            let Some(gateway) = config.listeners.get(key).map(|it| format!("Gateway/{}", it.gateway)) else {
                continue;
            };
            let class = named(documents, &gateway)
                .find_map(|it| it.value.pointer("/spec/gatewayClassName")?.as_str())
                .map(|class| format!("GatewayClass/{class}"));
            names.extend(class);
            names.insert(gateway);
        }
        for (key, rule) in &self.routes {
            // What follows `#` tells the variants of one route apart.
            let route = key.as_str().split('#').next().unwrap_or_default();
            names.insert(route.to_owned());
            for document in named(documents, route) {
                let rules = items(document, "/spec/rules").enumerate();
                for (_, part) in rules.filter(|(index, _)| rule.is_none_or(|rule| rule == *index)) {
                    references(part, namespace_of(route), &mut names);
                }
            }
        }
        for document in documents {
            let belongs = belongs_to(document).iter().any(|owner| names.contains(owner));
            if belongs {
                let name = document.name();
                references(&document.value, &name.namespace, &mut names);
                names.insert(name.to_string());
            }
        }
        names
    }
}

fn named<'d>(documents: &'d [Document], name: &'d str) -> impl Iterator<Item = &'d Document> {
    documents.iter().filter(move |document| document.name().to_string() == name)
}

fn items<'d>(document: &'d Document, pointer: &str) -> impl Iterator<Item = &'d Value> {
    document.value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The namespace in `kind/namespace/name`.
fn namespace_of(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

/// Every object that a value leads to, however deep the reference stands in it.
fn references(value: &Value, namespace: &str, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let kind = match &**field {
                    "backendRef" | "backendRefs" => "Service",
                    "certificateRefs" => "Secret",
                    "caCertificateRefs" => "ConfigMap",
                    _ => "",
                };
                let several = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                if !kind.is_empty() {
                    names.extend(several.iter().filter_map(|it| reference(it, kind, namespace)));
                }
                references(value, namespace, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, namespace, names)),
        _ => {}
    }
}

fn reference(value: &Value, kind: &str, namespace: &str) -> Option<String> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let (kind, namespace) = (text("kind").unwrap_or(kind), text("namespace").unwrap_or(namespace));
    Some(format!("{kind}/{namespace}/{}", text("name")?))
}

/// Whose part an object is: a slice is its Service's, and so is a policy.
fn belongs_to(document: &Document) -> Vec<String> {
    let name = document.name();
    let service = |service: &str| format!("Service/{}/{service}", name.namespace);
    match &*name.kind {
        "EndpointSlice" => {
            let label = document.value.pointer("/metadata/labels/kubernetes.io~1service-name");
            label.and_then(Value::as_str).map(service).into_iter().collect()
        }
        "BackendTLSPolicy" => items(document, "/spec/targetRefs")
            .filter_map(|target| reference(target, "Service", &name.namespace))
            .collect(),
        _ => vec![],
    }
}
