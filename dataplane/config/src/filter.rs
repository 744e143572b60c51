//! What a rule or backend does to a request and its response, in the order written.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;

use crate::{CanonicalPath, ClusterKey, HostPattern, PathPrefix};

/// One filter. `ringway-core` turns the list into steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Filter {
    /// Edits request headers.
    RequestHeaders(HeaderEdits),
    /// Edits response headers.
    ResponseHeaders(HeaderEdits),
    /// Answers with a redirect; nothing is forwarded.
    Redirect(Redirect),
    /// Changes host or path of the forwarded request.
    Rewrite(Rewrite),
    /// Sends a copy elsewhere and ignores the response.
    Mirror(Mirror),
    /// Answers CORS preflights and marks responses.
    Cors(Cors),
    /// The filter could not be resolved: answer 500 (checklist F14).
    Unresolved,
}

/// Header edits: `set` replaces, then `add` appends, then `remove` deletes (checklist F1).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeaderEdits {
    /// Replace or add.
    #[serde(serialize_with = "show_pairs")]
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Add another value.
    #[serde(serialize_with = "show_pairs")]
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Delete all values.
    #[serde(serialize_with = "crate::show::displays")]
    pub remove: Vec<HeaderName>,
}

fn show_pairs<S: serde::Serializer>(
    pairs: &[(HeaderName, HeaderValue)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(
        pairs.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))),
    )
}

/// A redirect (checklist F3); absent parts come from the request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Arc<str>>,
    /// The host.
    pub hostname: Option<Arc<str>>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// The port; absent, the scheme's default if a scheme is given, else the listener's.
    pub port: Option<u16>,
    /// The status.
    pub status: RedirectStatus,
}

/// The statuses a redirect may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RedirectStatus {
    /// 301
    MovedPermanently,
    /// 302
    Found,
    /// 303
    SeeOther,
    /// 307
    TemporaryRedirect,
    /// 308
    PermanentRedirect,
}

impl RedirectStatus {
    /// As a status code.
    pub fn code(self) -> StatusCode {
        match self {
            Self::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
            Self::Found => StatusCode::FOUND,
            Self::SeeOther => StatusCode::SEE_OTHER,
            Self::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
            Self::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
        }
    }
}

/// A rewrite of the forwarded request (checklist F5, F6).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rewrite {
    /// The new host (`Host`, `:authority`).
    pub hostname: Option<Arc<str>>,
    /// The new path.
    pub path: Option<PathRewrite>,
}

/// A new path; the query stays.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PathRewrite {
    /// The whole path.
    Full(CanonicalPath),
    /// Only the matched prefix; the rest is kept.
    Prefix {
        /// What the rule's match covers.
        matched: PathPrefix,
        /// What takes its place; one trailing slash does not count before the rest.
        replacement: CanonicalPath,
    },
}

/// A copy of the request to another cluster (checklist F7).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mirror {
    /// Where the copy goes.
    pub cluster: ClusterKey,
    /// Which share of requests is copied.
    pub fraction: Fraction,
}

/// A share between nothing and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fraction {
    numerator: u32,
    denominator: u32,
}

impl Fraction {
    /// Everything.
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };

    /// `None` unless `0 <= numerator <= denominator` and `denominator > 0`.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (denominator > 0 && numerator <= denominator).then_some(Self { numerator, denominator })
    }

    /// The part.
    pub fn numerator(self) -> u32 {
        self.numerator
    }

    /// Of how many.
    pub fn denominator(self) -> u32 {
        self.denominator
    }

    /// Whether this draw of 32 random bits falls into the share.
    pub fn hit(self, random: u32) -> bool {
        (u64::from(random) * u64::from(self.denominator)) >> 32 < u64::from(self.numerator)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { numerator, denominator: 100 } => write!(f, "{numerator}%"),
            Self { numerator, denominator } => write!(f, "{numerator}/{denominator}"),
        }
    }
}

/// Cross-origin resource sharing (checklist F8 to F10).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cors {
    /// Which origins are let in.
    pub origins: Vec<CorsOrigin>,
    /// Whether credentials are.
    pub credentials: bool,
    /// Methods a preflight is told of.
    #[serde(serialize_with = "show_methods")]
    pub methods: Wildcard<Method>,
    /// Request headers a preflight is told of.
    #[serde(serialize_with = "show_names")]
    pub request_headers: Wildcard<HeaderName>,
    /// Response headers that scripts may read.
    #[serde(serialize_with = "show_names")]
    pub expose_headers: Wildcard<HeaderName>,
    /// How long a preflight may be kept, in seconds.
    pub max_age_secs: u32,
}

/// A list that may be `*`.
#[derive(Clone, Debug, PartialEq)]
pub enum Wildcard<T> {
    /// `*`
    All,
    /// Just these; may be empty.
    List(Vec<T>),
}

fn show_methods<S: serde::Serializer>(list: &Wildcard<Method>, serializer: S) -> Result<S::Ok, S::Error> {
    match list {
        Wildcard::All => serializer.serialize_str("*"),
        Wildcard::List(list) => crate::show::displays(list, serializer),
    }
}

fn show_names<S: serde::Serializer>(list: &Wildcard<HeaderName>, serializer: S) -> Result<S::Ok, S::Error> {
    match list {
        Wildcard::All => serializer.serialize_str("*"),
        Wildcard::List(list) => crate::show::displays(list, serializer),
    }
}

/// An allowed origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum CorsOrigin {
    /// `*`
    Any,
    /// `scheme://host[:port]`; the host may be a wildcard.
    Origin {
        /// `http` or `https`.
        scheme: Arc<str>,
        /// Exact, wildcard, or any host.
        host: HostPattern,
        /// The port, with the scheme's default made explicit.
        port: u16,
    },
}
