//! One TLS connection without its I/O: bytes in, bytes out.
//!
//! The caller moves ciphertext between the session and a socket ([`TlsSession::fill`], [`TlsSession::flush`]) and
//! plaintext between the session and itself ([`TlsSession::read`], [`TlsSession::write`]); the session never waits and
//! holds no buffer while it is idle. It runs on rustls's unbuffered API, whose traffic keys can be taken over: a record
//! layer of our own can replace what is behind `read` and `write` without a change to a caller.
//!
//! A server session begins with [`TlsSession::accepting`]: the hello comes first, the listener is chosen by it, then
//! [`TlsSession::choose`] goes on. An end of the transport without the peer's close_notify is told apart from a clean
//! one: [`Plaintext::Truncated`].

use std::io::{self, IoSlice};
use std::sync::Arc;

use ringway_core::PeerIdentity;
use rustls::client::UnbufferedClientConnection;
use rustls::server::{Acceptor, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use super::buffer::Buffer;
use super::visitor::Visitor;
use super::{ClientTls, ServerTls, TlsFailure};

/// Ciphertext queued for sending, in bytes. Full: `write` takes nothing until `flush` made room.
const OUTBOUND_BYTES_MAX: usize = 64 << 10;
/// Ciphertext received and not yet processed, in bytes: the longest handshake message (64 KiB) with the overhead of its
/// records. Full: the session fails.
const INBOUND_BYTES_MAX: usize = 96 << 10;
/// A client hello, in bytes. Post-quantum ones have about 2 KiB. Longer: the session fails.
const HELLO_BYTES_MAX: usize = 32 << 10;
/// The smallest room that a receive is tried with: a record header with the first bytes of a record.
const RECEIVE_BYTES_MIN: usize = 1 << 10;
/// The largest plaintext of a record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 16 << 10;
/// More than any cipher suite adds to a record: header 5, explicit nonce 8, content type 1, tag 16.
const RECORD_OVERHEAD_BYTES: usize = 32;
/// Room for what may go out before data: an answer to a key update, our own key update, an alert.
const CONTROL_BYTES: usize = 256;

/// A TLS connection, ours to one side and ciphertext to the other.
pub struct TlsSession {
    stage: Stage,
    /// Ciphertext that was received.
    inbound: Buffer,
    /// How much of `inbound` was processed and is kept only because a record or message is not complete yet. Writing
    /// must not process more than this: what comes after may be data that nobody asked for yet.
    processed: usize,
    /// The rest of a record that was larger than the caller's buffer.
    plaintext: Buffer,
    /// Ciphertext to send.
    outbound: Buffer,
    /// The transport said that no more will come.
    ended: bool,
    /// The peer said so, with close_notify.
    peer_closed: bool,
    /// We said so.
    closing: bool,
    /// Once failed, a session stays failed.
    failure: Option<TlsFailure>,
}

enum Stage {
    /// A server before its hello.
    Accepting { acceptor: Box<Acceptor>, fed: usize },
    /// A server that waits for [`TlsSession::choose`].
    Choosing(Hello),
    /// The handshake, then data.
    Running(Box<Running>),
    /// Refused or failed before it ran.
    Over,
}

struct Running {
    connection: Connection,
    /// The client's certificate, while the handshake runs and where one is asked for.
    visitor: Option<Arc<Visitor>>,
    sni: Option<Arc<str>>,
    facts: Option<TlsFacts>,
}

enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What a client asks for in its first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server name: lower case, no trailing dot; never an IP address.
    pub sni: Option<Arc<str>>,
    /// The application protocols it offers, as on the wire; most preferred first.
    pub alpn: Vec<Box<[u8]>>,
}

/// How far the handshake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Flush, then fill, then ask again.
    Wait,
    /// The client's first message is here: choose a listener for it.
    Hello(Hello),
    /// Data may be exchanged. Some may be here already; something may be left to flush.
    Done,
}

/// What a handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The application protocol agreed on.
    pub alpn: Option<Alpn>,
    /// The server name that the client asked for (server side only).
    pub sni: Option<Arc<str>>,
    /// The version agreed on.
    pub version: TlsVersion,
    /// The client, if it showed a certificate that holds (server side only).
    pub peer: Option<Arc<PeerIdentity>>,
    /// An earlier session went on.
    pub resumed: bool,
}

/// An application protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
}

impl Alpn {
    /// As on the wire.
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    fn parse(wire: &[u8]) -> Option<Self> {
        [Self::Http1, Self::Http2].into_iter().find(|protocol| protocol.as_bytes() == wire)
    }
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    /// As in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// So many bytes; never zero.
    Bytes(usize),
    /// Nothing yet: fill, then read again.
    Wait,
    /// The peer closed its side in an orderly way. Ours may still write.
    Closed,
    /// The transport ended without a word from the peer: what was read may not be all there was.
    Truncated,
}

