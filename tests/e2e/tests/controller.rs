//! A controller and its proxies as processes: configuration over a real stream, with TLS and a token.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringway_e2e::{
    Authority, Backend, Connection, Folder, Port, binary, eventually, figure, free_port, manifest,
};
use serde_json::{Value, json};

/// One process of ours with an admin server. Dropping it ends it, at once and without a word.
struct Process {
    child: Child,
    admin: Port,
    log: PathBuf,
}

impl Process {
    fn start(folder: &Path, name: &str, arguments: &[OsString]) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let admin = free_port();
        let log = folder.join(format!("{name}-{}.log", STARTED.fetch_add(1, Ordering::Relaxed)));
        let child = Command::new(binary())
            .args(arguments)
            .args(["--admin-addr", &format!("127.0.0.1:{}", admin.number())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, admin, log }
    }

    fn get(&self, path: &str) -> Option<ringway_e2e::Answer> {
        let mut connection = Connection::try_open(("127.0.0.1", self.admin.number())).ok()?;
        connection
            .try_send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"))
            .ok()?;
        connection.try_answer(false).ok()
    }

    fn status(&self) -> Value {
        self.get("/status?format=json").expect("the admin server answers").json()
    }

    fn ready(&self) -> bool {
        self.get("/ready").is_some_and(|answer| answer.status == 200)
    }

    fn wait_until_ready(&self) {
        eventually("it is ready", || self.ready().then_some(()));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// As `kill -9` does.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- {}\n{log}", self.log.display());
        } else {
            assert!(!log.contains("panicked"), "a panic was logged:\n{log}");
        }
    }
}

/// A folder of manifests, an authority, a token, and a port for a controller.
struct Place {
    folder: Folder,
    port: Port,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: Folder::new(), port: free_port(), authority: Authority::new("ca") };
        std::fs::create_dir(place.path("conf")).unwrap();
        let identity = place.authority.sign(&["localhost"]);
        for (name, text) in [
            ("cert.pem", identity.cert.as_str()),
            ("key.pem", &identity.key),
            ("ca.pem", &place.authority.pem),
            ("token", "open sesame\n"),
        ] {
            std::fs::write(place.path(name), text).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save<'a>(&self, name: &str, objects: impl IntoIterator<Item = &'a Value>) {
        std::fs::write(self.path("new"), manifest::text(objects)).unwrap();
        std::fs::rename(self.path("new"), self.path("conf").join(name)).unwrap();
    }

    fn controller(&self) -> Process {
        let mut arguments: Vec<OsString> = vec!["controller".into(), self.path("conf").into()];
        arguments.push("--listen".into());
        arguments.push(format!("127.0.0.1:{}", self.port.number()).into());
        for (flag, file) in [("--token-file", "token"), ("--tls-cert", "cert.pem"), ("--tls-key", "key.pem")]
        {
            arguments.extend([flag.into(), self.path(file).into()]);
        }
        Process::start(self.folder.path(), "controller", &arguments)
    }

    /// A proxy of a gateway that reaches the controller by this port.
    fn proxy(&self, gateway: &str, port: u16, token: &str, last_good: &Path) -> Process {
        let mut arguments: Vec<OsString> =
            ["proxy", "--threads", "1", "--name", "pod"].map(Into::into).into();
        arguments.extend(["--gateway".into(), format!("default/{gateway}").into()]);
        arguments.extend(["--controller".into(), format!("https://localhost:{port}").into()]);
        arguments.extend(["--token-file".into(), self.path(token).into()]);
        arguments.extend(["--ca-file".into(), self.path("ca.pem").into()]);
        arguments.extend(["--last-good".into(), last_good.into()]);
        Process::start(self.folder.path(), gateway, &arguments)
    }
}

/// Between a proxy and its controller: counts what the controller sends, and stops passing it on when told.
struct Relay {
    port: u16,
    sent: Arc<AtomicUsize>,
    stuck: Arc<AtomicBool>,
}

impl Relay {
    fn to(controller: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay =
            Self { port: listener.local_addr().unwrap().port(), sent: Arc::default(), stuck: Arc::default() };
        let (sent, stuck) = (Arc::clone(&relay.sent), Arc::clone(&relay.stuck));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", controller)) else { continue };
                let (sent, stuck) = (Arc::clone(&sent), Arc::clone(&stuck));
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, |_| true));
                std::thread::spawn(move || {
                    pass(server, client, |bytes| {
                        sent.fetch_add(bytes, Ordering::Relaxed);
                        !stuck.load(Ordering::Relaxed)
                    });
                });
            }
        });
        relay
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut may: impl FnMut(usize) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while !may(0) {
            // It neither reads nor closes, as a hung process does not.
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        may(count);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _closed_already = to.shutdown(std::net::Shutdown::Both);
}

fn gateway(name: &str, port: u16) -> Value {
    manifest::gateway_named(name, json!([{"name": "http", "port": port, "protocol": "HTTP"}]))
}

