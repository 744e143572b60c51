//! What `ringway install` puts into a cluster: everything but the Gateway API itself and the gateways. Pure.

mod access;
mod controller;
mod definition;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ringway_gateway_api::objects::{GatewayClass, GatewayClassSpec};
use ringway_gateway_api::translate::CONTROLLER;
use serde_json::Value;

use crate::provision::document;

/// The name of the controller's objects, and of its Service.
pub const NAME: &str = "ringway-controller";
/// The GatewayClass that is installed.
pub const CLASS: &str = "ringway";

/// How ringway is to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The namespace of the controller.
    pub namespace: String,
    /// The image of the controller and of every proxy.
    pub image: String,
    /// Several controllers, on several nodes: one writes, all serve, and any may be lost.
    pub high_availability: bool,
    /// What the controller logs.
    pub log_level: Option<String>,
}

/// Everything that is installed, each after what it needs.
pub fn objects(installation: &Installation) -> Vec<Value> {
    let namespace = &installation.namespace;
    let mut objects = vec![
        document(&Namespace {
            metadata: ObjectMeta { name: Some(namespace.clone()), ..metadata("", "") },
            ..Namespace::default()
        }),
        definition::gateway_parameters(),
        document(&ServiceAccount { metadata: metadata(namespace, NAME), ..ServiceAccount::default() }),
    ];
    objects.extend(access::objects(namespace));
    objects.extend(controller::objects(installation));
    objects.push(document(&GatewayClass {
        metadata: metadata("", CLASS),
        spec: GatewayClassSpec {
            controller_name: CONTROLLER.to_owned(),
            description: Some("Gateways served by ringway".to_owned()),
            ..GatewayClassSpec::default()
        },
        status: None,
    }));
    objects
}

/// What is to be deleted, each before what it needs. The class goes first: with the definition of GatewayParameters and
/// the controller still there, nothing else is left to be done for it.
pub fn removal(namespace: &str) -> Vec<Value> {
    let installation = Installation {
        namespace: namespace.to_owned(),
        image: String::new(),
        high_availability: true,
        log_level: None,
    };
    let mut objects = objects(&installation);
    objects.reverse();
    for object in &mut objects {
        let metadata = &object["metadata"];
        let mut named = serde_json::json!({ "name": metadata["name"] });
        if let Some(namespace) = metadata.get("namespace") {
            named["namespace"] = namespace.clone();
        }
        *object = serde_json::json!({
            "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": named,
        });
    }
    objects
}

/// Metadata of an object; one without a namespace belongs to the cluster.
fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    let labels = [
        ("app.kubernetes.io/name", NAME),
        ("app.kubernetes.io/part-of", "ringway"),
        ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
    ];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..ObjectMeta::default()
    }
}
