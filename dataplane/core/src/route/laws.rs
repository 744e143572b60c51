//! Laws of the router over drawn configurations: it finds what a scan over all rules finds, and a configuration that
//! was reached by changes decides like one that was compiled from nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use http::{HeaderName, Method};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use ringway_config::{
    Cluster, ClusterKey, Config, HeaderMatch, HttpMatch, Listener, ListenerProtocol, Pattern, QueryMatch,
    Route, ValueMatch, Weighted,
};

use super::matching::{mismatch_beyond_path, path_mismatch};
use super::*;
use crate::compiled::Rank;
use crate::explain::{Verdict, WhyNot};
use crate::fixture::*;

const LISTENERS: usize = 4;
const ROUTES: usize = 6;
const CLUSTERS: [&str; 3] = ["one", "two", "three"];
const HOSTS: [&str; 8] = ["", "*.com", "a.com", "b.com", "*.a.com", "x.a.com", "*.x.a.com", "y.x.a.com"];
const PATHS: [&str; 17] = [
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/b",
    "=/a",
    "=/a/b",
    "=/",
    "~/a.*",
    "~/[ab]",
    "~.*",
    "grpc:a/b",
    "grpc:a/",
    "grpc:/b",
    "grpc:/",
    "grpc:~[ab]/",
    "grpc:a/~.",
];

/// What a router found: the rule with its cluster, or the answer.
type Outcome = (String, usize, String);

fn value(text: &str) -> ValueMatch {
    match text.strip_prefix('~') {
        Some(source) => ValueMatch::Regex(Pattern::parse(source).unwrap()),
        None => ValueMatch::Exact(text.into()),
    }
}

fn a_match() -> impl Strategy<Value = HttpMatch> {
    let header = |name: &'static str| {
        option::weighted(0.25, select(vec!["1", "2", "1,2", "~1.*"])).prop_map(move |text| {
            text.map(|text| HeaderMatch { name: HeaderName::from_static(name), value: value(text) })
        })
    };
    let query = option::weighted(0.25, select(vec!["1", "", "~[12]"]))
        .prop_map(|text| text.map(|text| QueryMatch { name: "q".into(), value: value(text) }));
    let method = option::weighted(0.25, select(vec![Method::GET, Method::POST]));
    (select(PATHS.to_vec()), method, header("x"), header("y"), query).prop_map(
        |(text, method, x, y, query)| HttpMatch {
            path: path(text),
            method,
            headers: x.into_iter().chain(y).collect(),
            query: query.into_iter().collect(),
        },
    )
}

fn an_http_route(index: usize) -> impl Strategy<Value = Route> {
    let place = (0..LISTENERS, vec(select(HOSTS.to_vec()), 1..4));
    let rule = (vec(a_match(), 1..3), vec((select(CLUSTERS.to_vec()), 0u32..3), 0..3)).prop_map(
        |(matches, backends)| {
            let backends = backends.into_iter().map(|(name, weight)| (backend(name), weight)).collect();
            rule_with(matches, vec![], Weighted::new(backends))
        },
    );
    (0i64..2, vec(place, 1..3), vec(rule, 1..4)).prop_map(move |(age, places, rules)| {
        let names: Vec<String> = places.iter().map(|(listener, _)| format!("l{listener}")).collect();
        let places: Vec<(&str, &[&str])> =
            names.iter().zip(&places).map(|(name, (_, hosts))| (&**name, &**hosts)).collect();
        http_route(&format!("r{index}"), age, &places, rules)
    })
}

fn an_l4_route(index: usize) -> impl Strategy<Value = Route> {
    let place = (0..LISTENERS, select(HOSTS.to_vec()));
    (0i64..2, vec(place, 1..3), select(CLUSTERS.to_vec()), any::<bool>()).prop_map(
        move |(age, places, cluster, tls)| {
            let names: Vec<String> = places.iter().map(|(listener, _)| format!("l{listener}")).collect();
            let name = format!("r{index}");
            if tls {
                let hosts: Vec<[&str; 1]> = places.iter().map(|(_, host)| [*host]).collect();
                let places: Vec<(&str, &[&str])> =
                    names.iter().zip(&hosts).map(|(name, hosts)| (&**name, &hosts[..])).collect();
                tls_route(&name, age, &places, &[(cluster, 1)])
            } else {
                let names: Vec<&str> = names.iter().map(|name| &**name).collect();
                Route::Tcp(l4_route(&name, age, &names, &[(cluster, 1)]))
            }
        },
    )
}

