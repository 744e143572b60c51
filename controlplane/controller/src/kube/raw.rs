//! From what the API server sends to an object, by the same decoding as for files.
//!
//! Pure. What only the API server writes (the resource version, who manages which field) is taken off first, and the
//! status apart: a status that we wrote comes back as an event, and must not look like a change of the object.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::DynamicObject;
use ringway_gateway_api::objects::{DecodeError, Kind, Object, ObjectKey};
use serde_json::{Value, json};

/// An object as it is in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The object, without its status if that is ours to write.
    pub object: Object,
    /// What the API server keeps about it.
    pub record: Record,
}

/// What the API server keeps about an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Tells it from an earlier object of the same name.
    pub uid: Box<str>,
    /// Which of its states this is.
    pub resource_version: Box<str>,
    /// Its status as JSON text, for a kind that we write the status of: thousands are held, and few are looked at.
    pub status: Option<Box<str>>,
}

impl Record {
    /// The status, `null` if there is none.
    pub fn status(&self) -> Value {
        let text = self.status.as_deref();
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// Whether we write statuses of a kind.
pub fn has_status(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Namespace
            | Kind::ReferenceGrant
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::Secret
            | Kind::ConfigMap
            | Kind::GatewayParameters
    )
}

/// The key of an object of a kind.
pub fn key(kind: Kind, raw: &DynamicObject) -> ObjectKey {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectKey::new(kind, &text(&raw.metadata.namespace), &text(&raw.metadata.name))
}

/// Decodes an object of a kind, served in this version. `None`: there is nothing in it for us.
pub fn decode(kind: Kind, version: &str, mut raw: DynamicObject) -> Result<Option<Held>, DecodeError> {
    const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let metadata = &mut raw.metadata;
    let mut record = Record {
        uid: metadata.uid.clone().unwrap_or_default().into(),
        resource_version: metadata.resource_version.take().unwrap_or_default().into(),
        status: None,
    };
    metadata.managed_fields = None;
    metadata.self_link = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty() {
            metadata.annotations = None;
        }
    }
    let api_version = match kind.group() {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    let mut value = json!({"apiVersion": api_version, "kind": kind.as_str(), "metadata": raw.metadata});
    if let (Value::Object(fields), Value::Object(data)) = (&mut value, raw.data) {
        fields.extend(data);
        if has_status(kind) {
            record.status = fields.remove("status").map(|status| status.to_string().into());
        }
    }
    let Some(object) = Object::decode(value)? else { return Ok(None) };
    Ok(thin(object).map(|object| Held { object, record }))
}

/// Leaves out what is never looked at: a namespace may hold many large ConfigMaps.
fn thin(object: Object) -> Option<Object> {
    match object {
        Object::ConfigMap(map) => {
            let data = only(map.data.clone(), &["ca.crt"]);
            let binary_data = only(map.binary_data.clone(), &["ca.crt"]);
            if data.is_none() && binary_data.is_none() {
                return None;
            }
            Some(ConfigMap { metadata: map.metadata.clone(), data, binary_data, immutable: None }.into())
        }
        Object::Secret(secret) => {
            let data = only(secret.data.clone(), &["tls.crt", "tls.key"]);
            Some(Secret { metadata: secret.metadata.clone(), data, ..Secret::default() }.into())
        }
        other => Some(other),
    }
}

fn only<T>(data: Option<BTreeMap<String, T>>, keys: &[&str]) -> Option<BTreeMap<String, T>> {
    let mut data = data?;
    data.retain(|key, _| keys.contains(&&**key));
    (!data.is_empty()).then_some(data)
}

/// Which objects of a kind the API server is asked for: by type, by field, by label.
pub fn selectors(kind: Kind) -> (Option<&'static str>, Option<&'static str>) {
    match kind {
        Kind::Secret => (Some("type=kubernetes.io/tls"), None),
        // Every namespace has one of these.
        Kind::ConfigMap => (Some("metadata.name!=kube-root-ca.crt,metadata.namespace!=kube-system"), None),
        Kind::EndpointSlice => (None, Some("kubernetes.io/service-name")),
        _ => (None, None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn raw(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    pub(crate) fn route(generation: i64, version: &str, status: Value) -> DynamicObject {
        raw(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {
                "name": "r", "namespace": "ns", "uid": "u", "resourceVersion": version, "generation": generation,
                "managedFields": [{"manager": "m"}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            },
            "spec": {"parentRefs": [{"name": "g"}]}, "status": status,
        }))
    }

    #[test]
    fn a_status_that_comes_back_is_no_change_of_the_object() {
        let before = decode(Kind::HTTPRoute, "v1", route(1, "7", json!({}))).unwrap().unwrap();
        let after = decode(Kind::HTTPRoute, "v1", route(1, "8", json!({"parents": []}))).unwrap().unwrap();
        assert_eq!(before.object, after.object);
        assert_eq!((&*after.record.uid, &*after.record.resource_version), ("u", "8"));
        assert_eq!(after.record.status(), json!({"parents": []}));
        assert_eq!(before.object.metadata().annotations, None);
    }

    #[test]
    fn of_a_config_map_only_authorities_are_held_and_one_without_is_not() {
        let map = |data: Value| {
            raw(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"}, "data": data}),
            )
        };
        let held = decode(Kind::ConfigMap, "v1", map(json!({"ca.crt": "x", "large": "y"}))).unwrap().unwrap();
        let Object::ConfigMap(held) = held.object else { panic!("a ConfigMap") };
        assert_eq!(held.data.as_ref().unwrap().len(), 1);
        assert_eq!(decode(Kind::ConfigMap, "v1", map(json!({"large": "y"}))), Ok(None));
    }

    #[test]
    fn an_item_of_a_list_says_nothing_of_its_kind_and_decodes_all_the_same() {
        let item =
            raw(json!({"metadata": {"name": "s", "namespace": "n", "resourceVersion": "1"}, "spec": {}}));
        let held = decode(Kind::Service, "v1", item).unwrap().unwrap();
        assert_eq!(held.object.key(), ObjectKey::new(Kind::Service, "n", "s"));
    }
}
