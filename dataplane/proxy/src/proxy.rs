//! The proxy as its owner sees it: threads that carry traffic, and a configuration that can be changed.
//!
//! Everything here runs on the owner's thread (the control thread) and may wait; the cores never wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringway_config::{Bind, Config, Delta, ListenerKey};
use ringway_core::record;

use crate::core;
use crate::io::{Driver, DriverChoice, Inherited, Machine, Mailboxes, Sockets, Unattached, run_on};
use crate::mailbox::Message;
use crate::resolver::Resolver;
use crate::snapshot::Snapshot;
use crate::threads;
use crate::tls::{Clock, TlsProblem};
use crate::worker::Settings;

/// How to start a proxy.
#[derive(Default)]
pub struct Options {
    /// Data threads; `None`: as many as CPUs may be used.
    pub threads: Option<usize>,
    /// Pin each data thread to a CPU. `None`: only when the CPUs are ours alone.
    pub pin: Option<bool>,
    /// How sockets are carried.
    pub driver: Driver,
    /// What every core is told.
    pub settings: Settings,
    /// Sockets that systemd or a predecessor passed.
    pub inherited: Inherited,
}

/// A running proxy. Dropping it does not end its threads: end the process, after [`drain`](Self::drain).
pub struct Proxy {
    mailboxes: Mailboxes,
    threads: Vec<JoinHandle<io::Result<()>>>,
    driver: DriverChoice,
    sockets: Sockets,
    bound: BTreeMap<Bind, SocketAddr>,
    snapshot: Snapshot,
}

/// What came of a change.
#[derive(Debug, Default)]
pub struct Applied {
    /// Counts configurations, from 1.
    pub generation: u64,
    /// Listeners without socket, and why. Each change tries again.
    pub failed_binds: Vec<FailedBind>,
    /// What TLS cannot use. The rest is in force.
    pub tls_problems: Vec<TlsProblem>,
}

/// A bind that could not be made.
#[derive(Debug)]
pub struct FailedBind {
    /// The listeners that wanted it.
    pub listeners: Vec<ListenerKey>,
    /// Where.
    pub bind: Bind,
    /// Why.
    pub error: io::Error,
}

