//! The demo backend: answers every request with what it was, as JSON. For examples and for trying routes out.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::http::{self, Answer, Service};

/// The longest request body that is read; larger ones are answered 413.
const BODY_BYTES_MAX: usize = 1 << 20;

/// More than a proxy keeps idle.
const CONNECTIONS_MAX: usize = 1024;

/// Says what a request was.
struct Echo {
    address: SocketAddr,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    http::serve(listener, CONNECTIONS_MAX, Arc::new(Echo { address })).await;
    Ok(())
}

impl Service for Echo {
    async fn answer(&self, request: Request<Incoming>, client: SocketAddr) -> Answer {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return http::answer(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "the body is too long\n");
        };
        let mut headers = Map::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
            values.as_array_mut().into_iter().for_each(|values| values.push(Value::String(value.clone())));
        }
        let facts = json!({
            "backend": format!("ringway demo backend on {}", self.address),
            "method": head.method.as_str(),
            "path": head.uri.path(),
            "query": head.uri.query().unwrap_or_default(),
            "version": format!("{:?}", head.version),
            "host": head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default(),
            "headers": headers,
            "bodyBytes": body.to_bytes().len(),
            "connectedFrom": client.to_string(),
        });
        http::answer(StatusCode::OK, "application/json", format!("{facts:#}\n"))
    }
}