/// How far one turn of the connection came.
enum Turn {
    /// Something happened that asks for another turn.
    Again,
    /// Data was handed out.
    Data,
    /// More ciphertext is needed.
    Blocked,
    /// The peer closed.
    PeerClosed,
    /// What was to be sent is in the outbound buffer.
    Sent,
}

/// What a turn is to send once it may.
#[derive(Clone, Copy)]
enum Outgoing<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

/// Where decrypted bytes go: to the caller first, then to the session's own buffer.
struct Sink<'a> {
    into: &'a mut [u8],
    filled: usize,
    rest: &'a mut Buffer,
}

impl TlsSession {
    /// A server session that waits for a client's hello.
    pub fn accepting() -> Self {
        Self::new(Stage::Accepting { acceptor: Box::default(), fed: 0 })
    }

    /// A client session. Its hello is ready to be flushed after the first [`TlsSession::handshake`].
    pub fn connecting(client: &ClientTls) -> Result<Self, TlsFailure> {
        let connection = UnbufferedClientConnection::new(Arc::clone(client.config()), client.name().clone())?;
        Ok(Self::new(Stage::Running(Box::new(Running {
            connection: Connection::Client(connection),
            visitor: None,
            sni: None,
            facts: None,
        }))))
    }

    fn new(stage: Stage) -> Self {
        Self {
            stage,
            inbound: Buffer::default(),
            processed: 0,
            plaintext: Buffer::default(),
            outbound: Buffer::default(),
            ended: false,
            peer_closed: false,
            closing: false,
            failure: None,
        }
    }

