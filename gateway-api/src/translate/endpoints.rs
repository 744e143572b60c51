//! Endpoint sets: from a Service port and its EndpointSlices to addresses (checklist B2, B6, B7).
//!
//! A function of its own, because endpoints change by the second and structure does not wait for them, nor they for
//! structure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ringway_config::{Endpoint, pack};

use crate::objects::{EndpointSlice, Object, ObjectKey};
use crate::world::Name;

/// The label by which a slice names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// EndpointSlices by the Service they belong to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slices {
    by_service: BTreeMap<Name, BTreeMap<Arc<str>, Arc<EndpointSlice>>>,
    services: BTreeMap<Name, Name>,
}

impl Slices {
    /// The slices among these objects.
    pub fn of_objects<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let mut slices = Self::default();
        for object in objects {
            if let Object::EndpointSlice(slice) = object {
                slices.set(&object.key(), slice);
            }
        }
        slices
    }

    /// The slices of a Service, by name.
    pub fn of(&self, service: &Name) -> impl Iterator<Item = &EndpointSlice> {
        self.by_service.get(service).into_iter().flat_map(BTreeMap::values).map(|slice| &**slice)
    }

    /// Gives back the room that was made for more.
    pub(crate) fn pack(&mut self) {
        pack(&mut self.by_service);
        pack(&mut self.services);
    }

    /// Brings a slice in; returns the Services whose endpoints may have changed.
    pub(crate) fn set(&mut self, key: &ObjectKey, slice: &Arc<EndpointSlice>) -> Vec<Name> {
        let name = Name::from(key);
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
        let service = service.map(|service| Name::new(&key.namespace, service));
        let before = self.services.get(&name).cloned();
        let unchanged = before == service
            && service.as_ref().is_some_and(|service| {
                self.by_service.get(service).and_then(|slices| slices.get(&name.name)) == Some(slice)
            });
        if unchanged {
            return vec![];
        }
        let mut changed: Vec<Name> = self.remove(key).into_iter().collect();
        if let Some(service) = service {
            self.by_service
                .entry(service.clone())
                .or_default()
                .insert(Arc::clone(&name.name), Arc::clone(slice));
            self.services.insert(name, service.clone());
            if changed.first() != Some(&service) {
                changed.push(service);
            }
        }
        changed
    }

    /// Takes a slice out; returns the Service whose endpoints may have changed.
    pub(crate) fn remove(&mut self, key: &ObjectKey) -> Option<Name> {
        let service = self.services.remove(&Name::from(key))?;
        if let Some(slices) = self.by_service.get_mut(&service) {
            slices.remove(&key.name);
            if slices.is_empty() {
                self.by_service.remove(&service);
            }
        }
        Some(service)
    }
}

/// The endpoints of a Service port that take traffic: sorted, each once.
///
/// Those that are ready; if none is, those that still serve while they terminate, for a late answer is better than
/// none (kube-proxy does the same).
pub fn endpoints<'a>(
    port: &ServicePort,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Vec<Endpoint> {
    let (mut ready, mut terminating) = (vec![], vec![]);
    for slice in slices {
        for number in slice.ports.iter().flatten().filter_map(|offered| target(port, offered)) {
            for endpoint in slice.endpoints.iter().flatten() {
                let list = match State::of(endpoint) {
                    State::Ready => &mut ready,
                    State::ServingWhileTerminating => &mut terminating,
                    State::Out => continue,
                };
                let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
                list.extend(addresses.map(|ip| Endpoint { address: SocketAddr::new(ip, number) }));
            }
        }
    }
    let mut endpoints = if ready.is_empty() { terminating } else { ready };
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints
}

enum State {
    Ready,
    ServingWhileTerminating,
    Out,
}

impl State {
    fn of(endpoint: &SliceEndpoint) -> Self {
        let Some(conditions) = &endpoint.conditions else { return Self::Ready };
        // What is not said counts as true, but for terminating.
        let ready = conditions.ready.unwrap_or(true);
        let serving = conditions.serving.unwrap_or(ready);
        match (ready, serving, conditions.terminating.unwrap_or(false)) {
            (true, ..) => Self::Ready,
            (false, true, true) => Self::ServingWhileTerminating,
            _ => Self::Out,
        }
    }
}

