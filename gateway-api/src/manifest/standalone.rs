//! What an API server adds to an object when it stores it, for objects that come from files: the default
//! namespace, and the creation time and generation that decide between equals.

use serde_json::{Map, Value, json};

/// Whether objects of a kind live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One for the whole cluster.
    Cluster,
    /// In a namespace.
    Namespaced,
}

/// The scope of a kind, from its `apiVersion` and `kind`; `None` for kinds that ringway does not read.
pub fn scope(api_version: &str, kind: &str) -> Option<Scope> {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("gateway.networking.k8s.io", "GatewayClass") | ("", "Namespace") => Some(Scope::Cluster),
        (
            "gateway.networking.k8s.io",
            "Gateway" | "ListenerSet" | "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" | "UDPRoute"
            | "ReferenceGrant" | "BackendTLSPolicy",
        )
        | ("gateway.networking.x-k8s.io", "XBackend")
        | ("", "Service" | "Secret" | "ConfigMap")
        | ("discovery.k8s.io", "EndpointSlice") => Some(Scope::Namespaced),
        _ => None,
    }
}

/// Puts an object of a namespaced kind that names no namespace into `default`, as `kubectl apply` would.
pub fn default_namespace(value: &mut Value) {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    if scope(text("apiVersion"), text("kind")) != Some(Scope::Namespaced) {
        return;
    }
    let Some(metadata) = metadata(value) else { return };
    let namespace = metadata.entry("namespace").or_insert(Value::Null);
    if namespace.is_null() || namespace.as_str() == Some("") {
        *namespace = json!("default");
    }
}

/// What a store would know of an object and a file does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// When the object was first seen, by RFC 3339. Older objects win conflicts.
    pub created: &'a str,
    /// Counts the changes of the object's specification, from 1.
    pub generation: i64,
}

/// Stamps an object. A creation time that the file states is kept, since an exported object has earned its
/// age; a generation is not, since it must count the changes that are seen here.
pub fn stamp(value: &mut Value, stamp: &Stamp<'_>) {
    let Some(metadata) = metadata(value) else { return };
    let created = metadata.entry("creationTimestamp").or_insert(Value::Null);
    let stated = created.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok());
    if !stated {
        *created = json!(stamp.created);
    }
    metadata.insert("generation".to_owned(), json!(stamp.generation));
}

/// The object's metadata, made if absent; `None` if something else stands in its place.
fn metadata(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let object = value.as_object_mut()?;
    object.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "gateway.networking.k8s.io/v1";

    #[test]
    fn only_a_namespaced_kind_without_a_namespace_gets_one() {
        for (mut value, expected) in [
            (json!({"apiVersion": ROUTE, "kind": "HTTPRoute", "metadata": {"name": "a"}}), Some("default")),
            (
                json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "HTTPRoute"}),
                Some("default"),
            ),
            (
                json!({"apiVersion": ROUTE, "kind": "HTTPRoute", "metadata": {"namespace": ""}}),
                Some("default"),
            ),
            (
                json!({"apiVersion": ROUTE, "kind": "HTTPRoute", "metadata": {"namespace": "web"}}),
                Some("web"),
            ),
            (json!({"apiVersion": "v1", "kind": "Service"}), Some("default")),
            (json!({"apiVersion": ROUTE, "kind": "GatewayClass"}), None),
            (json!({"apiVersion": "v1", "kind": "Namespace"}), None),
            (json!({"apiVersion": "apps/v1", "kind": "Deployment"}), None),
            (json!({"apiVersion": "v1", "kind": "Service", "metadata": []}), None),
            (json!([]), None),
        ] {
            let shown = value.to_string();
            default_namespace(&mut value);
            assert_eq!(value.pointer("/metadata/namespace").and_then(Value::as_str), expected, "{shown}");
        }
    }

    #[test]
    fn a_stamp_keeps_a_stated_age_and_counts_changes_itself() {
        let now = Stamp { created: "2026-01-01T00:00:00Z", generation: 3 };
        let stamped = |metadata: Value| {
            let mut value = json!({"metadata": metadata});
            stamp(&mut value, &now);
            value["metadata"].clone()
        };
        assert_eq!(stamped(json!({})), json!({"creationTimestamp": "2026-01-01T00:00:00Z", "generation": 3}));
        assert_eq!(
            stamped(json!({"creationTimestamp": "2020-01-01T00:00:00Z", "generation": 9})),
            json!({"creationTimestamp": "2020-01-01T00:00:00Z", "generation": 3})
        );
        assert_eq!(stamped(json!({"creationTimestamp": null}))["creationTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(
            stamped(json!({"creationTimestamp": "soon"}))["creationTimestamp"],
            "2026-01-01T00:00:00Z"
        );
    }
}
