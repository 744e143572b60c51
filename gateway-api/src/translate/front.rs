//! Everything but routes: classes, gateways and their listeners, and what routes see of them.
//!
//! Made as a whole, since listeners depend on each other; routes depend on it through [`Surface`] alone. So a change
//! that leaves the surface equal concerns no route.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_config::{
    Certificate, CertificateKey, HostPattern, ListenerKey, ListenerProtocol, TlsTermination,
};

use super::Options;
use super::age::Seniority;
use super::class::{Classes, classes};
use super::condition::Problem;
use super::gateway::{Judged, Taken};
use super::listener::{Entry, From, Owner, Speaks};
use super::{conflict, listener_set, overlap};
use crate::objects::*;
use crate::world::{Name, Shelf, World};

/// Listeners, certificates and statuses of everything that routes attach to.
#[derive(Default)]
pub(crate) struct Front {
    pub(crate) surface: Surface,
    pub(crate) listeners: BTreeMap<ListenerKey, Arc<ringway_config::Listener>>,
    pub(crate) certificates: BTreeMap<CertificateKey, Arc<Certificate>>,
    pub(crate) classes: BTreeMap<Arc<str>, GatewayClassStatus>,
    /// Statuses before routes are counted, with the key of each listener in order.
    pub(crate) gateways: BTreeMap<Name, (GatewayStatus, Vec<ListenerKey>)>,
    pub(crate) listener_sets: BTreeMap<Name, (ListenerSetStatus, Vec<ListenerKey>)>,
}

/// What routes see.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Surface {
    pub(crate) gateways: Shelf<Parent>,
    pub(crate) listener_sets: Shelf<Parent>,
}

/// Something that a route can attach to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parent {
    /// The gateway that serves it.
    pub(crate) gateway: Name,
    /// Why nothing of it is served; its sections are then none.
    pub(crate) refusal: Option<String>,
    pub(crate) sections: Vec<Section>,
    /// What its gateway shows to backends.
    pub(crate) client_certificate: Option<CertificateKey>,
}

/// A listener as routes see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) key: ListenerKey,
    pub(crate) hostname: HostPattern,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) from: From,
    /// Bytes are passed on as they come: TLS to the backend is the client's own.
    pub(crate) passthrough: bool,
    /// It is configured; a route attached to one that is not still counts as attached (checklist LS8).
    pub(crate) serves: bool,
}

impl Front {
    pub(crate) fn of(world: &World, options: &Options) -> Self {
        let (classes, class_statuses) = classes(world, options);
        let mut front = Self { classes: class_statuses, ..Self::default() };
        let mut sets = sets_by_gateway(world);
        let mut taken = Taken::default();
        for (name, gateway) in by_age(world, &classes) {
            let class = classes[&*gateway.spec.gateway_class_name].clone();
            let judged = Judged::of(world, options, name, gateway, class);
            let sets = sets.remove(&judged.name).unwrap_or_default();
            front.gateway(world, options, &judged, &sets, &mut taken);
        }
        front
    }

    fn gateway(
        &mut self,
        world: &World,
        options: &Options,
        judged: &Judged<'_>,
        sets: &[(Name, &ListenerSet)],
        taken: &mut Taken,
    ) {
        let frontend = judged.object.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
        let owner = Owner { kind: Kind::Gateway, name: &judged.name, generation: judged.generation };
        let judge = |owner, specs| Entry::judge_all(world, owner, specs, frontend, &judged.name);
        let mut entries = judge(owner, &judged.object.spec.listeners);
        // Conflicts and ports of its own decide whether the Gateway takes sets at all.
        conflict::mark(&mut entries);
        let own = entries.len();
        if options.shared_host {
            taken.take(judged, &mut entries);
        }
        let gateway_refusal = judged.refusal(&entries).map(|why| {
            let message = format!("Gateway {} is not accepted: {}", judged.name, why.message);
            Problem::new(why.reason, message)
        });

        let mut accepted_sets = vec![];
        for (name, set) in sets {
            let gateway = (&judged.name, judged.object);
            let refusal = listener_set::refusal(world, gateway, gateway_refusal.as_ref(), &name.namespace);
            let generation = set.metadata.generation.unwrap_or_default();
            let owner = Owner { kind: Kind::ListenerSet, name, generation };
            match refusal {
                Some(problem) => self.refused_set(judged, owner, &problem),
                None => {
                    entries.extend(Entry::judge_all(
                        world,
                        owner,
                        &set.spec.listeners,
                        frontend,
                        &judged.name,
                    ));
                    accepted_sets.push((name, set.spec.listeners.len(), generation));
                }
            }
        }
        conflict::mark(&mut entries);
        if options.shared_host {
            taken.take(judged, &mut entries[own..]);
        }
        overlap::mark(&mut entries);
        if let Some(problem) = gateway_refusal.or_else(|| judged.unbound()) {
            for entry in &mut entries {
                entry.withheld = Some(Problem::new("Invalid", problem.message.clone()));
            }
        }

        let (own, mut rest) = entries.split_at(own);
        let mut attached_sets = 0;
        for (name, count, generation) in accepted_sets {
            let (of_set, after) = rest.split_at(count);
            rest = after;
            attached_sets += i32::from(of_set.iter().any(Entry::sound));
            let status = listener_set::status(of_set, None, generation);
            self.listener_sets.insert(name.clone(), (status, keys(of_set)));
            self.surface.listener_sets.insert(name.clone(), Arc::new(parent(judged, of_set, None)));
        }
        let status = judged.status(own, attached_sets);
        self.gateways.insert(judged.name.clone(), (status, keys(own)));
        self.surface.gateways.insert(judged.name.clone(), Arc::new(parent(judged, own, None)));
        if let Some(certificate) = judged.client_certificate() {
            self.certificates.insert(certificate.key.clone(), Arc::clone(certificate));
        }
        self.serve(judged, &entries);
    }

