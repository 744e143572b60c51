//! Proxies that come, go, answer late or never, and configuration that changes meanwhile: in memory, with drawn times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use ringway_config::*;
use ringway_wire::proto::from_controller::Message;
use ringway_wire::proto::{self, Acknowledgement, Batch, FromController, Heartbeat, Name, Position};
use ringway_wire::{Digests, Version, decode, encode_name};

use super::Generation;
use super::hub::{Caller, Calls, Entered, Hub, Step, Voice};
use super::limits::{ACKNOWLEDGE_WITHIN, BEHIND_AT_MOST, HEARTBEAT_EVERY, RESOURCE_BYTES_MAX};
use super::session::{Start, behind};

/// Few names, so that drawn configurations share much.
#[derive(Clone, Debug, Default)]
struct Drawn {
    listeners: [Option<(u8, bool)>; 3],
    routes: [Option<(u8, u8)>; 4],
    clusters: [Option<(u8, bool)>; 3],
    sets: [Option<u8>; 3],
    certificate: Option<u8>,
}

/// One resource comes, changes or goes.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Listener(usize, Option<(u8, bool)>),
    Route(usize, Option<(u8, u8)>),
    Cluster(usize, Option<(u8, bool)>),
    Set(usize, Option<u8>),
    Certificate(Option<u8>),
}

impl Drawn {
    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Listener(at, value) => self.listeners[at] = value,
            Edit::Route(at, value) => self.routes[at] = value,
            Edit::Cluster(at, value) => self.clusters[at] = value,
            Edit::Set(at, value) => self.sets[at] = value,
            Edit::Certificate(value) => self.certificate = value,
        }
    }

    fn config(&self) -> Config {
        let listeners = self.listeners.iter().enumerate().filter_map(|(at, value)| {
            let (gateway, secure) = (*value)?;
            Some(listener(at, gateway, secure))
        });
        let routes = self.routes.iter().enumerate().filter_map(|(at, value)| {
            let (listeners, clusters) = (*value)?;
            Some(route(at, listeners, clusters))
        });
        let clusters = self.clusters.iter().enumerate().filter_map(|(at, value)| {
            let (set, secure) = (*value)?;
            Some(cluster(at, set, secure))
        });
        let sets = self.sets.iter().enumerate().filter_map(|(at, value)| Some(set(at, (*value)?)));
        let certificates = self.certificate.map(certificate).into_iter();
        let set = listeners.chain(routes).chain(clusters).chain(sets).chain(certificates).collect();
        let mut config = Config::default();
        config.apply(Delta { set, removed: vec![] });
        config
    }
}

fn gateway(at: u8) -> GatewayKey {
    GatewayKey::new(format!("ns/g{at}"))
}

fn listener(at: usize, of: u8, secure: bool) -> Resource {
    let protocol = match secure {
        true => ListenerProtocol::TlsTerminate(TlsTermination {
            certificates: vec![CertificateKey::new("cert")],
            client: None,
        }),
        false => ListenerProtocol::Tcp,
    };
    Resource::Listener(Arc::new(Listener {
        key: ListenerKey::new(format!("l{at}")),
        gateway: gateway(of),
        binds: vec![Bind { address: None, port: 80, transport: Transport::Tcp }],
        protocol,
        hostname: HostPattern::Any,
        proxy_protocol: false,
        request_body_bytes_max: None,
    }))
}

/// The bits say which.
fn route(at: usize, listeners: u8, clusters: u8) -> Resource {
    let bits = |mask: u8| (0..3).filter(move |bit| mask & (1 << bit) != 0);
    let backends =
        bits(clusters).map(|at| (BackendTarget::Cluster(ClusterKey::new(format!("c{at}"))), 1)).collect();
    Resource::Route(Arc::new(Route::Tcp(L4Route {
        key: RouteKey::new(format!("r{at}")),
        created: RouteAge(0),
        listeners: bits(listeners).map(|at| ListenerKey::new(format!("l{at}"))).collect(),
        backends: Weighted::new(backends),
    })))
}

