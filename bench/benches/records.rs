//! TLS records: sealing and opening 1 KiB and 16 KiB, by our own record layer and by rustls's unbuffered connections.
//!
//! `ours` goes through a session as the proxy uses it: from the caller's memory into the queue for sending, and from
//! what was received into the caller's memory. `rustls` is what a session did before: the same copies out and in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519};
use ringway_config::{
    Certificate, CertificateKey, Cluster, ClusterKey, Config, Der, EndpointSetKey, GatewayKey, HostPattern,
    Listener, ListenerKey, ListenerProtocol, PrivateKey, TlsTermination, Trust, UpstreamProtocol,
    UpstreamTls, VerifyName,
};
use ringway_proxy::tls::{Clock, Handshake, OPEN_BYTES, Plaintext, TlsSession, TlsStore};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

const LENGTHS: [usize; 2] = [1 << 10, 16 << 10];

struct Identity {
    authority: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

fn identity() -> Identity {
    let pair = || KeyPair::generate_for(&PKCS_ED25519).expect("a key can be made");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, pair()).expect("a certificate can be made");
    let key = pair();
    let params = CertificateParams::new(vec!["example.org".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &authority).expect("a certificate can be made");
    Identity {
        authority: authority.der().to_vec(),
        certificate: certificate.der().to_vec(),
        key: key.serialize_der(),
    }
}

fn store(identity: &Identity) -> TlsStore {
    let certificate = Certificate {
        key: CertificateKey::new("cert"),
        chain: vec![Der::new(identity.certificate.clone())],
        private_key: PrivateKey::new(identity.key.clone()),
    };
    let termination = TlsTermination { certificates: vec![certificate.key.clone()], client: None };
    let listener = Listener {
        key: ListenerKey::new("listener"),
        gateway: GatewayKey::new("gateway"),
        binds: Vec::new(),
        protocol: ListenerProtocol::Https(termination),
        hostname: HostPattern::Any,
        proxy_protocol: false,
        request_body_bytes_max: None,
    };
    let cluster = Cluster {
        key: ClusterKey::new("cluster"),
        endpoints: EndpointSetKey::new("cluster"),
        protocol: UpstreamProtocol::Http1,
        tls: Some(UpstreamTls {
            sni: "example.org".into(),
            verify: VerifyName::Sni,
            trust: Trust::Roots(vec![Der::new(identity.authority.clone())]),
            client_certificate: None,
        }),
        balance: Default::default(),
        limits: Default::default(),
        outlier: None,
        connect_timeout: Duration::from_secs(1),
    };
    let mut config = Config::default();
    config.certificates.insert(certificate.key.clone(), Arc::new(certificate));
    config.listeners.insert(listener.key.clone(), Arc::new(listener));
    config.clusters.insert(cluster.key.clone(), Arc::new(cluster));
    let (clock, _hand) = Clock::driven(SystemTime::now());
    let (store, problems) = TlsStore::new(clock).next(&config);
    assert_eq!(problems, []);
    store
}

/// Takes what a session has to send.
fn drain(session: &mut TlsSession, mut with: impl FnMut(&[u8])) {
    let flushed = session.flush(&mut |pieces| {
        with(&pieces[0]);
        Ok(pieces[0].len())
    });
    flushed.expect("memory takes all");
}

fn receive(session: &mut TlsSession, wire: &[u8]) {
    let filled = session.fill(&mut |room| {
        room[..wire.len()].copy_from_slice(wire);
        Ok(wire.len())
    });
    filled.expect("there is room for a record");
}

/// A client and a server after their handshake.
fn ours(identity: &Identity) -> (TlsSession, TlsSession) {
    let store = store(identity);
    let client = store.client(&ClusterKey::new("cluster")).expect("configured");
    let server = store.server(&ListenerKey::new("listener")).expect("configured");
    let (mut near, mut far) = (TlsSession::connecting(client).expect("configured"), TlsSession::accepting());
    loop {
        let at_near = near.handshake().expect("both agree");
        let at_far = far.handshake().expect("both agree");
        if matches!(at_far, Handshake::Hello(_)) {
            far.choose(server).expect("configured");
            continue;
        }
        if (at_near, at_far) == (Handshake::Done, Handshake::Done) {
            return (near, far);
        }
        pass(&mut near, &mut far);
        pass(&mut far, &mut near);
    }
}

fn pass(from: &mut TlsSession, to: &mut TlsSession) {
    let mut wire = Vec::new();
    drain(from, |bytes| wire.extend_from_slice(bytes));
    if !wire.is_empty() {
        receive(to, &wire);
    }
}

/// The same with rustls alone, and its bytes on the way.
struct Theirs {
    client: UnbufferedClientConnection,
    server: UnbufferedServerConnection,
}

/// Runs one side as far as it goes: what it says is appended, what it has used is removed.
macro_rules! run {
    ($connection:expr, $incoming:expr, $outgoing:expr) => {
        loop {
            let UnbufferedStatus { discard, state } = $connection.process_tls_records($incoming);
            let done = match state.expect("both agree") {
                ConnectionState::EncodeTlsData(mut data) => {
                    let mut room = vec![0; 20_000];
                    let count = data.encode(&mut room).expect("there is room");
                    $outgoing.extend_from_slice(&room[..count]);
                    false
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    false
                }
                _ => true,
            };
            $incoming.drain(..discard);
            if done {
                break;
            }
        }
    };
}

fn theirs(identity: &Identity) -> Theirs {
    let provider = || {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // The suite that both of our own sessions agree on.
        provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_256_GCM_SHA384);
        Arc::new(provider)
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(identity.authority.clone())).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let chain = vec![CertificateDer::from(identity.certificate.clone())];
    let key = PrivateKeyDer::try_from(identity.key.clone()).expect("a key");
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    let name = ServerName::try_from("example.org").expect("a name");
    let mut theirs = Theirs {
        client: UnbufferedClientConnection::new(Arc::new(client), name).expect("configured"),
        server: UnbufferedServerConnection::new(Arc::new(server)).expect("configured"),
    };
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    while theirs.client.is_handshaking() || theirs.server.is_handshaking() || !to_client.is_empty() {
        run!(theirs.client, &mut to_client, to_server);
        run!(theirs.server, &mut to_server, to_client);
    }
    theirs
}

