//! One exchange: what is asked, on which connection, and what must come of it.
//!
//! | field | meaning |
//! |---|---|
//! | `ask` | `METHOD host/target` |
//! | `port`, `address` | where; the file's first port of 127.0.0.1, if nothing is said |
//! | `tls` | over TLS, asking for this name; an address asks for none |
//! | `http2` | by HTTP/2 |
//! | `again` | on the connection of the exchange before |
//! | `fields`, `body`, `chunked` | of the request; a number is so many bytes of body |
//! | `status` | the answer's; 200 where a `backend` is named |
//! | `backend` | the Service that answers |
//! | `answer`, `saw` | fields of the answer, and of the request at the backend (`target` too): a value, several, `null` for none, `{ like: x }` for one that holds it |
//! | `refused` | nothing is answered: no listener, no handshake, or an end |
//! | `times`, `shares` | so many requests, and the share that each Service, or status, has of them |
//! | `copied` | the share of those requests that each of these Services has a copy of |
//! | `copies` | requests that a Service has had by now, above zero |
//! | `takes_ms` | at least so long, all retries included |
//!
//! Without `ask`, the manifests change: `remove: Kind/name`, or `apply:` an object.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringway_e2e::{Answer, Connection, Http2, eventually};
use serde_json::Value;

use crate::case::Case;
use crate::share::fits;

/// A connection of the client's.
pub(crate) enum Client {
    Http1(Box<Connection>),
    Http2(Http2),
}

const KNOWN: [&str; 20] = [
    "ask", "port", "address", "tls", "http2", "again", "fields", "body", "chunked", "status", "backend",
    "answer", "saw", "refused", "times", "shares", "copied", "copies", "takes_ms", "why",
];

/// Makes an exchange and compares; `last` is the connection of the one before, and then of this one.
pub(crate) fn ask(case: &Case, last: &mut Option<Client>, exchange: &Value) -> Result<(), String> {
    for field in exchange.as_object().unwrap().keys() {
        assert!(KNOWN.contains(&&**field), "an exchange has no field {field}");
    }
    let request = Request::new(exchange);
    if exchange["again"] != true {
        *last = None;
        match Client::open(case, exchange) {
            Ok(client) => *last = Some(client),
            Err(_) if exchange["refused"] == true => return Ok(()),
            Err(error) => return Err(format!("no connection: {error}")),
        }
    }
    let client = last.as_mut().unwrap();
    if exchange.get("times").is_some() {
        return shares(case, client, exchange, &request);
    }
    let started = Instant::now();
    let answer = match (client.ask(&request), exchange["refused"] == true) {
        (Err(_), true) => return Ok(()),
        (Ok(answer), true) => return Err(format!("answered: {} {}", answer.status, answer.text())),
        (answer, _) => answer.map_err(|error| format!("no answer: {error}"))?,
    };
    let took = started.elapsed();
    if let Some(least) = exchange["takes_ms"].as_u64()
        && took < Duration::from_millis(least)
    {
        return Err(format!("it took {took:?} only"));
    }
    judge(exchange, &answer)?;
    for (name, count) in exchange["copies"].as_object().into_iter().flatten() {
        let count = usize::try_from(count.as_u64().unwrap()).unwrap();
        assert!(count > 0, "that nothing has come proves little so early: say so in `requests`");
        let backend = case.backend(name);
        eventually(&format!("{name} has {count} requests"), || (backend.requests() == count).then_some(()));
    }
    Ok(())
}

fn judge(exchange: &Value, answer: &Answer) -> Result<(), String> {
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
    Ok(())
}

fn shares(case: &Case, client: &mut Client, exchange: &Value, request: &Request) -> Result<(), String> {
    let times = exchange["times"].as_u64().unwrap();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let copied = |name: &str| case.backend(name).requests() as u64;
    let named = exchange["copied"].as_object();
    let before: Vec<u64> = named.into_iter().flatten().map(|(name, _)| copied(name)).collect();
    for answer in client.ask_often(request, times).map_err(|error| format!("no answer: {error}"))? {
        judge(exchange, &answer)?;
        let who = answer.backend().unwrap_or_else(|| answer.status.to_string());
        *counts.entry(who).or_default() += 1;
    }
    for (name, share) in exchange["shares"].as_object().into_iter().flatten() {
        let (hits, share) = (counts.remove(name).unwrap_or_default(), share.as_f64().unwrap());
        if !fits(hits, times, share) {
            return Err(format!("{name} has {hits} of {times} instead of a share of {share}"));
        }
    }
    if exchange.get("shares").is_some() && !counts.is_empty() {
        return Err(format!("others answered: {counts:?}"));
    }
    for ((name, share), before) in named.into_iter().flatten().zip(before) {
        let share = share.as_f64().unwrap();
        // Copies go beside the requests and may come a little later, but not more of them than fit.
        eventually(&format!("{name} has a share of {share}"), || {
            fits(copied(name) - before, times, share).then_some(())
        });
    }
    Ok(())
}

