//! What translation is told beside the objects. Passed in: nothing is ambient.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The name by which GatewayClasses choose ringway.
pub const CONTROLLER: &str = "ringway.dev/gateway-controller";

/// How objects are understood here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Classes with this `controllerName` are ours.
    pub controller: Arc<str>,
    /// A class that is ours without an object, such as `ringway` where a directory configures.
    pub implied_class: Option<Arc<str>>,
    /// Whether Services of type ExternalName may be backends. They let the owner of a Service reach any host from
    /// the proxy (CVE-2021-25740; checklist B6).
    pub allow_external_name: bool,
    /// All gateways share this machine's addresses: of two that bind the same port without an address of their own
    /// the older one has it.
    pub shared_host: bool,
    /// Addresses that a Gateway may ask for; `None`: any.
    pub usable_addresses: Option<BTreeSet<IpAddr>>,
    /// Where a Gateway that asks for no address is reached.
    pub default_addresses: Vec<IpAddr>,
    /// Addresses are those of what stands in front of the proxies, such as a Service: listeners bind every address of
    /// their pod, and whoever provisions says later what a Gateway's addresses are.
    pub addresses_in_front: bool,
}

impl Default for Options {
    /// In a cluster: addresses become known later, from what is provisioned.
    fn default() -> Self {
        Self {
            controller: CONTROLLER.into(),
            implied_class: None,
            allow_external_name: false,
            shared_host: false,
            usable_addresses: None,
            default_addresses: vec![],
            addresses_in_front: false,
        }
    }
}

impl Options {
    /// In a cluster, where each Gateway's proxies have a Service in front of them.
    pub fn cluster() -> Self {
        Self { addresses_in_front: true, ..Self::default() }
    }

    /// On one machine, configured from a directory, reached at these addresses.
    pub fn standalone(default_addresses: Vec<IpAddr>) -> Self {
        Self {
            implied_class: Some("ringway".into()),
            shared_host: true,
            default_addresses,
            ..Self::default()
        }
    }
}
