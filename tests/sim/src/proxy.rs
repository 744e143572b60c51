//! The proxy under test: its production code on every simulated core, told what to do as its control thread would.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::{
    Attachment, Backend, BackendTarget, Balance, Bind, Certificate, CertificateKey, Cluster, ClusterKey,
    ClusterLimits, Delta, Der, Endpoint, EndpointSet, EndpointSetKey, EndpointSource, GatewayKey,
    HostPattern, HttpKind, HttpMatch, HttpRoute, HttpRule, L4Route, Listener, ListenerKey, ListenerProtocol,
    Outlier, PrivateKey, Resource, Retry, Route, RouteAge, RouteKey, Timeouts, TlsTermination, Transport,
    UpstreamProtocol, Weighted,
};
use ringway_core::limits::Limits;
use ringway_core::turn::Turns;
use ringway_proxy::core;
use ringway_proxy::env::Env;
use ringway_proxy::mailbox::Message;
use ringway_proxy::snapshot::Snapshot;
use ringway_proxy::tls::Clock;
use ringway_proxy::worker::Settings;

use crate::peer::tls::Identity;
use crate::world::World;

/// Connections that wait to be accepted by a core.
const BACKLOG: usize = 16;

/// How long a change may take to reach every core.
const CHANGE_TIME: Duration = Duration::from_secs(30);

/// A running proxy.
pub struct Proxy {
    world: World,
    snapshot: RefCell<Snapshot>,
    bound: RefCell<BTreeSet<Bind>>,
    /// How many of the cores have listening sockets.
    listening: usize,
    tasks: usize,
}

impl Proxy {
    /// Starts it on every core and gives it a configuration and its sockets.
    pub async fn start(world: &World, limits: Limits, draft: Draft) -> Self {
        Self::start_listening(world, limits, draft, world.cores()).await
    }

    /// The same; only so many cores get sockets, as where a kernel deals unevenly.
    pub async fn start_listening(world: &World, limits: Limits, draft: Draft, listening: usize) -> Self {
        let (clock, _) = Clock::driven(world.core(0).wall());
        let snapshot = Snapshot::new(clock);
        for index in 0..world.cores() {
            let (env, snapshot) = (world.core(index), snapshot.clone());
            // Every other core puts off what it sends, as one with much more to do would.
            let turns = if world.draw(|random| random.chance(500_000)) {
                Turns::always_full()
            } else {
                Turns::default()
            };
            let settings = Settings { limits: limits.clone(), turns, ..Settings::default() };
            env.clone().spawn(async move { core::run(env, settings, &snapshot).await });
        }
        let mut proxy = Self {
            world: world.clone(),
            snapshot: RefCell::new(snapshot),
            bound: RefCell::default(),
            listening,
            tasks: 0,
        };
        proxy.change(draft.set, Vec::new()).await;
        world.sleep(Duration::from_secs(10)).await;
        proxy.tasks = world.core_tasks();
        proxy
    }

    /// Tasks that run when there is no traffic.
    pub fn tasks_at_rest(&self) -> usize {
        self.tasks
    }

    /// Changes the configuration; returns when every core serves by the new one.
    pub async fn change(&self, set: Vec<Resource>, removed: Vec<ringway_config::ResourceKey>) {
        let mut config = (*self.snapshot.borrow().config).clone();
        config.apply(Delta { set, removed });
        let (next, problems) = self.snapshot.borrow().next(config);
        assert!(problems.is_empty(), "{problems:?}");
        self.snapshot.replace(next.clone());
        let next = Arc::new(next);
        self.ask_all(|done| Message::Configure(Arc::clone(&next), done), CHANGE_TIME).await;
        self.rebind();
    }

    /// Opens the sockets of new binds, on every core, and closes those of binds that are gone.
    fn rebind(&self) {
        let wanted: BTreeSet<Bind> = self.snapshot.borrow().compiled.binds().map(|(bind, ..)| bind).collect();
        let bound = self.bound.replace(wanted.clone());
        // Here a port is never in the way of another: nobody waits for the answers.
        let (closed, _) = flume::unbounded();
        for core in 0..self.world.cores() {
            for bind in bound.difference(&wanted) {
                self.world.post(core, Message::Unlisten(*bind, closed.clone()));
            }
            for bind in wanted.difference(&bound).filter(|_| core < self.listening) {
                self.world
                    .post(core, Message::Listen { bind: *bind, socket: unattached(&self.world, *bind) });
            }
        }
    }

    /// Begins to drain; returns when every core says that its last client is gone.
    pub async fn drain(&self, patience: Duration) {
        self.ask_all(Message::Drain, patience).await;
    }

