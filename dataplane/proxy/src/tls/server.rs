//! TLS from clients: what a listener needs for its handshakes, made once a change and shared by all cores.
//!
//! Which certificate is shown is decided here, which client is believed in `visitor.rs`. The listener itself is chosen
//! before, by the hello's server name (`ringway_core::View`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ringway_config::{CertificateKey, ClientValidation, Der};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::certificate::{CertificateFault, Loaded, der_of};
use super::tickets::Tickets;
use super::visitor::{Clients, Visitor};
use super::{Alpn, Clock, VERSIONS, provider};

/// Tickets given after a full TLS 1.3 handshake: each opens one session, and browsers open two connections.
const TICKETS_GIVEN: usize = 2;

/// Something in the configuration of a listener or cluster that TLS cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// A certificate is left out, or the last good one is shown in its place.
    Certificate {
        /// Its name.
        key: CertificateKey,
        /// Why.
        fault: CertificateFault,
        /// Whether there is a last good one.
        kept: bool,
    },
    /// A trust anchor is left out: it is no certificate. Holds its place in the list.
    Authority(usize),
    /// No certificate is left: handshakes of the listener are refused.
    NoCertificate,
    /// No trust anchor is left: nobody could be verified, so every handshake fails.
    NoAuthority,
    /// The server name to send is neither a DNS name nor an IP address: no connection can be made.
    ServerName,
    /// A name that no certificate can be for is left out of those to verify. Holds its place in the list.
    Hostname(usize),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { key, fault, kept: false } => write!(f, "certificate {key}: {fault}"),
            Self::Certificate { key, fault, kept: true } => {
                write!(f, "certificate {key}: {fault}; the last good one stays in use")
            }
            Self::Authority(index) => write!(f, "trust anchor {index} is no certificate"),
            Self::NoCertificate => f.write_str("no usable certificate"),
            Self::NoAuthority => f.write_str("no usable trust anchor"),
            Self::ServerName => f.write_str("the server name is neither a DNS name nor an IP address"),
            Self::Hostname(index) => write!(f, "hostname {index} is neither a DNS name nor an IP address"),
        }
    }
}

/// All that the handshakes of one listener need.
#[derive(Debug)]
pub struct ServerTls {
    /// For every client, where none is asked for a certificate; else what a client's own is made after.
    shared: Arc<ServerConfig>,
    tickets: Arc<Tickets>,
    clients: Option<Arc<Clients>>,
    clock: Clock,
}

impl ServerTls {
    /// `None` when the listener cannot serve: then `faults` says why. Other faults only narrow what it can do.
    pub(super) fn new(
        alpn: &[Alpn],
        certificates: &[Arc<Loaded>],
        validation: Option<&ClientValidation>,
        clock: &Clock,
        faults: &mut Vec<TlsFault>,
    ) -> Option<Self> {
        let clients = match validation.map(|validation| Clients::new(validation, clock, faults)) {
            // A listener that is to verify clients and cannot must not let everybody in.
            Some(None) => return None,
            Some(Some(clients)) => Some(Arc::new(clients)),
            None => None,
        };
        let Some(resolver) = BySni::new(certificates) else {
            faults.push(TlsFault::NoCertificate);
            return None;
        };
        let tickets = Arc::new(Tickets::new(clock.clone()));
        let mut shared = settings(clock, WebPkiClientVerifier::no_client_auth(), Arc::new(resolver));
        shared.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        shared.ticketer = Arc::clone(&tickets) as _;
        Some(Self { shared: Arc::new(shared), tickets, clients, clock: clock.clone() })
    }

