//! The record layer as security code: known vectors, rustls at the other end, and records that nobody should believe.

use std::io::{Read, Write};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, Nonce};
use aws_lc_rs::hkdf;
use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::Iv;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use rustls_pki_types::{PrivateKeyDer, ServerName};

use super::super::testing::{Authority, Bench, fill, flush, leaf, read_all};
use super::super::{ClientTls, Handshake, Plaintext, TlsFailure, TlsSession, VERSIONS, provider};
use super::keys::{HEADER_BYTES, TAG_BYTES};
use super::limits::PROTECTED_BYTES_MAX;
use super::*;

const TLS13: ProtocolVersion = ProtocolVersion::TLSv1_3;
const TLS12: ProtocolVersion = ProtocolVersion::TLSv1_2;
const ALGORITHMS: [&Algorithm; 3] = [&AES_128_GCM, &AES_256_GCM, &CHACHA20_POLY1305];
/// More than the tests queue.
const QUEUE: usize = 1 << 20;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |at: usize| char::from(digits[at]).to_digit(16).unwrap() as u8;
    (0..digits.len() / 2).map(|at| digit(2 * at) << 4 | digit(2 * at + 1)).collect()
}

fn key(version: ProtocolVersion, algorithm: &'static Algorithm, seed: u8) -> Key {
    let iv = std::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add(at as u8));
    Key::of(version, algorithm, &vec![seed; algorithm.key_len()], Iv::new(iv), 0).unwrap()
}

/// A record layer, and its peer's key: records may be made with it that no peer would make.
struct Forge {
    records: Records,
    peer: Key,
    inbound: Buffer,
}

impl Forge {
    fn new(version: ProtocolVersion, algorithm: &'static Algorithm, side: Side) -> Self {
        let [sending, receiving, peer] = [1, 2, 2].map(|seed| key(version, algorithm, seed));
        let records = Records::of(version, sending, receiving, Renewal::Never(side));
        Self { records, peer, inbound: Buffer::default() }
    }

    fn server() -> Self {
        Self::new(TLS13, &AES_128_GCM, Side::Server)
    }

    /// The peer's next record of TLS 1.3 with this inside: content, type and padding.
    fn record(&mut self, inner: &[u8]) -> Vec<u8> {
        let [high, low] = ((inner.len() + TAG_BYTES) as u16).to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let mut sealed = inner.to_vec();
        let nonce = Nonce::assume_unique_for_key(self.peer.nonce());
        let aad = Aad::from(self.peer.additional(header, inner.len()));
        self.peer.aead.seal_in_place_append_tag(nonce, aad, &mut sealed).unwrap();
        self.peer.advance().unwrap();
        [&header[..], &sealed].concat()
    }

    /// The same, of any version: an ordinary record.
    fn ordinary(&mut self, kind: Kind, content: &[u8]) -> Vec<u8> {
        let mut out = Buffer::default();
        seal::seal(&mut self.peer, kind, content, &[], &mut out).unwrap();
        out.filled().to_vec()
    }

    /// Receives, and reads all that there is.
    fn hear(&mut self, received: &[u8]) -> (Vec<u8>, Result<Stop, Broken>) {
        self.inbound.append(received);
        let (mut data, mut into) = (Vec::new(), vec![0; PLAINTEXT_BYTES_MAX + 1]);
        loop {
            let (count, outcome) = self.records.read(&mut self.inbound, &mut into);
            data.extend_from_slice(&into[..count]);
            match outcome {
                Ok(Stop::Full) => {}
                outcome => return (data, outcome),
            }
        }
    }
}

fn inner(content: &[u8], kind: Kind, padding: usize) -> Vec<u8> {
    [content, &[kind], &vec![0; padding]].concat()
}

fn unexpected(outcome: Result<Stop, Broken>) -> bool {
    matches!(outcome, Err(Broken::Unexpected(_)))
}

/// HKDF-Expand-Label of RFC 8446 section 7.1, without context.
fn expand(secret: &[u8], label: &str, length: usize) -> Vec<u8> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let label = format!("tls13 {label}");
    let info = [&(length as u16).to_be_bytes()[..], &[label.len() as u8], label.as_bytes(), &[0]].concat();
    let info = [&info[..]];
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret);
    let mut out = vec![0; length];
    prk.expand(&info, Length(length)).unwrap().fill(&mut out).unwrap();
    out
}

