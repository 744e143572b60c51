//! Matches of HTTPRoute and GRPCRoute rules (checklist M1, M3, M4, M7).
//!
//! What cannot be understood makes the rule unusable: nobody knows what it was to match.

use http::{HeaderName, Method};
use ringway_config::{
    CanonicalPath, GrpcMatch, HeaderMatch, HttpMatch, PathMatch, PathPrefix, Pattern, QueryMatch, ValueMatch,
};

use crate::objects::*;

/// Translates the match of an HTTPRoute rule.
pub(crate) fn http(spec: &HttpRouteMatch, field: &str) -> Result<HttpMatch, String> {
    let path = match &spec.path {
        None => PathMatch::Prefix(PathPrefix::root()),
        Some(path) => self::path(path).map_err(|why| format!("{field}.path.{why}"))?,
    };
    let method = spec.method.as_deref().map(|text| {
        Method::from_bytes(text.as_bytes()).map_err(|_| format!("{field}.method: {text:?} is no method"))
    });
    Ok(HttpMatch {
        path,
        method: method.transpose()?,
        headers: headers(&spec.headers, field)?,
        query: query(&spec.query_params, field)?,
    })
}

/// Translates the match of a GRPCRoute rule.
pub(crate) fn grpc(spec: &GrpcRouteMatch, field: &str) -> Result<HttpMatch, String> {
    let mut grpc = GrpcMatch { service: None, method: None };
    if let Some(method) = &spec.method {
        let value = |text: &Option<String>, part: &str| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| {
                value(method.kind.as_ref(), text).map_err(|why| format!("{field}.method.{part}{why}"))
            })
            .transpose()
        };
        grpc = GrpcMatch {
            service: value(&method.service, "service")?,
            method: value(&method.method, "method")?,
        };
    }
    Ok(HttpMatch {
        path: PathMatch::Grpc(Box::new(grpc)),
        method: None,
        headers: headers(&spec.headers, field)?,
        query: vec![],
    })
}

/// What a GRPCRoute rule without matches means.
pub(crate) fn any_grpc() -> HttpMatch {
    let path = PathMatch::Grpc(Box::new(GrpcMatch { service: None, method: None }));
    HttpMatch { path, ..HttpMatch::anything() }
}

fn path(spec: &HttpPathMatch) -> Result<PathMatch, String> {
    let value = spec.value.as_deref().unwrap_or("/");
    match spec.kind.as_ref().unwrap_or(&PathMatchType::PathPrefix) {
        PathMatchType::Exact => canonical(value, "value").map(PathMatch::Exact),
        PathMatchType::PathPrefix => {
            let path = canonical(value, "value")?;
            let prefix =
                PathPrefix::parse(path.as_str()).expect("a canonical path is its own canonical form");
            Ok(PathMatch::Prefix(prefix))
        }
        PathMatchType::RegularExpression => {
            pattern(value).map(PathMatch::Regex).map_err(|why| format!("value{why}"))
        }
        PathMatchType::Unknown(text) => Err(format!("type: {text:?} is not known")),
    }
}

/// A configured path in the form that requests' paths have, or else why no request could ever have it.
pub(crate) fn canonical(text: &str, field: &str) -> Result<CanonicalPath, String> {
    if text.contains('?') {
        return Err(format!("{field}: {text:?} has a question mark, and a query is no part of a path"));
    }
    CanonicalPath::parse(text).map_err(|error| format!("{field}: {text:?} {error}"))
}

/// Of several matches of one name the first counts (checklist M4).
fn headers(specs: &[NamedMatch], field: &str) -> Result<Vec<HeaderMatch>, String> {
    let mut headers: Vec<HeaderMatch> = vec![];
    for (index, spec) in specs.iter().enumerate() {
        let at = format!("{field}.headers[{index}]");
        let name = HeaderName::from_bytes(spec.name.as_bytes())
            .map_err(|_| format!("{at}.name: {:?} is no header name", spec.name))?;
        if headers.iter().any(|known| known.name == name) {
            continue;
        }
        let value = value(spec.kind.as_ref(), &spec.value).map_err(|why| format!("{at}.value{why}"))?;
        headers.push(HeaderMatch { name, value });
    }
    Ok(headers)
}

fn query(specs: &[NamedMatch], field: &str) -> Result<Vec<QueryMatch>, String> {
    let mut query: Vec<QueryMatch> = vec![];
    for (index, spec) in specs.iter().enumerate() {
        if query.iter().any(|known| *known.name == *spec.name) {
            continue;
        }
        let value = value(spec.kind.as_ref(), &spec.value)
            .map_err(|why| format!("{field}.queryParams[{index}].value{why}"))?;
        query.push(QueryMatch { name: spec.name.as_str().into(), value });
    }
    Ok(query)
}

fn value(kind: Option<&ValueMatchType>, text: &str) -> Result<ValueMatch, String> {
    match kind.unwrap_or(&ValueMatchType::Exact) {
        ValueMatchType::Exact => Ok(ValueMatch::Exact(text.into())),
        ValueMatchType::RegularExpression => pattern(text).map(ValueMatch::Regex),
        ValueMatchType::Unknown(kind) => Err(format!(": type {kind:?} is not known")),
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    // The regex crate draws the place in several lines; a condition has one.
    Pattern::parse(text).map_err(|error| {
        let last = error.0.lines().last().unwrap_or_default().trim();
        format!(": {text:?} is no regular expression that we take: {last}")
    })
}