fn cluster(at: usize, set: u8, secure: bool) -> Resource {
    let tls = secure.then(|| UpstreamTls {
        sni: "a".into(),
        verify: VerifyName::Sni,
        trust: Trust::System,
        client_certificate: Some(CertificateKey::new("cert")),
    });
    Resource::Cluster(Arc::new(Cluster {
        key: ClusterKey::new(format!("c{at}")),
        endpoints: EndpointSetKey::new(format!("e{set}")),
        protocol: UpstreamProtocol::Opaque,
        tls,
        balance: Balance::PeakEwma,
        limits: ClusterLimits::default(),
        outlier: None,
        connect_timeout: Duration::from_secs(1),
    }))
}

fn set(at: usize, port: u8) -> Resource {
    let address = std::net::SocketAddr::from(([10, 0, 0, 1], port.into()));
    Resource::EndpointSet(Arc::new(EndpointSet {
        key: EndpointSetKey::new(format!("e{at}")),
        source: EndpointSource::Listed(vec![Endpoint { address }]),
    }))
}

fn certificate(key: u8) -> Resource {
    Resource::Certificate(Arc::new(Certificate {
        key: CertificateKey::new("cert"),
        chain: vec![Der::new(&b"leaf"[..])],
        private_key: PrivateKey::new(&[key][..]),
    }))
}

/// What a gateway's proxies should have, from nothing: the definition.
fn scope(config: &Config, gateway: &GatewayKey) -> Config {
    let mut scope = Config::default();
    let mut certificates = BTreeSet::new();
    for (key, listener) in config.listeners.iter().filter(|(_, it)| it.gateway == *gateway) {
        if let ListenerProtocol::TlsTerminate(tls) = &listener.protocol {
            certificates.extend(&tls.certificates);
        }
        scope.listeners.insert(key.clone(), Arc::clone(listener));
    }
    let mut clusters = BTreeSet::new();
    for (key, route) in &config.routes {
        let Route::Tcp(l4) = &**route else { panic!("only these are drawn") };
        if l4.listeners.iter().any(|listener| scope.listeners.contains_key(listener)) {
            clusters.extend(l4.backends.iter().flat_map(|all| all.iter()).filter_map(|(to, _)| match to {
                BackendTarget::Cluster(key) => Some(key),
                BackendTarget::Invalid => None,
            }));
            scope.routes.insert(key.clone(), Arc::clone(route));
        }
    }
    for (key, cluster) in config.clusters.iter().filter(|(key, _)| clusters.contains(key)) {
        certificates.extend(cluster.tls.iter().filter_map(|tls| tls.client_certificate.as_ref()));
        let set = config.endpoint_sets.get(&cluster.endpoints).cloned().unwrap_or_else(|| {
            let source = EndpointSource::Listed(vec![]);
            Arc::new(EndpointSet { key: cluster.endpoints.clone(), source })
        });
        scope.endpoint_sets.insert(cluster.endpoints.clone(), set);
        scope.clusters.insert(key.clone(), Arc::clone(cluster));
    }
    let needed = config.certificates.iter().filter(|(key, _)| certificates.contains(key));
    scope.certificates.extend(needed.map(|(key, certificate)| (key.clone(), Arc::clone(certificate))));
    scope
}

/// A proxy as the contract has it.
#[derive(Default)]
struct Proxy {
    config: Config,
    versions: BTreeMap<ResourceKey, Version>,
    pending: Delta,
    positions: Vec<Position>,
    /// The batch that it has not answered yet.
    answer: Option<u64>,
    stream: Option<(Entered, Voice)>,
    resources_received: usize,
    bytes_received: usize,
}

impl Proxy {
    fn connect(&mut self, hub: &Hub, gateway: &GatewayKey, now: Instant) {
        self.pending = Delta::default();
        self.answer = None;
        let held = self.versions.iter().map(|(key, version)| (encode_name(key), *version)).collect();
        let start = Start { held, positions: self.positions.clone() };
        let caller = Caller { gateway: gateway.clone(), pod: "pod".into(), version: String::new() };
        let entered = hub.enter(caller, start, Arc::new(Calls::default()), now);
        let voice = entered.voice();
        self.stream = Some((entered, voice));
    }

