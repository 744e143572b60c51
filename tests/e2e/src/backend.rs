//! A scripted HTTP backend: a thread for each connection, an answer by a function of the suite's. It speaks HTTP/1.1,
//! HTTP/2 where a client begins with that, and TLS (with HTTP/1.1) where it has a certificate.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::certificate::Identity;
use crate::client::Connection;
use crate::http2;
use crate::wait::{DEADLINE, eventually};

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
    /// The status. Zero ends the connection instead.
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

    /// Ends the connection without an answer.
    pub fn none() -> Self {
        Self { status: 0, fields: vec![], body: vec![] }
    }
}

/// What a backend does with a request.
pub(crate) type Answering = dyn Fn(&Received) -> Reply + Send + Sync;

/// A backend on a port of its own. It lives until the test ends.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
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
        Self::on(TcpListener::bind("127.0.0.1:0").expect("loopback can be bound"), None, Arc::new(answer))
    }

    /// As [`answering`](Self::answering), over TLS with this certificate.
    pub fn secure(identity: &Identity, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        Self::on(listener, Some(identity.server()), Arc::new(answer))
    }

    fn on(listener: TcpListener, tls: Option<Arc<ServerConfig>>, answer: Arc<Answering>) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let [requests, connections, ended] = [(); 3].map(|()| Arc::default());
        let backend = Self { address, requests, connections, ended };
        let counters = backend.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, counters, tls) = (Arc::clone(&answer), counters.clone(), tls.clone());
                let number = counters.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    counters.serve(stream, tls, number, &answer);
                    counters.ended.fetch_add(1, Ordering::Relaxed);
                });
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

    /// How many requests came in before now, when nobody is there any more to send one: connections are accepted in
    /// their order, so after one of ours every other one is counted, and each is read to its end.
    pub fn requests_in_all(&self) -> usize {
        let before = self.connections();
        drop(Connection::open(self.address));
        eventually("every connection to the backend has ended", || {
            let connections = self.connections();
            (connections > before && self.ended.load(Ordering::Relaxed) == connections).then_some(())
        });
        self.requests()
    }

    /// Serves until the other side is done. Its mistakes end the connection: the suite sees them at the client.
    fn serve(
        &self,
        stream: TcpStream,
        tls: Option<Arc<ServerConfig>>,
        number: usize,
        answer: &Arc<Answering>,
    ) {
        let counted = |answer: &Arc<Answering>| {
            let (requests, answer) = (Arc::clone(&self.requests), Arc::clone(answer));
            move |request: &Received| {
                requests.fetch_add(1, Ordering::Relaxed);
                answer(request)
            }
        };
        match tls {
            Some(config) => {
                let Ok(session) = ServerConnection::new(config) else { return };
                serve_http1(StreamOwned::new(session, stream), number, &counted(answer));
            }
            None if begins_http2(&stream) => http2::serve(stream, number, Arc::new(counted(answer))),
            None => serve_http1(stream, number, &counted(answer)),
        }
    }
}

/// HTTP/2 begins with `PRI`, which is no method.
fn begins_http2(stream: &TcpStream) -> bool {
    let mut start = [0; 3];
    loop {
        match stream.peek(&mut start) {
            Ok(3) => return &start == b"PRI",
            Ok(count) if count > 0 && b"PRI".starts_with(&start[..count]) => std::thread::yield_now(),
            _ => return false,
        }
    }
}

fn serve_http1(stream: impl Read + Write, connection: usize, answer: &Answering) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = receive_request(&mut stream, connection) {
        let reply = answer(&request);
        if reply.status == 0 {
            return;
        }
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
        let transmit = stream.get_mut();
        if transmit.write_all(&out).and_then(|()| transmit.flush()).is_err() {
            return;
        }
    }
}

fn receive_request(receive: &mut BufReader<impl Read + Write>, connection: usize) -> Option<Received> {
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
        receive.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        receive.get_mut().flush().ok()?;
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

fn line(receive: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    receive.read_line(&mut line).ok().filter(|count| *count > 0)?;
    Some(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Bounds a stream of the suite's, so that a hang is a failure.
pub(crate) fn bounded(stream: &TcpStream) {
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline above zero");
    stream.set_write_timeout(Some(DEADLINE)).expect("a deadline above zero");
}
