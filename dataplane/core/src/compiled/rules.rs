//! The rules for one hostname of one listener, ordered by precedence and found by path without looking at them all.
//!
//! Precedence is `Ord` on [`Rank`] and nowhere else: entries are sorted by it once, and the first entry that fits a
//! request is the right one. Maps by path only skip entries that cannot fit.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use ringway_config::{GrpcMatch, HttpMatch, HttpRoute, PathMatch, RouteAge, RouteKey, ValueMatch};

use super::AttachedRoute;
use super::hosts::FixedState;

/// How strongly a match claims a request (checklist M2, M7): of those that fit, the *greatest* serves.
///
/// The hostname comes before all of this; rules of different hostnames never share a table. Where the specification
/// leaves the place of regular expressions open: after exact paths, before prefixes, the longer expression first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank<'r> {
    path: PathRank,
    /// Keeps matches with the same text together. Decides nothing: two texts of one `PathRank` never fit one path.
    group: (&'r str, &'r str),
    method: bool,
    headers: usize,
    query: usize,
    age: Reverse<RouteAge>,
    route: Reverse<&'r RouteKey>,
    rule: Reverse<usize>,
    matching: Reverse<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Prefix { bytes: usize },
    Regex { bytes: usize },
    Grpc { service: PartRank, method: PartRank },
    Exact,
}

/// A gRPC service or method: more characters first, then the exact one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PartRank {
    bytes: usize,
    exact: bool,
}

impl<'r> Rank<'r> {
    /// The rank of one match of one rule of a route.
    pub(crate) fn of(route: &'r HttpRoute, rule: usize, matching: usize, it: &'r HttpMatch) -> Self {
        let (path, group) = match &it.path {
            PathMatch::Exact(path) => (PathRank::Exact, (path.as_str(), "")),
            PathMatch::Prefix(prefix) => {
                (PathRank::Prefix { bytes: prefix.as_str().len() }, (prefix.as_str(), ""))
            }
            PathMatch::Regex(pattern) => (PathRank::Regex { bytes: pattern.source().len() }, ("", "")),
            PathMatch::Grpc(grpc) => {
                let ranks = PathRank::Grpc {
                    service: PartRank::of(grpc.service.as_ref()),
                    method: PartRank::of(grpc.method.as_ref()),
                };
                match GrpcPlace::of(grpc) {
                    GrpcPlace::Method { service, method } => (ranks, (service, method)),
                    GrpcPlace::Service(service) => (ranks, (service, "")),
                    GrpcPlace::Loose => (ranks, ("", "")),
                }
            }
        };
        Self {
            path,
            group,
            method: it.method.is_some(),
            headers: it.headers.len(),
            query: it.query.len(),
            age: Reverse(route.created),
            route: Reverse(&route.key),
            rule: Reverse(rule),
            matching: Reverse(matching),
        }
    }
}

impl PartRank {
    fn of(part: Option<&ValueMatch>) -> Self {
        match part {
            None => Self { bytes: 0, exact: false },
            Some(ValueMatch::Exact(text)) => Self { bytes: text.len(), exact: true },
            Some(ValueMatch::Regex(pattern)) => Self { bytes: pattern.source().len(), exact: false },
        }
    }
}

/// Where a gRPC match is looked up.
enum GrpcPlace<'r> {
    Method {
        service: &'r str,
        method: &'r str,
    },
    Service(&'r str),
    /// An expression, a method alone, or anything: tried in order.
    Loose,
}

impl<'r> GrpcPlace<'r> {
    fn of(grpc: &'r GrpcMatch) -> Self {
        match (&grpc.service, &grpc.method) {
            (Some(ValueMatch::Exact(service)), Some(ValueMatch::Exact(method))) => {
                Self::Method { service, method }
            }
            (Some(ValueMatch::Exact(service)), None) => Self::Service(service),
            _ => Self::Loose,
        }
    }
}

/// Service and method of a gRPC path; `None` for a path of another shape, which no gRPC match covers.
pub(crate) fn grpc_parts(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

/// One match of one rule.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The attached route.
    pub(crate) slot: u32,
    /// The rule's place in the route.
    pub(crate) rule: u32,
    /// The match's place in the rule.
    pub(crate) matching: u32,
    /// Nothing but the path is asked for.
    pub(crate) path_only: bool,
    /// It has regular expressions, of which each core uses a copy of its own.
    pub(crate) patterned: bool,
}

