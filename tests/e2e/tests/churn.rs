//! Configuration that never stops changing: no request fails, no answer is older than what was known before it was
//! asked for, streams live on, and memory stays where it was.
//!
//! Each change alters a rule (its answers carry the version) and moves its Service to a new endpoint: one address of
//! 127.1.0.0/16 for each version, behind one socket, so that the backend can tell which endpoint was meant.
//! `RINGWAY_E2E_CHANGES`, `RINGWAY_E2E_ROUTES` and `RINGWAY_E2E_STREAMS` set how long and how large.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use ringway_e2e::{
    Builder, DEADLINE, Driver, Gateway, eventually, figure, free_port, manifest, on_both_drivers,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

on_both_drivers!(requests_and_streams_outlive_any_number_of_changes);

/// Changes a second.
const RATE: u32 = 100;
/// Client connections, and how long each waits between two requests.
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(15);
/// Streams of one HTTP/2 connection, as many as the gateway allows.
const STREAMS_OF_A_CONNECTION: usize = 100;

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

/// What is known of versions. Each number only grows.
#[derive(Debug, Default)]
struct Versions {
    /// Is being saved or was.
    saved: AtomicU32,
    /// `/config` has shown it.
    shown: AtomicU32,
}

/// The address that stands for a version.
fn address_of(version: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x7f01_0000 + version)
}

fn version_of(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => u32::from(address) - 0x7f01_0000,
        IpAddr::V6(address) => panic!("nobody connects to {address}"),
    }
}

fn hot(version: u32, port: u16) -> String {
    let mut route = manifest::route(
        "HTTPRoute",
        "hot",
        json!([{
            "filters": [{
                "type": "ResponseHeaderModifier",
                "responseHeaderModifier": {"set": [{"name": "x-version", "value": format!("version-{version:05}")}]},
            }],
            "backendRefs": [{"name": "hot", "port": 80}],
        }]),
    );
    route["spec"]["hostnames"] = json!(["hot.test"]);
    let mut objects = manifest::service("hot", &[(address_of(version), port).into()]);
    objects.push(route);
    manifest::text(&objects)
}

fn objects(port: u16, chat: SocketAddr, grpc: SocketAddr) -> Vec<Value> {
    let mut objects = manifest::service("chat", &[chat]);
    objects.extend(manifest::service_speaking("grpc", &[grpc], Some("kubernetes.io/h2c")));
    let mut chat = manifest::to_service("chat");
    chat["spec"]["hostnames"] = json!(["chat.test"]);
    let mut grpc =
        manifest::route("GRPCRoute", "grpc", json!([{"backendRefs": [{"name": "grpc", "port": 80}]}]));
    grpc["spec"]["hostnames"] = json!(["grpc.test"]);
    objects.extend([manifest::http_gateway(port), chat, grpc]);
    objects
}

/// Routes that nobody asks for, each for a host of its own.
fn bystanders(count: u32) -> Vec<Value> {
    let route = |number: u32| {
        let mut route = manifest::route(
            "HTTPRoute",
            &format!("bystander-{number}"),
            json!([{
                "matches": [{"path": {"type": "PathPrefix", "value": format!("/{number}")}}],
                "backendRefs": [{"name": "chat", "port": 80}],
            }]),
        );
        route["spec"]["hostnames"] = json!([format!("host-{number}.test")]);
        route
    };
    (0..count).map(route).collect()
}

