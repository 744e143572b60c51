//! One direction's key: which nonce and which additional data the next record has, and how it is laid out.
//!
//! A nonce is never used twice: the sequence number goes up with every record and ends before it would wrap. The key
//! itself is wiped by the library that holds it when it is dropped; nothing here prints it.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{Iv, NONCE_LEN, Nonce};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

use super::broken::Broken;
use super::limits::{CHACHA_RECORDS_MAX, GCM_RECORDS_MAX};

/// The tag of all our suites.
pub(super) const TAG_BYTES: usize = 16;
/// A record's header: outer type, version, length.
pub(super) const HEADER_BYTES: usize = 5;

/// How a record is laid out between its header and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// TLS 1.3: plaintext, content type, padding; all encrypted.
    Tls13,
    /// TLS 1.2 with AES-GCM: eight bytes of nonce in the clear, then plaintext.
    Tls12Explicit,
    /// TLS 1.2 with ChaCha20-Poly1305: plaintext.
    Tls12,
}

/// What is authenticated beside a record's content: the header in TLS 1.3; in TLS 1.2 also the sequence number.
#[derive(Clone, Copy)]
pub(super) enum Additional {
    Tls13([u8; HEADER_BYTES]),
    Tls12([u8; 8 + HEADER_BYTES]),
}

impl AsRef<[u8]> for Additional {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Tls13(header) => header,
            Self::Tls12(bytes) => bytes,
        }
    }
}

/// The key of one direction.
pub(super) struct Key {
    pub(super) aead: LessSafeKey,
    pub(super) layout: Layout,
    iv: Iv,
    /// The number of the next record.
    sequence: u64,
    /// Records that this key may protect.
    pub(super) records_max: u64,
}

impl Key {
    /// The key that these secrets are for; it goes on at a sequence number.
    pub(super) fn new(
        version: ProtocolVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Broken> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Broken::Internal("a cipher suite without a record layer")),
        };
        Self::of(version, algorithm, key.as_ref(), Iv::copy(iv.as_ref()), sequence)
    }

    pub(super) fn of(
        version: ProtocolVersion,
        algorithm: &'static Algorithm,
        key: &[u8],
        iv: Iv,
        sequence: u64,
    ) -> Result<Self, Broken> {
        let chacha = *algorithm == CHACHA20_POLY1305;
        let layout = match version {
            ProtocolVersion::TLSv1_3 => Layout::Tls13,
            _ if chacha => Layout::Tls12,
            _ => Layout::Tls12Explicit,
        };
        let records_max = if chacha { CHACHA_RECORDS_MAX } else { GCM_RECORDS_MAX };
        let key = UnboundKey::new(algorithm, key).map_err(|_| Broken::Internal("a key of a wrong size"))?;
        Ok(Self { aead: LessSafeKey::new(key), layout, iv, sequence, records_max })
    }

    /// How many more records it may protect.
    pub(super) fn records_left(&self) -> u64 {
        self.records_max.saturating_sub(self.sequence)
    }

    /// Bytes between a record's header and its content.
    pub(super) fn prefix_bytes(&self) -> usize {
        if self.layout == Layout::Tls12Explicit { 8 } else { 0 }
    }

    /// The nonce of the next record that is sent.
    pub(super) fn nonce(&self) -> [u8; NONCE_LEN] {
        Nonce::new(&self.iv, self.sequence).0
    }

    /// The nonce of the next record that is received; `prefix` is what it shows of it.
    pub(super) fn nonce_with(&self, prefix: &[u8]) -> [u8; NONCE_LEN] {
        if prefix.is_empty() {
            return self.nonce();
        }
        let mut nonce = [0; NONCE_LEN];
        let fixed = NONCE_LEN - prefix.len();
        nonce[..fixed].copy_from_slice(&self.iv.as_ref()[..fixed]);
        nonce[fixed..].copy_from_slice(prefix);
        nonce
    }

    /// What the next record authenticates beside its content of so many bytes.
    pub(super) fn additional(&self, header: [u8; HEADER_BYTES], content_bytes: usize) -> Additional {
        if self.layout == Layout::Tls13 {
            return Additional::Tls13(header);
        }
        let mut bytes = [0; 8 + HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..11].copy_from_slice(&header[..3]);
        let length = u16::try_from(content_bytes).expect("a header's length has two bytes");
        bytes[11..].copy_from_slice(&length.to_be_bytes());
        Additional::Tls12(bytes)
    }

    /// Goes on to the next record. A number is never used twice.
    pub(super) fn advance(&mut self) -> Result<(), Broken> {
        self.sequence = self.sequence.checked_add(1).ok_or(Broken::Exhausted)?;
        Ok(())
    }
}
