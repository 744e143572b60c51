//! `ringway explain` says what a socket shows: for drawn manifests and requests, everything that it claims is compared
//! with what the client and the peers saw.
//!
//! On one driver: what is explained is decided before any I/O, by functions that know no driver. A failure names the
//! seed of its world: `RINGWAY_E2E_SEED=N RINGWAY_E2E_WORLDS=1` draws that world first. Without these, seeds follow from
//! the process id, so that runs differ.

mod claim;
mod draw;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use claim::{Claim, Fields, Outcome, Request, claims, comparable};
use draw::{Asked, MIRROR, NAMES, SERVICES};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use ringway_e2e::{
    Answer, Authority, Backend, Connection, Driver, Gateway, Http2, Received, Reply, binary, eventually,
    free_port, manifest,
};
use rustls::ClientConfig;
use serde_json::{Value, json};

/// Worlds that are drawn where nobody says how many, and requests in each.
const WORLDS: u64 = 20;
const REQUESTS: usize = 20;

/// The field that tells requests apart.
const CASE: &str = "x-case";

/// The peers, which live as long as the test, and a client's trust.
struct Peers {
    backends: BTreeMap<&'static str, Backend>,
    mirror: Backend,
    /// What came to the mirror.
    copies: Arc<Mutex<Vec<Received>>>,
    identity: ringway_e2e::Identity,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Peers {
    fn new() -> Self {
        let authority = Authority::new("explained");
        let copies = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&copies);
        let mirror = Backend::answering(move |request| {
            received.lock().unwrap().push(request.clone());
            Reply::ok("")
        });
        let backend = |name: &'static str| {
            Backend::answering(move |request| {
                let facts = json!({
                    "backend": name, "method": request.method, "target": request.target, "fields": request.fields,
                });
                Reply { fields: peer_answers(), ..Reply::ok(facts.to_string()) }
            })
        };
        Self {
            backends: SERVICES.map(|name| (name, backend(name))).into(),
            mirror,
            copies,
            identity: authority.sign(&NAMES),
            http1: authority.client(&["http/1.1"], None),
            http2: authority.client(&["h2"], None),
        }
    }

    fn manifests(&self) -> Vec<Value> {
        let backends = self.backends.iter().map(|(name, backend)| (*name, backend.address));
        let services = backends.chain([(MIRROR, self.mirror.address)]);
        let services = services.flat_map(|(name, address)| manifest::service(name, &[address]));
        services.chain([manifest::secret("cert", &self.identity)]).collect()
    }
}

