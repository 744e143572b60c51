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
//! | `exactly` | so many of them have each Service, or status: nothing is left to chance |
//! | `soon` | the requests are repeated until they are answered so, because what brings it about takes its time |
//! | `at_once`, `held` | so many requests, each on a connection of its own; backends keep their answers back until `held` are with them and every other one is answered or waits in the gateway |
//! | `copied` | the share of those requests that each of these Services has a copy of |
//! | `copies` | requests that a Service has had by now, above zero |
//! | `takes_ms` | at least so long, all retries included |
//!
//! Without `ask`, the manifests change: `remove: Kind/name`, or `apply:` an object.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringway_e2e::{Answer, Asked, Connection, DEADLINE, Http2, eventually, fits};
use serde_json::Value;

use crate::case::Case;

/// A connection of the client's.
pub(crate) enum Client {
    Http1(Box<Connection>),
    Http2(Http2),
}

const KNOWN: [&str; 24] = [
    "ask", "port", "address", "tls", "http2", "again", "fields", "body", "chunked", "status", "backend",
    "answer", "saw", "refused", "times", "shares", "exactly", "soon", "at_once", "held", "copied", "copies",
    "takes_ms", "why",
];

/// Makes an exchange and compares; `last` is the connection of the one before, and then of this one.
pub(crate) fn ask(case: &Case, last: &mut Option<Client>, exchange: &Value) -> Result<(), String> {
    for field in exchange.as_object().unwrap().keys() {
        assert!(KNOWN.contains(&&**field), "an exchange has no field {field}");
    }
    let mut request = Request::new(exchange);
    if exchange.get("at_once").is_some() {
        request.fields.push(("x-hold".to_owned(), "please".to_owned()));
        return counted(exchange, at_once(case, exchange, &request)?);
    }
    if exchange["again"] != true {
        *last = None;
        match Client::open(case, exchange) {
            Ok(client) => *last = Some(client),
            Err(_) if exchange["refused"] == true => return Ok(()),
            Err(error) => return Err(format!("no connection: {error}")),
        }
    }
    let client = last.as_mut().unwrap();
    if exchange["soon"] == true {
        let times = exchange["times"].as_u64().unwrap();
        return eventually(&exchange.to_string(), || {
            let answers = client.ask_often(&request, times).ok()?;
            counted(exchange, answers).is_ok().then_some(Ok(()))
        });
    }
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
    let copied = |name: &str| case.backend(name).requests() as u64;
    let named = exchange["copied"].as_object();
    let before: Vec<u64> = named.into_iter().flatten().map(|(name, _)| copied(name)).collect();
    counted(exchange, client.ask_often(request, times).map_err(|error| format!("no answer: {error}"))?)?;
    for ((name, share), before) in named.into_iter().flatten().zip(before) {
        let share = share.as_f64().unwrap();
        // Copies go beside the requests and may come a little later, but not more of them than fit.
        eventually(&format!("{name} has a share of {share}"), || {
            fits(copied(name) - before, times, share).then_some(())
        });
    }
    Ok(())
}

/// Compares who answered how often.
fn counted(exchange: &Value, answers: Vec<Answer>) -> Result<(), String> {
    let times = answers.len() as u64;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for answer in answers {
        judge(exchange, &answer)?;
        *counts.entry(answer.backend().unwrap_or_else(|| answer.status.to_string())).or_default() += 1;
    }
    if let Some(exactly) = exchange.get("exactly") {
        let expected: BTreeMap<String, u64> = serde_json::from_value(exactly.clone()).unwrap();
        return if counts == expected { Ok(()) } else { Err(format!("answered by {counts:?}")) };
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
    Ok(())
}

/// Many requests under way together: over one connection by HTTP/2, each over its own by HTTP/1.1.
fn at_once(case: &Case, exchange: &Value, request: &Request) -> Result<Vec<Answer>, String> {
    let count = exchange["at_once"].as_u64().unwrap() as usize;
    let held = exchange["held"].as_u64().unwrap() as usize;
    let by_us = exchange["exactly"].as_object().unwrap().iter().filter(|(who, _)| who.parse::<u16>().is_ok());
    let refused = by_us.map(|(_, count)| count.as_u64().unwrap() as usize).sum::<usize>();
    let gate = &case.filling.gate;
    gate.set(false);
    let open = || Client::open(case, exchange).map_err(|error| format!("no connection: {error}"));
    let mut answers = Vec::new();
    if exchange["http2"] == true {
        let Client::Http2(mut client) = open()? else { panic!("HTTP/2 was asked for") };
        let asked: Vec<_> = (0..count).map(|_| request.begin(&mut client)).collect();
        let all_held = client.go_on_until(|| gate.held() == held);
        gate.set(true);
        all_held.ok_or_else(|| format!("{} are held instead of {held}", gate.held()))?;
        answers.extend(asked.into_iter().map(|asked| client.finish(asked)));
    } else {
        let clients = (0..count).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        let (answered, answering) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for mut client in clients {
                let answered = answered.clone();
                scope.spawn(move || answered.send(client.ask(request)));
            }
            answers.extend((0..refused).map_while(|_| answering.recv_timeout(DEADLINE).ok()));
            eventually("backends hold what they should", || (gate.held() == held).then_some(()));
            gate.set(true);
            answers.extend((answers.len()..count).map_while(|_| answering.recv_timeout(DEADLINE).ok()));
        });
    }
    answers.into_iter().collect::<io::Result<_>>().map_err(|error| format!("no answer: {error}"))
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

    fn begin(&self, connection: &mut Http2) -> Asked {
        connection.begin(&self.method, &self.host, &self.target, &self.fields, &self.body)
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
                let asked = request.begin(connection);
                connection.finish(asked)
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
        Value::Array(values) => values.iter().flat_map(several).collect(),
        Value::String(value) => vec![value.clone()],
        value => vec![value.to_string()],
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
