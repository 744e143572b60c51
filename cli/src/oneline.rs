//! `--listen … --to …`: the objects that one line stands for, as the manifest a user would have written.
//!
//! Nothing about these objects is special: what is printed by `--print` and run again does the same.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// One `--listen` with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    /// As written.
    pub(crate) said: String,
    /// Empty: every address. `localhost` is two.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) port: u16,
    /// Where requests go; each takes an equal share.
    pub(crate) to: Vec<Target>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// One `--to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
    H2c,
}

/// A certificate chain and its private key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pem {
    pub(crate) cert: String,
    /// `None`: not to be shown; a comment says where it goes.
    pub(crate) key: Option<String>,
}

impl Forward {
    /// Listens on `:8080`, `8080`, `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`; leads nowhere yet.
    pub(crate) fn listening(said: &str) -> Result<Self, String> {
        let wrong = || format!("--listen: `{said}` is no address; write :8080, 127.0.0.1:8080 or [::1]:8080");
        let (address, port) = said.rsplit_once(':').unwrap_or(("", said));
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let port = match port.parse() {
            Ok(0) => {
                return Err(format!(
                    "--listen: `{said}` has port 0, and a manifest cannot ask for any free port; choose one from 1 to 65535"
                ));
            }
            Ok(port) => port,
            Err(_) => return Err(format!("--listen: `{said}`: {port} is no port; ports are 1 to 65535")),
        };
        let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
        let addresses = match address {
            "" | "*" => Vec::new(),
            "localhost" => vec!["127.0.0.1".parse(), "::1".parse()].into_iter().flatten().collect(),
            _ => vec![bare.unwrap_or(address).parse().map_err(|_| wrong())?],
        };
        Ok(Self { said: said.to_owned(), addresses, port, to: Vec::new(), cert: None, key: None })
    }

    /// Whether all is there that must be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let said = &self.said;
        if self.to.is_empty() {
            return Err(format!("--listen {said}: where to? Add --to, such as --to localhost:3000"));
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => Err(format!("--listen {said}: --tls-cert needs its --tls-key")),
            (None, Some(_)) => Err(format!("--listen {said}: --tls-key needs its --tls-cert")),
            _ => Ok(()),
        }
    }
}

impl Target {
    /// A target such as `localhost:3000`, `https://example.com` or `h2c://[::1]:50051`.
    pub(crate) fn parse(said: &str) -> Result<Self, String> {
        let wrong =
            |what: &str| format!("--to: `{said}` {what}; write localhost:3000 or https://example.com");
        let (scheme, rest) = said.split_once("://").unwrap_or(("http", said));
        let (scheme, default_port) = match scheme {
            "http" => (Scheme::Http, Some(80)),
            "https" => (Scheme::Https, Some(443)),
            "h2c" | "grpc" => (Scheme::H2c, None),
            _ => return Err(wrong("has an unknown scheme")),
        };
        let default_port = default_port.filter(|_| said.contains("://"));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(wrong("has a path, and paths are for manifests"));
        }
        let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)),
            None => (rest, default_port),
        };
        let port = port.ok_or_else(|| wrong("has no port"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = bare.to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !(host.chars().all(plain) || host.parse::<IpAddr>().is_ok()) {
            return Err(wrong("names no host"));
        }
        Ok(Self { scheme, host, port })
    }
}

/// The manifest that forwards stand for. `pems` holds the certificate of each forward that has one.
pub(crate) fn manifest(forwards: &[Forward], pems: &[Option<Pem>]) -> String {
    let mut out = String::new();
    for (number, forward) in forwards.iter().enumerate() {
        let pem = pems.get(number).and_then(Option::as_ref);
        let name = format!("line-{}", number + 1);
        gateway(&mut out, &name, forward, pem.is_some());
        if let Some(pem) = pem {
            secret(&mut out, &name, pem, forward.key.as_deref());
        }
        let backends: Vec<String> = (1..=forward.to.len()).map(|target| format!("{name}-{target}")).collect();
        route(&mut out, &name, forward, &backends);
        for (target, backend) in forward.to.iter().zip(&backends) {
            match target.host.parse::<IpAddr>() {
                Ok(address) => service(&mut out, backend, target, address),
                Err(_name) => external(&mut out, backend, target),
            }
        }
    }
    out
}

// Writing to a string cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { let _infallible = writeln!($out, $($text)*); };
}

