//! Against an API server that is simulated by the requests it gets: watches that break, kinds that come and go, a history
//! that is gone, and others who write the same status.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{StreamExt, stream};
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::Frame;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use ringway_controller::kube::raw::Record;
use ringway_controller::kube::status::write::{Outcome, Task, write};
use ringway_controller::kube::store::{Heard, Store};
use ringway_controller::kube::watch::{Message, watch};
use ringway_gateway_api::objects::{Kind, ObjectKey};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::codegen::Service;

const PATIENCE: Duration = Duration::from_secs(20);

/// What an API server would keep of HTTPRoutes.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    served: bool,
    version: u64,
    routes: BTreeMap<String, Value>,
    /// What happened, with its version.
    log: Vec<(u64, Value)>,
    /// The history before this is gone.
    history_from: u64,
    watches: Vec<UnboundedSender<Bytes>>,
    lists: usize,
    conflicts: usize,
    requests: u64,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

impl Server {
    fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a route there, and tells whoever watches.
    fn put(&self, name: &str, generation: u64) {
        let mut state = self.state();
        let kind = if state.routes.contains_key(name) { "MODIFIED" } else { "ADDED" };
        state.version += 1;
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {
                "name": name, "namespace": "ns", "uid": "u", "generation": generation,
                "resourceVersion": state.version.to_string(),
            },
            "spec": {}, "status": {"parents": []},
        });
        state.routes.insert(name.to_owned(), route.clone());
        state.tell(kind, &route);
    }

    fn delete(&self, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let mut route = state.routes.remove(name).unwrap();
        route["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.tell("DELETED", &route);
    }

    /// Every watch ends in the middle.
    fn cut(&self) {
        self.state().watches.clear();
    }

    /// What happened so far can be followed no longer.
    fn forget_history(&self) {
        let mut state = self.state();
        state.version += 1;
        state.history_from = state.version;
    }

    fn answer(&self, request: &Request<Body>, body: &[u8]) -> Answer {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut state = self.state();
        let rest = match path.strip_prefix("/apis/gateway.networking.k8s.io/") {
            Some(rest) if state.served => rest,
            _ => return failure(404, "NotFound"),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        match (request.method(), &parts[..]) {
            (&Method::GET, ["v1"]) => answer(
                200,
                &json!({
                    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "gateway.networking.k8s.io/v1",
                    "resources": [{"name": "httproutes", "singularName": "", "namespaced": true, "kind": "HTTPRoute", "verbs": []}],
                }),
            ),
            (&Method::GET, ["v1", "httproutes"]) if query.contains("watch=true") => state.watch(&query),
            (&Method::GET, ["v1", "httproutes"]) => {
                // The other list is asked for its version alone.
                state.lists += usize::from(!query.split('&').any(|pair| pair == "limit=1"));
                let items: Vec<&Value> = state.routes.values().collect();
                answer(
                    200,
                    &json!({
                        "kind": "HTTPRouteList", "apiVersion": "gateway.networking.k8s.io/v1",
                        "metadata": {"resourceVersion": state.version.to_string()}, "items": items,
                    }),
                )
            }
            (&Method::GET, ["v1", "namespaces", "ns", "httproutes", name]) => match state.routes.get(*name) {
                Some(route) => answer(200, route),
                None => failure(404, "NotFound"),
            },
            (&Method::PATCH, ["v1", "namespaces", "ns", "httproutes", name, "status"]) => {
                let patch: Value = serde_json::from_slice(body).unwrap();
                state.patch(name, &patch)
            }
            _ => failure(404, "NotFound"),
        }
    }
}

impl State {
    fn tell(&mut self, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.log.push((self.version, event.clone()));
        self.watches.retain(|watch| watch.unbounded_send(line(&event)).is_ok());
    }

    fn watch(&mut self, query: &str) -> Answer {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let from: u64 = from.unwrap().parse().unwrap();
        let (said, heard) = unbounded();
        if from < self.history_from {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410});
            said.unbounded_send(line(&json!({"type": "ERROR", "object": status}))).unwrap();
        } else {
            for (_, event) in self.log.iter().filter(|(version, _)| *version > from) {
                said.unbounded_send(line(event)).unwrap();
            }
            self.watches.push(said);
        }
        let frames = heard.map(|line| Ok::<_, Infallible>(Frame::data(line)));
        Response::new(BoxBody::new(SyncStream(StreamBody::new(frames))))
    }

    /// Merges a status in, if it was made for the state that is there.
    fn patch(&mut self, name: &str, patch: &Value) -> Answer {
        let version = self.version + 1;
        let Some(route) = self.routes.get_mut(name) else { return failure(404, "NotFound") };
        if patch["metadata"]["resourceVersion"] != route["metadata"]["resourceVersion"] {
            self.conflicts += 1;
            return failure(409, "Conflict");
        }
        route["status"]["parents"] = patch["status"]["parents"].clone();
        route["metadata"]["resourceVersion"] = json!(version.to_string());
        let route = route.clone();
        self.version = version;
        answer(200, &route)
    }
}

/// A body that is polled by one task at a time.
struct SyncStream<B>(B);

impl<B: hyper::body::Body + Unpin> hyper::body::Body for SyncStream<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }
}

impl Service<Request<Body>> for Server {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let body = std::mem::replace(request.body_mut(), Body::empty()).collect_bytes().await.unwrap();
            // Others come between reading and writing, now one and now the other first.
            let turns = {
                let mut state = server.state();
                state.requests += 1;
                state.requests.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61
            };
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            Ok(server.answer(&request, &body))
        })
    }
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

