//! What the gateway costs in memory: with nothing to do, and with many clients that have been served and stay.
//!
//! Resident memory is what the kernel counts (`/proc/PID/status`): anonymous pages, which are ours alone, and pages of files,
//! which are the binary and its libraries as far as they were touched, shared with whoever else runs them. A connection's
//! share is the difference between before and after, over their number: pools and what the allocator keeps are in it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringway_e2e::{
    Authority, Backend, Builder, Connection, DEADLINE, Driver, Gateway, Memory, Reply, eventually, figure,
    free_port, manifest, on_both_drivers,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use rustls::client::Resumption;
use serde_json::{Value, json};

on_both_drivers!(
    an_idle_gateway_is_small_and_again_when_changes_rest,
    an_idle_gateway_with_tls_is_small_and_again_when_changes_rest,
    a_served_connection_that_waits_is_small,
    a_served_tls_connection_that_waits_is_small,
);

/// Connections that have each had an answer and stay open. A process often may not have more than 20,000 descriptors, and
/// the gateway lets clients have at most half.
const CONNECTIONS: usize = 9_500;
/// Clients that open them, each one after the other.
const CLIENTS: usize = 64;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Requests that bring what serving needs back into memory.
const REQUESTS: usize = 1_000;
/// What an idle process may take of its own: heap, stacks, and the pages that the loader relocated. Measured: 1.5 MiB, and 2.2 after
/// handshakes.
const IDLE_ANONYMOUS_MAX: u64 = 2 * MIB;
/// The same with all pages of files, of which the kernel maps sixteen around each that is touched. Measured: 3.8 to 6.9 MiB: just
/// copied, a binary has more mapped around each page than one that was linked here or read from the disk.
const IDLE_BYTES_MAX: u64 = 8 * MIB;
/// What it may take after requests. Measured: 5.8 to 8.9 MiB.
const SERVED_BYTES_MAX: u64 = 10 * MIB;
/// The same over TLS. Measured: 9.1 to 11.6 MiB.
const SERVED_TLS_BYTES_MAX: u64 = 13 * MIB;
/// What a connection may take. Measured: 1.6 to 1.8 KiB.
const PLAIN_BYTES_MAX: u64 = 2 * KIB;
/// The same over TLS. Measured: 4.0 KiB; the aim is 18.
const TLS_BYTES_MAX: u64 = 8 * KIB;

/// One at a time: each wants as many descriptors as one process may have, and nothing else on the CPUs.
static ONE: Mutex<()> = Mutex::new(());

fn an_idle_gateway_is_small_and_again_when_changes_rest(driver: Driver) {
    idle(driver, "plaintext", None, SERVED_BYTES_MAX);
}

fn an_idle_gateway_with_tls_is_small_and_again_when_changes_rest(driver: Driver) {
    idle(driver, "TLS", Some(&Authority::new("memory")), SERVED_TLS_BYTES_MAX);
}

fn idle(driver: Driver, what: &str, authority: Option<&Authority>, served_bytes_max: u64) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let backend = Backend::answering(|_| Reply::ok(vec![b'x'; 1024]));
    let port = free_port();
    let gateway = Gateway::start(driver, &objects(port.number(), &backend, authority));
    let idle = settled(&gateway);
    show(driver, &format!("idle, {what}"), idle);
    assert!(idle.anonymous <= IDLE_ANONYMOUS_MAX, "{idle:?}");
    assert!(idle.resident <= IDLE_BYTES_MAX, "{idle:?}");

    // A figure that only stands until the first request would be none.
    let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let config = authority.map(client);
    for _ in 0..CLIENTS {
        let mut connection = served(address, config.as_ref());
        (1..REQUESTS.div_ceil(CLIENTS)).for_each(|_| ask(&mut connection));
    }
    let after = settled(&gateway);
    show(driver, &format!("after {REQUESTS} requests, {what}"), after);
    assert!(after.resident <= served_bytes_max, "{idle:?}, then {after:?}");

    // Whoever is connected finds everything as it was.
    let connected = served(address, config.as_ref());
    change(&gateway, "another", &backend);
    let changed = settled(&gateway);
    show(driver, &format!("after a change while a client is connected, {what}"), changed);
    assert!(changed.resident >= after.resident, "{after:?}, then {changed:?}");
    drop(connected);

    change(&gateway, "third", &backend);
    eventually("what the changes took goes back", || {
        (gateway.memory().resident <= IDLE_BYTES_MAX).then_some(())
    });
    let rested = settled(&gateway);
    show(driver, &format!("after a change, {what}"), rested);
    assert!(rested.resident <= IDLE_BYTES_MAX, "{idle:?}, then {rested:?}");
}

