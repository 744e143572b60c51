//! One Gateway, one HTTPRoute: what everything else in these suites takes for granted.

use ringway_e2e::{Backend, Connection, Driver, Gateway, free_port, manifest, on_both_drivers};

on_both_drivers!(a_request_reaches_its_backend_and_the_next_one_on_the_same_connection);

fn a_request_reaches_its_backend_and_the_next_one_on_the_same_connection(driver: Driver) {
    let port = free_port();
    let backend = Backend::echo("app");
    let mut objects = manifest::service("app", &[backend.address]);
    objects.extend([manifest::http_gateway(port.number()), manifest::to_service("app")]);
    let gateway = Gateway::start(driver, &objects);

    let mut client = Connection::open(("127.0.0.1", port.number()));
    for path in ["/", "/a?b=c", "/third"] {
        let answer = client.get("app.test", path);
        assert_eq!(answer.status, 200, "{answer:?}");
        let facts = answer.json();
        assert_eq!((&facts["backend"], &facts["target"]), (&"app".into(), &path.into()));
    }
    assert_eq!(backend.connections(), 1, "an upstream connection is used again");
    let mut client = Connection::open(("::1", port.number()));
    let facts = client.get("app.test", "/six").json();
    assert_eq!(facts["backend"], "app", "without addresses of its own a gateway has both families");
    assert!(facts["fields"].as_array().unwrap().contains(&serde_json::json!(["x-forwarded-for", "::1"])));
    assert!(gateway.stop().success());
}