/// RFC 8448 section 3, the application traffic of a simple handshake.
#[test]
fn the_vectors_of_rfc_8448_hold_both_ways() {
    let data: Vec<u8> = (0..50).collect();
    let sides = [
        (
            "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
            "17422dda596ed5d9acd890e3c63f5051",
            "5b78923dee08579033e523d9",
            // The client's data is its first record, its close_notify the second.
            0,
            "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b
             62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
            "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3",
        ),
        (
            "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
            "9f02283b6c9c07efc26bb9f2ac92e356",
            "cf782b88dd83549aadf1e984",
            // A ticket went before the server's data.
            1,
            "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8
             fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d",
            "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9",
        ),
    ];
    for (secret, traffic_key, iv, sequence, record, close) in sides {
        assert_eq!(expand(&bytes(secret), "key", 16), bytes(traffic_key));
        assert_eq!(expand(&bytes(secret), "iv", 12), bytes(iv));
        let iv: [u8; 12] = bytes(iv).try_into().unwrap();
        let key = || Key::of(TLS13, &AES_128_GCM, &bytes(traffic_key), Iv::new(iv), sequence).unwrap();
        let mut out = Buffer::default();
        let mut records = Records::of(TLS13, key(), key(), Renewal::Never(Side::Server));
        assert_eq!(records.write(&data[..20], &data[20..], &mut out, QUEUE), Ok(50));
        records.alert(CLOSE_NOTIFY, &mut out);
        assert_eq!(out.filled(), [bytes(record), bytes(close)].concat());
        let mut into = [0; 100];
        assert_eq!(records.read(&mut out, &mut into), (50, Ok(Stop::Closed)));
        assert_eq!(into[..50], data);
    }
}

/// The oracle: rustls with its own record layer, and our session over the same wire.
struct Oracle {
    ours: TlsSession,
    theirs: Connection,
    to_us: Vec<u8>,
    to_them: Vec<u8>,
    they_heard: Vec<u8>,
}

impl Oracle {
    fn new(bench: &Suites, suite: rustls::CipherSuite, side: Side) -> Self {
        let mut theirs_is = (*bench.provider).clone();
        theirs_is.cipher_suites.retain(|known| known.suite() == suite);
        let theirs_is = Arc::new(theirs_is);
        let name = ServerName::try_from("example.org").unwrap();
        let (mut ours, theirs) = match side {
            Side::Server => {
                let mut config = bench.client_config(theirs_is);
                config.alpn_protocols.clear();
                (
                    TlsSession::accepting(),
                    Connection::Client(ClientConnection::new(Arc::new(config), name).unwrap()),
                )
            }
            Side::Client => {
                let config = bench.server_config(theirs_is);
                let session = TlsSession::connecting(&bench.client).unwrap();
                (session, Connection::Server(ServerConnection::new(Arc::new(config)).unwrap()))
            }
        };
        ours.handshake().unwrap();
        let mut oracle =
            Self { ours, theirs, to_us: Vec::new(), to_them: Vec::new(), they_heard: Vec::new() };
        while oracle.ours.is_handshaking() || oracle.theirs.is_handshaking() {
            if let Handshake::Hello(_) = oracle.ours.handshake().unwrap() {
                oracle.ours.choose(&bench.listener).unwrap();
                continue;
            }
            oracle.pass();
            oracle.theirs.process_new_packets().unwrap();
        }
        oracle.ours.hurry();
        oracle.pass();
        oracle.theirs.process_new_packets().unwrap();
        oracle.ours.read(&mut [0; 64]).unwrap();
        assert_eq!(oracle.theirs.negotiated_cipher_suite().unwrap().suite(), suite);
        oracle
    }

    /// Passes what both have said.
    fn pass(&mut self) {
        while self.theirs.wants_write() {
            self.theirs.write_tls(&mut self.to_us).unwrap();
        }
        flush(&mut self.ours, &mut self.to_them);
        while fill(&mut self.ours, &mut self.to_us, usize::MAX) > 0 {}
        let mut rest = &self.to_them[..];
        while !rest.is_empty() {
            self.theirs.read_tls(&mut rest).unwrap();
            if self.theirs.process_new_packets().is_err() {
                break;
            }
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = self.theirs.reader().read(&mut buffer) {
                self.they_heard.extend_from_slice(&buffer[..count]);
            }
        }
        self.to_them.clear();
    }

    fn they_say(&mut self, data: &[u8]) {
        self.theirs.writer().write_all(data).unwrap();
    }

