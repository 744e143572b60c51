//! Which listeners a route attaches to, or why not (checklist R4 to R6, R9, R12, LSET8).
//!
//! Looks at one route alone; what two routes deny each other is `rivals.rs`.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ringway_config::{CertificateKey, HostPattern, ListenerKey};

use super::condition::Problem;
use super::front::{Parent, Section, Surface};
use crate::objects::*;
use crate::world::{Name, World};

/// A route of any kind.
#[derive(Clone)]
pub(crate) enum RouteObject {
    Http(Arc<HTTPRoute>),
    Grpc(Arc<GRPCRoute>),
    Tls(Arc<TLSRoute>),
    Tcp(Arc<TCPRoute>),
    Udp(Arc<UDPRoute>),
}

impl RouteObject {
    /// The route of this name.
    pub(crate) fn of(world: &World, key: &ObjectKey) -> Option<Self> {
        let (namespace, name) = (&*key.namespace, &*key.name);
        match key.kind {
            Kind::HTTPRoute => world.http_routes.get(namespace, name).cloned().map(Self::Http),
            Kind::GRPCRoute => world.grpc_routes.get(namespace, name).cloned().map(Self::Grpc),
            Kind::TLSRoute => world.tls_routes.get(namespace, name).cloned().map(Self::Tls),
            Kind::TCPRoute => world.tcp_routes.get(namespace, name).cloned().map(Self::Tcp),
            Kind::UDPRoute => world.udp_routes.get(namespace, name).cloned().map(Self::Udp),
            _ => None,
        }
    }

    /// The name of every route.
    pub(crate) fn keys(world: &World) -> impl Iterator<Item = ObjectKey> {
        fn of<T>(kind: Kind, shelf: &crate::world::Shelf<T>) -> impl Iterator<Item = ObjectKey> {
            shelf.iter().map(move |(name, _)| ObjectKey { kind, namespace: name.namespace, name: name.name })
        }
        of(Kind::HTTPRoute, &world.http_routes)
            .chain(of(Kind::GRPCRoute, &world.grpc_routes))
            .chain(of(Kind::TLSRoute, &world.tls_routes))
            .chain(of(Kind::TCPRoute, &world.tcp_routes))
            .chain(of(Kind::UDPRoute, &world.udp_routes))
    }

    pub(crate) fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Http(route) => &route.metadata,
            Self::Grpc(route) => &route.metadata,
            Self::Tls(route) => &route.metadata,
            Self::Tcp(route) => &route.metadata,
            Self::Udp(route) => &route.metadata,
        }
    }

    pub(crate) fn parent_refs(&self) -> &[ParentReference] {
        match self {
            Self::Http(route) => &route.spec.parent_refs,
            Self::Grpc(route) => &route.spec.parent_refs,
            Self::Tls(route) => &route.spec.parent_refs,
            Self::Tcp(route) => &route.spec.parent_refs,
            Self::Udp(route) => &route.spec.parent_refs,
        }
    }

    /// The hostnames of kinds that have some.
    fn hostnames(&self) -> Option<&[String]> {
        match self {
            Self::Http(route) => Some(&route.spec.hostnames),
            Self::Grpc(route) => Some(&route.spec.hostnames),
            Self::Tls(route) => Some(&route.spec.hostnames),
            Self::Tcp(_) | Self::Udp(_) => None,
        }
    }
}

/// What one parentRef of ours came to.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    /// Its place among the route's parentRefs.
    pub(crate) index: usize,
    pub(crate) gateway: Name,
    pub(crate) places: Result<Vec<Place>, Problem>,
}

/// A listener that a route is attached to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) listener: ListenerKey,
    /// The hosts that both are for; empty for kinds that have no hosts.
    pub(crate) hostnames: Vec<HostPattern>,
    pub(crate) serves: bool,
    pub(crate) passthrough: bool,
    pub(crate) client_certificate: Option<CertificateKey>,
}

/// Attaches a route to every parent of ours that it names. Parents of others are none of our business.
pub(crate) fn attach(
    key: &ObjectKey,
    route: &RouteObject,
    surface: &Surface,
    world: &World,
) -> Vec<Attached> {
    let hostnames = hostnames(route);
    let of_ref = |(index, reference): (usize, &ParentReference)| {
        let parent = parent(reference, &key.namespace, surface)?;
        let places = match &hostnames {
            Err(problem) => Err(problem.clone()),
            Ok(hostnames) => places(key, reference, parent, hostnames.as_deref(), world),
        };
        Some(Attached { index, gateway: parent.gateway.clone(), places })
    };
    let mut attached: Vec<Attached> = route.parent_refs().iter().enumerate().filter_map(of_ref).collect();
    // It stays for long, and there are thousands.
    attached.shrink_to_fit();
    attached
}

