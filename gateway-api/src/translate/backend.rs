//! What a backend reference leads to: a way to speak to a Service port or an XBackend, or a reason why not
//! (checklist B1, B6 to B9, XB1, XB2).

use ringway_config::{CertificateKey, ClusterKey, EndpointSetKey};

use super::Options;
use super::condition::Problem;
use super::grants::permitted;
use super::policy::Policies;
use super::xbackend;
use crate::objects::*;
use crate::world::{Name, World};

/// A Service or XBackend by name: what a route depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BackendName {
    pub(crate) kind: Kind,
    pub(crate) name: Name,
}

/// The endpoints of a backend port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortId {
    pub(crate) backend: BackendName,
    pub(crate) port: u16,
    pub(crate) udp: bool,
}

/// A cluster by everything that tells it from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClusterId {
    pub(crate) port: PortId,
    pub(crate) language: Language,
    pub(crate) tls: bool,
    /// What is shown to the backend.
    pub(crate) certificate: Option<CertificateKey>,
}

/// What is spoken to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Language {
    Http1,
    Http2,
    Bytes,
}

/// What a route carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    Http,
    Grpc,
    /// TCP; with TLS to the backend if its policy demands it, or none because the client's own is passed on.
    Tcp {
        passthrough: bool,
    },
    Udp,
}

impl PortId {
    /// Sorts before every port of a backend.
    pub(crate) fn first_of(backend: &BackendName) -> Self {
        Self { backend: backend.clone(), port: 0, udp: false }
    }

    pub(crate) fn key(&self) -> EndpointSetKey {
        let udp = if self.udp { "/udp" } else { "" };
        EndpointSetKey::new(format!("{}/{}/{}{udp}", self.backend.kind, self.backend.name, self.port))
    }
}

impl ClusterId {
    /// Sorts before every cluster of a backend.
    pub(crate) fn first_of(backend: &BackendName) -> Self {
        Self { port: PortId::first_of(backend), language: Language::Http1, tls: false, certificate: None }
    }

    pub(crate) fn key(&self) -> ClusterKey {
        let port = &self.port;
        let language = match self.language {
            Language::Http1 => "http1",
            Language::Http2 => "http2",
            Language::Bytes if port.udp => "udp",
            Language::Bytes => "tcp",
        };
        let tls = if self.tls { "/tls" } else { "" };
        let mut text = format!("{}/{}/{}/{language}{tls}", port.backend.kind, port.backend.name, port.port);
        if let Some(certificate) = &self.certificate {
            text.push('/');
            text.push_str(certificate.as_str());
        }
        ClusterKey::new(text)
    }
}

/// Where a reference leads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Destination {
    Cluster(ClusterId),
    /// It exists, but what its TLS demands cannot be had; the policy's status says why.
    Unreachable,
}

/// Follows references. Everything it reads is an input of the route that asks.
#[derive(Clone, Copy)]
pub(crate) struct Resolver<'a> {
    pub(crate) world: &'a World,
    pub(crate) policies: &'a Policies,
    pub(crate) options: &'a Options,
}

impl Resolver<'_> {
    /// Follows a reference of a route of kind `from.0` in namespace `from.1`.
    pub(crate) fn resolve(
        self,
        reference: &BackendRef,
        from: (Kind, &str),
        carries: Carries,
        field: &str,
    ) -> Result<Destination, Problem> {
        let kind = kind(reference, field)?;
        let namespace = reference.namespace.as_deref().unwrap_or(from.1);
        let name = backend_name(self.world, kind, namespace, &reference.name);
        if !permitted(self.world, from, (kind.group(), kind.as_str()), (namespace, &reference.name)) {
            let message = format!("{field}: no ReferenceGrant lets this {} use {kind} {name}", from.0);
            return Err(Problem::new("RefNotPermitted", message));
        }
        let backend = BackendName { kind, name };
        match kind {
            Kind::XBackend => self.x_backend(backend, carries, field),
            _ => self.service(backend, reference.port, carries, field),
        }
    }

    fn service(
        self,
        backend: BackendName,
        port: Option<u16>,
        carries: Carries,
        field: &str,
    ) -> Result<Destination, Problem> {
        let name = &backend.name;
        let not_found = |what: String| Problem::new("BackendNotFound", format!("{field}: {what}"));
        let service = self
            .world
            .services
            .get(&name.namespace, &name.name)
            .ok_or_else(|| not_found(format!("Service {name} not found")))?;
        let port = port.ok_or_else(|| not_found(format!("port: required for Service {name}")))?;
        let udp = carries == Carries::Udp;
        let known = service_port(service, port, udp)
            .ok_or_else(|| not_found(format!("Service {name} has no {} port {port}", transport(udp))))?;
        if external_name(service).is_some() && !self.options.allow_external_name {
            let message = format!(
                "{field}: Service {name} is of type ExternalName, by which its owner could reach any host; \
                 use an XBackend, or allow it (--allow-external-name)"
            );
            return Err(Problem::new("RefNotPermitted", message));
        }
        let demand = match carries {
            Carries::Tcp { passthrough: true } | Carries::Udp => Ok(None),
            _ => self.policies.demand(name, known.name.as_deref()),
        };
        let Ok(demand) = demand else { return Ok(Destination::Unreachable) };
        let tls = demand.is_some();
        let language = language(known.app_protocol.as_deref(), carries, tls).map_err(|why| {
            let message = format!("{field}: Service {name} port {port}: {why}");
            Problem::new("UnsupportedProtocol", message)
        })?;
        let port = PortId { backend, port, udp };
        Ok(Destination::Cluster(ClusterId { port, language, tls, certificate: None }))
    }

    fn x_backend(self, backend: BackendName, carries: Carries, field: &str) -> Result<Destination, Problem> {
        let name = &backend.name;
        let object =
            self.world.x_backends.get(&name.namespace, &name.name).ok_or_else(|| {
                Problem::new("BackendNotFound", format!("{field}: XBackend {name} not found"))
            })?;
        let language = xbackend::language(object, carries)
            .map_err(|why| Problem::new("UnsupportedProtocol", format!("{field}: XBackend {name}: {why}")))?;
        let judged = xbackend::judge(self.world, name, object);
        if !judged.refused.is_empty() {
            return Ok(Destination::Unreachable);
        }
        let tls = judged.tls.is_some() && carries != Carries::Tcp { passthrough: true };
        let certificate =
            judged.client_certificate.filter(|_| tls).map(|certificate| certificate.key.clone());
        let port = PortId { backend, port: object.spec.port.port, udp: false };
        Ok(Destination::Cluster(ClusterId { port, language, tls, certificate }))
    }
}