struct Request {
    method: String,
    host: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

impl Request {
    fn new(exchange: &Value) -> Self {
        let (method, url) = exchange["ask"].as_str().unwrap().split_once(' ').unwrap();
        let (host, target) = url.split_at(url.find('/').unwrap());
        let mut fields = Vec::new();
        for (name, values) in exchange["fields"].as_object().into_iter().flatten() {
            for value in several(values) {
                fields.push((name.clone(), value));
            }
        }
        let body = match &exchange["body"] {
            Value::Null => vec![],
            Value::Number(count) => vec![b'x'; usize::try_from(count.as_u64().unwrap()).unwrap()],
            text => text.as_str().unwrap().into(),
        };
        let [method, host, target] = [method, host, target].map(str::to_owned);
        Self { method, host, target, fields, body, chunked: exchange["chunked"] == true }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { method, host, target, .. } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if self.chunked {
            let mut bytes = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
            for chunk in self.body.chunks(1000) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            return bytes;
        }
        if !self.body.is_empty() {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend(&self.body);
        bytes
    }
}

impl Client {
    fn open(case: &Case, exchange: &Value) -> io::Result<Self> {
        let ports = &case.filling.ports;
        let port = match exchange.get("port") {
            Some(port) => &ports[&port.to_string()],
            None => ports.values().next().unwrap(),
        };
        let address = exchange["address"].as_str().unwrap_or("127.0.0.1").parse().unwrap();
        let address = SocketAddr::new(address, port.number());
        let http2 = exchange["http2"] == true;
        let name = exchange["tls"].as_str();
        if http2 {
            let config = || case.filling.authority.client(&["h2"], None);
            return Http2::open(address, name.map(|name| (name, config()))).map(Self::Http2);
        }
        Ok(Self::Http1(Box::new(match name {
            None => Connection::try_open(address)?,
            Some(name) => {
                // The handshake comes with the first request; whether anybody listens is seen now.
                drop(Connection::try_open(address)?);
                Connection::open_tls(address, name, case.filling.authority.client(&["http/1.1"], None))
            }
        })))
    }

    fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        match self {
            Self::Http1(connection) => {
                // An answer may come before all of a body was wanted.
                let sent = connection.try_send(request.bytes());
                connection.try_answer(request.method == "HEAD").map_err(|error| sent.err().unwrap_or(error))
            }
            Self::Http2(connection) => {
                let Request { method, host, target, fields, body, .. } = request;
                connection.ask(method, host, target, fields, body)
            }
        }
    }

    /// By HTTP/1.1 a hundred are on their way at once.
    fn ask_often(&mut self, request: &Request, times: u64) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::new();
        while (answers.len() as u64) < times {
            match self {
                Self::Http1(connection) => {
                    let batch = (times as usize - answers.len()).min(100);
                    connection.try_send(request.bytes().repeat(batch))?;
                    for _ in 0..batch {
                        answers.push(connection.try_answer(request.method == "HEAD")?);
                    }
                }
                Self::Http2(_) => answers.push(self.ask(request)?),
            }
        }
        Ok(answers)
    }
}

fn several(values: &Value) -> Vec<String> {
    match values {
        Value::Null => vec![],
        Value::Array(values) => values.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
        value => vec![value.as_str().unwrap().to_owned()],
    }
}

fn fields(all: &[(String, String)], name: &str) -> Vec<String> {
    let values = all.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    values.map(|(_, value)| value.clone()).collect()
}

/// Compares fields with what a file expects.
fn compare(whose: &str, expected: Option<&Value>, found: impl Fn(&str) -> Vec<String>) -> Result<(), String> {
    for (name, expected) in expected.and_then(Value::as_object).into_iter().flatten() {
        let found = found(name);
        let right = match expected.get("like").and_then(Value::as_str) {
            Some(part) => found.len() == 1 && found[0].contains(part),
            None => found == several(expected),
        };
        if !right {
            return Err(format!("{whose} {name} is {found:?} instead of {expected}"));
        }
    }
    Ok(())
}
