//! The built-in backend: answers with a fixed size, late or in fits if asked to, and cheaply enough to stand behind
//! every contestant.

mod http2;
mod session;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// How the backend answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answering {
    /// What is spoken on a connection.
    pub speaks: Speaks,
    /// Bytes of each response body. With TCP nothing is built: bytes go back as they came.
    pub response_bytes: usize,
    /// How long each HTTP answer waits.
    pub delay: Duration,
    /// Nothing at all is done for the first of these times in each of the second ones.
    pub stall: Option<(Duration, Duration)>,
}

/// What the backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, WebSocket echo by upgrade, HTTP/2 by prior knowledge and gRPC echo over it: told apart by what comes.
    Http,
    /// Bytes go back.
    TcpEcho,
    /// Bytes are thrown away.
    TcpSink,
}

/// A backend on threads of this process. Stops when dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Backend {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it ends, which it does only if it can serve no longer, or `stop` is set.
    pub fn wait(mut self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) && self.threads.iter().all(|thread| !thread.is_finished()) {
            std::thread::sleep(worker::LOOK);
        }
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .drain(..)
            .try_for_each(|thread| thread.join().expect("a thread of the backend does not panic"))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _it_has_ended_either_way = self.end();
    }
}

/// Serves until the returned value is dropped. Threads inherit the CPUs of the calling thread.
pub fn serve(listener: TcpListener, answering: &Answering, threads: usize) -> io::Result<Backend> {
    serve_tls(listener, answering, threads, None)
}

/// The same, over TLS if there is a configuration of it.
pub fn serve_tls(
    listener: TcpListener,
    answering: &Answering,
    threads: usize,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<Backend> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let mut backend = Backend { address, stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
    for index in 0..threads {
        let (listener, answering) = (listener.try_clone()?, answering.clone());
        let (tls, stop) = (tls.clone(), Arc::clone(&backend.stop));
        let thread = std::thread::Builder::new().name(format!("backend-{index}"));
        let work = move || worker::Worker::new(listener, answering, tls, stop).and_then(worker::Worker::work);
        backend.threads.push(thread.spawn(work)?);
    }
    Ok(backend)
}

/// TLS 1.3 with the certificate chain and the key of two PEM files; HTTP/2 by ALPN. Only AES-128-GCM and X25519, as the
/// generator offers, so that whatever stands before it is measured with the same.
pub fn tls(certificates: &Path, key: &Path) -> io::Result<ServerConfig> {
    let wrong =
        |file: &Path, error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", file.display()));
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(certificates, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let provider = CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    };
    let mut configuration = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| wrong(certificates, &error))?;
    configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(configuration)
}