    /// Receives ciphertext: calls `receive` once with room to write into. Zero is the end of the transport and is
    /// remembered. `WouldBlock` passes through; so does every other error.
    ///
    /// Call it when [`TlsSession::handshake`] or [`TlsSession::read`] says `Wait`: what is here is processed first.
    pub fn fill(&mut self, receive: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.inbound.len() >= INBOUND_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, TlsFailure::TooLong));
        }
        let received = receive(self.inbound.room(RECEIVE_BYTES_MIN));
        match received {
            Ok(0) => self.ended = true,
            Ok(count) => self.inbound.extend(count),
            Err(_) => {}
        }
        if !matches!(received, Ok(1..)) {
            self.inbound.settle();
        }
        received
    }

    /// Sends ciphertext: calls `send` until nothing is left, or it fails. `WouldBlock` passes through: what is left is
    /// kept. An error of the transport is final.
    pub fn flush(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
        while !self.outbound.is_empty() {
            match send(&[IoSlice::new(self.outbound.filled())])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.outbound.consume(count),
            }
        }
        self.outbound.settle();
        Ok(())
    }

    /// Whether there is something to flush.
    pub fn wants_write(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Ciphertext that waits to be flushed, in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.outbound.len()
    }

    /// Whether data may not be exchanged yet.
    pub fn is_handshaking(&self) -> bool {
        self.facts().is_none()
    }

    /// What the handshake showed, once it is done.
    pub fn facts(&self) -> Option<&TlsFacts> {
        match &self.stage {
            Stage::Running(running) => running.facts.as_ref(),
            Stage::Accepting { .. } | Stage::Choosing(_) | Stage::Over => None,
        }
    }

    /// Goes on with the handshake as far as the received bytes allow. After an error, flush the alert and close.
    pub fn handshake(&mut self) -> Result<Handshake, TlsFailure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match &mut self.stage {
            Stage::Accepting { .. } => self.read_hello()?,
            Stage::Running(running) if running.facts.is_none() => self.shake_hands()?,
            Stage::Choosing(_) | Stage::Running(_) | Stage::Over => {}
        }
        self.inbound.settle();
        match &self.stage {
            Stage::Choosing(hello) => Ok(Handshake::Hello(hello.clone())),
            Stage::Running(running) if running.facts.is_some() => Ok(Handshake::Done),
            Stage::Accepting { .. } | Stage::Running(_) | Stage::Over if self.ended => {
                Err(self.fail(TlsFailure::Ended))
            }
            Stage::Accepting { .. } | Stage::Running(_) | Stage::Over => Ok(Handshake::Wait),
        }
    }

    /// Goes on as this listener. Only after [`Handshake::Hello`]; otherwise nothing happens.
    pub fn choose(&mut self, server: &ServerTls) -> Result<(), TlsFailure> {
        let Stage::Choosing(hello) = &mut self.stage else { return Ok(()) };
        let sni = hello.sni.take();
        match server.connection() {
            Ok((connection, visitor)) => {
                self.stage = Stage::Running(Box::new(Running {
                    connection: Connection::Server(connection),
                    visitor,
                    sni,
                    facts: None,
                }));
                Ok(())
            }
            Err(error) => Err(self.fail(error.into())),
        }
    }

    /// No listener is for this hello: queues the alert unrecognized_name. Flush it, then close.
    pub fn refuse(&mut self) {
        // Fatal (2), unrecognized_name (112), in a plaintext record: no keys exist yet (RFC 6066 section 3).
        const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
        if let Stage::Choosing(_) = self.stage {
            self.outbound.append(&UNRECOGNIZED_NAME);
            self.fail(TlsFailure::Refused);
        }
    }

    /// Everything received so far, for a connection that is passed on untouched. Only before [`TlsSession::choose`].
    pub fn into_received(self) -> Vec<u8> {
        match self.stage {
            Stage::Accepting { .. } | Stage::Choosing(_) => self.inbound.filled().to_vec(),
            Stage::Running(_) | Stage::Over => Vec::new(),
        }
    }

    /// Takes plaintext. `into` is not empty. Data that came before a failure is given first.
    pub fn read(&mut self, into: &mut [u8]) -> Result<Plaintext, TlsFailure> {
        let kept = self.plaintext.len().min(into.len());
        if kept > 0 {
            into[..kept].copy_from_slice(&self.plaintext.filled()[..kept]);
            self.plaintext.consume(kept);
            self.plaintext.settle();
            return Ok(Plaintext::Bytes(kept));
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let count = self.receive_data(into);
        self.inbound.settle();
        match count {
            Ok(0) if self.peer_closed => Ok(Plaintext::Closed),
            Ok(0) if self.ended => Ok(Plaintext::Truncated),
            Ok(0) => Ok(Plaintext::Wait),
            Ok(count) => Ok(Plaintext::Bytes(count)),
            Err(failure) => Err(failure),
        }
    }

    /// Takes plaintext to send; says how much. Zero: flush first (or the handshake is not done). What was taken is
    /// sealed at once and waits for [`TlsSession::flush`].
    pub fn write(&mut self, data: &[u8]) -> Result<usize, TlsFailure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.closing {
            return Err(TlsFailure::Closed);
        }
        let room = OUTBOUND_BYTES_MAX.saturating_sub(self.outbound.len());
        let taken = data.len().min(room);
        if taken == 0 || self.is_handshaking() {
            return Ok(0);
        }
        self.send(Outgoing::Data(&data[..taken])).map(|sent| if sent { taken } else { 0 })
    }

    /// Says that nothing more will be written: queues close_notify. Before the handshake is done there is nothing to
    /// say. Reading goes on.
    pub fn close(&mut self) {
        if self.failure.is_some() || self.closing || self.is_handshaking() {
            return;
        }
        // A failure here is remembered and given by the next read; there is no close_notify to send any more.
        let _ = self.send(Outgoing::CloseNotify);
        self.closing = true;
    }

    fn read_hello(&mut self) -> Result<(), TlsFailure> {
        let Stage::Accepting { acceptor, fed } = &mut self.stage else { return Ok(()) };
        let mut hello = Ok(None);
        while let Ok(None) = hello {
            let mut unfed = &self.inbound.filled()[*fed..];
            if unfed.is_empty() {
                break;
            }
            match acceptor.read_tls(&mut unfed) {
                Ok(0) | Err(_) => return Err(self.fail(TlsFailure::TooLong)),
                Ok(count) => *fed += count,
            }
            hello = acceptor.accept();
        }
        match hello {
            Ok(None) if self.inbound.len() > HELLO_BYTES_MAX => Err(self.fail(TlsFailure::TooLong)),
            Ok(None) => Ok(()),
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let canonical =
                    |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into();
                let sni = hello.server_name().map(canonical);
                let alpn = hello.alpn().map(|offers| offers.map(Box::from).collect()).unwrap_or_default();
                self.stage = Stage::Choosing(Hello { sni, alpn });
                Ok(())
            }
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                // Writing into memory cannot fail.
                let _ = alert.write_all(&mut bytes);
                self.outbound.append(&bytes);
                Err(self.fail(error.into()))
            }
        }
    }

    fn shake_hands(&mut self) -> Result<(), TlsFailure> {
        // The peer may send data in one flight with its last handshake message: one record of it, at most, is kept.
        self.receive_data(&mut [])?;
        let Stage::Running(running) = &mut self.stage else { return Ok(()) };
        if running.connection.state().is_handshaking() {
            return Ok(());
        }
        match running.facts() {
            Ok(facts) => {
                running.facts = Some(facts);
                running.visitor = None;
                Ok(())
            }
            Err(failure) => {
                // The handshake itself succeeded, so the library has no alert to send; closing is all we can say.
                let _ = self.send(Outgoing::CloseNotify);
                Err(self.fail(failure))
            }
        }
    }

    /// Processes what was received until data was handed out, the peer closed, or more is needed.
    fn receive_data(&mut self, into: &mut [u8]) -> Result<usize, TlsFailure> {
        let Stage::Running(running) = &mut self.stage else { return Ok(0) };
        let mut sink = Sink { into, filled: 0, rest: &mut self.plaintext };
        self.processed = 0;
        let outcome = loop {
            let incoming = self.inbound.filled_mut();
            let (discard, turn) =
                running.connection.turn(incoming, &mut self.outbound, &mut sink, Outgoing::Nothing);
            self.inbound.consume(discard);
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::Data) if sink.wants_more() => {}
                Ok(Turn::Data | Turn::Sent) => break Ok(()),
                Ok(Turn::Blocked) => {
                    self.processed = self.inbound.len();
                    break Ok(());
                }
                Ok(Turn::PeerClosed) => {
                    // "Any data received after a closure alert has been received MUST be ignored."
                    self.inbound.consume(self.inbound.len());
                    self.peer_closed = true;
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        let count = sink.filled;
        match outcome {
            Ok(()) => Ok(count),
            Err(error) => {
                running.connection.queue_alerts(&mut self.inbound, &mut self.outbound);
                let failure = self.fail(error.into());
                // What was decrypted before the failure is genuine.
                if count > 0 { Ok(count) } else { Err(failure) }
            }
        }
    }

    /// Seals something into the outbound buffer. `false`: not now.
    fn send(&mut self, outgoing: Outgoing<'_>) -> Result<bool, TlsFailure> {
        let Stage::Running(running) = &mut self.stage else { return Ok(false) };
        let mut sink = Sink { into: &mut [], filled: 0, rest: &mut self.plaintext };
        let error = loop {
            let incoming = &mut self.inbound.filled_mut()[..self.processed];
            let (discard, turn) = running.connection.turn(incoming, &mut self.outbound, &mut sink, outgoing);
            self.inbound.consume(discard);
            self.processed -= discard;
            match turn {
                Ok(Turn::Sent) => return Ok(true),
                Ok(Turn::Again | Turn::Data) => {}
                Ok(Turn::PeerClosed) => self.peer_closed = true,
                Ok(Turn::Blocked) => return Ok(false),
                Err(error) => break error,
            }
        };
        running.connection.queue_alerts(&mut self.inbound, &mut self.outbound);
        Err(self.fail(error.into()))
    }

    fn fail(&mut self, failure: TlsFailure) -> TlsFailure {
        // Nothing of what was received will be processed any more.
        self.inbound.consume(self.inbound.len());
        self.processed = 0;
        self.inbound.settle();
        self.stage = Stage::Over;
        self.failure.insert(failure).clone()
    }
}