/// One route for both gateways.
fn route() -> Value {
    let mut route = manifest::to_service("app");
    route["spec"]["parentRefs"] = json!([{"name": "edge"}, {"name": "other"}]);
    route
}

fn answered_by(port: &Port) -> Option<String> {
    let mut connection = Connection::try_open(("127.0.0.1", port.number())).ok()?;
    connection.try_get("app.test", "/").ok()?.backend()
}

/// Sends requests until told to stop; says how many there were and how many failed.
fn load(port: u16, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<(usize, usize)> {
    std::thread::spawn(move || {
        let (mut all, mut failed) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let asked = Connection::try_open(("127.0.0.1", port))
                .and_then(|mut connection| connection.try_get("app.test", "/"));
            all += 1;
            failed += usize::from(!asked.is_ok_and(|answer| answer.status == 200));
        }
        (all, failed)
    })
}

#[test]
fn proxies_are_configured_and_outlive_their_controller() {
    let place = Place::new();
    let (edge, other) = (free_port(), free_port());
    let (one, two) = (Backend::echo("one"), Backend::echo("two"));
    place.save("gateways.yaml", &[gateway("edge", edge.number()), gateway("other", other.number()), route()]);
    place.save("app.yaml", &manifest::service("app", &[one.address]));
    let controller = place.controller();
    controller.wait_until_ready();
    let relay = Relay::to(place.port.number());
    let files = [place.path("edge-good"), place.path("other-good")];
    let proxies = [
        place.proxy("edge", relay.port, "token", &files[0]),
        place.proxy("other", place.port.number(), "token", &files[1]),
    ];
    proxies.iter().for_each(Process::wait_until_ready);
    for port in [&edge, &other] {
        assert_eq!(answered_by(port).as_deref(), Some("one"));
    }
    let config = proxies[0].get("/config?format=json").unwrap().json();
    assert_eq!(config["listeners"].as_object().unwrap().len(), 1, "its own gateway's alone: {config}");

    let kept = || files.each_ref().map(|file| std::fs::read(file).unwrap_or_default());
    eventually("the configurations are kept", || kept().iter().all(|file| !file.is_empty()).then_some(()));
    let kept_before = kept();

    // A file is edited. What is sent for it: one changed endpoint, over TLS.
    let acknowledged = || {
        let proxies = controller.status()["proxies"].as_array().unwrap().clone();
        let generations = proxies.iter().map(|proxy| proxy["acknowledged"].as_u64());
        generations.collect::<Option<Vec<u64>>>().filter(|all| all.len() == 2)
    };
    eventually("both have acknowledged", acknowledged);
    let before = relay.sent.load(Ordering::Relaxed);
    place.save("app.yaml", &manifest::service("app", &[two.address]));
    for port in [&edge, &other] {
        eventually("the edit is live", || (answered_by(port)? == "two").then_some(()));
    }
    // A heartbeat and a ping may be among them.
    let bytes = relay.sent.load(Ordering::Relaxed) - before;
    figure("controller", "bytes to a proxy for one changed endpoint, TLS included", bytes);
    assert!(bytes <= 400, "{bytes} bytes");
    eventually("the edits are kept", || {
        kept().iter().zip(&kept_before).all(|(now, before)| now != before).then_some(())
    });

    // The controller dies under load and comes back.
    let stop = Arc::new(AtomicBool::new(false));
    let loads = [&edge, &other].map(|port| load(port.number(), Arc::clone(&stop)));
    controller.kill();
    eventually("the proxies notice", || {
        proxies.iter().all(|proxy| !proxy.status()["trouble"].is_null()).then_some(())
    });
    let received = || proxies.each_ref().map(|proxy| proxy.status()["resources_received"].as_u64().unwrap());
    let before = received();
    let controller = place.controller();
    let connected = eventually("the proxies are back", || {
        let proxies = controller.get("/status?format=json")?.json()["proxies"].as_array()?.clone();
        let all = proxies.iter().filter(|proxy| proxy["acknowledged"].is_u64()).count() == 2;
        all.then_some(proxies)
    });
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        let (all, failed) = load.join().unwrap();
        assert!(all > 0);
        assert_eq!(failed, 0, "of {all} requests");
    }
    assert_eq!(received(), before, "nothing is sent again");
    assert!(connected.iter().all(|proxy| proxy["resources_sent"] == 0), "{connected:?}");

    // A proxy begins while the controller is away.
    controller.kill();
    let [first, second] = proxies;
    first.kill();
    second.kill();
    let alone = place.proxy("edge", place.port.number(), "token", &files[0]);
    alone.wait_until_ready();
    // The kernel may end the ring of a process that was killed, and its sockets with it, a moment after the process: until
    // then the port is taken, and is tried again every second.
    eventually("it serves", || (answered_by(&edge)? == "two").then_some(()));
    assert_eq!(alone.status()["from_file"], true);
    // What it holds is not sent again either.
    let controller = place.controller();
    eventually("it is back", || {
        let proxies = controller.get("/status?format=json")?.json()["proxies"].clone();
        (proxies[0]["acknowledged"].is_u64() && proxies[0]["resources_sent"] == 0).then_some(())
    });
}

