//! The admin server: is it ready, what does it do, how is it doing. Read-only, and on loopback unless told otherwise.
//!
//! It runs on the control thread: a scrape never takes time from traffic.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use ringway_config::Config;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::args::meant::Admin;
use crate::http::{self, Answer, Service};

/// Connections on one address of the admin server.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// What the admin server can ask the rest of the process.
pub(crate) trait Facts: Send + Sync + 'static {
    /// Whether traffic should be sent here.
    fn readiness(&self) -> Readiness;
    /// What is in force here; `None`: nothing is, this process carries no traffic.
    fn config(&self) -> Option<Arc<Config>>;
    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;
    /// The statuses of all objects and what is wrong with their files.
    fn status(&self) -> Value;
}

/// Whether traffic should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The first configuration is not in force yet.
    Starting,
    Ready,
    /// No new connections, please.
    Draining,
}

/// Opens the admin server's sockets. An address that was not asked for by name may be missing.
pub(crate) async fn bind(admins: &[Admin]) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for admin in admins {
        match TcpListener::bind(admin.address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if admin.optional => {
                tracing::debug!(address = %admin.address, %error, "no admin server there");
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "the admin server cannot listen on {}; choose another address with --admin-addr, or `off`",
                        admin.address
                    )
                });
            }
        }
    }
    Ok(listeners)
}

/// The service behind these sockets.
pub(crate) struct AdminServer<F>(pub(crate) Arc<F>);

impl<F: Facts> Service for AdminServer<F> {
    async fn answer(&self, request: Request<Incoming>, _client: SocketAddr) -> Answer {
        let facts = Arc::clone(&self.0);
        // A probe waits for nothing else.
        if matches!(request.uri().path(), "/live" | "/ready") {
            return respond(request.method(), request.uri().path(), None, &*facts);
        }
        // Cores are asked for their counts, and a large configuration takes a while to show: not on this thread.
        let answer = move || respond(request.method(), request.uri().path(), request.uri().query(), &*facts);
        tokio::task::spawn_blocking(answer).await.unwrap_or_else(|error| {
            tracing::error!(%error, "an answer of the admin server failed");
            http::answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "failed; the log says why\n")
        })
    }
}

const INDEX: &str = "\
/ready    200 if traffic should be sent here
/live     200 if the process answers
/metrics  Prometheus text
/config   what is in force, secrets redacted (?format=json)
/status   conditions of all objects, and what is wrong with their files (?format=json)
";

const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text format, by its content type.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn respond(method: &Method, path: &str, query: Option<&str>, facts: &impl Facts) -> Answer {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let known = matches!(path, "/" | "/ready" | "/live" | "/metrics" | "/config" | "/status");
    if !known {
        return http::answer(StatusCode::NOT_FOUND, TEXT, format!("not here; there is\n{INDEX}"));
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut answer = http::answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/ready" => match facts.readiness() {
            Readiness::Ready => http::answer(StatusCode::OK, TEXT, "ready\n"),
            Readiness::Starting => http::answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting\n"),
            Readiness::Draining => http::answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n"),
        },
        "/live" => http::answer(StatusCode::OK, TEXT, "live\n"),
        "/metrics" => http::answer(StatusCode::OK, METRICS, facts.metrics()),
        "/config" => match facts.config() {
            Some(config) => value(&*config, query),
            None => {
                http::answer(StatusCode::NOT_FOUND, TEXT, "this process carries no traffic; ask a proxy\n")
            }
        },
        "/status" => value(&facts.status(), query),
        _ => http::answer(StatusCode::OK, TEXT, INDEX),
    }
}

fn value(value: &impl Serialize, query: Option<&str>) -> Answer {
    let format =
        query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("format="));
    let (content_type, shown) = match format {
        None | Some("yaml") => ("application/yaml", crate::show::yaml(value)),
        Some("json") => ("application/json", crate::show::json(value)),
        Some(_) => return http::answer(StatusCode::BAD_REQUEST, TEXT, "format=yaml or format=json\n"),
    };
    match shown {
        Ok(shown) => http::answer(StatusCode::OK, content_type, shown),
        Err(error) => {
            tracing::error!(%error, "cannot be shown");
            http::answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "cannot be shown; the log says why\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use ringway_config::{Certificate, CertificateKey, Delta, Der, PrivateKey, Resource};

    use super::*;

    struct Fake(Readiness);

    impl Facts for Fake {
        fn readiness(&self) -> Readiness {
            self.0
        }

        fn config(&self) -> Option<Arc<Config>> {
            let certificate = Certificate {
                key: CertificateKey::new("Secret/ns/s"),
                chain: vec![Der::new(*b"chain")],
                private_key: PrivateKey::new(*b"hush-hush"),
            };
            let mut config = Config::default();
            config.apply(Delta { set: vec![Resource::Certificate(certificate.into())], removed: vec![] });
            Some(Arc::new(config))
        }

        fn metrics(&self) -> String {
            "up 1\n".to_owned()
        }

        fn status(&self) -> Value {
            serde_json::json!({"generation": 7})
        }
    }

    fn get(facts: &Fake, method: &Method, target: &str) -> (u16, String) {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let answer = respond(method, path, query, facts);
        let status = answer.status().as_u16();
        let mut body = Box::pin(answer.into_body().collect());
        // A body that is all there needs no runtime.
        let waker = std::task::Waker::noop();
        let std::task::Poll::Ready(Ok(body)) = body.as_mut().poll(&mut std::task::Context::from_waker(waker))
        else {
            panic!("a full body is ready")
        };
        (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    #[test]
    fn readiness_follows_the_life_of_the_process_and_liveness_does_not() {
        for (readiness, expected) in [
            (Readiness::Starting, (503, "starting\n")),
            (Readiness::Ready, (200, "ready\n")),
            (Readiness::Draining, (503, "draining\n")),
        ] {
            let facts = Fake(readiness);
            let (status, body) = get(&facts, &Method::GET, "/ready");
            assert_eq!((status, &*body), expected);
            assert_eq!(get(&facts, &Method::GET, "/live").0, 200);
        }
    }

    #[test]
    fn every_page_is_there_in_its_formats_and_secrets_are_not() {
        let facts = Fake(Readiness::Ready);
        for target in ["/", "/metrics", "/metrics/", "/config", "/config?format=json", "/status?format=json"]
        {
            let (status, body) = get(&facts, &Method::GET, target);
            assert_eq!(status, 200, "{target}");
            assert!(!body.contains("hush"), "{target}");
        }
        assert!(get(&facts, &Method::GET, "/config").1.contains("[redacted]"));
        assert_eq!(get(&facts, &Method::GET, "/status?format=json").1, "{\n  \"generation\": 7\n}\n");
        assert_eq!(get(&facts, &Method::GET, "/status").1, "generation: 7\n");
    }

    #[test]
    fn what_is_not_there_or_not_allowed_is_refused() {
        let facts = Fake(Readiness::Ready);
        assert_eq!(get(&facts, &Method::GET, "/nope").0, 404);
        assert_eq!(get(&facts, &Method::POST, "/config").0, 405);
        assert_eq!(get(&facts, &Method::DELETE, "/nope").0, 404);
        assert_eq!(get(&facts, &Method::GET, "/config?format=xml").0, 400);
        assert_eq!(get(&facts, &Method::HEAD, "/ready").0, 200);
    }
}
