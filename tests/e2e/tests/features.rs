//! Gateway API features over real sockets: every file of `features/` is manifests and the traffic that they must give.
//!
//! `{{80}}` in a file is a free port, the same wherever the number is. A Service without an EndpointSlice gets a
//! backend that answers with what it was asked. The last document, of kind `Traffic`, names the features that the file
//! proves (`gateway-api/README.md` may call only those `served`) and the exchanges, one after the other.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ringway_e2e::{
    Answer, Backend, Connection, Driver, Gateway, Port, Reply, eventually, free_port, on_both_drivers,
};
use serde_json::{Value, json};

on_both_drivers!(every_feature_file_gives_its_traffic);

/// Over so many requests a share is this close to its weight but once in ten thousand runs.
const SHARE_TOLERANCE: f64 = 0.065;

fn every_feature_file_gives_its_traffic(driver: Driver) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("features");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let found = Case::start(driver, &fs::read_to_string(&file).unwrap()).run();
        wrong.extend(found.into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{} exchanges went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A file that is being served.
struct Case {
    gateway: Gateway,
    ports: BTreeMap<String, Port>,
    backends: HashMap<String, Backend>,
    exchanges: Vec<Value>,
}

impl Case {
    fn start(driver: Driver, text: &str) -> Self {
        let mut ports = BTreeMap::new();
        let text = with_ports(text, &mut ports);
        let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let traffic = documents.pop().unwrap();
        assert_eq!(traffic["kind"], "Traffic", "the last document says what is asked");
        assert!(traffic["features"].as_array().is_some_and(|features| !features.is_empty()));
        let sliced: Vec<Value> = documents
            .iter()
            .filter(|document| document["kind"] == "EndpointSlice")
            .map(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"].clone())
            .collect();
        let mut backends = HashMap::new();
        let services = documents.iter().filter(|document| document["kind"] == "Service").cloned();
        let services: Vec<Value> =
            services.filter(|service| !sliced.contains(&service["metadata"]["name"])).collect();
        for service in services {
            let name = service["metadata"]["name"].as_str().unwrap().to_owned();
            let backend = obliging(&name);
            documents.push(slice(&service["metadata"], &backend));
            backends.insert(name, backend);
        }
        let exchanges = traffic["exchanges"].as_array().unwrap().clone();
        Self { gateway: Gateway::start(driver, &documents), ports, backends, exchanges }
    }

    /// What did not go as the file says.
    fn run(self) -> Vec<String> {
        let mut wrong = Vec::new();
        for exchange in &self.exchanges {
            if let Err(what) = self.exchange(exchange) {
                wrong.push(format!("{}: {what}", exchange["ask"]));
            }
        }
        assert!(self.gateway.stop().success());
        wrong
    }

    fn exchange(&self, exchange: &Value) -> Result<(), String> {
        if let Some(shares) = exchange.get("shares") {
            return self.shares(exchange, shares);
        }
        let answer = self.ask(&mut self.connect(exchange), exchange);
        let expected = exchange["status"].as_u64().or_else(|| exchange.get("backend").map(|_| 200));
        if let Some(status) = expected.filter(|status| *status != u64::from(answer.status)) {
            return Err(format!("status {} instead of {status}: {}", answer.status, answer.text()));
        }
        if let Some(backend) = exchange.get("backend")
            && answer.backend().as_deref() != backend.as_str()
        {
            return Err(format!("backend {:?} instead of {backend}", answer.backend()));
        }
        compare("the answer's", exchange.get("answer"), |name| fields(&answer.fields, name))?;
        if let Some(saw) = exchange.get("saw") {
            let facts = answer.json();
            let sent: Vec<(String, String)> = serde_json::from_value(facts["fields"].clone()).unwrap();
            compare("the backend's", Some(saw), |name| match name {
                "target" => vec![facts["target"].as_str().unwrap().to_owned()],
                name => fields(&sent, name),
            })?;
        }
        for (name, count) in exchange.get("copies").and_then(Value::as_object).into_iter().flatten() {
            let count = usize::try_from(count.as_u64().unwrap()).unwrap();
            let backend = &self.backends[name];
            eventually(&format!("{name} has {count} requests"), || {
                (backend.requests() == count).then_some(())
            });
        }
        Ok(())
    }

    fn shares(&self, exchange: &Value, shares: &Value) -> Result<(), String> {
        let times = exchange["times"].as_u64().unwrap();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut connection = self.connect(exchange);
        for _ in 0..times {
            let answer = self.ask(&mut connection, exchange);
            let who = answer.backend().unwrap_or_else(|| answer.status.to_string());
            *counts.entry(who).or_default() += 1;
        }
        for (name, share) in shares.as_object().unwrap() {
            let share = share.as_f64().unwrap();
            let got = counts.remove(name).unwrap_or_default() as f64 / times as f64;
            let tolerance = if share == 0.0 { 0.0 } else { SHARE_TOLERANCE };
            if (got - share).abs() > tolerance {
                return Err(format!("{name} has a share of {got} instead of {share}"));
            }
        }
        if counts.is_empty() { Ok(()) } else { Err(format!("others answered: {counts:?}")) }
    }

    fn connect(&self, exchange: &Value) -> Connection {
        let port = match exchange.get("port") {
            Some(port) => &self.ports[&port.to_string()],
            None => self.ports.values().next().unwrap(),
        };
        Connection::open(("127.0.0.1", port.number()))
    }

    fn ask(&self, connection: &mut Connection, exchange: &Value) -> Answer {
        let (method, url) = exchange["ask"].as_str().unwrap().split_once(' ').unwrap();
        let (host, path) = url.split_at(url.find('/').unwrap());
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in exchange.get("fields").and_then(Value::as_object).into_iter().flatten() {
            head += &format!("{name}: {}\r\n", value.as_str().unwrap());
        }
        let body = exchange.get("body").map_or("", |body| body.as_str().unwrap());
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        connection.send(format!("{head}\r\n{body}")).answer()
    }
}

/// Puts free ports in the place of `{{number}}`, also where quotes were needed to keep the file YAML.
fn with_ports(text: &str, ports: &mut BTreeMap<String, Port>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (number, after) = after.split_once("}}").unwrap();
        let port = ports.entry(number.to_owned()).or_insert_with(free_port).number();
        let quoted = before.ends_with('"') && after.starts_with('"');
        out += if quoted { &before[..before.len() - 1] } else { before };
        out += &port.to_string();
        rest = if quoted { &after[1..] } else { after };
    }
    out + rest
}

/// Answers with what it was asked, unless the request asks for something else: a delay, failures at first, fields.
fn obliging(name: &str) -> Backend {
    let name = name.to_owned();
    let failed: Mutex<HashMap<String, u32>> = Mutex::default();
    Backend::answering(move |request| {
        let number = |field: &str| request.field(field).map(|value| value.parse::<u64>().unwrap());
        if let Some(delay) = number("x-delay-ms") {
            std::thread::sleep(Duration::from_millis(delay));
        }
        if let (Some(times), Some(status)) = (number("x-fail-times"), number("x-fail-status")) {
            let mut failed = failed.lock().unwrap();
            let count = failed.entry(request.target.clone()).or_default();
            *count += 1;
            if u64::from(*count) <= times {
                let status = u16::try_from(status).unwrap();
                return Reply { status, fields: vec![], body: b"as asked".to_vec() };
            }
        }
        let asked = request.field("x-answer").unwrap_or_default();
        let pairs = asked.split(", ").filter_map(|pair| pair.split_once(": "));
        let facts = json!({ "backend": name, "target": request.target, "fields": request.fields });
        Reply {
            status: 200,
            fields: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: facts.to_string().into_bytes(),
        }
    })
}

fn slice(service: &Value, backend: &Backend) -> Value {
    let mut metadata = service.clone();
    metadata["labels"] = json!({ "kubernetes.io/service-name": service["name"] });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
        "ports": [{ "port": backend.address.port() }],
        "endpoints": [{ "addresses": [backend.address.ip()] }],
    })
}

fn fields(all: &[(String, String)], name: &str) -> Vec<String> {
    let values = all.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    values.map(|(_, value)| value.clone()).collect()
}

/// Compares fields with what a file expects: a value, several, or none (`null`).
fn compare(whose: &str, expected: Option<&Value>, found: impl Fn(&str) -> Vec<String>) -> Result<(), String> {
    for (name, expected) in expected.and_then(Value::as_object).into_iter().flatten() {
        let expected: Vec<String> = match expected {
            Value::Null => vec![],
            Value::Array(values) => values.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
            value => vec![value.as_str().unwrap().to_owned()],
        };
        let found = found(name);
        if found != expected {
            return Err(format!("{whose} {name} is {found:?} instead of {expected:?}"));
        }
    }
    Ok(())
}
