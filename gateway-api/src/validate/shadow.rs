//! Routes and rules that never serve, because another one of the same listener always comes first (checklist M2, R10,
//! L4-1). Nothing is wrong with either alone, so no status says it.

use std::collections::{BTreeMap, BTreeSet};

use ringway_config::{Config, HostPattern, HttpMatch, HttpRoute, ListenerKey, Route, RouteAge, RouteKey};

use super::code::Code;
use super::finding::{self, Finding};
use crate::manifest::Document;
use crate::objects::{Kind, ObjectKey};
use crate::translate::kept_rules;
use crate::world::World;

/// What of these documents never serves, by the configuration and the world that they came to.
pub fn shadowed(documents: &[Document], world: &World, config: &Config) -> Vec<Finding> {
    let mut findings = vec![];
    let documents: BTreeMap<ObjectKey, &Document> =
        documents.iter().filter_map(|document| Some((super::lint::key(document)?, document))).collect();
    let mut tell = |loser: &RouteKey, code: Code, field: String, message: String| {
        if let Some(document) = object(loser).and_then(|key| documents.get(&key)) {
            findings.push(Finding::new(code, document, field, message, None));
        }
    };
    for (loser, winner, place) in whole_routes(config) {
        let message =
            format!("{place} goes to {} alone, which is older or comes first by name", plain(winner));
        tell(loser, Code::RouteShadowed, "spec.parentRefs".to_owned(), message);
    }
    for ((loser, winner), places) in matches(config) {
        let field = |at: &At<'_>| {
            let rules = object(at.route).map(|key| kept_rules(world, &key)).unwrap_or_default();
            let rule = rules.get(at.rule).copied().unwrap_or(at.rule);
            format!("spec.rules[{rule}].matches[{}]", at.matching)
        };
        let winner_field = field(&winner);
        let whose = match loser.route == winner.route {
            true => winner_field,
            false => format!("{winner_field} of {}", plain(winner.route)),
        };
        let (listener, host) = places.first().expect("it is there because of one");
        let more = match places.len() - 1 {
            0 => String::new(),
            more => format!(" (and in {more} more)"),
        };
        let message =
            format!("for host {host} of {listener}{more} {whose} has the same match and comes first");
        tell(loser.route, Code::MatchShadowed, field(&loser), message);
    }
    finding::sort(&mut findings);
    findings
}

/// Losers and winners among routes that have a listener, or a host of it, as a whole.
fn whole_routes(config: &Config) -> Vec<(&RouteKey, &RouteKey, String)> {
    let mut places: BTreeMap<Whole<'_>, Vec<(RouteAge, &RouteKey)>> = BTreeMap::new();
    for route in config.routes.values() {
        match &**route {
            Route::Http(_) => {}
            Route::Tls(route) => {
                for attachment in &route.attachments {
                    for host in &attachment.hostnames {
                        let there = places.entry((&attachment.listener, Some(host))).or_default();
                        there.push((route.created, &route.key));
                    }
                }
            }
            Route::Tcp(route) | Route::Udp(route) => {
                for listener in &route.listeners {
                    places.entry((listener, None)).or_default().push((route.created, &route.key));
                }
            }
        }
    }
    let mut losers = vec![];
    for ((listener, host), mut routes) in places {
        routes.sort();
        let place = match host {
            Some(host) => format!("host {host} of {listener}"),
            None => format!("all traffic of {listener}"),
        };
        if let Some(((_, winner), rest)) = routes.split_first() {
            losers.extend(rest.iter().map(|(_, loser)| (*loser, *winner, place.clone())));
        }
    }
    losers
}

/// A match, by where it stands; the field order is precedence among equal matches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct At<'c> {
    created: RouteAge,
    route: &'c RouteKey,
    /// Among the rules that were kept.
    rule: usize,
    matching: usize,
}

/// A listener, or a host of it, as a whole.
type Whole<'c> = (&'c ListenerKey, Option<&'c HostPattern>);

type Places<'c> = BTreeSet<(&'c ListenerKey, &'c HostPattern)>;

/// Losers and winners among equal matches, with where they meet. Equal matches of one rule do no harm.
fn matches(config: &Config) -> BTreeMap<(At<'_>, At<'_>), Places<'_>> {
    let mut groups: BTreeMap<(&ListenerKey, &HostPattern, String), Vec<At<'_>>> = BTreeMap::new();
    let routes = config.routes.values().filter_map(|route| match &**route {
        Route::Http(route) => Some(route),
        _ => None,
    });
    for route in routes {
        let texts = texts(route);
        for attachment in &route.attachments {
            for host in &attachment.hostnames {
                for (at, text) in &texts {
                    groups.entry((&attachment.listener, host, text.clone())).or_default().push(*at);
                }
            }
        }
    }
    let mut losers: BTreeMap<(At<'_>, At<'_>), Places<'_>> = BTreeMap::new();
    for ((listener, host, _), mut group) in groups {
        group.sort();
        let Some((winner, rest)) = group.split_first() else { continue };
        for loser in rest.iter().filter(|loser| (loser.route, loser.rule) != (winner.route, winner.rule)) {
            losers.entry((*loser, *winner)).or_default().insert((listener, host));
        }
    }
    losers
}

/// Every match of a route as a text that is the same for equal matches, whatever their order of conditions.
fn texts(route: &HttpRoute) -> Vec<(At<'_>, String)> {
    let mut texts = vec![];
    for (rule, spec) in route.rules.iter().enumerate() {
        for (matching, it) in spec.matches.iter().enumerate() {
            let mut it: HttpMatch = it.clone();
            it.headers.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
            it.query.sort_by(|a, b| a.name.cmp(&b.name));
            let at = At { created: route.created, route: &route.key, rule, matching };
            texts.extend(serde_json::to_string(&it).ok().map(|text| (at, text)));
        }
    }
    texts
}

/// A route's key without what tells its variants apart.
fn plain(key: &RouteKey) -> &str {
    key.as_str().split('#').next().unwrap_or_default()
}

fn object(key: &RouteKey) -> Option<ObjectKey> {
    let mut parts = plain(key).splitn(3, '/');
    let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
    let kind = Kind::ALL.iter().find(|known| known.as_str() == kind)?;
    Some(ObjectKey::new(*kind, namespace, name))
}
