//! One TLS connection without its I/O: bytes in, bytes out.
//!
//! The caller moves ciphertext between the session and a socket ([`TlsSession::fill`], [`TlsSession::flush`]) and
//! plaintext between the session and itself ([`TlsSession::read`], [`TlsSession::write`]); the session never waits and
//! holds no buffer while it is idle. rustls makes the handshake (`handshake`); then the record layer takes its place
//! (`record`) and rustls is gone.
//!
//! A server session begins with [`TlsSession::accepting`]: the hello comes first, the listener is chosen by it, then
//! [`TlsSession::choose`] goes on. An end of the transport without the peer's close_notify is told apart from a clean
//! one: [`Plaintext::Truncated`].

use std::io::{self, IoSlice};
use std::sync::Arc;

use ringway_core::PeerIdentity;
use rustls::server::Acceptor;

use super::buffer::Buffer;
use super::handshake::Shaking;
use super::record::limits::{OVERHEAD_BYTES_MAX, PLAINTEXT_BYTES_MAX};
use super::record::{Broken, CLOSE_NOTIFY, Records, Stop};
use super::{ClientTls, ServerTls, TlsFailure};

/// Ciphertext queued for sending, in bytes: four full records. Full: `write` takes nothing until `flush` made room.
const OUTBOUND_BYTES_MAX: usize = 4 * (PLAINTEXT_BYTES_MAX + OVERHEAD_BYTES_MAX);
/// Ciphertext received and not yet processed, in bytes: the longest handshake message (64 KiB) with the overhead of its
/// records. Full: the session fails.
const INBOUND_BYTES_MAX: usize = 96 << 10;
/// A client hello, in bytes. Post-quantum ones have about 2 KiB. Longer: the session fails.
const HELLO_BYTES_MAX: usize = 32 << 10;
/// What a record of any size can be opened into: its plaintext and what TLS 1.3 hides behind that.
pub const OPEN_BYTES: usize = PLAINTEXT_BYTES_MAX + 1;
/// The smallest room that a receive is tried with: a record header with the first bytes of a record.
const RECEIVE_BYTES_MIN: usize = 1 << 10;

/// A TLS connection, ours to one side and ciphertext to the other.
pub struct TlsSession {
    stage: Stage,
    /// Ciphertext that was received.
    inbound: Buffer,
    /// Ciphertext to send.
    outbound: Buffer,
    /// All that is to be sent are tickets: they leave with the first thing that we say.
    unhurried: bool,
    /// The transport said that no more will come.
    ended: bool,
    /// The peer said so, with close_notify.
    peer_closed: bool,
    /// We said so.
    closing: bool,
    /// Once failed, a session stays failed.
    failure: Option<TlsFailure>,
    #[cfg(test)]
    seen: Option<Seen>,
}

enum Stage {
    /// A server before its hello.
    Accepting { acceptor: Box<Acceptor>, fed: usize },
    /// A server that waits for [`TlsSession::choose`].
    Choosing(Hello),
    /// The handshake, by rustls.
    Shaking(Box<Shaking>),
    /// Data, by our own record layer.
    Open(Box<Open>),
    /// Refused or failed.
    Over,
}

struct Open {
    records: Records,
    facts: TlsFacts,
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

