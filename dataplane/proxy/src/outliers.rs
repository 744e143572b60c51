//! Leaves out endpoints that keep failing: carries reports to each cluster's home core, and its decisions to every core.
//!
//! What is decided, and when, is in `ringway-core`'s `health`; here are the messages and the clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ringway_config::{ClusterKey, Endpoint};
use ringway_core::Instant;
use ringway_core::admission::home_of;
use ringway_core::balance::{EndpointId, Outcome};
use ringway_core::health::{News, OutlierHome, Report, To};

use crate::cluster::Cluster;
use crate::env::Env;
use crate::mailbox::Message;
use crate::race::{First, race};
use crate::signal::Signal;
use crate::worker::Worker;

/// The clusters whose home this core is.
#[derive(Default)]
pub(crate) struct Outliers {
    homes: RefCell<BTreeMap<ClusterKey, OutlierHome>>,
    /// There may be an earlier deadline.
    changed: Signal,
}

impl Outliers {
    fn deadline(&self) -> Option<Instant> {
        self.homes.borrow().values().filter_map(OutlierHome::deadline).min()
    }
}

impl<E: Env> Worker<E> {
    /// How an attempt at an endpoint went.
    pub fn observe(&self, cluster: &Cluster<E>, endpoint: EndpointId, outcome: Outcome) {
        let report = cluster.balancer.borrow_mut().observed(endpoint, outcome, self.env.now());
        if let Some(report) = report {
            self.send_report(cluster, report);
        }
    }

    fn send_report(&self, cluster: &Cluster<E>, report: Report) {
        let key = cluster.spec().key.clone();
        let core = self.env.core();
        let home = home_of(key.as_str(), core.count);
        self.env.post(home, Message::Observed { cluster: key, core: core.index, report });
    }

    /// Takes in what a core observed; this core is the cluster's home.
    pub(crate) fn heard_report(&self, key: &ClusterKey, core: usize, report: Report) {
        let mut news = Vec::new();
        if let Some(home) = self.outliers.homes.borrow_mut().get_mut(key) {
            home.heard(core, report, self.env.now(), &mut news);
        }
        self.outliers.changed.notify();
        self.spread(key, &news);
    }

    /// Takes in what a cluster's home decided.
    pub(crate) fn heard_news(&self, key: &ClusterKey, news: News) {
        // Of a cluster that has gone meanwhile there is nothing to tell.
        let Some(cluster) = self.cluster(key) else { return };
        let report = cluster.balancer.borrow_mut().heard(news, self.env.now());
        if let Some(report) = report {
            self.send_report(&cluster, report);
        }
    }

    /// Takes over which endpoints a cluster has and when they are left out, if this core is its home.
    pub(crate) fn watch_endpoints(&self, cluster: &Cluster<E>) {
        let spec = cluster.spec();
        let cores = self.env.core();
        if home_of(spec.key.as_str(), cores.count) != cores.index {
            return;
        }
        let mut homes = self.outliers.homes.borrow_mut();
        let Some(policy) = spec.outlier else {
            homes.remove(&spec.key);
            return;
        };
        let home = homes.entry(spec.key.clone()).or_insert_with(|| OutlierHome::new(policy, cores.count));
        home.adopt(policy);
        let balancer = cluster.balancer.borrow();
        let endpoints: Vec<_> = balancer.endpoints().map(|(_, address, _)| Endpoint { address }).collect();
        home.update(&endpoints, self.env.now());
        self.outliers.changed.notify();
    }

    /// Forgets a cluster that has gone.
    pub(crate) fn forget_endpoints(&self, key: &ClusterKey) {
        self.outliers.homes.borrow_mut().remove(key);
    }

    /// Ends what is over, for ever.
    pub(crate) async fn readmit(self: Rc<Self>) {
        loop {
            let changed = self.outliers.changed.wait();
            match self.outliers.deadline() {
                None => changed.await,
                Some(at) => match race(self.env.sleep_until(at), changed).await {
                    First::One(()) | First::Two(()) => {}
                },
            }
            let now = self.env.now();
            if self.outliers.deadline().is_none_or(|at| at > now) {
                continue;
            }
            let mut decided = Vec::new();
            for (key, home) in self.outliers.homes.borrow_mut().iter_mut() {
                let mut news = Vec::new();
                home.tick(now, &mut news);
                if !news.is_empty() {
                    decided.push((key.clone(), news));
                }
            }
            decided.iter().for_each(|(key, news)| self.spread(key, news));
        }
    }

    fn spread(&self, key: &ClusterKey, news: &[(To, News)]) {
        for (to, news) in news {
            if matches!(news, News::Eject(_)) {
                tracing::info!(cluster = key.as_str(), endpoint = %news.address(), "an endpoint keeps failing: left out");
                self.recorder.borrow_mut().ejected(key, self.env.now());
            }
            let cores = match to {
                To::Every => 0..self.env.core().count,
                To::Core(core) => *core..*core + 1,
            };
            for core in cores {
                self.env.post(core, Message::News { cluster: key.clone(), news: *news });
            }
        }
    }
}