fn parent<'a>(reference: &ParentReference, namespace: &str, surface: &'a Surface) -> Option<&'a Parent> {
    if reference.group.as_deref() != Some(GROUP) {
        return None;
    }
    let shelf = match reference.kind.as_deref() {
        Some("Gateway") => &surface.gateways,
        Some("ListenerSet") => &surface.listener_sets,
        _ => return None,
    };
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    shelf.get(namespace, &reference.name).map(|parent| &**parent)
}

/// `None`: the kind has no hostnames. Empty: every host.
fn hostnames(route: &RouteObject) -> Result<Option<Vec<HostPattern>>, Problem> {
    let Some(texts) = route.hostnames() else { return Ok(None) };
    if texts.is_empty() && matches!(route, RouteObject::Tls(_)) {
        return Err(Problem::new("UnsupportedValue", "spec.hostnames: a TLSRoute needs at least one"));
    }
    let parse = |(index, text): (usize, &String)| {
        HostPattern::parse(text).map_err(|_| {
            let message = format!("spec.hostnames[{index}]: {text:?} is no host name");
            Problem::new("UnsupportedValue", message)
        })
    };
    texts.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Some)
}

fn places(
    key: &ObjectKey,
    reference: &ParentReference,
    parent: &Parent,
    hostnames: Option<&[HostPattern]>,
    world: &World,
) -> Result<Vec<Place>, Problem> {
    if let Some(refusal) = &parent.refusal {
        return Err(Problem::new("NoMatchingParent", refusal.clone()));
    }
    let named = |section: &&Section| {
        reference.section_name.as_ref().is_none_or(|name| *name == section.name)
            && reference.port.is_none_or(|port| port == section.port)
    };
    let named: Vec<&Section> = parent.sections.iter().filter(named).collect();
    if named.is_empty() {
        let message = format!("{} has no listener{}", shown(reference, key), wanted(reference));
        return Err(Problem::new("NoMatchingParent", message));
    }
    let allows =
        |section: &&&Section| section.kinds.contains(&key.kind) && section.from.allows(world, &key.namespace);
    let allowed: Vec<&&Section> = named.iter().filter(allows).collect();
    if allowed.is_empty() {
        let message =
            format!("{} does not allow this route: {}", shown(reference, key), denials(key, &named));
        return Err(Problem::new("NotAllowedByListeners", message));
    }
    let place = |section: &&&Section| {
        let hostnames = match hostnames {
            None => vec![],
            Some(hostnames) => match common(&section.hostname, hostnames) {
                none if none.is_empty() => return None,
                common => common,
            },
        };
        Some(Place {
            listener: section.key.clone(),
            hostnames,
            serves: section.serves,
            passthrough: section.passthrough,
            client_certificate: parent.client_certificate.clone(),
        })
    };
    let mut places: Vec<Place> = allowed.iter().filter_map(place).collect();
    places.shrink_to_fit();
    if places.is_empty() {
        let hosts: Vec<String> = allowed.iter().map(|section| section.hostname.to_string()).collect();
        let message = format!(
            "spec.hostnames: none of them is a host of {} ({})",
            shown(reference, key),
            hosts.join(", ")
        );
        return Err(Problem::new("NoMatchingListenerHostname", message));
    }
    Ok(places)
}

/// The hosts of both, each once (checklist R6).
fn common(listener: &HostPattern, route: &[HostPattern]) -> Vec<HostPattern> {
    if route.is_empty() {
        return vec![listener.clone()];
    }
    let mut common: Vec<HostPattern> =
        route.iter().filter_map(|hostname| listener.intersect(hostname)).collect();
    common.sort();
    common.dedup();
    common.shrink_to_fit();
    common
}

fn shown(reference: &ParentReference, key: &ObjectKey) -> String {
    let kind = reference.kind.as_deref().unwrap_or("Gateway");
    let namespace = reference.namespace.as_deref().unwrap_or(&key.namespace);
    format!("{kind} {namespace}/{}", reference.name)
}

fn wanted(reference: &ParentReference) -> String {
    let name = reference.section_name.as_ref().map(|name| format!(" named {name}"));
    let port = reference.port.map(|port| format!(" on port {port}"));
    [name, port].into_iter().flatten().collect::<Vec<_>>().join("")
}

fn denials(key: &ObjectKey, sections: &[&Section]) -> String {
    let denial = |section: &&Section| {
        if section.kinds.contains(&key.kind) {
            format!("listener {} allows no routes of namespace {}", section.name, key.namespace)
        } else {
            format!("listener {} ({}) takes no {}", section.name, section.protocol, key.kind)
        }
    };
    sections.iter().map(denial).collect::<Vec<_>>().join(", ")
}
