//! TLS to an upstream: whom we trust, which names its certificate must hold, what we show. Never plain text instead.

use std::net::IpAddr;
use std::sync::Arc;

use ringway_config::{Trust, UpstreamProtocol, UpstreamTls, VerifyName};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientConfig, Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor,
    verify_server_name,
};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::Loaded;
use super::server::{TlsFault, roots};
use super::{Alpn, Clock, VERSIONS, provider};

/// Sessions of a cluster that may be resumed, over all cores: the latest tickets. Older ones are forgotten, and those
/// connections make a full handshake.
const SESSIONS_KEPT: usize = 8;

/// All that the handshakes with one cluster need.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl ClientTls {
    /// `None` when no connection could ever be made: then `faults` says why, and requests are answered 503.
    pub(super) fn new(
        tls: &UpstreamTls,
        protocol: UpstreamProtocol,
        shown: Option<&Arc<Loaded>>,
        system: &Arc<RootCertStore>,
        clock: &Clock,
        faults: &mut Vec<TlsFault>,
    ) -> Option<Self> {
        let Some(name) = server_name(&tls.sni) else {
            faults.push(TlsFault::ServerName);
            return None;
        };
        let roots = match &tls.trust {
            Trust::Roots(authorities) => roots(authorities, faults)?,
            Trust::System => Arc::clone(system),
        };
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider()));
        let Ok(chain) = chain.build() else {
            faults.push(TlsFault::NoAuthority);
            return None;
        };
        let verifier: Arc<dyn ServerCertVerifier> = match &tls.verify {
            VerifyName::Sni => chain,
            VerifyName::AnyOf { hostnames, uris } => {
                let names = Names::new(hostnames, uris, faults);
                Arc::new(AnyOf { roots, names, signatures: chain })
            }
        };
        let builder = ClientConfig::builder_with_details(Arc::clone(provider()), Arc::new(clock.clone()))
            .with_protocol_versions(VERSIONS)
            .expect("aws-lc-rs has cipher suites and key exchanges for both versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match shown {
            Some(loaded) => {
                let shown = SingleCertAndKey::from(Arc::clone(&loaded.certified));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match protocol {
            UpstreamProtocol::Http1 => vec![Alpn::Http1.as_bytes().to_vec()],
            UpstreamProtocol::Http2 => vec![Alpn::Http2.as_bytes().to_vec()],
            UpstreamProtocol::Opaque => Vec::new(),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
        // Early data can be replayed by anybody who saw it.
        config.enable_early_data = false;
        // The record layer is ours once the handshake is over.
        config.enable_secret_extraction = true;
        Some(Self { config: Arc::new(config), name })
    }

    pub(super) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    pub(super) fn name(&self) -> &ServerName<'static> {
        &self.name
    }
}

/// Verifies that a trusted authority issued the certificate, and that at least one name in it is one of these. The
/// server name that was sent plays no part.
#[derive(Debug)]
struct AnyOf {
    roots: Arc<RootCertStore>,
    names: Names,
    signatures: Arc<WebPkiServerVerifier>,
}

#[derive(Debug)]
struct Names {
    hosts: Vec<ServerName<'static>>,
    /// `*.suffix`, lower case: the certificate must hold this very name.
    wildcards: Vec<Box<str>>,
    uris: Vec<Arc<str>>,
}

impl Names {
    fn new(hostnames: &[Arc<str>], uris: &[Arc<str>], faults: &mut Vec<TlsFault>) -> Self {
        let mut names = Self { hosts: Vec::new(), wildcards: Vec::new(), uris: uris.to_vec() };
        for (place, hostname) in hostnames.iter().enumerate() {
            if hostname.starts_with("*.") {
                names.wildcards.push(hostname.to_ascii_lowercase().into());
            } else if let Some(name) = server_name(hostname) {
                names.hosts.push(name);
            } else {
                faults.push(TlsFault::Hostname(place));
            }
        }
        names
    }

    fn one_is_in(&self, leaf: &CertificateDer<'_>) -> Result<bool, rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        if self.hosts.iter().any(|host| verify_server_name(&parsed, host).is_ok()) {
            return Ok(true);
        }
        let Ok(leaf) = webpki::EndEntityCert::try_from(leaf) else {
            return Err(CertificateError::BadEncoding.into());
        };
        let wanted = |name: &str| self.wildcards.iter().any(|wildcard| wildcard.eq_ignore_ascii_case(name));
        let wildcard = !self.wildcards.is_empty() && leaf.valid_dns_names().any(wanted);
        Ok(wildcard || leaf.valid_uri_names().any(|uri| self.uris.iter().any(|wanted| **wanted == *uri)))
    }
}

