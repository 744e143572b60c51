//! The one canonical request: what policy sees, the router sees and the upstream receives.
//!
//! Two spellings of one target become the same text here, so that no rule can be passed by writing a path differently;
//! what has no agreed meaning is refused. Used by the HTTP/1 and the HTTP/2 codec alike. Writes into the buffers of a
//! head that is used again, so it allocates nothing once they have grown. Paths have their canonical form from
//! `ringway-config`, whose configured paths have the same.

use std::net::Ipv6Addr;

use ringway_config::{PathError, write_canonical_path};

use crate::message::RequestHead;

/// Why a request has no canonical form. Answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncanonical {
    /// The path has none, or the query a byte that neither may have.
    Path(PathError),
    /// The host is empty, too long, or has a byte that no host may have.
    Host,
    /// The port is no number below 65536.
    Port,
    /// User information, which no http URI may have (RFC 9110 section 4.2.4).
    UserInformation,
}

impl Uncanonical {
    /// For the access log and the answer's body.
    pub fn details(self) -> &'static str {
        match self {
            Self::Path(PathError::NotAbsolute) => "request path does not begin with a slash",
            Self::Path(PathError::ControlByte) => "control byte in request target",
            Self::Path(PathError::Fragment) => "fragment in request target",
            Self::Path(PathError::Backslash) => "backslash in request path",
            Self::Path(PathError::Escape) => "bad percent-encoding in request path",
            Self::Path(PathError::AboveRoot) => "request path leads above the root",
            Self::Host => "invalid host",
            Self::Port => "invalid port in host",
            Self::UserInformation => "user information in host",
        }
    }
}

/// Fills path and query of a head from an origin-form target (`/path?query`).
pub fn fill_target(head: &mut RequestHead, target: &str) -> Result<(), Uncanonical> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    write_canonical_path(path, head.path_buffer())?;
    fill_query(head, query)
}

/// Fills the query of a head, without its `?`. It passes as it came, except for three bytes that no URI may hold and
/// clients send: they are escaped, so that every upstream gets the same query, whatever it is spoken to in.
pub fn fill_query(head: &mut RequestHead, query: Option<&str>) -> Result<(), Uncanonical> {
    check_query(query.unwrap_or_default())?;
    match query.filter(|query| query.bytes().any(|byte| matches!(byte, b'"' | b'<' | b'>'))) {
        None => head.set_query(query),
        Some(query) => {
            let escaped = query.replace('"', "%22").replace('<', "%3C").replace('>', "%3E");
            head.set_query(Some(&escaped));
        }
    }
    Ok(())
}

/// Fills the authority of a head from `host[:port]`: lower case, without one trailing dot of the host.
pub fn fill_authority(head: &mut RequestHead, authority: &str) -> Result<(), Uncanonical> {
    let (host, port) = split_authority(authority)?;
    head.set_authority(host, port);
    head.lower_authority();
    Ok(())
}

/// Splits `host[:port]` and checks both. The host has no trailing dot any more, but is in the case it came in.
///
/// An empty port is no port (RFC 3986 section 6.2.3).
pub fn split_authority(authority: &str) -> Result<(&str, Option<u16>), Uncanonical> {
    if authority.contains('@') {
        return Err(Uncanonical::UserInformation);
    }
    let host_end = match authority.strip_prefix('[') {
        Some(inside) => inside.find(']').ok_or(Uncanonical::Host)? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_end);
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return Err(Uncanonical::Host),
        Some("") => None,
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| Uncanonical::Port)?)
        }
        Some(_) => return Err(Uncanonical::Port),
    };
    Ok((checked_host(host)?, port))
}

/// The same hosts as `ringway_config::Host` allows, without allocating.
fn checked_host(host: &str) -> Result<&str, Uncanonical> {
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().map(|_| host).map_err(|_| Uncanonical::Host);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    // RFC 1035 section 2.3.4: 255 octets on the wire are 253 characters; a label has 63.
    let mut label = 0;
    let mut fine = !host.is_empty() && host.len() <= 253;
    for byte in host.bytes() {
        match byte {
            b'.' => {
                fine &= label > 0;
                label = 0;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                label += 1;
                fine &= label <= 63;
            }
            _ => fine = false,
        }
    }
    if fine && label > 0 { Ok(host) } else { Err(Uncanonical::Host) }
}

/// The query passes as it came; only what could break out of it is refused.
pub fn check_query(query: &str) -> Result<(), Uncanonical> {
    // One pass that the compiler can do for many bytes at once; which byte it was matters only then.
    if !query.bytes().fold(false, |bad, b| bad | (b <= b' ') | (b == 0x7f) | (b == b'#')) {
        return Ok(());
    }
    match query.bytes().find(|&b| b <= b' ' || b == 0x7f || b == b'#') {
        Some(b'#') => Err(PathError::Fragment.into()),
        _ => Err(PathError::ControlByte.into()),
    }
}