/// The fields of every answer of a backend.
fn peer_answers() -> Fields {
    let fields = [
        ("x-peer", "peer"),
        ("x-down", "one"),
        ("x-down", "two"),
        ("set-cookie", "a=1"),
        ("access-control-allow-credentials", "true"),
    ];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The ports of a world.
#[derive(Clone, Copy)]
struct Ports {
    http: u16,
    https: u16,
}

impl Asked {
    fn address(&self, ports: Ports) -> SocketAddr {
        ([127, 0, 0, 1], if self.sni.is_some() { ports.https } else { ports.http }).into()
    }

    /// What stands in `Host` or `:authority`.
    fn authority(&self, ports: Ports) -> String {
        format!("{}:{}", self.host, self.address(ports).port())
    }

    fn fields_of<'a>(&'a self, case: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.fields.iter().copied().chain([(CASE, case)])
    }

    fn explained(&self, gateway: &Gateway, ports: Ports, case: &str) -> Value {
        let port = self.address(ports).port();
        let place = match self.sni {
            Some(name) => format!("https://{name}:{port}"),
            None => format!("http://{}:{port}", self.host),
        };
        let mut command = Command::new(binary());
        command.args(["explain", "-o", "json", "-f"]).arg(gateway.conf());
        command.args([self.method, &format!("{place}{}", self.target)]);
        if self.sni.is_some_and(|name| name != self.host) {
            command.args(["-H", &format!("host: {}", self.authority(ports))]);
        }
        for (name, value) in self.fields_of(case) {
            command.args(["-H", &format!("{name}: {value}")]);
        }
        let output = command.output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let served = told["verdict"]["does"] == "forward";
        assert_eq!((&told["served"], output.status.code()), (&json!(served), Some(i32::from(!served))));
        told
    }

    fn answered(&self, peers: &Peers, ports: Ports, case: &str) -> Outcome {
        let answer = match self.http2 {
            true => self.ask_http2(peers, ports, case),
            false => self.ask_http1(peers, ports, case),
        };
        match answer {
            Ok(answer) => outcome(answer),
            Err(error) if error.get_ref().is_some_and(|it| it.is::<rustls::Error>()) => Outcome::NoHandshake,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    fn ask_http1(&self, peers: &Peers, ports: Ports, case: &str) -> std::io::Result<Answer> {
        let (address, authority) = (self.address(ports), self.authority(ports));
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {authority}\r\n", self.method, self.target);
        for (name, value) in self.fields_of(case) {
            head += &format!("{name}: {value}\r\n");
        }
        let mut connection = match self.sni {
            Some(name) => Connection::open_tls(address, name, Arc::clone(&peers.http1)),
            None => Connection::open(address),
        };
        connection.try_send(format!("{head}connection: close\r\n\r\n"))?;
        connection.try_answer(false)
    }

    fn ask_http2(&self, peers: &Peers, ports: Ports, case: &str) -> std::io::Result<Answer> {
        let fields: Vec<_> =
            self.fields_of(case).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let tls = self.sni.map(|name| (name, Arc::clone(&peers.http2)));
        let mut connection = Http2::open(self.address(ports), tls)?;
        connection.ask(self.method, &self.authority(ports), &self.target, &fields, b"")
    }
}

fn outcome(answer: Answer) -> Outcome {
    if answer.backend().is_none() {
        let grpc_status = answer.field("grpc-status").map(str::to_owned);
        let mut fields = comparable(answer.fields);
        fields.retain(|(name, _)| !["content-type", "grpc-status", "grpc-message"].contains(&&**name));
        return Outcome::Answered { status: answer.status, grpc_status, answer: fields };
    }
    let seen = answer.json();
    let text = |name: &str| seen[name].as_str().expect("a backend says it").to_owned();
    let fields: Fields = serde_json::from_value(seen["fields"].clone()).expect("names and values");
    let host = fields.iter().find(|(name, _)| name == "host").expect("a request has a host").1.clone();
    let request = Request {
        method: text("method"),
        authority: host,
        target: text("target"),
        fields: comparable(fields),
    };
    let mut fields = comparable(answer.fields);
    // The trailer of the scripted peer.
    fields.retain(|(name, _)| name != "grpc-status");
    Outcome::Forwarded { service: text("backend"), request, status: answer.status, answer: fields }
}

fn received(it: &Received) -> Request {
    Request {
        method: it.method.clone(),
        authority: it.field("host").unwrap_or_default().to_owned(),
        target: it.target.clone(),
        fields: comparable(it.fields.clone()),
    }
}

/// The weights of the rule that serves are those of its manifest.
fn check_weights(told: &Value, objects: &[Value]) {
    let rules = told["rules"].as_array().into_iter().flatten();
    let Some(rule) = rules.into_iter().find(|rule| rule["serves"] == true) else { return };
    let route = rule["route"].as_str().unwrap();
    let object = objects.iter().find(|object| {
        format!(
            "{}/default/{}",
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str().unwrap()
        ) == route
    });
    let written = &object.expect("a route of ours")["spec"]["rules"][rule["rule"].as_u64().unwrap() as usize];
    let written = written["backendRefs"].as_array().into_iter().flatten();
    let written: Vec<_> =
        written.map(|backend| (backend["name"].as_str().unwrap(), backend["weight"].clone())).collect();
    let total: u64 = written.iter().map(|(_, weight)| weight.as_u64().unwrap()).sum();
    let backends = told["backends"].as_array().unwrap();
    if total == 0 {
        return assert!(backends.is_empty(), "nothing has a share: {told:#}");
    }
    let claimed: Vec<_> = backends
        .iter()
        .map(|backend| {
            assert_eq!(backend["total"], total);
            let name = backend["cluster"].as_str().map_or("missing", |key| key.split('/').nth(2).unwrap());
            (name, backend["weight"].clone())
        })
        .collect();
    assert_eq!(claimed, written);
}

/// What the draws came to, so that they do not become dull unseen.
fn kind_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Forwarded { .. } => "forwarded".to_owned(),
        Outcome::Answered { grpc_status: Some(status), .. } => format!("grpc {status}"),
        Outcome::Answered { status: 301..=308, .. } => "redirect".to_owned(),
        Outcome::Answered { status, .. } => status.to_string(),
        Outcome::NoHandshake => "no handshake".to_owned(),
    }
}