    fn they_heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.they_heard)
    }

    /// Says it in both directions, and checks that it arrived.
    fn exchange(&mut self, data: &[u8]) {
        let (mut sent, mut heard) = (0, Vec::new());
        while sent < data.len() {
            let half = (data.len() - sent) / 3;
            sent += self.ours.write(&data[sent..sent + half], &data[sent + half..]).unwrap();
            self.pass();
            heard.extend(self.they_heard());
        }
        assert!(heard == data, "{} of {} bytes", heard.len(), data.len());
        let mut heard = Vec::new();
        for piece in data.chunks(30_000) {
            self.they_say(piece);
            self.pass();
            let (more, state) = read_all(&mut self.ours);
            assert_eq!(state, Ok(Plaintext::Wait));
            heard.extend(more);
        }
        assert!(heard == data, "{} of {} bytes", heard.len(), data.len());
    }
}

/// What sessions of both sides need, for any cipher suite.
struct Suites {
    provider: Arc<CryptoProvider>,
    listener: Arc<super::super::ServerTls>,
    client: Arc<ClientTls>,
    authority: Authority,
    certificate: Arc<ringway_config::Certificate>,
    _bench: Bench,
}

impl Suites {
    fn new() -> Self {
        let authority = Authority::new("authority");
        let certificate = authority.issue("cert", leaf(&["example.org"]));
        let mut bench = Bench::new();
        bench.listener("listener", &[&certificate], None);
        let tls = super::super::testing::upstream("example.org", &authority);
        bench.cluster("cluster", ringway_config::UpstreamProtocol::Http1, tls);
        assert_eq!(bench.apply(), []);
        Self {
            provider: Arc::clone(provider()),
            listener: bench.server("listener"),
            client: bench.client("cluster"),
            authority,
            certificate,
            _bench: bench,
        }
    }

    fn all(&self) -> impl Iterator<Item = (rustls::CipherSuite, Side)> {
        let suites: Vec<_> =
            self.provider.cipher_suites.iter().map(rustls::SupportedCipherSuite::suite).collect();
        let usable = suites.into_iter().filter(|suite| !format!("{suite:?}").contains("RSA"));
        let both: Vec<_> = usable.flat_map(|suite| [(suite, Side::Server), (suite, Side::Client)]).collect();
        assert_eq!(both.len(), 2 * (3 + 3), "three suites of each version");
        both.into_iter()
    }

    fn client_config(&self, provider: Arc<CryptoProvider>) -> ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(super::super::certificate::der_of(&self.authority.der()).into_owned()).unwrap();
        ClientConfig::builder_with_details(provider, Arc::new(self.clock()))
            .with_protocol_versions(&versions())
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    fn server_config(&self, provider: Arc<CryptoProvider>) -> ServerConfig {
        let chain = vec![super::super::certificate::der_of(&self.certificate.chain[0]).into_owned()];
        let key = PrivateKeyDer::try_from(self.certificate.private_key.expose()).unwrap().clone_key();
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(self.clock()))
            .with_protocol_versions(&versions())
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    fn clock(&self) -> super::super::Clock {
        super::super::Clock::driven(super::super::testing::start()).0
    }
}

fn versions() -> Vec<&'static rustls::SupportedProtocolVersion> {
    VERSIONS.to_vec()
}

fn is_tls13(suite: rustls::CipherSuite) -> bool {
    format!("{suite:?}").starts_with("TLS13")
}

#[test]
fn data_of_any_length_passes_both_ways_with_every_suite_and_role() {
    let suites = Suites::new();
    let data: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    for (suite, side) in suites.all() {
        let mut oracle = Oracle::new(&suites, suite, side);
        for length in [1, 2, 1000, 16_383, 16_384, 16_385, 32_768, 65_536, 65_537, 200_000] {
            oracle.exchange(&data[..length]);
        }
        oracle.ours.close();
        oracle.pass();
        assert!(oracle.theirs.process_new_packets().unwrap().peer_has_closed(), "{suite:?} {side:?}");
        oracle.theirs.send_close_notify();
        oracle.pass();
        assert_eq!(read_all(&mut oracle.ours), (vec![], Ok(Plaintext::Closed)), "{suite:?} {side:?}");
    }
}

#[test]
fn keys_are_renewed_by_either_side_as_often_as_it_likes() {
    let suites = Suites::new();
    for (suite, side) in suites.all().filter(|(suite, _)| is_tls13(*suite)) {
        let mut oracle = Oracle::new(&suites, suite, side);
        for round in 0..100u8 {
            match round % 4 {
                0 => oracle.theirs.refresh_traffic_keys().unwrap(),
                1 => oracle.ours.renew_keys(false),
                2 => oracle.ours.renew_keys(true),
                _ => {
                    // Both at once, and twice: the requests cross.
                    oracle.theirs.refresh_traffic_keys().unwrap();
                    oracle.theirs.refresh_traffic_keys().unwrap();
                    oracle.ours.renew_keys(true);
                }
            }
            oracle.exchange(&[round; 300]);
        }
    }
}

