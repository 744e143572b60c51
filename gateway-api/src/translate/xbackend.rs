//! XBackends: an external host by name, with its own protocol and TLS (checklist XB1 to XB3).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_config::{Certificate, Host, UpstreamTls};

use super::backend::{Carries, Language, carried};
use super::condition::{Problem, unless};
use super::policy::demand;
use super::secrets::certificate;
use crate::objects::*;
use crate::world::{Name, World};

/// An XBackend with everything that is wrong with it.
pub(crate) struct Judged {
    pub(crate) refused: Vec<Problem>,
    unresolved: Vec<Problem>,
    pub(crate) host: Option<Arc<str>>,
    pub(crate) tls: Option<UpstreamTls>,
    pub(crate) client_certificate: Option<Arc<Certificate>>,
}

/// Judges an XBackend.
pub(crate) fn judge(world: &World, name: &Name, object: &XBackend) -> Judged {
    let mut judged =
        Judged { refused: vec![], unresolved: vec![], host: None, tls: None, client_certificate: None };
    let spec = &object.spec;
    if spec.kind != Some(XBackendType::ExternalHostname) {
        let text = spec.kind.as_ref().map_or("", |kind| kind.as_str());
        judged.refuse("UnsupportedValue", format!("spec.type: {text:?} is not supported"));
    }
    if spec.port.port == 0 {
        judged.refuse("Invalid", "spec.port: missing".into());
    }
    let hostname = spec.external_hostname.as_ref().map_or("", |external| &external.hostname);
    match host(hostname) {
        Ok(host) => judged.host = Some(host),
        Err(why) => judged.refuse("Invalid", format!("spec.externalHostname.hostname: {hostname:?} {why}")),
    }
    if let Some(tls) = &spec.tls {
        judged.tls(world, name, tls, hostname);
    }
    judged
}

impl Judged {
    fn refuse(&mut self, reason: &'static str, message: String) {
        self.refused.push(Problem::new(reason, message));
    }

    fn tls(&mut self, world: &World, name: &Name, tls: &XBackendTls, hostname: &str) {
        match &tls.mode {
            XBackendTlsMode::None => return,
            XBackendTlsMode::ServerOnly => {}
            XBackendTlsMode::ClientAndServer => self.client(world, name, tls),
            XBackendTlsMode::Unknown(text) => {
                self.refuse("UnsupportedValue", format!("spec.tls.mode: {text:?} is not known"));
                return;
            }
        }
        let mut validation = tls.validation.clone().unwrap_or_default();
        // What the API leaves open: the server's name is the host's, and its issuer one that this machine trusts.
        if validation.hostname.is_empty() {
            hostname.clone_into(&mut validation.hostname);
        }
        if validation.ca_certificate_refs.is_empty() && validation.well_known_ca_certificates.is_none() {
            validation.well_known_ca_certificates = Some(WellKnownCaCertificates::System);
        }
        let demand = demand(world, &name.namespace, &validation, "spec.tls.validation");
        self.refused.extend(demand.refused);
        self.unresolved.extend(demand.unresolved);
        self.tls = demand.tls;
    }

    fn client(&mut self, world: &World, name: &Name, tls: &XBackendTls) {
        let field = "spec.tls.clientCertificateRef";
        let Some(reference) = &tls.client_certificate_ref else {
            return self.refuse("Invalid", format!("{field}: missing, with mode ClientAndServer"));
        };
        let from = (Kind::XBackend, &*name.namespace);
        match certificate(world, reference, from, field, "InvalidClientCertificateRef") {
            Ok(certificate) => self.client_certificate = Some(certificate),
            Err(problem) => {
                self.refused.push(Problem::new("Invalid", problem.message.clone()));
                self.unresolved.push(problem);
            }
        }
    }
}

/// What is spoken to an XBackend.
pub(crate) fn language(object: &XBackend, carries: Carries) -> Result<Language, String> {
    let grpc = carries == Carries::Grpc;
    let protocol = object.spec.protocol.as_ref();
    let refused = |protocol: &XBackendProtocol| {
        Err(format!("protocol {:?} cannot carry {}", protocol.as_str(), carried(carries)))
    };
    match (carries, protocol) {
        (Carries::Udp, _) => Err("UDP is not possible".into()),
        (Carries::Tcp { .. }, None | Some(XBackendProtocol::Tcp)) => Ok(Language::Bytes),
        (Carries::Tcp { .. }, Some(protocol)) => refused(protocol),
        (_, None | Some(XBackendProtocol::Http)) if grpc => Ok(Language::Http2),
        (_, None | Some(XBackendProtocol::Http)) => Ok(Language::Http1),
        (_, Some(XBackendProtocol::Http2 | XBackendProtocol::H2c | XBackendProtocol::Grpc)) => {
            Ok(Language::Http2)
        }
        (_, Some(XBackendProtocol::Http11 | XBackendProtocol::Mcp)) if !grpc => Ok(Language::Http1),
        (_, Some(protocol)) => refused(protocol),
    }
}

/// The statuses of XBackends that gateways of ours reach.
pub(crate) fn statuses(
    world: &World,
    controller: &str,
    gateways: impl Fn(&Name) -> Vec<Name>,
) -> BTreeMap<Name, XBackendStatus> {
    let mut statuses = BTreeMap::new();
    for (name, object) in world.x_backends.iter() {
        let parents = gateways(&name);
        if parents.is_empty() {
            continue;
        }
        let judged = judge(world, &name, object);
        let generation = object.metadata.generation.unwrap_or_default();
        let conditions = vec![
            unless("Accepted", ("Accepted", "The backend is accepted"), &judged.refused, generation),
            unless(
                "ResolvedRefs",
                ("ResolvedRefs", "All references are resolved"),
                &judged.unresolved,
                generation,
            ),
        ];
        let entry = |gateway: Name| RouteParentStatus {
            parent_ref: ParentReference {
                group: Some(GROUP.into()),
                kind: Some("Gateway".into()),
                namespace: Some(gateway.namespace.to_string()),
                name: gateway.name.to_string(),
                ..ParentReference::default()
            },
            controller_name: controller.into(),
            conditions: conditions.clone(),
        };
        let parents = parents.into_iter().take(PARENTS_MAX).map(entry).collect();
        statuses.insert(name, XBackendStatus { parents });
    }
    statuses
}

/// The CRD takes no more entries.
const PARENTS_MAX: usize = 32;

/// An external host is named, and is not inside the cluster: a Service is what leads there.
fn host(text: &str) -> Result<Arc<str>, &'static str> {
    let host = Host::parse(text).map_err(|_| "is no host name")?;
    if host.as_str().parse::<IpAddr>().is_ok() || host.as_str().starts_with('[') {
        return Err("is an IP address");
    }
    if host.as_str().ends_with(".cluster.local") {
        return Err("is inside the cluster");
    }
    Ok(host.as_str().into())
}