fn gateway(out: &mut String, name: &str, forward: &Forward, tls: bool) {
    put!(out, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: {name}");
    put!(out, "spec:\n  gatewayClassName: ringway");
    if !forward.addresses.is_empty() {
        put!(out, "  addresses:");
    }
    for address in &forward.addresses {
        put!(out, "  - type: IPAddress\n    value: \"{address}\"");
    }
    let protocol = if tls { "HTTPS" } else { "HTTP" };
    put!(out, "  listeners:\n  - name: web\n    port: {}\n    protocol: {protocol}", forward.port);
    if tls {
        put!(out, "    tls:\n      certificateRefs:\n      - name: {name}");
    }
}

fn secret(out: &mut String, name: &str, pem: &Pem, key_file: Option<&Path>) {
    put!(
        out,
        "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\ntype: kubernetes.io/tls\nstringData:"
    );
    for (field, text) in [("tls.crt", Some(&pem.cert)), ("tls.key", pem.key.as_ref())] {
        let Some(text) = text else {
            let file = key_file.unwrap_or(Path::new("the key's file"));
            put!(
                out,
                "  # The private key is not printed. Take away the # of the next line, and put the contents of"
            );
            put!(
                out,
                "  # {} below it, each line four blanks in, as above. Until then it does not work.",
                file.display()
            );
            put!(out, "  # {field}: |");
            continue;
        };
        put!(out, "  {field}: |");
        for line in text.lines() {
            put!(out, "    {line}");
        }
    }
}

fn route(out: &mut String, name: &str, forward: &Forward, backends: &[String]) {
    put!(out, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: {name}");
    put!(out, "spec:\n  parentRefs:\n  - name: {name}\n  rules:\n  - backendRefs:");
    for (target, backend) in forward.to.iter().zip(backends) {
        if target.host.parse::<IpAddr>().is_ok() {
            put!(out, "    - name: {backend}\n      port: {}", target.port);
        } else {
            put!(
                out,
                "    - group: gateway.networking.x-k8s.io\n      kind: XBackend\n      name: {backend}"
            );
        }
    }
}

fn service(out: &mut String, name: &str, target: &Target, address: IpAddr) {
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    put!(out, "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:");
    put!(out, "  - name: web\n    port: {}", target.port);
    if target.scheme == Scheme::H2c {
        put!(out, "    appProtocol: kubernetes.io/h2c");
    }
    put!(out, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}");
    put!(out, "  labels:\n    kubernetes.io/service-name: {name}\naddressType: {family}");
    put!(out, "ports:\n- name: web\n  port: {}\nendpoints:\n- addresses: [\"{address}\"]", target.port);
    if target.scheme == Scheme::Https {
        put!(
            out,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata:\n  name: {name}"
        );
        put!(out, "spec:\n  targetRefs:\n  - group: \"\"\n    kind: Service\n    name: {name}");
        put!(out, "  validation:\n    hostname: \"{address}\"\n    wellKnownCACertificates: System");
    }
}

fn external(out: &mut String, name: &str, target: &Target) {
    let protocol = if target.scheme == Scheme::H2c { "H2C" } else { "HTTP" };
    put!(
        out,
        "---\napiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackend\nmetadata:\n  name: {name}"
    );
    put!(out, "spec:\n  type: ExternalHostname\n  externalHostname:\n    hostname: {}", target.host);
    put!(out, "  port:\n    port: {}\n  protocol: {protocol}", target.port);
    if target.scheme == Scheme::Https {
        put!(out, "  tls:\n    mode: ServerOnly\n    validation:\n      hostname: {}", target.host);
        put!(out, "      wellKnownCACertificates: System");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_people_write_them() {
        for (said, addresses, port) in [
            (":8080", vec![], 8080),
            ("8080", vec![], 8080),
            ("*:8080", vec![], 8080),
            ("127.0.0.1:80", vec!["127.0.0.1"], 80),
            ("[::1]:80", vec!["::1"], 80),
            ("localhost:80", vec!["127.0.0.1", "::1"], 80),
        ] {
            let forward = Forward::listening(said).unwrap();
            let shown: Vec<String> = forward.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(
                (shown, forward.port),
                (addresses.iter().map(|text| text.to_string()).collect(), port)
            );
        }
        for said in ["", ":", ":0", ":65536", "host:80", "::1:x", "127.0.0.1"] {
            assert!(Forward::listening(said).is_err(), "{said}");
        }
    }

    #[test]
    fn targets_are_hosts_with_a_port_or_a_scheme_that_implies_one() {
        for (said, scheme, host, port) in [
            ("localhost:3000", Scheme::Http, "localhost", 3000),
            ("http://Example.com", Scheme::Http, "example.com", 80),
            ("https://example.com/", Scheme::Https, "example.com", 443),
            ("https://example.com:8443", Scheme::Https, "example.com", 8443),
            ("h2c://[::1]:50051", Scheme::H2c, "::1", 50051),
            ("http://[::1]", Scheme::Http, "::1", 80),
            ("10.0.0.1:80", Scheme::Http, "10.0.0.1", 80),
        ] {
            assert_eq!(Target::parse(said), Ok(Target { scheme, host: host.to_owned(), port }), "{said}");
        }
        for said in
            ["", "localhost", ":80", "ftp://a:1", "http://a/b", "a:0", "a b:80", "h2c://a", "user@a:80"]
        {
            assert!(Target::parse(said).is_err(), "{said}");
        }
    }
}