    /// A connection that has seen nothing yet; with its visitor, where clients are asked for certificates.
    pub(super) fn connection(
        &self,
    ) -> Result<(UnbufferedServerConnection, Option<Arc<Visitor>>), rustls::Error> {
        let Some(clients) = &self.clients else {
            return Ok((UnbufferedServerConnection::new(Arc::clone(&self.shared))?, None));
        };
        let visitor = Arc::new(Visitor::new(clients, &self.tickets));
        let verifier = Arc::clone(&visitor) as _;
        let mut own = settings(&self.clock, verifier, Arc::clone(&self.shared.cert_resolver));
        own.alpn_protocols.clone_from(&self.shared.alpn_protocols);
        own.ticketer = Arc::clone(&visitor) as _;
        Ok((UnbufferedServerConnection::new(Arc::new(own))?, Some(visitor)))
    }

    /// Forgets ticket keys that are over.
    pub(super) fn expire_tickets(&self) {
        self.tickets.expire();
    }
}

#[cfg(test)]
impl ServerTls {
    /// The same, with records no longer than this.
    pub(super) fn with_fragments_of(&self, bytes: usize) -> Self {
        let mut shared = (*self.shared).clone();
        shared.max_fragment_size = Some(bytes);
        let (tickets, clients) = (Arc::clone(&self.tickets), self.clients.clone());
        Self { shared: Arc::new(shared), tickets, clients, clock: self.clock.clone() }
    }

    pub(super) fn draw_ticket_key(&self) {
        assert!(self.shared.ticketer.encrypt(b"session").is_some());
    }

    pub(super) fn holds_ticket_keys(&self) -> bool {
        self.tickets.holds_keys()
    }
}

fn settings(
    clock: &Clock,
    verifier: Arc<dyn ClientCertVerifier>,
    resolver: Arc<dyn ResolvesServerCert>,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_details(Arc::clone(provider()), Arc::new(clock.clone()))
        .with_protocol_versions(VERSIONS)
        .expect("aws-lc-rs has cipher suites and key exchanges for both versions")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS_GIVEN;
    // Early data can be replayed by anybody who saw it.
    config.max_early_data_size = 0;
    // The record layer is ours once the handshake is over.
    config.enable_secret_extraction = true;
    config
}

/// Chooses among a listener's certificates.
#[derive(Debug)]
struct BySni {
    /// Never empty.
    certificates: Vec<Arc<Loaded>>,
    /// Places in `certificates`, by DNS name; wildcards without their `*.`.
    exact: HashMap<Box<str>, Vec<usize>>,
    wildcard: HashMap<Box<str>, Vec<usize>>,
}

impl BySni {
    /// `None` without certificates.
    fn new(certificates: &[Arc<Loaded>]) -> Option<Self> {
        if certificates.is_empty() {
            return None;
        }
        let mut chooser =
            Self { certificates: certificates.to_vec(), exact: HashMap::new(), wildcard: HashMap::new() };
        for (place, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut chooser.wildcard, suffix),
                    None => (&mut chooser.exact, &**name),
                };
                names.entry(name.into()).or_default().push(place);
            }
        }
        Some(chooser)
    }

    /// The first that can be used of: those that name the host, those whose wildcard covers it (one label), all. If
    /// none can be used, the default: the handshake then fails with the alert that says so.
    fn choose(&self, sni: Option<&str>, usable: impl Fn(&CertifiedKey) -> bool) -> &Arc<CertifiedKey> {
        let exact = sni.and_then(|sni| self.exact.get(sni)).into_iter().flatten();
        let parent = sni.and_then(|sni| sni.split_once('.')).map(|(_label, parent)| parent);
        let wildcard = parent.and_then(|parent| self.wildcard.get(parent)).into_iter().flatten();
        let named = exact.chain(wildcard).map(|place| &self.certificates[*place]);
        let mut candidates = named.chain(&self.certificates).map(|loaded| &loaded.certified);
        candidates.find(|certified| usable(certified)).unwrap_or(&self.certificates[0].certified)
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |certified: &CertifiedKey| certified.key.choose_scheme(schemes).is_some();
        Some(Arc::clone(self.choose(hello.server_name(), usable)))
    }
}