/// The port number behind a Service port in a slice. Slices name the Service's ports, whatever its `targetPort`; one
/// without a number stands for every port, so the Service's own `targetPort` (if a number) or port is meant.
fn target(port: &ServicePort, offered: &EndpointPort) -> Option<u16> {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".into());
    if name(&port.name) != name(&offered.name) || protocol(&port.protocol) != protocol(&offered.protocol) {
        return None;
    }
    let number = offered.port.unwrap_or(match &port.target_port {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(_)) | None => port.port,
    });
    u16::try_from(number).ok().filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service_port(value: Value) -> ServicePort {
        serde_json::from_value(value).unwrap()
    }

    fn slice(value: Value) -> EndpointSlice {
        let mut value = value;
        value["addressType"] = json!("IPv4");
        value["apiVersion"] = json!("discovery.k8s.io/v1");
        value["kind"] = json!("EndpointSlice");
        value["metadata"] = json!({});
        serde_json::from_value(value).unwrap()
    }

    fn shown(port: Value, slices: &[Value]) -> Vec<String> {
        let slices: Vec<EndpointSlice> = slices.iter().cloned().map(slice).collect();
        endpoints(&service_port(port), &slices).iter().map(|endpoint| endpoint.address.to_string()).collect()
    }

    #[test]
    fn only_ready_endpoints_take_traffic_while_there_is_one() {
        let endpoint = |ip: &str, conditions: Value| json!({ "addresses": [ip], "conditions": conditions });
        let slice = json!({ "ports": [{ "port": 3000 }], "endpoints": [
            endpoint("10.0.0.3", json!({})),
            endpoint("10.0.0.1", json!({ "ready": true })),
            endpoint("10.0.0.2", json!({ "ready": false })),
            endpoint("10.0.0.4", json!({ "ready": false, "serving": true, "terminating": true })),
            endpoint("10.0.0.1", json!({ "ready": true })),
        ]});
        assert_eq!(shown(json!({ "port": 80 }), &[slice]), ["10.0.0.1:3000", "10.0.0.3:3000"]);
    }

    #[test]
    fn with_none_ready_those_that_serve_while_they_terminate_are_better_than_none() {
        let slice = json!({ "ports": [{ "port": 3000 }], "endpoints": [
            { "addresses": ["10.0.0.1"], "conditions": { "ready": false, "serving": true, "terminating": true } },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": false, "serving": false, "terminating": true } },
            { "addresses": ["10.0.0.3"], "conditions": { "ready": false } },
        ]});
        assert_eq!(shown(json!({ "port": 80 }), &[slice]), ["10.0.0.1:3000"]);
    }

    #[test]
    fn a_slice_port_is_found_by_the_service_ports_name_and_transport() {
        let slice = |ports: Value| json!({ "ports": ports, "endpoints": [{ "addresses": ["10.0.0.1"] }] });
        let two =
            slice(json!([{ "name": "web", "port": 3000 }, { "name": "dns", "protocol": "UDP", "port": 53 }]));
        for (port, expected) in [
            (json!({ "port": 80, "name": "web" }), vec!["10.0.0.1:3000"]),
            (json!({ "port": 80, "name": "web", "targetPort": "http" }), vec!["10.0.0.1:3000"]),
            (json!({ "port": 53, "name": "dns", "protocol": "UDP" }), vec!["10.0.0.1:53"]),
            (json!({ "port": 53, "name": "dns" }), vec![]),
            (json!({ "port": 80 }), vec![]),
        ] {
            assert_eq!(shown(port.clone(), std::slice::from_ref(&two)), expected, "{port}");
        }
        let every = slice(json!([{}]));
        for (port, expected) in [
            (json!({ "port": 80, "targetPort": 8080 }), "10.0.0.1:8080"),
            (json!({ "port": 80 }), "10.0.0.1:80"),
        ] {
            assert_eq!(shown(port, std::slice::from_ref(&every)), [expected]);
        }
    }

    #[test]
    fn both_families_and_several_slices_make_one_sorted_set() {
        let slice = |ips: &[&str]| json!({ "ports": [{ "port": 1 }], "endpoints": [{ "addresses": ips }] });
        assert_eq!(
            shown(
                json!({ "port": 80 }),
                &[slice(&["fd00::1"]), slice(&["10.0.0.2", "no address"]), slice(&["10.0.0.2"])]
            ),
            ["10.0.0.2:1", "[fd00::1]:1"]
        );
    }
}
