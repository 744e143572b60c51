//! A small HTTP/1.1 server for the control thread: the admin server and the demo backend. It carries no traffic of users.
//!
//! Connections, heads and waiting are bounded, so that a stranger on a shared network cannot use it up.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// A request's head, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// From a connection, or its last answer, to the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection, whatever it does.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

/// An answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>, client: SocketAddr) -> impl Future<Output = Answer> + Send;
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, service: Arc<impl Service>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            unreachable!("the semaphore is never closed")
        };
        match listener.accept().await {
            Ok((socket, client)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    let _slow =
                        tokio::time::timeout(CONNECTION_AGE_MAX, connection(socket, client, service)).await;
                    drop(place);
                });
            }
            // Out of descriptors, most likely: some will be free in a moment.
            Err(error) => {
                tracing::debug!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, client: SocketAddr, service: Arc<impl Service>) {
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request, client).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, %client, "connection failed");
    }
}

/// An answer with a body.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
