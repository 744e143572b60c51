//! One Gateway: whether it is accepted, where it is bound, what it shows to backends (checklist G1 to G12).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_config::{Bind, Certificate};

use super::Options;
use super::condition::{Problem, fails, holds, sentences};
use super::knobs;
use super::listener::{Entry, Speaks};
use super::parameters;
use super::secrets::certificate;
use crate::objects::*;
use crate::world::{Name, World};

/// What is known of a Gateway before its listeners are looked at together.
pub(crate) struct Judged<'w> {
    pub(crate) name: Name,
    pub(crate) object: &'w Gateway,
    pub(crate) generation: i64,
    refused: Vec<Problem>,
    addresses: Addresses,
    client_certificate: Option<Result<Arc<Certificate>, Problem>>,
    proxy_protocol: knobs::Listeners,
    pub(crate) request_body_bytes_max: Option<u64>,
    notes: Vec<String>,
}

/// Where a Gateway is bound.
struct Addresses {
    /// `None`: every address of the machine.
    binds: Vec<Option<IpAddr>>,
    /// Where it is reached.
    shown: Vec<IpAddr>,
    unusable: Option<Problem>,
}

impl<'w> Judged<'w> {
    /// Judges a Gateway of ours; `class` is what is wrong with its class.
    pub(crate) fn of(
        world: &World,
        options: &Options,
        name: Name,
        object: &'w Gateway,
        class: Result<(), String>,
    ) -> Self {
        let mut refused = vec![];
        if let Err(why) = class {
            let message = format!("GatewayClass {}: {why}", object.spec.gateway_class_name);
            refused.push(Problem::new("InvalidParameters", message));
        }
        if let Err(message) = parameters::of_gateway(world, &name.namespace, object) {
            refused.push(Problem::new("InvalidParameters", message));
        }
        let addresses = addresses(object, options, &mut refused);
        let mut notes = vec![];
        let proxy_protocol = knobs::proxy_protocol(object, &mut notes);
        let request_body_bytes_max = knobs::request_body_bytes_max(&object.metadata, &mut notes);
        let backend = object.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
        let client_certificate =
            backend.and_then(|tls| tls.client_certificate_ref.as_ref()).map(|reference| {
                let from = (Kind::Gateway, &*name.namespace);
                let field = "spec.tls.backend.clientCertificateRef";
                certificate(world, reference, from, field, "InvalidClientCertificateRef")
            });
        Self {
            generation: object.metadata.generation.unwrap_or_default(),
            name,
            object,
            refused,
            addresses,
            client_certificate,
            proxy_protocol,
            request_body_bytes_max,
            notes,
        }
    }

