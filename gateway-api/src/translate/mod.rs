//! From objects to configuration and statuses, in one pass, so that they cannot disagree.
//!
//! [`translate`] makes everything from nothing: it is the definition. [`Translator`] does the same step by step, and
//! the law is that its state equals the definition after any changes in any order and grouping. Below them, one file
//! an idea; `front.rs` (gateways and listeners) and `route.rs` (one route) are where to begin. Nothing here fails:
//! what cannot be done becomes a condition.

mod age;
mod attach;
mod backend;
mod class;
mod cluster;
mod condition;
mod conflict;
mod cors;
mod duration;
mod endpoints;
mod few;
mod filter;
mod front;
mod gateway;
mod grants;
mod knobs;
mod lead;
mod listener;
mod listener_set;
mod matches;
mod notice;
mod options;
mod overlap;
mod parameters;
mod policy;
mod pool;
mod rivals;
mod route;
mod rules;
mod secrets;
mod status;
mod translator;
mod xbackend;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringway_config::{Config, ListenerKey};
use serde::Serialize;

pub use class::SUPPORTED_FEATURES;
pub use endpoints::{Slices, endpoints};
pub use knobs::{ANNOTATION_PREFIX, ANNOTATIONS};
pub use notice::Notice;
pub use options::{CONTROLLER, Options};
pub use parameters::parameters;
pub(crate) use rules::kept as kept_rules;
pub use status::{Status, Statuses};
pub use translator::{Delta, Translator};

use crate::objects::{Kind, ObjectKey};
use crate::world::{Name, World};
use age::Seniority;
use attach::{Attached, RouteObject};
use backend::{BackendName, Resolver};
use front::Front;
use policy::Policies;
use rivals::{Lost, Rivals};
use route::Outcome;

/// Everything that a world comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Translation {
    /// What proxies are told.
    pub config: Config,
    /// What objects are told.
    pub statuses: Statuses,
    /// What users are told beside.
    pub notices: BTreeSet<Notice>,
}

/// Translates a world from nothing.
pub fn translate(world: &World, slices: &Slices, options: &Options) -> Translation {
    let front = Front::of(world, options);
    let policies = Policies::of(world);
    let resolver = Resolver { world, policies: &policies, options };

    let routes: BTreeMap<ObjectKey, (RouteObject, Vec<Attached>)> = RouteObject::keys(world)
        .filter_map(|key| {
            let route = RouteObject::of(world, &key)?;
            let attached = attach::attach(&key, &route, &front.surface, world);
            Some((key, (route, attached)))
        })
        .collect();
    let mut rivals: BTreeMap<ListenerKey, Rivals> = BTreeMap::new();
    for (key, (route, attached)) in &routes {
        for (listener, seniority, hostnames) in claims(key, route, attached) {
            rivals.entry(listener).or_default().add(key.clone(), seniority, hostnames);
        }
    }
    let mut lost: BTreeMap<ObjectKey, Lost> = BTreeMap::new();
    for (listener, rivals) in &rivals {
        for (loser, winner) in rivals.losers() {
            lost.entry(loser).or_default().insert(listener.clone(), winner);
        }
    }
    let none = Lost::new();
    let outcomes: BTreeMap<ObjectKey, Outcome> = routes
        .iter()
        .map(|(key, (route, attached))| {
            let lost = lost.get(key).unwrap_or(&none);
            (key.clone(), route::translate(key, route, attached, lost, resolver))
        })
        .collect();
    assemble(&front, &outcomes, resolver, slices)
}