/// Trust anchors; unreadable ones are left out and reported. `None` when none is left.
pub(super) fn roots(authorities: &[Der], faults: &mut Vec<TlsFault>) -> Option<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for (place, authority) in authorities.iter().enumerate() {
        if roots.add(der_of(authority).into_owned()).is_err() {
            faults.push(TlsFault::Authority(place));
        }
    }
    if roots.is_empty() {
        faults.push(TlsFault::NoAuthority);
        return None;
    }
    Some(Arc::new(roots))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ringway_config::{
        ClientValidationMode, Der, ListenerProtocol, TlsTermination, UpstreamProtocol, UpstreamTls,
    };
    use rustls::client::ClientSessionMemoryCache;
    use rustls::client::danger::HandshakeSignatureValid;
    use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    use super::super::testing::{Authority, Bench, Leaf, Outcome, connect, leaf, upstream, validation};
    use super::super::{
        CertificateRefusal, ClientTls, Plaintext, TlsFailure, TlsPlace, TlsProblem, TlsSession, TlsVersion,
    };
    use super::*;

    const H1: UpstreamProtocol = UpstreamProtocol::Http1;

    /// The certificate that a client of this server name sees, by its place.
    fn shown(wire: &TlsSession, certificates: &[&Arc<ringway_config::Certificate>]) -> Option<usize> {
        let leaf = wire.peer_certificate()?;
        certificates.iter().position(|certificate| certificate.chain[0].as_bytes() == leaf)
    }

    /// A client that verifies nothing of names, so that any certificate may be shown to it.
    fn curious(
        sni: &str,
        authority: &Authority,
        schemes: Option<&'static [SignatureScheme]>,
    ) -> Arc<ClientTls> {
        #[derive(Debug)]
        struct Curious(
            Arc<dyn rustls::client::danger::ServerCertVerifier>,
            Option<&'static [SignatureScheme]>,
        );

        impl rustls::client::danger::ServerCertVerifier for Curious {
            fn verify_server_cert(
                &self,
                _: &CertificateDer<'_>,
                _: &[CertificateDer<'_>],
                _: &ServerName<'_>,
                _: &[u8],
                _: UnixTime,
            ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
                Ok(rustls::client::danger::ServerCertVerified::assertion())
            }

            fn verify_tls12_signature(
                &self,
                message: &[u8],
                cert: &CertificateDer<'_>,
                signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, rustls::Error> {
                self.0.verify_tls12_signature(message, cert, signature)
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                cert: &CertificateDer<'_>,
                signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, rustls::Error> {
                self.0.verify_tls13_signature(message, cert, signature)
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                self.1.map_or_else(|| self.0.supported_verify_schemes(), <[_]>::to_vec)
            }
        }

        let roots = roots(&[authority.der()], &mut Vec::new()).unwrap();
        let strict =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(VERSIONS)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Curious(strict.build().unwrap(), schemes)))
            .with_no_client_auth();
        config.enable_sni = !sni.is_empty();
        let name = if sni.is_empty() { "unnamed" } else { sni };
        ClientTls::for_test(config, ServerName::try_from(name.to_owned()).unwrap())
    }

    #[test]
    fn the_certificate_is_chosen_by_exact_name_then_by_wildcard_then_the_first() {
        let authority = Authority::new("authority");
        let first = authority.issue("first", leaf(&["first.org"]));
        let wildcard = authority.issue("wildcard", leaf(&["*.example.org", "example.org"]));
        let exact = authority.issue("exact", leaf(&["www.example.org"]));
        let all = [&first, &wildcard, &exact];
        let mut bench = Bench::new();
        bench.listener("listener", &all, None);
        bench.apply();
        for (sni, place) in [
            ("first.org", 0),
            ("www.example.org", 2),
            ("WWW.Example.Org", 2),
            ("other.example.org", 1),
            ("example.org", 1),
            ("a.b.example.org", 0),
            ("unknown.net", 0),
            ("", 0),
        ] {
            let outcome = connect(&curious(sni, &authority, None), &bench.server("listener"));
            assert_eq!(shown(&outcome.unwrap().client, &all), Some(place), "{sni:?}");
        }
    }

    #[test]
    fn among_certificates_for_a_name_the_client_gets_one_whose_signature_it_can_check() {
        const ED25519: &[SignatureScheme] = &[SignatureScheme::ED25519];
        const P256: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
        const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];
        let authority = Authority::new("authority");
        let ed25519 = authority.issue("ed25519", leaf(&["example.org"]));
        let p256 = authority.issue("p256", Leaf { p256: true, ..leaf(&["example.org"]) });
        let all = [&ed25519, &p256];
        let mut bench = Bench::new();
        bench.listener("listener", &all, None);
        bench.apply();
        for (schemes, place) in [(ED25519, Some(0)), (P256, Some(1)), (RSA, None)] {
            let client = curious("example.org", &authority, Some(schemes));
            let outcome = connect(&client, &bench.server("listener"));
            assert_eq!(shown(&outcome.wire.client, &all), place, "{schemes:?}");
            if place.is_none() {
                assert_eq!(outcome.client, Err(TlsFailure::Alert("HandshakeFailure".into())));
                assert!(matches!(outcome.server, Err(TlsFailure::Incompatible(_))));
            }
        }
    }

    #[test]
    fn alpn_is_ours_for_https_and_none_for_tls() {
        let authority = Authority::new("authority");
        let certificate = authority.issue("cert", leaf(&["example.org"]));
        let mut bench = Bench::new();
        bench.listener("https", &[&certificate], None);
        let termination = TlsTermination { certificates: vec![certificate.key.clone()], client: None };
        bench.protocol("tls", ListenerProtocol::TlsTerminate(termination));
        for (name, protocol) in
            [("h1", H1), ("h2", UpstreamProtocol::Http2), ("opaque", UpstreamProtocol::Opaque)]
        {
            bench.cluster(name, protocol, upstream("example.org", &authority));
        }
        bench.apply();
        for (cluster, listener, alpn) in [
            ("h1", "https", Some(Alpn::Http1)),
            ("h2", "https", Some(Alpn::Http2)),
            ("opaque", "https", None),
            ("h1", "tls", None),
            ("opaque", "tls", None),
        ] {
            let wire = bench.connect(cluster, listener).unwrap();
            for session in [&wire.client, &wire.server] {
                assert_eq!(session.facts().unwrap().alpn, alpn, "{cluster} {listener}");
            }
        }
    }

    #[test]
    fn a_client_that_offers_other_protocols_only_is_refused() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.listener("listener", &[&authority.issue("cert", leaf(&["example.org"]))], None);
        bench.apply();
        let client = curious("example.org", &authority, None);
        let mut config = (**client.config()).clone();
        config.alpn_protocols = vec![b"imap".to_vec()];
        let client = ClientTls::for_test(config, client.name().clone());
        let outcome = connect(&client, &bench.server("listener"));
        assert!(matches!(outcome.server, Err(TlsFailure::Incompatible(_))), "{:?}", outcome.server);
        assert_eq!(outcome.client, Err(TlsFailure::Alert("NoApplicationProtocol".into())));
    }

    #[test]
    fn key_exchange_is_post_quantum_where_the_client_can() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.listener("listener", &[&authority.issue("cert", leaf(&["example.org"]))], None);
        bench.cluster("h1", H1, upstream("example.org", &authority));
        bench.apply();
        let wire = bench.connect("h1", "listener").unwrap();
        for session in [&wire.client, &wire.server] {
            assert_eq!(session.key_exchange(), Some(rustls::NamedGroup::X25519MLKEM768));
        }
    }

    #[test]
    fn tls_1_2_works_and_older_versions_are_not_offered() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.listener("listener", &[&authority.issue("cert", leaf(&["example.org"]))], None);
        bench.apply();
        let client = old_client(&authority);
        let wire = connect(&client, &bench.server("listener")).unwrap();
        assert_eq!(wire.server.facts().unwrap().version, TlsVersion::Tls12);
        let wire = connect(&client, &bench.server("listener")).unwrap();
        assert!(wire.server.facts().unwrap().resumed, "by a ticket");
    }

    fn old_client(authority: &Authority) -> Arc<ClientTls> {
        let roots = roots(&[authority.der()], &mut Vec::new()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (clock, _) = Clock::driven(super::super::testing::start());
        config.time_provider = Arc::new(clock);
        ClientTls::for_test(config, ServerName::try_from("example.org").unwrap())
    }

    /// What became of a client: an identity, none, or a failed handshake.
    #[derive(Debug, PartialEq)]
    enum Client {
        Known(Vec<String>),
        Unknown,
        Failed(TlsFailure),
    }

    fn judged(outcome: &Outcome) -> Client {
        match (&outcome.server, outcome.wire.server.facts()) {
            (Err(failure), _) => Client::Failed(failure.clone()),
            (Ok(()), Some(facts)) => match &facts.peer {
                Some(peer) => Client::Known([&peer.dns_names[..], &peer.uris].concat()),
                None => Client::Unknown,
            },
            (Ok(()), None) => panic!("neither done nor failed"),
        }
    }

    #[test]
    fn clients_are_known_unknown_or_refused_as_the_mode_says() {
        use CertificateRefusal as Refusal;
        use ClientValidationMode::{AllowInsecureFallback as Fallback, AllowValidOnly as Strict};
        let authority = Authority::new("authority");
        let stranger = Authority::new("stranger");
        let mut bench = Bench::new();
        let server = authority.issue("server", leaf(&["example.org"]));
        bench.listener("strict", &[&server], validation(&authority, Strict));
        bench.listener("fallback", &[&server], validation(&authority, Fallback));
        bench.listener("open", &[&server], None);
        let spiffe = ["spiffe://mesh/ns/a/sa/b"];
        let mut client_usage = leaf(&["client.org"]);
        client_usage.usage = Some(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
        let shows = [
            authority.issue("good", Leaf { uris: &spiffe, ..leaf(&["Client.org"]) }),
            stranger.issue("strange", leaf(&["client.org"])),
            authority.issue("expired", Leaf { years: (2024, 2025), ..leaf(&["client.org"]) }),
            authority.issue("early", Leaf { years: (2027, 2028), ..leaf(&["client.org"]) }),
            authority.issue("purpose", client_usage),
        ];
        bench.cluster("none", H1, upstream("example.org", &authority));
        for certificate in &shows {
            bench.certificate(certificate);
            let client_certificate = Some(certificate.key.clone());
            let tls = UpstreamTls { client_certificate, ..upstream("example.org", &authority) };
            bench.cluster(certificate.key.as_str(), H1, tls);
        }
        assert_eq!(bench.apply(), []);

        let good = || Client::Known(vec!["client.org".into(), spiffe[0].into()]);
        let refused = |refusal| Client::Failed(TlsFailure::Certificate(refusal));
        for (shown, strict, alert) in [
            ("good", good(), None),
            ("none", Client::Failed(TlsFailure::NoCertificate), Some("CertificateRequired")),
            ("strange", refused(Refusal::UnknownIssuer), Some("UnknownCA")),
            ("expired", refused(Refusal::Expired), Some("CertificateExpired")),
            ("early", refused(Refusal::NotYetValid), Some("CertificateExpired")),
            ("purpose", refused(Refusal::WrongPurpose), Some("UnsupportedCertificate")),
        ] {
            let outcome = bench.connect(shown, "strict");
            assert_eq!(judged(&outcome), strict, "strict {shown}");
            assert_eq!(outcome.client.err(), alert.map(|alert| TlsFailure::Alert(alert.into())), "{shown}");
            let fallback = if shown == "good" { good() } else { Client::Unknown };
            for resumed in [false, true] {
                let outcome = bench.connect(shown, "fallback");
                assert_eq!(judged(&outcome), fallback, "fallback {shown}");
                assert_eq!(outcome.wire.server.facts().unwrap().resumed, resumed, "fallback {shown}");
                outcome.unwrap();
            }
            assert_eq!(judged(&bench.connect(shown, "open")), Client::Unknown, "open {shown}");
        }
    }

    #[test]
    fn fallback_takes_a_certificate_that_cannot_be_read_and_believes_nothing() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        let server = authority.issue("server", leaf(&["example.org"]));
        bench.listener(
            "fallback",
            &[&server],
            validation(&authority, ClientValidationMode::AllowInsecureFallback),
        );
        let good = authority.issue("good", leaf(&["client.org"]));
        bench.certificate(&good);
        let client_certificate = Some(good.key.clone());
        bench.cluster("good", H1, UpstreamTls { client_certificate, ..upstream("example.org", &authority) });
        bench.apply();
        let client = bench.client("good");
        let ready = Loaded::new(&good).unwrap().certified;
        for cert in [vec![0x30, 0x03, 1, 2, 3], vec![]] {
            let broken = CertifiedKey::new(vec![CertificateDer::from(cert)], Arc::clone(&ready.key));
            let mut config = (**client.config()).clone();
            config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(broken));
            let client = ClientTls::for_test(config, client.name().clone());
            let outcome = connect(&client, &bench.server("fallback"));
            assert_eq!(judged(&outcome), Client::Unknown);
        }
    }

    #[test]
    fn fallback_does_not_believe_somebody_elses_certificate() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        let server = authority.issue("server", leaf(&["example.org"]));
        bench.listener(
            "fallback",
            &[&server],
            validation(&authority, ClientValidationMode::AllowInsecureFallback),
        );
        bench.cluster("plain", H1, upstream("example.org", &authority));
        bench.apply();
        let stolen = Loaded::new(&authority.issue("stolen", leaf(&["admin.org"]))).unwrap().certified;
        let own = Loaded::new(&authority.issue("own", leaf(&["thief.org"]))).unwrap().certified;
        let pretended = CertifiedKey::new(stolen.cert.clone(), Arc::clone(&own.key));
        let client = bench.client("plain");
        let mut config = (**client.config()).clone();
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(pretended));
        let client = ClientTls::for_test(config, client.name().clone());
        let outcome = connect(&client, &bench.server("fallback"));
        assert_eq!(
            judged(&outcome),
            Client::Failed(TlsFailure::Certificate(CertificateRefusal::BadSignature))
        );
    }

    #[derive(Debug)]
    struct Renewable(Mutex<Arc<CertifiedKey>>);

    impl rustls::client::ResolvesClientCert for Renewable {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0.lock().unwrap()))
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_ticket_does_not_outlive_the_client_certificate_that_it_stands_for() {
        use ClientValidationMode::{AllowInsecureFallback, AllowValidOnly};
        let authority = Authority::new("authority");
        let hour = std::time::Duration::from_secs(3600);
        let end = super::super::testing::start() + hour * 24 * 365;
        for mode in [AllowValidOnly, AllowInsecureFallback] {
            for renewed in [false, true] {
                let mut bench = Bench::new();
                let long = |names| Leaf { years: (2025, 2030), ..leaf(names) };
                let server = authority.issue("server", long(&["example.org"]));
                bench.listener("listener", &[&server], validation(&authority, mode));
                let client = authority.issue("client", leaf(&["client.org"]));
                bench.certificate(&client);
                let client_certificate = Some(client.key.clone());
                let tls = UpstreamTls { client_certificate, ..upstream("example.org", &authority) };
                bench.cluster("client", H1, tls);
                bench.apply();
                let visit = |bench: &Bench, tls: &ClientTls| {
                    let outcome = connect(tls, &bench.server("listener"));
                    let resumed = outcome.wire.server.facts().is_some_and(|facts| facts.resumed);
                    (judged(&outcome), resumed)
                };
                // The client keeps its sessions when it gets a newer certificate.
                let shown = Loaded::new(&client).unwrap().certified;
                let shown = Arc::new(Renewable(Mutex::new(shown)));
                let plain = bench.client("client");
                let mut config = (**plain.config()).clone();
                config.client_auth_cert_resolver = Arc::clone(&shown) as _;
                let tls = ClientTls::for_test(config, plain.name().clone());
                let known = || Client::Known(vec!["client.org".into()]);
                // Within the hour before the certificate ends, and within the hour after.
                bench.hand.set(end - hour / 2);
                assert_eq!(visit(&bench, &tls), (known(), false));
                bench.hand.set(end - hour / 3);
                assert_eq!(visit(&bench, &tls), (known(), true));
                bench.hand.set(end + hour / 2);
                if renewed {
                    let newer = Loaded::new(&authority.issue("client", long(&["client.org"]))).unwrap();
                    *shown.0.lock().unwrap() = newer.certified;
                    assert_eq!(visit(&bench, &tls), (known(), false), "{mode:?}");
                    assert_eq!(visit(&bench, &tls), (known(), true), "{mode:?}");
                    continue;
                }
                let expired = match mode {
                    AllowValidOnly => Client::Failed(TlsFailure::Certificate(CertificateRefusal::Expired)),
                    AllowInsecureFallback => Client::Unknown,
                };
                assert_eq!(visit(&bench, &tls), (expired, false), "{mode:?}");
            }
        }
    }

    /// A second connection with the tickets of the first, after the configuration changed; whether it resumed.
    fn resumes(bench: &mut Bench, second: &str, change: impl FnOnce(&mut Bench)) -> bool {
        let client = bench.client("client");
        let mut config = (**client.config()).clone();
        config.resumption = rustls::client::Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        let client = ClientTls::for_test(config, client.name().clone());
        connect(&client, &bench.server("listener")).unwrap();
        change(bench);
        bench.apply();
        let wire = connect(&client, &bench.server(second)).unwrap();
        let resumed = wire.server.facts().unwrap().resumed;
        assert_eq!(wire.client.facts().unwrap().resumed, resumed);
        resumed
    }

    #[test]
    fn a_ticket_opens_its_own_listener_until_its_certificates_or_client_validation_change() {
        use ClientValidationMode::AllowInsecureFallback;
        let authority = Authority::new("authority");
        let other = Authority::new("other");
        let cert = authority.issue("cert", leaf(&["example.org"]));
        let bench = || {
            let mut bench = Bench::new();
            bench.listener("listener", &[&cert], None);
            bench.listener("twin", &[&cert], None);
            bench.cluster("client", H1, upstream("example.org", &authority));
            bench.apply();
            bench
        };
        assert!(resumes(&mut bench(), "listener", |_| {}));
        assert!(!resumes(&mut bench(), "twin", |_| {}), "not even with the same certificates");
        assert!(resumes(&mut bench(), "listener", |bench| {
            let mut changed =
                (*bench.config.listeners[&ringway_config::ListenerKey::new("listener")]).clone();
            changed.request_body_bytes_max = Some(1);
            bench.config.listeners.insert(changed.key.clone(), Arc::new(changed));
            bench.listener("third", &[&cert], None);
        }));
        assert!(!resumes(&mut bench(), "listener", |bench| {
            bench.listener("listener", &[&authority.issue("cert", leaf(&["example.org"]))], None);
        }));
        assert!(!resumes(&mut bench(), "listener", |bench| {
            bench.listener("listener", &[&cert], validation(&other, AllowInsecureFallback));
        }));
    }

    #[test]
    fn tickets_survive_one_rotation_and_not_two() {
        let authority = Authority::new("authority");
        for (hours, survives) in [(1, true), (13, true), (25, false)] {
            let mut bench = Bench::new();
            bench.listener("listener", &[&authority.issue("cert", leaf(&["example.org"]))], None);
            bench.cluster("client", H1, upstream("example.org", &authority));
            bench.apply();
            let later = super::super::testing::start() + std::time::Duration::from_secs(hours * 3600);
            assert_eq!(resumes(&mut bench, "listener", |bench| bench.hand.set(later)), survives, "{hours} h");
        }
    }

    #[test]
    fn bad_certificates_are_reported_and_left_out_and_never_panic() {
        let authority = Authority::new("authority");
        let good = authority.issue("good", leaf(&["example.org"]));
        let p256 = authority.issue("p256", Leaf { p256: true, ..leaf(&["example.org"]) });
        let with = |key: &str, chain: Vec<Der>, private_key: &[u8]| {
            Arc::new(ringway_config::Certificate {
                key: CertificateKey::new(key),
                chain,
                private_key: ringway_config::PrivateKey::new(private_key.to_vec()),
            })
        };
        let good_key = good.private_key.expose();
        for (broken, fault) in [
            (with("broken", vec![Der::new(vec![1, 2, 3])], good_key), CertificateFault::Malformed),
            (with("broken", vec![], good_key), CertificateFault::Malformed),
            (with("broken", good.chain.clone(), b"no key"), CertificateFault::PrivateKey),
            (with("broken", good.chain.clone(), b""), CertificateFault::PrivateKey),
            (with("broken", good.chain.clone(), &good_key[..20]), CertificateFault::PrivateKey),
            (with("broken", good.chain.clone(), p256.private_key.expose()), CertificateFault::Mismatch),
        ] {
            let mut bench = Bench::new();
            bench.listener("mixed", &[&broken, &good], None);
            bench.listener("none", &[&broken], None);
            bench.cluster("client", H1, upstream("example.org", &authority));
            let problem = |listener: &str, fault, serves| TlsProblem {
                place: TlsPlace::Listener(ringway_config::ListenerKey::new(listener)),
                fault,
                serves,
            };
            let fault = TlsFault::Certificate { key: broken.key.clone(), fault, kept: false };
            let expected = [
                problem("mixed", fault.clone(), true),
                problem("none", fault, false),
                problem("none", TlsFault::NoCertificate, false),
            ];
            assert_eq!(bench.apply(), expected);
            assert_eq!(bench.apply(), expected, "for as long as it lasts");
            bench.connect("client", "mixed").unwrap();
            assert!(bench.store.server(&ringway_config::ListenerKey::new("none")).is_none());
        }
    }

    #[test]
    fn without_a_usable_authority_nobody_is_let_in() {
        let authority = Authority::new("authority");
        let cert = authority.issue("cert", leaf(&["example.org"]));
        let mut bench = Bench::new();
        let validation = |authorities| {
            Some(ClientValidation { authorities, mode: ClientValidationMode::AllowInsecureFallback })
        };
        bench.listener("none", &[&cert], validation(vec![Der::new(vec![1])]));
        bench.listener("some", &[&cert], validation(vec![Der::new(vec![1]), authority.der()]));
        let faults: Vec<_> = bench.apply().into_iter().map(|problem| problem.fault).collect();
        assert_eq!(faults, [TlsFault::Authority(0), TlsFault::NoAuthority, TlsFault::Authority(0)]);
        assert!(bench.store.server(&ringway_config::ListenerKey::new("none")).is_none());
        assert!(bench.store.server(&ringway_config::ListenerKey::new("some")).is_some());
    }

    #[test]
    fn a_missing_certificate_is_reported_and_heals_when_it_comes() {
        let authority = Authority::new("authority");
        let cert = authority.issue("cert", leaf(&["example.org"]));
        let mut bench = Bench::new();
        bench.listener("listener", &[&cert], None);
        bench.cluster("client", H1, upstream("example.org", &authority));
        bench.config.certificates.clear();
        let faults: Vec<_> = bench.apply().into_iter().map(|problem| problem.fault).collect();
        let missing =
            TlsFault::Certificate { key: cert.key.clone(), fault: CertificateFault::Missing, kept: false };
        assert_eq!(faults, [missing, TlsFault::NoCertificate]);
        bench.certificate(&cert);
        assert_eq!(bench.apply(), []);
        let mut wire = bench.connect("client", "listener").unwrap();
        wire.client.write(b"hello", &[]).unwrap();
        wire.deliver();
        let mut buffer = [0; 16];
        assert_eq!(wire.server.read(&mut buffer), Ok(Plaintext::Bytes(5)));
    }
}
