//! What two ends of a TLS connection agreed on, where the generator is neither of them: between a pair, or behind a proxy.
//!
//! The offer of the generator makes that equal for all contestants; in there each contestant offers what it likes. So it
//! is looked at once, apart from what is measured: the server's answer is not encrypted, and a relay that stands between
//! the two for one request can read it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// What a server chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    suite: u16,
    group: u16,
}

/// What every row of TLS is to have.
pub(crate) const EQUAL: Agreed = Agreed { suite: 0x1301, group: 0x001d };

impl fmt::Display for Agreed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.suite {
            0x1301 => write!(to, "AES-128-GCM")?,
            0x1302 => write!(to, "AES-256-GCM")?,
            0x1303 => write!(to, "ChaCha20-Poly1305")?,
            other => write!(to, "suite {other:#06x}")?,
        }
        match self.group {
            0x001d => write!(to, ", X25519"),
            0x0017 => write!(to, ", P-256"),
            0x0018 => write!(to, ", P-384"),
            0x11ec => write!(to, ", X25519MLKEM768"),
            other => write!(to, ", group {other:#06x}"),
        }
    }
}

/// Relays what comes to a listener, one connection after another, until a server has answered in it. `None` if none has
/// until the deadline.
pub(crate) fn listen_in(listener: &TcpListener, to: u16, deadline: Instant) -> io::Result<Option<Agreed>> {
    listener.set_nonblocking(true)?;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((client, _)) => {
                // What was opened only to see that the proxy is there may end before it says anything.
                if let Ok(Some(agreed)) = relay(client, to, deadline) {
                    return Ok(Some(agreed));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(TURN),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// How long one side is waited for before the other one has its turn.
const TURN: Duration = Duration::from_millis(2);
/// A server's answer is shorter; what comes after it is of no interest.
const ANSWER_MAX: usize = 1 << 16;

fn relay(mut client: TcpStream, to: u16, deadline: Instant) -> io::Result<Option<Agreed>> {
    let mut server = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, to)))?;
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(TURN))?;
    server.set_read_timeout(Some(TURN))?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1 << 14];
    while Instant::now() < deadline && answer.len() < ANSWER_MAX {
        match come(&mut client, &mut buffer)? {
            Some(0) => break,
            Some(length) => server.write_all(&buffer[..length])?,
            None => {}
        }
        match come(&mut server, &mut buffer)? {
            Some(0) => break,
            Some(length) => {
                answer.extend_from_slice(&buffer[..length]);
                if let Some(agreed) = server_hello(&answer) {
                    return Ok(Some(agreed));
                }
                client.write_all(&buffer[..length])?;
            }
            None => {}
        }
    }
    Ok(None)
}

