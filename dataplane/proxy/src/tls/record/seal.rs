//! Seals records: from the caller's bytes straight into the queue for sending, in one pass.

use std::ops::Range;

use aws_lc_rs::aead::{Aad, Nonce};

use super::super::buffer::Buffer;
use super::broken::Broken;
use super::keys::{HEADER_BYTES, Key, Layout, TAG_BYTES};
use super::limits::PLAINTEXT_BYTES_MAX;
use super::{APPLICATION_DATA, Kind};

/// As every record says since TLS 1.2 (RFC 8446 section 5.2).
const VERSION: [u8; 2] = [3, 3];

/// Appends one record that holds `first` and then `second`, together no more than a record can hold.
pub(super) fn seal(
    key: &mut Key,
    kind: Kind,
    first: &[u8],
    second: &[u8],
    out: &mut Buffer,
) -> Result<(), Broken> {
    let length = first.len() + second.len();
    assert!(length <= PLAINTEXT_BYTES_MAX, "the caller cuts its data into records");
    // A number that could not be counted on from is not used either.
    let nonce = key.nonce();
    let inner: &[u8] = if key.layout == Layout::Tls13 { &[kind] } else { &[] };
    let outer = if key.layout == Layout::Tls13 { APPLICATION_DATA } else { kind };
    let content: Range<usize> = HEADER_BYTES + key.prefix_bytes()..HEADER_BYTES + key.prefix_bytes() + length;
    let end = content.end + inner.len() + TAG_BYTES;
    let protected = u16::try_from(end - HEADER_BYTES).expect("a record is shorter than 64 KiB");
    let [high, low] = protected.to_be_bytes();
    let header = [outer, VERSION[0], VERSION[1], high, low];
    let additional = Aad::from(key.additional(header, length));
    let explicit = &nonce[nonce.len() - key.prefix_bytes()..];

    let (front, tail) = out.room(end)[..end].split_at_mut(content.end);
    front[..HEADER_BYTES].copy_from_slice(&header);
    front[HEADER_BYTES..content.start].copy_from_slice(explicit);
    let content = &mut front[content.start..];
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.advance()?;
    let sealed = if second.is_empty() {
        key.aead.seal_out_of_place_scatter(nonce, additional, first, content, inner, tail)
    } else if first.is_empty() {
        key.aead.seal_out_of_place_scatter(nonce, additional, second, content, inner, tail)
    } else {
        // One pass needs its input in one piece.
        content[..first.len()].copy_from_slice(first);
        content[first.len()..].copy_from_slice(second);
        key.aead.seal_in_place_scatter(nonce, additional, content, inner, tail)
    };
    sealed.map_err(|_| Broken::Internal("a record could not be sealed"))?;
    out.extend(end);
    Ok(())
}
