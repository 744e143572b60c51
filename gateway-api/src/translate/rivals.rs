//! HTTPRoutes and GRPCRoutes that want the same hosts of a listener: the older has it (checklist R8).

use std::collections::{BTreeMap, BTreeSet};

use ringway_config::{HostPattern, ListenerKey, pack};

use super::age::Seniority;
use crate::objects::{Kind, ObjectKey};

/// The HTTP and gRPC routes that want a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rivals {
    routes: BTreeMap<ObjectKey, (Seniority, Vec<HostPattern>)>,
    grpc: usize,
}

impl Rivals {
    pub(crate) fn add(&mut self, key: ObjectKey, seniority: Seniority, hostnames: Vec<HostPattern>) {
        let grpc = key.kind == Kind::GRPCRoute;
        if self.routes.insert(key, (seniority, hostnames)).is_none() {
            self.grpc += usize::from(grpc);
        }
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        if self.routes.remove(key).is_some() {
            self.grpc -= usize::from(key.kind == Kind::GRPCRoute);
        }
    }

    pub(crate) fn pack(&mut self) {
        pack(&mut self.routes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The routes that lose, each with the one it loses to. Oldest first, a route is refused if a host of its own is
    /// already had by a route of the other kind.
    pub(crate) fn losers(&self) -> Losers {
        // Nearly always: all of one kind, and nothing to compare.
        if self.grpc == 0 || self.grpc == self.routes.len() {
            return Losers::new();
        }
        let mut by_age: Vec<_> = self.routes.iter().collect();
        by_age.sort_by(|(_, (a, _)), (_, (b, _))| a.cmp(b));
        let mut winners: Vec<(&ObjectKey, &Vec<HostPattern>)> = vec![];
        let mut losers = Losers::new();
        for (key, (_, hostnames)) in by_age {
            let rival = winners.iter().find(|(other, theirs)| {
                other.kind != key.kind
                    && theirs.iter().any(|theirs| hostnames.iter().any(|own| own.intersect(theirs).is_some()))
            });
            match rival {
                Some((winner, _)) => drop(losers.insert(key.clone(), (*winner).clone())),
                None => winners.push((key, hostnames)),
            }
        }
        losers
    }
}

/// Routes that lose, and to whom.
pub(crate) type Losers = BTreeMap<ObjectKey, ObjectKey>;

/// The listeners that a route loses, and to whom.
pub(crate) type Lost = BTreeMap<ListenerKey, ObjectKey>;

/// The routes whose verdict differs between two results.
pub(crate) fn changed(before: &Losers, after: &Losers) -> BTreeSet<ObjectKey> {
    let differs = |key: &&ObjectKey| before.get(*key) != after.get(*key);
    before.keys().chain(after.keys()).filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Name;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn rivals(routes: &[(Kind, &str, &[&str])]) -> Rivals {
        let mut rivals = Rivals::default();
        for (kind, name, hostnames) in routes {
            let seniority = Seniority::of(&ObjectMeta::default(), &Name::new("ns", name));
            let hostnames = hostnames.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
            rivals.add(ObjectKey::new(*kind, "ns", name), seniority, hostnames);
        }
        rivals
    }

    #[test]
    fn of_two_kinds_with_a_common_host_exactly_the_older_has_it() {
        let rivals = rivals(&[
            (Kind::HTTPRoute, "a", &["a.com"]),
            (Kind::GRPCRoute, "b", &["*.com"]),
            (Kind::HTTPRoute, "c", &["c.com"]),
            (Kind::GRPCRoute, "d", &["d.org"]),
        ]);
        let losers = rivals.losers();
        let shown: Vec<_> = losers.iter().map(|(loser, winner)| (&*loser.name, &*winner.name)).collect();
        assert_eq!(shown, [("b", "a")], "and c keeps its host, for b has none");
    }

    #[test]
    fn routes_of_one_kind_are_no_rivals() {
        let rivals = rivals(&[(Kind::HTTPRoute, "a", &["a.com"]), (Kind::HTTPRoute, "b", &["a.com"])]);
        assert!(rivals.losers().is_empty());
    }
}