#[cfg(test)]
impl TlsSession {
    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        let Stage::Running(running) = &self.stage else { return None };
        running.connection.state().peer_certificates()?.first().map(AsRef::as_ref)
    }

    pub(super) fn key_exchange(&self) -> Option<rustls::NamedGroup> {
        let Stage::Running(running) = &self.stage else { return None };
        running.connection.state().negotiated_key_exchange_group().map(|group| group.name())
    }
}

impl Running {
    fn facts(&self) -> Result<TlsFacts, TlsFailure> {
        let state = self.connection.state();
        let resumed = state.handshake_kind() == Some(HandshakeKind::Resumed);
        let peer = match &self.visitor {
            Some(visitor) => visitor.identify(state.peer_certificates().unwrap_or_default())?,
            None => None,
        };
        Ok(TlsFacts {
            alpn: state.alpn_protocol().and_then(Alpn::parse),
            sni: self.sni.clone(),
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
                _ => TlsVersion::Tls12,
            },
            peer: peer.map(Arc::new),
            resumed,
        })
    }
}

impl Connection {
    fn state(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    /// One step; also how much of `incoming` is used up.
    fn turn(
        &mut self,
        incoming: &mut [u8],
        outbound: &mut Buffer,
        sink: &mut Sink<'_>,
        outgoing: Outgoing<'_>,
    ) -> (usize, Result<Turn, rustls::Error>) {
        match self {
            Self::Server(connection) => {
                act(connection.process_tls_records(incoming), outbound, sink, outgoing)
            }
            Self::Client(connection) => {
                act(connection.process_tls_records(incoming), outbound, sink, outgoing)
            }
        }
    }

    /// After an error: takes the alert that tells the peer, and nothing else.
    fn queue_alerts(&mut self, inbound: &mut Buffer, outbound: &mut Buffer) {
        let mut nowhere = Buffer::default();
        // While something is to be sent, a turn takes that and does not look at what was received.
        while self.state().wants_write() {
            let mut sink = Sink { into: &mut [], filled: 0, rest: &mut nowhere };
            let (discard, turn) = self.turn(inbound.filled_mut(), outbound, &mut sink, Outgoing::Nothing);
            inbound.consume(discard);
            if turn.is_err() {
                return;
            }
        }
    }
}

/// Does what one state of the connection asks for.
fn act<Side>(
    status: UnbufferedStatus<'_, '_, Side>,
    outbound: &mut Buffer,
    sink: &mut Sink<'_>,
    outgoing: Outgoing<'_>,
) -> (usize, Result<Turn, rustls::Error>) {
    let mut discard = status.discard;
    let turn = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    sink.take(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Turn::Data),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            let encoded = seal(outbound, CONTROL_BYTES, |room| match message.encode(room) {
                Ok(count) => Ok(Ok(count)),
                Err(EncodeError::InsufficientSize(needed)) => Err(needed),
                Err(EncodeError::AlreadyEncoded) => Ok(Err(rustls::Error::General("encoded twice".into()))),
            });
            encoded.map(|()| Turn::Again)
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            // Outbound bytes leave in order, so what is queued counts as sent.
            transmit.done();
            Ok(Turn::Again)
        }
        Ok(ConnectionState::WriteTraffic(traffic)) => send_traffic(traffic, outbound, outgoing),
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Ok(Turn::Blocked),
        Ok(ConnectionState::PeerClosed) => Ok(Turn::PeerClosed),
        // Early data is off on both sides.
        Ok(_) => Err(rustls::Error::General("unexpected state".into())),
        Err(error) => Err(error),
    };
    (discard, turn)
}