    fn step(&mut self, now: Instant) -> Option<Message> {
        let (entered, _) = self.stream.as_ref()?;
        match entered.step(now) {
            Step::Send(FromController { message }) => {
                let message = message.expect("a message");
                match &message {
                    Message::Batch(batch) => self.take(batch.clone()),
                    Message::Heartbeat(beat) => self.check(beat),
                }
                Some(message)
            }
            Step::Wait(until) => {
                assert!(now < until, "waiting for what is past spins");
                None
            }
            Step::Resynchronise | Step::End => {
                self.stream = None;
                None
            }
        }
    }

    fn take(&mut self, batch: Batch) {
        assert_eq!(self.answer, None, "one change at a time");
        self.bytes_received += batch.encoded_len();
        self.resources_received += batch.set.len();
        for bytes in batch.set {
            let version = Version::of(&bytes);
            let resource = decode(bytes).expect("what was sent is valid");
            self.versions.insert(resource.key(), version);
            self.pending.set.push(resource);
        }
        for name in &batch.removed {
            let key = ringway_wire::decode_name(name).expect("a name");
            self.versions.remove(&key);
            self.pending.removed.push(key);
        }
        if batch.ends {
            self.config.apply(std::mem::take(&mut self.pending));
            self.positions = batch.position;
            self.answer = Some(batch.number);
            for cluster in self.config.clusters.values() {
                assert!(self.config.endpoint_sets.contains_key(&cluster.endpoints), "a cluster has its set");
            }
        }
    }

    fn check(&self, beat: &Heartbeat) {
        if beat.batch > 0 {
            let mut digests = Digests::default();
            self.versions.iter().for_each(|(key, version)| digests.add(&encode_name(key), *version));
            assert_eq!(Digests::from_wire(&beat.digests), digests);
        }
    }

    fn acknowledge(&mut self) {
        if let (Some((_, voice)), Some(batch)) = (&self.stream, self.answer.take()) {
            assert!(voice.acknowledge(Acknowledgement { batch, ..Acknowledgement::default() }));
        }
    }

