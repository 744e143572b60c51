//! Rules of HTTPRoutes and GRPCRoutes: matches, filters, backends, time and retries (checklist M, F, B, TR, R3).
//!
//! Of a rule that cannot be done as written, what it matches is known or not. Known: its requests are answered 500.
//! Not known: the rule is dropped. Either way the others live on, and the condition says so.

use std::sync::Arc;

use ringway_config::{Backend, Filter, HttpMatch, HttpRule, Retry, Timeouts, Weighted};

use super::condition::Problem;
use super::duration;
use super::filter::{Level, filters};
use super::lead::Lead;
use super::matches;
use crate::objects::*;
use crate::world::World;

/// The rules of a route, and what is wrong with some of them.
#[derive(Default)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Arc<HttpRule>>,
    /// One for each rule that is not done as written.
    pub(crate) faults: Vec<Problem>,
    /// What is left out without harm, and should be known.
    pub(crate) notes: Vec<String>,
    count: usize,
}

/// Translates the rules of an HTTPRoute.
pub(crate) fn http(specs: &[HttpRouteRule], body: Option<u64>, lead: &mut Lead<'_>) -> Rules {
    let mut rules = Rules { rules: Vec::with_capacity(specs.len()), ..Rules::default() };
    for (index, spec) in specs.iter().enumerate() {
        let at = format!("spec.rules[{index}]");
        let matches = all_matches(&spec.matches, &at, HttpMatch::anything, matches::http);
        let effects = Effects {
            name: spec.name.as_deref(),
            filters: &spec.filters,
            backends: &spec.backend_refs,
            timeouts: spec.timeouts.as_deref(),
            retry: spec.retry.as_deref(),
            session: spec.session_persistence.is_some(),
        };
        rules.add(index, matches, effects, body, lead, &at);
    }
    rules
}

/// Translates the rules of a GRPCRoute.
pub(crate) fn grpc(specs: &[GrpcRouteRule], body: Option<u64>, lead: &mut Lead<'_>) -> Rules {
    let mut rules = Rules { rules: Vec::with_capacity(specs.len()), ..Rules::default() };
    for (index, spec) in specs.iter().enumerate() {
        let at = format!("spec.rules[{index}]");
        let matches = all_matches(&spec.matches, &at, matches::any_grpc, matches::grpc);
        let effects = Effects {
            name: spec.name.as_deref(),
            filters: &spec.filters,
            backends: &spec.backend_refs,
            timeouts: None,
            retry: None,
            session: spec.session_persistence.is_some(),
        };
        rules.add(index, matches, effects, body, lead, &at);
    }
    rules
}

/// The rules of a route of which it is known what they match, by their index: those that are configured.
pub(crate) fn kept(world: &World, key: &ObjectKey) -> Vec<usize> {
    fn indexes<R>(rules: &[R], known: impl Fn(&R) -> bool) -> Vec<usize> {
        rules.iter().enumerate().filter(|(_, rule)| known(rule)).map(|(index, _)| index).collect()
    }
    let (namespace, name) = (&*key.namespace, &*key.name);
    match key.kind {
        Kind::HTTPRoute => world.http_routes.get(namespace, name).map_or(vec![], |route| {
            let known = |rule: &HttpRouteRule| {
                all_matches(&rule.matches, "", HttpMatch::anything, matches::http).is_ok()
            };
            indexes(&route.spec.rules, known)
        }),
        Kind::GRPCRoute => world.grpc_routes.get(namespace, name).map_or(vec![], |route| {
            let known = |rule: &GrpcRouteRule| {
                all_matches(&rule.matches, "", matches::any_grpc, matches::grpc).is_ok()
            };
            indexes(&route.spec.rules, known)
        }),
        _ => vec![],
    }
}

/// What a rule does, whatever it matches.
struct Effects<'a> {
    name: Option<&'a str>,
    filters: &'a [crate::objects::Filter],
    backends: &'a [BackendRef],
    timeouts: Option<&'a RouteTimeouts>,
    retry: Option<&'a RouteRetry>,
    session: bool,
}

impl Rules {
    /// No rule is done as written: the route is not accepted.
    pub(crate) fn all_faulty(&self) -> bool {
        self.count > 0 && self.faults.len() == self.count
    }