fn a_route(index: usize) -> impl Strategy<Value = Route> {
    prop_oneof![4 => an_http_route(index), 1 => an_l4_route(index)]
}

fn a_listener(index: usize) -> impl Strategy<Value = Listener> {
    let kind = prop_oneof![
        6 => Just((80, ListenerProtocol::Http)),
        1 => Just((443, ListenerProtocol::Https(termination()))),
        1 => Just((443, ListenerProtocol::TlsPassthrough)),
        1 => Just((90, ListenerProtocol::Tcp)),
    ];
    (kind, select(HOSTS.to_vec()))
        .prop_map(move |((port, protocol), host)| listener(&format!("l{index}"), port, protocol, host))
}

/// What becomes of one resource from one configuration to the next.
#[derive(Clone, Debug)]
enum Fate<T> {
    Stays,
    Goes,
    Becomes(Arc<T>),
}

fn fate<T: std::fmt::Debug + Clone>(new: impl Strategy<Value = T>) -> impl Strategy<Value = Fate<T>> {
    prop_oneof![
        5 => Just(Fate::Stays),
        1 => Just(Fate::Goes),
        3 => new.prop_map(|new| Fate::Becomes(Arc::new(new))),
    ]
}

#[derive(Clone, Debug)]
struct Change {
    listeners: Vec<Fate<Listener>>,
    routes: Vec<Fate<Route>>,
    clusters: Vec<Fate<Cluster>>,
}

fn a_change() -> impl Strategy<Value = Change> {
    let listeners: Vec<_> = (0..LISTENERS).map(|index| fate(a_listener(index))).collect();
    let routes: Vec<_> = (0..ROUTES).map(|index| fate(a_route(index))).collect();
    let clusters: Vec<_> = CLUSTERS.iter().map(|name| fate(Just(cluster(name)))).collect();
    (listeners, routes, clusters).prop_map(|(listeners, routes, clusters)| Change {
        listeners,
        routes,
        clusters,
    })
}

fn settle<K: Ord, T>(map: &mut BTreeMap<K, Arc<T>>, key: K, fate: Fate<T>) {
    match fate {
        Fate::Stays => {}
        Fate::Goes => drop(map.remove(&key)),
        Fate::Becomes(new) => drop(map.insert(key, new)),
    }
}

fn apply(config: &mut Config, change: Change) {
    for (index, fate) in change.listeners.into_iter().enumerate() {
        settle(&mut config.listeners, ringway_config::ListenerKey::new(format!("l{index}")), fate);
    }
    for (index, fate) in change.routes.into_iter().enumerate() {
        settle(&mut config.routes, ringway_config::RouteKey::new(format!("r{index}")), fate);
    }
    for (name, fate) in CLUSTERS.iter().zip(change.clusters) {
        settle(&mut config.clusters, ClusterKey::new(*name), fate);
    }
}

fn a_request() -> impl Strategy<Value = RequestHead> {
    let hosts = vec!["", "com", "a.com", "b.com", "x.a.com", "z.a.com", "y.x.a.com", "z.y.x.a.com", "org"];
    let paths = vec![
        "/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c/d", "/ab", "/b", "/b/b", "/a/x", "//", "/a?q=1", "/a/b?q",
    ];
    let fields =
        vec(select(vec![("x", "1"), ("x", "2"), ("y", "1"), ("content-type", "application/grpc")]), 0..3);
    (select(vec!["GET", "POST"]), select(hosts), select(paths), fields)
        .prop_map(|(method, host, path, fields)| request(&format!("{method} {host}{path}"), &fields))
}

fn arrivals() -> Vec<Arrival> {
    let shown = (0..LISTENERS).map(|index| secure(443, &format!("l{index}")));
    [plain(80), plain(443)].into_iter().chain(shown).collect()
}

fn verdict(decision: &Decision<String>) -> Outcome {
    match decision {
        Decision::Forward(forward) => {
            (forward.plan.route.to_string(), forward.plan.rule, forward.cluster().unwrap().1.to_string())
        }
        Decision::Answer(answer) => {
            let whose = answer.route().map(ToString::to_string).unwrap_or_default();
            (whose, answer.status.as_u16().into(), answer.details.into())
        }
    }
}

