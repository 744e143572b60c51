//! Processes that are ended on every way out.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take until it accepts connections.
const READY: Duration = Duration::from_secs(10);

/// Why a process did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It could not be run.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended, or did not accept connections in time.
    #[error("{program} {what}; the end of what it said:\n{said}")]
    NotReady {
        /// The program.
        program: String,
        /// What it did.
        what: String,
        /// The end of its log.
        said: String,
    },
}

/// A process that ends when this is dropped, and, since the kernel is asked to see to it, when the thread that
/// started it ends in any way.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    program: String,
    log: PathBuf,
}

impl Started {
    /// Starts a program with these arguments and variables, whose output goes to a file.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        variables: &[(&str, String)],
        log: PathBuf,
    ) -> Result<Self, StartError> {
        let name = program.display().to_string();
        let failed = |source| StartError::Run { program: name.clone(), source };
        let output = File::create(&log).map_err(failed)?;
        // `setpriv` asks for the signal and becomes the program, so that the process is the same.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .spawn()
            .map_err(failed)?;
        Ok(Self { child, program: name, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it accepts connections.
    pub(crate) fn ready(&mut self, address: SocketAddr) -> Result<(), StartError> {
        let deadline = Instant::now() + READY;
        loop {
            if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.not_ready(format!("ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("does not listen on {address} after {READY:?}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn not_ready(&self, what: String) -> StartError {
        let mut said = String::new();
        let _unreadable = File::open(&self.log).and_then(|mut log| log.read_to_string(&mut said));
        let from = said.char_indices().rev().nth(2_000).map_or(0, |(at, _)| at);
        StartError::NotReady { program: self.program.clone(), what, said: said[from..].to_owned() }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _ended_before = self.child.wait();
    }
}

/// A directory that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("ringway-perf-{}", std::process::id()));
        // What a process of the same number left behind.
        let _nothing_there = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _it_stays = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_up_says_what_it_said() {
        let log = std::env::temp_dir().join(format!("ringway-perf-test-{}", std::process::id()));
        let mut started = Started::start(
            Path::new("/bin/sh"),
            &["-c".into(), "echo no such port; exit 3".into()],
            &[],
            log.clone(),
        )
        .unwrap();
        // Nobody listens on port 1 of loopback.
        let error = started.ready(SocketAddr::from(([127, 0, 0, 1], 1))).unwrap_err().to_string();
        assert!(error.contains("ended with exit status: 3") && error.contains("no such port"), "{error}");
        let _gone = fs::remove_file(log);
    }

    #[test]
    fn a_process_ends_with_its_guard() {
        let log = std::env::temp_dir().join(format!("ringway-perf-test-guard-{}", std::process::id()));
        let started = Started::start(Path::new("/bin/sleep"), &["600".into()], &[], log.clone()).unwrap();
        let process = PathBuf::from(format!("/proc/{}", started.id()));
        assert!(process.exists());
        drop(started);
        assert!(!process.exists());
        let _gone = fs::remove_file(log);
    }
}