    pub(super) fn parse(wire: &[u8]) -> Option<Self> {
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

impl TlsSession {
    /// A server session that waits for a client's hello.
    pub fn accepting() -> Self {
        Self::new(Stage::Accepting { acceptor: Box::default(), fed: 0 })
    }

    /// A client session. Its hello is ready to be flushed after the first [`TlsSession::handshake`].
    pub fn connecting(client: &ClientTls) -> Result<Self, TlsFailure> {
        Ok(Self::new(Stage::Shaking(Box::new(Shaking::client(client)?))))
    }

    fn new(stage: Stage) -> Self {
        Self {
            stage,
            inbound: Buffer::default(),
            outbound: Buffer::default(),
            unhurried: false,
            ended: false,
            peer_closed: false,
            closing: false,
            failure: None,
            #[cfg(test)]
            seen: None,
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
        while self.wants_write() {
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
        !self.outbound.is_empty() && !self.unhurried
    }

    /// Whether data may not be exchanged yet.
    pub fn is_handshaking(&self) -> bool {
        self.facts().is_none()
    }

    /// What the handshake showed, once it is done.
    pub fn facts(&self) -> Option<&TlsFacts> {
        match &self.stage {
            Stage::Open(open) => Some(&open.facts),
            Stage::Accepting { .. } | Stage::Choosing(_) | Stage::Shaking(_) | Stage::Over => None,
        }
    }

    /// Goes on with the handshake as far as the received bytes allow. After an error, flush the alert and close.
    pub fn handshake(&mut self) -> Result<Handshake, TlsFailure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match &mut self.stage {
            Stage::Accepting { .. } => self.read_hello()?,
            Stage::Shaking(_) => self.shake_hands()?,
            Stage::Choosing(_) | Stage::Open(_) | Stage::Over => {}
        }
        self.inbound.settle();
        match &self.stage {
            Stage::Choosing(hello) => Ok(Handshake::Hello(hello.clone())),
            Stage::Open(_) => Ok(Handshake::Done),
            Stage::Accepting { .. } | Stage::Shaking(_) | Stage::Over if self.ended => {
                Err(self.fail(TlsFailure::Ended))
            }
            Stage::Accepting { .. } | Stage::Shaking(_) | Stage::Over => Ok(Handshake::Wait),
        }
    }

    /// Goes on as this listener. Only after [`Handshake::Hello`]; otherwise nothing happens.
    pub fn choose(&mut self, server: &ServerTls) -> Result<(), TlsFailure> {
        let Stage::Choosing(hello) = &mut self.stage else { return Ok(()) };
        match Shaking::server(server, hello.sni.take()) {
            Ok(shaking) => {
                self.stage = Stage::Shaking(Box::new(shaking));
                Ok(())
            }
            Err(failure) => Err(self.fail(failure)),
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
            Stage::Shaking(_) | Stage::Open(_) | Stage::Over => Vec::new(),
        }
    }

    /// Takes plaintext. `into` is not empty. Data that came before a failure is given first.
    ///
    /// A record is opened straight into `into` where that is large enough; with [`OPEN_BYTES`] it always is. Behind the
    /// bytes that are counted, `into` may have been written to as well.
    pub fn read(&mut self, into: &mut [u8]) -> Result<Plaintext, TlsFailure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let Stage::Open(open) = &mut self.stage else { return Ok(self.nothing_read()) };
        let (count, outcome) = open.records.read(&mut self.inbound, into);
        match outcome {
            Ok(Stop::Wait | Stop::Full) => {}
            Ok(Stop::Closed) => {
                // "Any data received after a closure alert has been received MUST be ignored."
                self.inbound.consume(self.inbound.len());
                self.peer_closed = true;
            }
            Err(broken) => {
                let failure = self.break_off(broken);
                if count == 0 {
                    return Err(failure);
                }
            }
        }
        self.inbound.settle();
        Ok(if count > 0 { Plaintext::Bytes(count) } else { self.nothing_read() })
    }

    fn nothing_read(&self) -> Plaintext {
        match (self.peer_closed, self.ended) {
            (true, _) => Plaintext::Closed,
            (false, true) => Plaintext::Truncated,
            (false, false) => Plaintext::Wait,
        }
    }

    /// The same as [`write`](Self::write) for what fits into one record: all of it, or nothing. After `false`, `write`
    /// says what is wrong.
    pub fn write_whole(&mut self, first: &[u8], second: &[u8]) -> bool {
        let bytes = first.len() + second.len();
        bytes <= PLAINTEXT_BYTES_MAX && matches!(self.write(first, second), Ok(taken) if taken == bytes)
    }

    /// Takes plaintext to send, `first` and then `second`; says how much. Less than all, perhaps nothing: flush first.
    /// What was taken is sealed at once, both together in as few records as can be, and waits for
    /// [`TlsSession::flush`].
    pub fn write(&mut self, first: &[u8], second: &[u8]) -> Result<usize, TlsFailure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.closing {
            return Err(TlsFailure::Closed);
        }
        let Stage::Open(open) = &mut self.stage else {
            return Err(TlsFailure::Internal("written before the handshake is done".into()));
        };
        self.unhurried = false;
        let written = open.records.write(first, second, &mut self.outbound, OUTBOUND_BYTES_MAX);
        written.map_err(|broken| self.break_off(broken))
    }

    /// Says that nothing more will be written: queues close_notify. Before the handshake is done there is nothing to
    /// say. Reading goes on.
    pub fn close(&mut self) {
        if self.failure.is_some() || self.closing {
            return;
        }
        let Stage::Open(open) = &mut self.stage else { return };
        open.records.alert(CLOSE_NOTIFY, &mut self.outbound);
        self.unhurried = false;
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
        let Stage::Shaking(shaking) = &mut self.stage else { return Ok(()) };
        let nothing_waited = self.outbound.is_empty();
        match shaking.go_on(&mut self.inbound, &mut self.outbound) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(failure) => return Err(self.fail(failure)),
        }
        let Stage::Shaking(shaking) = std::mem::replace(&mut self.stage, Stage::Over) else { return Ok(()) };
        let server = shaking.is_server();
        let mut shaken = shaking.finish().map_err(|failure| self.fail(failure))?;
        match shaken.facts {
            Ok(facts) => {
                // In TLS 1.3 the server's last word was said before; what there is now are tickets.
                self.unhurried = server && nothing_waited && facts.version == TlsVersion::Tls13;
                self.outbound.settle();
                self.stage = Stage::Open(Box::new(Open { records: shaken.records, facts }));
                #[cfg(test)]
                {
                    self.seen = Some(shaken.seen);
                }
                Ok(())
            }
            Err(failure) => {
                shaken.records.alert(Broken::Unwelcome.alert().unwrap_or(CLOSE_NOTIFY), &mut self.outbound);
                Err(self.fail(failure))
            }
        }
    }

