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
