//! `ringway explain`: what would serve a request, and why nothing else would. It asks the same functions as the proxy.
//!
//! The request is written as a client would write it and parsed as the proxy parses it, so that a request that the
//! proxy refuses is refused here as well.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{Bind, ClusterKey, Config, ListenerProtocol};
use ringway_core::explain::Verdict;
use ringway_core::headers::{self, TrustedProxies};
use ringway_core::http1::parse_request;
use ringway_core::limits::Limits;
use ringway_core::{Arrival, BindKind, Compiled, L4Decision, RequestHead, Scheme, SniChoice, View};

use crate::args::meant::Misuse;
use crate::args::said;
use crate::exit;
use crate::offline::{self, Offline};

/// Prints the explanation; exit code 1 if no backend would get the request.
pub(crate) fn run(said: &said::Explain) -> anyhow::Result<ExitCode> {
    let asked = Asked::parse(said)?;
    let offline = Offline::read(&said.manifests.files, offline::options(said.allow_external_name))?;
    for complaint in offline.complaints() {
        writeln!(io::stderr(), "{complaint}")?;
    }
    let explained = asked.explain(&offline.translation.config)?;
    io::stdout().write_all(explained.text.as_bytes())?;
    Ok(if explained.served { ExitCode::SUCCESS } else { ExitCode::from(exit::PROBLEMS) })
}

/// A request to explain.
#[derive(Debug)]
struct Asked {
    scheme: Scheme,
    /// As in the URL.
    authority: String,
    host: String,
    port: Option<u16>,
    client: IpAddr,
    /// As on the wire.
    bytes: Vec<u8>,
}

/// What there is to say.
#[derive(Debug)]
struct Explained {
    text: String,
    served: bool,
}

