//! The standalone pipeline: waits for files to change, and makes the change live. One thread of its own.
//!
//! It ends when told to, never because of what a file says. What it knows stands on the [`Board`] for whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringway_config::{DataPlane, FailedBind, PlaneProblem};
use ringway_gateway_api::{Changes, Notice, Options};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::inventory::{Effect, Inventory, Problem};
use crate::now::timestamp;
use crate::publish::Publisher;
use crate::rest::Rest;
use crate::settle::{Settle, WAIT_MAX, WRITING_MAX};
use crate::source::{ChangedName, Directory, Found, Reading, Root, SourceName, Watcher};
use crate::status::Statuses;

/// How often everything is looked at although nothing was heard: network file systems are silent.
const RESCAN: Duration = Duration::from_secs(30);
/// The same where the kernel cannot tell of every change.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(1);
/// How often a socket that could not be bound is tried again.
const RETRY_BINDS: Duration = Duration::from_secs(1);

/// How many conditions are told of that one change has made false: it may concern every Gateway.
const TURNED_TOLD_MAX: usize = 32;

/// What is in force and what is wrong, for `/status` and metrics.
#[derive(Debug, Default)]
pub struct Report {
    /// Counts the configurations that were in force; 0 before the first.
    pub generation: u64,
    /// When it came into force, RFC 3339.
    pub since: String,
    /// How many files were read.
    pub files: usize,
    /// How many objects are in force.
    pub objects: usize,
    /// What is wrong with the files.
    pub problems: Vec<Problem>,
    /// Listeners without a socket.
    pub failed_binds: Vec<FailedBind>,
    /// What else the data plane could not do as configured.
    pub plane_problems: Vec<PlaneProblem>,
    /// The statuses of the objects.
    pub statuses: Statuses,
    /// How often all files were looked at since the start, and what they say made live.
    pub scans: u64,
    /// How often a file was broken or unreadable.
    pub rejections: u64,
}

/// Where the report stands. Only the control plane looks at it, so a lock is fine.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Report>>);

impl Board {
    /// The report as it is; the pipeline waits while it is held.
    pub fn read(&self) -> MutexGuard<'_, Report> {
        // A report that somebody panicked over is still the newest one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the pipeline can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Rescan,
    Stop,
}

/// Tells the pipeline what to do. Dropping it stops the pipeline.
#[derive(Debug)]
pub struct Orders(UnixStream);

/// The pipeline's end of [`Orders`].
#[derive(Debug)]
pub struct Inbox(UnixStream);

/// A connected pair.
pub fn orders() -> io::Result<(Orders, Inbox)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((Orders(ours), Inbox(theirs)))
}

impl Orders {
    /// Looks at all files again, whether or not anything was heard of them.
    pub fn rescan(&self) {
        // A full socket holds enough of the same order.
        let _full = (&self.0).write(b"r");
    }
}

impl Inbox {
    fn take(&self) -> Option<Order> {
        let mut buffer = [0; 64];
        match (&self.0).read(&mut buffer) {
            Ok(0) => Some(Order::Stop),
            Ok(_) => Some(Order::Rescan),
            Err(_nothing) => None,
        }
    }
}

/// The pipeline.
#[derive(Debug)]
pub struct Standalone<D> {
    directory: Directory,
    watcher: Option<Watcher>,
    settle: Settle<ChangedName>,
    rest: Rest,
    // By file: what is read again counts as it is then.
    found: BTreeMap<SourceName, Reading>,
    inventory: Inventory,
    publisher: Publisher<D>,
    told: BTreeSet<Problem>,
    board: Board,
}

impl<D: DataPlane> Standalone<D> {
    /// Nothing is read yet.
    pub fn new(roots: Vec<Root>, options: Options, plane: D) -> Self {
        let directory = Directory::new(roots);
        let watcher = directory.can_change().then(Watcher::new).and_then(|watcher| {
            watcher
                .inspect_err(|error| tracing::warn!(%error, "no inotify: files are looked at every second"))
                .ok()
        });
        Self {
            directory,
            watcher,
            settle: Settle::default(),
            rest: Rest::default(),
            found: BTreeMap::new(),
            inventory: Inventory::default(),
            publisher: Publisher::new(options, plane),
            told: BTreeSet::new(),
            board: Board::default(),
        }
    }

    /// Where the report stands.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Reads everything and makes it live, even if it is nothing.
    pub fn first(&mut self) {
        self.scan();
        let changed = self.take_found();
        self.publish(changed);
        // To read and compile everything at once takes more than is kept of it.
        self.publisher.give_back_memory();
    }