    /// A set that its Gateway does not take: its listeners are none of ours, so it only learns why.
    fn refused_set(&mut self, judged: &Judged<'_>, owner: Owner<'_>, problem: &Problem) {
        let status = listener_set::status(&[], Some(problem), owner.generation);
        self.listener_sets.insert(owner.name.clone(), (status, vec![]));
        let refusal = format!("ListenerSet {} is not accepted: {}", owner.name, problem.message);
        let refused = parent(judged, &[], Some(refusal));
        self.surface.listener_sets.insert(owner.name.clone(), Arc::new(refused));
    }

    fn serve(&mut self, judged: &Judged<'_>, entries: &[Entry<'_>]) {
        let gateway = ringway_config::GatewayKey::new(judged.name.to_string());
        for entry in entries.iter().filter(|entry| entry.serves()) {
            let Some(speaks) = entry.speaks else { continue };
            let binds = judged.binds(entry.spec.port, speaks);
            for certificate in &entry.certificates {
                self.certificates.insert(certificate.key.clone(), Arc::clone(certificate));
            }
            let termination = || TlsTermination {
                certificates: distinct(entry.certificates.iter().map(|certificate| certificate.key.clone())),
                client: entry.client.clone(),
            };
            let listener = ringway_config::Listener {
                key: entry.key.clone(),
                gateway: gateway.clone(),
                binds,
                protocol: match speaks {
                    Speaks::Http => ListenerProtocol::Http,
                    Speaks::Https => ListenerProtocol::Https(termination()),
                    Speaks::TlsTerminate => ListenerProtocol::TlsTerminate(termination()),
                    Speaks::TlsPassthrough => ListenerProtocol::TlsPassthrough,
                    Speaks::Tcp => ListenerProtocol::Tcp,
                    Speaks::Udp => ListenerProtocol::Udp,
                },
                hostname: entry.hostname.clone(),
                proxy_protocol: speaks != Speaks::Udp && judged.proxy_protocol(entry.spec.port),
                request_body_bytes_max: judged.request_body_bytes_max,
            };
            self.listeners.insert(entry.key.clone(), Arc::new(listener));
        }
    }
}

/// Gateways of ours, oldest first.
fn by_age<'w>(world: &'w World, classes: &Classes) -> Vec<(Name, &'w Gateway)> {
    let mut gateways: Vec<(Name, &Gateway)> = world
        .gateways
        .iter()
        .filter(|(_, gateway)| classes.contains_key(&*gateway.spec.gateway_class_name))
        .map(|(name, gateway)| (name, &**gateway))
        .collect();
    gateways.sort_by_cached_key(|(name, gateway)| Seniority::of(&gateway.metadata, name));
    gateways
}

/// ListenerSets by the Gateway they name, in merge order (checklist LSET4).
fn sets_by_gateway(world: &World) -> BTreeMap<Name, Vec<(Name, &ListenerSet)>> {
    let mut sets: Vec<(Name, &ListenerSet)> =
        world.listener_sets.iter().map(|(name, set)| (name, &**set)).collect();
    sets.sort_by_cached_key(|(name, set)| Seniority::of(&set.metadata, name));
    let mut by_gateway: BTreeMap<Name, Vec<_>> = BTreeMap::new();
    for (name, set) in sets {
        if let Some(gateway) = listener_set::parent(&name, set) {
            by_gateway.entry(gateway).or_default().push((name, set));
        }
    }
    by_gateway
}

fn keys(entries: &[Entry<'_>]) -> Vec<ListenerKey> {
    entries.iter().map(|entry| entry.key.clone()).collect()
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = vec![];
    for item in items {
        if !distinct.contains(&item) {
            distinct.push(item);
        }
    }
    distinct
}

fn parent(judged: &Judged<'_>, entries: &[Entry<'_>], refusal: Option<String>) -> Parent {
    let section = |entry: &Entry<'_>| Section {
        name: entry.spec.name.clone(),
        port: entry.spec.port,
        protocol: entry.spec.protocol.to_string(),
        key: entry.key.clone(),
        hostname: entry.hostname.clone(),
        kinds: entry.kinds.clone(),
        from: entry.from.clone(),
        passthrough: entry.speaks == Some(Speaks::TlsPassthrough),
        serves: entry.serves(),
    };
    Parent {
        gateway: judged.name.clone(),
        refusal,
        sections: entries.iter().map(section).collect(),
        client_certificate: judged.client_certificate().map(|certificate| certificate.key.clone()),
    }
}
