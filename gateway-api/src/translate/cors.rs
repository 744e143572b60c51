//! The CORS filter (checklist F8 to F10).

use http::{HeaderName, Method};
use ringway_config::{Cors, CorsOrigin, HostPattern, Wildcard};

use crate::objects::CorsSpec;

/// How long a preflight may be kept if nothing is said.
const MAX_AGE_SECS: u32 = 5;

/// Translates a CORS filter.
pub(crate) fn cors(spec: &CorsSpec) -> Result<Cors, String> {
    let origins = spec.allow_origins.iter().enumerate();
    Ok(Cors {
        origins: origins
            .map(|(index, text)| {
                origin(text).ok_or_else(|| format!("allowOrigins[{index}]: {text:?} is no origin"))
            })
            .collect::<Result<_, _>>()?,
        credentials: spec.allow_credentials.unwrap_or(false),
        methods: list(&spec.allow_methods, "allowMethods", |text| Method::from_bytes(text.as_bytes()).ok())?,
        request_headers: list(&spec.allow_headers, "allowHeaders", header)?,
        expose_headers: list(&spec.expose_headers, "exposeHeaders", header)?,
        max_age_secs: match spec.max_age {
            None => MAX_AGE_SECS,
            Some(age) => u32::try_from(age).map_err(|_| format!("maxAge: {age} is negative"))?,
        },
    })
}

fn header(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

fn list<T>(texts: &[String], field: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Wildcard<T>, String> {
    if texts.iter().any(|text| text == "*") {
        return Ok(Wildcard::All);
    }
    let parse = |(index, text): (usize, &String)| {
        parse(text).ok_or_else(|| format!("{field}[{index}]: {text:?} is not possible there"))
    };
    texts.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Wildcard::List)
}

/// `*`, or `scheme://host[:port]` where the host may be `*` or begin with `*.`.
fn origin(text: &str) -> Option<CorsOrigin> {
    if text == "*" {
        return Some(CorsOrigin::Any);
    }
    let (scheme, authority) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default = match &*scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => (host, digits.parse().ok()?),
        _ => (authority, default),
    };
    let host = if host == "*" { HostPattern::Any } else { HostPattern::parse(host).ok()? };
    Some(CorsOrigin::Origin { scheme: scheme.into(), host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_scheme_host_and_port() {
        let shown = |text: &str| match origin(text)? {
            CorsOrigin::Any => Some("any".to_owned()),
            CorsOrigin::Origin { scheme, host, port } => Some(format!("{scheme} {host} {port}")),
        };
        for (text, expected) in [
            ("*", Some("any")),
            ("https://www.foo.com", Some("https www.foo.com 443")),
            ("http://foo.com:8080", Some("http foo.com 8080")),
            ("https://*.bar.com", Some("https *.bar.com 443")),
            ("https://*", Some("https * 443")),
            ("http://[::1]", Some("http [::1] 80")),
            ("http://[::1]:90", Some("http [::1] 90")),
            ("foo.com", None),
            ("ftp://foo.com", None),
            ("https://foo.com/path", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
    }
}
