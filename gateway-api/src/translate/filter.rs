//! Filters of rules and backends (checklist F1 to F7, F14). CORS has a file of its own.
//!
//! A filter is never left out silently: what cannot be done makes the request fail (500), and the condition says why.
//! The exception is a mirror without a backend, which must not disturb the main traffic.

use http::{HeaderName, HeaderValue};
use ringway_config as config;
use ringway_config::{
    CanonicalPath, Fraction, Host, HttpMatch, PathMatch, PathPrefix, PathRewrite, RedirectStatus,
};

use super::condition::Problem;
use super::cors;
use super::lead::Lead;
use super::matches;
use crate::objects::*;

/// Where filters stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Rule,
    Backend,
}

/// Translates a list of filters. `matches` are the rule's, for the prefix that is to be replaced.
pub(crate) fn filters(
    specs: &[Filter],
    level: Level,
    matches: &[HttpMatch],
    lead: &mut Lead<'_>,
    field: &str,
    faults: &mut Vec<Problem>,
) -> Vec<config::Filter> {
    let mut filters = vec![];
    for (index, spec) in specs.iter().enumerate() {
        let at = format!("{field}[{index}]");
        match filter(spec, level, matches, lead, &at) {
            Ok(filter) => filters.extend(filter),
            Err(Fault::Unsupported(message)) => {
                faults.push(Problem::new("UnsupportedValue", message));
                filters.push(config::Filter::Unresolved);
            }
            Err(Fault::Unresolved(problem)) => {
                lead.unresolved.push(problem);
                filters.push(config::Filter::Unresolved);
            }
        }
    }
    let has = |wanted: FilterType| specs.iter().any(|spec| spec.kind == wanted);
    if has(FilterType::RequestRedirect) && has(FilterType::UrlRewrite) {
        let message = format!("{field}: RequestRedirect and URLRewrite exclude each other");
        faults.push(Problem::new("IncompatibleFilters", message));
        filters.push(config::Filter::Unresolved);
    }
    // Before it, another filter might answer; after it, none is reached.
    if filters.contains(&config::Filter::Unresolved) {
        filters = vec![config::Filter::Unresolved];
    }
    filters
}

enum Fault {
    Unsupported(String),
    Unresolved(Problem),
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Unsupported(message)
    }
}

fn filter(
    spec: &Filter,
    level: Level,
    matches: &[HttpMatch],
    lead: &mut Lead<'_>,
    at: &str,
) -> Result<Option<config::Filter>, Fault> {
    let missing = |field: &str| Fault::Unsupported(format!("{at}.{field}: missing, with type {}", spec.kind));
    match &spec.kind {
        FilterType::RequestHeaderModifier => {
            let spec = spec.request_header_modifier.as_ref();
            let spec = spec.ok_or_else(|| missing("requestHeaderModifier"))?;
            let edits = edits(spec).map_err(|why| format!("{at}.requestHeaderModifier.{why}"))?;
            Ok(Some(config::Filter::RequestHeaders(edits)))
        }
        FilterType::ResponseHeaderModifier => {
            let spec = spec.response_header_modifier.as_ref();
            let spec = spec.ok_or_else(|| missing("responseHeaderModifier"))?;
            let edits = edits(spec).map_err(|why| format!("{at}.responseHeaderModifier.{why}"))?;
            Ok(Some(config::Filter::ResponseHeaders(edits)))
        }
        FilterType::RequestMirror => {
            let spec = spec.request_mirror.as_ref().ok_or_else(|| missing("requestMirror"))?;
            mirror(spec, lead, &format!("{at}.requestMirror"))
        }
        FilterType::RequestRedirect => {
            let spec = spec.request_redirect.as_ref().ok_or_else(|| missing("requestRedirect"))?;
            let redirect = redirect(spec, matches).map_err(|why| format!("{at}.requestRedirect.{why}"))?;
            Ok(Some(config::Filter::Redirect(redirect)))
        }
        FilterType::UrlRewrite => {
            let spec = spec.url_rewrite.as_ref().ok_or_else(|| missing("urlRewrite"))?;
            let rewrite = rewrite(spec, matches).map_err(|why| format!("{at}.urlRewrite.{why}"))?;
            Ok(Some(config::Filter::Rewrite(rewrite)))
        }
        FilterType::Cors if level == Level::Backend => {
            Err(Fault::Unsupported(format!("{at}: CORS is decided before a backend is chosen")))
        }
        FilterType::Cors => {
            let spec = spec.cors.as_ref().ok_or_else(|| missing("cors"))?;
            let cors = cors::cors(spec).map_err(|why| format!("{at}.cors.{why}"))?;
            Ok(Some(config::Filter::Cors(cors)))
        }
        FilterType::ExternalAuth => Err(Fault::Unsupported(format!("{at}: ExternalAuth is not served yet"))),
        FilterType::ExtensionRef => {
            let spec = spec.extension_ref.as_ref().ok_or_else(|| missing("extensionRef"))?;
            let message =
                format!("{at}.extensionRef: {:?} of group {:?} is no kind of filter", spec.kind, spec.group);
            Err(Fault::Unresolved(Problem::new("InvalidKind", message)))
        }
        FilterType::Unknown(text) => Err(Fault::Unsupported(format!("{at}.type: {text:?} is not known"))),
    }
}