fn requests_and_streams_outlive_any_number_of_changes(driver: Driver) {
    // Both drivers want the whole machine.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let changes = setting("RINGWAY_E2E_CHANGES", 200);
    let routes = setting("RINGWAY_E2E_ROUTES", 300);
    let streams = setting("RINGWAY_E2E_STREAMS", 20) as usize;
    assert!(changes < 65_000, "an address for each version");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let versions = Arc::new(Versions::default());
        let backend = serve_versions().await;
        let chat = serve_tunnels().await;
        let grpc = serve_grpc().await;
        let port = free_port();
        let builder = Builder::new(driver)
            .file("bystanders.yaml", &bystanders(routes))
            .text("hot.yaml", &hot(0, backend.port()));
        let gateway = Arc::new(builder.start(&objects(port.number(), chat, grpc)));
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, port.number()).into();
        let over = Arc::new(AtomicBool::new(false));

        let watcher = {
            let (gateway, versions, over) = (Arc::clone(&gateway), Arc::clone(&versions), Arc::clone(&over));
            std::thread::spawn(move || watch(&gateway, &versions, &over))
        };
        let asked = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (versions, over, asked) = (Arc::clone(&versions), Arc::clone(&over), Arc::clone(&asked));
            clients.spawn(async move { ask(address, &versions, &over, &asked).await });
        }
        let writer = {
            let (gateway, versions, port) = (Arc::clone(&gateway), Arc::clone(&versions), backend.port());
            std::thread::spawn(move || change(&gateway, &versions, port, changes))
        };

        // Opened while everything changes: each under another configuration.
        let mut tunnels = Vec::new();
        let mut calls = Vec::new();
        let mut connections = JoinSet::new();
        for number in 0..streams {
            tunnels.push(Tunnel::open(address).await);
            if number % STREAMS_OF_A_CONNECTION == 0 {
                calls.push((connect_http2(address, &mut connections).await, Vec::new()));
            }
            let (client, of_it) = calls.last_mut().unwrap();
            of_it.push(Call::open(client).await);
        }
        let mut calls: Vec<Call> = calls.into_iter().flat_map(|(_, of_it)| of_it).collect();
        ping(&mut tunnels, &mut calls).await;
        let resident = gateway.resident_bytes();
        while !writer.is_finished() {
            ping(&mut tunnels, &mut calls).await;
            tokio::time::sleep(PAUSE).await;
        }
        let took = writer.join().unwrap();
        ping(&mut tunnels, &mut calls).await;
        over.store(true, Ordering::Release);
        while let Some(done) = clients.join_next().await {
            done.expect("no request failed and no answer was out of date");
        }
        watcher.join().expect("/config never went back");
        // The configuration that the last change replaced is given back when its last request has ended.
        let bound = resident + resident / 10;
        let after = eventually("memory comes back to within a tenth", || {
            Some(gateway.resident_bytes()).filter(|bytes| *bytes <= bound)
        });

        let asked = asked.load(Ordering::Relaxed);
        let name = |what: &str| format!("{what}, {driver:?}, {routes} routes, {changes} changes");
        figure("churn", &name("requests, none failed"), format!("{asked} in {took:?}"));
        let generation = gateway.generation();
        let rate = generation as f64 / took.as_secs_f64();
        figure("churn", &name("configurations in force"), format!("{generation}, {rate:.0} a second"));
        figure("churn", &name("streams that lived through it"), 2 * streams);
        figure("churn", &name("resident KiB, first and last"), format!("{} {}", resident >> 10, after >> 10));
        assert!(asked > 0);
    });
}

/// Saves version after version, at the rate.
fn change(gateway: &Gateway, versions: &Versions, port: u16, changes: u32) -> Duration {
    let began = Instant::now();
    for version in 1..=changes {
        // Early is early: a save that is late makes the next ones come sooner.
        let due = began + Duration::from_secs(1) * version / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        versions.saved.store(version, Ordering::Release);
        gateway.save("hot.yaml", hot(version, port));
    }
    eventually("the last version is in force", || {
        (versions.shown.load(Ordering::Acquire) == changes).then_some(())
    });
    began.elapsed()
}

/// Reads `/config` again and again, and tells what it showed.
fn watch(gateway: &Gateway, versions: &Versions, over: &AtomicBool) {
    let mut last = 0;
    while !over.load(Ordering::Acquire) {
        let text = gateway.admin("/config").text();
        let (_, rest) = text.split_once("version-").expect("the rule is there");
        let version: u32 = rest[..5].parse().expect("five digits");
        assert!(version >= last, "{version} after {last}");
        last = version;
        versions.shown.store(version, Ordering::Release);
        // It is large: reading it more often would leave those who bring changes into force no CPU.
        std::thread::sleep(20 * PAUSE);
    }
}

