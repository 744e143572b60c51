//! Cross-origin resource sharing: answers preflights, marks responses (checklist F8 to F10).
//!
//! An origin that is let in is always echoed, never `*`: right with credentials and without, and `Vary: Origin` keeps
//! caches honest. An origin that is not let in gets no CORS field; the browser refuses for us.

use http::{Method, StatusCode};
use ringway_config::{Cors, CorsOrigin, Wildcard};

use crate::decision::Answer;
use crate::message::{Fields, RequestHead};

/// Whether a request is a preflight, which is answered here and never forwarded.
pub(crate) fn is_preflight(head: &RequestHead) -> bool {
    head.method == Method::OPTIONS
        && head.fields.contains("origin")
        && head.fields.contains("access-control-request-method")
}

/// Answers a preflight.
pub(crate) fn preflight(cors: &Cors, head: &RequestHead) -> Answer {
    let mut answer = Answer::reply(StatusCode::OK, "cors preflight");
    let Some(origin) = head.fields.first("origin") else { return answer };
    if !mark(cors, origin, &mut answer.fields) {
        return answer;
    }
    let fields = &mut answer.fields;
    match (&cors.methods, head.fields.first("access-control-request-method")) {
        (_, None) => {}
        (Wildcard::All, Some(method)) => fields.append(b"access-control-allow-methods", method),
        (Wildcard::List(methods), Some(_)) => list(fields, "access-control-allow-methods", methods),
    }
    match (&cors.request_headers, head.fields.first("access-control-request-headers")) {
        (_, None) => {}
        (Wildcard::All, Some(names)) => fields.append(b"access-control-allow-headers", names),
        (Wildcard::List(names), Some(_)) => list(fields, "access-control-allow-headers", names),
    }
    fields.append(b"access-control-max-age", cors.max_age_secs.to_string().as_bytes());
    answer
}

/// Marks a response for a request from this origin; says whether the origin is let in.
pub(crate) fn mark(cors: &Cors, origin: &[u8], fields: &mut Fields) -> bool {
    let lets_in = cors.origins.iter().any(|allowed| lets_in(allowed, origin));
    let varies = |value: &[u8]| value.eq_ignore_ascii_case(b"origin") || value == b"*";
    if !fields.all("vary").any(varies) {
        fields.append(b"vary", b"Origin");
    }
    if !lets_in {
        return false;
    }
    fields.set("access-control-allow-origin", origin);
    match cors.credentials {
        true => fields.set("access-control-allow-credentials", b"true"),
        false => drop(fields.remove("access-control-allow-credentials")),
    }
    match &cors.expose_headers {
        Wildcard::List(names) if names.is_empty() => {}
        Wildcard::List(names) => list(fields, "access-control-expose-headers", names),
        // With credentials `*` would be the name of a field, so there is nothing to say.
        Wildcard::All if cors.credentials => {}
        Wildcard::All => fields.set("access-control-expose-headers", b"*"),
    }
    true
}

fn lets_in(allowed: &CorsOrigin, origin: &[u8]) -> bool {
    match allowed {
        CorsOrigin::Any => true,
        CorsOrigin::Origin { scheme, host, port } => {
            parts(origin).is_some_and(|(its_scheme, its_host, its_port)| {
                **scheme == *its_scheme && host.matches(&its_host) && *port == its_port
            })
        }
    }
}

/// Scheme, host and port of an origin as browsers write it; `null` and anything odd is none.
fn parts(origin: &[u8]) -> Option<(&'static str, String, u16)> {
    let origin = std::str::from_utf8(origin).ok()?;
    let (scheme, authority) = origin.split_once("://")?;
    let (scheme, default_port) = match scheme {
        "http" => ("http", 80),
        "https" => ("https", 443),
        _ => return None,
    };
    let authority: http::uri::Authority = authority.parse().ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        None => default_port,
    };
    Some((scheme, authority.host().to_ascii_lowercase(), port))
}

fn list(fields: &mut Fields, name: &str, items: &[impl AsRef<str>]) {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    fields.set(name, items.join(", ").as_bytes());
}