fn answer(code: u16, value: &Value) -> Answer {
    let whole = stream::iter([Ok(Frame::data(Bytes::from(value.to_string())))]);
    let mut response = Response::new(BoxBody::new(SyncStream(StreamBody::new(whole))));
    *response.status_mut() = code.try_into().unwrap();
    response
}

fn failure(code: u16, reason: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code});
    answer(code, &status)
}

/// What a watch says, taken into a store.
struct Following {
    heard: mpsc::Receiver<Message>,
    store: Store,
    /// How many routes were there after each message.
    least: usize,
}

impl Following {
    fn new(server: &Server) -> Self {
        let (to, heard) = mpsc::channel(16);
        tokio::spawn(watch(server.client(), Kind::HTTPRoute, to));
        Self { heard, store: Store::default(), least: 0 }
    }

    fn routes(&self) -> Vec<(String, i64)> {
        let routes = self.store.of_kind(Kind::HTTPRoute);
        routes
            .map(|(key, held)| (key.name.to_string(), held.object.metadata().generation.unwrap_or_default()))
            .collect()
    }

    /// Takes in what comes until these routes are there.
    async fn until(&mut self, expected: &[(&str, i64)]) {
        let expected: Vec<(String, i64)> =
            expected.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        self.least = usize::MAX;
        let heard = async {
            while self.routes() != expected {
                let (kind, version, heard) = self.heard.recv().await.unwrap();
                self.store.hear(kind, version, heard);
                self.least = self.least.min(self.routes().len());
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, heard).await;
        assert!(in_time.is_ok(), "{:?} instead of {expected:?}", self.routes());
    }

    async fn next(&mut self) -> Heard {
        let (kind, version, heard) =
            tokio::time::timeout(PATIENCE, self.heard.recv()).await.unwrap().unwrap();
        self.store.hear(kind, version, heard.clone());
        heard
    }
}

#[tokio::test]
async fn a_kind_that_is_absent_is_known_to_be_and_is_followed_when_it_comes() {
    let server = Server::default();
    let mut following = Following::new(&server);
    assert!(matches!(following.next().await, Heard::Absent));
    assert!(following.store.knows(&[Kind::HTTPRoute]));
    server.state().served = true;
    server.put("a", 1);
    following.until(&[("a", 1)]).await;
    server.put("b", 1);
    following.until(&[("a", 1), ("b", 1)]).await;
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_where_it_was() {
    let server = Server::default();
    server.state().served = true;
    server.put("a", 1);
    let mut following = Following::new(&server);
    following.until(&[("a", 1)]).await;
    for generation in 2..5 {
        server.cut();
        server.put("a", generation);
        following.until(&[("a", generation as i64)]).await;
    }
    assert_eq!(server.state().lists, 1, "nothing was listed again");
}

#[tokio::test]
async fn a_history_that_is_gone_is_made_up_for_by_a_list_and_nothing_goes_meanwhile() {
    let server = Server::default();
    server.state().served = true;
    server.put("a", 1);
    server.put("b", 1);
    let mut following = Following::new(&server);
    following.until(&[("a", 1), ("b", 1)]).await;
    // Nobody watches while this happens.
    server.cut();
    server.delete("a");
    server.put("c", 1);
    server.forget_history();
    following.until(&[("b", 1), ("c", 1)]).await;
    assert_eq!(server.state().lists, 2);
    assert_eq!(following.least, 2, "the list came in at once");
}

#[tokio::test]
async fn of_two_that_write_the_same_status_a_thousand_times_neither_loses_its_entry() {
    const TIMES: i64 = 1_000;
    let server = Server::default();
    server.state().served = true;
    server.put("r", TIMES as u64);
    let writer = |controller: &'static str| {
        let client = server.client();
        async move {
            let mut record =
                Record { uid: "u".into(), resource_version: "1".into(), status: Some("{}".into()) };
            for at in 1..=TIMES {
                let condition = json!({
                    "type": "Accepted", "status": "True", "reason": "Accepted", "message": at.to_string(), "observedGeneration": at,
                });
                let entry = json!({"parentRef": {"name": "g"}, "controllerName": controller, "conditions": [condition]});
                let task = Task {
                    key: ObjectKey::new(Kind::HTTPRoute, "ns", "r"),
                    version: "v1",
                    controller: controller.to_owned(),
                    wanted: Some(json!({"parents": [entry]})),
                    record: record.clone(),
                    now: "2026-01-01T00:00:00Z".to_owned(),
                };
                let Outcome::Written(now) = write(&client, &task).await.unwrap() else {
                    panic!("not written")
                };
                // What this one wrote, and what the other did before, stand there.
                let status = now.status();
                let entries = status["parents"].as_array().unwrap();
                let own = entries.iter().find(|entry| entry["controllerName"] == controller).unwrap();
                assert_eq!(own["conditions"][0]["message"], at.to_string());
                assert!(entries.len() == 2 || at < TIMES / 2, "{entries:?}");
                record = now;
            }
        }
    };
    let both = async { tokio::join!(writer("ringway.dev/gateway-controller"), writer("example.com/other")) };
    tokio::time::timeout(Duration::from_secs(120), both).await.unwrap();
    let state = server.state();
    let entries = state.routes["r"]["status"]["parents"].as_array().unwrap();
    let said: Vec<&Value> = entries.iter().map(|entry| &entry["conditions"][0]["message"]).collect();
    assert_eq!(said, [&json!(TIMES.to_string()), &json!(TIMES.to_string())]);
    assert!(state.conflicts > 0, "they met");
}
