//! Opens records: from what was received straight into the caller's memory, in one pass, or in place where that is too
//! small. Nothing of a record that does not hold is ever given out.

use std::ops::Range;

use aws_lc_rs::aead::{Aad, Nonce};

use super::broken::Broken;
use super::keys::{HEADER_BYTES, Key, Layout, TAG_BYTES};
use super::limits::{PLAINTEXT_BYTES_MAX, PROTECTED_BYTES_MAX};
use super::{ALERT, APPLICATION_DATA, HANDSHAKE, Kind};

/// A record that is here as a whole and not opened yet: places in it, from the first byte of its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    header: [u8; HEADER_BYTES],
    /// What is encrypted, without the tag.
    content: Range<usize>,
}

/// What a record held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) kind: Kind,
    /// Bytes of plaintext, without content type and padding.
    pub(super) length: usize,
}

impl Sealed {
    /// The record at the front. `None`: more must come first. What can be known by the header alone is refused by it;
    /// its version says nothing, but is authenticated with the rest.
    pub(super) fn find(key: &Key, received: &[u8]) -> Result<Option<Self>, Broken> {
        let Some(header) = received.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [outer, _, _, high, low] = *header;
        match (key.layout, outer) {
            (_, APPLICATION_DATA) => {}
            (Layout::Tls12Explicit | Layout::Tls12, ALERT | HANDSHAKE) => {}
            // In TLS 1.3 all types are hidden behind that of data, and a change_cipher_spec after the handshake has no
            // place in either version.
            _ => return Err(Broken::Unexpected("a record of a type that has no place after the handshake")),
        }
        let protected = usize::from(u16::from_be_bytes([high, low]));
        if protected > PROTECTED_BYTES_MAX {
            return Err(Broken::Overflow);
        }
        let start = HEADER_BYTES + key.prefix_bytes();
        let end = HEADER_BYTES + protected;
        let shortest = if key.layout == Layout::Tls13 { 1 } else { 0 };
        if end < start + shortest + TAG_BYTES {
            // Too short to hold a tag, so none can be right.
            return Err(Broken::BadMac);
        }
        if received.len() < end {
            return Ok(None);
        }
        Ok(Some(Self { header: *header, content: start..end - TAG_BYTES }))
    }

    /// With header and tag.
    pub(super) fn record_bytes(&self) -> usize {
        self.content.end + TAG_BYTES
    }

    /// Where the plaintext is after [`Sealed::open_here`].
    pub(super) fn content_start(&self) -> usize {
        self.content.start
    }

    /// What must be free at least for [`Sealed::open_into`].
    pub(super) fn room_bytes(&self) -> usize {
        self.content.len()
    }

    /// Opens it into other memory. What was there is lost up to [`Sealed::room_bytes`], whatever comes of it.
    pub(super) fn open_into(
        &self,
        key: &mut Key,
        received: &[u8],
        into: &mut [u8],
    ) -> Result<Opened, Broken> {
        let into = &mut into[..self.content.len()];
        let (nonce, additional) = self.envelope(key, received);
        let tag = &received[self.content.end..self.record_bytes()];
        key.aead
            .open_separate_gather(nonce, additional, &received[self.content.clone()], tag, into)
            .map_err(|_| Broken::BadMac)?;
        self.read(key, into)
    }

    /// Opens it where it is.
    pub(super) fn open_here(&self, key: &mut Key, received: &mut [u8]) -> Result<Opened, Broken> {
        let (nonce, additional) = self.envelope(key, received);
        let sealed = &mut received[self.content.start..self.record_bytes()];
        let plaintext = key.aead.open_in_place(nonce, additional, sealed).map_err(|_| Broken::BadMac)?;
        self.read(key, plaintext)
    }

    fn envelope(&self, key: &Key, received: &[u8]) -> (Nonce, Aad<super::keys::Additional>) {
        let nonce = key.nonce_with(&received[HEADER_BYTES..self.content.start]);
        let additional = key.additional(self.header, self.content.len());
        (Nonce::assume_unique_for_key(nonce), Aad::from(additional))
    }

    /// Says what the plaintext of a record that holds is.
    fn read(&self, key: &mut Key, plaintext: &[u8]) -> Result<Opened, Broken> {
        key.advance()?;
        if key.layout != Layout::Tls13 {
            if plaintext.len() > PLAINTEXT_BYTES_MAX {
                return Err(Broken::Overflow);
            }
            return Ok(Opened { kind: self.header[0], length: plaintext.len() });
        }
        // With content type and padding (RFC 8446 section 5.4).
        if plaintext.len() > PLAINTEXT_BYTES_MAX + 1 {
            return Err(Broken::Overflow);
        }
        let length = plaintext.iter().rposition(|byte| *byte != 0);
        let length = length.ok_or(Broken::Unexpected("a record without a content type"))?;
        Ok(Opened { kind: plaintext[length], length })
    }
}
