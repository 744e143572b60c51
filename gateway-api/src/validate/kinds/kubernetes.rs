//! Service, EndpointSlice, Secret, ConfigMap, Namespace: what ringway reads of them. The API server checks
//! more.

use serde_json::Value;

use super::super::code::Code;
use super::super::form::{self, DATA_KEY, DNS_LABEL};
use super::super::schema::Default::Text;
use super::super::schema::{
    Field, Shape, UNBOUNDED, defaulted, formed, integer, list, map, object, optional, required, ruled, text,
};
use super::super::walk::Checker;
use super::rules::{duplicates, has, items, items_of, of};
use super::shared::{ANY_TEXT, PORT, kind};

const TRANSPORT: Field = defaulted("protocol", Shape::OneOf(&["TCP", "UDP", "SCTP"]), Text("TCP"));

pub(super) const SERVICE: Shape = kind![optional(
    "spec",
    ruled(
        &[
            defaulted(
                "type",
                Shape::OneOf(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
                Text("ClusterIP"),
            ),
            optional("clusterIP", ANY_TEXT),
            optional("clusterIPs", list(&ANY_TEXT, 0, 2)),
            optional("externalName", ANY_TEXT),
            optional("ports", list(&SERVICE_PORT, 0, UNBOUNDED).with(&[service_ports])),
            optional("selector", map(&ANY_TEXT, UNBOUNDED)),
            optional("allocateLoadBalancerNodePorts", Shape::Any),
            optional("externalIPs", Shape::Any),
            optional("externalTrafficPolicy", Shape::Any),
            optional("healthCheckNodePort", Shape::Any),
            optional("internalTrafficPolicy", Shape::Any),
            optional("ipFamilies", Shape::Any),
            optional("ipFamilyPolicy", Shape::Any),
            optional("loadBalancerClass", Shape::Any),
            optional("loadBalancerIP", Shape::Any),
            optional("loadBalancerSourceRanges", Shape::Any),
            optional("publishNotReadyAddresses", Shape::Any),
            optional("sessionAffinity", Shape::Any),
            optional("sessionAffinityConfig", Shape::Any),
            optional("trafficDistribution", Shape::Any),
        ],
        &[external_name, cluster_ips],
    )
)];

const SERVICE_PORT: Shape = object(&[
    optional("name", formed(0, 63, &DNS_LABEL)),
    required("port", PORT),
    TRANSPORT,
    optional("targetPort", Shape::PortOrName),
    optional("nodePort", integer(0, 65535)),
    optional("appProtocol", ANY_TEXT),
]);

/// A Service forwards to the port that it listens on, unless it says otherwise.
pub(super) fn fill_service(service: &mut Value) {
    let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        // What is no port is told where it was written, and only there.
        let number = port.get("port").filter(|number| number.as_u64().is_some_and(|it| it <= 65535)).cloned();
        if let Some(number) = number {
            port.entry("targetPort").or_insert(number);
        }
    }
}

pub(super) const ENDPOINT_SLICE: Shape = ruled(
    &[
        required("apiVersion", Shape::Any),
        required("kind", Shape::Any),
        optional("metadata", super::METADATA),
        required("addressType", Shape::OneOf(&["IPv4", "IPv6", "FQDN"])),
        optional("endpoints", list(&ENDPOINT, 0, 1000)),
        optional("ports", list(&ENDPOINT_PORT, 0, 100)),
    ],
    &[slice_of_a_service, endpoints_of_one_family],
);

const ENDPOINT: Shape = object(&[
    required("addresses", list(&ANY_TEXT, 1, 100)),
    optional("conditions", ENDPOINT_CONDITIONS),
    optional("hostname", ANY_TEXT),
    optional("nodeName", ANY_TEXT),
    optional("zone", ANY_TEXT),
    optional("targetRef", Shape::Any),
    optional("hints", Shape::Any),
    optional("deprecatedTopology", Shape::Any),
]);

const ENDPOINT_CONDITIONS: Shape = object(&[
    optional("ready", Shape::Boolean),
    optional("serving", Shape::Boolean),
    optional("terminating", Shape::Boolean),
]);

const ENDPOINT_PORT: Shape = object(&[
    // The API server writes the name of an unnamed port as an empty text.
    defaulted("name", formed(0, 63, &form::OPTIONAL_DNS_LABEL), Text("")),
    optional("port", PORT),
    TRANSPORT,
    optional("appProtocol", ANY_TEXT),
]);

pub(super) const SECRET: Shape = ruled(
    &[
        required("apiVersion", Shape::Any),
        required("kind", Shape::Any),
        optional("metadata", super::METADATA),
        defaulted("type", text(0, UNBOUNDED), Text("Opaque")),
        optional("data", TEXT_DATA),
        optional("stringData", TEXT_DATA),
        optional("immutable", Shape::Boolean),
    ],
    &[secret_is_base64, tls_secret_is_complete],
);

pub(super) const CONFIG_MAP: Shape = object(&[
    required("apiVersion", Shape::Any),
    required("kind", Shape::Any),
    optional("metadata", super::METADATA),
    optional("data", TEXT_DATA),
    optional("binaryData", TEXT_DATA),
    optional("immutable", Shape::Boolean),
]);

