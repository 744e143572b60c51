//! From JSON to an object. An error names the field; a kind that we do not read is no error.

use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::key::DEFAULT_NAMESPACE;
use super::*;

/// Why an object could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It does not say what it is.
    #[error("not an object with `apiVersion` and `kind`")]
    Untyped,
    /// It has no `metadata.name`.
    #[error("metadata.name: missing")]
    Unnamed,
    /// A field holds something else than it should.
    #[error("{path}: {message}")]
    Field {
        /// Where, such as `spec.listeners[0].port`.
        path: String,
        /// What is wrong there.
        message: String,
    },
}

macro_rules! objects {
    ($($kind:ident,)*) => {
        /// An object of a kind that we read, shared.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the kind it is named for")]
        pub enum Object {
            $($kind(Arc<$kind>),)*
        }

        $(impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(Arc::new(object))
            }
        })*

        impl Object {
            /// The object's kind.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            /// The object's metadata.
            pub fn metadata(&self) -> &ObjectMeta {
                match self { $(Self::$kind(object) => object.metadata(),)* }
            }

            fn decode_kind(kind: Kind, value: Value) -> Result<Self, DecodeError> {
                match kind { $(Kind::$kind => field_by_field::<$kind>(value).map(Self::from),)* }
            }
        }

        impl Kind {
            /// What the kind is called in a path of the Kubernetes API.
            pub fn plural(self) -> &'static str {
                match self { $(Self::$kind => <$kind as k8s_openapi::Resource>::URL_PATH_SEGMENT,)* }
            }
        }

        impl Serialize for Object {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$kind(object) => object.serialize(serializer),)* }
            }
        }
    };
}

objects! {
    Namespace, GatewayClass, Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute,
    ReferenceGrant, BackendTLSPolicy, XBackend, Service, EndpointSlice, Secret, ConfigMap,
    GatewayParameters,
}

impl Object {
    /// Decodes any served version of a kind that we read; `None`: some other kind, to be skipped with a notice.
    pub fn decode(mut value: Value) -> Result<Option<Self>, DecodeError> {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return Err(DecodeError::Untyped);
        };
        let Some(kind) = Kind::of(api_version, kind) else { return Ok(None) };
        // Core kinds insist on the one version that they know by type; ours do not look.
        drop_nulls(&mut value);
        let object = Self::decode_kind(kind, value)?;
        match object.metadata().name.as_deref() {
            None | Some("") => Err(DecodeError::Unnamed),
            Some(_) => Ok(Some(object)),
        }
    }

    /// The object's name. A namespaced object without namespace is in `default`.
    pub fn key(&self) -> ObjectKey {
        let metadata = self.metadata();
        let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        let name = metadata.name.as_deref().unwrap_or_default();
        ObjectKey::new(self.kind(), namespace.unwrap_or(DEFAULT_NAMESPACE), name)
    }
}

fn field_by_field<T: DeserializeOwned>(value: Value) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(value).map_err(|error| DecodeError::Field {
        path: error.path().to_string(),
        message: error.inner().to_string(),
    })
}

/// To the API server a null field is an absent one.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn route(spec: Value) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": { "name": "r", "namespace": "ns" }, "spec": spec,
        })
    }

    #[test]
    fn an_unknown_enum_value_or_field_never_fails() {
        let decoded = Object::decode(route(json!({
            "parentRefs": [{ "name": "g", "fromTheFuture": 1 }],
            "rules": [{
                "matches": [{ "path": { "type": "Fuzzy", "value": "/x" } }],
                "filters": [{ "type": "Teleport", "teleport": {} }],
                "sessionPersistence": { "type": 7 },
            }],
        })));
        let Ok(Some(Object::HTTPRoute(route))) = decoded else { panic!("{decoded:?}") };
        let rule = &route.spec.rules[0];
        let path = rule.matches[0].path.as_ref().unwrap();
        assert_eq!(path.kind, Some(PathMatchType::Unknown("Fuzzy".into())));
        assert_eq!(rule.filters[0].kind, FilterType::Unknown("Teleport".into()));
    }

    #[test]
    fn a_wrong_field_is_named_by_its_path() {
        let error = Object::decode(route(json!({
            "rules": [{}, { "backendRefs": [{ "name": "s", "port": "http" }] }],
        })))
        .unwrap_err();
        assert!(error.to_string().starts_with("spec.rules[1].backendRefs[0].port: "), "{error}");
    }

    #[test]
    fn every_served_version_decodes_into_the_same_type_and_others_are_skipped() {
        for kind in Kind::ALL {
            for version in kind.versions() {
                let api_version = match kind.group() {
                    "" => (*version).to_owned(),
                    group => format!("{group}/{version}"),
                };
                let value = json!({
                    "apiVersion": api_version, "kind": kind.as_str(), "metadata": { "name": "n" },
                    "spec": { "controllerName": "c", "gatewayClassName": "c", "parentRef": { "name": "g" } },
                    "addressType": "IPv4", "endpoints": [],
                });
                let object = Object::decode(value).unwrap().expect("a kind that we read");
                assert_eq!(object.kind(), *kind);
                let namespace = if kind.namespaced() { "default" } else { "" };
                assert_eq!(&*object.key().namespace, namespace);
            }
        }
        assert_eq!(Object::decode(json!({ "apiVersion": "apps/v1", "kind": "Deployment" })), Ok(None));
        assert_eq!(Object::decode(json!([])), Err(DecodeError::Untyped));
    }

    #[test]
    fn a_null_is_an_absent_field_and_a_malformed_status_is_none() {
        let mut value = route(json!({ "hostnames": null, "rules": null }));
        value["status"] = json!({ "parents": 3 });
        let Ok(Some(Object::HTTPRoute(route))) = Object::decode(value) else { panic!() };
        assert_eq!((route.spec.hostnames.len(), route.spec.rules.len(), &route.status), (0, 1, &None));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let value = route(json!({
            "parentRefs": [{ "name": "g", "sectionName": "web" }],
            "rules": [{ "backendRefs": [{ "name": "s", "port": 80, "weight": 3 }] }],
        }));
        let object = Object::decode(value).unwrap().unwrap();
        let again = Object::decode(serde_json::to_value(&object).unwrap()).unwrap().unwrap();
        assert_eq!(object, again);
    }
}
