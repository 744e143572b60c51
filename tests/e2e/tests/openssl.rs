//! `openssl s_client` against HTTPS listeners: versions, names, client certificates, tickets.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use ringway_e2e::{
    Authority, Backend, Builder, DEADLINE, Driver, Gateway, Identity, Port, eventually, free_port, manifest,
    on_both_drivers, peer,
};
use serde_json::{Value, json};

on_both_drivers!(
    each_version_of_tls_gets_an_answer_and_older_ones_none,
    the_name_chooses_the_certificate,
    a_client_without_a_valid_certificate_is_refused_where_one_is_asked_for,
    a_client_with_any_certificate_passes_where_falling_back_is_allowed,
    a_ticket_is_good_at_its_listener_and_no_other,
    an_idle_connection_ends_in_order,
    keys_are_renewed_whenever_the_client_likes,
);

/// One session of `openssl s_client` that asks for `/`.
fn s_client(folder: &Path, port: &Port, host: &str, flags: &[&str]) -> peer::Done {
    let mut command = std::process::Command::new(peer::program("openssl"));
    command.args(["s_client", "-connect", &format!("127.0.0.1:{}", port.number()), "-servername", host]);
    command.args(["-ign_eof", "-CAfile", "ca.pem"]).args(flags).current_dir(folder);
    peer::run(&mut command, format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
}

fn served(done: &peer::Done) -> bool {
    done.out.contains("HTTP/1.1 200 OK\r\n")
}

struct Edge {
    gateway: Gateway,
    _backend: Backend,
}

fn edge(
    driver: Driver,
    authority: &Authority,
    listeners: Value,
    tls: Option<Value>,
    secrets: &[(&str, Identity)],
) -> Edge {
    edge_with(Builder::new(driver), authority, listeners, tls, secrets)
}

fn edge_with(
    builder: Builder,
    authority: &Authority,
    listeners: Value,
    tls: Option<Value>,
    secrets: &[(&str, Identity)],
) -> Edge {
    let backend = Backend::echo("app");
    let mut objects = manifest::service("app", &[backend.address]);
    let mut gateway = manifest::gateway(listeners);
    if let Some(tls) = tls {
        gateway["spec"]["tls"] = tls;
    }
    objects.extend([gateway, manifest::to_service("app"), manifest::authority("clients", &authority.pem)]);
    objects.extend(secrets.iter().map(|(name, identity)| manifest::secret(name, identity)));
    let gateway = builder.start(&objects);
    std::fs::write(gateway.folder().join("ca.pem"), &authority.pem).unwrap();
    authority.sign(&["alice"]).write(gateway.folder(), "alice");
    Authority::new("stranger").sign(&["mallory"]).write(gateway.folder(), "mallory");
    Edge { gateway, _backend: backend }
}

fn each_version_of_tls_gets_an_answer_and_older_ones_none(driver: Driver) {
    let port = free_port();
    let authority = Authority::new("authority");
    let listeners = json!([manifest::https_listener("https", port.number(), "edge")]);
    let edge = edge(driver, &authority, listeners, None, &[("edge", authority.sign(&["app.test"]))]);
    let ask = |flags: &[&str]| s_client(edge.gateway.folder(), &port, "app.test", flags);
    for (flag, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let done = ask(&[flag]);
        assert!(served(&done) && done.out.contains("Verify return code: 0 (ok)"), "{}", done.all());
        assert!(done.out.contains(&format!("New, {version}")), "{}", done.all());
        let done = ask(&[flag, "-alpn", "h2,http/1.1"]);
        assert!(done.out.contains("ALPN protocol: h2"), "{}", done.all());
        let done = ask(&[flag, "-alpn", "http/1.1"]);
        assert!(done.out.contains("ALPN protocol: http/1.1") && served(&done), "{}", done.all());
    }
    let done = ask(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(!served(&done) && done.all().contains("alert"), "{}", done.all());
    let done = ask(&["-tls1_3", "-groups", "P-256"]);
    assert!(served(&done), "a client without our first group: {}", done.all());
}

fn the_name_chooses_the_certificate(driver: Driver) {
    let port = free_port();
    let authority = Authority::new("authority");
    let listener = |name: &str, hostname: Option<&str>, secrets: &[&str]| {
        let mut listener = manifest::https_listener(name, port.number(), secrets[0]);
        listener["tls"]["certificateRefs"] =
            secrets.iter().map(|name| json!({"name": name})).collect::<Vec<_>>().into();
        if let Some(hostname) = hostname {
            listener["hostname"] = hostname.into();
        }
        listener
    };
    let listeners = json!([
        listener("exact", Some("a.test"), &["a"]),
        listener("wild", Some("*.wild.test"), &["wild"]),
        listener("many", Some("*.many.test"), &["one", "two"]),
    ]);
    let secrets = [
        ("a", authority.sign(&["a.test"])),
        ("wild", authority.sign(&["*.wild.test"])),
        ("one", authority.sign(&["one.many.test"])),
        ("two", authority.sign(&["two.many.test"])),
    ];
    let edge = edge(driver, &authority, listeners, None, &secrets);
    for (host, subject) in [
        ("a.test", "CN = a.test"),
        ("x.wild.test", "CN = *.wild.test"),
        ("one.many.test", "CN = one.many.test"),
        ("two.many.test", "CN = two.many.test"),
    ] {
        let done = s_client(edge.gateway.folder(), &port, host, &["-verify_hostname", host]);
        assert!(served(&done) && done.out.contains("Verify return code: 0 (ok)"), "{}", done.all());
        assert!(done.out.contains(&format!("subject={subject}")), "{}", done.all());
    }
    let done = s_client(edge.gateway.folder(), &port, "nobody.test", &[]);
    assert!(!served(&done) && done.all().contains("alert"), "{}", done.all());
}

/// Client certificates on two ports: checked by default, and with falling back on the second.
fn validating(driver: Driver, authority: &Authority, ports: [&Port; 2]) -> Edge {
    let listeners = json!([
        manifest::https_listener("first", ports[0].number(), "edge"),
        manifest::https_listener("second", ports[1].number(), "edge"),
    ]);
    let reference = json!([{"group": "", "kind": "ConfigMap", "name": "clients"}]);
    let tls = json!({"frontend": {
        "default": {"validation": {"caCertificateRefs": reference, "mode": "AllowValidOnly"}},
        "perPort": [{
            "port": ports[1].number(),
            "tls": {"validation": {"caCertificateRefs": reference, "mode": "AllowInsecureFallback"}},
        }],
    }});
    edge(driver, authority, listeners, Some(tls), &[("edge", authority.sign(&["app.test"]))])
}

const ALICE: &[&str] = &["-cert", "alice.crt", "-key", "alice.key"];
const MALLORY: &[&str] = &["-cert", "mallory.crt", "-key", "mallory.key"];

fn a_client_without_a_valid_certificate_is_refused_where_one_is_asked_for(driver: Driver) {
    let ports = [free_port(), free_port()];
    let authority = Authority::new("authority");
    let edge = validating(driver, &authority, [&ports[0], &ports[1]]);
    for version in ["-tls1_3", "-tls1_2"] {
        let ask = |flags: &[&str]| {
            let flags: Vec<&str> = flags.iter().copied().chain([version]).collect();
            s_client(edge.gateway.folder(), &ports[0], "app.test", &flags)
        };
        let done = ask(ALICE);
        assert!(served(&done), "{version}: {}", done.all());
        for flags in [&[][..], MALLORY] {
            let done = ask(flags);
            assert!(!served(&done) && done.all().contains("alert"), "{version} {flags:?}: {}", done.all());
        }
    }
}

fn a_client_with_any_certificate_passes_where_falling_back_is_allowed(driver: Driver) {
    let ports = [free_port(), free_port()];
    let authority = Authority::new("authority");
    let edge = validating(driver, &authority, [&ports[0], &ports[1]]);
    for version in ["-tls1_3", "-tls1_2"] {
        for flags in [&[][..], ALICE, MALLORY] {
            let flags: Vec<&str> = flags.iter().copied().chain([version]).collect();
            let done = s_client(edge.gateway.folder(), &ports[1], "app.test", &flags);
            assert!(served(&done), "{flags:?}: {}", done.all());
        }
    }
}

fn a_ticket_is_good_at_its_listener_and_no_other(driver: Driver) {
    let ports = [free_port(), free_port(), free_port()];
    let authority = Authority::new("authority");
    let listeners = json!([
        manifest::https_listener("first", ports[0].number(), "edge"),
        manifest::https_listener("second", ports[1].number(), "other"),
        manifest::https_listener("third", ports[2].number(), "edge"),
    ]);
    let reference = json!([{"group": "", "kind": "ConfigMap", "name": "clients"}]);
    // The third has the first one's certificate, but asks for one from clients.
    let tls = json!({"frontend": {
        "default": {},
        "perPort": [{
            "port": ports[2].number(),
            "tls": {"validation": {"caCertificateRefs": reference, "mode": "AllowValidOnly"}},
        }],
    }});
    let secrets = [("edge", authority.sign(&["app.test"])), ("other", authority.sign(&["app.test"]))];
    let edge = edge(driver, &authority, listeners, Some(tls), &secrets);
    let folder = edge.gateway.folder();
    for (version, name) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let ask = |port: &Port, flags: &[&str]| {
            let flags: Vec<&str> = flags.iter().copied().chain([version]).collect();
            s_client(folder, port, "app.test", &flags)
        };
        let reused = format!("Reused, {name}");
        let done = ask(&ports[0], &["-sess_out", "ticket"]);
        assert!(served(&done) && !done.out.contains(&reused), "{}", done.all());
        // Both cores share the keys: whichever accepts, the ticket is good.
        for _ in 0..6 {
            let done = ask(&ports[0], &["-sess_in", "ticket"]);
            assert!(served(&done) && done.out.contains(&reused), "{}", done.all());
        }
        let done = ask(&ports[1], &["-sess_in", "ticket"]);
        assert!(served(&done) && !done.out.contains(&reused), "a full handshake instead: {}", done.all());
        let done = ask(&ports[2], &["-sess_in", "ticket"]);
        assert!(!served(&done), "a ticket is no certificate: {}", done.all());
        let done = ask(&ports[2], &[&["-sess_out", "alices"][..], ALICE].concat());
        assert!(served(&done), "{}", done.all());
        let done = ask(&ports[0], &["-sess_in", "alices"]);
        assert!(served(&done) && !done.out.contains(&reused), "{}", done.all());
    }
}

/// OpenSSL tells an end with close_notify from a cut: "unexpected eof while reading".
fn an_idle_connection_ends_in_order(driver: Driver) {
    for timed_out in [true, false] {
        let port = free_port();
        let authority = Authority::new("authority");
        let listeners = json!([manifest::https_listener("https", port.number(), "edge")]);
        let timeout = if timed_out { "idle_timeout=1s" } else { "idle_timeout=1h" };
        let builder = Builder::new(driver).arguments(["--limit", timeout]);
        let edge =
            edge_with(builder, &authority, listeners, None, &[("edge", authority.sign(&["app.test"]))]);
        let folder = edge.gateway.folder().to_owned();
        let port = port.number();
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for version in ["-tls1_3", "-tls1_2"] {
                let mut command = std::process::Command::new(peer::program("openssl"));
                command.args([
                    "s_client",
                    "-connect",
                    &format!("127.0.0.1:{port}"),
                    "-servername",
                    "app.test",
                ]);
                command.args(["-ign_eof", "-CAfile", "ca.pem", version]).current_dir(&folder);
                // The connection stays open: nothing asks for its end.
                let _over = ended.send(peer::run(&mut command, b"GET / HTTP/1.1\r\nhost: app.test\r\n\r\n"));
                if !timed_out {
                    return;
                }
            }
        });
        if !timed_out {
            let counted = || (edge.gateway.metric("ringway_http_requests_total", "") >= 1.0).then_some(());
            eventually("the request is served", counted);
            edge.gateway.signal(rustix::process::Signal::TERM);
        }
        for _ in 0..if timed_out { 2 } else { 1 } {
            let done = end.recv_timeout(DEADLINE).unwrap();
            assert!(served(&done), "{}", done.all());
            assert!(!done.all().contains("unexpected eof"), "{}", done.all());
        }
    }
}

