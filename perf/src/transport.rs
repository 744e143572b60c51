//! A socket, with TLS on it or not: bytes in to whoever speaks, bytes out from what waits. For both ends.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;

use rustls::{Connection, HandshakeKind};

use crate::cause::Cause;
use crate::outgoing::Outgoing;

/// A socket that never blocks, and its TLS.
pub(crate) struct Transport {
    socket: TcpStream,
    tls: Option<Box<Connection>>,
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The buffer was filled: there may be more.
    Full,
    /// All that was there.
    All,
    /// There was nothing.
    Nothing,
    /// The other side has sent all it will.
    End,
}

impl Transport {
    pub(crate) fn new(socket: TcpStream, tls: Option<Connection>) -> Self {
        Self { socket, tls: tls.map(Box::new) }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether bytes of a protocol may pass yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether TLS chose this protocol.
    pub(crate) fn chose(&self, protocol: &[u8]) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.alpn_protocol() == Some(protocol))
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the session is one that was resumed.
    pub(crate) fn resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Reads once, by way of `scratch`, and calls `feed` with what came of the protocol.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        mut feed: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<Reading, Cause> {
        let count = match self.socket.read(scratch) {
            Ok(0) => return Ok(Reading::End),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Reading::Full),
            Err(error) => return Err(error.into()),
        };
        let mut came = &scratch[..count];
        match &mut self.tls {
            None => feed(came)?,
            Some(tls) => {
                while !came.is_empty() {
                    let taken = tls.read_tls(&mut came).map_err(|_| Cause::Tls)?;
                    let handshaking = tls.is_handshaking();
                    let failed = if handshaking { Cause::Handshake } else { Cause::Tls };
                    let state = tls.process_new_packets().map_err(|_| failed)?;
                    let mut left = state.plaintext_bytes_to_read();
                    while left > 0 {
                        let mut reader = tls.reader();
                        let plain = reader.fill_buf().map_err(|_| Cause::Tls)?;
                        let length = plain.len();
                        feed(plain)?;
                        reader.consume(length);
                        left = left.saturating_sub(length);
                        if length == 0 {
                            break;
                        }
                    }
                    if taken == 0 {
                        // After the end of the TLS connection nothing that comes has a meaning.
                        return Ok(Reading::End);
                    }
                    if state.peer_has_closed() {
                        return Ok(Reading::End);
                    }
                }
            }
        }
        Ok(if count == scratch.len() { Reading::Full } else { Reading::All })
    }

    /// Writes what waits, as much as the socket takes. True: all of it.
    pub(crate) fn flush(&mut self, out: &mut Outgoing) -> Result<bool, Cause> {
        match &mut self.tls {
            None => {
                while !out.is_empty() {
                    match out.write(|pieces| self.socket.write_vectored(pieces)) {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Some(tls) => loop {
                while tls.wants_write() {
                    match tls.write_tls(&mut self.socket) {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                if out.is_empty() || tls.is_handshaking() {
                    break;
                }
                out.write(|pieces| tls.writer().write_vectored(pieces)).map_err(|_| Cause::Tls)?;
            },
        }
        Ok(out.is_empty())
    }

    /// Says goodbye, as far as it can be said without waiting.
    pub(crate) fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _the_socket_may_be_gone = tls.write_tls(&mut self.socket);
        }
    }
}