    async fn ask_all(
        &self,
        message: impl Fn(flume::Sender<()>) -> Message<crate::network::Unattached>,
        bound: Duration,
    ) {
        let (sender, receiver) = flume::bounded(self.world.cores());
        for core in 0..self.world.cores() {
            self.world.post(core, message(sender.clone()));
        }
        drop(sender);
        let all = || receiver.len() == self.world.cores();
        if !self.world.until(bound, all).await {
            self.world
                .violated(format!("only {} cores have answered a message after {bound:?}", receiver.len()));
        }
    }
}

fn unattached(world: &World, bind: Bind) -> crate::network::Unattached {
    let any = std::net::IpAddr::from([0, 0, 0, 0]);
    let address = SocketAddr::new(bind.address.unwrap_or(any), bind.port);
    match bind.transport {
        Transport::Tcp => world.listen(address, BACKLOG),
        Transport::Udp => world.bind_datagrams(address),
    }
}

/// Where clients find a port of the proxy.
pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

/// A configuration in the making.
#[derive(Default)]
pub struct Draft {
    set: Vec<Resource>,
}

impl Draft {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The resources.
    pub fn resources(self) -> Vec<Resource> {
        self.set
    }

    /// A listener on a TCP port, named by it.
    pub fn listener(mut self, port: u16, protocol: ListenerProtocol) -> Self {
        let bind = Bind { address: None, port, transport: Transport::Tcp };
        self.set.push(Resource::Listener(Arc::new(Listener {
            key: listener_key(port),
            gateway: GatewayKey::new("sim/gateway"),
            binds: vec![bind],
            protocol,
            hostname: HostPattern::Any,
            proxy_protocol: false,
            request_body_bytes_max: None,
        })));
        self
    }

    /// A listener with TLS.
    pub fn https_listener(mut self, port: u16, identity: &Identity) -> Self {
        let key = CertificateKey::new("sim/certificate");
        self.set.push(Resource::Certificate(Arc::new(Certificate {
            key: key.clone(),
            chain: vec![Der::new(identity.certificate.as_ref().to_vec())],
            private_key: PrivateKey::new(identity.key.secret_pkcs8_der().to_vec()),
        })));
        self.listener(port, ListenerProtocol::Https(TlsTermination { certificates: vec![key], client: None }))
    }

    /// A cluster and its endpoints.
    pub fn cluster(mut self, name: &str, protocol: UpstreamProtocol, endpoints: &[SocketAddr]) -> Self {
        self.set.push(Resource::Cluster(Arc::new(Cluster {
            key: ClusterKey::new(name),
            endpoints: EndpointSetKey::new(name),
            protocol,
            tls: None,
            balance: Balance::default(),
            limits: ClusterLimits::default(),
            // One of two may be out: the other still answers, and every refusal is still somebody's harm.
            outlier: Some(Outlier::default()),
            connect_timeout: Duration::from_secs(10),
        })));
        self.endpoints(name, endpoints)
    }

    /// The endpoints of a cluster.
    pub fn endpoints(mut self, name: &str, endpoints: &[SocketAddr]) -> Self {
        let mut listed: Vec<_> = endpoints.iter().map(|address| Endpoint { address: *address }).collect();
        listed.sort_unstable();
        let source = EndpointSource::Listed(listed);
        self.set
            .push(Resource::EndpointSet(Arc::new(EndpointSet { key: EndpointSetKey::new(name), source })));
        self
    }

    /// All requests of a listener go to a cluster.
    pub fn http_route(mut self, port: u16, cluster: &str, timeouts: Timeouts, retry: Option<Retry>) -> Self {
        let target = BackendTarget::Cluster(ClusterKey::new(cluster));
        let rule = HttpRule {
            name: None,
            matches: vec![HttpMatch::anything()],
            filters: vec![],
            backends: Weighted::new(vec![(Backend { target, filters: vec![] }, 1)]),
            timeouts,
            retry,
            request_body_bytes_max: None,
        };
        let attachment = Attachment { listener: listener_key(port), hostnames: vec![HostPattern::Any] };
        self.set.push(Resource::Route(Arc::new(Route::Http(HttpRoute {
            key: route_key(port),
            kind: HttpKind::Http,
            created: RouteAge(0),
            attachments: vec![attachment],
            rules: vec![Arc::new(rule)],
        }))));
        self
    }

    /// All connections of a listener go to a cluster.
    pub fn tcp_route(mut self, port: u16, cluster: &str) -> Self {
        self.set.push(Resource::Route(Arc::new(Route::Tcp(L4Route {
            key: RouteKey::new(format!("TCPRoute/sim/{port}")),
            created: RouteAge(0),
            listeners: vec![listener_key(port)],
            backends: Weighted::new(vec![(BackendTarget::Cluster(ClusterKey::new(cluster)), 1)]),
        }))));
        self
    }
}

/// The listener of a port.
pub fn listener_key(port: u16) -> ListenerKey {
    ListenerKey::new(format!("Gateway/sim/gateway/{port}"))
}

/// The HTTP route of a port.
pub fn route_key(port: u16) -> RouteKey {
    RouteKey::new(format!("HTTPRoute/sim/{port}"))
}
