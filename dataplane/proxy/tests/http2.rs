//! HTTP/2 through real sockets, on both drivers: to an HTTP/1 backend, and to an HTTP/2 backend with bodies both ways
//! and trailers.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::{Gate, PATIENCE, Peer, Server, Setup, response, serving, to};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use ringway_config::UpstreamProtocol;
use ringway_core::limits::Limits;
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;
use tokio::net::{TcpListener, TcpStream};

/// Runs an asynchronous conversation to its end, or fails.
fn converse<T>(conversation: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, conversation).await.expect("nothing hangs") })
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.unwrap()
}

/// A HEADERS frame that asks for `/`, with a field of this name, nothing of it indexed.
fn get_with(stream: u8, name: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x01, 1, b'a', 0x00, name.len() as u8];
    block.extend(name.bytes());
    block.extend([1, b'v']);
    let mut frame = vec![0, 0, block.len() as u8, 1, 0x5, 0, 0, 0, stream];
    frame.extend(block);
    frame
}

/// The type of the next frame that is one of these.
fn next_of(client: &mut Peer, kinds: &[u8]) -> u8 {
    loop {
        let head = client.exactly(9);
        client.exactly(usize::from(head[1]) << 8 | usize::from(head[2]));
        if kinds.contains(&head[3]) {
            return head[3];
        }
    }
}

/// An HTTP/2 server that echoes bodies as they come, and says in a trailer how long they were.
fn http2_backend() -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(echo(request, respond));
                    }
                });
            }
        });
    });
    receiver.recv().unwrap()
}

async fn echo(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let mut body = request.into_body();
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    let mut length = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        length += chunk.len();
        let _ = body.flow_control().release_capacity(chunk.len());
        stream.reserve_capacity(chunk.len());
        stream.send_data(chunk, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-length", length.into());
    stream.send_trailers(trailers).unwrap();
}

/// An HTTP/1 server that answers with the path it was asked for.
fn http1_backend() -> SocketAddr {
    let server = Server::listen();
    let address = server.address;
    std::thread::spawn(move || {
        loop {
            let mut peer = server.accept();
            std::thread::spawn(move || {
                loop {
                    let head = peer.head();
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()));
                }
            });
        }
    });
    address
}

fn serve(driver: Driver, backend: SocketAddr, protocol: UpstreamProtocol) -> Gate {
    let change = |cluster: &mut ringway_config::Cluster| cluster.protocol = protocol;
    Setup::new().cluster_with("app", &[backend], change).http(vec![to("app")]).serve(driver)
}

on_both_drivers! {
    fn a_malformed_head_costs_its_stream_and_one_that_cannot_be_decoded_the_connection(driver: Driver) {
        // docs/threat-model.md says why.
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const GOAWAY: u8 = 7;
        let backend = serving(|_| response(200, "ok"));
        let gate = Setup::new().cluster("app", &[backend]).http(vec![to("app")]).serve(driver);
        for (name, ends_with) in [("connection", RST_STREAM), ("X-Upper", GOAWAY), ("x-lower", HEADERS)] {
            let mut client = gate.client();
            client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
            client.send(get_with(1, name));
            assert_eq!(next_of(&mut client, &[HEADERS, RST_STREAM, GOAWAY]), ends_with, "{name}");
            if ends_with == RST_STREAM {
                client.send(get_with(3, "x-lower"));
                assert_eq!(next_of(&mut client, &[HEADERS, RST_STREAM, GOAWAY]), HEADERS);
            }
        }
    }

fn streams_share_a_connection_to_an_http1_backend(driver: Driver) {
    let gate = serve(driver, http1_backend(), UpstreamProtocol::Http1);
    let address = gate.address();
    converse(async {
        let client = connect(address).await;
        let mut answers = Vec::new();
        for index in 0..10 {
            let mut client = client.clone().ready().await.unwrap();
            let request = Request::get(format!("http://a.test/{index}")).body(()).unwrap();
            answers.push((index, client.send_request(request, true).unwrap().0));
        }
        for (index, answer) in answers {
            let response = answer.await.unwrap();
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            let mut text = Vec::new();
            while let Some(chunk) = body.data().await {
                text.extend_from_slice(&chunk.unwrap());
            }
            assert_eq!(String::from_utf8(text).unwrap(), format!("/{index}"));
        }
    });
}

fn a_stream_that_waits_keeps_its_connection(driver: Driver) {
    let backend = Server::listen();
    let (answer, answered) = std::sync::mpsc::channel();
    let address = backend.address;
    let playing = std::thread::spawn(move || {
        let mut peer = backend.accept();
        peer.head();
        answered.recv().unwrap();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        peer
    });
    let limits = Limits { idle_timeout: Duration::from_millis(100), ..Limits::default() };
    let setup = Setup::new().cluster("app", &[address]).http(vec![to("app")]);
    let gate = setup.serve_with(driver, 1, Settings { limits, ..Settings::default() });
    let address = gate.address();
    converse(async {
        let mut client = connect(address).await;
        let request = Request::get("http://a.test/").body(()).unwrap();
        let (waiting, _) = client.send_request(request, true).unwrap();
        // A later connection without streams ends, so the first one has been as quiet for as long.
        let stream = TcpStream::connect(address).await.unwrap();
        let (_idle, connection) = h2::client::handshake(stream).await.unwrap();
        connection.await.unwrap();
        answer.send(()).unwrap();
        assert_eq!(waiting.await.unwrap().status(), 200);
    });
    drop(playing.join().unwrap());
}

fn bodies_and_trailers_pass_both_ways(driver: Driver) {
    let gate = serve(driver, http2_backend(), UpstreamProtocol::Http2);
    let address = gate.address();
    converse(async {
        let mut client = connect(address).await;
        // Larger than every window on the way.
        let body: Bytes = (0..3 << 20).map(|index: u32| index as u8).collect();
        let request = Request::post("http://a.test/echo").body(()).unwrap();
        let (answer, mut sending) = client.send_request(request, false).unwrap();
        let sent = body.clone();
        tokio::spawn(async move {
            let mut left = sent;
            while !left.is_empty() {
                sending.reserve_capacity(left.len());
                let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
                let part = left.split_to(room.min(left.len()));
                sending.send_data(part, left.is_empty()).unwrap();
            }
        });
        let mut received = answer.await.unwrap().into_body();
        let mut echoed = Vec::new();
        while let Some(chunk) = received.data().await {
            let chunk = chunk.unwrap();
            received.flow_control().release_capacity(chunk.len()).unwrap();
            echoed.extend_from_slice(&chunk);
        }
        assert!(echoed == body, "{} of {} bytes came back", echoed.len(), body.len());
        let trailers = received.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["x-length"], body.len().to_string());
    });
}
}