/// One client: asks until it is over, and looks at each answer.
async fn ask(address: SocketAddr, versions: &Versions, over: &AtomicBool, asked: &AtomicUsize) {
    let mut stream = connect(address).await;
    let mut buffer = Vec::new();
    while !over.load(Ordering::Acquire) {
        let known = versions.shown.load(Ordering::Acquire);
        stream.write_all(b"GET / HTTP/1.1\r\nhost: hot.test\r\n\r\n").await.unwrap();
        let answer =
            tokio::time::timeout(DEADLINE, receive(&mut stream, &mut buffer)).await.expect("an answer");
        let latest = versions.saved.load(Ordering::Acquire);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let rule: u32 = between(&answer, "version-", "\r\n");
        let endpoint: u32 = between(&answer, "\r\n\r\nendpoint-", ".");
        for (what, version) in [("rule", rule), ("endpoint", endpoint)] {
            assert!(version >= known, "the {what} was of {version}, and {known} had been shown before");
            assert!(version <= latest, "the {what} is of {version}, and {latest} is the last that was saved");
        }
        asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

fn between<T: std::str::FromStr>(text: &str, start: &str, end: &str) -> T {
    let found = text.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    let Some(Ok(value)) = found.map(|(value, _)| value.parse()) else { panic!("no {start}: {text}") };
    value
}

/// Reads one message with a known end: the full stop of our backend's body.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> String {
    buffer.clear();
    loop {
        assert!(stream.read_buf(buffer).await.expect("the connection lives") > 0, "the connection ended");
        if buffer.ends_with(b".") || (buffer.ends_with(b"\r\n\r\n") && !buffer.starts_with(b"HTTP/1.1 200")) {
            return String::from_utf8_lossy(buffer).into_owned();
        }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the listener is there");
    stream.set_nodelay(true).unwrap();
    stream
}

/// A backend that says which endpoint it was reached by.
async fn serve_versions() -> SocketAddr {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let body = format!("endpoint-{}.", version_of(stream.local_addr().unwrap().ip()));
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
                    if buffer.ends_with(b"\r\n\r\n") {
                        buffer.clear();
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// A backend that switches protocols and says everything back.
async fn serve_tunnels() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while !buffer.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let switch =
                    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                               sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                let _gone = stream.write_all(switch).await;
                let (mut from, mut to) = stream.split();
                let _gone = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// A backend that says every message of a call back.
async fn serve_grpc() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                let builder = builder.max_concurrent_streams(2000);
                let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo(request.into_body(), respond));
                }
            });
        }
    });
    address
}

async fn echo(mut from: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let Ok(mut to) = respond.send_response(response, false) else { return };
    while let Some(Ok(data)) = from.data().await {
        let _over = from.flow_control().release_capacity(data.len());
        if to.send_data(data, false).is_err() {
            return;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let _over = to.send_trailers(trailers);
}

/// An open WebSocket, of which only the bytes matter.
struct Tunnel {
    stream: TcpStream,
}

impl Tunnel {
    async fn open(address: SocketAddr) -> Self {
        let mut stream = connect(address).await;
        let request = "GET /chat HTTP/1.1\r\nhost: chat.test\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut buffer = Vec::new();
        let answer =
            tokio::time::timeout(DEADLINE, receive(&mut stream, &mut buffer)).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Self { stream }
    }

    async fn ping(&mut self) {
        self.stream.write_all(b"ping").await.expect("the tunnel lives");
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer).await.expect("the tunnel lives");
        assert_eq!(&answer, b"ping");
    }
}

async fn connect_http2(address: SocketAddr, connections: &mut JoinSet<()>) -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(connect(address).await).await.expect("HTTP/2");
    connections.spawn(async move { connection.await.expect("the connection lives") });
    client
}

/// A gRPC call that streams both ways.
struct Call {
    to: h2::SendStream<Bytes>,
    from: h2::RecvStream,
}

impl Call {
    async fn open(client: &h2::client::SendRequest<Bytes>) -> Self {
        let mut client = client.clone().ready().await.expect("there is room for a stream");
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = "http://grpc.test/peer.Echo/Chat".parse().unwrap();
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let (response, to) = client.send_request(request, false).expect("a stream");
        let response = tokio::time::timeout(DEADLINE, response).await.expect("an answer").expect("no reset");
        assert!(response.status() == 200 && !response.headers().contains_key("grpc-status"), "{response:?}");
        Self { to, from: response.into_body() }
    }

    async fn ping(&mut self) {
        // One message of four bytes.
        let message = Bytes::from_static(b"\0\0\0\0\x04ping");
        self.to.send_data(message.clone(), false).expect("the call lives");
        let mut answer = Vec::new();
        while answer.len() < message.len() {
            let data = self.from.data().await.expect("the call lives").expect("the call lives");
            self.from.flow_control().release_capacity(data.len()).unwrap();
            answer.extend_from_slice(&data);
        }
        assert_eq!(answer, message);
    }
}

/// One message there and back on every stream.
async fn ping(tunnels: &mut [Tunnel], calls: &mut [Call]) {
    for tunnel in tunnels {
        tokio::time::timeout(DEADLINE, tunnel.ping()).await.expect("the tunnel answers");
    }
    for call in calls {
        tokio::time::timeout(DEADLINE, call.ping()).await.expect("the call answers");
    }
}
