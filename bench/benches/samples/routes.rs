//! Tables of routes: all on one hostname, or each on one of its own.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{
    Attachment, Backend, BackendTarget, Bind, ClusterKey, Config, GatewayKey, HostPattern, HttpKind,
    HttpMatch, HttpRoute, HttpRule, Listener, ListenerKey, ListenerProtocol, PathMatch, PathPrefix, Route,
    RouteAge, RouteKey, Timeouts, Transport, Weighted,
};
use ringway_core::{Arrival, Compiled, Scheme, View};

const BIND: Bind = Bind { address: None, port: 80, transport: Transport::Tcp };

#[derive(Clone, Copy)]
pub(crate) enum Hosts {
    One,
    Own,
}

impl Hosts {
    pub(crate) fn of(self, index: usize) -> String {
        match self {
            Self::One => "www.example.com".into(),
            Self::Own => format!("app-{index}.example.com"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one_host",
            Self::Own => "own_hosts",
        }
    }
}

fn listener() -> Listener {
    Listener {
        key: ListenerKey::new("Gateway/default/web/http"),
        gateway: GatewayKey::new("default/web"),
        binds: vec![BIND],
        protocol: ListenerProtocol::Http,
        hostname: HostPattern::Any,
        proxy_protocol: false,
        request_body_bytes_max: None,
    }
}

pub(crate) fn route(index: usize, hosts: Hosts, version: usize) -> Arc<Route> {
    let cluster = ClusterKey::new(format!("Service/default/app-{}-{version}/8080/http1", index % 500));
    let backend = Backend { target: BackendTarget::Cluster(cluster), filters: vec![] };
    let prefix = PathPrefix::parse(&format!("/api/v1/app-{index}")).expect("begins with a slash");
    let rule = HttpRule {
        name: None,
        matches: vec![HttpMatch { path: PathMatch::Prefix(prefix), ..HttpMatch::anything() }],
        filters: vec![],
        backends: Weighted::new(vec![(backend, 1)]),
        timeouts: Timeouts::default(),
        retry: None,
        request_body_bytes_max: None,
    };
    Arc::new(Route::Http(HttpRoute {
        key: RouteKey::new(format!("HTTPRoute/default/app-{index}")),
        kind: HttpKind::Http,
        created: RouteAge(index as i64),
        attachments: vec![Attachment {
            listener: listener().key,
            hostnames: vec![HostPattern::parse(&hosts.of(index)).expect("a host")],
        }],
        rules: vec![Arc::new(rule)],
    }))
}

pub(crate) fn config(routes: usize, hosts: Hosts) -> Config {
    let mut config = Config::default();
    config.listeners.insert(listener().key, Arc::new(listener()));
    for index in 0..routes {
        let route = route(index, hosts, 0);
        config.routes.insert(route.key().clone(), route);
    }
    config
}

pub(crate) fn arrival() -> Arrival {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    Arrival {
        bind: BIND,
        local: address,
        original_destination: None,
        client: address,
        trusted: false,
        scheme: Scheme::Http,
        sni: None,
        listener: None,
        peer: None,
    }
}

pub(crate) fn view(compiled: Compiled) -> View<()> {
    let cluster = Rc::new(());
    View::new(Arc::new(compiled), Rc::new(move |_: &ClusterKey| Some(Rc::clone(&cluster))))
}