const TEXT_DATA: Shape = Shape::Map { key: Some(&DATA_KEY), value: &ANY_TEXT, max: UNBOUNDED };

pub(super) const NAMESPACE: Shape = kind![optional("spec", Shape::Any)];

fn service_ports<'v>(value: &'v Value, check: &mut Checker<'v>) {
    let ports = items(value);
    for (index, _) in ports.iter().enumerate().filter(|(_, port)| of(port, "name").is_empty()) {
        if ports.len() > 1 {
            check.broken(&format!("[{index}].name"), Code::ServicePortWithoutName);
        }
    }
    let name = |port: &'v Value| Some(of(port, "name")).filter(|name| !name.is_empty());
    for (index, first) in duplicates(ports, name) {
        let message = format!("has the name of ports[{first}]");
        check.report(&format!("[{index}].name"), Code::ServicePortTwice, message, None);
    }
    for (index, first) in duplicates(ports, |port| Some((port.get("port")?.as_i64()?, of(port, "protocol"))))
    {
        let message = format!("has the number and protocol of ports[{first}]");
        check.report(&format!("[{index}].port"), Code::ServicePortTwice, message, None);
    }
}

fn external_name<'v>(spec: &'v Value, check: &mut Checker<'v>) {
    if of(spec, "type") == "ExternalName" {
        let name = of(spec, "externalName");
        if !form::dns_name(&name.strip_suffix('.').unwrap_or(name).to_lowercase()) {
            check.broken(".externalName", Code::ExternalNameMissing);
        }
    }
}

fn cluster_ips<'v>(spec: &'v Value, check: &mut Checker<'v>) {
    let fits = |address: &str| matches!(address, "" | "None") || address.parse::<std::net::IpAddr>().is_ok();
    if !fits(of(spec, "clusterIP")) {
        check.broken(".clusterIP", Code::ClusterIpMalformed);
    }
    for (index, address) in items_of(spec, "clusterIPs").iter().enumerate() {
        if !address.as_str().is_some_and(fits) {
            check.broken(&format!(".clusterIPs[{index}]"), Code::ClusterIpMalformed);
        }
    }
}

fn slice_of_a_service<'v>(slice: &'v Value, check: &mut Checker<'v>) {
    let label = slice.get("metadata").and_then(|metadata| metadata.get("labels"));
    if !label.is_some_and(|labels| has(labels, "kubernetes.io/service-name")) {
        check.broken(".metadata.labels", Code::SliceWithoutService);
    }
}

fn endpoints_of_one_family<'v>(slice: &'v Value, check: &mut Checker<'v>) {
    let family = of(slice, "addressType");
    let fits = |address: &str| match family {
        "IPv4" => address.parse::<std::net::Ipv4Addr>().is_ok(),
        "IPv6" => address.parse::<std::net::Ipv6Addr>().is_ok(),
        _ => form::dns_name(address),
    };
    for (index, endpoint) in items_of(slice, "endpoints").iter().enumerate() {
        for (place, address) in items_of(endpoint, "addresses").iter().enumerate() {
            let address = address.as_str().unwrap_or_default();
            if !fits(address) {
                let message = format!("{address:?} is not an address of type {family}");
                let field = format!(".endpoints[{index}].addresses[{place}]");
                check.report(&field, Code::EndpointOfOtherFamily, message, None);
            }
        }
    }
}

fn secret_is_base64<'v>(secret: &'v Value, check: &mut Checker<'v>) {
    let data = secret.get("data").and_then(Value::as_object);
    for (key, value) in data.into_iter().flatten() {
        if !value.as_str().is_some_and(base64) {
            check.broken(&format!(".data[\"{key}\"]"), Code::NotBase64);
        }
    }
}

/// Standard base64 with its padding; line breaks are allowed, as they are where the API server decodes it.
fn base64(text: &str) -> bool {
    let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = &text[..text.len() - padding];
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len().is_multiple_of(4) && padding <= 2 && digits.iter().all(digit)
}

fn tls_secret_is_complete<'v>(secret: &'v Value, check: &mut Checker<'v>) {
    if of(secret, "type") != "kubernetes.io/tls" {
        return;
    }
    let holds =
        |key: &str| ["data", "stringData"].iter().any(|map| secret.get(map).is_some_and(|map| has(map, key)));
    for key in ["tls.crt", "tls.key"] {
        if !holds(key) {
            let message = format!("a TLS Secret without `{key}`");
            check.report(".data", Code::TlsSecretIncomplete, message, Some(format!("add `{key}`")));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn base64_is_recognised() {
        for good in ["", "aGk=", "aGkh", "aA==", "aG\nk=\n"] {
            assert!(base64(good), "{good:?}");
        }
        for bad in ["a", "aGk", "a===", "====", "aG!=", "a=k="] {
            assert!(!base64(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_service_forwards_to_its_own_port_by_default() {
        let mut service = json!({"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "web"}]}});
        fill_service(&mut service);
        assert_eq!(
            service,
            json!({"spec": {"ports": [{"port": 80, "targetPort": 80}, {"port": 81, "targetPort": "web"}]}})
        );
    }
}
