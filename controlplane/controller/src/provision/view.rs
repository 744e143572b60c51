//! What provisioning looks at: a Gateway, the ports that its listeners have, and how this ringway is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ringway_config::{Listener, Transport};
use ringway_gateway_api::objects::{AddressType, Gateway, Protocol};

/// A port of a Gateway. One number may be a TCP port and a UDP port.
pub type Port = (u16, Transport);

/// What of a Gateway decides what is made for it.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayView {
    /// Its namespace, where everything is made.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// By which what is made is known to be its own.
    pub uid: String,
    /// Its class.
    pub class: String,
    /// `spec.infrastructure.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// The addresses that it asks for.
    pub asked: BTreeSet<IpAddr>,
    /// Whether an address is to be found for it: it asks for none, or for one without saying which.
    pub any_address: bool,
    /// The ports of its listeners and of the ListenerSets that are merged into it.
    pub ports: BTreeSet<Port>,
}

impl GatewayView {
    /// `ports` are those of the translation (see [`ports`]). Where it has none, as while a certificate is missing, those
    /// that the Gateway speaks of are taken, so that it has its address before all is well.
    pub fn of(gateway: &Gateway, ports: BTreeSet<Port>) -> Self {
        let metadata = &gateway.metadata;
        let infrastructure = gateway.spec.infrastructure.clone().unwrap_or_default();
        let addresses = &gateway.spec.addresses;
        let asked = addresses
            .iter()
            .filter(|address| matches!(address.kind, None | Some(AddressType::IpAddress)))
            .filter_map(|address| address.value.parse().ok());
        let spoken_of = || {
            let listeners = gateway.spec.listeners.iter();
            listeners.filter_map(|listener| Some((listener.port, transport(&listener.protocol)?))).collect()
        };
        Self {
            namespace: metadata.namespace.clone().unwrap_or_else(|| "default".into()),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            class: gateway.spec.gateway_class_name.clone(),
            labels: infrastructure.labels,
            annotations: infrastructure.annotations,
            asked: asked.collect(),
            any_address: addresses.is_empty() || addresses.iter().any(|address| address.value.is_empty()),
            ports: if ports.is_empty() { spoken_of() } else { ports },
        }
    }
}

fn transport(protocol: &Protocol) -> Option<Transport> {
    match protocol {
        Protocol::Http | Protocol::Https | Protocol::Tls | Protocol::Tcp => Some(Transport::Tcp),
        Protocol::Udp => Some(Transport::Udp),
        Protocol::Unknown(_) => None,
    }
}

/// The ports of listeners, as they were translated.
pub fn ports<'l>(listeners: impl IntoIterator<Item = &'l Listener>) -> BTreeSet<Port> {
    let binds = listeners.into_iter().flat_map(|listener| &listener.binds);
    binds.map(|bind| (bind.port, bind.transport)).collect()
}

/// How this ringway is installed, as far as its proxies depend on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Install {
    /// The image of the proxies: the controller's own.
    pub image: String,
    /// Where the controller is reached, such as `https://ringway-controller.ringway-system.svc:15010`.
    pub controller: String,
    /// The authorities, in PEM, by which a proxy knows the controller.
    pub ca: String,
}