#[test]
fn a_peer_that_only_renews_keys_is_sent_away_and_answered_at_most_once() {
    let suites = Suites::new();
    let suite = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
    for side in [Side::Server, Side::Client] {
        let mut oracle = Oracle::new(&suites, suite, side);
        // Tickets came and brought no data either.
        oracle.exchange(b"data");
        // Data in between: as many as it likes.
        for _ in 0..3 {
            for _ in 0..FRUITLESS_MAX {
                oracle.theirs.refresh_traffic_keys().unwrap();
                oracle.pass();
                assert_eq!(read_all(&mut oracle.ours), (vec![], Ok(Plaintext::Wait)));
            }
            assert!(!oracle.ours.wants_write(), "requests are answered with the next data");
            oracle.ours.write(b"x", &[]).unwrap();
            let mut answer = Vec::new();
            flush(&mut oracle.ours, &mut answer);
            assert_eq!(answer.len(), (5 + 5 + 1 + 16) + (5 + 1 + 1 + 16), "one key update and the data");
            oracle.to_them = answer;
            oracle.pass();
            assert_eq!(oracle.they_heard(), b"x");
            oracle.exchange(b"data");
        }
        for _ in 0..=FRUITLESS_MAX {
            oracle.theirs.refresh_traffic_keys().unwrap();
        }
        oracle.pass();
        assert!(matches!(read_all(&mut oracle.ours).1, Err(TlsFailure::Protocol(_))));
        oracle.pass();
        let told = oracle.theirs.process_new_packets();
        assert_eq!(told, Err(rustls::Error::AlertReceived(rustls::AlertDescription::UnexpectedMessage)));
    }
}

#[test]
fn a_key_protects_no_more_records_than_it_may() {
    let suites = Suites::new();
    for (suite, side) in suites.all() {
        let mut oracle = Oracle::new(&suites, suite, side);
        // Tickets and the last handshake messages of TLS 1.2 count as well.
        let limit = 10;
        oracle.ours.limit_records(limit);
        let mut sent = 0;
        let failure = loop {
            match oracle.ours.write(&[7; 100], &[]) {
                Ok(count) => sent += count,
                Err(failure) => break Some(failure),
            }
            if sent == 10_000 {
                break None;
            }
        };
        let mut wire = Vec::new();
        flush(&mut oracle.ours, &mut wire);
        let (mut records, mut at) = (0, 0);
        while at < wire.len() {
            records += 1;
            at += HEADER_BYTES + usize::from(u16::from_be_bytes([wire[at + 3], wire[at + 4]]));
        }
        oracle.to_them = wire;
        oracle.pass();
        assert_eq!(oracle.they_heard().len(), sent, "{suite:?} {side:?}");
        if is_tls13(suite) {
            // One of ten says that the next ten have another key.
            assert_eq!((failure, sent), (None, 10_000));
            assert!((110..=112).contains(&records), "{records} {suite:?} {side:?}");
            oracle.exchange(b"and goes on");
        } else {
            // The last one says that there will be no more.
            assert_eq!(failure, Some(TlsFailure::Exhausted));
            assert!(records < limit && sent > 0, "{records} {suite:?} {side:?}");
            assert!(oracle.theirs.process_new_packets().unwrap().peer_has_closed());
        }
    }
}

#[test]
fn a_number_is_never_used_twice() {
    for version in [TLS13, TLS12] {
        let key = Key::of(version, &CHACHA20_POLY1305, &[7; 32], Iv::new([0; 12]), u64::MAX - 1).unwrap();
        let other = Key::of(version, &CHACHA20_POLY1305, &[7; 32], Iv::new([0; 12]), u64::MAX - 1).unwrap();
        let mut records = Records::of(version, key, other, Renewal::Never(Side::Server));
        let mut out = Buffer::default();
        assert_eq!(records.write(b"x", &[], &mut out, QUEUE), Err(Broken::Exhausted));
        records.alert(CLOSE_NOTIFY, &mut out);
        let said = out.len();
        records.alert(CLOSE_NOTIFY, &mut out);
        assert_eq!(out.len(), said, "the last number is not used");
    }
}