    fn add(
        &mut self,
        index: usize,
        matches: Result<Vec<HttpMatch>, String>,
        effects: Effects<'_>,
        body: Option<u64>,
        lead: &mut Lead<'_>,
        at: &str,
    ) {
        self.count += 1;
        if effects.session {
            self.notes.push(format!("{at}.sessionPersistence: is not served yet, so it is ignored"));
        }
        let mut faults = vec![];
        let known = matches.as_deref().unwrap_or_default();
        let mut filters =
            filters(effects.filters, Level::Rule, known, lead, &format!("{at}.filters"), &mut faults);
        let backends = backends(effects.backends, known, lead, at, &mut faults);
        let mut fault = |result: Result<(), String>| {
            if let Err(message) = result {
                faults.push(Problem::new("UnsupportedValue", message));
                filters = vec![Filter::Unresolved];
            }
        };
        let (mut timeouts, mut retry) = (Timeouts::default(), None);
        fault(self::timeouts(effects.timeouts, at).map(|read| timeouts = read));
        fault(self::retry(effects.retry, at).map(|read| retry = read));
        let dropped = matches.is_err();
        match matches {
            Ok(matches) => self.rules.push(Arc::new(HttpRule {
                name: effects.name.map(Arc::from),
                matches,
                filters,
                backends,
                timeouts,
                retry,
                request_body_bytes_max: body,
            })),
            Err(message) => faults.insert(0, Problem::new("UnsupportedValue", message)),
        }
        if let Some(first) = faults.first() {
            let consequence = if dropped { "it matches nothing" } else { "its requests are answered 500" };
            let message = format!("{} (rule {index}: {consequence})", super::condition::sentences(&faults));
            self.faults.push(Problem::new(first.reason, message));
        }
    }
}

fn all_matches<T>(
    specs: &[T],
    at: &str,
    any: impl Fn() -> HttpMatch,
    one: impl Fn(&T, &str) -> Result<HttpMatch, String>,
) -> Result<Vec<HttpMatch>, String> {
    if specs.is_empty() {
        return Ok(vec![any()]);
    }
    let matches = specs.iter().enumerate().map(|(index, spec)| one(spec, &format!("{at}.matches[{index}]")));
    let mut matches = matches.collect::<Result<Vec<_>, _>>()?;
    // It stays for long, and there are thousands.
    matches.shrink_to_fit();
    Ok(matches)
}

fn backends(
    specs: &[BackendRef],
    matches: &[HttpMatch],
    lead: &mut Lead<'_>,
    at: &str,
    faults: &mut Vec<Problem>,
) -> Option<Weighted<Backend>> {
    let mut choices = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let field = format!("{at}.backendRefs[{index}]");
        let target = lead.target(spec, &field);
        let filters =
            filters(&spec.filters, Level::Backend, matches, lead, &format!("{field}.filters"), faults);
        choices.push((Backend { target, filters }, spec.weight.unwrap_or(1)));
    }
    let some_weight = choices.iter().any(|(_, weight)| *weight > 0);
    let weighted = Weighted::new(choices);
    if weighted.is_none() && some_weight {
        let message = format!("{at}.backendRefs: the weights add up to more than can be counted");
        faults.push(Problem::new("UnsupportedValue", message));
    }
    weighted
}

/// Zero means no limit (checklist TR1).
fn timeouts(spec: Option<&RouteTimeouts>, at: &str) -> Result<Timeouts, String> {
    let Some(spec) = spec else { return Ok(Timeouts::default()) };
    let read = |text: &Option<String>, field: &str| -> Result<_, String> {
        let Some(text) = text else { return Ok(None) };
        let timeout = duration::parse(text)
            .ok_or_else(|| format!("{at}.timeouts.{field}: {text:?} is no duration, such as 500ms"))?;
        Ok(Some(timeout).filter(|timeout| !timeout.is_zero()))
    };
    Ok(Timeouts {
        request: read(&spec.request, "request")?,
        backend_request: read(&spec.backend_request, "backendRequest")?,
    })
}

/// How often a request is tried again if the route does not say.
const RETRIES: u32 = 1;

fn retry(spec: Option<&RouteRetry>, at: &str) -> Result<Option<Retry>, String> {
    let Some(spec) = spec else { return Ok(None) };
    let attempts = match spec.attempts {
        None => RETRIES,
        Some(count) => {
            u32::try_from(count).map_err(|_| format!("{at}.retry.attempts: {count} is not possible"))?
        }
    };
    if let Some(code) = spec.codes.iter().find(|code| !(400..=599).contains(*code)) {
        return Err(format!("{at}.retry.codes: {code} is not between 400 and 599"));
    }
    let mut codes = spec.codes.clone();
    codes.sort_unstable();
    codes.dedup();
    let backoff = spec.backoff.as_deref().map(|text| {
        duration::parse(text)
            .ok_or_else(|| format!("{at}.retry.backoff: {text:?} is no duration, such as 500ms"))
    });
    Ok(Some(Retry { codes, attempts, backoff: backoff.transpose()? }))
}
