//! One route: what is configured for it, and its status for every parent of ours (checklist R1 to R3, S5 to S8).

use std::collections::BTreeSet;
use std::sync::Arc;

use ringway_config as config;
use ringway_config::{
    BackendTarget, CertificateKey, HttpKind, HttpRoute, L4Route, ListenerKey, Route, RouteKey, TlsRoute,
    Weighted,
};

use super::age::created;
use super::attach::{Attached, Place, RouteObject};
use super::backend::{BackendName, Carries, ClusterId, Resolver};
use super::condition::{Problem, fails, holds, sentences, unless};
use super::few::Few;
use super::knobs;
use super::lead::Lead;
use super::rivals::Lost;
use super::rules::{self, Rules};
use super::status::Status;
use crate::objects::*;
use crate::world::Name;

/// What a route came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// One, or more if gateways of different client certificates share it.
    pub(crate) routes: Vec<Arc<Route>>,
    /// `None`: no parent is ours.
    pub(crate) status: Option<Arc<Status>>,
    /// The listeners that count it, each once (checklist LS8).
    pub(crate) attached: Arc<Few<ListenerKey>>,
    pub(crate) clusters: Few<ClusterId>,
    /// Every backend that it names: what it depends on.
    pub(crate) backends: Few<BackendName>,
    /// Those of them that it may not name; nearly always none.
    pub(crate) denied: Few<BackendName>,
    /// The gateways that reach the others through it.
    pub(crate) gateways: Arc<Few<Name>>,
}

impl Outcome {
    /// The backends that it names and may name.
    pub(crate) fn reached(&self) -> impl Iterator<Item = &BackendName> {
        self.backends.difference(&self.denied)
    }
}

/// Places of one way of speaking to backends.
struct Variant<'a> {
    certificate: Option<&'a CertificateKey>,
    passthrough: bool,
    places: Vec<&'a Place>,
}

/// Translates a route that is attached as `attached`, but for the listeners that it lost.
pub(crate) fn translate(
    key: &ObjectKey,
    route: &RouteObject,
    attached: &[Attached],
    lost: &Lost,
    resolver: Resolver<'_>,
) -> Outcome {
    if attached.is_empty() {
        return Outcome::default();
    }
    let attached: Vec<Attached> = attached.iter().map(|attached| without_lost(attached, lost)).collect();
    let places: Vec<&Place> =
        attached.iter().flat_map(|attached| attached.places.as_deref().unwrap_or_default()).collect();

    let mut notes = vec![];
    let limit = knobs::request_body_bytes_max(route.metadata(), &mut notes);
    let mut done: Vec<Done<'_>> = variants(&places)
        .into_iter()
        .map(|variant| {
            let carries = carries(route, variant.passthrough);
            let mut lead = Lead::new(resolver, (key.kind, &key.namespace), carries, variant.certificate);
            let body = Body::of(route, limit, &mut lead);
            Done { variant, body, lead }
        })
        .collect();
    if done.iter().all(|other| other.lead.clusters == done[0].lead.clusters) {
        // Nothing depends on who asks.
        done.truncate(1);
        done[0].variant.places.clone_from(&places);
    }

    let mut outcome = Outcome::default();
    let (refused, faults) = done[0].body.verdict();
    if let Body::Http(rules) = &mut done[0].body {
        notes.append(&mut rules.notes);
    }
    let unresolved = std::mem::take(&mut done[0].lead.unresolved);
    let several = done.len() > 1;
    // Refused or not: what a faulty rule matches is answered 500, lest it falls to a broader route that lacks, say,
    // the authorization that could not be done.
    let routes = done.iter().filter_map(|done| done.body.route(key, route, &done.variant, several));
    outcome.routes = routes.map(Arc::new).collect();
    outcome.routes.shrink_to_fit();
    let (mut backends, mut reached, mut clusters) = (vec![], vec![], vec![]);
    for mut done in done {
        backends.append(&mut done.lead.backends);
        reached.append(&mut done.lead.reached);
        clusters.append(&mut done.lead.clusters);
    }
    outcome.backends = backends.into_iter().collect();
    outcome.denied = outcome.backends.difference(&reached.into_iter().collect()).cloned().collect();
    // A route that serves nowhere needs no clusters.
    if !outcome.routes.is_empty() {
        outcome.clusters = clusters.into_iter().collect();
    }
    if refused.is_none() {
        outcome.attached = Arc::new(places.iter().map(|place| place.listener.clone()).collect());
        let reaches = |attached: &&Attached| attached.places.is_ok();
        let reaching = attached.iter().filter(reaches);
        outcome.gateways = Arc::new(reaching.map(|attached| attached.gateway.clone()).collect());
    }
    let verdict = Verdict { refused, faults, unresolved, notes };
    outcome.status =
        Some(Arc::new(Status::Route(verdict.status(route, &attached, resolver.options.controller.as_ref()))));
    outcome
}

