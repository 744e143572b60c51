//! The real binary as its operators meet it: arguments, exit codes, signals, systemd, logs, and files that change.
//!
//! Every test has its own ports and directory. Nothing sleeps to be on time: tests wait for what the process says or
//! does, with a deadline far beyond what it takes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

fn ringway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    // What the machine that runs the tests says must not matter.
    for (name, _) in std::env::vars_os() {
        let known =
            name.to_str().is_some_and(|name| name.starts_with("RINGWAY_") || name.starts_with("LISTEN_"));
        if known || name == "NOTIFY_SOCKET" {
            command.env_remove(name);
        }
    }
    command
}

fn output(arguments: &[&str], input: &str) -> Output {
    let mut command = ringway();
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running gateway with an admin server, killed when the test ends.
struct Gateway {
    child: Child,
    admin: SocketAddr,
    log: Receiver<String>,
}

impl Gateway {
    /// Starts it, and waits until the first configuration is live.
    fn start(command: &mut Command) -> Self {
        let mut child = command.args(["--admin-addr", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have heard enough.
                let _done = sender.send(line);
            }
        });
        let mut gateway = Self { child, admin: ([0, 0, 0, 0], 0).into(), log };
        let line = gateway.wait_for_line("admin:");
        let address = line.split("http://").nth(1).unwrap().split(' ').next().unwrap();
        gateway.admin = address.parse().unwrap();
        gateway
    }

    fn wait_for_line(&self, part: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("no {part:?} in {seen:#?}"));
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, metrics) = get(self.admin, "/metrics", "").unwrap();
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// One request on a connection of its own.
fn get(to: SocketAddr, path: &str, fields: &str) -> std::io::Result<(u16, String)> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// A backend that answers with the request's head, and holds answers to `/slow` until told to go on.
struct Backend {
    address: SocketAddr,
    arrived: Receiver<()>,
    go_on: Sender<()>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (arrive, arrived) = channel();
        let (go_on, go) = channel();
        let go = std::sync::Arc::new(std::sync::Mutex::new(go));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (arrive, go) = (arrive.clone(), go.clone());
                std::thread::spawn(move || serve(socket, &arrive, &go));
            }
        });
        Self { address, arrived, go_on }
    }
}

fn serve(socket: TcpStream, arrive: &Sender<()>, go: &std::sync::Mutex<Receiver<()>>) {
    let mut writer = socket.try_clone().unwrap();
    let mut reader = BufReader::new(socket);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        if head.starts_with("GET /slow") {
            let _test_over = arrive.send(());
            let _test_over = go.lock().unwrap().recv();
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A directory of the test's own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

fn one_line(backend: &Backend) -> (Command, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = ringway();
    command.args(["run", "--threads", "1", "--listen", &address.to_string()]);
    command.args(["--to", &backend.address.to_string()]);
    (command, address)
}

#[test]
fn what_cannot_be_read_or_holds_nothing_is_found_with_code_and_line_like_all_else() {
    let scratch = Scratch::new("unfit");
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let utf16: Vec<u8> = "\u{feff}kind: Gateway".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let binary = file("binary.yaml", b"a: b\n\x00\x01");
    let (utf16, dangling) = (file("utf16.yaml", &utf16), scratch.0.join("links/gone.yaml"));
    file("links/none.txt", b"");
    std::os::unix::fs::symlink("/nowhere", &dangling).unwrap();
    let (links, comment) = (scratch.0.join("links"), file("comment.yaml", b"# later\n"));
    file("empty/.hidden/a.yaml", b"");
    file("above/base/a.yaml", b"");
    let (empty, above) = (scratch.0.join("empty"), scratch.0.join("above"));
    for (path, code, said) in [
        (&*binary, 1, "binary.yaml:2:1: error[RW1017]: holds a zero byte"),
        (&*utf16, 1, "utf16.yaml:1:1: error[RW1017]: is UTF-16 text; save it as UTF-8"),
        (links.to_str().unwrap(), 1, "gone.yaml:1:1: error[RW1016]: cannot be read: No such file"),
        (
            empty.to_str().unwrap(),
            0,
            "empty:1:1: warning[RW1018]: there is no .yaml, .yml or .json file directly in",
        ),
        (above.to_str().unwrap(), 0, "name those that are meant, such as"),
        (&*comment, 0, "comment.yaml:1:1: warning[RW1018]: there is no object in this text"),
    ] {
        let ended = output(&["validate", "-f", path], "");
        let shown = text(&ended.stdout);
        assert_eq!(ended.status.code(), Some(code), "{shown}");
        assert!(shown.contains(said), "{shown}");
        assert!(
            shown.contains(if code == 1 { "1 error, 0 warnings" } else { "0 errors, 1 warning" }),
            "{shown}"
        );
        let ended = output(&["validate", "-f", path, "-o", "json"], "");
        let shown: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        let [only] = &shown["findings"].as_array().unwrap()[..] else { panic!("{shown}") };
        assert!(
            only["line"].as_u64() >= Some(1) && only["code"].as_str().unwrap().starts_with("RW10"),
            "{shown}"
        );
    }
}

#[test]
fn a_wrong_type_hides_neither_what_else_is_wrong_nor_makes_others_wrong() {
    let gateway = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: ringway
  listeners:
  - {name: bad, port: \"80\", protocol: HTTPP}
  - {name: good, port: 81, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: gone, port: 80}]}]
";
    let shown = text(&output(&["validate", "-f", "-"], gateway).stdout);
    let codes: Vec<&str> =
        shown.split('[').skip(1).filter_map(|rest| rest.get(..6)).filter(|it| it.starts_with("RW")).collect();
    assert_eq!(codes, ["RW1202", "RW2103", "RW2210"], "{shown}");
    assert!(
        !text(&output(&["translate", "-f", "-"], gateway).stdout).contains("81"),
        "a draft is never served"
    );
}

