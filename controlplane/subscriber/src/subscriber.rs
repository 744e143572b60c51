//! Follows the controller: connects, takes changes, applies and answers them, and comes back when the stream ends.
//!
//! Nothing that fails here takes away what is in force.

use std::io;
use std::time::{Duration, SystemTime};

use futures::channel::mpsc::Sender;
use ringway_config::{Applied, DataPlane, Delta, FailedBind, PlaneProblem};
use ringway_wire::proto::{FromProxy, Hello, from_controller, from_proxy};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;

use crate::Settings;
use crate::backoff::Backoff;
use crate::connect::{ConnectError, Stream, connect};
use crate::held::{Fault, Held, Refused};
use crate::keep::{self, KeepError};
use crate::limits::{RETRY_BINDS, SILENCE_MAX};

/// How often the file is written at most, however many changes there are.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// What a proxy has and from where.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Counts the configurations that were in force; 0 before the first.
    pub generation: u64,
    /// When it came into force.
    pub since: Option<SystemTime>,
    /// Whether it is what was kept of an earlier life of this proxy.
    pub from_file: bool,
    /// Since when the controller is heard; `None`: it is not.
    pub connected: Option<SystemTime>,
    /// Why it is not.
    pub trouble: Option<String>,
    /// How many resources are in force.
    pub resources: usize,
    /// What is not in force as it was told.
    pub refused: Vec<Refused>,
    /// Listeners without a socket.
    pub failed_binds: Vec<FailedBind>,
    /// What else the data plane could not do.
    pub problems: Vec<PlaneProblem>,
    /// How many resources were received since the start.
    pub resources_received: u64,
    /// Why the last good configuration is not kept.
    pub not_kept: Option<String>,
}