impl Proxy {
    /// Starts the data threads, with an empty configuration.
    pub fn start(options: Options) -> io::Result<Self> {
        let Options { threads, pin, driver, settings, inherited } = options;
        let plan = threads::plan(threads, pin)?;
        let cores = plan.len();
        let driver = std::thread::spawn(move || driver.choose(cores))
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("trying the driver panicked")))?;
        let (mailboxes, receivers) = Mailboxes::new(plan.len());
        let resolver = Resolver::start()?;
        let origin = Instant::now();
        let snapshot = Snapshot::new(Clock::machine());
        let mut handles = Vec::new();
        for (index, (cpu, mailbox)) in plan.into_iter().zip(receivers).enumerate() {
            let (mailboxes, resolver) = (mailboxes.clone(), resolver.clone());
            let (driver, settings, snapshot) = (driver.clone(), settings.clone(), snapshot.clone());
            let thread = std::thread::Builder::new().name(format!("core-{index}"));
            handles.push(thread.spawn(move || {
                if let Some(cpu) = cpu {
                    threads::pin_to(cpu);
                }
                let serve = async move {
                    let env = Machine::new(origin, index, mailboxes, mailbox, resolver);
                    core::run(env, settings, &snapshot).await;
                };
                run_on(&driver, serve)
            })?);
        }
        let sockets = Sockets::new(mailboxes.count(), inherited);
        Ok(Self { mailboxes, threads: handles, driver, sockets, bound: BTreeMap::new(), snapshot })
    }

    /// Changes the configuration. When it returns, every core serves by the new one.
    ///
    /// A listener of a new bind accepts only after the routes are there, and one that is gone empties its queue.
    pub fn apply(&mut self, delta: Delta) -> io::Result<Applied> {
        let mut config = (*self.snapshot.config).clone();
        config.apply(delta);
        let (next, tls_problems) = self.snapshot.next(config);
        self.snapshot = next;
        let snapshot = Arc::new(self.snapshot.clone());
        self.ask_all(|done| Message::Configure(Arc::clone(&snapshot), done))?;
        let failed_binds = self.rebind();
        Ok(Applied { generation: self.snapshot.generation, failed_binds, tls_problems })
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.snapshot.config
    }

    /// Counts configurations, from 1.
    pub fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    /// What carries the sockets, and why.
    pub fn driver(&self) -> &DriverChoice {
        &self.driver
    }

    /// How many data threads there are.
    pub fn cores(&self) -> usize {
        self.mailboxes.count()
    }

    /// Every bind that is served, with its address (which names the port if 0 was asked for).
    pub fn bound(&self) -> &BTreeMap<Bind, SocketAddr> {
        &self.bound
    }

    /// Client connections of all cores. UDP has none.
    pub fn connections(&self) -> usize {
        self.mailboxes.connections()
    }

    /// What all cores have counted so far.
    pub fn report(&self) -> io::Result<record::Snapshot> {
        let (sender, receiver) = flume::bounded(self.cores());
        for core in 0..self.cores() {
            self.mailboxes.post(core, Message::Report(sender.clone()));
        }
        drop(sender);
        let mut merged: Option<record::Snapshot> = None;
        for _ in 0..self.cores() {
            let snapshot = receiver.recv_timeout(ANSWER_WAIT).map_err(|_| silent())?;
            match &mut merged {
                None => merged = Some(snapshot),
                Some(merged) => merged.merge(&snapshot),
            }
        }
        merged.ok_or_else(silent)
    }

    /// Goes on accepting, but keeps no connection alive: while load balancers learn that they should look elsewhere.
    pub fn retire(&self) {
        for core in 0..self.cores() {
            self.mailboxes.post(core, Message::Retire);
        }
    }

    /// Stops accepting, tells clients, and waits until every connection has ended, at most so long. Says whether all
    /// of them did.
    pub fn drain(&mut self, patience: Duration) -> bool {
        let (sender, receiver) = flume::bounded(self.cores());
        for core in 0..self.cores() {
            self.mailboxes.post(core, Message::Drain(sender.clone()));
        }
        drop(sender);
        self.bound.clear();
        let until = Instant::now() + patience;
        (0..self.cores()).all(|_| receiver.recv_deadline(until).is_ok())
    }

    /// Does what is to be done although nothing happens. Call it every [`TEND_EVERY`].
    pub fn tend(&self) {
        self.snapshot.tls.expire_tickets();
    }

    /// Messages between cores that found no room so far.
    pub fn messages_shed(&self) -> u64 {
        self.mailboxes.shed()
    }

    /// Whether every data thread is still there.
    pub fn is_alive(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    fn ask_all(&self, message: impl Fn(flume::Sender<()>) -> Message<Unattached>) -> io::Result<()> {
        let (sender, receiver) = flume::bounded(self.cores());
        for core in 0..self.cores() {
            self.mailboxes.post(core, message(sender.clone()));
        }
        drop(sender);
        for _ in 0..self.cores() {
            receiver.recv_timeout(ANSWER_WAIT).map_err(|_| silent())?;
        }
        Ok(())
    }

    fn rebind(&mut self) -> Vec<FailedBind> {
        let wanted: BTreeSet<Bind> = self.snapshot.compiled.binds().map(|(bind, ..)| bind).collect();
        let gone: Vec<Bind> = self.bound.keys().filter(|bind| !wanted.contains(bind)).copied().collect();
        self.unlisten(gone);
        let mut failed = Vec::new();
        for bind in wanted {
            if self.bound.contains_key(&bind) {
                continue;
            }
            match self.sockets.bind(bind) {
                Err(error) => failed.push(FailedBind { listeners: self.listeners_of(bind), bind, error }),
                Ok((sockets, address)) => {
                    self.bound.insert(bind, address);
                    for (index, socket) in sockets.into_iter().enumerate() {
                        let core = index % self.cores();
                        self.mailboxes.post(core, Message::Listen { bind, socket: Unattached::new(socket) });
                    }
                }
            }
        }
        failed
    }

    /// Closes the sockets of binds, and waits for that: one that follows may want the same port.
    fn unlisten(&mut self, gone: Vec<Bind>) {
        let (sender, receiver) = flume::unbounded();
        let mut asked = 0;
        for bind in gone {
            self.bound.remove(&bind);
            for core in 0..self.cores() {
                self.mailboxes.post(core, Message::Unlisten(bind, sender.clone()));
                asked += 1;
            }
        }
        drop(sender);
        let until = Instant::now() + UNLISTEN_WAIT;
        // A core that still empties its queue by then is left to it: a bind that fails for it is tried again later.
        let _ = (0..asked).all(|_| receiver.recv_deadline(until).is_ok());
    }

    fn listeners_of(&self, bind: Bind) -> Vec<ListenerKey> {
        let listeners = self.snapshot.config.listeners.values();
        listeners
            .filter(|listener| listener.binds.contains(&bind))
            .map(|listener| listener.key.clone())
            .collect()
    }
}

/// How often a proxy is to be tended: ticket keys of listeners that nobody uses live so much longer at most.
pub const TEND_EVERY: Duration = Duration::from_secs(3600);

/// How long closing sockets is waited for: emptying their queues takes no longer, unless more keeps coming.
const UNLISTEN_WAIT: Duration = Duration::from_secs(1);

/// A core that does not answer for so long has ended, or is stuck: both are bugs.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "a data thread does not answer")
}