#[test]
fn a_stream_cut_anywhere_is_read_as_it_was_sent_whatever_memory_the_reader_has() {
    for (version, algorithm) in
        ALGORITHMS.into_iter().flat_map(|algorithm| [(TLS13, algorithm), (TLS12, algorithm)])
    {
        let mut forge = Forge::new(version, algorithm, Side::Server);
        let mut stream = forge.ordinary(APPLICATION_DATA, b"one");
        stream.extend(forge.ordinary(APPLICATION_DATA, b""));
        stream.extend(forge.ordinary(APPLICATION_DATA, &[2; 40]));
        stream.extend(forge.ordinary(APPLICATION_DATA, b"three"));
        stream.extend(forge.ordinary(ALERT, &CLOSE_NOTIFY));
        let whole = [&b"one"[..], &[2; 40], b"three"].concat();
        for cut in 0..=stream.len() {
            for memory in [1, 2, 3, 7, 40, 41, 42, 100] {
                let mut forge = Forge::new(version, algorithm, Side::Server);
                let (mut data, mut into) = (Vec::new(), vec![0; memory]);
                let mut last = Stop::Wait;
                for part in [&stream[..cut], &stream[cut..]] {
                    forge.inbound.append(part);
                    while last != Stop::Closed {
                        let (count, stop) = forge.records.read(&mut forge.inbound, &mut into);
                        data.extend_from_slice(&into[..count]);
                        forge.inbound.settle();
                        last = stop.unwrap();
                        if last != Stop::Full {
                            break;
                        }
                    }
                }
                assert_eq!((&data, last), (&whole, Stop::Closed), "cut at {cut}, memory of {memory}");
            }
        }
    }
}

#[test]
fn byte_by_byte_is_as_good_as_at_once() {
    let mut forge = Forge::server();
    let mut stream = forge.ordinary(APPLICATION_DATA, &[1; 20_000 - 16_384]);
    stream.extend(forge.ordinary(APPLICATION_DATA, &[2; 16_384]));
    let mut heard = Vec::new();
    for byte in stream {
        let (data, stop) = forge.hear(&[byte]);
        assert_eq!(stop, Ok(Stop::Wait));
        heard.extend(data);
    }
    assert_eq!(heard.len(), 20_000);
}

/// Every bit of a record, header and content and tag.
#[test]
fn no_record_is_believed_with_one_bit_turned() {
    for (version, algorithm) in
        ALGORITHMS.into_iter().flat_map(|algorithm| [(TLS13, algorithm), (TLS12, algorithm)])
    {
        let length =
            Forge::new(version, algorithm, Side::Server).ordinary(APPLICATION_DATA, b"genuine").len();
        for bit in 0..8 * length {
            // Opened into the reader's memory, and in place.
            for memory in [1000, 3] {
                let mut forge = Forge::new(version, algorithm, Side::Server);
                let mut stream = forge.ordinary(APPLICATION_DATA, b"genuine");
                stream[bit / 8] ^= 1 << (bit % 8);
                // Enough follows for a length that grew.
                for _ in 0..20 {
                    stream.extend(forge.ordinary(APPLICATION_DATA, &[9; 16_384]));
                }
                forge.inbound.append(&stream);
                let mut into = vec![0; memory];
                let (count, outcome) = forge.records.read(&mut forge.inbound, &mut into);
                assert_eq!(count, 0, "bit {bit}");
                let told = outcome.unwrap_err().alert().unwrap()[1];
                // bad_record_mac; by the header alone also unexpected_message and record_overflow.
                assert!(told == 20 || bit < 40 && [10, 22].contains(&told), "bit {bit}: {told}");
            }
        }
    }
}

#[test]
fn records_left_out_sent_again_or_in_another_order_end_the_connection() {
    for (version, algorithm) in
        ALGORITHMS.into_iter().flat_map(|algorithm| [(TLS13, algorithm), (TLS12, algorithm)])
    {
        let orders: [(&[usize], usize); 5] =
            [(&[1], 0), (&[0, 0], 1), (&[1, 0], 0), (&[0, 2], 1), (&[0, 1, 0], 2)];
        for (order, genuine) in orders {
            let mut forge = Forge::new(version, algorithm, Side::Server);
            let records = [b"first", b"again", b"third"].map(|data| forge.ordinary(APPLICATION_DATA, data));
            let stream: Vec<u8> = order.iter().flat_map(|at| records[*at].clone()).collect();
            let (data, outcome) = forge.hear(&stream);
            assert_eq!(outcome, Err(Broken::BadMac), "{order:?}");
            assert_eq!(data.len(), 5 * genuine, "{order:?}");
        }
    }
}