/// The backend that a reference names, whether it exists or not; `None` for kinds that are none.
pub(crate) fn named(world: &World, reference: &BackendRef, namespace: &str) -> Option<BackendName> {
    let kind = kind(reference, "").ok()?;
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    Some(BackendName { kind, name: backend_name(world, kind, namespace, &reference.name) })
}

/// The name of a backend. Thousands of routes may name one, so it shares the texts of the object.
fn backend_name(world: &World, kind: Kind, namespace: &str, name: &str) -> Name {
    match kind {
        Kind::XBackend => world.x_backends.name(namespace, name),
        _ => world.services.name(namespace, name),
    }
}

fn kind(reference: &BackendRef, field: &str) -> Result<Kind, Problem> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Service");
    match (group, kind) {
        ("", "Service") => Ok(Kind::Service),
        (GROUP_X, "XBackend") => Ok(Kind::XBackend),
        _ => {
            let message = format!("{field}: {kind:?} of group {group:?} is no kind of backend");
            Err(Problem::new("InvalidKind", message))
        }
    }
}

/// The port of a Service by number and transport.
pub(crate) fn service_port(
    service: &Service,
    port: u16,
    udp: bool,
) -> Option<&k8s_openapi::api::core::v1::ServicePort> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    ports.iter().find(|known| {
        known.port == i32::from(port) && known.protocol.as_deref().unwrap_or("TCP") == transport(udp)
    })
}

/// The host that an ExternalName Service stands for.
pub(crate) fn external_name(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref()?;
    spec.external_name.as_deref().filter(|_| spec.type_.as_deref() == Some("ExternalName"))
}

fn transport(udp: bool) -> &'static str {
    if udp { "UDP" } else { "TCP" }
}

/// What is spoken to a Service port by its `appProtocol` (checklist B8, M8).
fn language(app_protocol: Option<&str>, carries: Carries, tls: bool) -> Result<Language, String> {
    // Registered names are compared without case (RFC 6335 section 5.1).
    let protocol = app_protocol.unwrap_or_default().to_ascii_lowercase();
    match carries {
        Carries::Tcp { .. } | Carries::Udp => return Ok(Language::Bytes),
        Carries::Http | Carries::Grpc => {}
    }
    let grpc = carries == Carries::Grpc;
    match &*protocol {
        "" | "http" if grpc => Ok(Language::Http2),
        "" | "http" => Ok(Language::Http1),
        "kubernetes.io/h2c" | "h2c" | "http2" | "grpc" => Ok(Language::Http2),
        "kubernetes.io/ws" | "kubernetes.io/wss" | "ws" | "wss" if !grpc => Ok(Language::Http1),
        "https" if tls => Ok(if grpc { Language::Http2 } else { Language::Http1 }),
        "https" => Err("appProtocol https needs a BackendTLSPolicy that says whom to trust".into()),
        other if grpc => Err(format!("appProtocol {other:?} cannot carry gRPC")),
        other => Err(format!("appProtocol {other:?} is not supported")),
    }
}

/// A cluster's share of the traffic, by the certificate that is shown to backends.
pub(crate) fn with_certificate(mut id: ClusterId, certificate: Option<&CertificateKey>) -> ClusterId {
    // What an XBackend says itself comes before what the Gateway says for all.
    if id.tls && id.certificate.is_none() {
        id.certificate = certificate.cloned();
    }
    id
}

/// What an unknown protocol of an XBackend is called in messages.
pub(crate) fn carried(carries: Carries) -> &'static str {
    match carries {
        Carries::Http => "HTTP",
        Carries::Grpc => "gRPC",
        Carries::Tcp { .. } => "TCP",
        Carries::Udp => "UDP",
    }
}
