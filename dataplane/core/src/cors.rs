//! Cross-origin resource sharing: answers preflights, marks responses (checklist F8 to F10).
//!
//! An origin that is let in is always echoed, never `*`: right with credentials and without, and `Vary: Origin` keeps
//! caches honest. An origin that is not let in gets no CORS field; the browser refuses for us.

use http::{Method, StatusCode};
use ringway_config::{Cors, CorsOrigin, Host, Wildcard};

use crate::canonical;
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
                **scheme == *its_scheme && host.matches(its_host.as_str()) && *port == its_port
            })
        }
    }
}

/// Scheme, host and port of an origin as browsers write it; `null` and anything odd is none.
fn parts(origin: &[u8]) -> Option<(&'static str, Host, u16)> {
    let origin = std::str::from_utf8(origin).ok()?;
    let (scheme, authority) = origin.split_once("://")?;
    let (scheme, default_port) = match scheme {
        "http" => ("http", 80),
        "https" => ("https", 443),
        _ => return None,
    };
    let (host, port) = canonical::split_authority(authority).ok()?;
    Some((scheme, Host::parse(host).ok()?, port.unwrap_or(default_port)))
}

fn list(fields: &mut Fields, name: &str, items: &[impl AsRef<str>]) {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    fields.set(name, items.join(", ").as_bytes());
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use ringway_config::{Filter, Weighted};

    use super::*;
    use crate::decision::Decision;
    use crate::fixture::*;

    fn origin(scheme: &str, host: &str, port: u16) -> CorsOrigin {
        CorsOrigin::Origin { scheme: scheme.into(), host: pattern(host), port }
    }

    fn names(names: &[&'static str]) -> Wildcard<HeaderName> {
        Wildcard::List(names.iter().map(|name| HeaderName::from_static(name)).collect())
    }

    fn strict() -> Cors {
        Cors {
            origins: vec![origin("https", "www.foo.com", 443), origin("https", "*.bar.com", 443)],
            credentials: true,
            methods: Wildcard::List(vec![Method::GET, Method::OPTIONS]),
            request_headers: names(&["x-header-1", "x-header-2"]),
            expose_headers: names(&["x-header-3", "x-header-4"]),
            max_age_secs: 3600,
        }
    }

    fn open(credentials: bool) -> Cors {
        Cors {
            origins: vec![CorsOrigin::Any],
            credentials,
            methods: Wildcard::All,
            request_headers: Wildcard::All,
            expose_headers: Wildcard::All,
            max_age_secs: 5,
        }
    }

    fn shown(fields: &Fields) -> Vec<String> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        let mut shown: Vec<_> = fields
            .iter()
            .map(|(name, value)| {
                format!("{}: {}", text(name).trim_start_matches("access-control-"), text(value))
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn an_origin_is_let_in_by_scheme_host_and_port() {
        // Checklist F8.
        let cors = Cors {
            origins: vec![
                origin("https", "www.foo.com", 443),
                origin("https", "*.bar.com", 443),
                origin("http", "port.com", 8080),
            ],
            ..strict()
        };
        for (text, expected) in [
            ("https://www.foo.com", true),
            ("https://www.foo.com:443", true),
            ("https://WWW.foo.com", true),
            ("http://www.foo.com", false),
            ("https://www.foo.com:8443", false),
            ("https://foo.com", false),
            ("https://www.bar.com", true),
            ("https://xpto.www.bar.com", true),
            ("https://bar.com", false),
            ("https://foobar.com", false),
            ("http://port.com:8080", true),
            ("http://port.com", false),
            ("null", false),
            ("https://evil.com@www.foo.com", false),
            ("https://www.foo.com/", false),
            ("https://www.foo.com:x", false),
            ("https://www.foo.com:+443", false),
            ("", false),
        ] {
            let let_in = mark(&cors, text.as_bytes(), &mut Fields::new());
            assert_eq!(let_in, expected, "{text}");
        }
    }

    #[test]
    fn a_preflight_is_answered_with_what_is_allowed() {
        // Checklist F8 to F10.
        let asks = |names: &str| {
            vec![
                ("origin", "https://www.foo.com"),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", names),
            ]
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect::<Vec<_>>()
        };
        let plainly: Vec<_> = asks("").into_iter().take(2).collect();
        for (cors, fields, expected) in [
            (
                strict(),
                asks("x-header-1"),
                vec![
                    "allow-credentials: true",
                    "allow-headers: x-header-1, x-header-2",
                    "allow-methods: GET, OPTIONS",
                    "allow-origin: https://www.foo.com",
                    "expose-headers: x-header-3, x-header-4",
                    "max-age: 3600",
                    "vary: Origin",
                ],
            ),
            (
                open(true),
                asks("x-a, x-b"),
                vec![
                    "allow-credentials: true",
                    "allow-headers: x-a, x-b",
                    "allow-methods: PUT",
                    "allow-origin: https://www.foo.com",
                    "max-age: 5",
                    "vary: Origin",
                ],
            ),
            (
                open(false),
                plainly.clone(),
                vec![
                    "allow-methods: PUT",
                    "allow-origin: https://www.foo.com",
                    "expose-headers: *",
                    "max-age: 5",
                    "vary: Origin",
                ],
            ),
            (
                Cors { origins: vec![origin("https", "other.com", 443)], ..strict() },
                plainly,
                vec!["vary: Origin"],
            ),
        ] {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
            let head = request("OPTIONS h/x", &fields);
            assert!(is_preflight(&head));
            let answer = preflight(&cors, &head);
            assert_eq!(
                (answer.status, shown(&answer.fields)),
                (StatusCode::OK, expected.iter().map(|line| line.to_string()).collect())
            );
        }
    }

    #[test]
    fn a_preflight_is_never_forwarded_and_other_responses_are_marked() {
        // Checklist F8, F10. The upstream's own idea of CORS is replaced where ours applies.
        let rule = |cors: Cors| {
            rule_with(vec![matching("/")], vec![Filter::Cors(cors)], Weighted::new(vec![(backend("up"), 1)]))
        };
        let route = http_route("r", 0, &[("http", &[""])], vec![rule(strict())]);
        let view = view(vec![http_listener("http", "")], vec![route]);
        let from = |line: &str, origin: &str, more: &[(&str, &str)]| {
            request(line, &[&[("origin", origin)], more].concat())
        };
        let asks = [("access-control-request-method", "GET")];
        for (head, forwarded) in [
            (from("OPTIONS h/", "https://www.foo.com", &asks), false),
            (from("OPTIONS h/", "https://other.com", &asks), false),
            (from("OPTIONS h/", "https://www.foo.com", &[]), true),
            (from("GET h/", "https://www.foo.com", &asks), true),
            (request("OPTIONS h/", &asks), true),
        ] {
            let decision = view.decide(&plain(80), &head, 0);
            assert_eq!(matches!(decision, Decision::Forward(_)), forwarded, "{head:?}");
        }
        for (origin, expected) in [
            (
                "https://www.foo.com",
                vec![
                    "allow-credentials: true",
                    "allow-origin: https://www.foo.com",
                    "expose-headers: x-header-3, x-header-4",
                    "vary: Origin",
                ],
            ),
            ("https://other.com", vec!["allow-origin: *", "vary: Origin"]),
        ] {
            let head = from("GET h/", origin, &[]);
            let Decision::Forward(forward) = view.decide(&plain(80), &head, 0) else { panic!() };
            let facts = forward.facts(&head);
            let mut fields: Fields = [("access-control-allow-origin", "*")].into_iter().collect();
            forward.apply_response(&facts, &mut fields);
            assert_eq!(shown(&fields), expected, "{origin}");
        }
        let without = get("h/");
        let Decision::Forward(forward) = view.decide(&plain(80), &without, 0) else { panic!() };
        let mut fields = Fields::new();
        forward.apply_response(&forward.facts(&without), &mut fields);
        assert!(fields.is_empty(), "no origin, no mark");
    }
}
