//! Where a run goes, read from its URL.

use std::net::{SocketAddr, ToSocketAddrs};

use super::RunError;

/// A target, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) secure: bool,
    /// A bare connection, without HTTP.
    pub(crate) bare: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As the URL has it: with the port only if it is given.
    pub(crate) authority: String,
    /// With the query; at least `/`.
    pub(crate) path: String,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, RunError> {
        let wrong = |what: &str| {
            RunError::Plan(format!(
                "{text:?}: {what}; write http://host:port/path, https://…, tcp://host:port or tls://host:port"
            ))
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        let (secure, bare, default) = match scheme {
            "http" => (false, false, Some(80)),
            "https" => (true, false, Some(443)),
            "tcp" => (false, true, None),
            "tls" => (true, true, None),
            _ => return Err(wrong("unknown scheme")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or("");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(wrong("a path has no spaces"));
        }
        if authority.contains('@') {
            return Err(wrong("user names are not taken; use --header"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("a [ without ]"))?;
                (host, rest.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("no host"));
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("no such port"))?,
            None => default.ok_or_else(|| wrong("no port"))?,
        };
        Ok(Self { secure, bare, host: host.to_owned(), port, authority: authority.to_owned(), path })
    }

    /// The first of its addresses.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, RunError> {
        let unreachable = |cause: String| RunError::Unreachable { target: self.authority.clone(), cause };
        let mut found = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| unreachable(error.to_string()))?;
        found.next().ok_or_else(|| unreachable("the name has no address".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let read = |text: &str| {
            let target = Target::parse(text).unwrap();
            (target.secure, target.bare, target.host, target.port, target.authority, target.path)
        };
        let (a, b) = ("a".to_owned(), |text: &str| text.to_owned());
        assert_eq!(read("http://a"), (false, false, a.clone(), 80, b("a"), b("/")));
        assert_eq!(read("https://a:8443/x?y#z"), (true, false, a.clone(), 8443, b("a:8443"), b("/x?y")));
        assert_eq!(read("http://a?q"), (false, false, a.clone(), 80, b("a"), b("/?q")));
        assert_eq!(read("tcp://[::1]:9"), (false, true, b("::1"), 9, b("[::1]:9"), b("/")));
        assert_eq!(read("tls://a:9"), (true, true, a, 9, b("a:9"), b("/")));
    }

    #[test]
    fn what_is_no_url_is_told() {
        for text in
            ["a:80", "ftp://a", "http://", "tcp://a", "http://a:0", "http://a:x", "http://[::1", "http://u@a"]
        {
            assert!(matches!(Target::parse(text), Err(RunError::Plan(_))), "{text}");
        }
    }
}
