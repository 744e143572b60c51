//! Follows a cluster: what is heard is kept, translated, published, and answered for in statuses. Read `run` top to
//! bottom. One task owns all of it; nothing here waits for the API server or for a proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::{Client, Error};
use ringway_config::Delta;
use ringway_gateway_api::objects::{Kind, Object, ObjectKey};
use ringway_gateway_api::world::Name;
use ringway_gateway_api::{Changes, Options, Translator};
use tokio::sync::{mpsc, watch as signal};

use super::class;
use super::pace::Pace;
use super::provisioner::{self, Provisioned};
use super::report::Board;
use super::status::desk::Desk;
use super::status::plan;
use super::status::programmed::{self, Progress};
use super::status::write::{self, Outcome, Task};
use super::store::Store;
use super::watch::{self, Message};
use crate::now::timestamp;
use crate::provision::{GATEWAY_LABEL, Install, Refusal};

/// What was heard and not yet taken in. When it is full, watches wait, and the API server keeps it.
const HEARD_MAX: usize = 1024;
/// How many of those are taken in at once.
const HEARD_AT_ONCE: usize = 256;
/// How long a Gateway's status waits for its proxies to acknowledge a new generation.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(1);
/// How often the installed version of the Gateway API is looked up.
const LOOK_VERSION: Duration = Duration::from_secs(30);
/// How often it is looked whether what was made for a Gateway still is as it was made.
const LOOK_DRIFT: Duration = Duration::from_secs(60);

/// What serves the proxies.
pub trait Serving: Send + Sync + 'static {
    /// Publishes a change, made from what was heard up to these positions. Returns the number that it has.
    fn publish(&self, delta: Delta, positions: Vec<(Kind, u64)>) -> u64;
    /// What is published is true up to these positions as well.
    fn reached(&self, positions: Vec<(Kind, u64)>);
    /// How far a Gateway's proxies are with what was published up to a number.
    fn progress(&self, gateway: &Name, published: u64) -> Progress;
    /// Resolves when a proxy came, went or acknowledged.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// How a cluster is followed.
#[expect(missing_debug_implementations, reason = "a client has no form to print")]
pub struct Settings {
    /// The API server.
    pub client: Client,
    /// How objects are understood.
    pub options: Options,
    /// How proxies are deployed; `None`: they are not.
    pub install: Option<Install>,
    /// Whether this replica writes; it follows in any case.
    pub leads: signal::Receiver<bool>,
    /// Where it is shown how it goes.
    pub board: Board,
}

/// A Gateway's generation that proxies have been told of.
#[derive(Clone, Copy, Debug)]
struct Told {
    generation: i64,
    published: u64,
    at: Instant,
}

/// What is asked of the API server about objects, and not answered yet.
type Running<T> = FuturesUnordered<BoxFuture<'static, (ObjectKey, Result<T, Error>)>>;

struct Follower<S> {
    settings: Settings,
    serving: S,
    store: Store,
    versions: BTreeMap<Kind, &'static str>,
    pace: Pace,
    translator: Translator,
    told: BTreeMap<ObjectKey, Told>,
    published: u64,
    /// How far into the cluster's history what is published reaches.
    reached: Vec<(Kind, u64)>,
    /// Statuses that are to be looked at.
    desk: Desk,
    /// Gateways whose proxies are to be looked at.
    yard: Desk,
    provisioned: BTreeMap<ObjectKey, Provisioned>,
    passes: Running<Vec<Refusal>>,
    bundle: Option<String>,
    writes: Running<Outcome>,
    complained: BTreeSet<ObjectKey>,
}

