//! Clusters and where their endpoints come from, once something refers to them.

use std::sync::Arc;

use ringway_config::{Certificate, Cluster, EndpointSet, EndpointSource, UpstreamProtocol};

use super::backend::{ClusterId, Language, PortId, Resolver, external_name, service_port};
use super::endpoints::{Slices, endpoints};
use super::notice::Notice;
use super::{knobs, xbackend};
use crate::objects::{Kind, ObjectKey};

/// The cluster of an id. Its parts exist, since a route was resolved to it in the same world; should one not, the
/// cluster has the defaults and no TLS is left out: it is `None`.
pub(crate) fn cluster(resolver: Resolver<'_>, id: &ClusterId, notices: &mut Vec<Notice>) -> Option<Cluster> {
    let name = &id.port.backend.name;
    let (metadata, tls) = match id.port.backend.kind {
        Kind::XBackend => {
            let object = resolver.world.x_backends.get(&name.namespace, &name.name)?;
            (&object.metadata, xbackend::judge(resolver.world, name, object).tls)
        }
        _ => {
            let service = resolver.world.services.get(&name.namespace, &name.name)?;
            let port = service_port(service, id.port.port, id.port.udp)?;
            let demand = resolver.policies.demand(name, port.name.as_deref()).ok().flatten();
            (&service.metadata, demand.cloned())
        }
    };
    let tls = match (id.tls, tls) {
        (true, None) => return None,
        (true, Some(mut tls)) => {
            tls.client_certificate = id.certificate.clone();
            Some(tls)
        }
        (false, _) => None,
    };
    let mut notes = vec![];
    let knobs = knobs::cluster(metadata, &mut notes);
    let object =
        ObjectKey { kind: id.port.backend.kind, namespace: name.namespace.clone(), name: name.name.clone() };
    notices.extend(notes.into_iter().map(|message| Notice { object: object.clone(), message }));
    Some(Cluster {
        key: id.key(),
        endpoints: id.port.key(),
        protocol: match id.language {
            Language::Http1 => UpstreamProtocol::Http1,
            Language::Http2 => UpstreamProtocol::Http2,
            Language::Bytes => UpstreamProtocol::Opaque,
        },
        tls,
        balance: knobs.balance,
        limits: knobs.limits,
        outlier: knobs.outlier,
        connect_timeout: knobs.connect_timeout,
    })
}

/// The endpoint set of a backend port. It is never missing: without endpoints it is empty.
pub(crate) fn endpoint_set(resolver: Resolver<'_>, id: &PortId, slices: &Slices) -> EndpointSet {
    let name = &id.backend.name;
    let source = match id.backend.kind {
        Kind::XBackend => {
            let object = resolver.world.x_backends.get(&name.namespace, &name.name);
            object
                .and_then(|object| xbackend::judge(resolver.world, name, object).host)
                .map(|host| EndpointSource::Dns { host, port: id.port })
        }
        _ => resolver.world.services.get(&name.namespace, &name.name).and_then(|service| {
            let port = service_port(service, id.port, id.udp)?;
            Some(match external_name(service) {
                Some(host) => EndpointSource::Dns { host: host.into(), port: id.port },
                None => EndpointSource::Listed(endpoints(port, slices.of(name))),
            })
        }),
    };
    EndpointSet { key: id.key(), source: source.unwrap_or(EndpointSource::Listed(vec![])) }
}

/// The certificate that an XBackend itself shows; a Gateway's is configured with the Gateway.
pub(crate) fn certificate(resolver: Resolver<'_>, id: &ClusterId) -> Option<Arc<Certificate>> {
    let wanted = id.certificate.as_ref()?;
    let name = &id.port.backend.name;
    let object = match id.port.backend.kind {
        Kind::XBackend => resolver.world.x_backends.get(&name.namespace, &name.name)?,
        _ => return None,
    };
    let own = xbackend::judge(resolver.world, name, object).client_certificate?;
    (own.key == *wanted).then_some(own)
}
