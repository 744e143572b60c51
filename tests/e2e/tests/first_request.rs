//! One Gateway, one HTTPRoute: what everything else in these suites takes for granted.

use std::io::Read;
use std::net::TcpListener;

use ringway_e2e::{
    Backend, Builder, Connection, DEADLINE, Driver, Gateway, eventually, free_port, manifest, on_both_drivers,
};

on_both_drivers!(
    a_request_reaches_its_backend_and_the_next_one_on_the_same_connection,
    clients_that_are_gone_hold_nothing_of_a_backend_that_hangs,
);

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

/// Clients at a time.
const CLIENTS: usize = 20;

fn clients_that_are_gone_hold_nothing_of_a_backend_that_hangs(driver: Driver) {
    let port = free_port();
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut objects = manifest::service("app", &[hanging.local_addr().unwrap()]);
    objects.extend([manifest::http_gateway(port.number()), manifest::to_service("app")]);
    let most = format!("connections_max={CLIENTS}");
    let gateway = Builder::new(driver).arguments(["--limit", &most]).start(&objects);

    // The second round has no place before the first one has gone.
    for _ in 0..2 {
        let mut clients: Vec<_> =
            (0..CLIENTS).map(|_| Connection::open(("127.0.0.1", port.number()))).collect();
        let upstream: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n");
                let (mut stream, _) = hanging.accept().unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "the request");
                stream
            })
            .collect();
        assert_eq!(gateway.metric("ringway_connections_active", ""), CLIENTS as f64);
        clients.into_iter().for_each(Connection::reset);
        for mut stream in upstream {
            assert_eq!(stream.read(&mut [0; 4096]).unwrap(), 0, "nobody waits for the answer");
        }
        for metric in ["ringway_connections_active", "ringway_upstream_connections_active"] {
            eventually(metric, || (gateway.metric(metric, "") == 0.0).then_some(()));
        }
    }
    assert!(gateway.stop().success());
}
