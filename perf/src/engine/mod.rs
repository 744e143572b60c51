//! Runs a plan: opens the connections, offers the load, and says what it showed.
//!
//! Threads share nothing while they run; each has its part of the schedule, its connections and its own histograms,
//! which are merged at the end. The calling thread only looks on, once a second. Threads inherit its CPUs: who wants
//! the generator on one CPU pins the calling thread before.

mod dialog;
mod record;
mod target;
mod tls;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use self::dialog::Script;
use self::record::{Part, Record};
use self::target::Target;
use self::worker::{Order, Report};
use crate::outcome::{self, Machine, Outcome, Second, Verdict};
use crate::plan::{Load, Plan, Protocol, Tls};
use crate::verdict;

/// Threads begin together: this long after the last one said that its connections stand.
const HEADSTART: Duration = Duration::from_millis(5);

/// Where a run is. Told to the observer in the calling thread; the load goes on while it looks.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Nothing has been opened yet: what the server uses now is what it uses at rest.
    Starting,
    /// The connections stand. The warm-up, if there is one, begins.
    Connected {
        /// How many of them.
        connections: usize,
    },
    /// What comes now is recorded.
    Recording,
    /// A recorded second is over. The observer may fill in what it knows of the server.
    Second {
        /// Which one, from 0.
        index: usize,
        /// What it showed.
        second: &'a mut Second,
    },
    /// The last recorded second is over; no more requests are due. Connections stay open until the observer returns,
    /// while late answers are still awaited.
    Ended,
}

/// Why a run did not come about.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan contradicts itself.
    #[error("{0}")]
    Plan(String),
    /// Not one connection could be opened.
    #[error("cannot connect to {target}: {cause}")]
    Unreachable {
        /// Where to.
        target: String,
        /// What the first failure was.
        cause: String,
    },
    /// The generator's own system calls failed.
    #[error("the generator cannot work: {0}")]
    Generator(#[from] std::io::Error),
}

