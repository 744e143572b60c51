//! Keeps the endpoints of clusters that are named by DNS as their names resolve.
//!
//! Each core asks for itself, off the data path. An answer replaces the endpoints; without one the last good ones stay, and
//! the question is asked again, ever less often. The task of a cluster ends with it, or when its endpoints are listed.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::Endpoint;

use crate::cluster::Cluster;
use crate::env::Env;
use crate::race::{First, race};
use crate::worker::Worker;

/// From an answer to the next question. The machine's resolver does not say how long an answer holds; Envoy asks as often.
const REFRESH: Duration = Duration::from_secs(5);
/// From the first failure to the next question; doubles with each further one, up to `BACKOFF_MAX`.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Resolves a cluster's name again and again, for as long as it has one.
pub(crate) async fn keep<E: Env>(worker: Rc<Worker<E>>, cluster: Rc<Cluster<E>>) {
    let mut failures = 0;
    while let Some((host, port)) = cluster.name() {
        let answer = worker.env.resolve(&host).await;
        // The configuration may have changed while the answer was awaited.
        if cluster.name() != Some((Arc::clone(&host), port)) {
            failures = 0;
            continue;
        }
        match answer {
            Ok(found) => {
                failures = 0;
                let mut endpoints: Vec<_> =
                    found.into_iter().map(|ip| Endpoint { address: SocketAddr::new(ip, port) }).collect();
                endpoints.sort_unstable();
                cluster.resolved(&endpoints);
                worker.watch_endpoints(&cluster);
            }
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, %host, "a name does not resolve; what it resolved to before stays");
            }
        }
        cluster.asked();
        let until = worker.env.now() + pause(failures, worker.env.draw());
        match race(worker.env.sleep_until(until), cluster.renamed()).await {
            First::One(()) | First::Two(()) => {}
        }
    }
    cluster.set_kept(false);
}

/// How long to wait after so many failures in a row. Up to half is added by chance, so that cores and proxies that began
/// together do not ask together for ever.
fn pause(failures: u32, draw: u64) -> Duration {
    let least = match failures {
        0 => REFRESH,
        failures => BACKOFF.saturating_mul(1 << (failures - 1).min(10)).min(BACKOFF_MAX),
    };
    least + (least / 2).mul_f64((draw >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_refreshed_and_failures_asked_again_ever_less_often() {
        let table = [(0, 5), (1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (7, 30), (u32::MAX, 30)];
        for (failures, seconds) in table {
            let least = Duration::from_secs(seconds);
            assert_eq!(pause(failures, 0), least);
            let most = pause(failures, u64::MAX);
            assert!(most > least * 7 / 5 && most <= least * 3 / 2, "{most:?}");
        }
    }
}