    /// Makes changes live until told to stop.
    pub fn run(mut self, inbox: &Inbox) {
        let mut looked = Instant::now();
        let mut bound = Instant::now();
        // Since when something was found that may be half written.
        let mut held: Option<Instant> = None;
        loop {
            let rescan = looked + self.rescan_after();
            let retry = (!self.publisher.failed_binds().is_empty()).then_some(bound + RETRY_BINDS);
            let wake =
                [self.settle.due(), retry, self.rest.due()].into_iter().flatten().fold(rescan, Instant::min);
            self.wait(inbox, wake);

            let now = Instant::now();
            match inbox.take() {
                Some(Order::Stop) => return,
                Some(Order::Rescan) => self.settle.asked(now),
                None => {}
            }
            self.hear();
            if rescan <= now {
                looked = now;
                self.settle.asked(now);
            }
            if self.settle.take(now) {
                looked = now;
                self.scan();
                // Something was written while it was read. Its end is heard of, or it has lasted long enough.
                let half = self.settle.writing();
                if half && now < *held.get_or_insert(now) + WRITING_MAX {
                    continue;
                }
                held = None;
                if self.found.is_empty() {
                    self.board.read().scans += 1;
                } else {
                    let changed = self.take_found();
                    self.publish(changed);
                }
            }
            if self.rest.take(now) {
                self.publisher.give_back_memory();
            }
            if retry.is_some_and(|retry| retry <= now) {
                bound = now;
                let mut report = self.board.read();
                self.publisher.retry_binds(&mut report.statuses, &timestamp());
                self.report_plane(&mut report);
            }
        }
    }

    fn rescan_after(&self) -> Duration {
        let watched = self.watcher.as_ref().is_some_and(|watcher| !watcher.incomplete());
        if watched || !self.directory.can_change() { RESCAN } else { RESCAN_UNWATCHED }
    }

    fn wait(&self, inbox: &Inbox, until: Instant) {
        let wait = until.saturating_duration_since(Instant::now());
        // Rounded up, or the last microseconds would be spent spinning.
        let wait = wait + Duration::from_micros(100);
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut fds = vec![PollFd::new(&inbox.0, PollFlags::IN)];
        fds.extend(self.watcher.as_ref().map(|watcher| PollFd::new(watcher, PollFlags::IN)));
        // An interrupted wait is a short one.
        let _woken = poll(&mut fds, Some(&timeout));
    }

    /// Reads what changed. What changes meanwhile is read again, so that a swap of many files is seen whole; unless it
    /// is still being written.
    fn scan(&mut self) {
        let give_up = Instant::now() + WAIT_MAX;
        loop {
            let found = self.directory.scan(self.watcher.as_mut());
            self.found.extend(found.into_iter().map(|Found { source, reading }| (source, reading)));
            let changed_meanwhile = self.hear();
            if !changed_meanwhile || self.settle.writing() || give_up <= Instant::now() {
                return;
            }
        }
    }

    /// Notes what the kernel says; whether it said something.
    fn hear(&mut self) -> bool {
        let now = Instant::now();
        let mut heard = false;
        if let Some(watcher) = &mut self.watcher {
            watcher.events(|file, seen| {
                heard = true;
                self.settle.saw(file, seen, now);
            });
        }
        heard
    }

    fn take_found(&mut self) -> Changes {
        let found = std::mem::take(&mut self.found).into_iter();
        self.inventory.take(found.map(|(source, reading)| Found { source, reading }).collect())
    }

    fn publish(&mut self, changed: Changes) {
        let started = Instant::now();
        let now = timestamp();
        let problems = self.inventory.problems();
        self.tell(&problems);
        let mut report = self.board.read();
        let first = report.generation == 0;
        // Whoever sees the number finds what was read in force: the report is ours until then.
        report.scans += 1;
        report.rejections = self.inventory.rejections();
        report.problems = problems;
        report.files = self.inventory.files();
        if changed == Changes::default() && !first {
            return;
        }
        let published = self.publisher.publish(changed, &mut report.statuses, &now);
        self.rest.changed(Instant::now());
        report.generation = published.generation;
        report.since = now;
        report.objects = self.inventory.objects().count();
        self.report_plane(&mut report);
        for Notice { object, message } in published.notices {
            tracing::warn!("{object}: {message}");
        }
        for turned in published.turned.iter().take(TURNED_TOLD_MAX) {
            tracing::warn!("{turned}");
        }
        if let Some(more @ 1..) = published.turned.len().checked_sub(TURNED_TOLD_MAX) {
            tracing::warn!(more, "other conditions hold no longer; all are in /status");
        }
        tracing::info!(
            generation = published.generation,
            set = published.set,
            removed = published.removed,
            took = ?started.elapsed(),
            "configuration is live"
        );
    }

    /// Puts what the data plane cannot do on the board; logs what is new of it.
    fn report_plane(&self, report: &mut Report) {
        for failed in self.publisher.failed_binds() {
            if !report.failed_binds.contains(failed) {
                let (listener, port) = (&failed.listener, failed.bind.port);
                tracing::warn!(%listener, port, reason = failed.reason, "cannot listen; trying again");
            }
        }
        for problem in self.publisher.plane_problems() {
            if !report.plane_problems.contains(problem) {
                tracing::warn!("{problem}");
            }
        }
        report.failed_binds = self.publisher.failed_binds().to_vec();
        report.plane_problems = self.publisher.plane_problems().to_vec();
    }

    /// Logs each problem once, while it lasts.
    fn tell(&mut self, problems: &[Problem]) {
        for problem in problems.iter().filter(|problem| !self.told.contains(*problem)) {
            match problem.effect {
                Effect::FileKept => tracing::error!("{problem}; what the file said before stays in force"),
                Effect::FileEmpty => {
                    tracing::error!("{problem}; nothing was there before: it counts as empty")
                }
                Effect::ObjectIgnored | Effect::Warned => tracing::warn!("{problem}"),
                Effect::Noted => tracing::info!("{problem}"),
            }
        }
        self.told = problems.iter().cloned().collect();
    }
}
