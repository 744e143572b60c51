//! What 5,000 routes cost: memory of the process after the start and after a thousand changes, and how fast they are
//! in force.
//!
//! The routes lead to 100 Services with an endpoint each. Each change alters a rule and an endpoint, as in `churn`.
//! Memory is that of the process as the kernel counts it, the binary's own pages among it.

use std::net::SocketAddr;
use std::time::Duration;

use ringway_e2e::{
    Builder, Connection, Driver, Gateway, eventually, figure, free_port, manifest, on_both_drivers,
};
use serde_json::{Value, json};

on_both_drivers!(five_thousand_routes_take_forty_mebibytes_now_and_after_a_thousand_changes);

const ROUTES: usize = 5_000;
const SERVICES: usize = 100;
const CHANGES: u32 = 1_000;
/// The goal.
const RESIDENT_BYTES_MAX: u64 = 40 << 20;
/// Between two changes: none waits for the one before.
const PAUSE: Duration = Duration::from_millis(10);

fn objects(port: u16) -> Vec<Value> {
    let endpoint =
        |number: usize| -> SocketAddr { ([127, 1, (number / 200) as u8, (number % 200) as u8], 9).into() };
    let services =
        (0..SERVICES).flat_map(|number| manifest::service(&format!("service-{number}"), &[endpoint(number)]));
    let route = |number: usize| {
        let mut route = manifest::route(
            "HTTPRoute",
            &format!("route-{number}"),
            json!([{
                "matches": [{"path": {"type": "PathPrefix", "value": format!("/{number}")}}],
                "backendRefs": [{"name": format!("service-{}", number % SERVICES), "port": 80}],
            }]),
        );
        route["spec"]["hostnames"] = json!([format!("host-{number}.test")]);
        route
    };
    std::iter::once(manifest::http_gateway(port)).chain(services).chain((0..ROUTES).map(route)).collect()
}

/// A route that answers by itself with its version, and a Service whose endpoint moves with it.
fn hot(version: u32) -> Vec<Value> {
    let [_, _, high, low] = version.to_be_bytes();
    let mut objects = manifest::service("hot", &[([127, 2, high, low], 9).into()]);
    let mut route = manifest::route(
        "HTTPRoute",
        "hot",
        json!([
            {
                "matches": [{"path": {"type": "Exact", "value": "/version"}}],
                "filters": [{
                    "type": "RequestRedirect",
                    "requestRedirect": {"hostname": format!("version-{version}.test")},
                }],
            },
            {"backendRefs": [{"name": "hot", "port": 80}]},
        ]),
    );
    route["spec"]["hostnames"] = json!(["hot.test"]);
    objects.push(route);
    objects
}

/// What the process holds once it has given back what it does not need. It does so when changes have rested for a
/// second.
fn resident(gateway: &Gateway) -> u64 {
    eventually("40 MiB hold 5,000 routes", || {
        Some(gateway.resident_bytes()).filter(|bytes| *bytes <= RESIDENT_BYTES_MAX)
    })
}

fn five_thousand_routes_take_forty_mebibytes_now_and_after_a_thousand_changes(driver: Driver) {
    // Both drivers want the whole machine.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let port = free_port();
    let gateway = Builder::new(driver).file("hot.yaml", &hot(0)).start(&objects(port.number()));
    let mut client = Connection::open(("127.0.0.1", port.number()));
    let answer = client.get("host-4999.test", "/4999");
    assert_eq!(answer.status, 503, "the route is there, its endpoint is not: {answer:?}");
    let first = resident(&gateway);

    for version in 1..=CHANGES {
        gateway.set("hot.yaml", &hot(version));
        std::thread::sleep(PAUSE);
    }
    let last = format!("version-{CHANGES}.test");
    eventually("the last change is in force", || {
        let answer = client.get("hot.test", "/version");
        answer.field("location").is_some_and(|location| location.contains(&last)).then_some(())
    });
    let after = resident(&gateway);

    let name = |what: &str| format!("{what}, {driver:?}, {ROUTES} routes, {SERVICES} services");
    let log = gateway.log();
    let live = log.lines().find(|line| line.contains("configuration is live")).unwrap_or_default();
    let took = live.split("took=").nth(1).unwrap_or_default();
    figure("routes_memory", &name("translated and in force from nothing"), took);
    figure("routes_memory", &name("resident KiB after the start"), first >> 10);
    figure("routes_memory", &name(&format!("resident KiB after {CHANGES} changes")), after >> 10);
    figure("routes_memory", &name("configurations in force"), gateway.generation());
}
