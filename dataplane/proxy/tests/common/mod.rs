//! What the tests over real sockets share: a configuration in a few words, a proxy that serves it, and scripted peers
//! that read and write raw bytes. Every wait is bounded, so that a bug is a failure and not a test that hangs.

// Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ringway_config::{
    Attachment, Backend, BackendTarget, Balance, Bind, Cluster, ClusterKey, ClusterLimits, Delta, Endpoint,
    EndpointSet, EndpointSetKey, EndpointSource, GatewayKey, HostPattern, HttpKind, HttpMatch, HttpRoute,
    HttpRule, L4Route, Listener, ListenerKey, ListenerProtocol, PathMatch, PathPrefix, Resource, Route,
    RouteAge, RouteKey, Timeouts, Transport, UpstreamProtocol, Weighted,
};
use ringway_core::record::Snapshot;
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;
use ringway_proxy::{Options, Proxy};

/// How long a peer waits for what must come. Much longer than anything takes, for machines that are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs each test on both drivers.
#[macro_export]
macro_rules! on_both_drivers {
    ($($(#[$attribute:meta])* fn $name:ident($driver:ident: Driver) $body:block)*) => {
        $($(#[$attribute])* fn $name($driver: Driver) $body)*
        mod io_uring {
            $(#[test] fn $name() { super::$name(ringway_proxy::io::Driver::IoUring) })*
        }
        mod epoll {
            $(#[test] fn $name() { super::$name(ringway_proxy::io::Driver::Epoll) })*
        }
    };
}

/// A configuration that grows by what a test asks for.
#[derive(Default)]
pub struct Setup {
    set: Vec<Resource>,
}

impl Setup {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A cluster of these endpoints, by HTTP/1.1.
    pub fn cluster(self, name: &str, endpoints: &[SocketAddr]) -> Self {
        self.cluster_with(name, endpoints, |_| {})
    }

    /// The same, changed.
    pub fn cluster_with(
        self,
        name: &str,
        endpoints: &[SocketAddr],
        change: impl FnOnce(&mut Cluster),
    ) -> Self {
        let mut endpoints: Vec<_> = endpoints.iter().map(|address| Endpoint { address: *address }).collect();
        endpoints.sort_unstable();
        self.cluster_from(name, EndpointSource::Listed(endpoints), change)
    }

    /// A cluster whose endpoints come from anywhere.
    pub fn cluster_from(
        mut self,
        name: &str,
        source: EndpointSource,
        change: impl FnOnce(&mut Cluster),
    ) -> Self {
        let endpoints = EndpointSetKey::new(name);
        let mut cluster = Cluster {
            key: ClusterKey::new(name),
            endpoints: endpoints.clone(),
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balance: Balance::RoundRobin,
            limits: ClusterLimits::default(),
            outlier: None,
            connect_timeout: Duration::from_secs(5),
        };
        change(&mut cluster);
        self.set.push(Resource::EndpointSet(Arc::new(EndpointSet { key: endpoints, source })));
        self.set.push(Resource::Cluster(Arc::new(cluster)));
        self
    }

    /// An HTTP listener on a free port of 127.0.0.1, with these rules for every host.
    pub fn http(self, rules: Vec<HttpRule>) -> Self {
        let listener = ListenerKey::new("http");
        let route = Route::Http(HttpRoute {
            key: RouteKey::new("http"),
            kind: HttpKind::Http,
            created: RouteAge(0),
            attachments: vec![Attachment { listener, hostnames: vec![HostPattern::Any] }],
            rules: rules.into_iter().map(Arc::new).collect(),
        });
        self.listener("http", Transport::Tcp, LOCALHOST, ListenerProtocol::Http).route(route)
    }

    /// A TCP listener on a free port of 127.0.0.1 for a cluster.
    pub fn tcp(self, backends: Option<Weighted<BackendTarget>>) -> Self {
        let route = Route::Tcp(l4_route("tcp", backends));
        self.listener("tcp", Transport::Tcp, LOCALHOST, ListenerProtocol::Tcp).route(route)
    }

    /// A UDP listener on a free port.
    pub fn udp(self, address: Option<IpAddr>, backends: Option<Weighted<BackendTarget>>) -> Self {
        let route = Route::Udp(l4_route("udp", backends));
        self.listener("udp", Transport::Udp, address, ListenerProtocol::Udp).route(route)
    }

    /// Any listener.
    pub fn listener(
        mut self,
        name: &str,
        transport: Transport,
        address: Option<IpAddr>,
        protocol: ListenerProtocol,
    ) -> Self {
        self.set.push(Resource::Listener(Arc::new(Listener {
            key: ListenerKey::new(name),
            gateway: GatewayKey::new("default/web"),
            binds: vec![Bind { address, port: 0, transport }],
            protocol,
            hostname: HostPattern::Any,
            proxy_protocol: false,
            request_body_bytes_max: None,
        })));
        self
    }

    /// Any route.
    pub fn route(mut self, route: Route) -> Self {
        self.set.push(Resource::Route(Arc::new(route)));
        self
    }

    /// As a change that adds all of it.
    pub fn delta(self) -> Delta {
        Delta { set: self.set, removed: vec![] }
    }

    /// Serves it.
    pub fn serve(self, driver: Driver) -> Gate {
        self.serve_with(driver, 1, Settings::default())
    }

    /// Serves it on so many cores.
    pub fn serve_with(self, driver: Driver, threads: usize, settings: Settings) -> Gate {
        let options = Options { threads: Some(threads), driver, settings, ..Options::default() };
        let mut gate = Gate { proxy: Proxy::start(options).expect("the driver works here") };
        gate.apply(self);
        gate
    }
}

const LOCALHOST: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn l4_route(name: &str, backends: Option<Weighted<BackendTarget>>) -> L4Route {
    L4Route {
        key: RouteKey::new(name),
        created: RouteAge(0),
        listeners: vec![ListenerKey::new(name)],
        backends,
    }
}

/// All traffic to one cluster.
pub fn all_to(cluster: &str) -> Option<Weighted<BackendTarget>> {
    Weighted::new(vec![(BackendTarget::Cluster(ClusterKey::new(cluster)), 1)])
}

/// A rule for everything, to one cluster.
pub fn to(cluster: &str) -> HttpRule {
    let target = Backend { target: BackendTarget::Cluster(ClusterKey::new(cluster)), filters: vec![] };
    HttpRule {
        name: None,
        matches: vec![HttpMatch::anything()],
        filters: vec![],
        backends: Weighted::new(vec![(target, 1)]),
        timeouts: Timeouts::default(),
        retry: None,
        request_body_bytes_max: None,
    }
}

/// A rule for a path prefix, to one cluster.
pub fn prefix_to(prefix: &str, cluster: &str) -> HttpRule {
    let path = PathMatch::Prefix(PathPrefix::parse(prefix).expect("a prefix begins with a slash"));
    HttpRule { matches: vec![HttpMatch { path, ..HttpMatch::anything() }], ..to(cluster) }
}

/// A running proxy.
pub struct Gate {
    pub proxy: Proxy,
}

impl Gate {
    /// Changes the configuration.
    pub fn apply(&mut self, setup: Setup) {
        let applied = self.proxy.apply(setup.delta()).expect("every core answers");
        assert!(applied.failed_binds.is_empty() && applied.tls_problems.is_empty(), "{applied:?}");
    }

    /// The address of its only listener.
    pub fn address(&self) -> SocketAddr {
        let mut bound = self.proxy.bound().values();
        let address = *bound.next().expect("there is a listener");
        assert!(bound.next().is_none(), "there is one listener only");
        address
    }

    /// A connection to it.
    pub fn client(&self) -> Peer {
        Peer::connect(self.address())
    }

    /// A connection to it is reset, be it while it is made.
    pub fn resets(&self) {
        match TcpStream::connect_timeout(&self.address(), PATIENCE) {
            Ok(stream) => assert!(Peer::of(stream).broken().is_empty()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// What was counted, once it is as expected; panics with what it is if that does not come to be.
    pub fn counted(&self, expected: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let until = Instant::now() + PATIENCE;
        loop {
            let report = self.proxy.report().expect("every core answers");
            if expected(&report) {
                return report;
            }
            if Instant::now() > until {
                let mut text = String::new();
                report.prometheus(&mut text);
                let shown: Vec<_> = text
                    .lines()
                    .filter(|line| {
                        !line.starts_with('#') && !line.ends_with(" 0") && !line.contains("bucket")
                    })
                    .collect();
                panic!("not what was expected:\n{}", shown.join("\n"));
            }
            std::thread::yield_now();
        }
    }

    /// Waits until a line of the metrics is there.
    pub fn shows(&self, line: &str) {
        self.counted(|report| {
            let mut text = String::new();
            report.prometheus(&mut text);
            text.lines().any(|shown| shown == line)
        });
    }
}

/// A backend that a test plays itself, connection by connection.
pub struct Server {
    pub address: SocketAddr,
    connections: mpsc::Receiver<TcpStream>,
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if sender.send(stream.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { address, connections }
    }

    /// The next connection.
    pub fn accept(&self) -> Peer {
        Peer::of(self.connections.recv_timeout(PATIENCE).expect("the proxy connects"))
    }

    /// Whether no connection was made that was not accepted.
    pub fn is_unused(&self) -> bool {
        self.connections.try_recv().is_err()
    }
}

/// A backend that answers every request without a body by itself, on any number of connections: with the response that a
/// request's head calls for.
pub fn serving(respond: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let respond = Arc::new(respond);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let respond = Arc::clone(&respond);
            std::thread::spawn(move || {
                let mut peer = Peer::of(stream.unwrap());
                while let Some(head) = peer.next_head() {
                    if peer.try_send(respond(&head)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A response of a status, with a body.
pub fn response(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} As asked\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A port of 127.0.0.1 that refuses connections.
pub fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// One end of a connection, in raw bytes.
pub struct Peer {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    /// Connects from an address of this machine.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes, whether or not the other end still takes them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// A head, to its blank line, as it is.
    pub fn head(&mut self) -> String {
        self.until(b"\r\n\r\n")
    }

    /// The next head, if there is one; a peer that is silent may stay so.
    fn next_head(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.received.drain(..at + 4).collect()).ok();
            }
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return None,
            }
        }
    }

    /// Everything up to and including some bytes.
    pub fn until(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(at) = self.received.windows(end.len()).position(|window| window == end) {
                let found = self.received.drain(..at + end.len()).collect();
                return String::from_utf8(found).unwrap();
            }
            self.more(&format!("{:?}", String::from_utf8_lossy(end)));
        }
    }

    /// So many bytes.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            self.more(&format!("{count} bytes"));
        }
        self.received.drain(..count).collect()
    }

    /// Bytes that must come next.
    pub fn expect(&mut self, text: &str) {
        let came = self.exactly(text.len());
        assert_eq!(String::from_utf8_lossy(&came), text);
    }

    /// A response with a content-length: its head and its body.
    pub fn response(&mut self) -> (String, String) {
        let head = self.head();
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.exactly(length);
        (head, String::from_utf8(body).unwrap())
    }

    /// Everything until the other end ends its side in order.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return std::mem::take(&mut self.received),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.received)),
            }
        }
    }

    /// The other end ends its side in order, with nothing more to say.
    pub fn ends(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }

    /// Everything until the other end breaks the connection.
    pub fn broken(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("ended in order after {:?}", String::from_utf8_lossy(&self.received)),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return std::mem::take(&mut self.received);
                }
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.received)),
            }
        }
    }

    /// The connection ends, in order or not.
    pub fn gone(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("still there"),
                Err(_) => return,
            }
        }
    }

    /// Itself if another request comes on it; the backend's next connection if it ends instead.
    pub fn next_or(mut self, backend: &Server) -> Self {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(1) => {
                self.received.push(byte[0]);
                self
            }
            _ => backend.accept(),
        }
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Makes the close that follows a reset.
    pub fn reset(self) {
        let linger = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        linger.unwrap();
    }

    fn more(&mut self, wanted: &str) {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(count) if count > 0 => self.received.extend_from_slice(&buffer[..count]),
            other => {
                panic!("{other:?} instead of {wanted} after {:?}", String::from_utf8_lossy(&self.received))
            }
        }
    }
}

/// The value of a field of a head, by its lower-case name.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The status of a response's head.
pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head:?}"))
}
