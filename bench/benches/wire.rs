//! The contract between controller and proxies: what one resource costs to encode, to know by its hash and to believe.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_config::{Endpoint, EndpointSet, EndpointSetKey, EndpointSource, Resource};
use ringway_wire::{Version, decode, encode};

/// The endpoints of a Service of usual size.
const ENDPOINTS: u8 = 10;

fn endpoint_set() -> Resource {
    let endpoint = |last: u8| Endpoint { address: ([10, 0, 0, last], 8080).into() };
    let key = EndpointSetKey::new("Service/default/app/80");
    let source = EndpointSource::Listed((1..=ENDPOINTS).map(endpoint).collect());
    Resource::EndpointSet(Arc::new(EndpointSet { key, source }))
}

fn endpoints(c: &mut Criterion) {
    let resource = endpoint_set();
    let bytes = encode(&resource);
    // What a proxy is sent when one of them changes, beside the few bytes of a batch.
    assert!(bytes.len() <= 150, "{} bytes", bytes.len());
    c.bench_function("wire/encode 10 endpoints", |b| b.iter(|| encode(&resource)));
    c.bench_function("wire/version of 10 endpoints", |b| b.iter(|| Version::of(&bytes)));
    c.bench_function("wire/decode 10 endpoints", |b| {
        b.iter(|| decode(bytes.clone()).expect("it was encoded"))
    });
}

criterion_group!(benches, endpoints);
criterion_main!(benches);
