//! The record layer after the handshake: ours, so that data is sealed and opened without a copy and a quiet connection
//! keeps two keys instead of a TLS library.
//!
//! Data goes from the caller's memory to the queue for sending in the pass that encrypts it, and from what was received
//! to the caller's memory in the pass that decrypts it. This is security code, and what it must never do is short:
//! give out a byte that was not authenticated, in its place; use a nonce twice; go on after an error.
//!
//! `keys` has nonces and additional data, `seal` and `open` the records, `messages` what else a peer may say, `limits`
//! the numbers, `broken` the ways to end. A kernel's record layer would be another stage of the session beside this.

use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion};

use super::buffer::Buffer;

mod broken;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keys;
pub(super) mod limits;
mod messages;
mod open;
mod renewal;
mod seal;
#[cfg(test)]
mod tests;

pub(super) use broken::{Broken, CLOSE_NOTIFY};
pub(super) use messages::Side;
pub(super) use renewal::Renewal;

use keys::{Key, Layout};
use limits::{FRUITLESS_MAX, OVERHEAD_BYTES_MAX, PLAINTEXT_BYTES_MAX};
use messages::{Alert, Message};
use open::Sealed;

/// A content type, as on the wire.
type Kind = u8;
const ALERT: Kind = 21;
const HANDSHAKE: Kind = 22;
const APPLICATION_DATA: Kind = 23;

/// Both directions of a connection whose handshake is over.
pub(super) struct Records {
    sending: Key,
    receiving: Key,
    version: ProtocolVersion,
    renewal: Renewal,
    /// The peer asked for new keys of ours: before the next data.
    owes_key_update: bool,
    /// What came in a row without data.
    fruitless: u8,
    /// A handshake message that is not complete yet.
    partial: Vec<u8>,
    /// Plaintext at the front of what was received: the rest of a record that was larger than the caller's memory.
    left: usize,
    /// What follows it of the same record.
    left_over: usize,
}

/// Where reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More must be received first.
    Wait,
    /// The caller's memory is full, or what comes next does not fit into the rest of it.
    Full,
    /// The peer will send no more.
    Closed,
}

impl Records {
    pub(super) fn new(
        version: ProtocolVersion,
        secrets: ExtractedSecrets,
        renewal: Renewal,
    ) -> Result<Self, Broken> {
        Ok(Self::of(version, Key::new(version, secrets.tx)?, Key::new(version, secrets.rx)?, renewal))
    }

    fn of(version: ProtocolVersion, sending: Key, receiving: Key, renewal: Renewal) -> Self {
        Self {
            sending,
            receiving,
            version,
            renewal,
            owes_key_update: false,
            fruitless: 0,
            partial: Vec::new(),
            left: 0,
            left_over: 0,
        }
    }

    /// Opens what was received, as much as there is memory for. What was opened before a failure is genuine, so the
    /// count holds in either case.
    pub(super) fn read(&mut self, inbound: &mut Buffer, into: &mut [u8]) -> (usize, Result<Stop, Broken>) {
        let mut count = self.take_left(inbound, into);
        loop {
            if self.left > 0 || count == into.len() {
                return (count, Ok(Stop::Full));
            }
            match self.read_record(inbound, into, &mut count) {
                Ok(None) => {}
                Ok(Some(stop)) => return (count, Ok(stop)),
                Err(broken) => return (count, Err(broken)),
            }
        }
    }

    /// `None`: there may be more.
    fn read_record(
        &mut self,
        inbound: &mut Buffer,
        into: &mut [u8],
        count: &mut usize,
    ) -> Result<Option<Stop>, Broken> {
        let Some(sealed) = Sealed::find(&self.receiving, inbound.filled())? else {
            return Ok(Some(Stop::Wait));
        };
        let room = &mut into[*count..];
        if sealed.room_bytes() <= room.len() {
            let opened = sealed.open_into(&mut self.receiving, inbound.filled(), room)?;
            inbound.consume(sealed.record_bytes());
            if opened.kind == APPLICATION_DATA {
                self.count_data(opened.length)?;
                *count += opened.length;
                return Ok(None);
            }
            return self.hear(opened.kind, &room[..opened.length]);
        }
        if *count > 0 {
            // It will fit next time, without the copy.
            return Ok(Some(Stop::Full));
        }
        let opened = sealed.open_here(&mut self.receiving, inbound.filled_mut())?;
        let start = sealed.content_start();
        if opened.kind == APPLICATION_DATA {
            self.count_data(opened.length)?;
            inbound.consume(start);
            self.left = opened.length;
            self.left_over = sealed.record_bytes() - start - opened.length;
            *count = self.take_left(inbound, into);
            return Ok(None);
        }
        let heard = self.hear(opened.kind, &inbound.filled()[start..start + opened.length]);
        inbound.consume(sealed.record_bytes());
        heard
    }

    /// Takes of a record that is open already.
    fn take_left(&mut self, inbound: &mut Buffer, into: &mut [u8]) -> usize {
        let count = self.left.min(into.len());
        into[..count].copy_from_slice(&inbound.filled()[..count]);
        inbound.consume(count);
        self.left -= count;
        if self.left == 0 {
            inbound.consume(std::mem::take(&mut self.left_over));
        }
        count
    }

