//! Packaged programs as peers: found, configured in a folder of their own, started on free ports, ended with the test.
//!
//! `tests/e2e/run` installs them. One that is missing is a failure: nothing is skipped.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::folder::Folder;
use crate::port::{Port, free_port};
use crate::wait::{DEADLINE, eventually};

/// Where a packaged program is.
///
/// # Panics
///
/// If it is not installed.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are in sbin, which an ordinary user's path leaves out.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: tests/e2e/run installs what the suites need"))
}

/// What `tests/e2e/run` keeps beside the packages: the virtual environment and what it built.
fn cached(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let path = cache.expect("a home").join("ringway/e2e").join(name);
    assert!(path.is_file(), "{} is not there: tests/e2e/run makes it", path.display());
    path
}

/// h2spec.
pub fn h2spec() -> Command {
    Command::new(cached("bin/h2spec"))
}

/// A script of `tests/e2e/peers`, in Python with the packages that it needs.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(cached("venv/bin/python"));
    command.arg("-u").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name));
    command
}

/// curl, without the user's settings, bounded in time.
pub fn curl() -> Command {
    let mut command = Command::new(program("curl"));
    command.args(["--disable", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]);
    command
}

/// What a command that ended left behind.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Done {
    /// Everything it wrote.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs a command to its end with this input, within the deadline.
///
/// # Panics
///
/// If it does not run or does not end.
pub fn run(command: &mut Command, input: &[u8]) -> Done {
    let folder = Folder::new();
    let file = |name: &str| fs::File::create(folder.path().join(name)).expect("the folder is ours");
    // Files, not pipes: however much is written, nobody has to read at the same time.
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that has seen enough may close its input.
    let _closed_early = stdin.write_all(input);
    drop(stdin);
    let read = |name: &str| {
        String::from_utf8_lossy(&fs::read(folder.path().join(name)).unwrap_or_default()).into_owned()
    };
    let give_up = Instant::now() + 6 * DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if Instant::now() > give_up {
            let _gone = child.kill();
            let _reaped = child.wait();
            panic!("{command:?} does not end\n{}{}", read("out"), read("err"));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    Done { status, out: read("out"), err: read("err") }
}

/// Runs a command that must succeed, and returns its standard output.
///
/// # Panics
///
/// If it does not.
pub fn run_well(command: &mut Command) -> String {
    let done = run(command, b"");
    assert!(done.status.success(), "{command:?}: {}\n{}", done.status, done.all());
    done.out
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
    folder: Folder,
    name: String,
}

impl Server {
    /// Starts it in a folder and waits until something listens on the port.
    fn start(mut command: Command, name: &str, folder: Folder, port: u16) -> Self {
        let log = folder.path().join("peer.log");
        let file = fs::File::create(&log).expect("the folder is ours");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Self { child, log, folder, name: name.to_owned() };
        eventually(&format!("{name} listens"), || {
            if let Ok(Some(status)) = server.child.try_wait() {
                panic!("{name} ended: {status}\n{}", server.log());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        server
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: a master that is killed leaves its workers behind.
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _gone_already = kill_process(pid, Signal::TERM);
        }
        let give_up = Instant::now() + DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > give_up {
                let _gone = self.child.kill();
                let _reaped = self.child.wait();
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if std::thread::panicking() {
            eprintln!("--- what {} wrote:\n{}", self.name, self.log());
        }
    }
}

/// Starts a script of `tests/e2e/peers` that listens on a port of ours, which is its first argument.
pub fn serve<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> (Port, Server) {
    let port = free_port();
    let mut command = script(name);
    command.arg(port.number().to_string()).args(arguments);
    let server = Server::start(command, name, Folder::new(), port.number());
    (port, server)
}

/// Starts nginx with these files in its folder and these blocks in its `http` section; `PORT` stands for its port.
pub fn nginx(files: &[(&str, &[u8])], http: &str) -> (Port, Server) {
    let port = free_port();
    let folder = Folder::new();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("the folder is ours");
    }
    let root = folder.path().display();
    let config = format!(
        "daemon off; worker_processes 1; pid {root}/pid; error_log stderr notice;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
         access_log {root}/access.log; client_max_body_size 64m;\n\
         client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;\n\
         uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
         types {{ text/plain txt; application/octet-stream bin; }}\n\
         root {root};\n{}\n}}\n",
        http.replace("PORT", &port.number().to_string()).replace("ROOT", &root.to_string())
    );
    // Its worker changes to another user when it is started as root.
    open_to_all(folder.path());
    let path = folder.path().join("nginx.conf");
    fs::write(&path, config).expect("the folder is ours");
    let mut command = Command::new(program("nginx"));
    command.arg("-p").arg(folder.path()).arg("-c").arg(&path).args(["-e", "stderr"]);
    let server = Server::start(command, "nginx", folder, port.number());
    (port, server)
}

/// Starts HAProxy with these sections; `PORT` stands for its port.
pub fn haproxy(files: &[(&str, &[u8])], sections: &str) -> (Port, Server) {
    let port = free_port();
    let folder = Folder::new();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("the folder is ours");
    }
    let config = format!(
        "global\n  maxconn 4000\ndefaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{}\n",
        sections
            .replace("PORT", &port.number().to_string())
            .replace("ROOT", &folder.path().display().to_string())
    );
    let path = folder.path().join("haproxy.cfg");
    fs::write(&path, config).expect("the folder is ours");
    let mut command = Command::new(program("haproxy"));
    command.arg("-db").arg("-f").arg(&path);
    let server = Server::start(command, "haproxy", folder, port.number());
    (port, server)
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("the folder is ours");
}
