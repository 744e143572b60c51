//! Frames of a WebSocket: read in whatever pieces they come, and written whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cause::Cause;

/// Bytes of a message that is kept.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What a key is hashed with (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A message, or its last part; earlier parts are counted in `size`.
    Message {
        payload: &'a [u8],
        size: u64,
    },
    Ping(&'a [u8]),
    Close,
}

/// Reads one direction.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    part: Vec<u8>,
    /// Bytes of the message's earlier frames.
    size: u64,
}

impl Frames {
    /// Takes bytes and calls `came` with each frame.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        mut came: impl FnMut(Frame<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        self.part.extend_from_slice(input);
        let mut part = std::mem::take(&mut self.part);
        let mut at = 0;
        while let Some((head, length)) = head(&part[at..])? {
            let (kind, fin) = (payload_kind(part[at]), part[at] & FIN != 0);
            let masked = part[at + 1] & MASKED != 0;
            let (before, rest) = part[at..].split_at_mut(head);
            let Some(payload) = rest.get_mut(..length) else { break };
            if masked {
                let mask = &before[head - 4..];
                for (index, byte) in payload.iter_mut().enumerate() {
                    *byte ^= mask[index % 4];
                }
            }
            let payload = &*payload;
            match kind {
                PING => came(Frame::Ping(payload))?,
                PONG => {}
                CLOSE => came(Frame::Close)?,
                _ if !fin => self.size += length as u64,
                _ => {
                    let size = std::mem::take(&mut self.size) + length as u64;
                    came(Frame::Message { payload, size })?;
                }
            }
            at += head + length;
        }
        part.drain(..at);
        self.part = part;
        Ok(())
    }
}

fn payload_kind(first: u8) -> u8 {
    first & 0x0f
}

/// The lengths of a frame's head and of its payload, once they are there.
fn head(bytes: &[u8]) -> Result<Option<(usize, usize)>, Cause> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 || !matches!(payload_kind(*first), CONTINUATION..=BINARY | CLOSE..=PONG) {
        return Err(Cause::Malformed("websocket frame"));
    }
    let mask = if second & MASKED != 0 { 4 } else { 0 };
    let (extra, length) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (2, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (8, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        length => (0, u64::from(length)),
    };
    if length > MESSAGE_BYTES_MAX {
        return Err(Cause::Malformed("websocket frame"));
    }
    let head = 2 + extra + mask;
    Ok((bytes.len() >= head).then_some((head, length as usize)))
}

/// A frame. Who masks, as clients must, does so with zeros: the mask is there for caches in the way, of which there are
/// none here, and it leaves the payload as it is.
pub(crate) fn push(out: &mut Vec<u8>, kind: u8, payload: &[u8], masked: bool) {
    let mask = if masked { MASKED } else { 0 };
    out.push(FIN | kind);
    match payload.len() {
        length @ 0..=125 => out.push(mask | length as u8),
        length @ 126..=0xffff => {
            out.push(mask | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(mask | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(payload);
}

/// A binary message.
pub(crate) fn push_message(out: &mut Vec<u8>, payload: &[u8], masked: bool) {
    push(out, BINARY, payload, masked);
}

/// The answer to a key.
pub(crate) fn accept(key: &[u8]) -> String {
    let joined = [key, GUID].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &joined);
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_in_whatever_pieces_they_come() {
        let mut bytes = Vec::new();
        for (size, masked) in [(0, true), (125, false), (126, true), (70_000, true)] {
            push_message(&mut bytes, &vec![b'x'; size], masked);
        }
        push(&mut bytes, PING, b"hi", false);
        for piece in [1, 3, 1_000, bytes.len()] {
            let (mut frames, mut seen, mut pings) = (Frames::default(), Vec::new(), 0);
            for part in bytes.chunks(piece) {
                let fed = frames.feed(part, |frame| {
                    match frame {
                        Frame::Message { payload, size } => seen.push((payload.len(), size)),
                        Frame::Ping(payload) => pings += usize::from(payload == b"hi"),
                        Frame::Close => {}
                    }
                    Ok(())
                });
                assert_eq!(fed, Ok(()));
            }
            assert_eq!(seen, [(0, 0), (125, 125), (126, 126), (70_000, 70_000)], "by {piece}");
            assert_eq!(pings, 1);
        }
    }

    #[test]
    fn a_mask_is_taken_off_and_parts_are_one_message() {
        let bytes = [0x02, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, 0x80, 0x01, b'c'];
        let mut seen = Vec::new();
        let fed = Frames::default().feed(&bytes, |frame| {
            seen.push(format!("{frame:?}"));
            Ok(())
        });
        assert_eq!((fed, seen), (Ok(()), vec!["Message { payload: [99], size: 3 }".to_owned()]));
    }

    #[test]
    fn what_is_malformed_is_told() {
        for bytes in [&[0xf2, 0][..], &[0x83, 0], &[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(Frames::default().feed(bytes, |_| Ok(())).is_err());
        }
    }

    #[test]
    fn the_standards_key_is_answered_as_it_says() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