    fn count_data(&mut self, length: usize) -> Result<(), Broken> {
        if !self.partial.is_empty() {
            return Err(Broken::Unexpected("data inside a handshake message"));
        }
        if length == 0 {
            return self.count_fruitless();
        }
        self.fruitless = 0;
        Ok(())
    }

    fn count_fruitless(&mut self) -> Result<(), Broken> {
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_MAX {
            return Err(Broken::Unexpected("too much in a row that brings no data"));
        }
        Ok(())
    }

    fn hear(&mut self, kind: Kind, content: &[u8]) -> Result<Option<Stop>, Broken> {
        if kind != HANDSHAKE && !self.partial.is_empty() {
            return Err(Broken::Unexpected("another record inside a handshake message"));
        }
        match kind {
            ALERT => match messages::alert(self.receiving.layout, content)? {
                Alert::CloseNotify => Ok(Some(Stop::Closed)),
                Alert::Ignored => self.count_fruitless().map(|()| None),
            },
            HANDSHAKE if content.is_empty() => Err(Broken::Unexpected("an empty handshake record")),
            HANDSHAKE => {
                // Out of `self` while its messages are acted on; back with what is not complete yet.
                let mut partial = std::mem::take(&mut self.partial);
                partial.extend_from_slice(content);
                let used = self.hear_messages(&partial)?;
                partial.drain(..used);
                if !partial.is_empty() {
                    self.partial = partial;
                }
                Ok(None)
            }
            _ => Err(Broken::Unexpected("a record of a type that has no place after the handshake")),
        }
    }

    /// Acts on complete messages; says how many bytes they had.
    fn hear_messages(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut rest = bytes;
        while let Some((message, next)) = messages::message(self.receiving.layout, self.renewal.side(), rest)?
        {
            rest = next;
            self.count_fruitless()?;
            match message {
                // What follows would be under two keys at once (RFC 8446 section 5.1).
                Message::KeyUpdate { .. } if !rest.is_empty() => {
                    return Err(Broken::Unexpected("a key update that is not the last of its record"));
                }
                Message::KeyUpdate { requested } => {
                    let secrets = self.renewal.receiving()?;
                    self.receiving = self.next_key(&self.receiving, secrets)?;
                    self.owes_key_update |= requested;
                }
                Message::Ticket(ticket) => self.renewal.keep_ticket(ticket)?,
                Message::HelloRequest => {}
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// Seals data, `first` before `second`, while whole records fit into the queue; says how much was taken.
    pub(super) fn write(
        &mut self,
        first: &[u8],
        second: &[u8],
        outbound: &mut Buffer,
        queued_bytes_max: usize,
    ) -> Result<usize, Broken> {
        let (mut first, mut second) = (first, second);
        let mut taken = 0;
        while !(first.is_empty() && second.is_empty()) {
            let record = (first.len() + second.len()).min(PLAINTEXT_BYTES_MAX);
            if !outbound.is_empty() && outbound.len() + record + OVERHEAD_BYTES_MAX > queued_bytes_max {
                break;
            }
            if let Err(broken) = self.renew_if_due(outbound) {
                // What was taken is sealed and counts; the next call meets the failure again.
                return if taken > 0 { Ok(taken) } else { Err(broken) };
            }
            let (from_first, rest_of_first) = first.split_at(record.min(first.len()));
            let (from_second, rest_of_second) =
                second.split_at((record - from_first.len()).min(second.len()));
            seal::seal(&mut self.sending, APPLICATION_DATA, from_first, from_second, outbound)?;
            taken += from_first.len() + from_second.len();
            (first, second) = (rest_of_first, rest_of_second);
        }
        Ok(taken)
    }

    /// Queues an alert. The last thing that is sent.
    pub(super) fn alert(&mut self, alert: [u8; 2], outbound: &mut Buffer) {
        // Nothing can be said under a key that can seal no more.
        let _ = seal::seal(&mut self.sending, ALERT, &alert, &[], outbound);
    }

    /// Before data: a new key if the peer asked for one, or the old one has one record left: that one says so.
    fn renew_if_due(&mut self, outbound: &mut Buffer) -> Result<(), Broken> {
        if self.owes_key_update || self.sending.records_left() <= 1 {
            self.renew_sending(outbound, false)?;
        }
        Ok(())
    }

    /// Says that our next records have a new key, and asks for a new one of the peer if wanted.
    pub(super) fn renew_sending(&mut self, outbound: &mut Buffer, request: bool) -> Result<(), Broken> {
        // First, because it fails where no key can be renewed.
        let secrets = self.renewal.sending()?;
        seal::seal(&mut self.sending, HANDSHAKE, &messages::key_update(request), &[], outbound)?;
        self.sending = self.next_key(&self.sending, secrets)?;
        self.owes_key_update = false;
        Ok(())
    }

    fn next_key(&self, old: &Key, secrets: (u64, ConnectionTrafficSecrets)) -> Result<Key, Broken> {
        debug_assert!(old.layout == Layout::Tls13, "only TLS 1.3 renews keys");
        let mut next = Key::new(self.version, secrets)?;
        next.records_max = old.records_max;
        Ok(next)
    }

    #[cfg(test)]
    pub(super) fn limit_records(&mut self, records_max: u64) {
        self.sending.records_max = records_max;
    }
}
