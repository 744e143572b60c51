//! Leads the backends of one route to clusters and remembers what was found on the way.

use ringway_config::{BackendTarget, CertificateKey, ClusterKey};

use super::backend::{BackendName, Carries, ClusterId, Destination, Resolver, named, with_certificate};
use super::condition::Problem;
use crate::objects::{BackendRef, Kind};

/// The route that is being translated, for listeners of gateways that show one certificate to backends.
pub(crate) struct Lead<'a> {
    pub(crate) resolver: Resolver<'a>,
    pub(crate) from: (Kind, &'a str),
    pub(crate) carries: Carries,
    pub(crate) certificate: Option<&'a CertificateKey>,
    /// Every backend that is named, whether it exists or not.
    pub(crate) backends: Vec<BackendName>,
    /// Those that it may name: only they learn of it.
    pub(crate) reached: Vec<BackendName>,
    pub(crate) clusters: Vec<ClusterId>,
    pub(crate) unresolved: Vec<Problem>,
}

impl<'a> Lead<'a> {
    pub(crate) fn new(
        resolver: Resolver<'a>,
        from: (Kind, &'a str),
        carries: Carries,
        certificate: Option<&'a CertificateKey>,
    ) -> Self {
        Self {
            resolver,
            from,
            carries,
            certificate,
            backends: vec![],
            reached: vec![],
            clusters: vec![],
            unresolved: vec![],
        }
    }

    /// The cluster behind a reference; `None` if there is none to be had, and why is then among `unresolved` or in
    /// the status of the policy.
    pub(crate) fn cluster(&mut self, reference: &BackendRef, field: &str) -> Option<ClusterKey> {
        let found = self.resolver.resolve(reference, self.from, self.carries, field);
        let denied = found.as_ref().is_err_and(|problem| problem.reason == "RefNotPermitted");
        let named = named(self.resolver.world, reference, self.from.1);
        self.reached.extend(named.clone().filter(|_| !denied));
        self.backends.extend(named);
        match found {
            Ok(Destination::Cluster(id)) => {
                let id = with_certificate(id, self.certificate);
                let key = id.key();
                self.clusters.push(id);
                Some(key)
            }
            Ok(Destination::Unreachable) => None,
            Err(problem) => {
                self.unresolved.push(problem);
                None
            }
        }
    }

    /// The same as a target: what has no cluster is answered with an error for its share.
    pub(crate) fn target(&mut self, reference: &BackendRef, field: &str) -> BackendTarget {
        self.cluster(reference, field).map_or(BackendTarget::Invalid, BackendTarget::Cluster)
    }
}