/// Looks at every rule of every route. No table, no order but `Ord`.
fn scan(config: &Config, head: &RequestHead) -> Option<(String, usize)> {
    let listener = config
        .listeners
        .values()
        .filter(|listener| {
            listener.protocol == ListenerProtocol::Http && listener.hostname.matches(head.host())
        })
        // Of equal hostnames the first by name; `max_by` prefers the last.
        .rev()
        .max_by(|a, b| a.hostname.cmp(&b.hostname))?;
    let mut best = None;
    for route in config.routes.values() {
        let Route::Http(route) = &**route else { continue };
        let attachments = route.attachments.iter().filter(|attachment| attachment.listener == listener.key);
        for hostname in attachments.flat_map(|attachment| &attachment.hostnames) {
            for (index, rule) in route.rules.iter().enumerate() {
                for (place, it) in rule.matches.iter().enumerate() {
                    let fits = hostname.matches(head.host())
                        && path_mismatch(it, head).is_none()
                        && mismatch_beyond_path(it, head, &mut Vec::new()).is_none();
                    let claim = (hostname, Rank::of(route, index, place, it));
                    if fits && best.as_ref().is_none_or(|(before, _)| claim > *before) {
                        best = Some((claim, (route.key.to_string(), index)));
                    }
                }
            }
        }
    }
    best.map(|(_, found)| found)
}

/// Clusters as a core holds them: one for each `Arc` of the configuration, told apart by a number.
#[derive(Default)]
struct Live(RefCell<BTreeMap<ClusterKey, LiveCluster>>);

type LiveCluster = (Arc<Cluster>, Rc<String>);

