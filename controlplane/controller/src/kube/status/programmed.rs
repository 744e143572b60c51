//! What only a running cluster can tell of a Gateway: where it is reached, and whether its proxies have what they
//! should. Pure.
//!
//! Translation says what a Gateway would be; `Programmed` holds once an address is there and proxies acknowledged.
//! Proxies that come and go never take it back.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use ringway_gateway_api::objects::{AddressType, Gateway, GatewayAddress};
use serde_json::{Value, json};

/// How far a Gateway's proxies are with what is published for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The proxies that have all of it.
    pub have: BTreeSet<String>,
    /// The proxies that are connected and do not have it yet.
    pub lag: BTreeSet<String>,
    /// What proxies refused, and why.
    pub refused: BTreeSet<String>,
    /// Listeners without a socket, and why.
    pub unbound: BTreeSet<(String, String)>,
}

impl Progress {
    /// Whether there is nothing to wait for.
    pub fn is_complete(&self) -> bool {
        self.lag.is_empty() && !self.have.is_empty()
    }
}

/// Completes what translation says of a Gateway. `was_programmed`: its status says so already.
pub fn complete(
    status: &mut Value,
    gateway: &Gateway,
    assigned: &[GatewayAddress],
    progress: &Progress,
    was_programmed: bool,
) {
    let (addresses, missing) = addresses(gateway, assigned);
    status["addresses"] = json!(addresses);
    for (listener, why) in &progress.unbound {
        unbound(status, listener, why);
    }
    let wrong = if let Some(missing) = missing {
        Some(missing)
    } else if !progress.refused.is_empty() {
        let refused: Vec<&str> = progress.refused.iter().take(5).map(String::as_str).collect();
        Some(("Invalid", format!("Proxies refuse a part of it and keep what they had: {}", refused.join("; "))))
    } else if !progress.have.is_empty() || was_programmed {
        None
    } else if progress.lag.is_empty() {
        Some(("Pending", "No proxy of the Gateway has connected yet".to_owned()))
    } else {
        Some(("Pending", format!("Proxies have not acknowledged yet: {}", names(&progress.lag))))
    };
    let Some(programmed) = condition(status, "Programmed").filter(|programmed| programmed["status"] == "True")
    else {
        return;
    };
    match wrong {
        Some((reason, message)) => {
            programmed["status"] = json!("False");
            programmed["reason"] = json!(reason);
            programmed["message"] = json!(message);
        }
        None if !progress.lag.is_empty() && !progress.have.is_empty() => {
            programmed["message"] =
                json!(format!("The Gateway is configured; proxies that lag: {}", names(&progress.lag)));
        }
        None => {}
    }
}

/// Whether a status says that its Gateway is programmed.
pub fn is_programmed(status: &Value) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|found| found["type"] == "Programmed" && found["status"] == "True")
}

/// Where what stands in front of a Gateway's proxies is reached: a cluster's own address if it is only for the cluster,
/// else what a load balancer gives.
pub fn of_service(service: &Service) -> Vec<GatewayAddress> {
    let ip = |value: &String| GatewayAddress { kind: Some(AddressType::IpAddress), value: value.clone() };
    let name = |value: &String| GatewayAddress { kind: Some(AddressType::Hostname), value: value.clone() };
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP") == "ClusterIP" {
        let addresses = spec.and_then(|spec| spec.cluster_ips.as_ref()).into_iter().flatten();
        return addresses.filter(|address| *address != "None").map(ip).collect();
    }
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    points.filter_map(|point| point.ip.as_ref().map(ip).or(point.hostname.as_ref().map(name))).collect()
}

/// The addresses to show, and what is wrong with them.
fn addresses(
    gateway: &Gateway,
    assigned: &[GatewayAddress],
) -> (Vec<GatewayAddress>, Option<(&'static str, String)>) {
    let asked = &gateway.spec.addresses;
    let named: Vec<&str> =
        asked.iter().map(|address| &*address.value).filter(|value| !value.is_empty()).collect();
    let has = |value: &str| assigned.iter().any(|address| address.value == value);
    if let Some(value) = named.iter().find(|value| !has(value)) {
        let shown = assigned.iter().filter(|address| named.contains(&&*address.value)).cloned().collect();
        return (shown, Some(("AddressNotUsable", format!("spec.addresses: {value:?} is not to be had"))));
    }
    if assigned.is_empty() {
        return (vec![], Some(("AddressNotAssigned", "No address has been assigned yet".to_owned())));
    }
    let all_named = !named.is_empty() && named.len() == asked.len();
    let shown = assigned.iter().filter(|address| !all_named || named.contains(&&*address.value));
    (shown.cloned().collect(), None)
}

fn unbound(status: &mut Value, listener: &str, why: &str) {
    let listeners = status.get_mut("listeners").and_then(Value::as_array_mut);
    let found = listeners.into_iter().flatten().find(|found| found["name"] == listener);
    let Some(found) = found else { return };
    for (kind, reason) in [("Accepted", "PortUnavailable"), ("Programmed", "Invalid")] {
        if let Some(condition) = condition(found, kind) {
            condition["status"] = json!("False");
            condition["reason"] = json!(reason);
            condition["message"] = json!(format!("A proxy cannot listen: {why}"));
        }
    }
}

fn condition<'v>(value: &'v mut Value, kind: &str) -> Option<&'v mut Value> {
    let conditions = value.get_mut("conditions").and_then(Value::as_array_mut)?;
    conditions.iter_mut().find(|condition| condition["type"] == kind)
}