#[test]
fn a_proxy_that_stops_reading_slows_no_other() {
    let place = Place::new();
    let (edge, other) = (free_port(), free_port());
    let backends = ["one", "two", "three"].map(Backend::echo);
    place.save("gateways.yaml", &[gateway("edge", edge.number()), gateway("other", other.number()), route()]);
    place.save("app.yaml", &manifest::service("app", &[backends[0].address]));
    let controller = place.controller();
    let relay = Relay::to(place.port.number());
    let slow = place.proxy("edge", relay.port, "token", &place.path("edge-good"));
    let quick = place.proxy("other", place.port.number(), "token", &place.path("other-good"));
    slow.wait_until_ready();
    quick.wait_until_ready();
    relay.stuck.store(true, Ordering::Relaxed);
    for round in 0..20 {
        let at = 1 + round % 2;
        place.save("app.yaml", &manifest::service("app", &[backends[at].address]));
        let name = ["two", "three"][round % 2];
        eventually("the quick one has it", || (answered_by(&other)? == name).then_some(()));
    }
    assert_eq!(answered_by(&edge).as_deref(), Some("one"), "the slow one has nothing of it");
    let status = controller.status();
    let sent = |gateway: &str| {
        let proxies = status["proxies"].as_array().unwrap();
        let found = proxies.iter().find(|proxy| proxy["gateway"] == gateway).unwrap();
        found["resources_sent"].as_u64().unwrap()
    };
    assert!(sent("default/other") >= sent("default/edge") + 18, "what it missed does not queue: {status}");
    relay.stuck.store(false, Ordering::Relaxed);
    eventually("the slow one catches up", || (answered_by(&edge)? == "three").then_some(()));
}

#[test]
fn a_wrong_token_is_refused_and_the_right_one_is_taken_when_it_comes() {
    let place = Place::new();
    let edge = free_port();
    let backend = Backend::echo("one");
    place.save("gateways.yaml", &[gateway("edge", edge.number()), route()]);
    place.save("app.yaml", &manifest::service("app", &[backend.address]));
    let controller = place.controller();
    std::fs::write(place.path("wrong"), "guessed").unwrap();
    let proxy = place.proxy("edge", place.port.number(), "wrong", &place.path("edge-good"));
    eventually("it is refused", || proxy.log().contains("this is not the token").then_some(()));
    assert!(!proxy.ready());
    assert_eq!(controller.status()["proxies"], json!([]));
    assert!(answered_by(&edge).is_none());
    std::fs::write(place.path("wrong"), "open sesame").unwrap();
    proxy.wait_until_ready();
    assert_eq!(answered_by(&edge).as_deref(), Some("one"));
}

#[test]
fn what_cannot_be_kept_is_said_once_and_stops_nothing() {
    let place = Place::new();
    let edge = free_port();
    let backends = ["one", "two"].map(Backend::echo);
    place.save("gateways.yaml", &[gateway("edge", edge.number()), route()]);
    place.save("app.yaml", &manifest::service("app", &[backends[0].address]));
    let controller = place.controller();
    controller.wait_until_ready();
    // As a disk that takes nothing: there is no such folder yet.
    let kept = place.path("folder/edge-good");
    let proxy = place.proxy("edge", place.port.number(), "token", &kept);
    proxy.wait_until_ready();
    eventually("it is known", || proxy.status()["not_kept"].is_string().then_some(()));
    assert_eq!(answered_by(&edge).as_deref(), Some("one"));
    std::fs::create_dir(place.path("folder")).unwrap();
    place.save("app.yaml", &manifest::service("app", &[backends[1].address]));
    eventually("the edit is live", || (answered_by(&edge)? == "two").then_some(()));
    eventually("it is kept again", || kept.exists().then_some(()));
    eventually("it is known", || proxy.status()["not_kept"].is_null().then_some(()));
    assert_eq!(proxy.log().matches("cannot be kept").count(), 1);
}

#[test]
fn a_port_that_a_proxy_cannot_have_is_known_to_the_controller_until_it_has_it() {
    let place = Place::new();
    let edge = free_port();
    let taken = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], edge.number()))).unwrap();
    place.save("gateways.yaml", &[gateway("edge", edge.number())]);
    let controller = place.controller();
    let proxy = place.proxy("edge", place.port.number(), "token", &place.path("edge-good"));
    let unbound = || {
        let status = controller.get("/status?format=json")?.json();
        Some(status["proxies"][0]["unbound"].as_array()?.len())
    };
    eventually("the controller knows", || unbound().filter(|count| *count == 1));
    drop(taken);
    eventually("the controller knows", || unbound().filter(|count| *count == 0));
    proxy.wait_until_ready();
}
