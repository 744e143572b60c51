//! Translation: 5,000 HTTPRoutes to 500 Services behind one Gateway, from nothing and step by step.

#[path = "samples/objects.rs"]
mod objects;

use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ringway_gateway_api::translate::{Slices, translate};
use ringway_gateway_api::{Changes, Object, Translator, World};

use self::objects::{SERVICES, objects, options, route, slice};

const ROUTES: usize = 5_000;

fn from_nothing(criterion: &mut Criterion) {
    let objects = objects(ROUTES);
    let (world, slices) = (World::of(&objects), Slices::of_objects(&objects));
    criterion.bench_function(&format!("translate_from_nothing/{ROUTES}"), |bencher| {
        bencher.iter(|| translate(&world, &slices, &options()));
    });
    criterion.bench_function(&format!("translator_first_apply/{ROUTES}"), |bencher| {
        let changes = || Changes::all(objects.clone());
        bencher.iter_batched(
            changes,
            |changes| {
                let mut translator = Translator::new(options());
                translator.apply(changes);
                translator
            },
            BatchSize::LargeInput,
        );
    });
}

fn step_by_step(criterion: &mut Criterion) {
    let mut translator = Translator::new(options());
    translator.apply(Changes::all(objects(ROUTES)));
    let mut version = 1;
    let mut changed = |name: &str, change: &dyn Fn(usize) -> Object| {
        criterion.bench_function(&format!("{name}/{ROUTES}"), |bencher| {
            bencher.iter_batched(
                || {
                    version += 1;
                    Changes::all([change(version)])
                },
                |changes| {
                    let delta = translator.apply(changes);
                    assert!(!delta.resources.is_empty());
                    delta
                },
                BatchSize::SmallInput,
            );
        });
    };
    changed("translate_one_route", &|version| route(ROUTES / 2, version));
    changed("translate_one_endpoint", &|version| slice(SERVICES / 2, version));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = from_nothing, step_by_step
}
criterion_main!(benches);