/// Puts the parts together.
fn assemble(
    front: &Front,
    outcomes: &BTreeMap<ObjectKey, Outcome>,
    resolver: Resolver<'_>,
    slices: &Slices,
) -> Translation {
    let mut config = Config {
        listeners: front.listeners.clone(),
        certificates: front.certificates.clone(),
        ..Config::default()
    };
    let mut counts = status::Counts::new();
    let mut reach = Reach::new();
    let mut notices = vec![];
    for outcome in outcomes.values() {
        config.routes.extend(outcome.routes.iter().map(|route| (route.key().clone(), Arc::clone(route))));
        for listener in outcome.attached.iter() {
            *counts.entry(listener.clone()).or_default() += 1;
        }
        reach.extend(reached(outcome).map(|pair| (pair, 1)));
    }
    let clusters: BTreeSet<_> = outcomes.values().flat_map(|outcome| &outcome.clusters).collect();
    for id in clusters {
        let certificate = cluster::certificate(resolver, id);
        config.certificates.extend(certificate.map(|found| (found.key.clone(), found)));
        let cluster = cluster::cluster(resolver, id, &mut notices).map(Arc::new);
        config.clusters.extend(cluster.map(|cluster| (cluster.key.clone(), cluster)));
        // Clusters of one port share its endpoints.
        let set = || Arc::new(cluster::endpoint_set(resolver, &id.port, slices));
        config.endpoint_sets.entry(id.port.key()).or_insert_with(set);
    }
    let mut statuses = status::of_front(front, &counts);
    for (key, outcome) in outcomes {
        statuses.extend(outcome.status.clone().map(|status| (key.clone(), status)));
    }
    statuses.extend(of_backends(resolver, |backend| gateways_of(&reach, backend)));
    Translation { config, statuses, notices: notices.into_iter().collect() }
}

/// What an HTTPRoute or GRPCRoute wants of listeners; other kinds have no rivals.
fn claims<'a>(
    key: &'a ObjectKey,
    route: &'a RouteObject,
    attached: &'a [Attached],
) -> impl Iterator<Item = (ListenerKey, Seniority, Vec<ringway_config::HostPattern>)> {
    let has_rivals = matches!(key.kind, Kind::HTTPRoute | Kind::GRPCRoute);
    let places = attached.iter().flat_map(|attached| attached.places.as_deref().unwrap_or_default());
    places.filter(move |_| has_rivals).map(move |place| {
        let seniority = Seniority::of(route.metadata(), &Name::from(key));
        (place.listener.clone(), seniority, place.hostnames.clone())
    })
}

/// The backends that gateways reach through a route.
fn reached(outcome: &Outcome) -> impl Iterator<Item = (BackendName, Name)> {
    outcome
        .reached()
        .flat_map(|backend| outcome.gateways.iter().map(|gateway| (backend.clone(), gateway.clone())))
}

/// How many routes lead from a gateway to a backend.
type Reach = BTreeMap<(BackendName, Name), usize>;

/// The gateways that reach a backend, sorted.
fn gateways_of(reach: &Reach, backend: BackendName) -> Vec<Name> {
    let first = (backend, Name::new("", ""));
    let same = |((other, _), _): &(&(BackendName, Name), &usize)| *other == first.0;
    reach.range(first.clone()..).take_while(same).map(|((_, gateway), _)| gateway.clone()).collect()
}

/// The statuses of policies and XBackends.
fn of_backends(resolver: Resolver<'_>, gateways: impl Fn(BackendName) -> Vec<Name>) -> Statuses {
    let controller = &*resolver.options.controller;
    let of_kind = |kind: Kind| {
        let gateways = &gateways;
        move |name: &Name| gateways(BackendName { kind, name: name.clone() })
    };
    let policies = resolver.policies.statuses(resolver.world, controller, of_kind(Kind::Service));
    let policies = policies
        .into_iter()
        .map(|(name, policy)| (status::key(Kind::BackendTLSPolicy, &name), Arc::new(Status::Policy(policy))));
    let backends = xbackend::statuses(resolver.world, controller, of_kind(Kind::XBackend));
    let backends = backends
        .into_iter()
        .map(|(name, backend)| (status::key(Kind::XBackend, &name), Arc::new(Status::XBackend(backend))));
    policies.chain(backends).collect()
}
