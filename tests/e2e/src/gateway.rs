//! The real binary as a process: started on manifests in a folder of its own, asked over its admin socket, ended by
//! its process id. What it wrote is shown when a test fails.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::{Answer, Connection};
use crate::folder::Folder;
use crate::manifest;
use crate::port::{Port, free_port};
use crate::wait::eventually;

/// How the kernel is asked for I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
    /// io_uring where it is allowed, else epoll.
    Auto,
}

impl Driver {
    /// Its name on the command line.
    pub fn flag(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
            Self::Auto => "auto",
        }
    }
}

/// The binary: `RINGWAY_BIN`, or what cargo builds with the profile of this test.
///
/// # Panics
///
/// If it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("RINGWAY_BIN") {
            return given.into();
        }
        // target/PROFILE/deps/this-test
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test.ancestors().nth(2).expect("cargo's layout");
        let name = match profile.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", "ringway", "--profile", name, "--target-dir"])
            .arg(profile.parent().expect("cargo's layout"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the binary cannot be built");
        profile.join("ringway")
    })
}

/// What to start.
#[derive(Debug)]
pub struct Builder {
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    folder: Folder,
    access_log: Stdio,
    process_log: Option<Stdio>,
    uid: Option<u32>,
    passed: Option<std::os::fd::OwnedFd>,
}

impl Builder {
    /// One driver, two data threads.
    pub fn new(driver: Driver) -> Self {
        let folder = Folder::new();
        fs::create_dir(folder.path().join("conf")).expect("the folder is ours");
        Self {
            arguments: ["--threads", "2", "--driver", driver.flag()].map(OsString::from).to_vec(),
            environment: vec![],
            folder,
            access_log: Stdio::null(),
            process_log: None,
            uid: None,
            passed: None,
        }
    }

    /// Adds arguments.
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where standard output goes, which is where the access log goes.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.access_log = stdout.into();
        self
    }

    /// Where standard error goes, which is where the process log goes; [`Gateway::log`] then has nothing.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.process_log = Some(stderr.into());
        self
    }

    /// Runs as this user and group.
    pub fn user(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Passes a listening socket as systemd does.
    pub fn passing(mut self, socket: impl Into<std::os::fd::OwnedFd>) -> Self {
        self.passed = Some(socket.into());
        self
    }

    /// The folder of manifests, for what must be there before the start.
    pub fn conf(&self) -> PathBuf {
        self.folder.path().join("conf")
    }

    /// Writes one file of manifests.
    pub fn file<'a>(self, name: &str, objects: impl IntoIterator<Item = &'a Value>) -> Self {
        self.text(name, &manifest::text(objects))
    }

    /// Writes one file.
    pub fn text(self, name: &str, text: &str) -> Self {
        fs::write(self.conf().join(name), text).expect("the folder is ours");
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start<'a>(self, objects: impl IntoIterator<Item = &'a Value>) -> Gateway {
        let mut gateway = self.file("gateway.yaml", objects).launch();
        gateway.wait_until_ready();
        gateway
    }

    /// Starts it.
    pub fn launch(self) -> Gateway {
        let admin = free_port();
        let folder = self.folder;
        let log = folder.path().join("log");
        let mut program = binary().to_owned();
        if self.uid.is_some() {
            // Where cargo builds may be closed to other users.
            let copy = folder.path().join("ringway");
            fs::copy(&program, &copy).expect("the folder is ours");
            open_to_all(folder.path());
            program = copy;
        }
        let mut command = match &self.passed {
            None => Command::new(&program),
            Some(_) => {
                // The shell's process id stays the binary's, as LISTEN_PID must say.
                let mut shell = Command::new("sh");
                let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null";
                shell.args(["-c", script]).arg(&program);
                shell
            }
        };
        command
            .arg("run")
            .arg(folder.path().join("conf"))
            .args(&self.arguments)
            .arg("--admin-addr")
            .arg(format!("127.0.0.1:{}", admin.number()))
            .envs(self.environment)
            .stdin(self.passed.map_or_else(Stdio::null, Stdio::from))
            .stdout(self.access_log)
            .stderr(
                self.process_log
                    .unwrap_or_else(|| fs::File::create(&log).expect("the folder is ours").into()),
            );
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        let child = command.spawn().expect("the binary runs");
        Gateway { child, admin, folder, log, ended: None }
    }
}