#[test]
fn every_kind_of_end_has_its_exit_code() {
    let scratch = Scratch::new("codes");
    let (good, bad) = (scratch.0.join("good.yaml"), scratch.0.join("bad.yaml"));
    fs::write(&good, "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}]}\n")
        .unwrap();
    fs::write(&bad, "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: many}]}\n")
        .unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, code, said) in [
        (&["version"][..], 0, "ringway 0."),
        (&["--version"], 0, "ringway 0."),
        (&["--help"], 0, "Exit codes:"),
        (&["run", "--help"], 0, "header_bytes_max"),
        (&["validate", "-f", good], 0, "1 object, 0 errors"),
        (&["validate", "-f", bad], 1, "bad.yaml:4:17: error[RW1202]"),
        (&["validate", "-f", bad, "-o", "json"], 1, "\"code\": \"RW1202\""),
        (&["translate", "-f", good], 0, "clusters: {}"),
        (&["translate", "-f", bad, "-o", "json"], 1, "\"clusters\": {}"),
        (&["explain", "-f", good, "GET", "http://a/"], 1, "nothing listens"),
        (&["explain", "-f", good, "GET", "a"], 2, "has no scheme"),
        (&[], 2, "Usage: ringway"),
        (&["run"], 2, "ringway run --listen :8080 --to localhost:3000"),
        (&["run", "--bogus"], 2, "--bogus"),
        (&["run", good, "--limit", "header_byte_max=1"], 2, "did you mean header_bytes_max"),
        (&["validate", "-f", "/nowhere"], 3, "cannot read /nowhere"),
        (&["run", "/nowhere", "--admin-addr", "off"], 3, "cannot read /nowhere"),
        (&["run", good, "--admin-addr", &taken], 3, "choose another address with --admin-addr"),
        (&["run", good, "--access-log", "text", "--access-log-file", "/nowhere/a"], 3, "access log"),
        (&["run", good, "--log-level", "loud"], 2, "--log-level: `loud` is no level"),
        (&["run", "--print", good], 2, "leave that out"),
        (&["validate", "--explain", "RW1202"], 0, "RW1202 error: "),
        (&["validate", "--explain", "RW1"], 2, "`RW1` is no code"),
        (&["validate"], 2, "--file"),
        (
            &["run", "--listen", ":1", "--to", "a:1", "--tls-cert", "/nope", "--tls-key", "/nope"],
            3,
            "--tls-cert /nope",
        ),
    ] {
        let output = output(arguments, "");
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {shown}");
        assert!(shown.contains(said), "{arguments:?}: {shown}");
    }
}

