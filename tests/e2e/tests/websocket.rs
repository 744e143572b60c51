//! WebSockets with the `websockets` package on both sides, over HTTP/1.1 and, scripted, over HTTP/2 (RFC 8441); and
//! with nginx between the gateway and the server.

use ringway_e2e::{Authority, Builder, Driver, Port, free_port, manifest, on_both_drivers, peer};
use serde_json::{Value, json};

on_both_drivers!(
    messages_pass_over_http_1,
    messages_pass_over_tls,
    messages_pass_through_nginx_behind_the_gateway,
    messages_pass_over_http_2,
    messages_pass_over_http_2_with_tls,
);

fn objects(listener: Value, server: &Port) -> Vec<Value> {
    let mut objects = manifest::service("chat", &[([127, 0, 0, 1], server.number()).into()]);
    objects.push(manifest::gateway(json!([listener])));
    objects.push(manifest::to_service("chat"));
    objects
}

fn plain(port: &Port) -> Value {
    json!({"name": "http", "port": port.number(), "protocol": "HTTP"})
}

fn messages_pass_over_http_1(driver: Driver) {
    let port = free_port();
    let (server, _server) = peer::serve("websocket_server.py", [""; 0]);
    let _gateway = Builder::new(driver).start(&objects(plain(&port), &server));
    let mut client = peer::script("websocket_client.py");
    peer::run_well(client.arg(format!("ws://127.0.0.1:{}/chat", port.number())));
}

fn messages_pass_over_tls(driver: Driver) {
    let port = free_port();
    let authority = Authority::new("authority");
    let (server, _server) = peer::serve("websocket_server.py", [""; 0]);
    let mut objects = objects(manifest::https_listener("https", port.number(), "edge"), &server);
    objects.push(manifest::secret("edge", &authority.sign(&["localhost"])));
    let gateway = Builder::new(driver).start(&objects);
    let pem = gateway.folder().join("authority.pem");
    std::fs::write(&pem, &authority.pem).unwrap();
    let mut client = peer::script("websocket_client.py");
    peer::run_well(client.arg(format!("wss://localhost:{}/chat", port.number())).arg(&pem));
}

fn messages_pass_through_nginx_behind_the_gateway(driver: Driver) {
    let port = free_port();
    let (server, _server) = peer::serve("websocket_server.py", [""; 0]);
    let http = format!(
        "server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n\
         proxy_set_header Host $host; }} }}",
        server.number()
    );
    let (nginx, _nginx) = peer::nginx(&[], &http);
    let _gateway = Builder::new(driver).start(&objects(plain(&port), &nginx));
    let mut client = peer::script("websocket_client.py");
    peer::run_well(client.arg(format!("ws://127.0.0.1:{}/chat", port.number())));
}

fn messages_pass_over_http_2(driver: Driver) {
    let port = free_port();
    let (server, _server) = peer::serve("websocket_server.py", [""; 0]);
    let _gateway = Builder::new(driver).start(&objects(plain(&port), &server));
    let mut client = peer::script("websocket_http2.py");
    peer::run_well(client.arg(port.number().to_string()).arg("chat.test"));
}

fn messages_pass_over_http_2_with_tls(driver: Driver) {
    let port = free_port();
    let authority = Authority::new("authority");
    let (server, _server) = peer::serve("websocket_server.py", [""; 0]);
    let mut objects = objects(manifest::https_listener("https", port.number(), "edge"), &server);
    objects.push(manifest::secret("edge", &authority.sign(&["chat.test"])));
    let gateway = Builder::new(driver).start(&objects);
    let pem = gateway.folder().join("authority.pem");
    std::fs::write(&pem, &authority.pem).unwrap();
    let mut client = peer::script("websocket_http2.py");
    peer::run_well(client.arg(port.number().to_string()).arg("chat.test").arg(&pem));
}
