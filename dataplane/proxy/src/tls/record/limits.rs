//! The numbers of the record layer, with what happens when one is hit.

/// The most plaintext in one record, in bytes (RFC 8446 section 5.1). More is sent in several; more received is the alert
/// record_overflow.
pub(in super::super) const PLAINTEXT_BYTES_MAX: usize = 16 << 10;
/// The longest record that is waited for, in bytes, without its header (RFC 8446 section 5.2). TLS 1.2 would allow more,
/// but none of its suites that we speak can fill it. Longer: record_overflow, as soon as the header says so.
pub(in super::super) const PROTECTED_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX + 256;
/// What a record can be longer than its plaintext: header 5, explicit nonce 8 (TLS 1.2) or content type 1 (TLS 1.3),
/// tag 16. We add no padding.
pub(in super::super) const OVERHEAD_BYTES_MAX: usize = 5 + 8 + 16;
/// Records and messages of the peer in a row that bring no data: empty records, key updates, tickets, warnings. Each
/// costs us work and the peer little. More: unexpected_message.
pub(super) const FRUITLESS_MAX: u8 = 32;
/// A handshake message after the handshake, in bytes: a ticket that holds a chain of certificates has a few thousand.
/// Larger: decode_error.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 10;
/// Records that may be protected with one key of AES-GCM. RFC 8446 section 5.5 allows 2^24.5 of full size. TLS 1.3 renews
/// its key by then; in TLS 1.2 the connection ends.
pub(super) const GCM_RECORDS_MAX: u64 = 1 << 24;
/// The same for ChaCha20-Poly1305: no limit but that no number may be used twice.
pub(super) const CHACHA_RECORDS_MAX: u64 = u64::MAX;