impl From<PathError> for Uncanonical {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_query_is_split_off_and_untouched() {
        let mut head = RequestHead::new();
        for (target, path, query) in [
            ("/a", "/a", None),
            ("/a?", "/a", Some("")),
            ("/a/../b?x=/../%2e%2&y=?\\", "/b", Some("x=/../%2e%2&y=?\\")),
        ] {
            assert_eq!(fill_target(&mut head, target), Ok(()));
            assert_eq!((head.path(), head.query()), (path, query), "{target}");
        }
        assert_eq!(fill_target(&mut head, "/a?b#c"), Err(PathError::Fragment.into()));
        assert_eq!(fill_target(&mut head, "/a?b\r"), Err(PathError::ControlByte.into()));
        assert_eq!(fill_target(&mut head, "/a?b c"), Err(PathError::ControlByte.into()));
    }

    #[test]
    fn authorities_are_lower_case_and_without_trailing_dot() {
        let long = "a".repeat(63);
        let mut head = RequestHead::new();
        for (raw, host, authority) in [
            ("Example.COM", "example.com", "example.com"),
            ("example.com.", "example.com", "example.com"),
            ("example.com.:8080", "example.com", "example.com:8080"),
            ("example.com:", "example.com", "example.com"),
            ("example.com:080", "example.com", "example.com:80"),
            ("a_b-c.1", "a_b-c.1", "a_b-c.1"),
            ("10.0.0.1:65535", "10.0.0.1", "10.0.0.1:65535"),
            ("[2001:DB8::1]:443", "[2001:db8::1]", "[2001:db8::1]:443"),
            ("[::1]", "[::1]", "[::1]"),
            (long.as_str(), long.as_str(), long.as_str()),
        ] {
            assert_eq!(fill_authority(&mut head, raw), Ok(()), "{raw}");
            assert_eq!((head.host(), head.authority()), (host, authority), "{raw}");
            let config = ringway_config::Host::parse(raw.split(']').next().map_or(raw, |h| {
                if h.starts_with('[') { &raw[..=h.len()] } else { raw.split(':').next().unwrap_or(raw) }
            }));
            assert_eq!(config.unwrap().as_str(), host, "the same as the configuration's");
        }
    }

    #[test]
    fn bytes_that_no_query_may_hold_are_escaped() {
        let mut head = RequestHead::new();
        fill_target(&mut head, "/?q=<\"a\">").unwrap();
        assert_eq!(head.query(), Some("q=%3C%22a%22%3E"));
    }

    #[test]
    fn other_authorities_are_refused() {
        let long = "a".repeat(64);
        let longer = "a.".repeat(128);
        for (raw, error) in [
            ("", Uncanonical::Host),
            (".", Uncanonical::Host),
            (":80", Uncanonical::Host),
            ("a..b", Uncanonical::Host),
            (".a", Uncanonical::Host),
            ("a..", Uncanonical::Host),
            ("a b", Uncanonical::Host),
            ("a/b", Uncanonical::Host),
            ("a,b", Uncanonical::Host),
            ("a%41", Uncanonical::Host),
            ("é", Uncanonical::Host),
            ("[::1", Uncanonical::Host),
            ("[::1]a", Uncanonical::Host),
            ("[::1%25eth0]", Uncanonical::Host),
            ("[v1.a]", Uncanonical::Host),
            ("[a]", Uncanonical::Host),
            ("::1", Uncanonical::Port),
            (long.as_str(), Uncanonical::Host),
            (longer.as_str(), Uncanonical::Host),
            ("a:65536", Uncanonical::Port),
            ("a:+1", Uncanonical::Port),
            ("a:1:2", Uncanonical::Port),
            ("a:000080", Uncanonical::Port),
            ("user@a", Uncanonical::UserInformation),
            ("a:b@c", Uncanonical::UserInformation),
        ] {
            assert_eq!(split_authority(raw).map(|_| ()), Err(error), "{raw:?}");
        }
        // 253 characters are fine with or without the dot.
        let longest = format!("{}a", "a.".repeat(126));
        assert!(split_authority(&longest).is_ok() && split_authority(&format!("{longest}.")).is_ok());
    }

    proptest! {
        #[test]
        fn a_canonical_authority_is_its_own_canonical_form(raw in "[A-Za-z0-9.:_\\[\\]-]{0,20}") {
            let mut head = RequestHead::new();
            if fill_authority(&mut head, &raw).is_ok() {
                let once = head.authority().to_owned();
                prop_assert_eq!(fill_authority(&mut head, &once), Ok(()));
                prop_assert_eq!(head.authority(), once);
            }
        }
    }
}
