//! Where a redirect sends the client: the `Location` it is told (checklist F3, F5). Pure text, made of the request
//! and the filter; parts that the filter leaves out come from the request.

use std::fmt::Write;

use ringway_config::Redirect;

use crate::arrival::Arrival;
use crate::message::RequestHead;
use crate::rewrite;

/// The `Location` of a redirect.
pub(crate) fn location(redirect: &Redirect, arrival: &Arrival, head: &RequestHead) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(arrival.scheme.as_str());
    let host = redirect.hostname.as_deref().unwrap_or(head.host());
    let default_port = if scheme == "https" { 443 } else { 80 };
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => port,
        (None, Some(_)) => default_port,
        (None, None) => arrival.bind.port,
    };
    let path = match &redirect.path {
        Some(path) => rewrite::rewritten(path, head.path()),
        None => head.path().into(),
    };
    let mut location = String::with_capacity(scheme.len() + host.len() + path.len() + 16);
    // A request of HTTP/1.0 without `Host` names no host: the client stays where it is.
    if !host.is_empty() {
        location.extend([scheme, "://", host]);
        if port != default_port {
            write!(location, ":{port}").expect("writing to a String cannot fail");
        }
    }
    location.push_str(&path);
    if let Some(query) = head.query() {
        location.extend(["?", query]);
    }
    location
}

#[cfg(test)]
mod tests {
    use ringway_config::{CanonicalPath, Filter, PathPrefix, PathRewrite, RedirectStatus};

    use super::*;
    use crate::decision::Decision;
    use crate::fixture::*;

    fn nothing() -> Redirect {
        Redirect { scheme: None, hostname: None, path: None, port: None, status: RedirectStatus::Found }
    }

    #[test]
    fn a_redirect_takes_from_the_request_what_it_does_not_say() {
        // Checklist F3: the port is the one given, else the scheme's if a scheme is given, else the listener's.
        let scheme = |scheme: &str| Redirect { scheme: Some(scheme.into()), ..nothing() };
        let host = Redirect { hostname: Some("example.org".into()), ..nothing() };
        let port = |port: u16, redirect: Redirect| Redirect { port: Some(port), ..redirect };
        for (redirect, port, secure_listener, expected) in [
            (host.clone(), 80, false, "http://example.org/a?q=1"),
            (host.clone(), 8080, false, "http://example.org:8080/a?q=1"),
            (host, 443, true, "https://example.org/a?q=1"),
            (nothing(), 8443, true, "https://h.com:8443/a?q=1"),
            (scheme("https"), 80, false, "https://h.com/a?q=1"),
            (scheme("https"), 8080, false, "https://h.com/a?q=1"),
            (scheme("http"), 8443, true, "http://h.com/a?q=1"),
            (port(8083, nothing()), 80, false, "http://h.com:8083/a?q=1"),
            (port(80, nothing()), 8080, false, "http://h.com/a?q=1"),
            (port(443, nothing()), 8443, true, "https://h.com/a?q=1"),
            (port(443, scheme("https")), 80, false, "https://h.com/a?q=1"),
            (port(443, scheme("http")), 80, false, "http://h.com:443/a?q=1"),
            (port(8443, scheme("https")), 80, false, "https://h.com:8443/a?q=1"),
        ] {
            let arrival = if secure_listener { secure(port, "l") } else { plain(port) };
            assert_eq!(
                location(&redirect, &arrival, &get("h.com:1234/a?q=1")),
                expected,
                "{redirect:?} {port}"
            );
        }
    }

    #[test]
    fn a_redirect_replaces_paths_as_a_rewrite_does() {
        // Checklist F5.
        let prefix = |replacement: &str| PathRewrite::Prefix {
            matched: PathPrefix::parse("/old").unwrap(),
            replacement: CanonicalPath::parse(replacement).unwrap(),
        };
        for (path, target, expected) in [
            (PathRewrite::Full(CanonicalPath::parse("/new").unwrap()), "h/old/a?q", "http://h/new?q"),
            (prefix("/new"), "h/old/a/?q", "http://h/new/a/?q"),
            (prefix("/"), "h/old/a", "http://h/a"),
            (prefix("/"), "h/old", "http://h/"),
            (prefix("/new"), "/old/a", "/new/a"),
        ] {
            let redirect = Redirect { path: Some(path), ..nothing() };
            assert_eq!(location(&redirect, &plain(80), &get(target)), expected, "{target}");
        }
    }

    #[test]
    fn a_redirecting_rule_answers_with_its_status_and_needs_no_backend() {
        // Checklist F3, F4.
        for (status, code) in [
            (RedirectStatus::MovedPermanently, 301),
            (RedirectStatus::Found, 302),
            (RedirectStatus::SeeOther, 303),
            (RedirectStatus::TemporaryRedirect, 307),
            (RedirectStatus::PermanentRedirect, 308),
        ] {
            let redirect = Redirect { hostname: Some("to.org".into()), status, ..nothing() };
            let rule = rule_with(vec![matching("/")], vec![Filter::Redirect(redirect)], None);
            let view = view(
                vec![http_listener("http", "")],
                vec![http_route("r", 0, &[("http", &[""])], vec![rule])],
            );
            let Decision::Answer(answer) = view.decide(&plain(80), &get("h/x"), 0) else { panic!("{code}") };
            assert_eq!(answer.status.as_u16(), code);
            assert_eq!(answer.fields.first("location"), Some(&b"http://to.org/x"[..]));
            assert!(answer.flags.is_empty());
            assert_eq!(answer.route().map(ToString::to_string).as_deref(), Some("r"));
        }
    }
}
