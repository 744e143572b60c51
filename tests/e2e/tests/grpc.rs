//! gRPC with grpcio on both sides: every kind of call, trailers, deadlines, and errors of ours that gRPC understands.

use ringway_e2e::{Authority, Builder, Driver, Port, free_port, manifest, on_both_drivers, peer};
use serde_json::{Value, json};

on_both_drivers!(
    every_kind_of_call_works_without_tls,
    every_kind_of_call_works_over_tls,
    every_kind_of_call_works_to_a_backend_with_tls,
);

/// Routes `peer.Echo` to a Service `echo` and `peer.Away` to a Service without endpoints.
fn objects(listener: Value, server: &Port, protocol: Option<&str>) -> Vec<Value> {
    let endpoint = ([127, 0, 0, 1], server.number()).into();
    let mut objects = manifest::service_speaking("echo", &[endpoint], protocol);
    objects.extend(manifest::service_speaking("away", &[], Some("kubernetes.io/h2c")));
    objects.push(manifest::gateway(json!([listener])));
    let rule = |service: &str, backend: &str| {
        json!({
            "matches": [{"method": {"service": service}}],
            "backendRefs": [{"name": backend, "port": 80}],
        })
    };
    let rules = json!([rule("peer.Echo", "echo"), rule("peer.Away", "away")]);
    objects.push(manifest::route("GRPCRoute", "grpc", rules));
    objects
}

fn every_kind_of_call_works_without_tls(driver: Driver) {
    let port = free_port();
    let (server, _server) = peer::serve("grpc_server.py", [""; 0]);
    let listener = json!({"name": "h2c", "port": port.number(), "protocol": "HTTP"});
    let _gateway = Builder::new(driver).start(&objects(listener, &server, Some("kubernetes.io/h2c")));
    let mut client = peer::script("grpc_client.py");
    let shown = peer::run_well(client.arg(format!("127.0.0.1:{}", port.number())));
    assert!(shown.ends_with("grpc: 11 passed, 0 failed\n"), "{shown}");
}

fn every_kind_of_call_works_over_tls(driver: Driver) {
    let port = free_port();
    let authority = Authority::new("authority");
    let (server, _server) = peer::serve("grpc_server.py", [""; 0]);
    let mut objects =
        objects(manifest::https_listener("https", port.number(), "edge"), &server, Some("kubernetes.io/h2c"));
    objects.push(manifest::secret("edge", &authority.sign(&["grpc.test"])));
    let gateway = Builder::new(driver).start(&objects);
    let pem = gateway.folder().join("authority.pem");
    std::fs::write(&pem, &authority.pem).unwrap();
    let mut client = peer::script("grpc_client.py");
    client.arg(format!("127.0.0.1:{}", port.number())).arg(&pem).arg("grpc.test");
    let shown = peer::run_well(&mut client);
    assert!(shown.ends_with("grpc: 11 passed, 0 failed\n"), "{shown}");
}

fn every_kind_of_call_works_to_a_backend_with_tls(driver: Driver) {
    let port = free_port();
    let authority = Authority::new("authority");
    let folder = ringway_e2e::Folder::new();
    authority.sign(&["echo.test"]).write(folder.path(), "echo");
    let files = ["echo.crt", "echo.key"].map(|name| folder.path().join(name));
    let (server, _server) = peer::serve("grpc_server.py", &files);
    let listener = json!({"name": "h2c", "port": port.number(), "protocol": "HTTP"});
    let mut objects = objects(listener, &server, None);
    objects.push(manifest::authority("authority", &authority.pem));
    objects.push(manifest::backend_tls("echo", "echo.test", "authority"));
    let _gateway = Builder::new(driver).start(&objects);
    let mut client = peer::script("grpc_client.py");
    let shown = peer::run_well(client.arg(format!("127.0.0.1:{}", port.number())));
    assert!(shown.ends_with("grpc: 11 passed, 0 failed\n"), "{shown}");
}
