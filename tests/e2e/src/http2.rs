//! Both ends of HTTP/2, as plain calls: a client connection, plain or over TLS, and what a scripted backend does with
//! one that was opened to it.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::backend::{Answering, Received};
use crate::client::Answer;
use crate::wait::{DEADLINE, PAUSE};

/// A client connection that speaks HTTP/2.
#[derive(Debug)]
pub struct Http2 {
    runtime: Runtime,
    streams: SendRequest<Bytes>,
    scheme: &'static str,
}

impl Http2 {
    /// Connects; by TLS under this name, if there is one.
    pub fn open(address: SocketAddr, tls: Option<(&str, Arc<ClientConfig>)>) -> io::Result<Self> {
        let runtime = runtime();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let streams = runtime.block_on(within(async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let Some((name, config)) = tls else { return begin(socket).await };
            let name = ServerName::try_from(name.to_owned()).expect("a name that the suite wrote");
            begin(TlsConnector::from(config).connect(name, socket).await?).await
        }))?;
        Ok(Self { runtime, streams, scheme })
    }

    /// Sends a request and reads its answer. Trailers are among the answer's fields.
    pub fn ask(
        &mut self,
        method: &str,
        host: &str,
        target: &str,
        fields: &[(String, String)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let asked = self.begin(method, host, target, fields, body);
        self.finish(asked)
    }

    /// Begins a request, beside which others may be under way.
    pub fn begin(
        &mut self,
        method: &str,
        host: &str,
        target: &str,
        fields: &[(String, String)],
        body: &[u8],
    ) -> Asked {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method that the suite wrote");
        *request.uri_mut() =
            format!("{}://{host}{target}", self.scheme).parse::<Uri>().expect("a place that the suite wrote");
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name that the suite wrote");
            request.headers_mut().append(name, value.parse().expect("a value that the suite wrote"));
        }
        let body = Bytes::copy_from_slice(body);
        Asked(self.runtime.spawn(within(exchange(self.streams.clone(), request, body))))
    }

    /// Reads the answer to what was begun.
    pub fn finish(&mut self, asked: Asked) -> io::Result<Answer> {
        self.runtime.block_on(asked.0).map_err(io::Error::other)?
    }

    /// Lets what was begun go on until something has become true. `None`: not within [`DEADLINE`].
    pub fn go_on_until(&mut self, mut holds: impl FnMut() -> bool) -> Option<()> {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        self.runtime.block_on(within(waiting)).ok()
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Asked(JoinHandle<io::Result<Answer>>);

async fn exchange(streams: SendRequest<Bytes>, request: Request<()>, body: Bytes) -> io::Result<Answer> {
    let mut streams = streams.ready().await.map_err(io::Error::other)?;
    let (answer, mut stream) = streams.send_request(request, body.is_empty()).map_err(io::Error::other)?;
    if !body.is_empty() {
        // The answer may come before the body was wanted.
        let _answered_already = stream.send_data(body, true);
    }
    let (head, mut body) = answer.await.map_err(io::Error::other)?.into_parts();
    let mut answer = Answer { status: head.status.as_u16(), fields: list(&head.headers), body: vec![] };
    answer.body = read(&mut body).await?;
    answer.fields.extend(trailers(&mut body).await?);
    Ok(answer)
}

async fn begin<S>(socket: S) -> io::Result<SendRequest<Bytes>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (streams, connection) = h2::client::handshake(socket).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(streams)
}

/// Serves a connection until the other side is done.
pub(crate) fn serve(socket: StdStream, connection: usize, answer: Arc<Answering>) {
    let _ended = runtime().block_on(async {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let socket = TcpStream::from_std(socket)?;
        let mut streams = h2::server::handshake(socket).await.map_err(io::Error::other)?;
        while let Some(Ok((request, respond))) = streams.accept().await {
            tokio::spawn(reply(request, respond, connection, Arc::clone(&answer)));
        }
        io::Result::Ok(())
    });
}

async fn reply(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    connection: usize,
    answer: Arc<Answering>,
) -> io::Result<()> {
    let (head, mut body) = request.into_parts();
    let mut fields = list(&head.headers);
    if let Some(authority) = head.uri.authority() {
        fields.insert(0, ("host".to_owned(), authority.to_string()));
    }
    let target = head.uri.path_and_query().map_or("*", |target| target.as_str()).to_owned();
    let body = read(&mut body).await?;
    let request = Received { method: head.method.to_string(), target, fields, body, connection };
    let reply = answer(&request);
    let grpc = request.field("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
    let mut response = Response::new(());
    *response.status_mut() = match reply.status.try_into() {
        Ok(status) => status,
        Err(_) => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            return Ok(());
        }
    };
    for (name, value) in &reply.fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name that the suite wrote");
        response.headers_mut().append(name, value.parse().expect("a value that the suite wrote"));
    }
    let mut stream = respond.send_response(response, false).map_err(io::Error::other)?;
    stream.send_data(reply.body.into(), !grpc).map_err(io::Error::other)?;
    if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(trailers).map_err(io::Error::other)?;
    }
    Ok(())
}

async fn read(body: &mut h2::RecvStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(io::Error::other)?;
        body.flow_control().release_capacity(chunk.len()).map_err(io::Error::other)?;
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

async fn trailers(body: &mut h2::RecvStream) -> io::Result<Vec<(String, String)>> {
    let trailers = body.trailers().await.map_err(io::Error::other)?;
    Ok(trailers.map_or_else(Vec::new, |trailers| list(&trailers)))
}

fn list(fields: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime needs little")
}

async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(DEADLINE, what).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