#[test]
fn a_record_of_the_other_direction_or_of_another_connection_is_not_believed() {
    let mut forge = Forge::server();
    let mut out = Buffer::default();
    forge.records.write(b"ours", &[], &mut out, QUEUE).unwrap();
    assert_eq!(forge.hear(out.filled()), (vec![], Err(Broken::BadMac)));
    let mut other = Forge::server();
    other.peer = key(TLS13, &AES_128_GCM, 3);
    let record = other.ordinary(APPLICATION_DATA, b"theirs");
    assert_eq!(other.hear(&record), (vec![], Err(Broken::BadMac)));
}

#[test]
fn lengths_are_held_to_their_limits_by_the_header_and_by_what_is_inside() {
    // The largest there may be: with content type, and then with all padding that fits.
    let mut forge = Forge::server();
    let record = forge.record(&inner(&[7; PLAINTEXT_BYTES_MAX], APPLICATION_DATA, 0));
    assert_eq!(forge.hear(&record), (vec![7; PLAINTEXT_BYTES_MAX], Ok(Stop::Wait)));
    let record = forge.record(&inner(b"little", APPLICATION_DATA, PLAINTEXT_BYTES_MAX - 6));
    assert_eq!(forge.hear(&record), (b"little".to_vec(), Ok(Stop::Wait)));
    // One more inside.
    for content in [
        inner(&[7; PLAINTEXT_BYTES_MAX + 1], APPLICATION_DATA, 0),
        inner(b"", APPLICATION_DATA, PLAINTEXT_BYTES_MAX + 1),
    ] {
        let mut forge = Forge::server();
        let record = forge.record(&content);
        assert_eq!(forge.hear(&record), (vec![], Err(Broken::Overflow)));
    }
    let mut forge = Forge::new(TLS12, &AES_128_GCM, Side::Server);
    let [high, low] = ((8 + PLAINTEXT_BYTES_MAX + 1 + TAG_BYTES) as u16).to_be_bytes();
    let header = [APPLICATION_DATA, 3, 3, high, low];
    let nonce = forge.peer.nonce();
    let aad = Aad::from(forge.peer.additional(header, PLAINTEXT_BYTES_MAX + 1));
    let mut sealed = vec![7; PLAINTEXT_BYTES_MAX + 1];
    forge.peer.aead.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).unwrap();
    assert_eq!(forge.hear(&[&header[..], &nonce[4..], &sealed].concat()), (vec![], Err(Broken::Overflow)));
    // By the header, before anything else came.
    let [high, low] = (PROTECTED_BYTES_MAX as u16 + 1).to_be_bytes();
    assert_eq!(Forge::server().hear(&[APPLICATION_DATA, 3, 3, high, low]), (vec![], Err(Broken::Overflow)));
    // Too short to be one.
    for length in 0..17 {
        assert_eq!(Forge::server().hear(&[APPLICATION_DATA, 3, 3, 0, length]), (vec![], Err(Broken::BadMac)));
    }
}

#[test]
fn nothing_but_protected_records_has_a_place_after_the_handshake() {
    let ccs = [20, 3, 3, 0, 1, 1];
    for version in [TLS13, TLS12] {
        assert!(unexpected(Forge::new(version, &AES_128_GCM, Side::Server).hear(&ccs).1));
        for outer in (0..=255).filter(|outer| !(21..=23).contains(outer)) {
            assert!(unexpected(
                Forge::new(version, &AES_128_GCM, Side::Server).hear(&[outer, 3, 3, 0, 30]).1
            ));
        }
    }
    // An alert that is not protected.
    assert!(unexpected(Forge::server().hear(&[ALERT, 3, 3, 0, 2, 2, 40]).1));
    assert_eq!(
        Forge::new(TLS12, &AES_128_GCM, Side::Server).hear(&[ALERT, 3, 3, 0, 2, 2, 40]).1,
        Err(Broken::BadMac)
    );
    // The same inside a record that holds: types that do not exist, and none at all.
    for kind in (0..=255).filter(|kind| !(21..=23).contains(kind)) {
        let mut forge = Forge::server();
        let record = forge.record(&inner(b"content", kind, 0));
        let outcome = forge.hear(&record);
        // Zero reads as padding, and the byte before it as the type.
        assert!(outcome.0.is_empty() && unexpected(outcome.1), "{kind}");
    }
    let mut forge = Forge::server();
    let record = forge.record(&[0; 100]);
    assert!(unexpected(forge.hear(&record).1), "nothing but padding");
}

