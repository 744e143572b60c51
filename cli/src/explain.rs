//! `ringway explain`: what would serve a request, and why nothing else would. It asks the same functions as the proxy.
//!
//! The request is written as a client would write it and parsed as the proxy parses it, so that a request that the
//! proxy refuses is refused here as well.

mod json;
mod path;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{Bind, ClusterKey, Config, ListenerKey, ListenerProtocol};
use ringway_core::explain::{Explanation, Verdict};
use ringway_core::headers::{self, TrustedProxies};
use ringway_core::http1::parse_request;
use ringway_core::limits::Limits;
use ringway_core::{
    Arrival, BindKind, Compiled, L4Decision, L4Forward, RequestHead, Scheme, SniChoice, View,
};
use ringway_gateway_api::validate::{Finding, Severity};
use serde_json::{Value, json};

use self::path::Path;
use crate::args::meant::Misuse;
use crate::args::said::{self, ProblemFormat};
use crate::offline::{self, Offline};
use crate::{certificates, exit, show, validate};

/// What stands for a value that is drawn for each request.
const DRAWN: &[u8] = b"(drawn for each request)";

/// Prints the explanation; exit code 1 if no backend would get the request.
pub(crate) fn run(said: &said::Explain) -> anyhow::Result<ExitCode> {
    let asked = Asked::parse(said)?;
    let offline = Offline::read(&said.manifests.files, offline::options(said.allow_external_name))?;
    let explained = asked.explain(&offline.translation.config)?;
    let faults = Faults::of(&offline, &explained);
    let text = match said.output {
        ProblemFormat::Text => {
            for line in faults.lines(&said.manifests.files) {
                writeln!(io::stderr(), "{line}")?;
            }
            explained.text()
        }
        ProblemFormat::Json => show::json(&explained.json(&faults))?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if explained.outcome.is_served() { ExitCode::SUCCESS } else { ExitCode::from(exit::PROBLEMS) })
}

/// What is wrong with the manifests: in full where it concerns the request, else counted.
#[derive(Debug)]
struct Faults<'o> {
    on_path: Vec<&'o Finding>,
    other_errors: usize,
    other_warnings: usize,
}

impl<'o> Faults<'o> {
    fn of(offline: &'o Offline, explained: &Explained) -> Self {
        let objects = explained.outcome.path().objects(&offline.translation.config, &offline.documents);
        let told = offline.findings.iter().filter(|finding| finding.severity != Severity::Notice);
        let (on_path, others): (Vec<_>, Vec<_>) =
            told.partition(|finding| objects.contains(&finding.object.to_string()));
        let errors = others.iter().filter(|finding| finding.severity == Severity::Error).count();
        Self { on_path, other_errors: errors, other_warnings: others.len() - errors }
    }

    fn lines(&self, files: &[std::path::PathBuf]) -> Vec<String> {
        let mut lines: Vec<String> = self.on_path.iter().map(ToString::to_string).collect();
        let counted = |count: usize, what: &str| {
            (count > 0).then(|| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        };
        let others = [counted(self.other_errors, "error"), counted(self.other_warnings, "warning")];
        let others: Vec<String> = others.into_iter().flatten().collect();
        if !others.is_empty() {
            let files: Vec<String> = files.iter().map(|file| format!(" -f {}", file.display())).collect();
            lines.push(format!(
                "{} in what this request does not meet: see `ringway validate{}`",
                others.join(" and "),
                files.concat()
            ));
        }
        lines
    }
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
    /// What was guessed.
    note: Option<String>,
    outcome: Outcome,
}

/// How far a request comes.
#[derive(Debug)]
enum Outcome {
    /// To the rules.
    Request(Box<Explanation>),
    /// It is not looked at: its connection is passed on as bytes.
    Tunnel { from: String, forward: Box<L4Forward<()>> },
    /// Not to its end: the listener can make no handshake.
    NoHandshake { listener: ListenerKey, why: String },
    /// It, or its connection, is refused.
    Refused(String),
}

impl Outcome {
    fn is_served(&self) -> bool {
        match self {
            Self::Request(explanation) => matches!(explanation.verdict, Verdict::Forward { .. }),
            Self::Tunnel { .. } => true,
            Self::NoHandshake { .. } | Self::Refused(_) => false,
        }
    }

