//! Clusters whose endpoints are found by name, on both drivers.

mod common;

use common::{Setup, field, response, serving, status, to};
use ringway_config::EndpointSource;
use ringway_proxy::io::Driver;

fn named(host: &str, port: u16) -> Setup {
    let source = EndpointSource::Dns { host: host.into(), port };
    Setup::new().cluster_from("app", source, |_| {}).http(vec![to("app")])
}

on_both_drivers! {
    fn the_first_request_waits_until_the_name_is_resolved(driver: Driver) {
        let backend = serving(|_| response(200, "hello"));
        let gate = named("localhost", backend.port()).serve(driver);
        let mut client = gate.client();
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
            let (head, body) = client.response();
            assert_eq!((status(&head), body.as_str()), (200, "hello"));
        }
    }

    fn a_name_that_does_not_resolve_is_no_endpoint_until_the_configuration_names_another(driver: Driver) {
        let backend = serving(|head| response(200, field(head, "host").unwrap()));
        let mut gate = named("nowhere.invalid", backend.port()).serve(driver);
        let mut client = gate.client();
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (503, "no_healthy_upstream"));
        gate.apply(named("localhost", backend.port()));
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let (head, body) = client.response();
        assert_eq!((status(&head), body.as_str()), (200, "a.test"));
        // The addresses of the old name are not the new one's.
        gate.apply(named("elsewhere.invalid", backend.port()));
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(status(&client.response().0), 503);
        gate.apply(Setup::new().cluster("app", &[]));
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(status(&client.response().0), 503);
    }
}