fn send_traffic<Side>(
    mut traffic: WriteTraffic<'_, Side>,
    outbound: &mut Buffer,
    outgoing: Outgoing<'_>,
) -> Result<Turn, rustls::Error> {
    let exhausted = || Ok(Err(rustls::Error::EncryptError));
    match outgoing {
        Outgoing::Nothing => Ok(Turn::Blocked),
        Outgoing::Data(data) => {
            let records = data.len().div_ceil(RECORD_BYTES_MAX);
            let room = data.len() + records * RECORD_OVERHEAD_BYTES + CONTROL_BYTES;
            seal(outbound, room, |room| match traffic.encrypt(data, room) {
                Ok(count) => Ok(Ok(count)),
                Err(EncryptError::InsufficientSize(needed)) => Err(needed),
                Err(EncryptError::EncryptExhausted) => exhausted(),
            })
            .map(|()| Turn::Sent)
        }
        Outgoing::CloseNotify => {
            seal(outbound, CONTROL_BYTES, |room| match traffic.queue_close_notify(room) {
                Ok(count) => Ok(Ok(count)),
                Err(EncryptError::InsufficientSize(needed)) => Err(needed),
                Err(EncryptError::EncryptExhausted) => exhausted(),
            })
            .map(|()| Turn::Sent)
        }
    }
}

/// Lets something write into the outbound buffer; once more with the room that it asked for.
fn seal(
    outbound: &mut Buffer,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, rustls::Error>, InsufficientSizeError>,
) -> Result<(), rustls::Error> {
    let written = match write(outbound.room(room)) {
        Ok(written) => written,
        Err(needed) => write(outbound.room(needed.required_size))
            .unwrap_or_else(|_| Err(rustls::Error::General("the room asked for was not enough".into()))),
    };
    outbound.extend(written?);
    Ok(())
}

