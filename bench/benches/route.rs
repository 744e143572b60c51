//! Routing: deciding about a request, and compiling configurations of up to 5,000 routes.
//!
//! `one_host`: every route on the same hostname, so a change rebuilds the one big table: the worst case of `next`.
//! `own_hosts`: every route on a hostname of its own.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ringway_config::{
    Attachment, Backend, BackendTarget, Bind, ClusterKey, Config, GatewayKey, HostPattern, HttpKind,
    HttpMatch, HttpRoute, HttpRule, Listener, ListenerKey, ListenerProtocol, PathMatch, PathPrefix, Route,
    RouteAge, RouteKey, Timeouts, Transport, Weighted,
};
use ringway_core::{Arrival, Compiled, Decision, RequestHead, Scheme, View};

const BIND: Bind = Bind { address: None, port: 80, transport: Transport::Tcp };

#[derive(Clone, Copy)]
enum Hosts {
    One,
    Own,
}

impl Hosts {
    fn of(self, index: usize) -> String {
        match self {
            Self::One => "www.example.com".into(),
            Self::Own => format!("app-{index}.example.com"),
        }
    }

    fn name(self) -> &'static str {
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

fn route(index: usize, hosts: Hosts, version: usize) -> Arc<Route> {
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

fn config(routes: usize, hosts: Hosts) -> Config {
    let mut config = Config::default();
    config.listeners.insert(listener().key, Arc::new(listener()));
    for index in 0..routes {
        let route = route(index, hosts, 0);
        config.routes.insert(route.key().clone(), route);
    }
    config
}

fn arrival() -> Arrival {
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

fn view(compiled: Compiled) -> View<()> {
    let cluster = Rc::new(());
    View::new(Arc::new(compiled), Rc::new(move |_: &ClusterKey| Some(Rc::clone(&cluster))))
}

fn decide(criterion: &mut Criterion) {
    let arrival = arrival();
    for hosts in [Hosts::One, Hosts::Own] {
        for routes in [1, 100, 5000] {
            let view = view(Compiled::from_nothing(&config(routes, hosts)));
            let mut head = RequestHead::new();
            head.set_authority(&hosts.of(routes / 2), None);
            head.set_path(&format!("/api/v1/app-{}/users/1234", routes / 2));
            assert!(matches!(view.decide(&arrival, &head, 0), Decision::Forward(_)));
            criterion.bench_function(&format!("decide/{}/{routes}", hosts.name()), |bencher| {
                bencher.iter(|| view.decide(&arrival, &head, 0));
            });
        }
    }
}

fn compile(criterion: &mut Criterion) {
    const ROUTES: usize = 5000;
    for hosts in [Hosts::One, Hosts::Own] {
        let before = config(ROUTES, hosts);
        criterion.bench_function(&format!("compile_from_nothing/{}/{ROUTES}", hosts.name()), |bencher| {
            bencher.iter(|| Compiled::from_nothing(&before));
        });
        let compiled = Compiled::from_nothing(&before);
        let mut after = before.clone();
        let changed = route(ROUTES / 2, hosts, 1);
        after.routes.insert(changed.key().clone(), changed);
        let after = Arc::new(after);
        criterion.bench_function(&format!("compile_next/{}/{ROUTES}", hosts.name()), |bencher| {
            bencher.iter(|| compiled.next(&after));
        });
        let first = view(Compiled::from_nothing(&before));
        let next = Arc::new(first.compiled().next(&after));
        criterion.bench_function(&format!("view_next/{}/{ROUTES}", hosts.name()), |bencher| {
            bencher.iter_batched(|| Arc::clone(&next), |next| first.next(next), BatchSize::SmallInput);
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = decide, compile
}
criterion_main!(benches);