impl Theirs {
    fn seal(&mut self, data: &[u8], room: &mut [u8]) -> usize {
        let UnbufferedStatus { state, .. } = self.client.process_tls_records(&mut []);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else { panic!("nothing waits") };
        traffic.encrypt(data, room).expect("there is room")
    }

    fn open(&mut self, wire: &mut [u8], into: &mut [u8]) -> usize {
        let UnbufferedStatus { state, .. } = self.server.process_tls_records(wire);
        let Ok(ConnectionState::ReadTraffic(mut traffic)) = state else { panic!("a record is there") };
        let record = traffic.next_record().expect("a record is there").expect("it holds");
        into[..record.payload.len()].copy_from_slice(record.payload);
        record.payload.len()
    }
}

fn records(criterion: &mut Criterion) {
    let identity = identity();
    let mut room = vec![0; 20_000];
    let mut group = criterion.benchmark_group("seal");
    for length in LENGTHS {
        let data = vec![7; length];
        group.throughput(Throughput::Bytes(length as u64));
        let (mut near, _far) = ours(&identity);
        group.bench_function(BenchmarkId::new("ours", length), |bencher| {
            bencher.iter(|| {
                assert_eq!(near.write(&data, &[]), Ok(length));
                drain(&mut near, |bytes| {
                    std::hint::black_box(bytes);
                });
            });
        });
        let mut theirs = theirs(&identity);
        group.bench_function(BenchmarkId::new("rustls", length), |bencher| {
            bencher.iter(|| theirs.seal(&data, &mut room));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("open");
    let mut into = vec![0; OPEN_BYTES];
    for length in LENGTHS {
        let data = vec![7; length];
        group.throughput(Throughput::Bytes(length as u64));
        let (mut near, mut far) = ours(&identity);
        group.bench_function(BenchmarkId::new("ours", length), |bencher| {
            let sealed = || {
                assert_eq!(near.write(&data, &[]), Ok(length));
                let mut wire = Vec::new();
                drain(&mut near, |bytes| wire.extend_from_slice(bytes));
                wire
            };
            bencher.iter_batched_ref(
                sealed,
                |wire| {
                    receive(&mut far, wire);
                    assert_eq!(far.read(&mut into), Ok(Plaintext::Bytes(length)));
                },
                BatchSize::SmallInput,
            );
        });
        let theirs = std::cell::RefCell::new(theirs(&identity));
        group.bench_function(BenchmarkId::new("rustls", length), |bencher| {
            let sealed = || {
                let mut wire = vec![0; length + 100];
                let count = theirs.borrow_mut().seal(&data, &mut wire);
                wire.truncate(count);
                wire
            };
            bencher.iter_batched_ref(
                sealed,
                |wire| {
                    // As it came from a socket into memory of the session.
                    let received = &mut room[..wire.len()];
                    received.copy_from_slice(wire);
                    assert_eq!(theirs.borrow_mut().open(received, &mut into), length);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