    /// Until there is nothing more to do.
    fn settle(&mut self, now: Instant) {
        while matches!(self.step(now), Some(Message::Batch(_))) || self.answer.is_some() {
            self.acknowledge();
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    Publish(Vec<Edit>),
    Connect(usize),
    Step(usize),
    Acknowledge(usize),
    Disconnect(usize),
    Wait,
}

fn edit() -> impl Strategy<Value = Edit> {
    let pair = |first: std::ops::Range<u8>| proptest::option::weighted(0.7, (first, any::<bool>()));
    prop_oneof![
        (0..3usize, pair(0..2)).prop_map(|(at, value)| Edit::Listener(at, value)),
        (0..4usize, proptest::option::weighted(0.7, (0..8u8, 0..8u8)))
            .prop_map(|(at, value)| Edit::Route(at, value)),
        (0..3usize, pair(0..3)).prop_map(|(at, value)| Edit::Cluster(at, value)),
        (0..3usize, proptest::option::weighted(0.7, 0..3u8)).prop_map(|(at, value)| Edit::Set(at, value)),
        proptest::option::weighted(0.7, 0..3u8).prop_map(Edit::Certificate),
    ]
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => proptest::collection::vec(edit(), 1..6).prop_map(Move::Publish),
        1 => (0..3usize).prop_map(Move::Connect),
        4 => (0..3usize).prop_map(Move::Step),
        3 => (0..3usize).prop_map(Move::Acknowledge),
        1 => (0..3usize).prop_map(Move::Disconnect),
        1 => Just(Move::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever changes, and whenever a proxy goes, comes back, reads or answers: in the end it has its gateway's share of
    /// the final configuration, and at no time a cluster without its endpoint set.
    #[test]
    fn every_proxy_ends_with_its_share_of_the_final_configuration(
        moves in proptest::collection::vec(a_move(), 0..60)
    ) {
        let hub = Hub::new();
        let mut now = Instant::now();
        let mut drawn = Drawn::default();
        let mut proxies: [Proxy; 3] = Default::default();
        // Two of one gateway, one of another.
        let of = |proxy: usize| gateway(u8::from(proxy == 2));
        let publish = |drawn: &mut Drawn, edits: Vec<Edit>| {
            let before = drawn.config();
            edits.into_iter().for_each(|edit| drawn.edit(edit));
            hub.publish(before.delta(&drawn.config()), vec![]);
        };
        for a_move in moves {
            match a_move {
                Move::Publish(edits) => publish(&mut drawn, edits),
                Move::Connect(at) => proxies[at].connect(&hub, &of(at), now),
                Move::Step(at) => drop(proxies[at].step(now)),
                Move::Acknowledge(at) => proxies[at].acknowledge(),
                Move::Disconnect(at) => proxies[at].stream = None,
                Move::Wait => now += HEARTBEAT_EVERY,
            }
        }
        publish(&mut drawn, vec![]);
        let config = drawn.config();
        for (at, proxy) in proxies.iter_mut().enumerate() {
            if proxy.stream.is_none() {
                proxy.connect(&hub, &of(at), now);
            }
            proxy.settle(now);
            now += HEARTBEAT_EVERY;
            proxy.step(now);
            prop_assert_eq!(&proxy.config, &scope(&config, &of(at)));
        }
        let generation = hub.publish(Delta::default(), vec![]);
        prop_assert!(hub.proxies().iter().all(|proxy| proxy.acknowledged == Some(generation)));
    }
}

fn small() -> Drawn {
    let mut drawn = Drawn::default();
    drawn.edit(Edit::Listener(0, Some((0, false))));
    drawn.edit(Edit::Route(0, Some((1, 1))));
    drawn.edit(Edit::Cluster(0, Some((0, false))));
    drawn.edit(Edit::Set(0, Some(1)));
    drawn
}

fn published(drawn: &Drawn) -> Hub {
    let hub = Hub::new();
    hub.publish(Config::default().delta(&drawn.config()), vec![]);
    hub
}

fn changed(hub: &Hub, drawn: &mut Drawn, edit: Edit) -> Generation {
    let before = drawn.config();
    drawn.edit(edit);
    hub.publish(before.delta(&drawn.config()), vec![])
}

#[test]
fn what_comes_together_is_in_the_order_in_which_it_is_pointed_to() {
    let hub = published(&small());
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    let Some(Message::Batch(batch)) = proxy.step(now) else { panic!("a batch") };
    let kinds = |bytes: &Bytes| match decode(bytes.clone()).unwrap() {
        Resource::Certificate(_) => 0,
        Resource::EndpointSet(_) => 1,
        Resource::Cluster(_) => 2,
        Resource::Listener(_) => 3,
        Resource::Route(_) => 4,
    };
    assert_eq!(batch.set.iter().map(kinds).collect::<Vec<_>>(), [1, 2, 3, 4]);
    proxy.acknowledge();

    let gone = hub.publish(small().config().delta(&Config::default()), vec![]);
    let Some(Message::Batch(batch)) = proxy.step(now) else { panic!("a batch") };
    let kinds: Vec<_> = batch.removed.iter().map(Name::kind).collect();
    use proto::Kind::{Cluster, EndpointSet, Listener, Route};
    assert_eq!(kinds, [Route, Listener, Cluster, EndpointSet]);
    proxy.acknowledge();
    assert_eq!(hub.proxies()[0].acknowledged, Some(gone));
}

#[test]
fn a_proxy_that_comes_back_is_sent_what_it_lacks_and_nothing_else() {
    let mut drawn = small();
    let hub = published(&drawn);
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    proxy.settle(now);
    assert_eq!(proxy.resources_received, 4);

    proxy.connect(&hub, &gateway(0), now);
    proxy.settle(now);
    assert_eq!(proxy.resources_received, 4, "nothing again");
    // Another controller, that was started since.
    let other = published(&drawn);
    changed(&other, &mut drawn, Edit::Set(0, Some(2)));
    proxy.connect(&other, &gateway(0), now);
    proxy.settle(now);
    assert_eq!(proxy.resources_received, 5, "what changed meanwhile");
    assert_eq!(other.proxies()[0].resources_sent, 1);
}

#[test]
fn what_a_newer_version_left_at_a_proxy_is_removed() {
    let hub = published(&small());
    let now = Instant::now();
    let newer = Name { kind: 99, key: "policy".to_owned() };
    let caller = Caller { gateway: gateway(0), pod: "pod".into(), version: String::new() };
    let start = Start { held: vec![(newer.clone(), Version::of(b""))], positions: vec![] };
    let entered = hub.enter(caller, start, Arc::default(), now);
    let Step::Send(FromController { message: Some(Message::Batch(batch)) }) = entered.step(now) else {
        panic!("a batch")
    };
    assert_eq!(batch.removed, [newer]);
}

#[test]
fn changes_for_a_slow_proxy_become_one() {
    let mut drawn = small();
    let hub = published(&drawn);
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    proxy.step(now);
    // It has not answered yet.
    for port in 2..200 {
        changed(&hub, &mut drawn, Edit::Set(0, Some(port)));
        assert!(proxy.step(now).is_none());
    }
    assert_eq!(hub.proxies()[0].acknowledged, None);
    proxy.acknowledge();
    assert_eq!(hub.proxies()[0].acknowledged, Some(Generation(1)));
    proxy.settle(now);
    assert_eq!(proxy.resources_received, 4 + 1);
    assert_eq!(proxy.config, scope(&drawn.config(), &gateway(0)));
}

#[test]
fn one_changed_endpoint_is_one_small_message() {
    let mut drawn = small();
    let hub = published(&drawn);
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    proxy.settle(now);
    let before = proxy.bytes_received;
    changed(&hub, &mut drawn, Edit::Set(0, Some(2)));
    proxy.settle(now);
    let bytes = proxy.bytes_received - before;
    assert!(bytes < 64, "{bytes} bytes");
}

#[test]
fn another_gateways_changes_wake_nobody() {
    let mut drawn = small();
    let hub = published(&drawn);
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    proxy.settle(now);
    let other = changed(&hub, &mut drawn, Edit::Listener(1, Some((1, false))));
    assert!(proxy.step(now).is_none());
    assert_eq!(hub.proxies()[0].acknowledged, Some(other), "it has all that concerns it");
}

#[test]
fn a_refused_resource_is_remembered_until_the_proxy_has_a_good_one() {
    let mut drawn = small();
    let hub = published(&drawn);
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    proxy.step(now);
    let key = ResourceKey::Cluster(ClusterKey::new("c0"));
    let refusal = proto::Refusal { name: Some(encode_name(&key)), reason: "x".repeat(5_000) };
    let batch = proxy.answer.take().unwrap();
    let (_, voice) = proxy.stream.as_ref().unwrap();
    assert!(!voice.acknowledge(Acknowledgement { batch: batch + 1, ..Acknowledgement::default() }));
    let failed = proto::FailedBind { listener: "l0".into(), reason: "in use".into() };
    let said = Acknowledgement { batch, refusals: vec![refusal], failed_binds: vec![failed] };
    assert!(voice.acknowledge(said));
    let state = &hub.proxies()[0];
    assert_eq!(state.acknowledged, Some(Generation(1)));
    assert_eq!(state.refusals, [(key, "x".repeat(512))]);
    assert_eq!(state.failed_binds, [(ListenerKey::new("l0"), "in use".to_owned())]);

    // The port is free now, and the next version is good.
    assert!(voice.acknowledge(Acknowledgement { batch, ..Acknowledgement::default() }));
    assert!(hub.proxies()[0].failed_binds.is_empty());
    changed(&hub, &mut drawn, Edit::Cluster(0, Some((1, false))));
    proxy.settle(now);
    assert!(hub.proxies()[0].refusals.is_empty());
}

#[test]
fn nothing_is_sent_before_something_is_published_or_by_a_controller_that_is_behind() {
    let position = |version: &str| Position { kind: "Gateway".into(), resource_version: version.into() };
    let hub = Hub::new();
    let mut now = Instant::now();
    let mut proxy = Proxy { positions: vec![position("1000")], ..Proxy::default() };
    proxy.connect(&hub, &gateway(0), now);
    assert!(proxy.step(now).is_none());
    let all = Config::default().delta(&small().config());
    hub.publish(all, vec![position("999")]);
    assert!(proxy.step(now).is_none(), "it would set the proxy back");
    now += HEARTBEAT_EVERY;
    assert!(matches!(proxy.step(now), Some(Message::Heartbeat(Heartbeat { batch: 0, .. }))), "it lives");
    hub.publish(Delta::default(), vec![position("1001")]);
    assert!(matches!(proxy.step(now), Some(Message::Batch(_))));
    assert_eq!(proxy.positions, [position("1001")]);

    // A cluster that was restored from a backup never catches up.
    let restored = Hub::new();
    restored.publish(Config::default().delta(&small().config()), vec![position("5")]);
    proxy.connect(&restored, &gateway(0), now);
    assert!(proxy.step(now).is_none());
    now += BEHIND_AT_MOST;
    assert!(matches!(proxy.step(now), Some(Message::Batch(_))));
}

#[test]
fn a_proxy_that_comes_back_and_lacks_nothing_has_acknowledged() {
    let position = |version: &str| Position { kind: "Gateway".into(), resource_version: version.into() };
    let mut drawn = small();
    let all = Config::default().delta(&drawn.config());
    let (before, now) = (Hub::new(), Instant::now());
    before.publish(all.clone(), vec![position("1000")]);
    let mut proxy = Proxy::default();
    proxy.connect(&before, &gateway(0), now);
    proxy.settle(now);

    // Another controller has published all of that as well, but made it from what was there a little earlier. What came
    // since changed nothing for proxies, so there is nothing to publish when it has heard of it.
    let hub = Hub::new();
    hub.publish(all, vec![position("999")]);
    proxy.connect(&hub, &gateway(0), now);
    proxy.settle(now);
    assert_eq!(hub.proxies()[0].acknowledged, None);
    hub.reached(vec![position("1000")]);
    proxy.settle(now);
    assert_eq!((hub.proxies()[0].acknowledged, proxy.resources_received), (Some(Generation(1)), 4));

    let other = changed(&hub, &mut drawn, Edit::Listener(1, Some((1, false))));
    proxy.settle(now);
    assert_eq!((hub.proxies()[0].acknowledged, proxy.resources_received), (Some(other), 4));
}

#[test]
fn positions_are_compared_as_numbers_and_only_where_they_can_be() {
    let at = |kind: &str, version: &str| Position { kind: kind.into(), resource_version: version.into() };
    assert!(behind(&[at("A", "99")], &[at("A", "100")]));
    assert!(!behind(&[at("A", "100")], &[at("A", "100")]));
    assert!(!behind(&[at("A", "101"), at("B", "1")], &[at("A", "100")]));
    assert!(behind(&[at("A", "101"), at("B", "1")], &[at("A", "100"), at("B", "2")]));
    assert!(!behind(&[], &[at("A", "100")]), "no longer watched");
    assert!(!behind(&[at("A", "x")], &[at("A", "100")]));
}

#[test]
fn a_proxy_that_does_not_answer_is_cut_and_one_that_comes_twice_is_one() {
    let hub = published(&small());
    let now = Instant::now();
    let mut proxy = Proxy::default();
    let enter = |calls: &Arc<Calls>| {
        let caller = Caller { gateway: gateway(0), pod: "pod".into(), version: String::new() };
        hub.enter(caller, Start::default(), Arc::clone(calls), now)
    };
    let cut = |calls: &Arc<Calls>| futures::FutureExt::now_or_never(calls.cut.notified()).is_some();
    let first = Arc::<Calls>::default();
    let older = enter(&first);
    let second = Arc::<Calls>::default();
    let newer = enter(&second);
    assert!(cut(&first) && !cut(&second));
    drop(older);
    assert!(matches!(newer.step(now), Step::Send(_)));
    hub.cut_stalled(now + ACKNOWLEDGE_WITHIN - Duration::from_millis(1));
    assert!(!cut(&second));
    hub.cut_stalled(now + ACKNOWLEDGE_WITHIN);
    assert!(cut(&second));
    drop(newer);
    assert_eq!(hub.proxies(), []);

    proxy.connect(&hub, &gateway(0), now);
    proxy.settle(now);
    hub.cut_stalled(now + 10 * ACKNOWLEDGE_WITHIN);
    assert_eq!(hub.proxies().len(), 1, "one that has answered everything may be silent");
}

#[test]
fn a_large_change_goes_out_in_pieces_and_counts_at_its_end() {
    let mut drawn = small();
    let hub = published(&drawn);
    let addresses = (0..20_000u32).map(|at| Endpoint { address: ([10, 0, 0, 1], at as u16).into() });
    let large = |at: usize| {
        let key = EndpointSetKey::new(format!("e{at}"));
        let source = EndpointSource::Listed(addresses.clone().collect());
        Resource::EndpointSet(Arc::new(EndpointSet { key, source }))
    };
    for at in 0..3 {
        changed(&hub, &mut drawn, Edit::Cluster(at, Some((at as u8, false))));
    }
    changed(&hub, &mut drawn, Edit::Route(0, Some((1, 7))));
    hub.publish(Delta { set: (0..3).map(large).collect(), removed: vec![] }, vec![]);
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    let mut pieces = 0;
    while proxy.answer.is_none() {
        let Some(Message::Batch(batch)) = proxy.step(now) else { panic!("a batch") };
        pieces += 1;
        assert!(batch.encoded_len() < 300 << 10);
        assert_eq!(proxy.config == Config::default(), !batch.ends);
        // In the middle of it, there is more.
        changed(&hub, &mut drawn, Edit::Listener(0, Some((0, pieces % 2 == 1))));
    }
    assert!(pieces > 2, "{pieces}");
}

#[test]
fn what_is_too_large_to_send_stays_as_it_was() {
    let hub = published(&small());
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    proxy.settle(now);
    let key = EndpointSetKey::new("e0");
    let host = "x".repeat(RESOURCE_BYTES_MAX);
    let source = EndpointSource::Dns { host: host.into(), port: 1 };
    let huge = Resource::EndpointSet(Arc::new(EndpointSet { key, source }));
    hub.publish(Delta { set: vec![huge], removed: vec![] }, vec![]);
    assert!(proxy.step(now).is_none());
}

#[test]
fn who_was_away_while_too_much_was_removed_begins_again() {
    let mut drawn = small();
    drawn.edit(Edit::Cluster(1, Some((1, false))));
    let hub = published(&drawn);
    let now = Instant::now();
    let mut proxy = Proxy::default();
    proxy.connect(&hub, &gateway(0), now);
    // It reads, but does not answer while 3,000 routes come and go.
    proxy.step(now);
    for at in 10..3_010 {
        let one = route(at, 1, 1);
        let key = one.key();
        hub.publish(Delta { set: vec![one], removed: vec![] }, vec![]);
        hub.publish(Delta { set: vec![], removed: vec![key] }, vec![]);
    }
    proxy.acknowledge();
    assert!(proxy.step(now).is_none() && proxy.stream.is_none(), "it is told to begin again");
    proxy.connect(&hub, &gateway(0), now);
    proxy.settle(now);
    assert_eq!(proxy.config, scope(&drawn.config(), &gateway(0)));
    assert_eq!(proxy.resources_received, 4);
}
