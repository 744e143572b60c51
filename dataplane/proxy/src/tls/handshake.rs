//! Drives rustls through one handshake, then takes the traffic secrets over and lets it go.
//!
//! rustls is shown whole records only, and one more only when it asks for more: data that a peer sends right behind its
//! last handshake message stays as it came, for the record layer.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, Error, HandshakeKind, ProtocolVersion};

use super::buffer::Buffer;
use super::record::{Records, Renewal, Side};
use super::stream::{Alpn, TlsFacts, TlsVersion};
use super::visitor::Visitor;
use super::{ClientTls, ServerTls, TlsFailure};

/// Room for an ordinary handshake message; more where one asks for it.
const MESSAGE_BYTES: usize = 256;
/// A record's header: type, version, length.
const HEADER_BYTES: usize = 5;
/// What a record may say that its length is, in bytes: that of TLS 1.2 (RFC 5246 section 6.2.3).
const RECORD_BYTES_MAX: usize = (16 << 10) + 2048;

/// A handshake that goes on.
pub(super) struct Shaking {
    connection: Connection,
    /// The client's certificate, where one is asked for.
    visitor: Option<Arc<Visitor>>,
    sni: Option<Arc<str>>,
    /// How much of what was received rustls has been shown and still needs.
    shown: usize,
}

enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// How far one turn of the connection came.
enum Turn {
    /// Something happened that asks for another turn.
    Again,
    /// Nothing is left to do with what it was shown.
    Idle,
    /// The peer closed.
    Closed,
}

/// A handshake that is over.
pub(super) struct Shaken {
    /// An error: the keys are agreed on, and the peer is not who may go on with them.
    pub(super) facts: Result<TlsFacts, TlsFailure>,
    pub(super) records: Records,
    #[cfg(test)]
    pub(super) seen: super::stream::Seen,
}

impl Shaking {
    pub(super) fn server(server: &ServerTls, sni: Option<Arc<str>>) -> Result<Self, TlsFailure> {
        let (connection, visitor) = server.connection()?;
        Ok(Self { connection: Connection::Server(connection), visitor, sni, shown: 0 })
    }

    pub(super) fn client(client: &ClientTls) -> Result<Self, TlsFailure> {
        let connection = UnbufferedClientConnection::new(Arc::clone(client.config()), client.name().clone())?;
        Ok(Self { connection: Connection::Client(connection), visitor: None, sni: None, shown: 0 })
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self.connection, Connection::Server(_))
    }

    /// Goes on as far as what was received allows; says whether the handshake is over. After an error the alert that
    /// tells the peer is queued.
    pub(super) fn go_on(&mut self, inbound: &mut Buffer, outbound: &mut Buffer) -> Result<bool, TlsFailure> {
        loop {
            let (used, turn) = self.connection.turn(&mut inbound.filled_mut()[..self.shown], outbound);
            inbound.consume(used);
            self.shown -= used;
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::Idle) if self.connection.state().is_handshaking() => {
                    match next_record(&inbound.filled()[self.shown..]) {
                        Some(length) => self.shown += length,
                        None => return Ok(false),
                    }
                }
                Ok(Turn::Idle) if self.shown == 0 => return Ok(true),
                // Half a message under keys that are not in use any more.
                Ok(Turn::Idle) => {
                    return Err(TlsFailure::Protocol(
                        "a handshake message goes on after the handshake".into(),
                    ));
                }
                Ok(Turn::Closed) => return Err(TlsFailure::Ended),
                Err(error) => {
                    self.connection.queue_alerts(&mut inbound.filled_mut()[..self.shown], outbound);
                    return Err(error.into());
                }
            }
        }
    }

    /// Once it is over.
    pub(super) fn finish(self) -> Result<Shaken, TlsFailure> {
        let facts = self.facts();
        #[cfg(test)]
        let seen = super::stream::Seen::new(self.connection.state());
        let version = self.connection.state().protocol_version().unwrap_or(ProtocolVersion::TLSv1_2);
        let renews = version == ProtocolVersion::TLSv1_3;
        let (secrets, renewal) = match self.connection {
            Connection::Server(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, if renews { Renewal::Server(kernel) } else { Renewal::Never(Side::Server) })
            }
            Connection::Client(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, if renews { Renewal::Client(kernel) } else { Renewal::Never(Side::Client) })
            }
        };
        Ok(Shaken {
            facts,
            records: Records::new(version, secrets, renewal)?,
            #[cfg(test)]
            seen,
        })
    }

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

/// The length of the record at the front, if it is here as a whole. What cannot be a record counts as a whole one:
/// rustls says what is wrong with it, and nothing is waited for.
fn next_record(received: &[u8]) -> Option<usize> {
    let [kind, major, _, high, low] = *received.first_chunk::<HEADER_BYTES>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(20..=23).contains(&kind) || major != 3 || length > RECORD_BYTES_MAX {
        return Some(received.len());
    }
    (received.len() >= HEADER_BYTES + length).then_some(HEADER_BYTES + length)
}

impl Connection {
    fn state(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    /// One step; also how much of `incoming` is used up.
    fn turn(&mut self, incoming: &mut [u8], outbound: &mut Buffer) -> (usize, Result<Turn, Error>) {
        match self {
            Self::Server(connection) => act(connection.process_tls_records(incoming), outbound),
            Self::Client(connection) => act(connection.process_tls_records(incoming), outbound),
        }
    }

    /// After an error: takes the alert that tells the peer, and nothing else.
    fn queue_alerts(&mut self, incoming: &mut [u8], outbound: &mut Buffer) {
        let mut used = 0;
        // While something is to be sent, a turn takes that and does not look at what was received.
        while self.state().wants_write() {
            let (discard, turn) = self.turn(&mut incoming[used..], outbound);
            used += discard;
            if turn.is_err() {
                return;
            }
        }
    }
}

/// Does what one state of the connection asks for.
fn act<Peer>(status: UnbufferedStatus<'_, '_, Peer>, outbound: &mut Buffer) -> (usize, Result<Turn, Error>) {
    let turn = match status.state {
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            let mut room = MESSAGE_BYTES;
            loop {
                match message.encode(outbound.room(room)) {
                    Ok(count) => {
                        outbound.extend(count);
                        break Ok(Turn::Again);
                    }
                    Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                        room = needed.required_size;
                    }
                    Err(_) => break Err(Error::General("a message that cannot be encoded".into())),
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            // Outbound bytes leave in order, so what is queued counts as sent.
            transmit.done();
            Ok(Turn::Again)
        }
        Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => Ok(Turn::Idle),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Turn::Closed),
        // Data is not shown to it, and early data is off on both sides.
        Ok(_) => Err(Error::General("unexpected state".into())),
        Err(error) => Err(error),
    };
    (status.discard, turn)
}
