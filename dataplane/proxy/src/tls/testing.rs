//! What the tests of this module share: a certificate authority, configurations, and a wire between two sessions.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, date_time_ymd,
};
use ringway_config::{
    Balance, Certificate, CertificateKey, ClientValidation, ClientValidationMode, Cluster, ClusterKey,
    ClusterLimits, Config, Der, EndpointSetKey, GatewayKey, HostPattern, Listener, ListenerKey,
    ListenerProtocol, PrivateKey, TlsTermination, Trust, UpstreamProtocol, UpstreamTls, VerifyName,
};

use super::{
    ClientTls, Clock, ClockHand, Handshake, Hello, Plaintext, ServerTls, TlsFailure, TlsProblem, TlsSession,
    TlsStore,
};

/// 1 January 2026, when the tests begin. Certificates are valid from 2025 to 2027 if nothing else is said.
pub(super) fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// What a leaf certificate is to say.
#[derive(Clone)]
pub(super) struct Leaf<'a> {
    pub(super) names: &'a [&'a str],
    pub(super) uris: &'a [&'a str],
    pub(super) usage: Option<ExtendedKeyUsagePurpose>,
    pub(super) years: (i32, i32),
    pub(super) p256: bool,
}

/// For these DNS names and IP addresses.
pub(super) fn leaf<'a>(names: &'a [&'a str]) -> Leaf<'a> {
    Leaf { names, uris: &[], usage: None, years: (2025, 2027), p256: false }
}

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519).unwrap()).unwrap())
    }

    pub(super) fn der(&self) -> Der {
        Der::new(self.0.der().to_vec())
    }

    pub(super) fn issue(&self, key: &str, leaf: Leaf<'_>) -> Arc<Certificate> {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(leaf.years.0, 1, 1);
        params.not_after = date_time_ymd(leaf.years.1, 1, 1);
        let name = |name: &&str| match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = leaf.names.iter().map(name).collect();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names.extend(leaf.uris.iter().map(uri));
        params.extended_key_usages.extend(leaf.usage);
        let algorithm = if leaf.p256 { &PKCS_ECDSA_P256_SHA256 } else { &PKCS_ED25519 };
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&pair, &self.0).unwrap();
        Arc::new(Certificate {
            key: CertificateKey::new(key),
            chain: vec![Der::new(certificate.der().to_vec())],
            private_key: PrivateKey::new(pair.serialize_der()),
        })
    }
}

/// A configuration under construction, with the store made of it and the clock that both sides go by.
pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) store: TlsStore,
    pub(super) hand: ClockHand,
}

impl Bench {
    pub(super) fn new() -> Self {
        let (clock, hand) = Clock::driven(start());
        Self { config: Config::default(), store: TlsStore::new(clock), hand }
    }

    pub(super) fn certificate(&mut self, certificate: &Arc<Certificate>) {
        self.config.certificates.insert(certificate.key.clone(), Arc::clone(certificate));
    }

    /// A listener that shows these certificates, added to the configuration.
    pub(super) fn listener(
        &mut self,
        name: &str,
        certificates: &[&Arc<Certificate>],
        client: Option<ClientValidation>,
    ) {
        certificates.iter().for_each(|certificate| self.certificate(certificate));
        let certificates = certificates.iter().map(|certificate| certificate.key.clone()).collect();
        self.protocol(name, ListenerProtocol::Https(TlsTermination { certificates, client }));
    }

    pub(super) fn protocol(&mut self, name: &str, protocol: ListenerProtocol) {
        let listener = Listener {
            key: ListenerKey::new(name),
            gateway: GatewayKey::new("ns/gateway"),
            binds: Vec::new(),
            protocol,
            hostname: HostPattern::Any,
            proxy_protocol: false,
            request_body_bytes_max: None,
        };
        self.config.listeners.insert(listener.key.clone(), Arc::new(listener));
    }

    pub(super) fn cluster(&mut self, name: &str, protocol: UpstreamProtocol, tls: UpstreamTls) {
        let cluster = Cluster {
            key: ClusterKey::new(name),
            endpoints: EndpointSetKey::new(name),
            protocol,
            tls: Some(tls),
            balance: Balance::default(),
            limits: ClusterLimits::default(),
            outlier: None,
            connect_timeout: Duration::from_secs(1),
        };
        self.config.clusters.insert(cluster.key.clone(), Arc::new(cluster));
    }

    /// Puts the configuration into force.
    pub(super) fn apply(&mut self) -> Vec<TlsProblem> {
        let (store, problems) = self.store.next(&self.config);
        self.store = store;
        problems
    }

    pub(super) fn server(&self, name: &str) -> Arc<ServerTls> {
        Arc::clone(self.store.server(&ListenerKey::new(name)).expect("the listener can serve"))
    }

    pub(super) fn client(&self, name: &str) -> Arc<ClientTls> {
        Arc::clone(self.store.client(&ClusterKey::new(name)).expect("connections can be made"))
    }

    pub(super) fn connect(&self, cluster: &str, listener: &str) -> Outcome {
        connect(&self.client(cluster), &self.server(listener))
    }
}

/// TLS to a server of this name, with certificates from this authority.
pub(super) fn upstream(sni: &str, authority: &Authority) -> UpstreamTls {
    UpstreamTls {
        sni: sni.into(),
        verify: VerifyName::Sni,
        trust: Trust::Roots(vec![authority.der()]),
        client_certificate: None,
    }
}

