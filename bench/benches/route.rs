//! Routing: deciding about a request, and compiling configurations of up to 5,000 routes.
//!
//! `one_host`: every route on the same hostname, so a change rebuilds the one big table: the worst case of `next`.
//! `own_hosts`: every route on a hostname of its own.

#[path = "samples/routes.rs"]
mod routes;

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ringway_core::{Compiled, Decision, RequestHead};

use self::routes::{Hosts, arrival, config, route, view};

fn decide(criterion: &mut Criterion) {
    let arrival = arrival();
    for hosts in [Hosts::One, Hosts::Own] {
        for routes in [1, 100, 5000] {
            let view = view(Compiled::from_nothing(&config(routes, hosts)));
            let mut head = RequestHead::new();
            head.set_authority(&hosts.of(routes / 2), None);
            head.set_path(&format!("/api/v1/app-{}/users/1234", routes / 2));
            assert!(matches!(view.decide(&arrival, &head, 0), Decision::Forward(_)));
            criterion.bench_function(&format!("decide/{}/{routes}", hosts.name()), |bencher| {
                bencher.iter(|| view.decide(&arrival, &head, 0));
            });
        }
    }
}

fn compile(criterion: &mut Criterion) {
    const ROUTES: usize = 5000;
    for hosts in [Hosts::One, Hosts::Own] {
        let before = config(ROUTES, hosts);
        criterion.bench_function(&format!("compile_from_nothing/{}/{ROUTES}", hosts.name()), |bencher| {
            bencher.iter(|| Compiled::from_nothing(&before));
        });
        let compiled = Compiled::from_nothing(&before);
        let mut after = before.clone();
        let changed = route(ROUTES / 2, hosts, 1);
        after.routes.insert(changed.key().clone(), changed);
        let after = Arc::new(after);
        criterion.bench_function(&format!("compile_next/{}/{ROUTES}", hosts.name()), |bencher| {
            bencher.iter(|| compiled.next(&after));
        });
        let first = view(Compiled::from_nothing(&before));
        let next = Arc::new(first.compiled().next(&after));
        criterion.bench_function(&format!("view_next/{}/{ROUTES}", hosts.name()), |bencher| {
            bencher.iter_batched(|| Arc::clone(&next), |next| first.next(next), BatchSize::SmallInput);
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = decide, compile
}
criterion_main!(benches);
