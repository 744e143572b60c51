//! Translation: 5,000 HTTPRoutes to 500 Services behind one Gateway, from nothing and step by step.

use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ringway_gateway_api::translate::{Slices, translate};
use ringway_gateway_api::{Changes, Object, Options, Translator, World};
use serde_json::{Value, json};

const ROUTES: usize = 5_000;
const SERVICES: usize = 500;

fn object(value: Value) -> Object {
    Object::decode(value).expect("decodes").expect("is of a kind that we read")
}

fn gateway() -> Object {
    object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "gatewayClassName": "ringway",
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
        },
    }))
}

fn route(index: usize, version: usize) -> Object {
    object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": format!("app-{index}"), "namespace": "default", "generation": version },
        "spec": {
            "parentRefs": [{ "name": "web" }],
            "hostnames": [format!("app-{index}.example.com")],
            "rules": [{
                "matches": [{ "path": { "type": "PathPrefix", "value": "/api" } }],
                "filters": [{
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier": { "set": [{ "name": "x-version", "value": version.to_string() }] },
                }],
                "backendRefs": [{ "name": format!("app-{}", index % SERVICES), "port": 80 }],
                "timeouts": { "request": "10s" },
            }],
        },
    }))
}

fn service(index: usize) -> Object {
    object(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": format!("app-{index}"), "namespace": "default" },
        "spec": { "ports": [{ "port": 80 }] },
    }))
}

fn slice(index: usize, endpoint: usize) -> Object {
    object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("app-{index}"), "namespace": "default",
            "labels": { "kubernetes.io/service-name": format!("app-{index}") },
        },
        "ports": [{ "port": 3000 }],
        "endpoints": [{ "addresses": [format!("10.{}.{}.{}", index / 256, index % 256, endpoint % 256)] }],
    }))
}

fn objects() -> Vec<Object> {
    let services = (0..SERVICES).flat_map(|index| [service(index), slice(index, 1)]);
    std::iter::once(gateway()).chain(services).chain((0..ROUTES).map(|index| route(index, 1))).collect()
}

fn options() -> Options {
    Options::standalone(vec!["127.0.0.1".parse().expect("an address")])
}

fn from_nothing(criterion: &mut Criterion) {
    let objects = objects();
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
    translator.apply(Changes::all(objects()));
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
