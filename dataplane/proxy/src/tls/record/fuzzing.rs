//! The receiving record layer for a fuzz target, with keys that the target knows. Built for fuzzing only.

use aws_lc_rs::aead::{AES_256_GCM, CHACHA20_POLY1305};
use rustls::ProtocolVersion;
use rustls::crypto::cipher::Iv;

use super::super::buffer::Buffer;
use super::keys::Key;
use super::{Records, Renewal, Side, Stop};

/// The key of both directions.
pub const KEY: [u8; 32] = [7; 32];
/// Its initialisation vector.
pub const IV: [u8; 12] = [9; 12];

/// How receiving stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// More may come.
    Wait,
    /// The peer closed.
    Closed,
    /// The connection ends.
    Broken,
}

/// One receiver of TLS 1.3.
pub struct Receiver {
    records: Records,
    inbound: Buffer,
    heard: Heard,
}

impl Receiver {
    /// With ChaCha20-Poly1305 or AES-256-GCM, as client or server.
    pub fn new(chacha: bool, client: bool) -> Self {
        let algorithm = if chacha { &CHACHA20_POLY1305 } else { &AES_256_GCM };
        let key = || {
            Key::of(ProtocolVersion::TLSv1_3, algorithm, &KEY, Iv::new(IV), 0).expect("the key has its size")
        };
        let side = if client { Side::Client } else { Side::Server };
        let records = Records::of(ProtocolVersion::TLSv1_3, key(), key(), Renewal::Never(side));
        Self { records, inbound: Buffer::default(), heard: Heard::Wait }
    }

    /// Receives and reads, with so much memory at a time.
    pub fn hear(&mut self, received: &[u8], memory: usize, data: &mut Vec<u8>) -> Heard {
        self.inbound.append(received);
        let mut into = vec![0; memory];
        while self.heard == Heard::Wait {
            let (count, stop) = self.records.read(&mut self.inbound, &mut into);
            data.extend_from_slice(&into[..count]);
            self.inbound.settle();
            match stop {
                Ok(Stop::Full) => {}
                Ok(Stop::Wait) => break,
                Ok(Stop::Closed) => self.heard = Heard::Closed,
                Err(_) => self.heard = Heard::Broken,
            }
        }
        self.heard
    }
}
