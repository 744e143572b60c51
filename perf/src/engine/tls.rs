//! The offer of every handshake. It decides for all contestants alike: TLS 1.3, AES-128-GCM, X25519 (or its hybrid),
//! and ECDSA P-256 before anything else that a certificate may need.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::RunError;
use crate::plan::{Protocol, Tls};

/// Tickets that are kept for later. A server that sends more wastes them.
const TICKETS_MAX: usize = 4_096;

/// The configuration of one thread. Threads share no tickets.
pub(crate) fn configuration(tls: &Tls, protocol: Protocol) -> Result<ClientConfig, RunError> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![if tls.hybrid { kx_group::X25519MLKEM768 } else { kx_group::X25519 }],
        ..default_provider()
    });
    let algorithms = provider.signature_verification_algorithms;
    let chain = match &tls.ca {
        None => None,
        Some(file) => {
            let wrong = |error: &dyn std::fmt::Display| {
                RunError::Plan(format!("{}: {error}; it must hold trust anchors as PEM", file.display()))
            };
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(verifier.build().map_err(|error| wrong(&error))?)
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the suite and the groups are those of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { chain, algorithms }));
    let mut configuration = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificates, key)) => {
            let wrong = |file: &std::path::Path, error: &dyn std::fmt::Display| {
                RunError::Plan(format!("{}: {error}", file.display()))
            };
            let chain = CertificateDer::pem_file_iter(certificates)
                .and_then(Iterator::collect)
                .map_err(|error| wrong(certificates, &error))?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| wrong(certificates, &error))?
        }
    };
    configuration.resumption = match protocol {
        Protocol::ConnectResumed => Resumption::store(Arc::new(Tickets::default())),
        _ => Resumption::disabled(),
    };
    configuration.alpn_protocols = match protocol {
        Protocol::Http2 | Protocol::Grpc | Protocol::GrpcStream => vec![b"h2".to_vec()],
        Protocol::TcpPing | Protocol::TcpBulk => Vec::new(),
        _ => vec![b"http/1.1".to_vec()],
    };
    Ok(configuration)
}

/// Verifies the chain if there are trust anchors, and the handshake's signature always.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.chain {
            None => Ok(ServerCertVerified::assertion()),
            Some(chain) => chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        // A server with an RSA certificate only is measured too; one with both must use the cheap one.
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}

/// Tickets to resume with, each used once, newest first, since servers forget. There is one target, so names are not told apart.
#[derive(Debug, Default)]
struct Tickets(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() == TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }
}