pub(super) fn validation(authority: &Authority, mode: ClientValidationMode) -> Option<ClientValidation> {
    Some(ClientValidation { authorities: vec![authority.der()], mode })
}

/// Both ends of a connection, and the bytes on their way between them.
pub(super) struct Wire {
    pub(super) client: TlsSession,
    pub(super) server: TlsSession,
    pub(super) to_server: Vec<u8>,
    pub(super) to_client: Vec<u8>,
    /// Bytes that arrive in one piece.
    pub(super) piece: usize,
    /// All bytes that were sent so far.
    pub(super) sent_to_server: usize,
    pub(super) sent_to_client: usize,
    /// A bit to turn: on the way to the server (0) or the client (1), in this byte of all.
    pub(super) flip: Option<(usize, usize)>,
}

/// How a handshake went on both sides.
pub(super) struct Outcome {
    pub(super) wire: Wire,
    pub(super) hello: Option<Hello>,
    pub(super) client: Result<(), TlsFailure>,
    pub(super) server: Result<(), TlsFailure>,
}

pub(super) fn connect(client: &ClientTls, server: &Arc<ServerTls>) -> Outcome {
    Wire::new(client).handshake(server)
}

impl Wire {
    pub(super) fn new(client: &ClientTls) -> Self {
        Self {
            client: TlsSession::connecting(client).unwrap(),
            server: TlsSession::accepting(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            piece: usize::MAX,
            sent_to_server: 0,
            sent_to_client: 0,
            flip: None,
        }
    }

    /// Runs the handshake until neither side has anything more to say. Tickets arrive, as with a first answer.
    pub(super) fn handshake(mut self, server: &Arc<ServerTls>) -> Outcome {
        let mut hello = None;
        let (mut at_client, mut at_server) = (Ok(Handshake::Wait), Ok(Handshake::Wait));
        loop {
            at_client = at_client.and_then(|_| self.client.handshake());
            at_server = at_server.and_then(|_| self.server.handshake());
            if let Ok(Handshake::Hello(asked)) = &at_server {
                hello = Some(asked.clone());
                self.server.choose(server).unwrap();
                continue;
            }
            self.server.hurry();
            if self.deliver() == 0 {
                break;
            }
        }
        // In TLS 1.3 the client is done before the server has judged its certificate: the verdict comes by reading.
        if at_client.is_ok() {
            let mut buffer = [0; 64];
            at_client = self.client.read(&mut buffer).map(|_| Handshake::Done);
        }
        Outcome { wire: self, hello, client: at_client.map(drop), server: at_server.map(drop) }
    }

    /// Moves one piece each way; says how much moved.
    pub(super) fn deliver(&mut self) -> usize {
        let (waiting, passing) = (self.to_server.len(), self.to_client.len());
        flush(&mut self.client, &mut self.to_server);
        flush(&mut self.server, &mut self.to_client);
        match self.flip {
            Some((0, at)) => flip(&mut self.to_server[waiting..], at.checked_sub(self.sent_to_server)),
            Some((_, at)) => flip(&mut self.to_client[passing..], at.checked_sub(self.sent_to_client)),
            None => {}
        }
        self.sent_to_server += self.to_server.len() - waiting;
        self.sent_to_client += self.to_client.len() - passing;
        let to_server = fill(&mut self.server, &mut self.to_server, self.piece);
        to_server + fill(&mut self.client, &mut self.to_client, self.piece)
    }
}

fn flip(sent: &mut [u8], at: Option<usize>) {
    if let Some(byte) = at.and_then(|at| sent.get_mut(at)) {
        *byte ^= 0x10;
    }
}

impl Outcome {
    pub(super) fn unwrap(self) -> Wire {
        assert_eq!((&self.client, &self.server), (&Ok(()), &Ok(())));
        assert!(!self.wire.client.is_handshaking() && !self.wire.server.is_handshaking());
        self.wire
    }
}

pub(super) fn flush(from: &mut TlsSession, wire: &mut Vec<u8>) {
    from.flush(&mut |pieces| {
        wire.extend_from_slice(&pieces[0]);
        Ok(pieces[0].len())
    })
    .unwrap();
}

pub(super) fn fill(into: &mut TlsSession, wire: &mut Vec<u8>, piece: usize) -> usize {
    if wire.is_empty() {
        return 0;
    }
    into.fill(&mut |room| {
        let count = wire.len().min(room.len()).min(piece);
        room[..count].copy_from_slice(&wire[..count]);
        wire.drain(..count);
        Ok(count)
    })
    .unwrap()
}

/// The transport ends.
pub(super) fn end(session: &mut TlsSession) {
    session.fill(&mut |_| io::Result::Ok(0)).unwrap();
}

/// Everything that can be read now, and what reading said then.
pub(super) fn read_all(session: &mut TlsSession) -> (Vec<u8>, Result<Plaintext, TlsFailure>) {
    let (mut all, mut buffer) = (Vec::new(), [0; 5000]);
    loop {
        match session.read(&mut buffer) {
            Ok(Plaintext::Bytes(count)) => all.extend_from_slice(&buffer[..count]),
            other => return (all, other),
        }
    }
}