#[test]
fn the_environment_says_what_flags_say_and_flags_win() {
    let (backend, scratch) = (Backend::start(), Scratch::new("environment"));
    fs::write(scratch.0.join("all.yaml"), manifests(free_port(), backend.address, "one")).unwrap();
    let mut command = ringway();
    command.args(["run", "--threads", "1"]).env("RINGWAY_CONFIG", &scratch.0);
    command.env("RINGWAY_THREADS", "2").env("RINGWAY_PIN", "no").env("RINGWAY_DRIVER", "epoll");
    command.env("RINGWAY_LIMITS", "header_bytes_max=8KiB,idle_timeout=1m");
    let gateway = Gateway::start(&mut command);
    assert_eq!(gateway.metric("ringway_cores"), 1.0);
    assert_eq!(gateway.metric("ringway_driver_info{driver=\"epoll\",reason=\"asked\"}"), 1.0);

    let refused = ringway().args(["run", "d"]).env("RINGWAY_LIMITS", "nope=1").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
}

/// Compose files and units of systemd set variables to nothing where they mean that they are not set.
#[test]
fn a_variable_that_is_empty_is_not_set() {
    let help: String = ["run", "validate", "translate", "explain", "demo-backend"]
        .map(|command| text(&output(&[command, "--help"], "").stdout))
        .concat();
    let variables: Vec<&str> =
        help.split("[env: ").skip(1).map(|rest| rest.split('=').next().unwrap()).collect();
    assert!(variables.len() > 18, "{variables:?}");
    let variables = [variables, vec!["LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET"]].concat();
    let mut command = ringway();
    command.args(["run", "--listen", ":8080", "--to", "localhost:3000", "--print"]);
    command.envs(variables.iter().map(|name| (name, "")));
    let printed = command.output().unwrap();
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));

    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let _gateway = Gateway::start(command.envs(variables.iter().map(|name| (name, ""))));
    assert_eq!(get(address, "/", "").unwrap().0, 200);
}