fn number(variable: &str) -> Option<u64> {
    let given = std::env::var(variable).ok()?;
    Some(given.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {given}")))
}

#[test]
fn what_is_explained_is_what_a_socket_answers() {
    let first = number("RINGWAY_E2E_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 16);
    let worlds = number("RINGWAY_E2E_WORLDS").unwrap_or(WORLDS);
    let peers = Peers::new();
    let mut seen = BTreeMap::<String, usize>::new();
    for seed in first..first + worlds {
        compare_in_a_world(seed, &peers, &mut seen);
    }
    // So many worlds have each of these but for less than one run in a million.
    let common = ["forwarded", "404", "421", "500"].iter().filter(|_| worlds >= WORLDS);
    let rare = ["redirect", "no handshake", "copied", "grpc 12"].iter().filter(|_| worlds >= 2 * WORLDS);
    let never: Vec<_> = common.chain(rare).filter(|kind| !seen.contains_key(**kind)).collect();
    assert!(never.is_empty(), "never {never:?}: the draw has become dull: {seen:?}");
}

fn compare_in_a_world(seed: u64, peers: &Peers, seen: &mut BTreeMap<String, usize>) {
    let mut runner = TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    let world = draw::world().new_tree(&mut runner).unwrap().current();
    let requests = prop::collection::vec(draw::asked(), REQUESTS).new_tree(&mut runner).unwrap().current();
    let held = [free_port(), free_port()];
    let ports = Ports { http: held[0].number(), https: held[1].number() };
    let mut objects = world.manifests(ports.http, ports.https);
    objects.extend(peers.manifests());
    let gateway = Gateway::start(Driver::Auto, &objects);
    let mut claimed_copies = BTreeMap::new();
    for (number, asked) in requests.iter().enumerate() {
        let case = format!("{seed}-{number}");
        let told = asked.explained(&gateway, ports, &case);
        check_weights(&told, &objects);
        let claims = claims(&told, &peer_answers());
        let outcome = asked.answered(peers, ports, &case);
        let show = || {
            let routes = objects.iter().filter(|object| object["spec"].get("rules").is_some());
            let gateway = objects.iter().filter(|object| object["spec"].get("listeners").is_some());
            let manifest = manifest::text(gateway.chain(routes));
            format!("RINGWAY_E2E_SEED={seed}: {asked:?}\n{manifest}\nexplained: {told:#}")
        };
        let agreeing: Vec<&Claim> = claims.iter().filter(|claim| claim.outcome == outcome).collect();
        assert!(
            !agreeing.is_empty(),
            "{}\nclaimed: {:#?}\nseen: {outcome:#?}",
            show(),
            claims.iter().map(|claim| &claim.outcome).collect::<Vec<_>>()
        );
        // Backends that agree are alike to the client; their copies are as well, being the rule's.
        let copies: Vec<_> =
            agreeing[0].copies.iter().filter(|copy| copy.service == MIRROR).cloned().collect();
        for always in copies.iter().filter(|copy| copy.always) {
            eventually(&format!("the copy {always:?} comes\n{}", show()), || {
                let arrived = peers.copies.lock().unwrap();
                arrived.iter().any(|copy| received(copy) == always.request).then_some(())
            });
            *seen.entry("copied".to_owned()).or_default() += 1;
        }
        claimed_copies.insert(case, copies);
        *seen.entry(kind_of(&outcome)).or_default() += 1;
    }
    gateway.stop();
    peers.mirror.requests_in_all();
    for arrived in peers.copies.lock().unwrap().drain(..) {
        let case = arrived.field(CASE).expect("the field stays");
        let claimed = &claimed_copies[case];
        let arrived = received(&arrived);
        assert!(
            claimed.iter().any(|copy| copy.request == arrived),
            "RINGWAY_E2E_SEED={seed}: a copy that was not explained: {arrived:#?}\nclaimed: {claimed:#?}"
        );
    }
}
