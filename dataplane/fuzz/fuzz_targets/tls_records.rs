//! TLS records: whatever comes, exactly the data that rustls's own decryption gives, and an end where it must end.
#![no_main]

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use libfuzzer_sys::fuzz_target;
use ringway_proxy::tls::fuzzing::{Heard, IV, KEY, Receiver};
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::crypto::cipher::{AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, Nonce as Number};
use rustls::{ContentType, ProtocolVersion};

/// Records without data that are borne in a row.
const FRUITLESS_MAX: usize = 32;

/// What the rest of the input asks for.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A record that holds `inner`, content type and padding included.
fn sealed(key: &LessSafeKey, sequence: u64, inner: &[u8]) -> Vec<u8> {
    let [high, low] = ((inner.len() + 16) as u16).to_be_bytes();
    let header = [23, 3, 3, high, low];
    let nonce = Nonce::assume_unique_for_key(Number::new(&Iv::new(IV), sequence).0);
    let mut content = inner.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut content).unwrap();
    [&header[..], &content].concat()
}

/// Records as a peer might send them, and what somebody on the way made of them.
fn stream(script: &mut Script<'_>, key: &LessSafeKey) -> Vec<u8> {
    let (mut records, mut sequence): (Vec<Vec<u8>>, u64) = (Vec::new(), 0);
    while let Some(op) = script.byte() {
        let argument = script.byte().unwrap_or(0);
        match op % 8 {
            // Data, alerts and messages with a padding.
            0 | 1 => {
                let kind = [23, 23, 23, 21, 22, 20][usize::from(argument >> 4) % 6];
                let length = usize::from(script.byte().unwrap_or(0));
                let padding = vec![0; usize::from(argument & 15)];
                records.push(sealed(key, sequence, &[script.bytes(length), &[kind], &padding].concat()));
                sequence += 1;
            }
            // Anything, under the right key.
            2 => {
                records.push(sealed(key, sequence, script.bytes(usize::from(argument))));
                sequence += 1;
            }
            // Around the largest.
            3 => {
                let mut inner = vec![argument; (16 << 10) - 2 + usize::from(argument % 5)];
                inner.push(23);
                records.push(sealed(key, sequence, &inner));
                sequence += 1;
            }
            // Anything, under no key.
            4 => records.push(script.bytes(usize::from(argument)).to_vec()),
            // A bit that turned.
            5 => {
                let at = usize::from(script.byte().unwrap_or(0)) * 64;
                if let Some(record) = records.last_mut()
                    && !record.is_empty()
                {
                    let at = (usize::from(argument) + at) % record.len();
                    record[at] ^= 1 << (op >> 5);
                }
            }
            6 => {
                records.pop();
            }
            _ => {
                let place = records.len().checked_sub(1 + usize::from(argument % 4));
                if let Some(again) = place.map(|place| records[place].clone()) {
                    records.push(again);
                }
            }
        }
        if records.len() > 80 {
            break;
        }
    }
    records.concat()
}

/// What must come of it. A handshake message gives no data and ends everything that could: no key can be renewed here.
fn expected(mut stream: &[u8], decrypter: &mut dyn MessageDecrypter) -> (Vec<u8>, Option<Heard>) {
    let (mut data, mut sequence, mut fruitless) = (Vec::new(), 0, 0);
    while let Some((header, rest)) = stream.split_first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != 23 || !(17..=16_640).contains(&length) {
            return (data, Some(Heard::Broken));
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        stream = rest;
        let mut payload = payload.to_vec();
        let version = ProtocolVersion::from(u16::from_be_bytes([header[1], header[2]]));
        let record = InboundOpaqueMessage::new(ContentType::ApplicationData, version, &mut payload);
        // rustls lets the version of a header be anything; RFC 8446 section 5.2 authenticates it.
        let Ok(opened) = decrypter.decrypt(record, sequence) else { return (data, Some(Heard::Broken)) };
        if header[1..3] != [3, 3] {
            return (data, Some(Heard::Broken));
        }
        sequence += 1;
        match (opened.typ, opened.payload) {
            (ContentType::ApplicationData, [_, ..]) => {
                data.extend_from_slice(opened.payload);
                fruitless = 0;
            }
            (ContentType::Alert, [_, 0]) => return (data, Some(Heard::Closed)),
            (ContentType::ApplicationData, []) | (ContentType::Alert, [_, 90]) => {
                fruitless += 1;
                if fruitless > FRUITLESS_MAX {
                    return (data, Some(Heard::Broken));
                }
            }
            // May wait for the rest of its message.
            (ContentType::Handshake, [_, ..]) => return (data, None),
            _ => return (data, Some(Heard::Broken)),
        }
    }
    (data, Some(Heard::Wait))
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let [how, memory, piece] = [(); 3].map(|()| script.byte().unwrap_or(0));
    let chacha = how & 1 == 1;
    let algorithm = if chacha { &CHACHA20_POLY1305 } else { &AES_256_GCM };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &KEY).unwrap());
    let suite = if chacha {
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256
    } else {
        cipher_suite::TLS13_AES_256_GCM_SHA384
    };
    let suite = suite.tls13().unwrap();
    let mut decrypter = suite.aead_alg.decrypter(AeadKey::from(KEY), Iv::new(IV));

    let stream = stream(&mut script, &key);
    let (data, end) = expected(&stream, &mut *decrypter);
    let memory = [16_385, 16_384, 17, 1 + usize::from(memory)][usize::from(how >> 1) % 4];
    let piece = if piece == 0 { stream.len().max(1) } else { usize::from(piece) * usize::from(piece) };
    let mut receiver = Receiver::new(chacha, how & 128 != 0);
    let (mut heard, mut last) = (Vec::new(), Heard::Wait);
    for piece in stream.chunks(piece) {
        last = receiver.hear(piece, memory, &mut heard);
    }
    assert!(heard == data, "{} bytes, not {}", heard.len(), data.len());
    match end {
        Some(end) => assert_eq!(last, end),
        None => assert_ne!(last, Heard::Closed),
    }
});
