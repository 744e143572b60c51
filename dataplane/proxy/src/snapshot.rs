//! A configuration as all cores get it: compiled once, off-core, with what a core must touch to swap to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringway_config::{ClusterKey, Config, EndpointSetKey, differing};
use ringway_core::Compiled;

use crate::tls::{Clock, TlsProblem, TlsStore};

/// Everything a core needs to swap to a configuration.
#[derive(Clone)]
pub struct Snapshot {
    /// What it was made from.
    pub config: Arc<Config>,
    /// Listeners and routes.
    pub compiled: Arc<Compiled>,
    /// Keys and certificates.
    pub tls: Arc<TlsStore>,
    /// Counts configurations, from 1.
    pub generation: u64,
    /// The clusters that came, went, or have another configuration, endpoint set or TLS than one generation ago. A core
    /// leaves all others alone: what a change costs it is what changed, not what there is.
    pub changed: Arc<[ClusterKey]>,
}

impl Snapshot {
    /// Of an empty configuration.
    pub fn new(clock: Clock) -> Self {
        let config = Arc::new(Config::default());
        Self {
            compiled: Arc::new(Compiled::from_nothing(&config)),
            config,
            tls: Arc::new(TlsStore::new(clock)),
            generation: 0,
            changed: Arc::default(),
        }
    }

    /// Of the configuration that follows, and everything in that one that TLS cannot use. As for [`TlsStore::next`],
    /// never on a core that carries traffic.
    pub fn next(&self, config: Config) -> (Self, Vec<TlsProblem>) {
        let config = Arc::new(config);
        let compiled = Arc::new(self.compiled.next(&config));
        let (tls, problems) = self.tls.next(&config);
        let changed = changed_clusters((&self.config, &self.tls), (&config, &tls));
        let generation = self.generation + 1;
        (Self { config, compiled, tls: Arc::new(tls), generation, changed }, problems)
    }
}

fn changed_clusters(before: (&Config, &TlsStore), after: (&Config, &TlsStore)) -> Arc<[ClusterKey]> {
    let mut changed: BTreeSet<&ClusterKey> =
        differing(&before.0.clusters, &after.0.clusters).into_iter().collect();
    changed.extend(before.1.differing_clusters(after.1));
    let sets: BTreeSet<&EndpointSetKey> =
        differing(&before.0.endpoint_sets, &after.0.endpoint_sets).into_iter().collect();
    if !sets.is_empty() {
        let moved = after.0.clusters.values().filter(|cluster| sets.contains(&cluster.endpoints));
        changed.extend(moved.map(|cluster| &cluster.key));
    }
    changed.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use ringway_config::{
        Balance, Cluster, ClusterLimits, Delta, EndpointSet, EndpointSource, Resource, ResourceKey,
        UpstreamProtocol,
    };
    use std::time::{Duration, SystemTime};

    use super::*;

    fn cluster(name: &str, endpoints: &str) -> Resource {
        Resource::Cluster(Arc::new(Cluster {
            key: ClusterKey::new(name),
            endpoints: EndpointSetKey::new(endpoints),
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balance: Balance::RoundRobin,
            limits: ClusterLimits::default(),
            outlier: None,
            connect_timeout: Duration::from_secs(1),
        }))
    }

    fn endpoints(name: &str) -> Resource {
        let (key, source) = (EndpointSetKey::new(name), EndpointSource::Listed(vec![]));
        Resource::EndpointSet(Arc::new(EndpointSet { key, source }))
    }

    #[test]
    fn only_clusters_that_a_change_concerns_are_named() {
        let mut snapshot = Snapshot::new(Clock::driven(SystemTime::UNIX_EPOCH).0);
        let mut changed = |set: Vec<Resource>, removed: Vec<ResourceKey>| {
            let mut config = (*snapshot.config).clone();
            config.apply(Delta { set, removed });
            snapshot = snapshot.next(config).0;
            snapshot.changed.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let all =
            vec![endpoints("1"), endpoints("2"), cluster("a", "1"), cluster("b", "1"), cluster("c", "2")];
        assert_eq!(changed(all, vec![]), ["a", "b", "c"]);
        assert_eq!(changed(vec![], vec![]), [""; 0]);
        assert_eq!(changed(vec![cluster("b", "2")], vec![]), ["b"]);
        assert_eq!(changed(vec![endpoints("2")], vec![]), ["b", "c"]);
        assert_eq!(changed(vec![], vec![ResourceKey::Cluster(ClusterKey::new("a"))]), ["a"]);
    }
}
