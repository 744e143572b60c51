//! HAProxy in front, telling the client's address by PROXY protocol, versions 1 and 2.

use std::net::SocketAddr;

use ringway_e2e::{Backend, Connection, Driver, Gateway, free_port, manifest, on_both_drivers, peer};
use serde_json::{Value, json};

on_both_drivers!(the_address_that_haproxy_tells_is_the_clients, without_the_header_nobody_is_served);

fn objects(port: u16, backend: SocketAddr) -> Vec<Value> {
    let mut objects = manifest::service("app", &[backend]);
    let mut gateway = manifest::gateway(json!([{"name": "http", "port": port, "protocol": "HTTP"}]));
    gateway["metadata"]["annotations"] = json!({"ringway.dev/proxy-protocol": "http"});
    objects.extend([gateway, manifest::to_service("app")]);
    objects
}

fn the_address_that_haproxy_tells_is_the_clients(driver: Driver) {
    for version in ["send-proxy", "send-proxy-v2"] {
        let port = free_port();
        let backend = Backend::echo("app");
        let _gateway = Gateway::start(driver, &objects(port.number(), backend.address));
        let sections = format!(
            "frontend f\n  mode tcp\n  bind 127.0.0.1:PORT\n  default_backend b\n\
             backend b\n  mode tcp\n  server s 127.0.0.1:{} {version}\n",
            port.number()
        );
        let (front, _haproxy) = peer::haproxy(&[], &sections);
        let url = format!("http://127.0.0.1:{}/", front.number());
        // From an address that is neither HAProxy's nor ours.
        let shown = peer::run_well(peer::curl().args(["--interface", "127.0.0.77", &url]));
        let facts: Value = serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
        let fields = facts["fields"].as_array().unwrap();
        assert!(fields.contains(&json!(["x-forwarded-for", "127.0.0.77"])), "{version}: {facts}");
        let twice = peer::run_well(peer::curl().args(["--interface", "127.0.0.78", &url, &url]));
        assert_eq!(twice.matches("for=127.0.0.78;").count(), 2, "{version}: {twice}");
    }
}

fn without_the_header_nobody_is_served(driver: Driver) {
    let port = free_port();
    let backend = Backend::echo("app");
    let _gateway = Gateway::start(driver, &objects(port.number(), backend.address));
    let mut client = Connection::open(("127.0.0.1", port.number()));
    let answer = client.try_get("app.test", "/");
    assert!(answer.map_or(true, |answer| answer.status == 400), "what it may send is no header");
    assert_eq!(backend.requests(), 0);
}
