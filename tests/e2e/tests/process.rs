//! The process among others: systemd's sockets, an ordinary user, a log that nobody reads, exit codes.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use ringway_e2e::{
    Backend, Builder, Connection, DEADLINE, Driver, Folder, Port, binary, eventually, free_port, manifest,
    on_both_drivers,
};
use serde_json::Value;

on_both_drivers!(
    a_socket_that_systemd_passes_is_served_and_systemd_hears_of_it,
    an_ordinary_user_can_run_it,
    an_access_log_that_nobody_reads_stops_nobody,
    the_access_log_says_what_happened_in_both_formats,
    the_driver_is_the_one_that_was_asked_for,
);

fn objects(port: u16, backend: &Backend) -> Vec<Value> {
    let mut objects = manifest::service("app", &[backend.address]);
    objects.extend([manifest::http_gateway(port), manifest::to_service("app")]);
    objects
}

fn a_socket_that_systemd_passes_is_served_and_systemd_hears_of_it(driver: Driver) {
    let port: Port = free_port();
    let backend = Backend::echo("app");
    let socket = TcpListener::bind(("::", port.number())).unwrap();
    // A client that came before the gateway did.
    let mut early = Connection::open(("127.0.0.1", port.number()));
    early.send("GET /early HTTP/1.1\r\nhost: a.test\r\n\r\n");

    let folder = Folder::new();
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(DEADLINE)).unwrap();
    let gateway = Builder::new(driver)
        .passing(socket)
        .environment("NOTIFY_SOCKET", path.to_str().unwrap())
        .start(&objects(port.number(), &backend));
    assert_eq!(early.answer().json()["target"], "/early", "what waited in the socket was served");
    assert_eq!(Connection::open(("127.0.0.1", port.number())).get("a.test", "/").status, 200);

    let heard = |what: &str| {
        let mut buffer = [0; 4096];
        eventually(what, || {
            let count = systemd.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..count]).contains(what).then_some(())
        });
    };
    heard("READY=1");
    gateway.signal(rustix::process::Signal::TERM);
    heard("STOPPING=1");
}

fn an_ordinary_user_can_run_it(driver: Driver) {
    /// Debian's `nobody`.
    const NOBODY: u32 = 65_534;
    let port = free_port();
    let backend = Backend::echo("app");
    let builder = Builder::new(driver);
    let gateway = if rustix::process::geteuid().is_root() { builder.user(NOBODY) } else { builder };
    let gateway = gateway.start(&objects(port.number(), &backend));
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(!uid.split_whitespace().any(|word| word == "0"), "not root: {uid}");
    assert_eq!(Connection::open(("127.0.0.1", port.number())).get("a.test", "/").status, 200);
    assert!(gateway.stop().success());
}

fn an_access_log_that_nobody_reads_stops_nobody(driver: Driver) {
    let port = free_port();
    let backend = Backend::echo("app");
    let (_nobody_reads, pipe) = std::io::pipe().unwrap();
    let gateway = Builder::new(driver)
        .stdout(pipe)
        .arguments(["--access-log", "json"])
        .start(&objects(port.number(), &backend));
    let mut client = Connection::open(("127.0.0.1", port.number()));
    // Ten times what the pipe (64 KiB) and any sensible queue hold: a line repeats the path.
    let path = format!("/{}", "x".repeat(1500));
    let mut asked = 0;
    eventually("lines are dropped and counted", || {
        for _ in 0..200 {
            assert_eq!(client.get("a.test", &path).status, 200);
            asked += 1;
        }
        let metrics = gateway.admin("/metrics").text();
        let dropped = metrics.lines().any(|line| {
            line.starts_with("ringway_access_log_")
                && line.contains("drop")
                && line
                    .rsplit(' ')
                    .next()
                    .and_then(|value| value.parse::<f64>().ok())
                    .is_some_and(|n| n > 0.0)
        });
        dropped.then_some(())
    });
    assert_eq!(backend.requests(), asked);
    assert!(gateway.stop().success(), "and nobody waits for the pipe at the end");
}

fn the_access_log_says_what_happened_in_both_formats(driver: Driver) {
    for format in ["text", "json"] {
        let port = free_port();
        let backend = Backend::echo("app");
        let (mut reads, pipe) = std::io::pipe().unwrap();
        let mut objects = objects(port.number(), &backend);
        let route = objects.last_mut().unwrap();
        route["spec"]["hostnames"] = serde_json::json!(["app.test"]);
        let gateway = Builder::new(driver).stdout(pipe).arguments(["--access-log", format]).start(&objects);
        let mut client = Connection::open(("127.0.0.1", port.number()));
        assert_eq!(client.get("app.test", "/served?a=b").status, 200);
        assert_eq!(client.get("other.test", "/nobody").status, 404);
        assert!(gateway.stop().success());
        let mut log = String::new();
        reads.read_to_string(&mut log).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        if format == "text" {
            assert!(lines[0].contains("\"GET /served?a=b HTTP/1.1\" 200 - "), "{log}");
            assert!(lines[0].contains(&format!("\"{}\"", backend.address)), "the upstream: {log}");
            assert!(
                lines[1].contains("\"GET /nobody HTTP/1.1\" 404 NR "),
                "Envoy's flag for no route: {log}"
            );
        } else {
            let facts: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(facts[0].to_string().contains("/served?a=b"), "{log}");
            let time = |name: &str| facts[0][name].as_u64().unwrap();
            assert!((1..=time("total_ns")).contains(&time("processing_ns")), "{log}");
            assert!(facts[1].to_string().contains("NR"), "{log}");
        }
    }
}

fn the_driver_is_the_one_that_was_asked_for(driver: Driver) {
    let port = free_port();
    let backend = Backend::echo("app");
    let gateway = Builder::new(driver).start(&objects(port.number(), &backend));
    let metrics = gateway.admin("/metrics").text();
    let line = metrics.lines().find(|line| line.contains("driver=")).expect("a metric tells the driver");
    assert!(line.contains(driver.flag()), "{line}");
    let ring = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().flatten().any(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|path| path.to_string_lossy().contains("io_uring"))
    });
    assert_eq!(ring, driver == Driver::IoUring, "and so does the kernel");
}

#[test]
fn exit_codes_tell_a_wrong_command_line_from_a_machine_that_refuses() {
    let run = |arguments: &[&str]| Command::new(binary()).args(arguments).output().unwrap();
    let wrong = run(&["run", "--no-such-flag"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let nothing = run(&["run"]);
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::new();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    let refused = run(&["run", folder.path().to_str().unwrap(), "--admin-addr", &admin]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains(&admin), "names the address: {text}");

    for arguments in [&["--version"][..], &["--help"], &["run", "--help"]] {
        let shown = run(arguments);
        assert!(shown.status.success() && !shown.stdout.is_empty(), "{shown:?}");
    }
}