fn names(pods: &BTreeSet<String>) -> String {
    const SHOWN_MAX: usize = 5;
    let mut text = pods.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if pods.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", pods.len() - SHOWN_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(value: &str) -> GatewayAddress {
        GatewayAddress { kind: Some(AddressType::IpAddress), value: value.to_owned() }
    }

    fn gateway(addresses: &[&str]) -> Gateway {
        let mut gateway = Gateway::default();
        gateway.spec.addresses = addresses.iter().map(|value| ip(value)).collect();
        gateway
    }

    fn pods(pods: &[&str]) -> BTreeSet<String> {
        pods.iter().map(ToString::to_string).collect()
    }

    /// Status, reason and message of `Programmed`, and the addresses.
    fn completed(
        asked: &[&str],
        assigned: &[&str],
        progress: &Progress,
        was_programmed: bool,
    ) -> (String, Vec<String>) {
        let mut status = json!({
            "conditions": [{"type": "Programmed", "status": "True", "reason": "Programmed", "message": "ok"}],
            "listeners": [{"name": "web", "conditions": [{"type": "Accepted", "status": "True"}]}],
        });
        let assigned: Vec<GatewayAddress> = assigned.iter().map(|value| ip(value)).collect();
        complete(&mut status, &gateway(asked), &assigned, progress, was_programmed);
        let programmed = &status["conditions"][0];
        let addresses = status["addresses"].as_array().unwrap();
        (
            programmed["reason"].as_str().unwrap().to_owned(),
            addresses.iter().map(|address| address["value"].as_str().unwrap().to_owned()).collect(),
        )
    }

    #[test]
    fn programmed_needs_an_address_and_a_proxy_that_has_it() {
        let none = Progress::default();
        let have = Progress { have: pods(&["a"]), ..Progress::default() };
        let lag = Progress { lag: pods(&["a"]), ..Progress::default() };
        let refused = Progress { refused: pods(&["listener x: no"]), ..have.clone() };
        for (asked, assigned, progress, was, expected, shown) in [
            (&[][..], &[][..], &have, false, "AddressNotAssigned", &[][..]),
            (&[], &["1.1.1.1"], &none, false, "Pending", &["1.1.1.1"]),
            (&[], &["1.1.1.1"], &lag, false, "Pending", &["1.1.1.1"]),
            (&[], &["1.1.1.1"], &have, false, "Programmed", &["1.1.1.1"]),
            // Proxies that roll do not take it back.
            (&[], &["1.1.1.1"], &none, true, "Programmed", &["1.1.1.1"]),
            (&[], &["1.1.1.1"], &refused, true, "Invalid", &["1.1.1.1"]),
            (&["1.1.1.1"], &["1.1.1.1", "2.2.2.2"], &have, false, "Programmed", &["1.1.1.1"]),
            (&["1.1.1.1", "3.3.3.3"], &["1.1.1.1"], &have, false, "AddressNotUsable", &["1.1.1.1"]),
            (&[""], &["1.1.1.1"], &have, false, "Programmed", &["1.1.1.1"]),
        ] {
            let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
            assert_eq!(completed(asked, assigned, progress, was), (expected.to_owned(), shown), "{asked:?}");
        }
    }

    #[test]
    fn a_listener_without_a_socket_says_so() {
        let mut status = json!({
            "listeners": [{"name": "web", "conditions": [{"type": "Accepted", "status": "True"}]}],
        });
        let unbound = [("web".to_owned(), "in use".to_owned())].into();
        let progress = Progress { unbound, ..Progress::default() };
        complete(&mut status, &gateway(&[]), &[], &progress, false);
        assert_eq!(status["listeners"][0]["conditions"][0]["reason"], "PortUnavailable");
    }

    #[test]
    fn a_service_for_the_cluster_shows_its_own_address_and_any_other_what_a_balancer_gives() {
        let service = |value: Value| serde_json::from_value::<Service>(value).unwrap();
        let values = |service: &Service| {
            of_service(service).into_iter().map(|address| address.value).collect::<Vec<_>>()
        };
        let ingress = json!({"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "lb.example"}]}});
        let spec = |kind: &str| json!({"type": kind, "clusterIPs": ["10.0.0.1"]});
        assert_eq!(values(&service(json!({"spec": spec("ClusterIP"), "status": ingress}))), ["10.0.0.1"]);
        let balanced = service(json!({"spec": spec("LoadBalancer"), "status": ingress}));
        assert_eq!(values(&balanced), ["9.9.9.9", "lb.example"]);
        assert!(values(&service(json!({"spec": spec("LoadBalancer")}))).is_empty());
        assert!(values(&service(json!({"spec": {"clusterIPs": ["None"]}}))).is_empty());
    }
}