/// What frames a message, or belongs to one connection, is the proxy's own.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn edits(spec: &HeaderModifier) -> Result<config::HeaderEdits, String> {
    let name = |text: &str, at: String| {
        let name = HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| format!("{at}: {text:?} is no header name"))?;
        match RESERVED.contains(&name.as_str()) {
            true if name == http::header::HOST => Err(format!("{at}: for the host use URLRewrite")),
            true => Err(format!("{at}: {text:?} frames the message, which is the proxy's own")),
            false => Ok(name),
        }
    };
    let pairs = |specs: &[HeaderSpec], list: &str| {
        let pair = |(index, spec): (usize, &HeaderSpec)| {
            let name = name(&spec.name, format!("{list}[{index}].name"))?;
            let value = HeaderValue::from_str(spec.value.trim())
                .map_err(|_| format!("{list}[{index}].value: {:?} is no header value", spec.value))?;
            Ok((name, value))
        };
        specs.iter().enumerate().map(pair).collect::<Result<Vec<_>, String>>()
    };
    let remove = spec.remove.iter().enumerate();
    Ok(config::HeaderEdits {
        set: pairs(&spec.set, "set")?,
        add: pairs(&spec.add, "add")?,
        remove: remove
            .map(|(index, text)| name(text, format!("remove[{index}]")))
            .collect::<Result<_, _>>()?,
    })
}

fn mirror(spec: &RequestMirror, lead: &mut Lead<'_>, at: &str) -> Result<Option<config::Filter>, Fault> {
    let fraction = fraction(spec).map_err(|why| format!("{at}.{why}"))?;
    let cluster = lead.cluster(&spec.backend_ref, &format!("{at}.backendRef"));
    Ok(cluster.map(|cluster| config::Filter::Mirror(config::Mirror { cluster, fraction })))
}

fn fraction(spec: &RequestMirror) -> Result<Fraction, String> {
    let of = |numerator: i32, denominator: i32| {
        Fraction::new(u32::try_from(numerator).ok()?, u32::try_from(denominator).ok()?)
    };
    match (spec.percent, &spec.fraction) {
        (None, None) => Ok(Fraction::ALL),
        (Some(_), Some(_)) => Err("percent: not together with fraction".into()),
        (Some(percent), None) => {
            of(percent, 100).ok_or_else(|| format!("percent: {percent} is not between 0 and 100"))
        }
        (None, Some(fraction)) => {
            let denominator = fraction.denominator.unwrap_or(100);
            of(fraction.numerator, denominator).ok_or_else(|| {
                format!("fraction: {}/{denominator} is not between 0 and 1", fraction.numerator)
            })
        }
    }
}

fn redirect(spec: &RequestRedirect, matches: &[HttpMatch]) -> Result<config::Redirect, String> {
    let scheme = match spec.scheme.as_deref() {
        None => None,
        Some(scheme @ ("http" | "https")) => Some(scheme.into()),
        Some(other) => return Err(format!("scheme: {other:?} is neither http nor https")),
    };
    let status = match spec.status_code {
        Some(301) => RedirectStatus::MovedPermanently,
        None | Some(302) => RedirectStatus::Found,
        Some(303) => RedirectStatus::SeeOther,
        Some(307) => RedirectStatus::TemporaryRedirect,
        Some(308) => RedirectStatus::PermanentRedirect,
        Some(other) => return Err(format!("statusCode: {other} is not one of 301, 302, 303, 307, 308")),
    };
    Ok(config::Redirect {
        scheme,
        hostname: hostname(spec.hostname.as_deref())?,
        path: spec.path.as_ref().map(|path| path_rewrite(path, matches)).transpose()?,
        port: spec.port.filter(|port| *port != 0),
        status,
    })
}

fn rewrite(spec: &UrlRewrite, matches: &[HttpMatch]) -> Result<config::Rewrite, String> {
    Ok(config::Rewrite {
        hostname: hostname(spec.hostname.as_deref())?,
        path: spec.path.as_ref().map(|path| path_rewrite(path, matches)).transpose()?,
    })
}

fn hostname(text: Option<&str>) -> Result<Option<std::sync::Arc<str>>, String> {
    let parse = |text: &str| {
        let host = Host::parse(text).map_err(|_| format!("hostname: {text:?} is no host name"))?;
        Ok(host.as_str().into())
    };
    text.map(parse).transpose()
}

/// A replaced prefix is that of the rule's one match (checklist F5).
fn path_rewrite(spec: &PathModifier, matches: &[HttpMatch]) -> Result<PathRewrite, String> {
    match &spec.kind {
        PathModifierType::ReplaceFullPath => {
            let text = spec.replace_full_path.as_deref().ok_or("path.replaceFullPath: missing")?;
            Ok(PathRewrite::Full(new_path(text, "path.replaceFullPath")?))
        }
        PathModifierType::ReplacePrefixMatch => {
            let text = spec.replace_prefix_match.as_deref().ok_or("path.replacePrefixMatch: missing")?;
            let replacement = new_path(text, "path.replacePrefixMatch")?;
            let matched: &PathPrefix = match matches {
                [HttpMatch { path: PathMatch::Prefix(prefix), .. }] => prefix,
                _ => return Err("path: ReplacePrefixMatch needs a rule with one match, a PathPrefix".into()),
            };
            Ok(PathRewrite::Prefix { matched: matched.clone(), replacement })
        }
        PathModifierType::Unknown(text) => Err(format!("path.type: {text:?} is not known")),
    }
}

/// A path may leave out its first slash here; the query stays the request's own.
fn new_path(text: &str, field: &str) -> Result<CanonicalPath, String> {
    match text.starts_with('/') {
        true => matches::canonical(text, field),
        false => matches::canonical(&format!("/{text}"), field),
    }
}
