//! The hub as what serves the proxies of a cluster's Gateways.

use std::collections::BTreeSet;
use std::future::Future;

use ringway_config::{Delta, GatewayKey, ListenerKey};
use ringway_gateway_api::objects::Kind;
use ringway_gateway_api::world::Name;

use super::follow::Serving;
use super::status::programmed::Progress;
use crate::serve::{Generation, Hub, Position};

impl Serving for Hub {
    fn publish(&self, delta: Delta, positions: Vec<(Kind, u64)>) -> u64 {
        Hub::publish(self, delta, positions.into_iter().map(position).collect()).0
    }

    fn reached(&self, positions: Vec<(Kind, u64)>) {
        Hub::reached(self, positions.into_iter().map(position).collect());
    }

    fn progress(&self, gateway: &Name, published: u64) -> Progress {
        let key = GatewayKey::new(gateway.to_string());
        let mut progress = Progress::default();
        for proxy in self.proxies().into_iter().filter(|proxy| proxy.gateway == key) {
            let has = proxy.acknowledged.is_some_and(|acknowledged| acknowledged >= Generation(published));
            let pods = if has { &mut progress.have } else { &mut progress.lag };
            pods.insert(proxy.pod.to_string());
            progress.refused.extend(proxy.refusals.iter().map(|(key, why)| format!("{key:?}: {why}")));
            progress.unbound.extend(own(&proxy.failed_binds, gateway));
        }
        progress
    }

    fn changed(&self) -> impl Future<Output = ()> + Send {
        Hub::changed(self)
    }
}

fn position((kind, at): (Kind, u64)) -> Position {
    Position { kind: kind.as_str().to_owned(), resource_version: at.to_string() }
}

/// The Gateway's own listeners of those that have no socket, by their names there.
fn own(failed: &[(ListenerKey, String)], gateway: &Name) -> BTreeSet<(String, String)> {
    let prefix = format!("{}/{gateway}/", Kind::Gateway);
    let named = |(key, why): &(ListenerKey, String)| {
        Some((key.as_str().strip_prefix(&prefix)?.to_owned(), why.clone()))
    };
    failed.iter().filter_map(named).collect()
}