impl ServerCertVerifier for AnyOf {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sent: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        if self.names.one_is_in(leaf)? {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

/// A DNS name or an IP address; IPv6 with or without brackets.
fn server_name(text: &str) -> Option<ServerName<'static>> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(text.to_owned()).ok(),
    }
}

#[cfg(test)]
impl ClientTls {
    pub(super) fn for_test(mut config: ClientConfig, name: ServerName<'static>) -> Arc<Self> {
        config.enable_secret_extraction = true;
        Arc::new(Self { config: Arc::new(config), name })
    }
}

#[cfg(test)]
mod tests {
    use ringway_config::{ClientValidationMode, ClusterKey, Der};

    use super::super::testing::{Authority, Bench, Leaf, leaf, upstream, validation};
    use super::super::{CertificateRefusal, TlsFailure, TlsPlace, TlsProblem};
    use super::*;

    const H1: UpstreamProtocol = UpstreamProtocol::Http1;

    #[test]
    fn an_upstream_is_believed_if_its_certificate_holds_one_of_the_names() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        let names = ["svc.example.org", "*.wild.org", "10.0.0.1", "2001:db8::1"];
        let uris = ["spiffe://mesh/ns/a/sa/b"];
        bench.listener("listener", &[&authority.issue("cert", Leaf { uris: &uris, ..leaf(&names) })], None);
        // Hostnames, URIs, whether one is in the certificate.
        let table: [(&[&str], &[&str], bool); 16] = [
            (&["svc.example.org"], &[], true),
            (&["SVC.example.org"], &[], true),
            (&["other.example.org"], &[], false),
            (&["other.example.org", "svc.example.org"], &[], true),
            (&["a.wild.org"], &[], true),
            (&["a.b.wild.org"], &[], false),
            (&["wild.org"], &[], false),
            (&["*.wild.org"], &[], true),
            (&["*.example.org"], &[], false),
            (&["10.0.0.1"], &[], true),
            (&["[2001:db8::1]"], &[], true),
            (&["10.0.0.2"], &[], false),
            (&[], &["spiffe://mesh/ns/a/sa/b"], true),
            (&[], &["spiffe://mesh/ns/a/sa/B"], false),
            (&["other.example.org"], &["spiffe://mesh/ns/a/sa/b"], true),
            (&[], &[], false),
        ];
        for (place, (hostnames, uris, _)) in table.iter().enumerate() {
            let owned = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
            let verify = VerifyName::AnyOf { hostnames: owned(hostnames), uris: owned(uris) };
            // The name that is sent is in no certificate: it must not matter.
            bench.cluster(&place.to_string(), H1, UpstreamTls { verify, ..upstream("sent.net", &authority) });
        }
        assert_eq!(bench.apply(), []);
        for (place, (hostnames, uris, believed)) in table.iter().enumerate() {
            let outcome = bench.connect(&place.to_string(), "listener");
            assert_eq!(outcome.hello.unwrap().sni.as_deref(), Some("sent.net"));
            let expected =
                if *believed { Ok(()) } else { Err(TlsFailure::Certificate(CertificateRefusal::WrongName)) };
            assert_eq!(outcome.client, expected, "{hostnames:?} {uris:?}");
        }
    }

    #[test]
    fn without_other_names_the_certificate_must_be_for_the_name_that_is_sent() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.listener(
            "listener",
            &[&authority.issue("cert", leaf(&["a.org", "*.b.org", "10.0.0.1"]))],
            None,
        );
        for (sni, believed) in [("a.org", true), ("x.b.org", true), ("b.org", false), ("10.0.0.1", true)] {
            bench.cluster("client", H1, upstream(sni, &authority));
            bench.apply();
            let outcome = bench.connect("client", "listener");
            assert_eq!(outcome.client.is_ok(), believed, "{sni}: {:?}", outcome.client);
        }
    }

    #[test]
    fn an_upstream_of_another_authority_or_outside_its_time_or_purpose_is_refused() {
        let authority = Authority::new("authority");
        let stranger = Authority::new("stranger");
        let mut purpose = leaf(&["a.org"]);
        purpose.usage = Some(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
        for (certificate, refusal) in [
            (stranger.issue("cert", leaf(&["a.org"])), CertificateRefusal::UnknownIssuer),
            (
                authority.issue("cert", Leaf { years: (2024, 2025), ..leaf(&["a.org"]) }),
                CertificateRefusal::Expired,
            ),
            (
                authority.issue("cert", Leaf { years: (2027, 2028), ..leaf(&["a.org"]) }),
                CertificateRefusal::NotYetValid,
            ),
            (authority.issue("cert", purpose), CertificateRefusal::WrongPurpose),
        ] {
            let mut bench = Bench::new();
            bench.listener("listener", &[&certificate], None);
            bench.cluster("sni", H1, upstream("a.org", &authority));
            let verify = VerifyName::AnyOf { hostnames: vec!["a.org".into()], uris: vec![] };
            bench.cluster("any", H1, UpstreamTls { verify, ..upstream("a.org", &authority) });
            bench.apply();
            for cluster in ["sni", "any"] {
                let outcome = bench.connect(cluster, "listener");
                assert_eq!(outcome.client, Err(TlsFailure::Certificate(refusal)), "{cluster}");
                assert!(matches!(outcome.server, Err(TlsFailure::Alert(_))), "the upstream is told");
            }
        }
    }

    #[test]
    fn our_certificate_is_shown_when_the_upstream_asks() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        let server = authority.issue("server", leaf(&["a.org"]));
        let strict = validation(&authority, ClientValidationMode::AllowValidOnly);
        bench.listener("asks", &[&server], strict);
        bench.listener("does-not", &[&server], None);
        let ours = authority.issue("ours", Leaf { uris: &["spiffe://mesh/gateway"], ..leaf(&[]) });
        bench.certificate(&ours);
        let client_certificate = Some(ours.key.clone());
        bench.cluster("client", H1, UpstreamTls { client_certificate, ..upstream("a.org", &authority) });
        bench.apply();
        let wire = bench.connect("client", "asks").unwrap();
        let peer = wire.server.facts().unwrap().peer.clone().unwrap();
        assert_eq!(peer.uris, ["spiffe://mesh/gateway"]);
        bench.connect("client", "does-not").unwrap();
    }

    #[test]
    fn sessions_are_resumed() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.listener("listener", &[&authority.issue("cert", leaf(&["a.org"]))], None);
        bench.cluster("client", H1, upstream("a.org", &authority));
        bench.apply();
        let resumed =
            || bench.connect("client", "listener").unwrap().client.facts().map(|facts| facts.resumed);
        assert_eq!((resumed(), resumed(), resumed()), (Some(false), Some(true), Some(true)));
    }

    #[test]
    fn a_change_of_trust_ends_resumption() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.listener("listener", &[&authority.issue("cert", leaf(&["a.org"]))], None);
        bench.cluster("client", H1, upstream("a.org", &authority));
        bench.apply();
        bench.connect("client", "listener").unwrap();
        bench.cluster("client", H1, upstream("a.org", &Authority::new("other")));
        bench.apply();
        let outcome = bench.connect("client", "listener");
        assert_eq!(outcome.client, Err(TlsFailure::Certificate(CertificateRefusal::UnknownIssuer)));
    }

    #[test]
    fn what_cannot_work_is_reported_and_makes_no_connection() {
        let authority = Authority::new("authority");
        let mut bench = Bench::new();
        bench.cluster("sni", H1, upstream("not a name", &authority));
        let trust = Trust::Roots(vec![Der::new(vec![1])]);
        bench.cluster("trust", H1, UpstreamTls { trust, ..upstream("a.org", &authority) });
        let missing = ringway_config::CertificateKey::new("missing");
        let client_certificate = Some(missing.clone());
        bench.cluster("shown", H1, UpstreamTls { client_certificate, ..upstream("a.org", &authority) });
        let verify = VerifyName::AnyOf { hostnames: vec!["b.org".into(), "b org".into()], uris: vec![] };
        bench.cluster("works", H1, UpstreamTls { verify, ..upstream("a.org", &authority) });
        let problem = |cluster: &str, fault| {
            let place = TlsPlace::Cluster(ClusterKey::new(cluster));
            TlsProblem { place, fault, serves: cluster == "works" }
        };
        let fault = super::super::CertificateFault::Missing;
        assert_eq!(
            bench.apply(),
            [
                problem("shown", TlsFault::Certificate { key: missing, fault, kept: false }),
                problem("sni", TlsFault::ServerName),
                problem("trust", TlsFault::Authority(0)),
                problem("trust", TlsFault::NoAuthority),
                problem("works", TlsFault::Hostname(1)),
            ]
        );
        for (cluster, works) in [("sni", false), ("trust", false), ("shown", false), ("works", true)] {
            assert_eq!(bench.store.client(&ClusterKey::new(cluster)).is_some(), works, "{cluster}");
        }
    }
}