#[test]
fn what_brings_no_data_is_bounded_in_a_row() {
    for (version, algorithm) in
        ALGORITHMS.into_iter().flat_map(|algorithm| [(TLS13, algorithm), (TLS12, algorithm)])
    {
        // Empty records; warnings.
        for (kind, content) in [(APPLICATION_DATA, &b""[..]), (ALERT, &[1, 90])] {
            let mut forge = Forge::new(version, algorithm, Side::Server);
            for _ in 0..3 {
                for _ in 0..FRUITLESS_MAX {
                    let record = forge.ordinary(kind, content);
                    assert_eq!(forge.hear(&record), (vec![], Ok(Stop::Wait)));
                }
                let record = forge.ordinary(APPLICATION_DATA, b"data");
                assert_eq!(forge.hear(&record), (b"data".to_vec(), Ok(Stop::Wait)));
            }
            let mut flood = Vec::new();
            for _ in 0..=FRUITLESS_MAX {
                flood.extend(forge.ordinary(kind, content));
            }
            assert!(unexpected(forge.hear(&flood).1));
        }
    }
}

#[test]
fn alerts_mean_what_their_version_says() {
    let closed = Ok(Stop::Closed);
    let wait = Ok(Stop::Wait);
    for (version, alert, meaning) in [
        (TLS13, &[1, 0][..], closed),
        (TLS12, &[1, 0], closed),
        (TLS13, &[2, 0], closed),
        (TLS13, &[1, 90], wait),
        (TLS13, &[2, 20], Err(Broken::Alert(20))),
        (TLS13, &[1, 20], Err(Broken::Alert(20))),
        (TLS13, &[1, 100], Err(Broken::Alert(100))),
        (TLS13, &[7, 255], Err(Broken::Alert(255))),
        (TLS12, &[1, 100], wait),
        (TLS12, &[2, 100], Err(Broken::Alert(100))),
        (TLS13, &[2], Err(Broken::Unreadable("an alert of a wrong size"))),
        (TLS13, &[1, 0, 0], Err(Broken::Unreadable("an alert of a wrong size"))),
        (TLS12, &[1, 0, 1, 0], Err(Broken::Unreadable("an alert of a wrong size"))),
    ] {
        let mut forge = Forge::new(version, &AES_256_GCM, Side::Client);
        let record = forge.ordinary(ALERT, alert);
        assert_eq!(forge.hear(&record), (vec![], meaning), "{alert:?}");
        assert_eq!(
            meaning.err().and_then(Broken::alert).is_some(),
            matches!(meaning, Err(Broken::Unreadable(_)))
        );
    }
    assert_eq!(TlsFailure::from(Broken::Alert(20)), TlsFailure::Alert("BadRecordMac".into()));
}

#[test]
fn handshake_messages_that_have_no_place_end_the_connection() {
    let refused = |side, version, records: &[&[u8]]| {
        let mut forge = Forge::new(version, &AES_128_GCM, side);
        let stream: Vec<u8> = records.iter().flat_map(|content| forge.ordinary(HANDSHAKE, content)).collect();
        let (data, outcome) = forge.hear(&stream);
        assert_eq!(data, []);
        outcome.unwrap_err()
    };
    let place = |broken| matches!(broken, Broken::Unexpected(_));
    use Side::{Client, Server};
    // All types, by their first byte alone.
    for kind in 0..=255 {
        if kind != 24 {
            assert!(place(refused(Server, TLS13, &[&[kind]])), "{kind}");
        }
        if ![4, 24].contains(&kind) {
            assert!(place(refused(Client, TLS13, &[&[kind]])), "{kind}");
        }
        if kind != 0 {
            assert!(place(refused(Client, TLS12, &[&[kind]])), "{kind}");
        }
        if kind != 1 {
            assert!(place(refused(Server, TLS12, &[&[kind]])), "{kind}");
        }
    }
    assert_eq!(refused(Server, TLS12, &[&[1, 0, 0, 100]]), Broken::Renegotiation);
    assert!(place(refused(Server, TLS13, &[&[]])), "an empty one");
    let unreadable = |broken| matches!(broken, Broken::Unreadable(_));
    for length in [0, 2, 255] {
        assert!(unreadable(refused(Server, TLS13, &[&[24, 0, 0, length]])));
    }
    assert!(unreadable(refused(Client, TLS13, &[&[4, 0, 128, 1]])), "a ticket of more than 32 KiB");
    for value in 2..=255 {
        assert!(matches!(refused(Server, TLS13, &[&[24, 0, 0, 1, value]]), Broken::Illegal(_)));
    }
    // Something else in the record of a key update, or inside a message.
    assert!(place(refused(Server, TLS13, &[&[24, 0, 0, 1, 0, 24]])));
    assert!(place(refused(Server, TLS13, &[&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]])));
    for (kind, content) in [(APPLICATION_DATA, &b"data"[..]), (APPLICATION_DATA, b""), (ALERT, &CLOSE_NOTIFY)]
    {
        let mut forge = Forge::server();
        let mut stream = forge.ordinary(HANDSHAKE, &[24, 0]);
        stream.extend(forge.ordinary(kind, content));
        let (data, outcome) = forge.hear(&stream);
        assert!(data.is_empty() && unexpected(outcome), "{kind}");
    }
    // A server of TLS 1.2 may ask to begin again, and is not heard.
    let mut forge = Forge::new(TLS12, &AES_128_GCM, Client);
    let record = forge.ordinary(HANDSHAKE, &[0; 4]);
    assert_eq!(forge.hear(&record), (vec![], Ok(Stop::Wait)));
}

