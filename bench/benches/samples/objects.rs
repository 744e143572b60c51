//! Objects of a cluster: HTTPRoutes to 500 Services behind one Gateway.

use ringway_gateway_api::{Object, Options};
use serde_json::{Value, json};

pub(crate) const SERVICES: usize = 500;

fn object(value: Value) -> Object {
    Object::decode(value).expect("decodes").expect("is of a kind that we read")
}

fn gateway() -> Object {
    object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "gatewayClassName": "ringway",
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
        },
    }))
}

pub(crate) fn route(index: usize, version: usize) -> Object {
    object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": format!("app-{index}"), "namespace": "default", "generation": version },
        "spec": {
            "parentRefs": [{ "name": "web" }],
            "hostnames": [format!("app-{index}.example.com")],
            "rules": [{
                "matches": [{ "path": { "type": "PathPrefix", "value": "/api" } }],
                "filters": [{
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier": { "set": [{ "name": "x-version", "value": version.to_string() }] },
                }],
                "backendRefs": [{ "name": format!("app-{}", index % SERVICES), "port": 80 }],
                "timeouts": { "request": "10s" },
            }],
        },
    }))
}

fn service(index: usize) -> Object {
    object(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": format!("app-{index}"), "namespace": "default" },
        "spec": { "ports": [{ "port": 80 }] },
    }))
}

pub(crate) fn slice(index: usize, endpoint: usize) -> Object {
    object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("app-{index}"), "namespace": "default",
            "labels": { "kubernetes.io/service-name": format!("app-{index}") },
        },
        "ports": [{ "port": 3000 }],
        "endpoints": [{ "addresses": [format!("10.{}.{}.{}", index / 256, index % 256, endpoint % 256)] }],
    }))
}

pub(crate) fn objects(routes: usize) -> Vec<Object> {
    let services = (0..SERVICES).flat_map(|index| [service(index), slice(index, 1)]);
    std::iter::once(gateway()).chain(services).chain((0..routes).map(|index| route(index, 1))).collect()
}

pub(crate) fn options() -> Options {
    Options::standalone(vec!["127.0.0.1".parse().expect("an address")])
}
