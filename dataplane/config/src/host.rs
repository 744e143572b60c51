//! Host names and the patterns that match them. A host is lower case, without a trailing dot and without a port.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A concrete host name or IP literal in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);

/// Why a text is no host or host pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// Nothing is left.
    Empty,
    /// Longer than 253 characters (RFC 1035 section 2.3.4).
    TooLong,
    /// A character that no host name may hold, or an empty label.
    Malformed,
}

impl Host {
    /// Canonicalises: ASCII lower case, one trailing dot removed.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        check(text)?;
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which hosts a listener or route is for.
///
/// `Ord` is precedence (checklist L7, M2): the more specific pattern is the *greater* one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// `*.suffix`: one or more labels to the left of the suffix. Holds the suffix without `*.`.
    Wildcard(Arc<str>),
    /// One host.
    Exact(Arc<str>),
}

impl HostPattern {
    /// Parses a Gateway API hostname: `host` or `*.host`. An empty text is [`HostError::Empty`], not `Any`.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            Some(suffix) => Ok(Self::Wildcard(Host::parse(suffix)?.0)),
            None => Ok(Self::Exact(Host::parse(text)?.0)),
        }
    }

    /// Whether a canonical host (see [`Host`]) is covered.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *host,
            Self::Wildcard(suffix) => strictly_below(host, suffix),
        }
    }

    /// The hosts that both patterns cover, as one pattern; `None` if there is none (checklist R6).
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let (broad, narrow) = if self <= other { (self, other) } else { (other, self) };
        let covered = match (broad, narrow) {
            (Self::Any, _) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Wildcard(_), Self::Exact(host)) => broad.matches(host),
            (Self::Wildcard(outer), Self::Wildcard(inner)) => outer == inner || strictly_below(inner, outer),
            (Self::Wildcard(_) | Self::Exact(_), Self::Any) | (Self::Exact(_), Self::Wildcard(_)) => {
                unreachable!("narrow is at least as specific as broad")
            }
        };
        covered.then(|| narrow.clone())
    }

    fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Wildcard(suffix) => (1, suffix.len()),
            Self::Exact(host) => (2, host.len()),
        }
    }
}

impl Ord for HostPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.specificity().cmp(&other.specificity()).then_with(|| match (self, other) {
            (Self::Wildcard(a), Self::Wildcard(b)) | (Self::Exact(a), Self::Exact(b)) => a.cmp(b),
            _ => Ordering::Equal,
        })
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Exact(host) => f.write_str(host),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn strictly_below(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|left| left.len() > 1 && left.ends_with('.'))
}

fn check(text: &str) -> Result<(), HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if text.len() > 253 {
        return Err(HostError::TooLong);
    }
    if text.starts_with('[') {
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
        return inner.parse::<std::net::Ipv6Addr>().map(|_| ()).map_err(|_| HostError::Malformed);
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.split('.').all(label_ok) { Ok(()) } else { Err(HostError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        if text == "*" { HostPattern::Any } else { HostPattern::parse(text).unwrap() }
    }

    #[test]
    fn a_wildcard_covers_every_depth_below_its_suffix_but_not_the_suffix_itself() {
        for (text, host, covered) in [
            ("*.a.b", "x.a.b", true),
            ("*.a.b", "y.x.a.b", true),
            ("*.a.b", "a.b", false),
            ("*.a.b", ".a.b", false),
            ("*.a.b", "xa.b", false),
            ("a.b", "a.b", true),
            ("a.b", "x.a.b", false),
            ("*", "anything", true),
        ] {
            assert_eq!(pattern(text).matches(host), covered, "{text} {host}");
        }
    }

    #[test]
    fn the_intersection_is_the_narrower_pattern_or_nothing() {
        for (a, b, both) in [
            ("*", "x.y", Some("x.y")),
            ("*.specific.com", "very.specific.com", Some("very.specific.com")),
            ("*.com", "*.specific.com", Some("*.specific.com")),
            ("*.com", "*.com", Some("*.com")),
            ("a.com", "b.com", None),
            ("*.a.com", "*.b.com", None),
            ("*.a.com", "a.com", None),
        ] {
            let expected = both.map(pattern);
            assert_eq!(pattern(a).intersect(&pattern(b)), expected, "{a} {b}");
            assert_eq!(pattern(b).intersect(&pattern(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_more_specific_pattern_is_the_greater() {
        let ascending = ["*", "*.b", "*.a.b", "z", "x.a.b"].map(pattern);
        assert!(ascending.is_sorted());
    }

    #[test]
    fn a_host_is_canonical() {
        assert_eq!(Host::parse("Example.COM.").unwrap().as_str(), "example.com");
        assert_eq!(Host::parse(""), Err(HostError::Empty));
        assert_eq!(Host::parse("a..b"), Err(HostError::Malformed));
        assert_eq!(Host::parse("[::1]").unwrap().as_str(), "[::1]");
        assert_eq!(Host::parse("[::g]"), Err(HostError::Malformed));
    }
}