/// A proxy's end of the stream.
#[derive(Debug)]
pub struct Subscriber<D> {
    settings: Settings,
    plane: D,
    held: Held,
    applied: Applied,
    backoff: Backoff,
    keeping: Option<JoinHandle<Result<(), KeepError>>>,
    /// When what is in force should be in the file.
    keep_at: Option<Instant>,
    /// When it was last begun to be written.
    kept_at: Option<Instant>,
    /// When listeners without a socket are tried again.
    retry_at: Option<Instant>,
    report: watch::Sender<Report>,
}

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the controller ended the stream: {}", .0.message())]
    Status(#[from] Status),
    #[error("the controller ended the stream")]
    Closed,
    #[error("the controller has said nothing for {SILENCE_MAX:?}")]
    Silent,
    #[error("beginning again: {0}")]
    Fault(#[from] Fault),
}

impl<D: DataPlane> Subscriber<D> {
    /// Nothing is in force yet. Settings that [`Settings::check`] refuses are tried in vain.
    pub fn new(settings: Settings, plane: D) -> (Self, watch::Receiver<Report>) {
        let (report, reports) = watch::channel(Report::default());
        let subscriber = Self {
            settings,
            plane,
            held: Held::default(),
            applied: Applied::default(),
            backoff: Backoff::default(),
            keeping: None,
            keep_at: None,
            kept_at: None,
            retry_at: None,
            report,
        };
        (subscriber, reports)
    }

    /// Puts the last good configuration in force, if there is one, and then follows the controller until `stop`.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        self.resume();
        tokio::select! {
            () = self.follow() => {}
            () = stop => {}
        }
        if self.keeping.is_some() {
            self.kept().await;
        }
        if self.keep_at.is_some() {
            self.keep();
            self.kept().await;
        }
    }

    /// From the file.
    fn resume(&mut self) {
        let Some(path) = &self.settings.last_good else { return };
        match keep::read(path, &self.settings.gateway) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                self.held = Held::resumed(kept.resources, kept.positions);
                let set = self.held.config().resources().collect();
                self.apply(Delta { set, removed: vec![] });
                self.report.send_modify(|report| report.from_file = true);
                tracing::info!(resources = self.resources(), "the last good configuration is in force");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no last good configuration");
            }
        }
    }

    async fn follow(&mut self) {
        let mut told = String::new();
        loop {
            let ended = match self.stream().await {
                Ok(never) => match never {},
                Err(ended) => ended.to_string(),
            };
            if ended != told {
                tracing::warn!("{ended}; what is in force stays, and the controller is tried again");
                told.clone_from(&ended);
            }
            self.report.send_modify(|report| {
                report.connected = None;
                report.trouble = Some(ended);
            });
            let pause = Instant::now() + self.backoff.pause(fastrand::f64());
            while Instant::now() < pause {
                self.tend(pause, None).await;
            }
        }
    }

    /// One stream, to its end.
    async fn stream(&mut self) -> Result<std::convert::Infallible, Ended> {
        let held = self.held.begin();
        let hello = Hello {
            gateway: self.settings.gateway.clone(),
            proxy: self.settings.name.clone(),
            version: self.settings.version.clone(),
            held,
            position: self.held.positions().to_vec(),
        };
        let Stream { mut messages, mut say } = self.connect(hello).await?;
        tracing::info!(controller = self.settings.controller, "connected to the controller");
        self.report.send_modify(|report| {
            report.connected = Some(SystemTime::now());
            report.trouble = None;
        });
        let mut silent = Instant::now() + SILENCE_MAX;
        loop {
            let message = tokio::select! {
                message = messages.message() => message?.ok_or(Ended::Closed)?.message,
                () = self.tend(silent, Some(&mut say)) => {
                    if silent <= Instant::now() {
                        return Err(Ended::Silent);
                    }
                    continue;
                }
            };
            silent = Instant::now() + SILENCE_MAX;
            match message {
                Some(from_controller::Message::Batch(batch)) => {
                    self.report.send_modify(|report| report.resources_received += batch.set.len() as u64);
                    if let Some(delta) = self.held.take(batch)? {
                        self.change(delta, &mut say)?;
                    }
                }
                Some(from_controller::Message::Heartbeat(beat)) => {
                    self.held.check(&beat)?;
                    self.plane.give_back_memory();
                }
                // Something that only a newer version says.
                None => {}
            }
        }
    }

    async fn connect(&mut self, hello: Hello) -> Result<Stream, ConnectError> {
        let settings = self.settings.clone();
        let mut connecting = std::pin::pin!(connect(&settings, hello));
        loop {
            tokio::select! {
                stream = &mut connecting => return stream,
                () = self.tend(Instant::now() + SILENCE_MAX, None) => {}
            }
        }
    }

    /// Puts a change in force and answers.
    fn change(&mut self, delta: Delta, say: &mut Sender<FromProxy>) -> Result<(), Ended> {
        let (set, removed) = (delta.set.len(), delta.removed.len());
        let first = self.applied.generation == 0;
        let started = std::time::Instant::now();
        if first || !delta.is_empty() {
            self.apply(delta);
            self.report.send_modify(|report| report.from_file = false);
        }
        self.answer(say)?;
        self.backoff = Backoff::default();
        let refused = self.held.refused(&self.applied.problems);
        for Refused { name, reason } in &refused {
            tracing::warn!(?name, reason, "refused; the last good version stays in force");
        }
        self.report.send_modify(|report| report.refused = refused);
        if self.settings.last_good.is_some() {
            let rested = self.kept_at.map(|kept| kept + KEEP_EVERY);
            self.keep_at.get_or_insert(rested.unwrap_or_else(Instant::now));
        }
        let generation = self.applied.generation;
        tracing::info!(generation, set, removed, took = ?started.elapsed(), "configuration is live");
        Ok(())
    }

    fn answer(&self, say: &mut Sender<FromProxy>) -> Result<(), Ended> {
        let answer = from_proxy::Message::Acknowledgement(self.held.answer(&self.applied));
        say.try_send(FromProxy { message: Some(answer) }).map_err(|_nobody_reads| Ended::Closed)
    }

    fn apply(&mut self, delta: Delta) {
        let before = std::mem::replace(&mut self.applied, self.plane.apply(delta));
        for failed in self.applied.failed_binds.iter().filter(|it| !before.failed_binds.contains(it)) {
            let (listener, port) = (&failed.listener, failed.bind.port);
            tracing::warn!(%listener, port, reason = failed.reason, "cannot listen; trying again");
        }
        self.retry_at = (!self.applied.failed_binds.is_empty()).then(|| Instant::now() + RETRY_BINDS);
        let (applied, resources) = (&self.applied, self.resources());
        self.report.send_modify(|report| {
            report.generation = applied.generation;
            report.since = Some(SystemTime::now());
            report.resources = resources;
            report.failed_binds.clone_from(&applied.failed_binds);
            report.problems.clone_from(&applied.problems);
        });
    }

    fn resources(&self) -> usize {
        self.held.config().resources().count()
    }

    /// Waits, but not beyond `until`, for something to do that nobody asked for; and does it. May be dropped at any wait.
    async fn tend(&mut self, until: Instant, say: Option<&mut Sender<FromProxy>>) {
        let retry = self.retry_at;
        let keep = self.keep_at.filter(|_| self.keeping.is_none());
        let wake = [retry, keep].into_iter().flatten().fold(until, Instant::min);
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = self.kept() => return,
        }
        let now = Instant::now();
        if keep.is_some_and(|keep| keep <= now) {
            self.keep();
        }
        if retry.is_some_and(|retry| retry <= now) {
            let before = self.applied.failed_binds.clone();
            self.apply(Delta::default());
            if self.applied.failed_binds != before
                && let Some(say) = say
            {
                // A stream that has ended is noticed by whoever reads it.
                let _ended = self.answer(say);
            }
        }
    }

    /// Begins to write the file: a slow disk must not hold up the stream.
    fn keep(&mut self) {
        self.keep_at = None;
        self.kept_at = Some(Instant::now());
        if let Some(path) = self.settings.last_good.clone() {
            let (gateway, config) = (self.settings.gateway.clone(), self.held.config().clone());
            let positions = self.held.positions().to_vec();
            let write = move || keep::write(&path, &gateway, &config, &positions);
            self.keeping = Some(tokio::task::spawn_blocking(write));
        }
    }

    /// Waits for the file that is being written; for ever, if none is.
    async fn kept(&mut self) {
        let Some(keeping) = &mut self.keeping else {
            return std::future::pending().await;
        };
        let done = keeping.await.unwrap_or_else(|error| Err(KeepError::Io(io::Error::other(error))));
        self.keeping = None;
        let trouble = done.err().map(|error| error.to_string());
        let before = self.report.borrow().not_kept.clone();
        match (&trouble, &before) {
            // Told once, while it lasts.
            (Some(trouble), None) => {
                tracing::error!(
                    trouble,
                    "the last good configuration cannot be kept; an older one may be there"
                );
            }
            (None, Some(_)) => tracing::info!("the last good configuration is kept again"),
            _ => {}
        }
        self.report.send_modify(|report| report.not_kept = trouble);
    }
}
