//! What an idle TLS connection costs. In a process of its own, because it looks at the memory of the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519};
use ringway_config::{
    Certificate, CertificateKey, Cluster, ClusterKey, Config, Der, EndpointSetKey, GatewayKey, HostPattern,
    Listener, ListenerKey, ListenerProtocol, PrivateKey, TlsTermination, Trust, UpstreamProtocol,
    UpstreamTls, VerifyName,
};
use ringway_proxy::tls::{Clock, Handshake, Plaintext, TlsSession, TlsStore};

/// Enough that what the process itself needs does not count.
const SESSIONS: usize = 1000;
/// One session after a request and its answer, in bytes. Measured: 2.5 KiB on the server's side, 3.0 KiB on the other.
const IDLE_BYTES_MAX: usize = 4 << 10;

#[test]
fn an_idle_session_stays_within_its_bytes() {
    let store = store();
    let server = store.server(&ListenerKey::new("listener")).unwrap();
    let client = store.client(&ClusterKey::new("cluster")).unwrap();
    // The first ones fill pools, tables and caches.
    let exchange = || {
        let (mut near, mut far) = (TlsSession::connecting(client).unwrap(), TlsSession::accepting());
        loop {
            let at_near = near.handshake().unwrap();
            let at_far = far.handshake().unwrap();
            if matches!(at_far, Handshake::Hello(_)) {
                far.choose(server).unwrap();
                continue;
            }
            if (at_near, at_far) == (Handshake::Done, Handshake::Done) && !far.wants_write() {
                break;
            }
            carry(&mut near, &mut far);
            carry(&mut far, &mut near);
        }
        say(&mut near, &mut far);
        say(&mut far, &mut near);
        (near, far)
    };
    let warm: Vec<_> = (0..50).map(|_| exchange()).collect();
    let start = resident_bytes();
    let servers: Vec<_> = (0..SESSIONS).map(|_| exchange().1).collect();
    let between = resident_bytes();
    let clients: Vec<_> = (0..SESSIONS).map(|_| exchange().0).collect();
    let end = resident_bytes();
    let each = [between - start, end - between].map(|held| held / SESSIONS);
    eprintln!("bytes as server, as client: {each:?}");
    assert!(
        each.iter().all(|held| (1000..=IDLE_BYTES_MAX).contains(held)),
        "bytes as server, as client: {each:?}"
    );
    drop((warm, servers, clients));
}

fn say(from: &mut TlsSession, to: &mut TlsSession) {
    let mut buffer = [0; 2048];
    assert_eq!(from.write(&[7; 1024], &[]), Ok(1024));
    carry(from, to);
    assert_eq!(to.read(&mut buffer), Ok(Plaintext::Bytes(1024)));
    assert_eq!(to.read(&mut buffer), Ok(Plaintext::Wait));
}

fn carry(from: &mut TlsSession, to: &mut TlsSession) {
    let mut wire = Vec::new();
    from.flush(&mut |pieces| {
        wire.extend_from_slice(&pieces[0]);
        Ok(pieces[0].len())
    })
    .unwrap();
    if !wire.is_empty() {
        to.fill(&mut |room| {
            room[..wire.len()].copy_from_slice(&wire);
            Ok(wire.len())
        })
        .unwrap();
    }
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kibibytes << 10
}

fn store() -> TlsStore {
    let pair = || KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, pair()).unwrap();
    let key = pair();
    let params = CertificateParams::new(vec!["example.org".to_owned()]).unwrap();
    let certificate = Certificate {
        key: CertificateKey::new("cert"),
        chain: vec![Der::new(params.signed_by(&key, &authority).unwrap().der().to_vec())],
        private_key: PrivateKey::new(key.serialize_der()),
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
            trust: Trust::Roots(vec![Der::new(authority.der().to_vec())]),
            client_certificate: None,
        }),
        balance: Default::default(),
        limits: Default::default(),
        outlier: None,
        connect_timeout: Duration::from_secs(1),
    };
    let config = Config {
        certificates: BTreeMap::from([(certificate.key.clone(), Arc::new(certificate))]),
        listeners: BTreeMap::from([(listener.key.clone(), Arc::new(listener))]),
        clusters: BTreeMap::from([(cluster.key.clone(), Arc::new(cluster))]),
        ..Config::default()
    };
    let (clock, _hand) = Clock::driven(SystemTime::now());
    let (store, problems) = TlsStore::new(clock).next(&config);
    assert_eq!(problems, []);
    store
}
