//! Gateway API objects as suites write them. JSON is YAML too, so that a suite can compute them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::Identity;

/// The API group of Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// Manifests in one file.
pub fn text<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    objects.into_iter().map(|object| format!("---\n{object:#}\n")).collect()
}

/// A Gateway named `edge`.
pub fn gateway(listeners: Value) -> Value {
    gateway_named("edge", listeners)
}

/// A Gateway.
pub fn gateway_named(name: &str, listeners: Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Gateway", "metadata": {"name": name},
        "spec": {"gatewayClassName": "ringway", "listeners": listeners},
    })
}

/// A Gateway named `edge` with one HTTP listener.
pub fn http_gateway(port: u16) -> Value {
    gateway(json!([{"name": "http", "port": port, "protocol": "HTTP"}]))
}

/// A route of any kind, attached to the Gateway `edge`.
pub fn route(kind: &str, name: &str, rules: Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": rules},
    })
}

/// An HTTPRoute that sends everything to one Service.
pub fn to_service(service: &str) -> Value {
    route("HTTPRoute", service, json!([{"backendRefs": [{"name": service, "port": 80}]}]))
}

/// A Service on port 80 and its endpoints.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> Vec<Value> {
    service_speaking(name, endpoints, None)
}

/// As [`service`], with an `appProtocol` such as `kubernetes.io/h2c`.
pub fn service_speaking(name: &str, endpoints: &[SocketAddr], protocol: Option<&str>) -> Vec<Value> {
    service_over("TCP", name, endpoints, protocol)
}

/// As [`service_speaking`], over TCP or UDP.
pub fn service_over(
    transport: &str,
    name: &str,
    endpoints: &[SocketAddr],
    app_protocol: Option<&str>,
) -> Vec<Value> {
    let mut port = json!({"name": "main", "port": 80, "protocol": transport});
    if let Some(protocol) = app_protocol {
        port["appProtocol"] = protocol.into();
    }
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [port]},
    })];
    // A slice has one port for all of its addresses.
    for (number, endpoint) in endpoints.iter().enumerate() {
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-{number}"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": if endpoint.is_ipv4() { "IPv4" } else { "IPv6" },
            "ports": [{"name": "main", "port": endpoint.port(), "protocol": transport}],
            "endpoints": [{"addresses": [endpoint.ip().to_string()]}],
        }));
    }
    objects
}

/// A Secret with a certificate.
pub fn secret(name: &str, identity: &Identity) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": identity.cert, "tls.key": identity.key},
    })
}

/// A ConfigMap with an authority's certificate, as references to authorities want it.
pub fn authority(name: &str, pem: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": pem},
    })
}

/// An HTTPS listener with one certificate.
pub fn https_listener(name: &str, port: u16, secret: &str) -> Value {
    json!({
        "name": name, "port": port, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": secret}]},
    })
}

/// A BackendTLSPolicy: a Service's endpoints speak TLS under this name, signed by an authority in a ConfigMap.
pub fn backend_tls(service: &str, hostname: &str, authority: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "BackendTLSPolicy", "metadata": {"name": service},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": service}],
            "validation": {
                "hostname": hostname,
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": authority}],
            },
        },
    })
}
