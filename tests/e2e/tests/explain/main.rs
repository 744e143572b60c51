//! `ringway explain` says what a socket shows: for drawn routes and requests both name the same answer.

use std::collections::BTreeMap;
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use ringway_e2e::{Backend, Connection, Driver, Gateway, binary, free_port, manifest, on_both_drivers};
use serde_json::{Value, json};

on_both_drivers!(what_is_explained_is_what_a_socket_answers);

/// Worlds that are drawn, and requests in each.
const WORLDS: usize = 6;
const REQUESTS: usize = 40;

/// A request as it is asked of both.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    host: &'static str,
    target: String,
    fields: Vec<(&'static str, &'static str)>,
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "A"]), 0..3)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn matching() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec!["Exact", "PathPrefix"]);
    let header = prop::option::of(prop::sample::select(vec!["one", "two"]));
    let query = prop::option::of(prop::sample::select(vec!["one", "two"]));
    let method = prop::option::of(prop::sample::select(vec!["GET", "POST"]));
    (kind, path(), header, query, method).prop_map(|(kind, path, header, query, method)| {
        let mut it = json!({"path": {"type": kind, "value": path}});
        if let Some(value) = header {
            it["headers"] = json!([{"name": "x-kind", "value": value}]);
        }
        if let Some(value) = query {
            it["queryParams"] = json!([{"name": "q", "value": value}]);
        }
        if let Some(method) = method {
            it["method"] = method.into();
        }
        it
    })
}

/// What a rule does: the last Service has no endpoint reference at all, and one redirects.
fn rule() -> impl Strategy<Value = Value> {
    let matches = prop::collection::vec(matching(), 1..3);
    (matches, prop::sample::select(vec!["a", "b", "c", "missing", "redirect", "rewrite"])).prop_map(
        |(matches, to)| match to {
            "redirect" => json!({"matches": matches, "filters": [{
                "type": "RequestRedirect", "requestRedirect": {"hostname": "moved.test", "statusCode": 302},
            }]}),
            "rewrite" => json!({
                "matches": matches, "backendRefs": [{"name": "a", "port": 80}], "filters": [{
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/rewritten"}},
                }],
            }),
            to => json!({"matches": matches, "backendRefs": [{"name": to, "port": 80}]}),
        },
    )
}

fn route() -> impl Strategy<Value = (Option<&'static str>, Vec<Value>)> {
    let host = prop::option::of(prop::sample::select(vec!["one.test", "*.test", "*.deep.test"]));
    (host, prop::collection::vec(rule(), 1..4))
}

fn asked() -> impl Strategy<Value = Asked> {
    let host = prop::sample::select(vec!["one.test", "ONE.test", "two.test", "x.deep.test", "other.example"]);
    let target =
        (path(), prop::sample::select(vec!["", "/", "?q=one", "?q=two&q=one", "?x", "/../b", "/./%61"]));
    let fields = prop::option::of(prop::sample::select(vec!["one", "two"]));
    let method = prop::sample::select(vec!["GET", "POST", "DELETE"]);
    (method, host, target, fields).prop_map(|(method, host, (path, suffix), kind)| Asked {
        method,
        host,
        target: format!("{path}{suffix}"),
        fields: kind.into_iter().map(|kind| ("x-kind", kind)).collect(),
    })
}

/// What came of a request: where it went and as what, or the answer's status and where it points.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Forwarded { service: String, target: String },
    Answered { status: u16 },
}

/// The last line of the explanation is the verdict.
fn explained(text: &str) -> Outcome {
    let verdict = text
        .lines()
        .rev()
        .find(|line| {
            line.starts_with("forward to ") || line.starts_with("answer ") || line.contains(" refused: ")
        })
        .unwrap_or_else(|| panic!("no verdict: {text}"));
    if let Some(rest) = verdict.strip_prefix("forward to ") {
        let (cluster, request) = rest.split_once(": ").expect("a cluster and a request");
        let service = cluster.split('/').nth(2).expect("Service/namespace/name");
        let url = request.split_once(' ').expect("a method and a place").1;
        let target = &url[url.find('/').expect("a path")..];
        return Outcome::Forwarded { service: service.to_owned(), target: target.to_owned() };
    }
    let number = verdict.split(|letter: char| !letter.is_ascii_digit()).find(|word| word.len() == 3);
    Outcome::Answered { status: number.expect("a status").parse().expect("it is a number") }
}

fn answered(port: u16, asked: &Asked) -> Outcome {
    let Asked { method, host, target, fields } = asked;
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n");
    for (name, value) in fields {
        request += &format!("{name}: {value}\r\n");
    }
    let answer = Connection::open(("127.0.0.1", port)).send(format!("{request}\r\n")).answer();
    match answer.backend() {
        Some(service) => {
            let target = answer.json()["target"].as_str().expect("an echo says it").to_owned();
            Outcome::Forwarded { service, target }
        }
        None => Outcome::Answered { status: answer.status },
    }
}

fn what_is_explained_is_what_a_socket_answers(driver: Driver) {
    let backends = BTreeMap::from(["a", "b", "c"].map(|name| (name, Backend::echo(name))));
    let seed = std::env::var("RINGWAY_E2E_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut runner = TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    let mut seen = BTreeMap::<String, usize>::new();
    for world in 0..WORLDS {
        let port = free_port();
        let mut objects = vec![manifest::http_gateway(port.number())];
        for (name, backend) in &backends {
            objects.extend(manifest::service(name, &[backend.address]));
        }
        let routes = prop::collection::vec(route(), 1..5).new_tree(&mut runner).unwrap().current();
        for (number, (host, rules)) in routes.into_iter().enumerate() {
            let mut route = manifest::route("HTTPRoute", &format!("route-{number}"), rules.into());
            if let Some(host) = host {
                route["spec"]["hostnames"] = json!([host]);
            }
            objects.push(route);
        }
        let gateway = Gateway::start(driver, &objects);
        let requests = prop::collection::vec(asked(), REQUESTS).new_tree(&mut runner).unwrap().current();
        for asked in requests {
            let Asked { method, host, target, fields } = &asked;
            let url = format!("http://{host}:{}{target}", port.number());
            let mut explain = Command::new(binary());
            explain.arg("explain").arg("-f").arg(gateway.conf()).args([method, &*url]);
            for (name, value) in fields {
                explain.args(["-H", &format!("{name}: {value}")]);
            }
            let output = explain.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let expected = explained(&text);
            let served = matches!(expected, Outcome::Forwarded { .. });
            assert_eq!(output.status.code(), Some(i32::from(!served)), "{text}");
            let outcome = answered(port.number(), &asked);
            let show = || {
                let manifest = manifest::text(&objects);
                format!("seed {seed}, world {world}: {asked:?}\nexplained:\n{text}\nmanifest:\n{manifest}")
            };
            assert_eq!(outcome, expected, "{}", show());
            let kind = match outcome {
                Outcome::Forwarded { .. } => "forwarded".to_owned(),
                Outcome::Answered { status } => status.to_string(),
            };
            *seen.entry(kind).or_default() += 1;
        }
    }
    assert!(seen.contains_key("forwarded") && seen.contains_key("404"), "the draw has become dull: {seen:?}");
}
