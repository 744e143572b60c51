//! One request through real sockets, on both drivers: the smoke test of the whole data plane.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringway_config::{
    Attachment, Backend, BackendTarget, Balance, Bind, Cluster, ClusterKey, ClusterLimits, Delta, Endpoint,
    EndpointSet, EndpointSetKey, EndpointSource, GatewayKey, HostPattern, HttpKind, HttpMatch, HttpRoute,
    HttpRule, Listener, ListenerKey, ListenerProtocol, Resource, Route, RouteAge, RouteKey, Timeouts,
    Transport, UpstreamProtocol, Weighted,
};
use ringway_proxy::io::Driver;
use ringway_proxy::{Options, Proxy};

fn configuration(backend: SocketAddr) -> Delta {
    let bind = Bind { address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: 0, transport: Transport::Tcp };
    let listener = ListenerKey::new("Gateway/default/web/http");
    let endpoints = EndpointSetKey::new("Service/default/app/80");
    let cluster = ClusterKey::new("Service/default/app/80/http1");
    let target = Backend { target: BackendTarget::Cluster(cluster.clone()), filters: vec![] };
    let set = vec![
        Resource::EndpointSet(Arc::new(EndpointSet {
            key: endpoints.clone(),
            source: EndpointSource::Listed(vec![Endpoint { address: backend }]),
        })),
        Resource::Cluster(Arc::new(Cluster {
            key: cluster,
            endpoints,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balance: Balance::default(),
            limits: ClusterLimits::default(),
            outlier: None,
            connect_timeout: Duration::from_secs(1),
        })),
        Resource::Listener(Arc::new(Listener {
            key: listener.clone(),
            gateway: GatewayKey::new("default/web"),
            binds: vec![bind],
            protocol: ListenerProtocol::Http,
            hostname: HostPattern::Any,
            proxy_protocol: false,
            request_body_bytes_max: None,
        })),
        Resource::Route(Arc::new(Route::Http(HttpRoute {
            key: RouteKey::new("HTTPRoute/default/app"),
            kind: HttpKind::Http,
            created: RouteAge(0),
            attachments: vec![Attachment { listener, hostnames: vec![HostPattern::Any] }],
            rules: vec![Arc::new(HttpRule {
                name: None,
                matches: vec![HttpMatch::anything()],
                filters: vec![],
                backends: Weighted::new(vec![(target, 1)]),
                timeouts: Timeouts::default(),
                retry: None,
                request_body_bytes_max: None,
            })],
        }))),
    ];
    Delta { set, removed: vec![] }
}

/// Answers every request on a connection with what it was asked.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        let line = head.split(|byte| *byte == b'\r').next().unwrap().to_vec();
                        let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", line.len());
                        stream.write_all(start.as_bytes()).unwrap();
                        stream.write_all(&line).unwrap();
                        head.clear();
                    }
                }
            });
        }
    });
    address
}

fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n").as_bytes()).unwrap();
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    let expected = format!("GET {path} HTTP/1.1");
    while !response.ends_with(expected.as_bytes()) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection ended after {:?}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(response).unwrap()
}

fn serves_requests_on_one_connection(driver: Driver) {
    let options = Options { threads: Some(2), driver, ..Options::default() };
    let mut proxy = Proxy::start(options).unwrap();
    let applied = proxy.apply(configuration(backend())).unwrap();
    assert!(applied.failed_binds.is_empty(), "{applied:?}");
    let address = *proxy.bound().values().next().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    for path in ["/", "/a?b=c", "/third"] {
        let response = ask(&mut client, path);
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    }
    assert!(proxy.drain(Duration::from_secs(5)), "an idle connection is no reason to wait");
}

#[test]
fn on_io_uring() {
    serves_requests_on_one_connection(Driver::IoUring);
}

#[test]
fn on_epoll() {
    serves_requests_on_one_connection(Driver::Epoll);
}
