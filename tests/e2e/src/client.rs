//! A plain HTTP/1.1 client over whatever carries bytes: what it sends is what the suite wrote, and it takes nothing for granted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::backend::bounded;

/// What carries a connection's bytes.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS on it.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// The socket underneath.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields in their order; names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, without framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first field of this name (in lower case).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is none, showing the whole answer.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {self:?} says {}", self.text()))
    }

    /// Which [`Backend::echo`](crate::Backend::echo) answered, if one did.
    pub fn backend(&self) -> Option<String> {
        let facts: Value = serde_json::from_slice(&self.body).ok()?;
        Some(facts.get("backend")?.as_str()?.to_owned())
    }
}

/// A client connection.
#[derive(Debug)]
pub struct Connection(BufReader<Transport>);

impl Connection {
    /// Connects by TCP.
    pub fn try_open(address: impl ToSocketAddrs) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        bounded(&socket);
        socket.set_nodelay(true)?;
        Ok(Self(BufReader::new(Transport::Plain(socket))))
    }

    /// Connects by TCP, which must work.
    pub fn open(address: impl ToSocketAddrs) -> Self {
        Self::try_open(address).expect("the listener is there")
    }

    /// Connects by TLS; the handshake happens with the first request.
    pub fn open_tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).expect("the listener is there");
        bounded(&socket);
        let name = ServerName::try_from(name.to_owned()).expect("a name that the suite wrote");
        let session = ClientConnection::new(config, name).expect("a sound configuration");
        Self(BufReader::new(Transport::Tls(Box::new(StreamOwned::new(session, socket)))))
    }

    /// What carries it.
    pub fn transport(&mut self) -> &mut Transport {
        self.0.get_mut()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).expect("the gateway reads");
        self
    }

    /// Sends bytes as they are, unless the connection has ended.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())?;
        self.0.get_mut().flush()
    }

    /// Says that nothing more will be sent.
    pub fn end(&mut self) -> &mut Self {
        self.0.get_ref().socket().shutdown(Shutdown::Write).expect("it is connected");
        self
    }

    /// Goes away with a reset, as a process does whose machine has forgotten it.
    pub fn reset(self) {
        let linger = rustix::net::sockopt::set_socket_linger(self.0.get_ref().socket(), Some(Duration::ZERO));
        linger.expect("it is a socket");
    }

    /// Reads the answer to a GET.
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("a whole answer")
    }

    /// Asks for a path of a host and reads the answer.
    pub fn get(&mut self, host: &str, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).answer()
    }

    /// As [`get`](Self::get), where the connection may end instead.
    pub fn try_get(&mut self, host: &str, path: &str) -> std::io::Result<Answer> {
        self.try_send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))?;
        self.try_answer(false)
    }

    /// Reads one final answer. `head`: it is one to a HEAD, which has no body.
    pub fn try_answer(&mut self, head: bool) -> std::io::Result<Answer> {
        loop {
            let mut answer = self.head()?;
            if (100..200).contains(&answer.status) && answer.status != 101 {
                continue;
            }
            if head || matches!(answer.status, 101 | 204 | 304) {
                return Ok(answer);
            }
            if answer.field("transfer-encoding").is_some() {
                self.chunks(&mut answer.body)?;
            } else if let Some(length) = answer.field("content-length") {
                answer.body = vec![0; length.parse().map_err(|_| malformed(length))?];
                self.0.read_exact(&mut answer.body)?;
            } else {
                self.0.read_to_end(&mut answer.body)?;
            }
            return Ok(answer);
        }
    }

    /// Reads one head, final or not.
    pub fn head(&mut self) -> std::io::Result<Answer> {
        let start = self.line()?;
        let status = start.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut answer =
            Answer { status: status.ok_or_else(|| malformed(&start))?, fields: vec![], body: vec![] };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(answer);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            answer.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> std::io::Result<()> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .map_err(|_| malformed(&line))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            let start = body.len();
            body.resize(start + size, 0);
            self.0.read_exact(&mut body[start..])?;
            if !self.line()?.is_empty() {
                return Err(malformed("a chunk that does not end where it said"));
            }
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        if self.0.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.strip_suffix(b"\r\n").ok_or_else(|| malformed("a line without its end"))?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// Reads exactly as many bytes as given.
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("no HTTP: {what:?}"))
}