    /// What is wrong with the Gateway as a whole, its listeners included.
    pub(crate) fn refusal(&self, own: &[Entry<'_>]) -> Option<Problem> {
        if let Some(first) = self.refused.first() {
            return Some(Problem::new(first.reason, sentences(&self.refused)));
        }
        // A Gateway that only lends its addresses to ListenerSets needs no listener of its own.
        let none_asked = own.is_empty() && self.object.spec.allowed_listeners.is_some();
        let none_valid = !own.iter().any(Entry::accepted) && !none_asked;
        none_valid.then(|| Problem::new("ListenersNotValid", invalid_listeners(own)))
    }

    /// Why no listener is bound though the Gateway is accepted: none of its addresses can be had.
    pub(crate) fn unbound(&self) -> Option<Problem> {
        self.addresses.unusable.clone().filter(|_| self.addresses.binds.is_empty())
    }

    /// The certificate that is shown to backends.
    pub(crate) fn client_certificate(&self) -> Option<&Arc<Certificate>> {
        self.client_certificate.as_ref()?.as_ref().ok()
    }

    /// The sockets of a listener.
    pub(crate) fn binds(&self, port: u16, speaks: Speaks) -> Vec<Bind> {
        let transport = speaks.transport();
        self.addresses.binds.iter().map(|address| Bind { address: *address, port, transport }).collect()
    }

    /// Whether connections to a port begin with a PROXY header. It comes before everything by which listeners are
    /// told apart, so a port has it as a whole.
    pub(crate) fn proxy_protocol(&self, port: u16) -> bool {
        let listeners = &self.object.spec.listeners;
        self.proxy_protocol.all
            || listeners
                .iter()
                .any(|listener| listener.port == port && self.proxy_protocol.named.contains(&listener.name))
    }

    /// The Gateway's status, with no routes attached yet.
    pub(crate) fn status(&self, own: &[Entry<'_>], attached_listener_sets: i32) -> GatewayStatus {
        let refusal = self.refusal(own);
        let mut conditions =
            vec![self.accepted(own, refusal.as_ref()), self.programmed(own, refusal.as_ref())];
        conditions.extend(self.resolved(own));
        conditions.extend(self.insecure());
        let shown = |address: &IpAddr| GatewayAddress {
            kind: Some(AddressType::IpAddress),
            value: address.to_string(),
        };
        GatewayStatus {
            addresses: self.addresses.shown.iter().map(shown).collect(),
            conditions,
            listeners: own.iter().map(Entry::status).collect(),
            attached_listener_sets,
        }
    }

    fn accepted(&self, own: &[Entry<'_>], refusal: Option<&Problem>) -> Condition {
        if let Some(problem) = refusal {
            return fails("Accepted", problem.reason, problem.message.clone(), self.generation);
        }
        let mut notes = self.notes.clone();
        let reason = if own.iter().all(Entry::accepted) {
            "Accepted"
        } else {
            notes.insert(0, invalid_listeners(own));
            "ListenersNotValid"
        };
        let message = if notes.is_empty() { "The Gateway is accepted".into() } else { notes.join("; ") };
        holds("Accepted", reason, message, self.generation)
    }

    fn programmed(&self, own: &[Entry<'_>], refusal: Option<&Problem>) -> Condition {
        if let Some(problem) = refusal {
            let message = format!("Not accepted: {}", problem.message);
            return fails("Programmed", "Invalid", message, self.generation);
        }
        if let Some(problem) = &self.addresses.unusable {
            return fails("Programmed", problem.reason, problem.message.clone(), self.generation);
        }
        let idle: Vec<&str> =
            own.iter().filter(|entry| !entry.serves()).map(|entry| &*entry.spec.name).collect();
        let message = match &idle[..] {
            [] => "The Gateway is configured".to_owned(),
            idle => {
                format!("The Gateway is configured, but for listeners that do not serve: {}", idle.join(", "))
            }
        };
        holds("Programmed", "Programmed", message, self.generation)
    }

    /// Only there when something is referred to (checklist G3).
    fn resolved(&self, own: &[Entry<'_>]) -> Option<Condition> {
        let generation = self.generation;
        if let Some(Err(problem)) = &self.client_certificate {
            return Some(fails("ResolvedRefs", problem.reason, problem.message.clone(), generation));
        }
        let unresolved: Vec<&str> =
            own.iter().filter(|entry| !entry.unresolved.is_empty()).map(|entry| &*entry.spec.name).collect();
        if !unresolved.is_empty() {
            let message = format!("References of listeners are not resolved: {}", unresolved.join(", "));
            return Some(fails("ResolvedRefs", "ListenersNotResolved", message, generation));
        }
        let refers = self.client_certificate.is_some()
            || own.iter().any(|entry| !entry.certificates.is_empty() || entry.client.is_some());
        refers.then(|| holds("ResolvedRefs", "ResolvedRefs", "All references are resolved", generation))
    }

    /// Warns while some client needs no valid certificate though one is asked for (checklist G4).
    fn insecure(&self) -> Option<Condition> {
        let frontend = self.object.spec.tls.as_ref()?.frontend.as_ref()?;
        let configs =
            std::iter::once(&frontend.default).chain(frontend.per_port.iter().map(|port| &port.tls));
        let insecure = configs
            .filter_map(|config| config.validation.as_ref())
            .any(|validation| validation.mode == Some(FrontendValidationMode::AllowInsecureFallback));
        let message =
            "spec.tls.frontend: clients without a valid certificate are let in (AllowInsecureFallback)";
        insecure.then(|| {
            holds("InsecureFrontendValidationMode", "ConfigurationChanged", message, self.generation)
        })
    }
}

fn invalid_listeners(own: &[Entry<'_>]) -> String {
    if own.is_empty() {
        return "spec.listeners: none".into();
    }
    let of = |accepted: bool| {
        let names: Vec<&str> =
            own.iter().filter(|entry| entry.accepted() == accepted).map(|entry| &*entry.spec.name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    format!("Listeners that are not accepted: {}; accepted: {}", of(false), of(true))
}

fn addresses(gateway: &Gateway, options: &Options, refused: &mut Vec<Problem>) -> Addresses {
    let mut binds = vec![];
    let mut shown = vec![];
    let mut unusable = vec![];
    let mut default_wanted = gateway.spec.addresses.is_empty();
    for (index, address) in gateway.spec.addresses.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        match &address.kind {
            None | Some(AddressType::IpAddress) => {}
            Some(other) => {
                let message = format!("{field}.type: {:?} is not supported", other.as_str());
                refused.push(Problem::new("UnsupportedAddress", message));
                continue;
            }
        }
        if address.value.is_empty() {
            default_wanted = true;
            continue;
        }
        if options.addresses_in_front {
            continue;
        }
        let usable = |ip: &IpAddr| options.usable_addresses.as_ref().is_none_or(|usable| usable.contains(ip));
        match address.value.parse::<IpAddr>().ok().filter(usable) {
            Some(ip) => {
                binds.push(Some(ip));
                shown.push(ip);
            }
            None => {
                let message = format!("{field}.value: {:?} is no address of this gateway", address.value);
                unusable.push(Problem::new("AddressNotUsable", message));
            }
        }
    }
    if options.addresses_in_front {
        return Addresses { binds: vec![None], shown, unusable: None };
    }
    if default_wanted {
        binds.push(None);
        shown.extend(&options.default_addresses);
        if options.default_addresses.is_empty() {
            unusable.push(Problem::new("AddressNotAssigned", "No address has been assigned yet"));
        }
    }
    // With every address bound, binding one of them again would only fail.
    if binds.contains(&None) {
        binds = vec![None];
    }
    let unusable = unusable.first().map(|first| Problem::new(first.reason, sentences(&unusable)));
    Addresses { binds, shown, unusable }
}

/// Which gateway has which socket, when all share a machine.
#[derive(Default)]
pub(crate) struct Taken(BTreeMap<Bind, Name>);

impl Taken {
    /// Refuses listeners whose socket an older gateway has, and takes the sockets of the others.
    pub(crate) fn take(&mut self, gateway: &Judged<'_>, entries: &mut [Entry<'_>]) {
        for entry in entries {
            let Some(speaks) = entry.speaks.filter(|_| entry.accepted()) else { continue };
            for bind in gateway.binds(entry.spec.port, speaks) {
                match self.0.get(&bind) {
                    Some(holder) if *holder != gateway.name => {
                        let message = format!(
                            "port: {} is taken by Gateway {holder}, which is older; both use {}",
                            bind.port,
                            match bind.address {
                                Some(address) => format!("the address {address}"),
                                None => "every address of this machine (see spec.addresses)".into(),
                            }
                        );
                        entry.refused.push(Problem::new("PortUnavailable", message));
                        break;
                    }
                    _ => drop(self.0.insert(bind, gateway.name.clone())),
                }
            }
        }
    }
}