#[test]
fn after_a_failure_nothing_is_read_and_the_peer_is_told_once() {
    let suites = Suites::new();
    for (suite, side) in suites.all() {
        let mut oracle = Oracle::new(&suites, suite, side);
        oracle.they_say(b"genuine");
        while oracle.theirs.wants_write() {
            oracle.theirs.write_tls(&mut oracle.to_us).unwrap();
        }
        let genuine = oracle.to_us.len();
        oracle.they_say(b"touched");
        oracle.they_say(b"genuine");
        while oracle.theirs.wants_write() {
            oracle.theirs.write_tls(&mut oracle.to_us).unwrap();
        }
        oracle.to_us[genuine + 14] ^= 1;
        oracle.pass();
        let mut buffer = [0; 100];
        assert_eq!(oracle.ours.read(&mut buffer), Ok(Plaintext::Bytes(7)));
        let failure = oracle.ours.read(&mut buffer).unwrap_err();
        oracle.they_say(b"more");
        oracle.pass();
        assert_eq!(oracle.ours.read(&mut buffer), Err(failure.clone()));
        assert_eq!(oracle.ours.write(b"x", &[]), Err(failure));
        oracle.ours.close();
        let told = oracle.theirs.process_new_packets().unwrap_err();
        assert_eq!(told, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
        assert!(!oracle.ours.wants_write());
    }
}

#[test]
fn data_right_behind_the_handshake_is_not_lost() {
    let suites = Suites::new();
    for (suite, _) in suites.all().filter(|(_, side)| *side == Side::Server) {
        let mut provider = (*suites.provider).clone();
        provider.cipher_suites.retain(|known| known.suite() == suite);
        let config = Arc::new(suites.client_config(Arc::new(provider)));
        let name = ServerName::try_from("example.org").unwrap();
        let mut oracle = Oracle {
            ours: TlsSession::accepting(),
            theirs: Connection::Client(ClientConnection::new(config, name).unwrap()),
            to_us: Vec::new(),
            to_them: Vec::new(),
            they_heard: Vec::new(),
        };
        // Said before the handshake: it leaves in one flight with the client's Finished.
        oracle.they_say(&[7; 40_000]);
        while oracle.ours.is_handshaking() {
            if let Handshake::Hello(_) = oracle.ours.handshake().unwrap() {
                oracle.ours.choose(&suites.listener).unwrap();
                continue;
            }
            oracle.pass();
            let _ = oracle.ours.handshake();
        }
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.extend(read_all(&mut oracle.ours).0);
            oracle.pass();
        }
        assert!(heard == [7; 40_000], "{suite:?}: {}", heard.len());
    }
}

#[test]
fn tickets_of_a_backend_are_kept_however_they_are_cut() {
    for fragment in [None, Some(64), Some(100)] {
        let suites = Suites::new();
        let mut config = suites.server_config(Arc::clone(&suites.provider));
        config.max_fragment_size = fragment;
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let config = Arc::new(config);
        for resumed in [false, true] {
            let mut oracle = Oracle {
                ours: TlsSession::connecting(&suites.client).unwrap(),
                theirs: Connection::Server(ServerConnection::new(Arc::clone(&config)).unwrap()),
                to_us: Vec::new(),
                to_them: Vec::new(),
                they_heard: Vec::new(),
            };
            while oracle.ours.is_handshaking() || oracle.theirs.is_handshaking() {
                oracle.ours.handshake().unwrap();
                oracle.pass();
            }
            oracle.exchange(b"request and answer");
            assert_eq!(oracle.ours.facts().unwrap().resumed, resumed, "{fragment:?}");
        }
    }
}