impl Live {
    fn follow(&self, config: &Config, step: usize) {
        let mut live = self.0.borrow_mut();
        live.retain(|key, _| config.clusters.contains_key(key));
        for (key, cluster) in &config.clusters {
            if !live.get(key).is_some_and(|(old, _)| Arc::ptr_eq(old, cluster)) {
                live.insert(key.clone(), (Arc::clone(cluster), Rc::new(format!("{key} of step {step}"))));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_router_finds_what_a_scan_over_all_rules_finds(
        listeners in vec(0..LISTENERS, 1..3).prop_flat_map(|places| {
            places.into_iter().map(a_listener).collect::<Vec<_>>()
        }),
        routes in (1..ROUTES).prop_flat_map(|count| (0..count).map(a_route).collect::<Vec<_>>()),
        heads in vec(a_request(), 24),
        draw in any::<u64>(),
    ) {
        let config = config(listeners, routes);
        let view = view_of(Arc::new(Compiled::from_nothing(&config)));
        for head in heads {
            let decision = view.decide(&plain(80), &head, draw);
            let found = match &decision {
                Decision::Forward(forward) => Some((forward.plan.route.to_string(), forward.plan.rule)),
                Decision::Answer(answer) if answer.route().is_none() => None,
                // An answer for want of a backend names the route only.
                Decision::Answer(answer) => {
                    let scanned = scan(&config, &head).expect("the router found a rule");
                    prop_assert_eq!(answer.route().unwrap().as_str(), scanned.0);
                    continue;
                }
            };
            prop_assert_eq!(found, scan(&config, &head), "{:?}", head);
        }
    }

    #[test]
    fn an_explanation_ends_where_the_decision_does(
        listeners in (0..LISTENERS).prop_flat_map(|count| (0..count).map(a_listener).collect::<Vec<_>>()),
        routes in (1..ROUTES).prop_flat_map(|count| (0..count).map(a_route).collect::<Vec<_>>()),
        heads in vec(a_request(), 12),
        draw in any::<u64>(),
    ) {
        let view = view(listeners, routes);
        for (head, arrival) in heads.iter().flat_map(|head| arrivals().into_iter().map(move |it| (head, it))) {
            let explanation = view.explain(&arrival, head, draw);
            let decision = view.decide(&arrival, head, draw);
            prop_assert_eq!(&explanation.verdict, &Verdict::of(&decision, head));

            // What serves is the first that fits, as the reasons themselves say.
            let fits = |why_not: &Option<WhyNot>| !matches!(why_not, Some(WhyNot::Mismatch { .. }));
            let first = explanation.matches.iter().find(|candidate| fits(&candidate.why_not));
            let serves = explanation.matches.iter().find(|candidate| candidate.why_not.is_none());
            prop_assert_eq!(first, serves);
            let drawn: Vec<_> = explanation.backends.iter().filter(|backend| backend.drawn).collect();
            match &decision {
                Decision::Forward(forward) => {
                    let serves = serves.map(|candidate| (&candidate.route, candidate.rule));
                    prop_assert_eq!(serves, Some((&forward.plan.route, forward.plan.rule)));
                    prop_assert_eq!(drawn[0].cluster.as_ref(), forward.cluster().map(|(key, _)| key));
                }
                Decision::Answer(answer) => {
                    prop_assert_eq!(serves.map(|candidate| &candidate.route), answer.route());
                }
            }
        }
    }

    #[test]
    fn a_configuration_reached_by_changes_decides_like_one_compiled_from_nothing(
        changes in vec(a_change(), 1..6),
        heads in vec(a_request(), 12),
        draw in any::<u64>(),
        skipped in any::<u8>(),
    ) {
        let mut config = Config::default();
        let mut compiled = Arc::new(Compiled::default());
        let live = Rc::new(Live::default());
        let source = Rc::clone(&live);
        let source: Rc<dyn ClusterSource<String>> = Rc::new(move |key: &ClusterKey| {
            source.0.borrow().get(key).map(|(_, cluster)| Rc::clone(cluster))
        });
        let mut view = View::new(Arc::clone(&compiled), Rc::clone(&source));
        for (step, change) in changes.into_iter().enumerate() {
            apply(&mut config, change);
            compiled = Arc::new(compiled.next(&Arc::new(config.clone())));
            // A core may miss configurations in between.
            if skipped & (1 << step) != 0 {
                continue;
            }
            live.follow(&config, step);
            view = view.next(Arc::clone(&compiled));
            let fresh = View::new(Arc::new(Compiled::from_nothing(&config)), Rc::clone(&source));
            prop_assert_eq!(
                compiled.binds().collect::<Vec<_>>(),
                fresh.compiled().binds().collect::<Vec<_>>()
            );
            for head in &heads {
                for arrival in arrivals() {
                    let (by_changes, anew) = (view.decide(&arrival, head, draw), fresh.decide(&arrival, head, draw));
                    prop_assert_eq!(verdict(&by_changes), verdict(&anew), "{:?} {:?}", arrival, head);
                }
                for port in [443, 90] {
                    let sni = Some(head.host()).filter(|host| !host.is_empty());
                    let l4 = |view: &View<String>| l4_outcome(&view.tcp(&bind(port), sni, draw));
                    prop_assert_eq!(l4(&view), l4(&fresh));
                }
            }
        }
    }
}

#[test]
fn a_changed_route_leaves_the_tables_and_plans_of_others_as_they_are() {
    let route = |name: &str, host: &str, cluster: &str| {
        http_route(name, 0, &[("http", &[host])], vec![rule(vec![matching("/")], cluster)])
    };
    let mut config = config(
        vec![http_listener("http", ""), http_listener("other", "other.com")],
        vec![route("a", "a.com", "a"), route("b", "b.com", "b")],
    );
    let before = Arc::new(Compiled::from_nothing(&config));
    let first = view_of(Arc::clone(&before));
    let plan = |view: &View<String>, target: &str| match view.decide(&plain(80), &get(target), 0) {
        Decision::Forward(forward) => forward.plan,
        Decision::Answer(answer) => panic!("{answer:?}"),
    };
    let (plan_a, plan_b) = (plan(&first, "a.com/"), plan(&first, "b.com/"));

    let changed = route("a", "a.com", "new");
    config.routes.insert(changed.key().clone(), Arc::new(changed));
    let after = Arc::new(before.next(&Arc::new(config)));
    let second = first.next(Arc::clone(&after));

    assert!(Rc::ptr_eq(&plan_b, &plan(&second, "b.com/")));
    assert_eq!(outcome(&second.decide(&plain(80), &get("a.com/"), 0)), "new");
    assert!(!Rc::ptr_eq(&plan_a, &plan(&second, "a.com/")));
    let table = |compiled: &Compiled, listener: &str, host: &str| {
        let behind = compiled.bind(&bind(80)).unwrap();
        let table = Arc::clone(behind.by_host.at(&pattern(listener)).unwrap());
        table.hosts.at(&pattern(host)).map(Arc::clone)
    };
    assert!(Arc::ptr_eq(&table(&before, "", "b.com").unwrap(), &table(&after, "", "b.com").unwrap()));
    let other = |compiled: &Compiled| {
        Arc::clone(compiled.bind(&bind(80)).unwrap().by_host.at(&pattern("other.com")).unwrap())
    };
    assert!(Arc::ptr_eq(&other(&before), &other(&after)));
}

#[test]
fn a_compiled_configuration_may_go_to_every_core() {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Compiled>();
}
