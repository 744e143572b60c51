//! The definition of GatewayParameters, made of the type that reads it.

use ringway_gateway_api::objects::{GROUP_RINGWAY, Kind, Parameters};
use serde_json::{Value, json};

use super::metadata;
use crate::provision::document;

pub(super) fn gateway_parameters() -> Value {
    let kind = Kind::GatewayParameters;
    let mut spec = Parameters::schema();
    spec["description"] = json!("How the proxies of a Gateway are deployed. Everything has a default.");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": document(&metadata("", &format!("{}.{GROUP_RINGWAY}", kind.plural()))),
        "spec": {
            "group": GROUP_RINGWAY,
            "names": {
                "kind": kind.as_str(), "listKind": format!("{}List", kind.as_str()),
                "plural": kind.plural(), "singular": kind.plural(),
                "categories": ["gateway-api"],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": kind.versions()[0], "served": true, "storage": true,
                "schema": { "openAPIV3Schema": {
                    "description": "How the proxies of a Gateway, or of every Gateway of a class, are deployed: named by \
                                    `spec.infrastructure.parametersRef` of the one, or `spec.parametersRef` of the other.",
                    "type": "object",
                    "properties": {
                        "apiVersion": { "type": "string" }, "kind": { "type": "string" },
                        "metadata": { "type": "object" }, "spec": spec,
                    },
                } },
            }],
        },
    })
}