/// `K` renews the client's keys and asks for new ones of the gateway; `k` only the first.
fn keys_are_renewed_whenever_the_client_likes(driver: Driver) {
    let port = free_port();
    let authority = Authority::new("authority");
    let listeners = json!([manifest::https_listener("https", port.number(), "edge")]);
    let edge = edge(driver, &authority, listeners, None, &[("edge", authority.sign(&["app.test"]))]);
    let mut client = std::process::Command::new(peer::program("openssl"))
        .args(["s_client", "-connect", &format!("127.0.0.1:{}", port.number()), "-servername", "app.test"])
        .args(["-tls1_3", "-CAfile", "ca.pem"])
        .current_dir(edge.gateway.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    let out = Heard::of(client.stdout.take().unwrap());
    let err = Heard::of(client.stderr.take().unwrap());
    out.wait_for("Verify return code: 0 (ok)", 1);
    // A command is a line that is read by itself: what follows waits until it was obeyed.
    for (round, command) in ["K\n", "k\n", "K\n"].into_iter().enumerate() {
        input.write_all(command.as_bytes()).unwrap();
        err.wait_for("KEYUPDATE", round + 1);
        input.write_all(b"GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").unwrap();
        out.wait_for("HTTP/1.1 200 OK", round + 1);
    }
    drop(input);
    client.wait().unwrap();
}

/// What a process has said so far, read by a thread of its own.
struct Heard(Arc<Mutex<String>>);

impl Heard {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let heard = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                shared.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self(heard)
    }

    fn wait_for(&self, text: &str, times: usize) {
        eventually(&format!("{text:?}, {times} times"), || {
            (self.0.lock().unwrap().matches(text).count() >= times).then_some(())
        });
    }
}