/// Does what `plan` says and returns what it showed. Ends early, with what there is until then, when `stop` is set.
///
/// `machine`, `server` and the observer's additions to seconds are the caller's; `name` is the plan's target until the
/// caller gives it another.
pub fn run(
    plan: &Plan,
    stop: &AtomicBool,
    observer: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RunError> {
    check(plan)?;
    let target = Target::parse(&plan.target)?;
    agree(plan, &target)?;
    let address = target.resolve()?;
    let script = Arc::new(Script::new(plan, &target));
    let tls = if target.secure { Some(offer(plan, &target)?) } else { None };
    allow_files()?;
    let started = jiff::Timestamp::now();
    observer(Progress::Starting);
    let merged = load(plan, address, &script, tls.as_ref(), stop, observer)?;
    let mut outcome = Outcome {
        format: outcome::FORMAT,
        name: plan.target.clone(),
        started: started.to_string(),
        machine: Machine::default(),
        plan: plan.clone(),
        verdict: Verdict::Valid,
        elapsed_s: merged.elapsed_ns as f64 / 1e9,
        sent: merged.record.sent,
        done: merged.record.done,
        bytes_received: merged.record.bytes_received,
        bytes_sent: merged.record.bytes_sent,
        latency: merged.record.latency,
        service: merged.record.service,
        lag: merged.record.lag,
        seconds: merged.seconds,
        statuses: merged.record.statuses,
        errors: merged.record.errors.iter().map(|(cause, count)| (cause.to_string(), *count)).collect(),
        generator: merged.record.cpu.usage,
        generator_spent: merged.record.cpu.spent,
        server: None,
    };
    outcome.verdict = verdict::judge(&outcome);
    Ok(outcome)
}

/// What all threads showed.
struct Merged {
    record: Record,
    seconds: Vec<Second>,
    elapsed_ns: u64,
}

/// Runs the threads, and tells the observer where they are.
fn load(
    plan: &Plan,
    address: SocketAddr,
    script: &Arc<Script>,
    tls: Option<&(ClientConfig, ServerName<'static>)>,
    stop: &AtomicBool,
    observer: &mut dyn FnMut(Progress<'_>),
) -> Result<Merged, RunError> {
    // Also ends the threads that work when another one cannot.
    let over = AtomicBool::new(false);
    let halt = Halt { user: stop, over: &over };
    std::thread::scope(|scope| {
        let (reports, reported) = mpsc::channel();
        let mut threads = Vec::new();
        let mut starts = Vec::new();
        let mut holds = Vec::new();
        for index in 0..plan.threads {
            let (start, started) = mpsc::channel();
            let (hold, held) = mpsc::channel();
            starts.push(start);
            holds.push(hold);
            let order = Order {
                plan,
                index,
                connections: share(plan.connections, plan.threads, index),
                script: Arc::clone(script),
                address,
                tls: tls.map(|(configuration, name)| (Arc::new(configuration.clone()), name.clone())),
                halt,
                reports: reports.clone(),
                start: started,
                hold: held,
            };
            let thread = std::thread::Builder::new().name(format!("perf-{index}"));
            threads.push(thread.spawn_scoped(scope, move || worker::work(order))?);
        }
        drop(reports);
        let standing = connected(plan, &reported);
        let mut seconds = Vec::new();
        if let Ok(connections) = standing {
            observer(Progress::Connected { connections });
            let start = Instant::now() + HEADSTART;
            for thread in &starts {
                let _it_may_have_failed = thread.send(start);
            }
            seconds = watch(plan, start, &reported, &over, observer);
        }
        drop(starts);
        drop(holds);
        let mut record = Record::default();
        let mut elapsed_ns = 0;
        let mut broken = None;
        for thread in threads {
            match thread.join().expect("a thread of the generator does not panic") {
                Ok(Some(finished)) => {
                    record.merge(&finished.record);
                    elapsed_ns = elapsed_ns.max(finished.elapsed_ns);
                }
                Ok(None) => {}
                Err(error) => broken = Some(error),
            }
        }
        if let Some(error) = broken {
            return Err(error.into());
        }
        standing?;
        Ok(Merged { record, seconds, elapsed_ns })
    })
}

/// Waits until every thread has its connections.
fn connected(plan: &Plan, reported: &Receiver<Report>) -> Result<usize, RunError> {
    let mut standing = 0;
    let mut failure = None;
    let mut threads = 0;
    while threads < plan.threads {
        match reported.recv() {
            Ok(Report::Connected(connections, cause)) => {
                standing += connections;
                failure = failure.or(cause);
                threads += 1;
            }
            Ok(Report::Broken) => threads += 1,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    if standing == 0 {
        let cause =
            failure.map_or_else(|| "stopped before it was tried".to_owned(), |cause| cause.to_string());
        return Err(RunError::Unreachable { target: plan.target.clone(), cause });
    }
    Ok(standing)
}

/// Looks on until nothing more is due, and tells of every second.
fn watch(
    plan: &Plan,
    start: Instant,
    reported: &Receiver<Report>,
    over: &AtomicBool,
    observer: &mut dyn FnMut(Progress<'_>),
) -> Vec<Second> {
    let mut seconds: Vec<Second> = Vec::new();
    let mut parts: BTreeMap<usize, (usize, Part)> = BTreeMap::new();
    let mut ended = 0;
    let recording = start + plan.warmup;
    let mut told = false;
    while ended < plan.threads {
        let report = if told {
            reported.recv().ok()
        } else {
            match reported.recv_timeout(recording.saturating_duration_since(Instant::now())) {
                Ok(report) => Some(report),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    told = true;
                    observer(Progress::Recording);
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => None,
            }
        };
        // Where this thread came to run late, reports are there before it looked at the clock.
        if !told && Instant::now() >= recording {
            told = true;
            observer(Progress::Recording);
        }
        match report {
            Some(Report::Second(index, part)) => {
                let known = parts.entry(index).or_default();
                known.0 += 1;
                known.1.merge(&part);
                while parts.first_key_value().is_some_and(|(_, (threads, _))| *threads == plan.threads) {
                    tell(&mut parts, &mut seconds, observer);
                }
            }
            Some(Report::Ended) => ended += 1,
            Some(Report::Broken) => {
                ended += 1;
                over.store(true, Ordering::Relaxed);
            }
            Some(Report::Connected(..)) => {}
            None => break,
        }
    }
    // Threads that were stopped may differ by a second.
    while !parts.is_empty() {
        tell(&mut parts, &mut seconds, observer);
    }
    observer(Progress::Ended);
    seconds
}

/// The oldest second is whole.
fn tell(
    parts: &mut BTreeMap<usize, (usize, Part)>,
    seconds: &mut Vec<Second>,
    observer: &mut dyn FnMut(Progress<'_>),
) {
    if let Some((index, (_, part))) = parts.pop_first() {
        let mut second = part.second();
        observer(Progress::Second { index, second: &mut second });
        seconds.push(second);
    }
}

/// What ends a run before its time.
#[derive(Clone, Copy)]
struct Halt<'a> {
    user: &'a AtomicBool,
    over: &'a AtomicBool,
}

impl Halt<'_> {
    fn is_set(self) -> bool {
        self.user.load(Ordering::Relaxed) || self.over.load(Ordering::Relaxed)
    }
}

/// The part of thread `index`, as even as it can be.
fn share(all: usize, threads: usize, index: usize) -> usize {
    all / threads + usize::from(index < all % threads)
}

/// What holds for every target.
fn check(plan: &Plan) -> Result<(), RunError> {
    let wrong = |what: &str| Err(RunError::Plan(what.to_owned()));
    let multiplexed = matches!(plan.protocol, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcStream);
    match plan {
        _ if plan.connections == 0 || plan.streams == 0 || plan.threads == 0 => {
            wrong("connections, streams and threads must be at least 1")
        }
        _ if plan.connections > 1_000_000 || plan.streams > 10_000 => {
            wrong("at most 1,000,000 connections and 10,000 streams on each")
        }
        _ if plan.threads > plan.connections => {
            wrong("a thread needs at least one connection: take fewer threads")
        }
        _ if plan.streams > 1 && !multiplexed => {
            wrong("only HTTP/2 and gRPC have several streams on a connection")
        }
        _ if plan.duration.is_zero() => wrong("the duration must not be zero"),
        _ if plan.timeout.is_zero() => wrong("the timeout must not be zero"),
        _ if plan.request_bytes == 0 && matches!(plan.protocol, Protocol::TcpPing | Protocol::TcpBulk) => {
            wrong("bytes to and fro, or in one direction, need --request-bytes")
        }
        _ => match plan.load {
            Load::Open { rate, .. } if !(rate > 0.0 && rate <= 1e9) => {
                wrong("the rate must be above 0 and at most 1e9")
            }
            _ => Ok(()),
        },
    }
}

/// What the target and the protocol must have in common.
fn agree(plan: &Plan, target: &Target) -> Result<(), RunError> {
    let bytes = matches!(plan.protocol, Protocol::TcpPing | Protocol::TcpBulk);
    let wrong = |what: &str| Err(RunError::Plan(format!("{}: {what}", plan.target)));
    if target.bare != bytes {
        return wrong(if bytes {
            "bare bytes go to tcp:// or tls://"
        } else {
            "requests go to http:// or https://"
        });
    }
    if plan.protocol == Protocol::ConnectResumed && !target.secure {
        return wrong("only a TLS session can be resumed: take https://");
    }
    if plan.tls.is_some() && !target.secure {
        return wrong("TLS is settled but the scheme does without: take https:// or tls://");
    }
    Ok(())
}

/// What TLS offers, and the name it asks for.
fn offer(plan: &Plan, target: &Target) -> Result<(ClientConfig, ServerName<'static>), RunError> {
    let tls = plan.tls.clone().unwrap_or(Tls { server_name: None, ca: None, identity: None, hybrid: false });
    let name = tls.server_name.clone().unwrap_or_else(|| target.host.clone());
    let name = ServerName::try_from(name.clone())
        .map_err(|_| RunError::Plan(format!("{name:?} is no name that a certificate can have")))?;
    Ok((tls::configuration(&tls, plan.protocol)?, name))
}

/// As many open files as this process may have.
pub(crate) fn allow_files() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    Ok(())
}
