//! Where a Gateway is reached: what its Services came to (checklist G7 to G9). Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use ringway_gateway_api::objects::{AddressType, GatewayAddress};

use super::apply::Refusal;
use super::objects::{Made, Objects};

/// Where a Gateway is reached, and what of what it asked for it has not got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Addresses {
    /// `status.addresses`.
    pub reached: Vec<GatewayAddress>,
    /// What is missing: the reason of `Programmed=False` and a sentence.
    pub missing: Option<(&'static str, String)>,
}

/// The addresses of a Gateway: what should be there, the Services that are, and what was refused.
pub fn addresses(desired: &Objects, live: &[Service], refusals: &[Refusal]) -> Addresses {
    let mut addresses = Addresses::default();
    let mut not_usable = vec![];
    let mut not_assigned = vec![];
    for service in &desired.services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let asked = asked(service);
        let refusal = refusals.iter().find(|refusal| refusal.made == Made::Service && refusal.name == name);
        let there = live.iter().find(|live| live.metadata.name.as_deref() == Some(name));
        let reached = there.map(reached).unwrap_or_default();
        match (asked, refusal) {
            (Some(ip), Some(refusal)) => not_usable.push(format!("{ip} cannot be had: {}", refusal.message)),
            (None, Some(refusal)) => not_assigned.push(refusal.message.clone()),
            (Some(ip), None) if !reached.is_empty() && !reached.iter().any(|got| is(got, ip)) => {
                not_usable.push(format!("{ip} was asked for, and Service {name} got another address"));
            }
            (Some(ip), None) if reached.is_empty() => {
                not_assigned.push(format!("Service {name} has not got {ip} yet"));
            }
            (None, None) if reached.is_empty() => {
                not_assigned.push(format!("Service {name} has no address yet; is there a load balancer?"));
            }
            (Some(ip), None) => addresses.reached.extend(reached.into_iter().filter(|got| is(got, ip))),
            (None, None) => addresses.reached.extend(reached),
        }
    }
    addresses.missing = match (not_usable.is_empty(), not_assigned.is_empty()) {
        (false, _) => Some(("AddressNotUsable", not_usable.join("; "))),
        (true, false) => Some(("AddressNotAssigned", not_assigned.join("; "))),
        (true, true) if desired.services.is_empty() => {
            Some(("AddressNotAssigned", "No listener has a port that could be reached".to_owned()))
        }
        (true, true) => None,
    };
    addresses
}

/// The address that a Service should get.
fn asked(service: &Service) -> Option<IpAddr> {
    let spec = service.spec.as_ref()?;
    spec.cluster_ip.as_deref().or(spec.load_balancer_ip.as_deref())?.parse().ok()
}

/// Where a Service is reached from where its type says. A cluster IP is an address of a gateway only where nothing
/// else was asked for: from outside it leads nowhere.
fn reached(service: &Service) -> Vec<GatewayAddress> {
    let Some(spec) = &service.spec else { return vec![] };
    if spec.type_.as_deref() == Some("ClusterIP") {
        let all = spec.cluster_ips.iter().flatten();
        return all.filter(|ip| ip.parse::<IpAddr>().is_ok()).map(|ip| ip_address(ip)).collect();
    }
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let address = |ingress: &k8s_openapi::api::core::v1::LoadBalancerIngress| {
        let hostname = || {
            let value = ingress.hostname.clone()?;
            Some(GatewayAddress { kind: Some(AddressType::Hostname), value })
        };
        ingress.ip.as_deref().map(ip_address).or_else(hostname)
    };
    ingress.into_iter().flatten().filter_map(address).collect()
}

fn ip_address(text: &str) -> GatewayAddress {
    GatewayAddress { kind: Some(AddressType::IpAddress), value: text.to_owned() }
}

fn is(address: &GatewayAddress, ip: IpAddr) -> bool {
    address.value.parse() == Ok(ip)
}
