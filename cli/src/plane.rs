//! The proxy, shared by the pipeline that configures it and the admin server that shows it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ringway_config::{Applied, Config, DataPlane, Delta, FailedBind, PlaneProblem, ResourceKey};
use ringway_controller::standalone::{Board, Report};
use ringway_proxy::Proxy;
use ringway_proxy::tls::{TlsFault, TlsPlace, TlsProblem};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::admin::{Facts, Readiness};
use crate::descriptors::Room;
use crate::metrics::{self, Process};
use crate::writer::Lines;

/// The proxy and what is known of it. Locks are held by the control side only; no core ever waits for one.
#[derive(Clone)]
pub(crate) struct Plane(Arc<Shared>);

struct Shared {
    proxy: Mutex<Proxy>,
    // Apart from the proxy, which is busy while a change is on its way. Set only when every core has it.
    in_force: Mutex<Arc<Config>>,
    readiness: AtomicU8,
}

impl Plane {
    /// A proxy without configuration.
    pub(crate) fn new(proxy: Proxy) -> Self {
        let in_force = Mutex::new(Arc::clone(proxy.config()));
        Self(Arc::new(Shared { proxy: Mutex::new(proxy), in_force, readiness: AtomicU8::new(STARTING) }))
    }

    /// The proxy, for as long as it is held.
    pub(crate) fn proxy(&self) -> MutexGuard<'_, Proxy> {
        lock(&self.0.proxy)
    }

    /// The configuration that every core serves by.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.0.in_force))
    }

    /// Says from now on whether traffic should be sent here.
    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        let value = match readiness {
            Readiness::Starting => STARTING,
            Readiness::Ready => READY,
            Readiness::Draining => DRAINING,
        };
        self.0.readiness.store(value, Ordering::Release);
    }

    /// Goes on accepting, but tells every client to come back on another connection.
    pub(crate) fn retire(&self) {
        self.proxy().retire();
    }

    /// Stops accepting and waits for what is under way; says whether all of it ended in time.
    pub(crate) fn drain(&self, patience: Duration) -> bool {
        self.proxy().drain(patience)
    }
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// A lock of the control side, whatever became of its last holder.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What somebody panicked over is still the newest there is.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DataPlane for Plane {
    fn apply(&mut self, delta: Delta) -> Applied {
        let mut proxy = self.proxy();
        let (failed_binds, problems) = match proxy.apply(delta) {
            Ok(applied) => (
                applied.failed_binds.into_iter().flat_map(failed_binds).collect(),
                applied.tls_problems.iter().map(tls_problem).collect(),
            ),
            // A core that does not answer: the process is about to be ended by whoever watches the cores.
            Err(error) => {
                let reason = format!("the configuration is not on every core: {error}");
                (Vec::new(), vec![PlaneProblem { resource: None, reason, certificate: None, serves: false }])
            }
        };
        *lock(&self.0.in_force) = Arc::clone(proxy.config());
        Applied { generation: proxy.generation(), failed_binds, problems }
    }

    fn give_back_memory(&mut self) {
        // Pages that serving needs would be missed at once.
        if self.proxy().connections() == 0 {
            ringway_proxy::io::give_back_pages();
        }
        ringway_proxy::io::give_back_memory();
    }
}

fn failed_binds(failed: ringway_proxy::FailedBind) -> impl Iterator<Item = FailedBind> {
    let ringway_proxy::FailedBind { listeners, bind, error } = failed;
    listeners.into_iter().map(move |listener| FailedBind { listener, bind, reason: error.to_string() })
}

fn tls_problem(problem: &TlsProblem) -> PlaneProblem {
    let (resource, reason) = match &problem.place {
        TlsPlace::Listener(key) => {
            (ResourceKey::Listener(key.clone()), format!("TLS of listener {key}: {}", problem.fault))
        }
        TlsPlace::Cluster(key) => {
            (ResourceKey::Cluster(key.clone()), format!("TLS to {key}: {}", problem.fault))
        }
    };
    let certificate = match &problem.fault {
        TlsFault::Certificate { key, .. } => Some(key.clone()),
        _ => None,
    };
    PlaneProblem { resource: Some(resource), reason, certificate, serves: problem.serves }
}