    fn path(&self) -> Path {
        match self {
            Self::Request(explanation) => Path::of_request(explanation),
            Self::Tunnel { forward, .. } => Path::of_connection(&forward.plan.listener, &forward.plan.route),
            Self::NoHandshake { listener, .. } => Path::of_listener(listener),
            Self::Refused(_) => Path::default(),
        }
    }
}

impl Explained {
    fn text(&self) -> String {
        let note = self.note.iter().map(|note| format!("{note}\n")).collect::<String>();
        let outcome = match &self.outcome {
            Outcome::Request(explanation) => explanation.to_string(),
            Outcome::Tunnel { from, forward } => format!(
                "{from}\n  + listener {}\n  + {}\nthe connection goes to {} as bytes; its requests are not looked at\n",
                forward.plan.listener,
                forward.plan.route,
                forward.key(),
            ),
            Outcome::NoHandshake { why, .. } | Outcome::Refused(why) => format!("{why}\n"),
        };
        note + &outcome
    }

    fn json(&self, faults: &Faults<'_>) -> Value {
        let mut value = match &self.outcome {
            Outcome::Request(explanation) => json::explanation(explanation),
            Outcome::Tunnel { from, forward } => json!({
                "request": from,
                "verdict": {
                    "does": "tunnel",
                    "listener": forward.plan.listener.as_str(),
                    "route": forward.plan.route.as_str(),
                    "cluster": forward.key().as_str(),
                },
            }),
            Outcome::NoHandshake { why, .. } | Outcome::Refused(why) => {
                json!({"verdict": {"does": "refuse", "details": why}})
            }
        };
        value["served"] = self.outcome.is_served().into();
        value["note"] = self.note.clone().into();
        value["findings"] = faults.on_path.iter().map(|finding| validate::finding(finding)).collect();
        value["otherFindings"] = json!({"errors": faults.other_errors, "warnings": faults.other_warnings});
        value
    }
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
            let port = self.port.map(|port| format!(" on port {port}")).unwrap_or_default();
            let why = format!("nothing listens for {kind}{port}: the connection is refused");
            return Ok(Explained { note: None, outcome: Outcome::Refused(why) });
        };
        let usual = self.scheme.default_port();
        let guessed = self.port.is_none() && bind.port != usual;
        let note = guessed.then(|| format!("port {usual} is not served; taken as {}", bind.port));
        let clusters = config.clusters.clone();
        let source = move |key: &ClusterKey| clusters.contains_key(key).then(|| Rc::new(()));
        let view = View::new(compiled, Rc::new(source));
        Ok(Explained { note, outcome: self.outcome(&view, bind, config)? })
    }

    fn outcome(&self, view: &View<()>, bind: Bind, config: &Config) -> Result<Outcome, Misuse> {
        let listener = match self.scheme {
            Scheme::Http => None,
            Scheme::Https => match view.listener_for_sni(&bind, Some(&self.host)) {
                SniChoice::Refuse => {
                    let why = format!(
                        "no listener for the server name {}: the TLS handshake is refused",
                        self.host
                    );
                    return Ok(Outcome::Refused(why));
                }
                SniChoice::Close => {
                    let why =
                        format!("no listener for the server name {}: the connection is closed", self.host);
                    return Ok(Outcome::Refused(why));
                }
                SniChoice::Terminate(listener) => {
                    let key = listener.key.clone();
                    if let Some(why) = certificates::no_handshake(config, listener) {
                        let why = format!("listener {key} can make no TLS handshake: {why}");
                        return Ok(Outcome::NoHandshake { listener: key, why });
                    }
                    if !matches!(listener.protocol, ListenerProtocol::Https(_)) {
                        return Ok(self.tunnel(view, &bind));
                    }
                    Some(key)
                }
                SniChoice::Passthrough(_) => return Ok(self.tunnel(view, &bind)),
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
                let (status, details) = (answer.status.as_u16(), answer.details);
                return Ok(Outcome::Refused(format!("the request is refused: {status} {details}")));
            }
        }
        headers::enter(&mut head, &arrival, &TrustedProxies::default(), 0);
        head.fields.set("x-request-id", DRAWN);
        Ok(Outcome::Request(Box::new(view.explain(&arrival, &head, 0))))
    }

    /// A connection that is passed on as bytes.
    fn tunnel(&self, view: &View<()>, bind: &Bind) -> Outcome {
        match view.tcp(bind, Some(&self.host), 0) {
            L4Decision::Forward(forward) => Outcome::Tunnel {
                from: format!("{} on port {}", self.authority, bind.port),
                forward: Box::new(forward),
            },
            L4Decision::Reject(refusal) => {
                Outcome::Refused(format!("the connection is reset: {}", refusal.details))
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
    use ringway_controller::source::{Found, Reading};

    use super::*;
    use crate::args::meant::parse;

    fn explain(arguments: &[&str]) -> Result<Explained, Misuse> {
        let canary = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/canary");
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
        let text = explained.text();
        assert!(explained.outcome.is_served(), "{text}");
        for part in [
            "+ HTTPRoute/default/shop rule 1 (everyone)",
            "- HTTPRoute/default/shop rule 0 (testers)",
            "9 of 10",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let explained = explain(&["get", "http://shop.example/", "-H", "x-canary: always"]).unwrap();
        assert!(
            explained.text().contains("+ HTTPRoute/default/shop rule 0 (testers)"),
            "{}",
            explained.text()
        );
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
            let text = explained.text();
            assert!(!explained.outcome.is_served() && text.contains(expected), "{arguments:?}: {text}");
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

    /// What `validate` finds in it: two errors of the rule for `/`, one of another route, one of another Service.
    const FAULTY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec: { gatewayClassName: ringway, listeners: [{ name: http, port: 8080, protocol: HTTP }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop }
spec:
  parentRefs: [{ name: edge }]
  rules:
  - backendRefs: [{ name: app, port: 80 }, { name: gone, port: 80 }]
    timeouts: { request: 10s, backendRequest: 2s }
    retry: { attempts: 2, codes: [503] }
    filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: app, port: 80 } } }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: other }
spec: { parentRefs: [{ name: edge }], hostnames: [other.test], rules: [{ backendRefs: [{ name: gone, port: 80 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: app, annotations: { ringway.dev/load-balancing: Luck } }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: unused }
spec: { ports: [{ port: 800000 }] }
";

    #[test]
    fn faults_on_the_way_are_told_and_others_are_counted() {
        let found = Found { source: "x.yaml".into(), reading: Reading::Text(FAULTY.to_owned()) };
        let offline = Offline::of(vec![found], offline::options(false));
        let explained = |url: &str| {
            let (said, _) = parse(["ringway", "explain", "-f", "x.yaml", "GET", url]).unwrap();
            let said::Command::Explain(said) = said.command else { panic!("explain") };
            Asked::parse(&said).unwrap().explain(&offline.translation.config).unwrap()
        };
        let objects = |explained: &Explained| {
            let faults = Faults::of(&offline, explained);
            let all = offline.findings.iter().filter(|finding| finding.severity != Severity::Notice).count();
            assert_eq!(faults.on_path.len() + faults.other_errors + faults.other_warnings, all);
            let last = faults.lines(&["x.yaml".into()]).pop().unwrap();
            assert!(last.ends_with("see `ringway validate -f x.yaml`"), "{last}");
            let mut objects: Vec<_> =
                faults.on_path.iter().map(|finding| finding.object.to_string()).collect();
            objects.dedup();
            objects
        };
        let shop = explained("http://shop.test/");
        assert_eq!(objects(&shop), ["HTTPRoute/default/shop", "Service/default/app"]);
        assert_eq!(objects(&explained("http://other.test/")), ["HTTPRoute/default/other"]);
        assert_eq!(objects(&explained("http://shop.test:81/")), [""; 0]);
        let text = shop.text();
        for part in [
            "port 80 is not served; taken as 8080\n",
            "    timeout 10s for the request with all its attempts\n    timeout 2s for each attempt\n",
            "    retry up to 2 times, also on status 503\n",
            "    copy 1/1 to Service/default/app/80/http1\n",
            "    to Service/default/app/80/http1: HTTP/1.1, without TLS, connect within 5s\n",
            "  - invalid reference: 1 of 2, answer 500 (backend reference is invalid)\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let told = shop.json(&Faults::of(&offline, &shop));
        assert_eq!(
            (&told["note"], &told["served"]),
            (&json!("port 80 is not served; taken as 8080"), &json!(true))
        );
        assert_eq!(told["findings"].as_array().unwrap().len(), Faults::of(&offline, &shop).on_path.len());
        assert_eq!(told["backends"][0]["verdict"], told["verdict"]);
        assert_eq!(told["verdict"]["copies"][0]["cluster"], "Service/default/app/80/http1");
        assert_eq!(told["backends"][1]["verdict"]["status"], 500);
    }
}