impl Asked {
    fn parse(said: &said::Explain) -> Result<Self, Misuse> {
        let url = &said.url;
        let wrong =
            |what: &str| Misuse(format!("`{url}` {what}; write a URL such as https://shop.example/cart"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(wrong("is neither http nor https")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = target.split('#').next().unwrap_or_default();
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let (host, port) = ringway_core::canonical::split_authority(authority)
            .map_err(|reason| wrong(&format!("has no usable host ({})", reason.details())))?;
        let mut bytes = format!("{} {target} HTTP/1.1\r\n", said.method.to_uppercase()).into_bytes();
        let mut host_said = false;
        for field in &said.headers {
            let (name, value) = field.split_once(':').ok_or_else(|| {
                Misuse(format!("-H: `{field}` is no header field; write one such as 'x-canary: always'"))
            })?;
            host_said |= name.trim().eq_ignore_ascii_case("host");
            bytes.extend_from_slice(format!("{}: {}\r\n", name.trim(), value.trim()).as_bytes());
        }
        if !host_said {
            bytes.extend_from_slice(format!("host: {authority}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        Ok(Self {
            scheme,
            authority: authority.to_owned(),
            host: host.to_ascii_lowercase(),
            port,
            client: said.client,
            bytes,
        })
    }

    fn explain(&self, config: &Config) -> Result<Explained, Misuse> {
        let compiled = Arc::new(Compiled::from_nothing(config));
        let Some(bind) = self.bind(&compiled)? else {
            let kind = self.scheme.as_str();
            let text = match self.port {
                Some(port) => {
                    format!("nothing listens for {kind} on port {port}: the connection is refused\n")
                }
                None => format!("nothing listens for {kind}: the connection is refused\n"),
            };
            return Ok(Explained { text, served: false });
        };
        let clusters = config.clusters.clone();
        let source = move |key: &ClusterKey| clusters.contains_key(key).then(|| Rc::new(()));
        let view: View<()> = View::new(compiled, Rc::new(source));
        let listener = match self.scheme {
            Scheme::Http => None,
            Scheme::Https => match view.listener_for_sni(&bind, Some(&self.host)) {
                SniChoice::Refuse => {
                    let text = format!(
                        "no listener for the server name {}: the TLS handshake is refused\n",
                        self.host
                    );
                    return Ok(Explained { text, served: false });
                }
                SniChoice::Close => {
                    let text =
                        format!("no listener for the server name {}: the connection is closed\n", self.host);
                    return Ok(Explained { text, served: false });
                }
                SniChoice::Terminate(listener) if matches!(listener.protocol, ListenerProtocol::Https(_)) => {
                    Some(listener.key.clone())
                }
                SniChoice::Terminate(_) | SniChoice::Passthrough(_) => return Ok(self.tunnel(&view, &bind)),
            },
        };
        let address = bind.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let arrival = Arrival {
            bind,
            local: SocketAddr::new(address, bind.port),
            original_destination: None,
            client: SocketAddr::new(self.client, 0),
            trusted: false,
            scheme: self.scheme,
            sni: listener.is_some().then(|| self.host.as_str().into()),
            listener,
            peer: None,
        };
        let mut head = RequestHead::new();
        match parse_request(&self.bytes, &Limits::default(), self.scheme, &mut head) {
            Ok(Some(_)) => {}
            Ok(None) => return Err(Misuse("the request has no end".to_owned())),
            Err(refusal) => {
                let answer = refusal.answer();
                let text = format!("the request is refused: {} {}\n", answer.status.as_u16(), answer.details);
                return Ok(Explained { text, served: false });
            }
        }
        headers::enter(&mut head, &arrival, &TrustedProxies::default(), 0);
        let explanation = view.explain(&arrival, &head, 0);
        let served = matches!(explanation.verdict, Verdict::Forward { .. });
        Ok(Explained { text: explanation.to_string(), served })
    }

    /// A connection that is passed on as bytes.
    fn tunnel(&self, view: &View<()>, bind: &Bind) -> Explained {
        match view.tcp(bind, Some(&self.host), 0) {
            L4Decision::Forward(forward) => Explained {
                text: format!(
                    "{} on port {}\n  + listener {}\n  + {}\nthe connection goes to {} as bytes; its requests are not looked at\n",
                    self.authority,
                    bind.port,
                    forward.plan.listener,
                    forward.plan.route,
                    forward.key(),
                ),
                served: true,
            },
            L4Decision::Reject(refusal) => {
                Explained { text: format!("the connection is reset: {}\n", refusal.details), served: false }
            }
        }
    }

    /// The socket that the request comes to: that of the URL's port, or the only one of its kind.
    fn bind(&self, compiled: &Compiled) -> Result<Option<Bind>, Misuse> {
        let wanted = match self.scheme {
            Scheme::Http => BindKind::Http,
            Scheme::Https => BindKind::Tls,
        };
        let binds: Vec<Bind> =
            compiled.binds().filter(|(_, kind, _)| *kind == wanted).map(|(bind, ..)| bind).collect();
        let at = |port: u16| binds.iter().find(|bind| bind.port == port).copied();
        if let Some(port) = self.port {
            return Ok(at(port));
        }
        match (at(self.scheme.default_port()), &binds[..]) {
            (Some(bind), _) => Ok(Some(bind)),
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(*only)),
            (None, several) => {
                let ports: Vec<String> = several.iter().map(|bind| bind.port.to_string()).collect();
                Err(Misuse(format!("which port? Name one of {} in the URL", ports.join(", "))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::args::meant::parse;

    fn explain(arguments: &[&str]) -> Result<Explained, Misuse> {
        let canary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/canary");
        let start = ["ringway", "explain", "-f", canary.to_str().unwrap()];
        let (said, _) = parse(start.iter().chain(arguments)).unwrap();
        let said::Command::Explain(said) = said.command else { panic!("explain") };
        let config =
            Offline::read(&said.manifests.files, offline::options(false)).unwrap().translation.config;
        Asked::parse(&said)?.explain(&config)
    }

    #[test]
    fn the_rule_that_serves_is_named_and_the_others_say_why_not() {
        let explained = explain(&["GET", "http://shop.example/cart"]).unwrap();
        assert!(explained.served, "{}", explained.text);
        for part in [
            "+ HTTPRoute/default/shop rule 1 (everyone)",
            "- HTTPRoute/default/shop rule 0 (testers)",
            "9 of 10",
        ] {
            assert!(explained.text.contains(part), "{part} in\n{}", explained.text);
        }
        let explained = explain(&["get", "http://shop.example/", "-H", "x-canary: always"]).unwrap();
        assert!(explained.text.contains("+ HTTPRoute/default/shop rule 0 (testers)"), "{}", explained.text);
    }

    #[test]
    fn what_is_not_served_says_where_it_ends() {
        for (arguments, expected) in [
            (&["GET", "http://other.example/"][..], "404"),
            (&["GET", "http://shop.example:81/"], "nothing listens for http on port 81"),
            (&["GET", "https://shop.example/"], "nothing listens for https"),
            (&["GET", "http://shop.example/%zz"], "400"),
            (&["GET", "http://shop.example/", "-H", "x y: 1"], "400"),
        ] {
            let explained = explain(arguments).unwrap();
            assert!(
                !explained.served && explained.text.contains(expected),
                "{arguments:?}: {}",
                explained.text
            );
        }
        for arguments in [
            &["GET", "shop.example"][..],
            &["GET", "ftp://a/"],
            &["GET", "http:///"],
            &["GET", "http://a/", "-H", "x"],
        ] {
            assert!(explain(arguments).is_err(), "{arguments:?}");
        }
    }
}