fn a_served_connection_that_waits_is_small(driver: Driver) {
    measure(driver, "plaintext", None, PLAIN_BYTES_MAX);
}

fn a_served_tls_connection_that_waits_is_small(driver: Driver) {
    let authority = Authority::new("memory");
    measure(driver, "TLS", Some(&authority), TLS_BYTES_MAX);
}

fn measure(driver: Driver, what: &str, authority: Option<&Authority>, bytes_max: u64) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    raise_descriptors();
    let backend = Backend::answering(|_| Reply::ok(vec![b'x'; 1024]));
    let port = free_port();
    let objects = objects(port.number(), &backend, authority);
    // All of them come from one address.
    let limit = format!("connections_per_client_max={}", 2 * CONNECTIONS);
    let gateway = Builder::new(driver).arguments(["--limit", &limit]).start(&objects);
    let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let config = authority.map(client);
    let config = config.as_ref();
    settled(&gateway);
    // Whoever comes first has the code that serves mapped again, which is no connection's share.
    drop(served(address, config));
    let before = settled(&gateway);

    let connections: Vec<Connection> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|index| scope.spawn(move || serve(address, index, config))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("every request is answered")).collect()
    });
    assert_eq!(connections.len(), CONNECTIONS);

    let waiting = settled(&gateway);
    let each = waiting.resident.saturating_sub(before.resident) / CONNECTIONS as u64;
    show(driver, &format!("{CONNECTIONS} connections, {what}"), waiting);
    let kib = each as f64 / KIB as f64;
    figure("memory", &format!("{}: a connection that waits, {what}", driver.flag()), format!("{kib:.2} KiB"));
    assert!(each <= bytes_max, "{each} bytes each: {before:?}, then {waiting:?}");
    drop(connections);
}

/// One client's share of the connections, each of which has been served.
fn serve(address: SocketAddr, index: usize, config: Option<&Arc<ClientConfig>>) -> Vec<Connection> {
    let share = (index..CONNECTIONS).step_by(CLIENTS);
    share.map(|_| served(address, config)).collect()
}

/// A connection that has had an answer.
fn served(address: SocketAddr, config: Option<&Arc<ClientConfig>>) -> Connection {
    let mut connection = match config {
        None => Connection::open(address),
        Some(config) => Connection::open_tls(address, "app.test", Arc::clone(config)),
    };
    ask(&mut connection);
    connection
}

fn ask(connection: &mut Connection) {
    let answer = connection.get("app.test", "/a/b?c=d");
    assert_eq!((answer.status, answer.body.len()), (200, 1024));
}

/// Brings one more route into force, with a Service of its own.
fn change(gateway: &Gateway, name: &str, backend: &Backend) {
    let generation = gateway.generation();
    let mut objects = manifest::service(name, &[backend.address]);
    objects.push(manifest::to_service(name));
    gateway.set(&format!("{name}.yaml"), &objects);
    eventually("the change is in force", || (gateway.generation() > generation).then_some(()));
}

/// One listener, one route, one backend.
fn objects(port: u16, backend: &Backend, authority: Option<&Authority>) -> Vec<Value> {
    let mut objects = manifest::service("app", &[backend.address]);
    objects.push(manifest::to_service("app"));
    let listener = match authority {
        None => json!({"name": "main", "port": port, "protocol": "HTTP"}),
        Some(authority) => {
            objects.push(manifest::secret("app", &authority.sign(&["app.test"])));
            manifest::https_listener("main", port, "app")
        }
    };
    objects.push(manifest::gateway(json!([listener])));
    objects
}

/// A client whose every connection makes a whole handshake: nothing is resumed.
fn client(authority: &Authority) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(authority.client(&["http/1.1"], None));
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The memory of a gateway that has come to rest: the same for a while.
fn settled(gateway: &Gateway) -> Memory {
    const REST: Duration = Duration::from_secs(3);
    let give_up = Instant::now() + DEADLINE;
    let (mut memory, mut since) = (gateway.memory(), Instant::now());
    while since.elapsed() < REST && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(50));
        let now = gateway.memory();
        if now != memory {
            (memory, since) = (now, Instant::now());
        }
    }
    memory
}

fn show(driver: Driver, what: &str, memory: Memory) {
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let Memory { resident, anonymous } = memory;
    let text = format!("{:.1} MiB resident, {:.1} MiB of it anonymous", mib(resident), mib(anonymous));
    figure("memory", &format!("{}: {what}", driver.flag()), text);
}

/// As many descriptors as this process and its children may have.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = 2 * CONNECTIONS as u64;
    assert!(limit.maximum.is_none_or(|most| most >= wanted), "{wanted} descriptors are needed: ulimit -Hn");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("it is ours to raise");
}