    /// Tells the peer why, as the last thing.
    fn break_off(&mut self, broken: Broken) -> TlsFailure {
        if let (Stage::Open(open), Some(alert)) = (&mut self.stage, broken.alert()) {
            open.records.alert(alert, &mut self.outbound);
        }
        self.fail(broken.into())
    }

    fn fail(&mut self, failure: TlsFailure) -> TlsFailure {
        // Nothing of what was received will be processed any more.
        self.inbound.consume(self.inbound.len());
        self.inbound.settle();
        self.unhurried = false;
        self.stage = Stage::Over;
        self.failure.insert(failure).clone()
    }
}

/// What tests want to know of a handshake, and nobody else.
#[cfg(test)]
pub(super) struct Seen {
    certificate: Option<Vec<u8>>,
    group: Option<rustls::NamedGroup>,
}

#[cfg(test)]
impl Seen {
    pub(super) fn new(state: &rustls::CommonState) -> Self {
        Self {
            certificate: state.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec())),
            group: state.negotiated_key_exchange_group().map(|group| group.name()),
        }
    }
}

#[cfg(test)]
impl TlsSession {
    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        self.seen.as_ref()?.certificate.as_deref()
    }

    pub(super) fn key_exchange(&self) -> Option<rustls::NamedGroup> {
        self.seen.as_ref()?.group
    }

    /// What a key of ours may protect, from now on.
    pub(super) fn limit_records(&mut self, records_max: u64) {
        let Stage::Open(open) = &mut self.stage else { panic!("the handshake is done") };
        open.records.limit_records(records_max);
    }

    /// Lets tickets go that wait for company.
    pub(super) fn hurry(&mut self) {
        self.unhurried = false;
    }

    /// Renews our keys now; asks for new ones of the peer, or not.
    pub(super) fn renew_keys(&mut self, request: bool) {
        let Stage::Open(open) = &mut self.stage else { panic!("the handshake is done") };
        open.records.renew_sending(&mut self.outbound, request).unwrap();
        self.unhurried = false;
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
            sent += wire.client.write(&data[sent..], &[]).unwrap();
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
        assert_eq!(wire.client.write(&blob, &[]).unwrap(), blob.len());
        wire.deliver();
        // Three records wait at the server, unread, while it writes.
        for _ in 0..10 {
            assert_eq!(wire.server.write(b"answer", &[]).unwrap(), 6);
        }
        assert!(wire.server.inbound.len() > blob.len());
        wire.deliver();
        assert_eq!(read_all(&mut wire.client), (b"answer".repeat(10), Ok(Plaintext::Wait)));
        // A caller with a small buffer gets a record in parts.
        let mut small = [0; 100];
        assert_eq!(wire.server.read(&mut small), Ok(Plaintext::Bytes(100)));
        assert_eq!(wire.server.write(b"more", &[]).unwrap(), 4);
        let (rest, state) = read_all(&mut wire.server);
        assert_eq!((rest.len(), state), (blob.len() - 100, Ok(Plaintext::Wait)));
    }

    #[test]
    fn tickets_leave_with_the_first_thing_that_the_server_says_and_no_sooner() {
        let bench = bench();
        for last_word in [false, true] {
            let mut wire = Wire::new(&bench.client("h1"));
            while wire.client.is_handshaking() || wire.server.is_handshaking() {
                wire.client.handshake().unwrap();
                if let Handshake::Hello(_) = wire.server.handshake().unwrap() {
                    wire.server.choose(&bench.server("listener")).unwrap();
                }
                wire.deliver();
            }
            assert!(!wire.server.wants_write() && !wire.server.outbound.is_empty());
            assert!(wire.server.outbound.capacity() < 1024, "no block is held for them");
            flush(&mut wire.server, &mut wire.to_client);
            assert_eq!(wire.to_client, []);
            let tickets = wire.server.outbound.len();
            if last_word {
                wire.server.close();
            } else {
                wire.server.write(b"answer", &[]).unwrap();
            }
            flush(&mut wire.server, &mut wire.to_client);
            assert!(wire.to_client.len() > tickets);
        }
    }

    #[test]
    fn what_waits_to_be_sent_is_bounded() {
        let mut wire = bench().connect("h1", "listener").unwrap();
        let blob = vec![7; 1 << 20];
        let taken = wire.client.write(&blob, &[]).unwrap();
        assert_eq!(taken, 4 * PLAINTEXT_BYTES_MAX);
        assert_eq!(wire.client.write(&blob, &[]), Ok(0));
        assert!(wire.client.outbound.len() <= OUTBOUND_BYTES_MAX);
        flush(&mut wire.client, &mut wire.to_server);
        assert!(!wire.client.wants_write());
        assert_eq!(wire.client.write(&blob, &[]), Ok(4 * PLAINTEXT_BYTES_MAX));
    }

    #[test]
    fn a_transport_that_takes_a_little_at_a_time_loses_nothing() {
        let mut wire = bench().connect("h1", "listener").unwrap();
        wire.client.write(&[7; 5000], &[]).unwrap();
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
        wire.client.write(b"all of it", &[]).unwrap();
        wire.client.close();
        assert_eq!(wire.client.write(b"more", &[]), Err(TlsFailure::Closed));
        wire.deliver();
        assert_eq!(read_all(&mut wire.server), (b"all of it".to_vec(), Ok(Plaintext::Closed)));
        end(&mut wire.server);
        assert_eq!(read_all(&mut wire.server), (vec![], Ok(Plaintext::Closed)));
        // The other direction is still open.
        assert_eq!(wire.server.write(b"answer", &[]), Ok(6));
        wire.server.close();
        wire.deliver();
        assert_eq!(read_all(&mut wire.client), (b"answer".to_vec(), Ok(Plaintext::Closed)));

        let mut wire = bench.connect("h1", "listener").unwrap();
        wire.client.write(&[7; 20_000], &[]).unwrap();
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
        wire.client.write(b"genuine", &[]).unwrap();
        flush(&mut wire.client, &mut wire.to_server);
        let first = wire.to_server.len();
        wire.client.write(b"touched", &[]).unwrap();
        flush(&mut wire.client, &mut wire.to_server);
        wire.to_server[first + 7] ^= 1;
        wire.deliver();
        let (data, state) = read_all(&mut wire.server);
        assert_eq!(data, b"genuine");
        assert!(matches!(state, Err(TlsFailure::Protocol(_))), "{state:?}");
        assert_eq!(wire.server.write(b"x", &[]), Err(state.clone().unwrap_err()));
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
                assert_eq!(wire.client.write(b"busy", &[]), Ok(4));
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
            wire.client.renew_keys(true);
            assert_eq!(wire.client.write(&[round; 100], &[]), Ok(100));
            wire.deliver();
            assert_eq!(read_all(&mut wire.server), (vec![round; 100], Ok(Plaintext::Wait)));
            // The answer carries the server's own renewal before it.
            assert_eq!(wire.server.write(&[round; 200], &[]), Ok(200));
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
                let _ = outcome.wire.client.write(b"genuine", &[]);
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
            assert_eq!([&session.inbound, &session.outbound].map(|buffer| buffer.capacity()), [0; 2]);
        }
    }
}