fn without_lost(attached: &Attached, lost: &Lost) -> Attached {
    let Ok(places) = &attached.places else { return attached.clone() };
    let kept: Vec<Place> =
        places.iter().filter(|place| !lost.contains_key(&place.listener)).cloned().collect();
    let places = match places.iter().find_map(|place| lost.get(&place.listener)) {
        Some(winner) if kept.is_empty() => Err(Problem::new(
            "Conflicted",
            format!("spec.hostnames: {winner} is older and has a common host on the same listener"),
        )),
        _ => Ok(kept),
    };
    Attached { places, ..attached.clone() }
}

/// A variant, translated.
struct Done<'a> {
    variant: Variant<'a>,
    body: Body,
    lead: Lead<'a>,
}

/// At least one, so that references are resolved for the status even if nothing is attached.
fn variants<'a>(places: &[&'a Place]) -> Vec<Variant<'a>> {
    let mut variants: Vec<Variant<'a>> = vec![];
    for place in places {
        let certificate = place.client_certificate.as_ref();
        let same = |variant: &&mut Variant<'a>| {
            variant.certificate == certificate && variant.passthrough == place.passthrough
        };
        match variants.iter_mut().find(same) {
            Some(variant) => variant.places.push(place),
            None => {
                variants.push(Variant { certificate, passthrough: place.passthrough, places: vec![place] })
            }
        }
    }
    if variants.is_empty() {
        variants.push(Variant { certificate: None, passthrough: false, places: vec![] });
    }
    variants
}

fn carries(route: &RouteObject, passthrough: bool) -> Carries {
    match route {
        RouteObject::Http(_) => Carries::Http,
        RouteObject::Grpc(_) => Carries::Grpc,
        // Also of a TCPRoute: who demands TLS of a Service's port does not mean plain text from some of its clients.
        RouteObject::Tls(_) | RouteObject::Tcp(_) => Carries::Tcp { passthrough },
        RouteObject::Udp(_) => Carries::Udp,
    }
}

/// What a route does, without where.
enum Body {
    Http(Rules),
    L4(Option<Weighted<BackendTarget>>, Option<Problem>),
}

impl Body {
    fn of(route: &RouteObject, body: Option<u64>, lead: &mut Lead<'_>) -> Self {
        match route {
            RouteObject::Http(route) => Self::Http(rules::http(&route.spec.rules, body, lead)),
            RouteObject::Grpc(route) => Self::Http(rules::grpc(&route.spec.rules, body, lead)),
            RouteObject::Tls(route) => Self::l4(&route.spec.rules, lead),
            RouteObject::Tcp(route) => Self::l4(&route.spec.rules, lead),
            RouteObject::Udp(route) => Self::l4(&route.spec.rules, lead),
        }
    }

    /// There is one rule, for nothing could choose between several.
    fn l4(rules: &[L4RouteRule], lead: &mut Lead<'_>) -> Self {
        let backends = rules.first().map_or(&[][..], |rule| &*rule.backend_refs);
        let choice = |(index, spec): (usize, &BackendRef)| {
            let target = lead.target(spec, &format!("spec.rules[0].backendRefs[{index}]"));
            (target, spec.weight.unwrap_or(1))
        };
        let backends = Weighted::new(backends.iter().enumerate().map(choice).collect());
        let more = (rules.len() > 1).then(|| {
            let message = "only spec.rules[0] is done: nothing could choose between several".to_owned();
            Problem::new("UnsupportedValue", message)
        });
        Self::L4(backends, more)
    }

    /// Why the route is not accepted, and what of it is not done as written.
    fn verdict(&self) -> (Option<Problem>, Vec<Problem>) {
        match self {
            Self::Http(rules) if rules.all_faulty() => {
                let reason = rules.faults.first().map_or("UnsupportedValue", |first| first.reason);
                (Some(Problem::new(reason, sentences(&rules.faults))), vec![])
            }
            Self::Http(rules) => (None, rules.faults.clone()),
            Self::L4(_, more) => (None, more.iter().cloned().collect()),
        }
    }