/// What is known of where the configuration comes from.
#[derive(Clone)]
pub(crate) enum Seen {
    Files(Board),
    Controller(watch::Receiver<ringway_subscriber::Report>),
}

impl Seen {
    /// As it is now, for metrics and for a person at a terminal.
    pub(crate) fn report<T>(&self, show: impl FnOnce(&Report) -> T) -> T {
        match self {
            Self::Files(board) => show(&board.read()),
            Self::Controller(reports) => {
                let told = reports.borrow();
                show(&Report {
                    generation: told.generation,
                    objects: told.resources,
                    failed_binds: told.failed_binds.clone(),
                    plane_problems: told.problems.clone(),
                    ..Report::default()
                })
            }
        }
    }

    /// As it is now, for `/status`.
    fn status(&self) -> Value {
        match self {
            Self::Files(board) => files_status(&board.read()),
            Self::Controller(reports) => stream_status(&reports.borrow()),
        }
    }
}

/// What there is to say of a pipeline of files.
pub(crate) fn files_status(report: &Report) -> Value {
    let statuses = &report.statuses;
    let statuses = statuses.keys().map(|key| json!({"object": key.to_string(), "status": statuses.get(key)}));
    json!({
        "generation": report.generation,
        "since": report.since,
        "files": report.files,
        "objects": statuses.collect::<Vec<_>>(),
        "problems": report.problems,
        "unbound": unbound(&report.failed_binds),
        "tls": report.plane_problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn stream_status(report: &ringway_subscriber::Report) -> Value {
    let refused = report.refused.iter().map(|refused| {
        let name = refused.name.as_ref().map(|name| format!("{name:?}"));
        json!({"resource": name, "reason": refused.reason})
    });
    json!({
        "generation": report.generation,
        "since": report.since.map(timestamp),
        "from_file": report.from_file,
        "connected_since": report.connected.map(timestamp),
        "trouble": report.trouble,
        "resources": report.resources,
        "resources_received": report.resources_received,
        "refused": refused.collect::<Vec<_>>(),
        "unbound": unbound(&report.failed_binds),
        "not_kept": report.not_kept,
    })
}

fn unbound(failed: &[FailedBind]) -> Vec<Value> {
    let one = |failed: &FailedBind| json!({"listener": failed.listener.as_str(), "port": failed.bind.port, "reason": failed.reason});
    failed.iter().map(one).collect()
}

/// RFC 3339.
pub(crate) fn timestamp(time: SystemTime) -> String {
    // What a clock shows is within the years that can be written.
    jiff::Timestamp::try_from(time).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What the admin server shows.
pub(crate) struct Shown {
    pub(crate) plane: Plane,
    pub(crate) seen: Seen,
    pub(crate) log: Lines,
    /// The access log, if there is one.
    pub(crate) access: Option<Lines>,
    pub(crate) room: Room,
}

impl Facts for Shown {
    fn readiness(&self) -> Readiness {
        match self.plane.0.readiness.load(Ordering::Acquire) {
            READY => Readiness::Ready,
            DRAINING => Readiness::Draining,
            _ => Readiness::Starting,
        }
    }

    fn config(&self) -> Option<Arc<Config>> {
        Some(self.plane.config())
    }

    fn metrics(&self) -> String {
        let mut out = String::new();
        let proxy = self.plane.proxy();
        match proxy.report() {
            Ok(counted) => counted.prometheus(&mut out),
            Err(error) => tracing::error!(%error, "the cores do not say what they counted"),
        }
        let process = Process {
            driver: proxy.driver().name(),
            driver_cause: proxy.driver().cause,
            cores: proxy.cores(),
            log_lines_dropped: self.log.dropped(),
            access_lines_failed: self.access.as_ref().map_or(0, Lines::failed),
            messages_shed: proxy.messages_shed(),
            descriptors_max: self.room.descriptors as u64,
            connections_max: self.room.connections as u64,
        };
        drop(proxy);
        self.seen.report(|report| metrics::write(&mut out, &process, report));
        out
    }

    fn status(&self) -> Value {
        self.seen.status()
    }
}