/// A user that is not the owner must be able to read the manifests.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for path in [folder.to_owned(), folder.join("conf")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    }
}

/// What a process holds of the machine's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it: its own, and the pages of files that it has touched.
    pub resident: u64,
    /// Its own.
    pub anonymous: u64,
}

/// A running gateway. Dropping it ends the process.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    admin: Port,
    folder: Folder,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Gateway {
    /// Starts one on these objects and waits until it is ready.
    pub fn start<'a>(driver: Driver, objects: impl IntoIterator<Item = &'a Value>) -> Self {
        Builder::new(driver).start(objects)
    }

    /// Waits until `/ready` says so.
    pub fn wait_until_ready(&mut self) {
        eventually("the gateway is ready", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.ended = Some(status);
                panic!("the gateway ended: {status}");
            }
            self.try_admin("/ready").ok().filter(|answer| answer.status == 200)
        });
        let log = self.log();
        assert!(!log.contains("cannot listen"), "a listener has no socket");
    }

    /// The folder of manifests.
    pub fn conf(&self) -> PathBuf {
        self.folder.path().join("conf")
    }

    /// A folder that ends with this gateway, for whatever else a suite needs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Saves manifests as an editor does: a new file renamed over the old one.
    pub fn save(&self, name: &str, text: impl AsRef<[u8]>) {
        static SAVES: AtomicUsize = AtomicUsize::new(0);
        // Beside the folder, on the same file system: only the rename is seen.
        let new = self.folder.path().join(format!("new-{}", SAVES.fetch_add(1, Ordering::Relaxed)));
        fs::write(&new, text).expect("the folder is ours");
        fs::rename(&new, self.conf().join(name)).expect("the folder is ours");
    }

    /// Saves objects.
    pub fn set<'a>(&self, name: &str, objects: impl IntoIterator<Item = &'a Value>) {
        self.save(name, manifest::text(objects));
    }

    /// Asks the admin server.
    pub fn admin(&self, path: &str) -> Answer {
        self.try_admin(path).expect("the admin server answers")
    }

    /// Asks the admin server, which may be gone.
    pub fn try_admin(&self, path: &str) -> std::io::Result<Answer> {
        let mut connection = Connection::try_open(self.admin_address())?;
        connection.try_send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"))?;
        connection.try_answer(false)
    }

    /// Where the admin server listens.
    pub fn admin_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.admin.number()).into()
    }

    /// How many configurations have been in force.
    pub fn generation(&self) -> u64 {
        self.admin("/status?format=json").json()["generation"].as_u64().expect("a generation")
    }

    /// The value of a metric: the sum over all series of that name whose labels contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.admin("/metrics").text();
        let series = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])) && line.contains(labels)
        });
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something is logged, and returns the line.
    pub fn logged(&self, what: &str) -> String {
        eventually(&format!("{what:?} is logged"), || {
            self.log().lines().find(|line| line.contains(what)).map(str::to_owned)
        })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory().resident
    }

    /// Its memory.
    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let bytes = |field: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(field)).expect("a process has memory");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
        };
        Memory { resident: bytes("VmRSS:"), anonymous: bytes("RssAnon:") }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id is above zero");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits until the process has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let status = eventually("the gateway ends", || self.child.try_wait().expect("it is our child"));
        self.ended = Some(status);
        status
    }

    /// Tells it again and again, until it has ended: signals that follow the first one at once do not count.
    pub fn insist(&mut self, signal: Signal) -> ExitStatus {
        let status = eventually("the gateway ends", || {
            let ended = self.child.try_wait().expect("it is our child");
            if ended.is_none() {
                self.signal(signal);
            }
            ended
        });
        self.ended = Some(status);
        status
    }

    /// Tells it to stop and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _gone_already = self.child.kill();
            let _reaped_already = self.child.wait();
        }
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- what the gateway logged ({:?}):", self.ended);
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{line}");
            }
        } else {
            assert!(!log.contains("panicked"), "a panic was logged:\n{log}");
        }
    }
}
