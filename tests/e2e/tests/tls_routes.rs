//! TLSRoute: passed on as it is or terminated, both on one port, by the name that the client asks for.

use ringway_e2e::{Authority, Connection, Driver, Gateway, free_port, manifest, on_both_drivers, peer};
use serde_json::json;

on_both_drivers!(passing_on_and_terminating_share_a_port);

fn passing_on_and_terminating_share_a_port(driver: Driver) {
    let port = free_port();
    let (backends, ours) = (Authority::new("of the backend"), Authority::new("of the gateway"));
    let identity = backends.sign(&["through.test"]);
    let http = "server { listen 127.0.0.1:PORT ssl; ssl_certificate ROOT/a.crt; ssl_certificate_key ROOT/a.key;\n\
                location / { return 200 \"passed on to $ssl_server_name\"; } }";
    let files: &[(&str, &[u8])] = &[("a.crt", identity.cert.as_bytes()), ("a.key", identity.key.as_bytes())];
    let (secure, _secure) = peer::nginx(files, http);
    let http = "server { listen 127.0.0.1:PORT; location / { return 200 \"terminated for $host\"; } }";
    let (plain, _plain) = peer::nginx(&[], http);

    let mut objects = manifest::service("secure", &[([127, 0, 0, 1], secure.number()).into()]);
    objects.extend(manifest::service("plain", &[([127, 0, 0, 1], plain.number()).into()]));
    objects.push(manifest::secret("edge", &ours.sign(&["ended.test"])));
    objects.push(manifest::gateway(json!([
        {"name": "through", "port": port.number(), "protocol": "TLS", "hostname": "through.test",
         "tls": {"mode": "Passthrough"}},
        {"name": "ended", "port": port.number(), "protocol": "TLS", "hostname": "ended.test",
         "tls": {"mode": "Terminate", "certificateRefs": [{"name": "edge"}]}},
    ])));
    for (section, service) in [("through", "secure"), ("ended", "plain")] {
        let mut route =
            manifest::route("TLSRoute", section, json!([{"backendRefs": [{"name": service, "port": 80}]}]));
        route["spec"]["parentRefs"][0]["sectionName"] = section.into();
        route["spec"]["hostnames"] = json!([format!("{section}.test")]);
        objects.push(route);
    }
    let _gateway = Gateway::start(driver, &objects);
    let address = ([127, 0, 0, 1], port.number()).into();
    for _ in 0..4 {
        let mut client = Connection::open_tls(address, "through.test", backends.client(&[], None));
        assert_eq!(client.get("through.test", "/").text(), "passed on to through.test");
        let mut client = Connection::open_tls(address, "ended.test", ours.client(&[], None));
        assert_eq!(client.get("ended.test", "/").text(), "terminated for ended.test");
    }
    let mut client = Connection::open_tls(address, "nobody.test", ours.client(&[], None));
    assert!(client.try_get("nobody.test", "/").is_err(), "nobody serves this name");
}