/// The rules for one hostname.
#[derive(Debug, Default)]
pub(crate) struct RuleTable {
    /// The routes in here.
    pub(crate) slots: Vec<u32>,
    /// Highest rank first.
    pub(crate) entries: Vec<Entry>,
    exact: ByText,
    /// Apart, since most tables have none.
    grpc: Option<Box<GrpcEntries>>,
    regexes: Range<u32>,
    prefixes: ByText,
    /// The lengths that occur in `prefixes`, longest first: what a look-up costs is bounded by the configuration,
    /// not by the path that a client sends.
    prefix_lengths: Vec<usize>,
}

/// Entries for gRPC.
#[derive(Debug, Default)]
struct GrpcEntries {
    /// By `/service/method`.
    methods: ByText,
    services: ByText,
    loose: Vec<u32>,
}

/// Entries by a text; those of one text are neighbours. There are thousands of tables, and nearly all are small: for
/// those a list is smaller than a hash table, and no slower.
#[derive(Debug)]
enum ByText {
    List(Vec<(Box<str>, Range<u32>)>),
    Table(HashMap<Box<str>, Range<u32>, FixedState>),
}

/// The longest list.
const LIST_MAX: usize = 4;

impl Default for ByText {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl ByText {
    fn get(&self, text: &str) -> Option<&Range<u32>> {
        match self {
            Self::List(list) => list.iter().find(|(known, _)| **known == *text).map(|(_, range)| range),
            Self::Table(table) => table.get(text),
        }
    }

    /// Adds an entry, which comes after all others of its text.
    fn grow(&mut self, text: &str, index: u32) {
        let known = match self {
            Self::List(list) => list.iter_mut().find(|(known, _)| **known == *text).map(|(_, range)| range),
            Self::Table(table) => table.get_mut(text),
        };
        if let Some(range) = known {
            range.end = index + 1;
            return;
        }
        let range = index..index + 1;
        match self {
            Self::List(list) if list.len() < LIST_MAX => {
                list.reserve_exact(1);
                list.push((text.into(), range));
            }
            Self::List(list) => {
                let all = list.drain(..).chain([(text.into(), range)]);
                *self = Self::Table(all.collect());
            }
            Self::Table(table) => drop(table.insert(text.into(), range)),
        }
    }

    /// The lengths of the texts, longest first, each once.
    fn lengths(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> = match self {
            Self::List(list) => list.iter().map(|(text, _)| text.len()).collect(),
            Self::Table(table) => table.keys().map(|text| text.len()).collect(),
        };
        lengths.sort_unstable_by_key(|length| Reverse(*length));
        lengths.dedup();
        lengths
    }
}

impl RuleTable {
    /// The rules of this table without those of the `leaving` slots and with those of the `arriving` ones.
    pub(crate) fn next(
        &self,
        leaving: &BTreeSet<u32>,
        arriving: &[u32],
        attached: &[Option<Arc<AttachedRoute>>],
    ) -> Self {
        let stay = |slot: &u32| !leaving.contains(slot);
        let mut ranked = Vec::with_capacity(self.entries.len() + arriving.len());
        for entry in self.entries.iter().filter(|entry| stay(&entry.slot)) {
            let route = http_in(attached, entry.slot);
            ranked.extend(route.map(|route| Ranked::of(route, entry.clone())));
        }
        for slot in arriving {
            let Some(route) = http_in(attached, *slot) else { continue };
            for (rule_index, rule) in route.rules.iter().enumerate() {
                for (index, it) in rule.matches.iter().enumerate() {
                    let entry = Entry {
                        slot: *slot,
                        rule: rule_index as u32,
                        matching: index as u32,
                        path_only: it.method.is_none() && it.headers.is_empty() && it.query.is_empty(),
                        patterned: has_patterns(it),
                    };
                    ranked.push(Ranked::of(route, entry));
                }
            }
        }
        // Those that stay are in order already, which this sort makes use of.
        ranked.sort_by(|a, b| b.rank.cmp(&a.rank));

        let slots = self.slots.iter().filter(|slot| stay(slot)).chain(arriving).copied().collect();
        let mut table = Self { slots, entries: Vec::with_capacity(ranked.len()), ..Self::default() };
        for Ranked { path, entry, .. } in ranked {
            table.push(path, entry);
        }
        table.prefix_lengths = table.prefixes.lengths();
        table
    }

