//! A small HTTP/1.1 server for the control thread: the admin server and the demo backend. It carries no traffic of users.
//!
//! Connections, heads and waiting are bounded, so that a stranger on a shared network cannot use it up. When all places are
//! taken, whoever has been idle longest goes: a probe is always answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

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

/// Serves until it is dropped, so many connections at once. For a further one the longest idle one is closed, or the oldest
/// if none is idle.
pub(crate) async fn serve(listener: TcpListener, connections_max: usize, service: Arc<impl Service>) {
    // In the order in which they came.
    let mut open: Vec<Open> = Vec::new();
    loop {
        match listener.accept().await {
            Ok((socket, client)) => {
                open.retain(|open| !open.task.is_finished());
                if open.len() >= connections_max {
                    let idle = open.iter().position(|open| !open.answering.load(Ordering::Relaxed));
                    open.remove(idle.unwrap_or(0)).task.abort();
                }
                let service = Arc::clone(&service);
                let answering = Arc::new(AtomicBool::new(false));
                let shown = Arc::clone(&answering);
                let task = tokio::spawn(async move {
                    let served = connection(socket, client, service, shown);
                    let _slow = tokio::time::timeout(CONNECTION_AGE_MAX, served).await;
                });
                open.push(Open { task, answering });
            }
            // Out of descriptors, most likely: some will be free in a moment.
            Err(error) => {
                tracing::debug!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection that is being served.
struct Open {
    task: JoinHandle<()>,
    /// An answer is being made; otherwise it is idle, or takes its time to read one.
    answering: Arc<AtomicBool>,
}

async fn connection(
    socket: TcpStream,
    client: SocketAddr,
    service: Arc<impl Service>,
    answering: Arc<AtomicBool>,
) {
    let answer = service_fn(move |request| {
        let (service, answering) = (Arc::clone(&service), Arc::clone(&answering));
        async move {
            answering.store(true, Ordering::Relaxed);
            let answer = service.answer(request, client).await;
            answering.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Always;

    impl Service for Always {
        async fn answer(&self, _: Request<Incoming>, _: SocketAddr) -> Answer {
            answer(StatusCode::OK, "text/plain", "here")
        }
    }

    #[tokio::test]
    async fn whoever_only_waits_makes_room_for_whoever_asks() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        const CONNECTIONS_MAX: usize = 8;
        tokio::spawn(serve(listener, CONNECTIONS_MAX, Arc::new(Always)));
        let mut waiting = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            let mut socket = TcpStream::connect(address).await.unwrap();
            // Some have begun a head, which is no reason to wait for its end.
            socket.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
            waiting.push(socket);
        }
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"GET /live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        // Well before the first of them has waited for too long.
        tokio::time::timeout(HEAD_TIMEOUT / 2, socket.read_to_string(&mut text)).await.unwrap().unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        // The first to come was the first to go; the last is still there.
        let first = tokio::time::timeout(HEAD_TIMEOUT / 2, waiting[0].read(&mut [0; 1])).await.unwrap();
        assert!(!matches!(first, Ok(1..)));
        let last = &mut waiting[2 * CONNECTIONS_MAX - 1];
        last.write_all(b"host: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        last.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}
