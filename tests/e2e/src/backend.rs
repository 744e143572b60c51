//! A scripted HTTP/1.1 backend: a thread for each connection, an answer by a function of the suite's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::wait::DEADLINE;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The request target, verbatim.
    pub target: String,
    /// The fields in their order; names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, without framing.
    pub body: Vec<u8>,
    /// The number of the connection it came on, from 0.
    pub connection: usize,
}

impl Received {
    /// The first field of this name (in lower case).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Fields beside `content-length`.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, fields: vec![], body: body.into() }
    }
}

/// A backend on a port of its own. It lives until the test ends.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    /// Answers every request with what it was, as JSON, under this name.
    pub fn echo(name: &str) -> Self {
        let name = name.to_owned();
        Self::answering(move |request| {
            let fields: Vec<Value> =
                request.fields.iter().map(|(name, value)| json!([name, value])).collect();
            let facts = json!({
                "backend": name,
                "method": request.method,
                "target": request.target,
                "fields": fields,
                "bodyBytes": request.body.len(),
            });
            Reply::ok(facts.to_string())
        })
    }

    /// Answers every request with what the function says.
    pub fn answering(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("loopback can be bound"), answer)
    }

    fn on(listener: TcpListener, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let backend = Self { address, requests: Arc::default(), connections: Arc::default() };
        let answer = Arc::new(answer);
        let counters = backend.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, counters) = (Arc::clone(&answer), counters.clone());
                let number = counters.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || counters.serve(stream, number, &*answer));
            }
        });
        backend
    }

    /// How many requests came in.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many connections came in.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Serves until the other side is done. Its mistakes end the connection: the suite sees them at the client.
    fn serve(&self, stream: TcpStream, connection: usize, answer: &dyn Fn(&Received) -> Reply) {
        let Ok(mut transmit) = stream.try_clone() else { return };
        let mut receive = BufReader::new(stream);
        while let Some(request) = receive_request(&mut receive, &mut transmit, connection) {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let reply = answer(&request);
            let mut out = format!("HTTP/1.1 {} x\r\n", reply.status);
            for (name, value) in &reply.fields {
                out += &format!("{name}: {value}\r\n");
            }
            let mut out = out.into_bytes();
            if !matches!(reply.status, 204 | 304) {
                out.extend(format!("content-length: {}\r\n", reply.body.len()).bytes());
            }
            out.extend(b"\r\n");
            if request.method != "HEAD" {
                out.extend(&reply.body);
            }
            if transmit.write_all(&out).is_err() {
                return;
            }
        }
    }
}

fn receive_request(
    receive: &mut BufReader<TcpStream>,
    transmit: &mut TcpStream,
    connection: usize,
) -> Option<Received> {
    let start = line(receive)?;
    let mut words = start.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Received { method, target, fields: vec![], body: vec![], connection };
    loop {
        let field = line(receive)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':')?;
        request.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if request.field("expect").is_some() {
        transmit.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    if request.field("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(line(receive)?.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                while !line(receive)?.is_empty() {}
                break;
            }
            let start = request.body.len();
            request.body.resize(start + size, 0);
            receive.read_exact(&mut request.body[start..]).ok()?;
            line(receive)?;
        }
    } else if let Some(length) = request.field("content-length") {
        request.body = vec![0; length.parse().ok()?];
        receive.read_exact(&mut request.body).ok()?;
    }
    Some(request)
}

fn line(receive: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    receive.read_line(&mut line).ok().filter(|count| *count > 0)?;
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Bounds a stream of the suite's, so that a hang is a failure.
pub(crate) fn bounded(stream: &TcpStream) {
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline above zero");
    stream.set_write_timeout(Some(DEADLINE)).expect("a deadline above zero");
}