    /// Whether no rule is in here.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of the highest rank that fits a path and, as `fits` says, the rest of the request. The second
    /// argument of `fits` tells whether the path is known to match already.
    pub(crate) fn first(&self, path: &str, mut fits: impl FnMut(&Entry, bool) -> bool) -> Option<&Entry> {
        let mut first_of = |range: Range<u32>, path_known| {
            let offset = range.start;
            let entries = &self.entries[range.start as usize..range.end as usize];
            entries.iter().position(|entry| fits(entry, path_known)).map(|index| offset + index as u32)
        };
        let found = self
            .exact
            .get(path)
            .and_then(|range| first_of(range.clone(), true))
            .or_else(|| self.first_grpc(path, &mut first_of))
            .or_else(|| first_of(self.regexes.clone(), false))
            .or_else(|| {
                let prefixes = self.prefix_lengths.iter().filter_map(|length| self.prefix_at(path, *length));
                prefixes.filter_map(|range| first_of(range, true)).next()
            });
        found.map(|index| &self.entries[index as usize])
    }

    fn first_grpc(
        &self,
        path: &str,
        first_of: &mut impl FnMut(Range<u32>, bool) -> Option<u32>,
    ) -> Option<u32> {
        let grpc = self.grpc.as_ref()?;
        let (service, _) = grpc_parts(path)?;
        // An expression may outrank an exact text, so each kind gives its best and the best of these serves.
        let method = grpc.methods.get(path).and_then(|range| first_of(range.clone(), true));
        let service = grpc.services.get(service).and_then(|range| first_of(range.clone(), true));
        let loose = grpc.loose.iter().find_map(|index| first_of(*index..*index + 1, false));
        [method, service, loose].into_iter().flatten().min()
    }

    fn prefix_at(&self, path: &str, length: usize) -> Option<Range<u32>> {
        let ends_an_element = path.len() == length || path.as_bytes().get(length) == Some(&b'/');
        if !ends_an_element {
            return None;
        }
        self.prefixes.get(path.get(..length)?).cloned()
    }

    fn push(&mut self, path: &PathMatch, entry: Entry) {
        let index = u32::try_from(self.entries.len()).expect("rules are counted in memory, far below 2^32");
        self.entries.push(entry);
        match path {
            PathMatch::Exact(path) => self.exact.grow(path.as_str(), index),
            PathMatch::Prefix(prefix) => self.prefixes.grow(prefix.as_str(), index),
            PathMatch::Regex(_) if self.regexes.is_empty() => self.regexes = index..index + 1,
            PathMatch::Regex(_) => self.regexes.end = index + 1,
            PathMatch::Grpc(grpc) => {
                let entries = self.grpc.get_or_insert_default();
                match GrpcPlace::of(grpc) {
                    GrpcPlace::Method { service, method } => {
                        entries.methods.grow(&format!("/{service}/{method}"), index);
                    }
                    GrpcPlace::Service(service) => entries.services.grow(service, index),
                    GrpcPlace::Loose => entries.loose.push(index),
                }
            }
        }
    }
}

/// An entry on its way into a table.
struct Ranked<'r> {
    rank: Rank<'r>,
    path: &'r PathMatch,
    entry: Entry,
}

impl<'r> Ranked<'r> {
    fn of(route: &'r HttpRoute, entry: Entry) -> Self {
        let (rule, matching) = (entry.rule as usize, entry.matching as usize);
        let it = &route.rules[rule].matches[matching];
        Self { rank: Rank::of(route, rule, matching, it), path: &it.path, entry }
    }
}

fn http_in(attached: &[Option<Arc<AttachedRoute>>], slot: u32) -> Option<&HttpRoute> {
    attached[slot as usize].as_deref().and_then(AttachedRoute::http)
}

fn has_patterns(it: &HttpMatch) -> bool {
    let regex = |value: &ValueMatch| matches!(value, ValueMatch::Regex(_));
    let path = match &it.path {
        PathMatch::Regex(_) => true,
        PathMatch::Grpc(grpc) => grpc.service.iter().chain(&grpc.method).any(regex),
        PathMatch::Exact(_) | PathMatch::Prefix(_) => false,
    };
    path || it.headers.iter().any(|header| regex(&header.value))
        || it.query.iter().any(|query| regex(&query.value))
}