#[test]
fn the_version_names_a_commit_of_the_checkout() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(arguments).output().ok()?;
        output.status.success().then(|| text(&output.stdout).trim().to_owned())
    };
    let top = git(&["rev-parse", "--show-toplevel"]).and_then(|top| fs::canonicalize(top).ok());
    let checkout = top.is_some_and(|top| top == fs::canonicalize(&root).unwrap());
    for argument in ["version", "--version"] {
        let said = text(&output(&[argument], "").stdout);
        let rest = said.trim_end().strip_prefix(concat!("ringway ", env!("CARGO_PKG_VERSION"))).unwrap();
        let commit = rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
        // Not that of HEAD: somebody may commit while this is tested.
        let known = |commit: &str| git(&["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_some();
        assert!(commit.is_some() == checkout && commit.is_none_or(known), "{said}");
    }
}

#[test]
fn an_error_about_a_variable_names_it_and_its_flag() {
    for (variable, value, expected) in [
        ("THREADS", "many", "RINGWAY_THREADS (--threads <N>)"),
        ("PIN", "maybe", "RINGWAY_PIN (--pin)"),
        ("DRIVER", "horse", "RINGWAY_DRIVER (--driver <DRIVER>)"),
        ("LIMITS", "nope=1", "RINGWAY_LIMITS (--limit): `nope`"),
        ("TRUSTED_PROXIES", "everyone", "RINGWAY_TRUSTED_PROXIES (--trusted-proxies): `everyone`"),
        ("ADMIN_ADDR", "nowhere", "RINGWAY_ADMIN_ADDR (--admin-addr): `nowhere`"),
        ("LOG_LEVEL", "loud", "RINGWAY_LOG_LEVEL (--log-level): `loud`"),
        ("DRAIN_DELAY", "5", "RINGWAY_DRAIN_DELAY (--drain-delay <DURATION>)"),
    ] {
        let mut command = ringway();
        let refused = command.args(["run", "d"]).env(format!("RINGWAY_{variable}"), value).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{variable}");
        assert!(text(&refused.stderr).contains(expected), "{}", text(&refused.stderr));
    }
    let mut command = ringway();
    let refused = command.arg("run").env("RINGWAY_CONFIG", "/nowhere").output().unwrap();
    assert!(text(&refused.stderr).contains("RINGWAY_CONFIG: cannot read /nowhere"));
    // The flag wins, and then it is the flag that is wrong.
    let mut command = ringway();
    let refused =
        command.args(["run", "d", "--threads=few"]).env("RINGWAY_THREADS", "many").output().unwrap();
    assert!(!text(&refused.stderr).contains("RINGWAY_THREADS"), "{}", text(&refused.stderr));
}

#[test]
fn pipes_are_read_once_and_what_is_neither_is_refused() {
    let (backend, scratch) = (Backend::start(), Scratch::new("pipes"));
    let port = free_port();
    let file = scratch.0.join("all.yaml");
    fs::write(&file, manifests(port, backend.address, "one")).unwrap();
    let bash = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", script, env!("CARGO_BIN_EXE_ringway")]).arg(&file);
        command
    };
    for script in [
        "\"$0\" validate -f <(cat \"$1\")",
        "cat \"$1\" | \"$0\" validate -f /dev/stdin",
        "\"$0\" validate -f /dev/stdin < \"$1\"",
        "\"$0\" translate -f <(cat \"$1\")",
        "\"$0\" explain -f <(cat \"$1\") GET http://a:$(grep -o 'port: [0-9]*}' \"$1\" | head -1 | tr -dc 0-9)/",
    ] {
        let output = bash(script).output().unwrap();
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{script}: {shown}");
        assert!(!script.contains("validate") || shown.contains("4 objects, 0 errors"), "{script}: {shown}");
    }
    let _gateway = Gateway::start(&mut bash("exec \"$0\" run --threads 1 \"${@:2}\" <(cat \"$1\")"));
    assert_eq!(get(SocketAddr::from(([127, 0, 0, 1], port)), "/", "").unwrap().0, 200);

    let socket = scratch.0.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for command in ["run", "validate"] {
        let flag = if command == "run" { "--" } else { "-f" };
        let refused = output(&[command, flag, socket.to_str().unwrap()], "");
        assert_eq!(refused.status.code(), Some(3));
        assert!(
            text(&refused.stderr).contains("no file, no directory and no pipe"),
            "{}",
            text(&refused.stderr)
        );
    }
    // It never ends, and is not waited for.
    let refused = output(&["validate", "-f", "/dev/zero"], "");
    assert!(text(&refused.stderr).contains("holds more than"), "{}", text(&refused.stderr));
}