impl Sink<'_> {
    fn take(&mut self, payload: &[u8]) {
        let direct = payload.len().min(self.into.len() - self.filled);
        let (now, later) = payload.split_at(direct);
        self.into[self.filled..self.filled + direct].copy_from_slice(now);
        self.filled += direct;
        if !later.is_empty() {
            self.rest.append(later);
        }
    }

    fn wants_more(&self) -> bool {
        self.rest.is_empty() && self.filled < self.into.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::CertificateRefusal;
    use super::super::testing::{
        Authority, Bench, Outcome, Wire, connect, end, fill, flush, leaf, read_all, start, upstream,
    };
    use super::*;

    fn bench() -> Bench {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.listener("listener", &[&authority.issue("cert", leaf(&["example.org"]))], None);
        bench.cluster("h1", ringway_config::UpstreamProtocol::Http1, upstream("example.org", &authority));
        bench.cluster("h2", ringway_config::UpstreamProtocol::Http2, upstream("example.org", &authority));
        assert_eq!(bench.apply(), []);
        bench
    }

    /// Sends everything from one end of the wire to the other, as far as it goes without waiting.
    fn carry(wire: &mut Wire, data: &[u8]) -> Vec<u8> {
        let (mut sent, mut received) = (0, Vec::new());
        while received.len() < data.len() {
            sent += wire.client.write(&data[sent..]).unwrap();
            assert!(wire.deliver() > 0);
            let (more, state) = read_all(&mut wire.server);
            assert_eq!(state, Ok(Plaintext::Wait));
            received.extend(more);
        }
        received
    }

    #[test]
    fn the_hello_comes_before_the_choice_and_tells_name_and_protocols() {
        let outcome = bench().connect("h2", "listener");
        let hello = outcome.hello.clone().unwrap();
        assert_eq!((hello.sni.as_deref(), &*hello.alpn), (Some("example.org"), &[Box::from(&b"h2"[..])][..]));
        let wire = outcome.unwrap();
        let facts = TlsFacts {
            alpn: Some(Alpn::Http2),
            sni: Some("example.org".into()),
            version: TlsVersion::Tls13,
            peer: None,
            resumed: false,
        };
        assert_eq!(wire.server.facts(), Some(&facts));
        assert_eq!(wire.client.facts(), Some(&TlsFacts { sni: None, ..facts }));
    }

    #[test]
    fn a_handshake_and_data_may_arrive_in_pieces_of_any_size() {
        let bench = bench();
        let data: Vec<u8> = (0..40_000u32).map(|n| (n % 251) as u8).collect();
        for piece in [1, 2, 3, 5, 7, 100, 1000, 16_389, usize::MAX] {
            let mut wire = Wire::new(&bench.client("h1"));
            wire.piece = piece;
            let mut wire = wire.handshake(&bench.server("listener")).unwrap();
            assert!(carry(&mut wire, &data) == data, "pieces of {piece}");
        }
    }

    #[test]
    fn data_passes_both_ways_at_once_and_writing_does_not_take_what_was_not_read() {
        let mut wire = bench().connect("h1", "listener").unwrap();
        let blob = vec![7; 50_000];
        assert_eq!(wire.client.write(&blob).unwrap(), blob.len());
        wire.deliver();
        // Three records wait at the server, unread, while it writes.
        for _ in 0..10 {
            assert_eq!(wire.server.write(b"answer").unwrap(), 6);
        }
        assert!(wire.server.plaintext.is_empty());
        wire.deliver();
        assert_eq!(read_all(&mut wire.client), (b"answer".repeat(10), Ok(Plaintext::Wait)));
        // A caller with a small buffer gets a record in parts.
        let mut small = [0; 100];
        assert_eq!(wire.server.read(&mut small), Ok(Plaintext::Bytes(100)));
        assert_eq!(wire.server.write(b"more").unwrap(), 4);
        let (rest, state) = read_all(&mut wire.server);
        assert_eq!((rest.len(), state), (blob.len() - 100, Ok(Plaintext::Wait)));
    }

    #[test]
    fn what_waits_to_be_sent_is_bounded() {
        let mut wire = bench().connect("h1", "listener").unwrap();
        let blob = vec![7; 1 << 20];
        let taken = wire.client.write(&blob).unwrap();
        assert_eq!(taken, OUTBOUND_BYTES_MAX);
        assert_eq!(wire.client.write(&blob), Ok(0));
        assert!(wire.client.pending_bytes() < OUTBOUND_BYTES_MAX + 1024);
        flush(&mut wire.client, &mut wire.to_server);
        assert!(!wire.client.wants_write());
        assert_eq!(wire.client.write(&blob), Ok(OUTBOUND_BYTES_MAX));
    }

    #[test]
    fn a_transport_that_takes_a_little_at_a_time_loses_nothing() {
        let mut wire = bench().connect("h1", "listener").unwrap();
        wire.client.write(&[7; 5000]).unwrap();
        let mut sent = Vec::new();
        while wire.client.wants_write() {
            let mut calls = 0;
            let flushed = wire.client.flush(&mut |pieces| {
                calls += 1;
                if calls > 2 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let count = pieces[0].len().min(99);
                sent.extend_from_slice(&pieces[0][..count]);
                Ok(count)
            });
            assert!(flushed.is_ok() || flushed.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        }
        while fill(&mut wire.server, &mut sent, 777) > 0 {}
        assert_eq!(read_all(&mut wire.server), (vec![7; 5000], Ok(Plaintext::Wait)));
    }

    #[test]
    fn a_clean_end_is_told_from_a_cut_one() {
        let bench = bench();
        let mut wire = bench.connect("h1", "listener").unwrap();
        wire.client.write(b"all of it").unwrap();
        wire.client.close();
        assert_eq!(wire.client.write(b"more"), Err(TlsFailure::Closed));
        wire.deliver();
        assert_eq!(read_all(&mut wire.server), (b"all of it".to_vec(), Ok(Plaintext::Closed)));
        end(&mut wire.server);
        assert_eq!(read_all(&mut wire.server), (vec![], Ok(Plaintext::Closed)));
        // The other direction is still open.
        assert_eq!(wire.server.write(b"answer"), Ok(6));
        wire.server.close();
        wire.deliver();
        assert_eq!(read_all(&mut wire.client), (b"answer".to_vec(), Ok(Plaintext::Closed)));

        let mut wire = bench.connect("h1", "listener").unwrap();
        wire.client.write(&[7; 20_000]).unwrap();
        flush(&mut wire.client, &mut wire.to_server);
        wire.to_server.pop();
        while fill(&mut wire.server, &mut wire.to_server, usize::MAX) > 0 {}
        end(&mut wire.server);
        assert_eq!(read_all(&mut wire.server), (vec![7; 16_384], Ok(Plaintext::Truncated)));
    }

    #[test]
    fn an_end_inside_the_handshake_is_a_failure() {
        let bench = bench();
        let mut wire = Wire::new(&bench.client("h1"));
        wire.client.handshake().unwrap();
        end(&mut wire.client);
        assert_eq!(wire.client.handshake(), Err(TlsFailure::Ended));
        end(&mut wire.server);
        assert_eq!(wire.server.handshake(), Err(TlsFailure::Ended));
    }

    #[test]
    fn a_touched_record_fails_the_session_and_the_peer_is_told() {
        let mut wire = bench().connect("h1", "listener").unwrap();
        wire.client.write(b"genuine").unwrap();
        flush(&mut wire.client, &mut wire.to_server);
        let first = wire.to_server.len();
        wire.client.write(b"touched").unwrap();
        flush(&mut wire.client, &mut wire.to_server);
        wire.to_server[first + 7] ^= 1;
        wire.deliver();
        let (data, state) = read_all(&mut wire.server);
        assert_eq!(data, b"genuine");
        assert!(matches!(state, Err(TlsFailure::Protocol(_))), "{state:?}");
        assert_eq!(wire.server.write(b"x"), Err(state.clone().unwrap_err()));
        wire.deliver();
        assert_eq!(read_all(&mut wire.client).1, Err(TlsFailure::Alert("BadRecordMac".into())));
    }

    #[test]
    fn what_is_no_tls_fails_at_once_and_never_panics() {
        for bytes in
            [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &[0; 64], &[22, 3, 1, 255, 255, 1], &[255; 4000]]
        {
            let mut session = TlsSession::accepting();
            fill(&mut session, &mut bytes.to_vec(), usize::MAX);
            let state = session.handshake();
            assert!(matches!(state, Err(TlsFailure::Protocol(_))), "{bytes:?}: {state:?}");
            let mut alert = Vec::new();
            flush(&mut session, &mut alert);
            assert_eq!(alert[0], 21, "an alert is sent");
        }
    }

    #[test]
    fn an_endless_hello_is_refused() {
        let mut session = TlsSession::accepting();
        // A handshake message of 60,000 bytes, in records of 1,000.
        let mut record = vec![22, 3, 1, 3, 232];
        record.extend([0; 1000]);
        record[5..9].copy_from_slice(&[1, 0, 234, 96]);
        for received in 1..=60 {
            fill(&mut session, &mut record.clone(), usize::MAX);
            match session.handshake() {
                Ok(Handshake::Wait) => assert!(received <= HELLO_BYTES_MAX / record.len()),
                other => {
                    assert_eq!(other, Err(TlsFailure::TooLong));
                    return;
                }
            }
            record[5..9].fill(0);
        }
        panic!("60 records were taken");
    }

    #[test]
    fn a_hello_that_no_listener_is_for_is_refused_with_unrecognized_name() {
        let bench = bench();
        let mut wire = Wire::new(&bench.client("h1"));
        wire.client.handshake().unwrap();
        wire.deliver();
        assert!(matches!(wire.server.handshake(), Ok(Handshake::Hello(_))));
        wire.server.refuse();
        assert_eq!(wire.server.handshake(), Err(TlsFailure::Refused));
        wire.deliver();
        assert_eq!(wire.client.handshake(), Err(TlsFailure::Alert("UnrecognisedName".into())));
    }

    #[test]
    fn a_hello_can_be_passed_on_untouched() {
        let bench = bench();
        let mut wire = Wire::new(&bench.client("h1"));
        wire.client.handshake().unwrap();
        flush(&mut wire.client, &mut wire.to_server);
        let hello = wire.to_server.clone();
        fill(&mut wire.server, &mut wire.to_server, usize::MAX);
        assert!(matches!(wire.server.handshake(), Ok(Handshake::Hello(_))));
        assert_eq!(wire.server.into_received(), hello);
    }

    #[test]
    fn a_certificate_outside_its_time_is_refused() {
        let bench = bench();
        for (years, refusal) in [(-2, CertificateRefusal::NotYetValid), (2, CertificateRefusal::Expired)] {
            let year = std::time::Duration::from_secs(366 * 24 * 3600);
            let shifted = if years < 0 { start() - 2 * year } else { start() + 2 * year };
            bench.hand.set(shifted);
            let Outcome { client, server, .. } = bench.connect("h1", "listener");
            assert_eq!(client, Err(TlsFailure::Certificate(refusal)));
            assert_eq!(server, Err(TlsFailure::Alert("CertificateExpired".into())));
        }
    }

    #[test]
    fn a_session_may_write_while_half_a_message_of_the_peer_is_here() {
        let bench = bench();
        // The server's tickets arrive in records of 59 bytes, cut anywhere, while the client is busy writing.
        let server = bench.server("listener").with_fragments_of(64);
        for piece in 1..100 {
            let mut wire = Wire::new(&bench.client("h1"));
            let mut choosing = true;
            while wire.client.is_handshaking() || choosing {
                wire.client.handshake().unwrap();
                if let Handshake::Hello(_) = wire.server.handshake().unwrap() {
                    wire.server.choose(&server).unwrap();
                    choosing = false;
                    continue;
                }
                wire.deliver();
            }
            wire.piece = piece;
            let mut said = Vec::new();
            loop {
                wire.server.handshake().unwrap();
                let mut buffer = [0; 4];
                assert_eq!(wire.client.read(&mut buffer), Ok(Plaintext::Wait));
                assert_eq!(wire.client.write(b"busy"), Ok(4));
                said.extend(b"busy");
                if wire.deliver() == 0 || wire.to_client.is_empty() && !wire.server.is_handshaking() {
                    break;
                }
            }
            wire.piece = usize::MAX;
            let mut received = Vec::new();
            while received.len() < said.len() {
                received.extend(read_all(&mut wire.server).0);
                if wire.deliver() == 0 {
                    received.extend(read_all(&mut wire.server).0);
                    break;
                }
            }
            assert_eq!(received, said, "pieces of {piece}");
        }
    }

    #[test]
    fn keys_are_renewed_when_the_peer_asks_and_data_goes_on_both_ways() {
        let mut wire = bench().connect("h1", "listener").unwrap();
        for round in 0..20u8 {
            let Stage::Running(running) = &mut wire.client.stage else { panic!("the session runs") };
            let Connection::Client(connection) = &mut running.connection else { panic!("a client") };
            let UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(traffic)), .. } =
                connection.process_tls_records(&mut [])
            else {
                panic!("nothing waits");
            };
            traffic.refresh_traffic_keys().unwrap();
            assert_eq!(wire.client.write(&[round; 100]), Ok(100));
            wire.deliver();
            assert_eq!(read_all(&mut wire.server), (vec![round; 100], Ok(Plaintext::Wait)));
            // The answer carries the server's own renewal before it.
            assert_eq!(wire.server.write(&[round; 200]), Ok(200));
            wire.deliver();
            assert_eq!(read_all(&mut wire.client), (vec![round; 200], Ok(Plaintext::Wait)));
        }
    }

    #[test]
    fn whatever_byte_is_changed_on_the_way_nobody_panics_and_no_data_is_made_up() {
        let bench = bench();
        let (client, server) = (bench.client("h1"), bench.server("listener"));
        let clean = connect(&client, &server).unwrap();
        let lengths = [clean.sent_to_server, clean.sent_to_client];
        for (direction, length) in lengths.into_iter().enumerate() {
            for at in (0..length).step_by(5) {
                let mut wire = Wire::new(&client);
                wire.flip = Some((direction, at));
                let mut outcome = wire.handshake(&server);
                let _ = outcome.wire.client.write(b"genuine");
                outcome.wire.deliver();
                let (data, _) = read_all(&mut outcome.wire.server);
                assert!(data.is_empty() || data == b"genuine");
            }
        }
    }

    #[test]
    fn an_idle_session_holds_no_buffer() {
        let mut wire = connect(&bench().client("h1"), &bench().server("listener"));
        assert!(wire.client.is_err(), "another authority");
        wire = bench().connect("h1", "listener");
        let mut wire = wire.unwrap();
        carry(&mut wire, &[7; 100_000]);
        for session in [&wire.client, &wire.server] {
            let held =
                [&session.inbound, &session.outbound, &session.plaintext].map(|buffer| buffer.capacity());
            assert_eq!(held, [0; 3]);
        }
    }
}
