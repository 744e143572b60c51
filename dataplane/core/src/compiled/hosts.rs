//! A map from host patterns that finds what covers a host, most specific first, in as many look-ups as it has labels.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use ringway_config::HostPattern;

/// Hashing without a random key: a simulation must repeat. Keys come from configuration, never from the network.
pub(crate) type FixedState = BuildHasherDefault<DefaultHasher>;

/// Values by host pattern.
#[derive(Clone, Debug)]
pub(crate) struct HostMap<T> {
    exact: HashMap<Arc<str>, T, FixedState>,
    /// By the suffix without `*.`.
    wildcard: HashMap<Arc<str>, T, FixedState>,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), wildcard: HashMap::default(), any: None }
    }
}

impl<T> HostMap<T> {
    /// The value of exactly this pattern.
    pub(crate) fn at(&self, pattern: &HostPattern) -> Option<&T> {
        match pattern {
            HostPattern::Any => self.any.as_ref(),
            HostPattern::Wildcard(suffix) => self.wildcard.get(suffix),
            HostPattern::Exact(host) => self.exact.get(host),
        }
    }

    /// Sets the value of a pattern.
    pub(crate) fn insert(&mut self, pattern: HostPattern, value: T) {
        match pattern {
            HostPattern::Any => self.any = Some(value),
            HostPattern::Wildcard(suffix) => drop(self.wildcard.insert(suffix, value)),
            HostPattern::Exact(host) => drop(self.exact.insert(host, value)),
        }
    }

    /// Forgets a pattern.
    pub(crate) fn remove(&mut self, pattern: &HostPattern) {
        match pattern {
            HostPattern::Any => self.any = None,
            HostPattern::Wildcard(suffix) => drop(self.wildcard.remove(suffix)),
            HostPattern::Exact(host) => drop(self.exact.remove(host)),
        }
    }

    /// Values of the patterns that cover a canonical host, most specific first (checklist L7).
    pub(crate) fn covering<'m, 'h>(&'m self, host: &'h str) -> impl Iterator<Item = &'m T> + use<'m, 'h, T> {
        // Nothing to look up in an empty map. A wildcard stands for at least one label.
        let dots = (!self.wildcard.is_empty()).then(|| host.match_indices('.').filter(|(dot, _)| *dot > 0));
        let suffixes = dots.into_iter().flatten().map(move |(dot, _)| &host[dot + 1..]);
        let wildcards = suffixes.filter_map(|suffix| self.wildcard.get(suffix));
        self.exact.get(host).into_iter().chain(wildcards).chain(self.any.as_ref())
    }

    /// The value of the most specific pattern that covers a host.
    pub(crate) fn covering_first(&self, host: &str) -> Option<&T> {
        self.covering(host).next()
    }

    /// Every value, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values()).chain(self.any.as_ref())
    }

    /// Every pattern with its value, most specific first.
    pub(crate) fn all(&self) -> Vec<(HostPattern, &T)> {
        let exact = self.exact.iter().map(|(host, value)| (HostPattern::Exact(Arc::clone(host)), value));
        let wildcard =
            self.wildcard.iter().map(|(host, value)| (HostPattern::Wildcard(Arc::clone(host)), value));
        let any = self.any.iter().map(|value| (HostPattern::Any, value));
        let mut all: Vec<_> = exact.chain(wildcard).chain(any).collect();
        all.sort_by(|(a, _), (b, _)| b.cmp(a));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_a_host_comes_most_specific_first_as_the_patterns_themselves_say() {
        let patterns =
            ["*", "*.com", "*.example.com", "*.foo.example.com", "abc.foo.example.com", "com", "example.com"]
                .map(|text| if text == "*" { HostPattern::Any } else { HostPattern::parse(text).unwrap() });
        let mut map = HostMap::default();
        for pattern in &patterns {
            map.insert(pattern.clone(), pattern.clone());
        }
        for host in [
            "",
            "com",
            "example.com",
            "x.com",
            "a.b.example.com",
            "abc.foo.example.com",
            ".com",
            "[::1]",
            "foo.",
        ] {
            let mut expected: Vec<_> = patterns.iter().filter(|pattern| pattern.matches(host)).collect();
            expected.sort_by(|a, b| b.cmp(a));
            assert_eq!(map.covering(host).collect::<Vec<_>>(), expected, "{host}");
        }
        map.remove(&patterns[0]);
        assert_eq!(map.covering("org").count(), 0);
        let mut rest = patterns[1..].to_vec();
        rest.sort_by(|a, b| b.cmp(a));
        assert!(map.all().into_iter().map(|(pattern, _)| pattern).eq(rest));
    }
}