#[test]
fn a_printed_manifest_says_where_the_key_goes_and_is_sound_once_it_is_there() {
    let scratch = Scratch::new("key");
    let (cert, key) = (scratch.0.join("cert.pem"), scratch.0.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut command = ringway();
    command.args(["run", "--listen", ":8443", "--to", "10.0.0.1:80", "--print", "--tls-cert"]).arg(&cert);
    let printed = command.arg("--tls-key").arg(&key).output().unwrap();
    let (manifest, note) = (text(&printed.stdout), text(&printed.stderr));
    assert!(!manifest.contains("PRIVATE KEY") && manifest.contains(key.to_str().unwrap()), "{manifest}");
    assert!(note.contains("the private key is left out"), "{note}");
    let validated = output(&["validate", "-f", "-"], &manifest);
    assert!(text(&validated.stdout).contains("RW2104"), "{}", text(&validated.stdout));

    // What the comment says to do.
    let lines: String =
        made.signing_key.serialize_pem().lines().map(|line| format!("    {line}\n")).collect();
    let filled = manifest.replace("  # tls.key: |\n", &format!("  tls.key: |\n{lines}"));
    let validated = output(&["validate", "-f", "-"], &filled);
    assert_eq!(validated.status.code(), Some(0), "{}\n{filled}", text(&validated.stdout));
}

#[test]
fn what_one_line_prints_does_the_same_from_a_pipe() {
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let printed = text(&command.arg("--print").output().unwrap().stdout);
    let validated = output(&["validate", "-f", "-"], &printed);
    assert_eq!(validated.status.code(), Some(0), "{}", text(&validated.stdout));

    let mut command = ringway();
    command.args(["run", "--threads", "1", "-"]);
    let manifest = Scratch::new("pipe");
    fs::write(manifest.0.join("printed.yaml"), &printed).unwrap();
    let file = fs::File::open(manifest.0.join("printed.yaml")).unwrap();
    let _gateway = Gateway::start(command.stdin(file));
    let (status, body) = get(address, "/hello", "").unwrap();
    assert_eq!(status, 200);
    assert!(body.starts_with("GET /hello HTTP/1.1\r\n"), "{body}");
}

#[test]
fn a_request_under_way_outlives_the_signal_to_stop() {
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let mut gateway = Gateway::start(&mut command);
    assert_eq!(get(gateway.admin, "/ready", "").unwrap(), (200, "ready\n".to_owned()));
    let slow = std::thread::spawn(move || get(address, "/slow", ""));
    backend.arrived.recv_timeout(DEADLINE).unwrap();

    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_for_line("draining");
    assert_eq!(get(gateway.admin, "/ready", "").unwrap(), (503, "draining\n".to_owned()));
    assert_eq!(get(gateway.admin, "/live", "").unwrap().0, 200);
    until("new connections are refused", || TcpStream::connect(address).is_err());

    backend.go_on.send(()).unwrap();
    assert_eq!(slow.join().unwrap().unwrap().0, 200);
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn connections_are_accepted_while_the_drain_is_delayed() {
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let mut gateway = Gateway::start(command.args(["--drain-delay", "1s"]));
    gateway.signal(rustix::process::Signal::INT);
    gateway.wait_for_line("draining");
    assert_eq!(get(gateway.admin, "/ready", "").unwrap().0, 503);
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it is closed after its answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let mut gateway = Gateway::start(&mut command);
    let slow = std::thread::spawn(move || get(address, "/slow", ""));
    backend.arrived.recv_timeout(DEADLINE).unwrap();
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_for_line("draining");
    // Those that follow at once are taken for the first.
    until("a second signal ends it", || {
        let ended = gateway.child.try_wait().unwrap().is_some();
        if !ended {
            gateway.signal(rustix::process::Signal::TERM);
        }
        ended
    });
    assert_eq!(gateway.exit_code(), Some(4));
    assert!(slow.join().unwrap().is_err());
}

/// As `timeout` does it: the process first, then its group.
#[test]
fn a_signal_that_is_delivered_twice_is_one() {
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let mut gateway = Gateway::start(&mut command);
    let slow = std::thread::spawn(move || get(address, "/slow", ""));
    backend.arrived.recv_timeout(DEADLINE).unwrap();
    // Two of one kind could be merged by the kernel before anybody hears them.
    gateway.signal(rustix::process::Signal::TERM);
    gateway.signal(rustix::process::Signal::INT);
    gateway.wait_for_line("told to stop once more");
    backend.go_on.send(()).unwrap();
    assert_eq!(slow.join().unwrap().unwrap().0, 200);
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn what_is_still_under_way_at_the_deadline_is_cut() {
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let mut gateway = Gateway::start(command.args(["--drain-timeout", "100ms"]));
    let slow = std::thread::spawn(move || get(address, "/slow", ""));
    backend.arrived.recv_timeout(DEADLINE).unwrap();
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_for_line("the time to finish is over");
    assert_eq!(gateway.exit_code(), Some(0));
    assert!(slow.join().unwrap().is_err());
}

fn manifests(port: u16, backend: SocketAddr, version: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g}}\n\
         spec: {{gatewayClassName: ringway, listeners: [{{name: web, protocol: HTTP, port: {port}}}]}}\n\
         ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\n\
         spec:\n  parentRefs: [{{name: g}}]\n  rules:\n  - backendRefs: [{{name: s, port: 80}}]\n    filters:\n\
         \x20   - {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: version, value: {version}}}]}}}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{ports: [{{name: web, port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: s, labels: {{kubernetes.io/service-name: s}}}}\n\
         ports: [{{name: web, port: {}}}]\nendpoints: [{{addresses: [\"{}\"]}}]\n",
        backend.port(),
        backend.ip(),
    )
}

#[test]
fn a_saved_file_is_live_and_a_broken_one_keeps_what_it_said() {
    let scratch = Scratch::new("saved");
    let (backend, port) = (Backend::start(), free_port());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let save = |text: &str| {
        fs::write(scratch.0.join(".new"), text).unwrap();
        fs::rename(scratch.0.join(".new"), scratch.0.join("all.yaml")).unwrap();
    };
    let serves =
        |version: &str| get(address, "/", "").unwrap().1.contains(&format!("\r\nversion: {version}\r\n"));
    save(&manifests(port, backend.address, "one"));
    let gateway = Gateway::start(ringway().args(["run", "--threads", "2"]).arg(&scratch.0));
    assert!(serves("one"));

    save(&manifests(port, backend.address, "two"));
    until("the new version is served", || serves("two"));
    assert!(get(gateway.admin, "/config", "").unwrap().1.contains("version: two"));

    save(&manifests(port, backend.address, "three").replace("port: 80}]}", "port: eighty}]}"));
    let line = gateway.wait_for_line("what the file said before stays in force");
    assert!(line.contains("all.yaml:") && line.contains("Service/default/s: spec.ports[0].port"), "{line}");
    assert!(serves("two"));
    assert_eq!(gateway.metric("ringway_config_rejections_total"), 1.0);
    let (_, status) = get(gateway.admin, "/status?format=json", "").unwrap();
    assert!(status.contains("\"FileKept\"") && status.contains("HTTPRoute/default/r"), "{status}");

    save(&manifests(port, backend.address, "four"));
    until("the mended file is served", || serves("four"));
    fs::remove_file(scratch.0.join("all.yaml")).unwrap();
    until("nothing is served", || TcpStream::connect(address).is_err());
}

#[test]
fn a_broken_file_that_never_said_anything_is_told_to_count_as_empty() {
    let scratch = Scratch::new("empty");
    fs::write(scratch.0.join("first.yaml"), "kind: [").unwrap();
    let gateway = Gateway::start(ringway().args(["run", "--threads", "1"]).arg(&scratch.0));
    assert_eq!(gateway.metric("ringway_config_problems{effect=\"file_empty\"}"), 1.0);
    fs::write(scratch.0.join("second.yaml"), "kind: [").unwrap();
    let line = gateway.wait_for_line("second.yaml:");
    assert!(line.contains("it counts as empty") && !line.contains("stays in force"), "{line}");
}

#[test]
fn a_taken_port_is_a_condition_and_is_bound_once_it_is_free() {
    let scratch = Scratch::new("taken");
    let backend = Backend::start();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], taken.local_addr().unwrap().port()));
    fs::write(scratch.0.join("a.yaml"), manifests(address.port(), backend.address, "one")).unwrap();
    let gateway = Gateway::start(ringway().args(["run", "--threads", "1"]).arg(&scratch.0));
    let (_, status) = get(gateway.admin, "/status", "").unwrap();
    assert!(status.contains("PortUnavailable"), "{status}");
    assert_eq!(gateway.metric("ringway_listeners_unbound"), 1.0);
    drop(taken);
    until("the port is bound", || get(address, "/", "").is_ok_and(|(status, _)| status == 200));
    until("the condition is true", || {
        !get(gateway.admin, "/status", "").unwrap().1.contains("PortUnavailable")
    });
}

#[test]
fn sockets_of_systemd_are_taken_over_and_systemd_is_told() {
    let scratch = Scratch::new("systemd");
    let notify = UnixDatagram::bind(scratch.0.join("notify")).unwrap();
    notify.set_read_timeout(Some(DEADLINE)).unwrap();
    let heard = |part: &str| {
        let mut buffer = [0; 512];
        loop {
            let length = notify.recv(&mut buffer).unwrap_or_else(|error| panic!("no {part}: {error}"));
            if text(&buffer[..length]).contains(part) {
                break;
            }
        }
    };
    let backend = Backend::start();
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    // Descriptor 3 is where systemd puts the first one, and only the process itself knows its id.
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_ringway"));
    command.args([
        "run",
        "--threads",
        "2",
        "--listen",
        &address.to_string(),
        "--to",
        &backend.address.to_string(),
    ]);
    command.env("NOTIFY_SOCKET", scratch.0.join("notify")).stdin(OwnedFd::from(passed));
    let mut gateway = Gateway::start(&mut command);
    heard("READY=1");
    // The test's own copy of the socket is closed: what answers has taken it over.
    for _ in 0..20 {
        assert_eq!(get(address, "/", "").unwrap().0, 200);
    }
    gateway.signal(rustix::process::Signal::HUP);
    heard("RELOADING=1");
    heard("READY=1");
    gateway.signal(rustix::process::Signal::TERM);
    heard("STOPPING=1");
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn a_reader_that_stops_reading_costs_lines_and_no_requests() {
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let gateway = Gateway::start(command.args(["--access-log", "json"]).stdout(Stdio::piped()));
    // Long lines, so that pipe and queue are full soon.
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nuser-agent: {}\r\n\r\n", "a".repeat(2000));
    let socket = TcpStream::connect(address).unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut writer = socket;
    let mut head = String::new();
    let deadline = Instant::now() + DEADLINE * 4;
    for round in 0.. {
        writer.write_all(request.as_bytes()).unwrap();
        head.clear();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "closed in round {round}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        if round % 500 == 499 && gateway.metric("ringway_access_log_lines_dropped_total") > 0.0 {
            break;
        }
        assert!(Instant::now() < deadline, "nothing was dropped");
    }
}

#[test]
fn a_rotated_access_log_is_opened_anew() {
    let scratch = Scratch::new("rotated");
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let (file, old) = (scratch.0.join("access.log"), scratch.0.join("access.log.1"));
    let gateway = Gateway::start(command.args(["--access-log", "text", "--access-log-file"]).arg(&file));
    let holds = |path: &Path, part: &str| fs::read_to_string(path).is_ok_and(|text| text.contains(part));
    get(address, "/one", "").unwrap();
    until("the first line is written", || holds(&file, "GET /one HTTP/1.1"));
    fs::rename(&file, &old).unwrap();
    gateway.signal(rustix::process::Signal::USR1);
    until("the file is opened anew", || file.exists());
    get(address, "/two", "").unwrap();
    until("the second line is written", || holds(&file, "GET /two HTTP/1.1"));
    assert!(!holds(&old, "/two"));
}

#[test]
fn an_access_log_that_cannot_be_written_is_counted_and_said_once() {
    let backend = Backend::start();
    let (mut command, address) = one_line(&backend);
    let command = command.args(["--access-log", "text", "--access-log-file", "/dev/full"]);
    let gateway = Gateway::start(command);
    for count in 1..=3 {
        assert_eq!(get(address, "/", "").unwrap().0, 200);
        until("the line is counted", || {
            gateway.metric("ringway_access_log_lines_failed_total") >= f64::from(count)
        });
    }
    gateway.wait_for_line("cannot write the access log to /dev/full");
    let told_again = |line: String| line.contains("cannot write the access log");
    assert!(!gateway.log.try_iter().any(told_again));
}

#[test]
fn clients_cannot_take_the_descriptors_that_upstreams_need() {
    let backend = Backend::start();
    let (run, address) = one_line(&backend);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    let gateway = Gateway::start(&mut command);
    assert_eq!(gateway.metric("ringway_descriptors_max"), 256.0);
    let most = gateway.metric("ringway_connections_max") as usize;
    // More than there are descriptors, and all at once.
    let mut crowd: Vec<_> = (0..300).filter_map(|_| TcpStream::connect(address).ok()).collect();
    let mut served = 0;
    for client in &mut crowd {
        let mut answer = [0; 12];
        let asked = client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        if asked.is_ok() && client.read_exact(&mut answer).is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 200");
            served += 1;
        }
    }
    assert!(served > 0 && served <= most, "{served} of at most {most}");
}