/// Follows a cluster until told to stop.
pub async fn run<S: Serving>(settings: Settings, serving: S, stop: impl Future<Output = ()> + Send) {
    let (heard, mut hearing) = mpsc::channel::<Message>(HEARD_MAX);
    let watches: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| tokio::spawn(watch::watch(settings.client.clone(), *kind, heard.clone())))
        .collect();
    drop(heard);
    let mut look_version = tokio::time::interval(LOOK_VERSION);
    let mut look_drift = tokio::time::interval(LOOK_DRIFT);
    let mut leads = settings.leads.clone();
    let mut follower = Follower::new(settings, serving);
    let mut stop = std::pin::pin!(stop);
    let mut batch = Vec::with_capacity(HEARD_AT_ONCE);
    loop {
        let wake = follower.wake();
        tokio::select! {
            () = &mut stop => break,
            count = hearing.recv_many(&mut batch, HEARD_AT_ONCE) => {
                if count == 0 {
                    break;
                }
                batch.drain(..).for_each(|message| follower.hear(message));
            }
            () = follower.serving.changed() => follower.proxies_changed(),
            Some((key, done)) = follower.writes.next() => follower.wrote(&key, done),
            Some((key, done)) = follower.passes.next() => follower.provisioned(&key, done),
            Ok(()) = leads.changed() => follower.lead(),
            _ = look_drift.tick() => follower.look_drift(),
            _ = look_version.tick() => follower.look_version().await,
            () = sleep_until(wake) => {}
        }
        follower.step();
    }
    for watch in watches {
        watch.abort();
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

impl<S: Serving> Follower<S> {
    fn new(settings: Settings, serving: S) -> Self {
        let translator = Translator::new(settings.options.clone());
        Self {
            settings,
            serving,
            store: Store::default(),
            versions: BTreeMap::new(),
            pace: Pace::default(),
            translator,
            told: BTreeMap::new(),
            published: 0,
            reached: Vec::new(),
            desk: Desk::default(),
            yard: Desk::default(),
            provisioned: BTreeMap::new(),
            passes: FuturesUnordered::new(),
            bundle: None,
            writes: FuturesUnordered::new(),
            complained: BTreeSet::new(),
        }
    }

    fn synced(&self) -> bool {
        self.published > 0
    }

    fn leads(&self) -> bool {
        *self.settings.leads.borrow()
    }

    fn hear(&mut self, (kind, version, heard): Message) {
        if !version.is_empty() {
            self.versions.insert(kind, version);
        }
        let before = self.store.structure_changed();
        self.store.hear(kind, version, heard);
        if self.store.structure_changed() || before {
            self.pace.changed(Instant::now());
        }
    }

    /// When there is something to do although nothing is heard.
    fn wake(&self) -> Option<Instant> {
        let desk = self.desk.wake().filter(|_| self.leads() && self.synced());
        let yard = self.yard.wake().filter(|_| self.leads() && self.synced());
        [self.pace.due(), desk, yard].into_iter().flatten().min()
    }

    fn step(&mut self) {
        let now = Instant::now();
        if self.synced() {
            if self.store.endpoints_changed() {
                let changes = self.store.endpoint_changes();
                self.apply(changes, now);
            }
            if self.pace.take(now) {
                let changes = self.store.changes();
                self.apply(changes, now);
            }
        } else if self.store.knows(Kind::ALL) {
            // Even if it is nothing: proxies that reconnect learn that it is nothing.
            self.pace.take(now);
            let changes = self.store.changes();
            self.apply(changes, now);
            tracing::info!(objects = self.store.len(), "the cluster is known");
        }
        self.reach();
        for key in self.store.take_recorded() {
            self.mark(key, now);
        }
        self.complain();
        if self.synced() && self.leads() {
            self.write(now);
            self.provision(now);
        }
        self.report();
    }

    /// Says how far what is published reaches, if that is farther than when it was: most of what is heard changes nothing
    /// for proxies, but one that was told of it by another replica must not wait for this one.
    fn reach(&mut self) {
        if !self.synced() || self.store.structure_changed() || self.store.endpoints_changed() {
            return;
        }
        if !self.store.positions().eq(self.reached.iter().copied()) {
            self.reached = self.store.positions().collect();
            self.serving.reached(self.reached.clone());
        }
    }

    fn apply(&mut self, changes: Changes, now: Instant) {
        let mut changed: BTreeSet<ObjectKey> = changes.deletes.iter().cloned().collect();
        changed.extend(changes.upserts.iter().map(Object::key));
        let delta = self.translator.apply(changes);
        let first = !self.synced();
        if first || !delta.resources.set.is_empty() || !delta.resources.removed.is_empty() {
            let (set, removed) = (delta.resources.set.len(), delta.resources.removed.len());
            self.reached = self.store.positions().collect();
            self.published = self.serving.publish(delta.resources, self.reached.clone());
            tracing::debug!(generation = self.published, set, removed, took = ?now.elapsed(), "published");
            let mut report = self.settings.board.read();
            (report.generation, report.since) = (self.published, timestamp());
        }
        for notice in &delta.notices {
            tracing::warn!("{}: {}", notice.object, notice.message);
        }
        self.settings.board.read().notices += delta.notices.len() as u64;
        for (key, status) in delta.statuses {
            if key.kind == Kind::Gateway {
                self.tell(&key, status.is_some(), now);
            } else {
                self.desk.mark(key, now);
            }
        }
        // An address may have come or gone.
        for key in changed.iter().filter(|key| key.kind == Kind::Service) {
            for gateway in self.gateways_in(&key.namespace) {
                self.desk.mark(gateway, now);
            }
        }
        self.plan_proxies(&changed, now);
    }

    /// Notes that proxies are being told of a Gateway's new generation, and when its status is due.
    fn tell(&mut self, key: &ObjectKey, is_ours: bool, now: Instant) {
        let generation = self.store.get(key).and_then(|held| held.object.metadata().generation);
        let (true, Some(generation)) = (is_ours, generation) else {
            self.told.remove(key);
            return;
        };
        let told = self.told.get(key).copied();
        let told = told.filter(|told| told.generation == generation);
        let told = told.unwrap_or(Told { generation, published: self.published, at: now });
        self.told.insert(key.clone(), told);
        let due = if self.progress(key).is_complete() { now } else { now.max(told.at + ACKNOWLEDGE_WAIT) };
        self.desk.mark(key.clone(), due);
    }

    fn proxies_changed(&mut self) {
        let now = Instant::now();
        let told: Vec<(ObjectKey, Told)> = self.told.iter().map(|(key, told)| (key.clone(), *told)).collect();
        for (key, told) in told {
            let due =
                if self.progress(&key).is_complete() { now } else { now.max(told.at + ACKNOWLEDGE_WAIT) };
            self.desk.mark(key, due);
        }
    }

    fn progress(&self, key: &ObjectKey) -> Progress {
        let published = self.told.get(key).map_or(0, |told| told.published);
        self.serving.progress(&Name::from(key), published)
    }

    fn gateways_in(&self, namespace: &str) -> Vec<ObjectKey> {
        self.told.keys().filter(|key| *key.namespace == *namespace).cloned().collect()
    }

    /// Has an object's status looked at, if there is something of ours in it or should be.
    fn mark(&mut self, key: ObjectKey, now: Instant) {
        let is_wanted = self.translator.statuses().contains_key(&key);
        let controller = &*self.settings.options.controller;
        let is_there = || {
            let status = self.store.get(&key).and_then(|held| held.record.status.as_deref());
            status.is_some_and(|status| status.contains(controller))
        };
        if is_wanted || is_there() {
            self.desk.mark(key, now);
        }
    }

    /// Whoever begins to lead looks at everything: the one before may have been cut off.
    fn lead(&mut self) {
        self.desk.clear();
        self.yard.clear();
        self.look_drift();
        let now = Instant::now();
        if self.leads() {
            tracing::info!("this replica leads: it writes statuses");
            for kind in Kind::ALL.iter().filter(|kind| super::raw::has_status(**kind)) {
                let keys: Vec<ObjectKey> = self.store.of_kind(*kind).map(|(key, _)| key.clone()).collect();
                keys.into_iter().for_each(|key| self.mark(key, now));
            }
        } else {
            tracing::info!("this replica does not lead: it serves proxies");
        }
    }

    fn write(&mut self, now: Instant) {
        while let Some(key) = self.desk.take(now) {
            let Some(task) = self.task(&key) else {
                self.desk.done(&key, false, now);
                continue;
            };
            let live = task.record.status();
            if plan::plan(key.kind, &task.controller, task.wanted.as_ref(), &live, &task.now).is_none() {
                self.desk.done(&key, false, now);
                continue;
            }
            let client = self.settings.client.clone();
            self.writes.push(Box::pin(async move { (key, write::write(&client, &task).await) }));
        }
    }

    fn task(&self, key: &ObjectKey) -> Option<Task> {
        let held = self.store.get(key)?;
        let wanted = self.translator.statuses().get(key);
        let mut wanted = wanted.and_then(|status| serde_json::to_value(status).ok());
        if let Some(wanted) = &mut wanted {
            match &held.object {
                Object::GatewayClass(_) => class::complete(wanted, self.bundle.as_deref()),
                Object::Gateway(_) => {
                    let was_programmed = programmed::is_programmed(&held.record.status());
                    let provisioned = self.provisioned.get(key);
                    // After a restart it is not known yet where it is reached: what was said stands until it is.
                    if was_programmed && provisioned.is_some_and(|provisioned| provisioned.refusals.is_none())
                    {
                        return None;
                    }
                    let addresses = provisioner::reached(&self.translator, key, self.provisioned.get(key));
                    programmed::complete(wanted, &addresses, &self.progress(key), was_programmed);
                }
                _ => {}
            }
        }
        Some(Task {
            key: key.clone(),
            version: self.versions.get(&key.kind)?,
            controller: self.settings.options.controller.to_string(),
            wanted,
            record: held.record.clone(),
            now: timestamp(),
        })
    }

    /// Works out which proxies there should be, if what changed may concern that.
    fn plan_proxies(&mut self, changed: &BTreeSet<ObjectKey>, now: Instant) {
        let Some(install) = &self.settings.install else { return };
        // What we made, changed by somebody else.
        for key in changed.iter().filter(|key| key.kind == Kind::Service) {
            let service = self.translator.world().services.get(&key.namespace, &key.name);
            let labels = service.and_then(|service| service.metadata.labels.as_ref());
            if let Some(gateway) = labels.and_then(|labels| labels.get(GATEWAY_LABEL)) {
                let gateway = ObjectKey::new(Kind::Gateway, &key.namespace, gateway);
                if self.provisioned.contains_key(&gateway) {
                    self.yard.mark(gateway, now);
                }
            }
        }
        if !changed.iter().any(|key| provisioner::concerns(key.kind)) {
            return;
        }
        self.provisioned.retain(|key, _| self.told.contains_key(key));
        for key in self.told.keys() {
            let Some(objects) = provisioner::wanted(&self.translator, key, install) else { continue };
            let same = |provisioned: &&Provisioned| provisioned.objects == objects;
            if self.provisioned.get(key).filter(same).is_none() {
                self.provisioned.insert(key.clone(), Provisioned { objects, refusals: None });
                self.yard.mark(key.clone(), now);
            }
        }
    }

    fn provision(&mut self, now: Instant) {
        while let Some(key) = self.yard.take(now) {
            let Some(provisioned) = self.provisioned.get(&key) else {
                self.yard.done(&key, false, now);
                continue;
            };
            let (client, objects) = (self.settings.client.clone(), provisioned.objects.clone());
            self.passes.push(Box::pin(async move { (key, provisioner::provision(&client, &objects).await) }));
        }
    }

    fn provisioned(&mut self, key: &ObjectKey, done: Result<Vec<Refusal>, Error>) {
        let now = Instant::now();
        match done {
            Ok(refusals) => {
                for Refusal { message, .. } in &refusals {
                    tracing::warn!(%key, message, "a part of what the Gateway needs cannot be made");
                }
                if let Some(provisioned) = self.provisioned.get_mut(key) {
                    provisioned.refusals = Some(refusals);
                }
                self.yard.done(key, true, now);
                self.desk.mark(key.clone(), now);
            }
            Err(error) => {
                tracing::warn!(%key, error = %watch::shown(&error), "the proxies are not made; trying again");
                self.yard.failed(key, now);
            }
        }
    }

    fn look_drift(&mut self) {
        let now = Instant::now();
        let keys: Vec<ObjectKey> = self.provisioned.keys().cloned().collect();
        keys.into_iter().for_each(|key| self.yard.mark(key, now));
    }

    fn wrote(&mut self, key: &ObjectKey, done: Result<Outcome, Error>) {
        let now = Instant::now();
        match done {
            Ok(Outcome::Written(record)) => {
                self.store.written(key, record);
                self.desk.done(key, true, now);
                self.settings.board.read().writes += 1;
            }
            Ok(Outcome::Needless) => self.desk.done(key, false, now),
            Err(error) => {
                tracing::warn!(%key, error = %watch::shown(&error), "the status is not written; trying again");
                self.desk.failed(key, now);
                self.settings.board.read().write_failures += 1;
            }
        }
    }

    /// Looks up which version of the Gateway API is installed.
    async fn look_version(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let api: Api<CustomResourceDefinition> = Api::all(self.settings.client.clone());
        let asked = api.get_metadata_opt("gatewayclasses.gateway.networking.k8s.io");
        let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, asked).await else { return };
        let annotations = found.and_then(|found| found.metadata.annotations);
        let bundle = annotations.and_then(|annotations| annotations.get(class::BUNDLE_VERSION).cloned());
        if bundle != self.bundle {
            self.bundle = bundle;
            let now = Instant::now();
            let classes: Vec<ObjectKey> =
                self.store.of_kind(Kind::GatewayClass).map(|(key, _)| key.clone()).collect();
            classes.into_iter().for_each(|key| self.mark(key, now));
        }
    }

    /// Tells of objects that do not decode, each once while it lasts.
    fn complain(&mut self) {
        let undecodable = self.store.undecodable();
        self.complained.retain(|key| undecodable.contains_key(key));
        for (key, why) in undecodable {
            if self.complained.insert(key.clone()) {
                tracing::warn!(%key, why, "the object cannot be read; what it said before stays in force");
            }
        }
    }

    fn report(&self) {
        let mut report = self.settings.board.read();
        (report.synced, report.leads) = (self.synced(), self.leads());
        (report.objects, report.waiting) = (self.store.len(), self.desk.waiting());
        report.positions = self.store.positions().collect();
        if report.undecodable != *self.store.undecodable() {
            report.undecodable = self.store.undecodable().clone();
        }
    }
}
