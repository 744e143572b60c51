//! Takes proxies' connections, over TLS with the newest certificate, until told to stop. I/O only.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ringway_wire::proto::configuration_server::ConfigurationServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::admission::Admission;
use super::hub::{Calls, Hub};
use super::limits::{
    ACKNOWLEDGE_WITHIN, CONNECTIONS_MAX, FROM_PROXY_BYTES_MAX, HEARTBEAT_EVERY, HELLO_WITHIN,
    SEND_BUFFER_BYTES,
};
use super::stream::Service;

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Not PEM, or nothing in it.
    #[error("the {what} is not PEM: {source}")]
    Pem {
        /// The certificate or the key.
        what: &'static str,
        /// What the parser says.
        source: tokio_rustls::rustls::pki_types::pem::Error,
    },
    /// Key and certificate do not belong together, or are of a kind that is not known.
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// TLS as [`serve`] takes it, from a certificate chain and its key as PEM.
pub fn tls(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, ServeError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| ServeError::Pem { what: "certificate", source })?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| ServeError::Pem { what: "key", source })?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Serves proxies until `stop` resolves; then every stream ends, and the proxies go elsewhere.
///
/// `tls`: the newest is shown to each new connection; `None`: without TLS.
pub async fn serve<A: Admission>(
    hub: Hub,
    socket: TcpListener,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    admission: A,
    stop: impl Future<Output = ()> + Send,
) {
    let admission = Arc::new(admission);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropping this ends every connection.
    let (alive, ended) = watch::channel(());
    let accepting = async {
        loop {
            let permit = Arc::clone(&room).acquire_owned().await.expect("nobody closes it");
            let stream = accept(&socket).await;
            let acceptor = tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow())));
            let (hub, admission, mut ended) = (hub.clone(), Arc::clone(&admission), ended.clone());
            tokio::spawn(async move {
                let calls = Arc::new(Calls::default());
                let service = Service { hub, admission, calls: Arc::clone(&calls) };
                tokio::select! {
                    result = connection(stream, acceptor, service) => {
                        if let Err(error) = result {
                            tracing::debug!(%error, "a proxy's connection ended");
                        }
                    }
                    () = calls.cut.notified() => {}
                    _ = ended.changed() => {}
                }
                drop(permit);
            });
        }
    };
    let sweeping = async {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            hub.cut_stalled(Instant::now());
        }
    };
    tokio::select! {
        () = accepting => {}
        () = sweeping => {}
        () = stop => {}
    }
    drop(alive);
}

async fn accept(socket: &TcpListener) -> TcpStream {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        match socket.accept().await {
            Ok((stream, _peer)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a proxy's connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn connection<A: Admission>(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    service: Service<A>,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    match acceptor {
        None => http2(stream, service).await,
        Some(acceptor) => {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake takes too long");
            let stream =
                tokio::time::timeout(HELLO_WITHIN, acceptor.accept(stream)).await.map_err(late)??;
            http2(stream, service).await
        }
    }
}

async fn http2<A: Admission>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Service<A>,
) -> Result<(), Failure> {
    let service = ConfigurationServer::new(service).max_decoding_message_size(FROM_PROXY_BYTES_MAX);
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HEARTBEAT_EVERY)
        .keep_alive_timeout(ACKNOWLEDGE_WITHIN)
        .max_concurrent_streams(1)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await?;
    Ok(())
}