/// What has come, `None` if nothing has yet.
fn come(from: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match from.read(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The random of a ServerHello that asks for another offer (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91, 0xC2,
    0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// Of the bytes that a server sent from the first on. `None` if they are too few, or not TLS 1.3.
fn server_hello(bytes: &[u8]) -> Option<Agreed> {
    const HANDSHAKE: u8 = 22;
    let mut messages = Vec::new();
    let mut records = Bytes(bytes);
    while let Some(kind) = records.number(1) {
        records.take(2)?;
        let Some(record) = records.vector(2) else { break };
        if kind == u16::from(HANDSHAKE) {
            messages.extend_from_slice(record);
        }
    }
    let mut messages = Bytes(&messages);
    loop {
        const SERVER_HELLO: u16 = 2;
        let kind = messages.number(1)?;
        // The upper byte of a length of three: no such message is that long.
        messages.take(1)?;
        let message = messages.vector(2)?;
        if kind == SERVER_HELLO && message.get(2..34)? != RETRY {
            return chosen(message);
        }
    }
}

/// What a ServerHello says.
fn chosen(message: &[u8]) -> Option<Agreed> {
    const KEY_SHARE: u16 = 51;
    let mut message = Bytes(message);
    message.take(2 + 32)?;
    message.vector(1)?;
    let suite = message.number(2)?;
    message.take(1)?;
    let mut extensions = Bytes(message.vector(2)?);
    loop {
        let kind = extensions.number(2)?;
        let mut extension = Bytes(extensions.vector(2)?);
        if kind == KEY_SHARE {
            return Some(Agreed { suite, group: extension.number(2)? });
        }
    }
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of one or two bytes.
    fn number(&mut self, length: usize) -> Option<u16> {
        Some(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u16::from(*byte)))
    }

    /// Bytes behind their length of one or two bytes.
    fn vector(&mut self, length: usize) -> Option<&'a [u8]> {
        let length = self.number(length)?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
    use rustls::crypto::{CryptoProvider, SupportedKxGroup};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};

    use super::*;

    /// What is agreed with our own server, by a client that offers this, as the relay sees it.
    fn agreed(suite: SupportedCipherSuite, groups: Vec<&'static dyn SupportedKxGroup>) -> Option<Agreed> {
        let name = format!("ringway-perf-agreed-{}-{:?}", std::process::id(), suite.suite());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        super::super::certificates::write(&directory).unwrap();
        let file = |name: &str| directory.join(name);
        let equal = crate::server::tls(&file("server.pem"), &file("server.key")).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        // One that takes whatever is offered.
        let server = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&equal.cert_resolver));
        let listener = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (between, behind) = (listener(), listener());
        let answering = crate::server::Answering {
            speaks: crate::server::Speaks::TcpSink,
            response_bytes: 0,
            delay: Duration::ZERO,
            stall: None,
        };
        let backend = crate::server::serve_tls(behind, &answering, 1, Some(Arc::new(server))).unwrap();
        let provider = CryptoProvider { cipher_suites: vec![suite], kx_groups: groups, ..default_provider() };
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let address = between.local_addr().unwrap();
        // As one that only looks whether somebody listens.
        drop(TcpStream::connect(address).unwrap());
        let shaking = thread::spawn(move || {
            let mut socket = TcpStream::connect(address).unwrap();
            let mut client =
                ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
            // It trusts nobody, so it goes no further than the server's answer.
            client.complete_io(&mut socket).unwrap_err();
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        let agreed = listen_in(&between, backend.address().port(), deadline).unwrap();
        shaking.join().unwrap();
        agreed
    }

    #[test]
    fn what_real_handshakes_agree_on_is_read() {
        let equal = agreed(cipher_suite::TLS13_AES_128_GCM_SHA256, vec![kx_group::X25519]);
        assert_eq!(equal, Some(EQUAL));
        let other = agreed(cipher_suite::TLS13_AES_256_GCM_SHA384, vec![kx_group::X25519MLKEM768]).unwrap();
        assert_eq!(other.to_string(), "AES-256-GCM, X25519MLKEM768");
    }

    #[test]
    fn bytes_that_are_no_answer_are_none() {
        assert_eq!(server_hello(b""), None);
        assert_eq!(server_hello(b"HTTP/1.1 400 Bad Request\r\n\r\n"), None);
        // An alert.
        assert_eq!(server_hello(&[21, 3, 3, 0, 2, 2, 40]), None);
    }

    #[test]
    fn a_request_for_another_offer_is_not_the_answer() {
        let hello = |random: [u8; 32], group: u8| {
            let mut message = vec![3, 3];
            message.extend(random);
            message.extend([0, 0x13, 1, 0, 0, 6, 0, 51, 0, 2, 0, group]);
            let mut record = vec![22, 3, 3, 0, message.len() as u8 + 4, 2, 0, 0, message.len() as u8];
            record.extend(message);
            record
        };
        let retry = hello(RETRY, 0x17);
        assert_eq!(server_hello(&retry), None);
        let both = [retry, vec![20, 3, 3, 0, 1, 1], hello([7; 32], 0x1d)].concat();
        assert_eq!(server_hello(&both), Some(EQUAL));
        assert_eq!((0..both.len()).find_map(|end| server_hello(&both[..end])), None);
    }
}
