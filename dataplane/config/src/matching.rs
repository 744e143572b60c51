//! What a rule asks of a request: path, method, headers, query; for gRPC, service and method.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, Method};
use serde::{Serialize, Serializer};

use crate::{CanonicalPath, PathPrefix};

/// All parts must match (checklist M1).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpMatch {
    /// The path.
    pub path: PathMatch,
    /// The method, if it matters.
    #[serde(serialize_with = "crate::show::option_display")]
    pub method: Option<Method>,
    /// Headers, all of which must match; names are unique.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, all of which must match; names are unique.
    pub query: Vec<QueryMatch>,
}

impl HttpMatch {
    /// Matches every request: what a rule without matches means.
    pub fn anything() -> Self {
        Self { path: PathMatch::Prefix(PathPrefix::root()), method: None, headers: vec![], query: vec![] }
    }
}

/// A condition on the canonical path, without the query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PathMatch {
    /// Equal, byte for byte.
    Exact(CanonicalPath),
    /// Element-wise prefix (checklist M3).
    Prefix(PathPrefix),
    /// The whole path matches the expression.
    Regex(Pattern),
    /// A gRPC method: the path `/service/method`. Apart, since it is large and rare.
    Grpc(Box<GrpcMatch>),
}

/// A gRPC service and method; an absent part matches anything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrpcMatch {
    /// The full service name, such as `helloworld.Greeter`.
    pub service: Option<ValueMatch>,
    /// The method name.
    pub method: Option<ValueMatch>,
}

/// A condition on a header. Several values of one name are joined by commas before matching.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeaderMatch {
    /// The name, lower case.
    #[serde(serialize_with = "crate::show::display")]
    pub name: HeaderName,
    /// Its value.
    pub value: ValueMatch,
}

/// A condition on a query parameter; the first occurrence in the request counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryMatch {
    /// The decoded name.
    pub name: Arc<str>,
    /// Its decoded value.
    pub value: ValueMatch,
}

/// A condition on a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ValueMatch {
    /// Equal, byte for byte.
    Exact(Arc<str>),
    /// The whole text matches the expression.
    Regex(Pattern),
}

impl ValueMatch {
    /// Whether a value satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *value,
            Self::Regex(pattern) => pattern.matches(value),
        }
    }
}

/// A compiled regular expression that must match the whole text. Linear time, size bounded.
// Apart, since it is large and most conditions have none.
#[derive(Clone)]
pub struct Pattern(Box<Compiled>);

#[derive(Clone)]
struct Compiled {
    source: Arc<str>,
    regex: regex::Regex,
}

/// Why an expression was refused; the text is the `regex` crate's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(pub String);

/// Largest compiled size of one expression, in bytes; larger ones are refused when they are configured.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Pattern {
    /// Compiles an expression in RE2-like syntax (the `regex` crate's).
    pub fn parse(source: &str) -> Result<Self, PatternError> {
        let whole = |source: &str| {
            regex::RegexBuilder::new(source)
                .size_limit(PATTERN_BYTES_MAX)
                .dfa_size_limit(PATTERN_BYTES_MAX)
                .build()
        };
        // Alone first: `a)(b` must not become valid by being wrapped.
        whole(source)
            .and_then(|_| whole(&format!("^(?:{source})$")))
            .map(|regex| Self(Box::new(Compiled { source: source.into(), regex })))
            .map_err(|error| PatternError(error.to_string()))
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.0.regex.is_match(text)
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.0.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0.source)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text_only() {
        let either = Pattern::parse("a|bc").unwrap();
        assert!(either.matches("a") && either.matches("bc"));
        assert!(!either.matches("ab") && !either.matches("abc"));
        assert!(Pattern::parse("a)(b").is_err());
        assert!(Pattern::parse("(a{1000}){1000}").is_err(), "the compiled size is bounded");
    }
}
