//! One request through real sockets, on both drivers: the smoke test of the whole data plane.

mod common;

use std::time::Duration;

use common::{Server, Setup, status, to};
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;

on_both_drivers! {
    fn serves_requests_on_one_connection(driver: Driver) {
        let backend = Server::listen();
        let setup = Setup::new().cluster("app", &[backend.address]).http(vec![to("app")]);
        let mut gate = setup.serve_with(driver, 2, Settings::default());
        let mut client = gate.client();
        let mut server = None;
        for path in ["/", "/a?b=c", "/third"] {
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
            let server = server.get_or_insert_with(|| backend.accept());
            assert!(server.head().starts_with(&format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n")));
            server.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()));
            let (head, body) = client.response();
            assert_eq!((status(&head), body.as_str()), (200, path));
        }
        assert!(backend.is_unused(), "one connection is enough");
        assert!(gate.proxy.drain(Duration::from_secs(10)), "an idle connection is no reason to wait");
    }
}