    fn route(
        &self,
        key: &ObjectKey,
        object: &RouteObject,
        variant: &Variant<'_>,
        several: bool,
    ) -> Option<Route> {
        let serving = || variant.places.iter().filter(|place| place.serves);
        serving().next()?;
        if matches!(self, Self::Http(rules) if rules.rules.is_empty()) {
            return None;
        }
        let created = created(object.metadata());
        let key = if several { variant_key(key, variant) } else { RouteKey::new(key.to_string()) };
        let attachments = || {
            let mut attachments: Vec<config::Attachment> = Vec::with_capacity(1);
            for place in serving() {
                // Two parentRefs may lead to one listener.
                if !attachments.iter().any(|known| known.listener == place.listener) {
                    let hostnames = place.hostnames.clone();
                    attachments.push(config::Attachment { listener: place.listener.clone(), hostnames });
                }
            }
            attachments.sort_by(|a, b| a.listener.cmp(&b.listener));
            attachments
        };
        let listeners = || {
            let listeners: BTreeSet<_> = serving().map(|place| place.listener.clone()).collect();
            listeners.into_iter().collect()
        };
        Some(match (self, object) {
            (Self::Http(rules), _) => Route::Http(HttpRoute {
                key,
                kind: if matches!(object, RouteObject::Grpc(_)) { HttpKind::Grpc } else { HttpKind::Http },
                created,
                attachments: attachments(),
                rules: rules.rules.clone(),
            }),
            (Self::L4(backends, _), RouteObject::Tls(_)) => {
                Route::Tls(TlsRoute { key, created, attachments: attachments(), backends: backends.clone() })
            }
            (Self::L4(backends, _), _) => {
                let route = L4Route { key, created, listeners: listeners(), backends: backends.clone() };
                if matches!(object, RouteObject::Udp(_)) { Route::Udp(route) } else { Route::Tcp(route) }
            }
        })
    }
}

/// `HTTPRoute/namespace/name`, and what tells variants apart. `#` sorts before every character of a name, so that
/// ties between routes fall as between their names.
fn variant_key(key: &ObjectKey, variant: &Variant<'_>) -> RouteKey {
    let mut text = key.to_string();
    if let Some(certificate) = variant.certificate {
        text.push('#');
        text.push_str(certificate.as_str());
    }
    if variant.passthrough && key.kind == Kind::TLSRoute {
        text.push_str("#passthrough");
    }
    RouteKey::new(text)
}

/// Everything that the conditions say.
struct Verdict {
    refused: Option<Problem>,
    faults: Vec<Problem>,
    unresolved: Vec<Problem>,
    notes: Vec<String>,
}

impl Verdict {
    fn status(&self, route: &RouteObject, attached: &[Attached], controller: &str) -> RouteStatus {
        let generation = route.metadata().generation.unwrap_or_default();
        let parent = |attached: &Attached| RouteParentStatus {
            parent_ref: route.parent_refs()[attached.index].clone(),
            controller_name: controller.into(),
            conditions: self.conditions(attached, generation),
        };
        RouteStatus { parents: attached.iter().map(parent).collect() }
    }

    fn conditions(&self, attached: &Attached, generation: i64) -> Vec<Condition> {
        let problem = attached.places.as_ref().err().or(self.refused.as_ref());
        let accepted = match problem {
            Some(problem) => fails("Accepted", problem.reason, problem.message.clone(), generation),
            None if self.notes.is_empty() => {
                holds("Accepted", "Accepted", "The route is accepted", generation)
            }
            None => holds("Accepted", "Accepted", self.notes.join("; "), generation),
        };
        let resolved = unless(
            "ResolvedRefs",
            ("ResolvedRefs", "All references are resolved"),
            &self.unresolved,
            generation,
        );
        let mut conditions = vec![accepted, resolved];
        if problem.is_none() && !self.faults.is_empty() {
            let message = format!("Dropped Rule: {}", sentences(&self.faults));
            conditions.push(holds("PartiallyInvalid", "UnsupportedValue", message, generation));
        }
        conditions
    }
}

/// Keeps what is equal to before: a route, or else those of its rules that are, so that whoever compiles them knows
/// by the pointer what stayed.
pub(crate) fn keep_equal(before: &[Arc<Route>], routes: &mut [Arc<Route>]) {
    for route in routes {
        let Some(old) = before.iter().find(|old| old.key() == route.key()) else { continue };
        if **old == **route {
            *route = Arc::clone(old);
            continue;
        }
        let (Route::Http(old), Route::Http(new)) = (&**old, &**route) else { continue };
        let mut new = new.clone();
        for rule in &mut new.rules {
            if let Some(same) = old.rules.iter().find(|old| **old == *rule) {
                *rule = Arc::clone(same);
            }
        }
        *route = Arc::new(Route::Http(new));
    }
}
