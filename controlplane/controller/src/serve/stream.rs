//! One stream: lets a proxy in, hears what it says, sends what the hub decides. I/O only.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::Stream;
use ringway_config::GatewayKey;
use ringway_wire::Version;
use ringway_wire::proto::configuration_server::Configuration;
use ringway_wire::proto::{FromController, FromProxy, Hello, from_proxy};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::admission::{Admission, Admitted, Refused};
use super::hub::{Caller, Calls, Entered, Hub, Step, Voice};
use super::limits::HELLO_WITHIN;
use super::session::Start;

/// The service as one connection sees it.
pub(super) struct Service<A> {
    pub(super) hub: Hub,
    pub(super) admission: Arc<A>,
    pub(super) calls: Arc<Calls>,
}

#[tonic::async_trait]
impl<A: Admission> Configuration for Service<A> {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<FromController, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<FromProxy>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let admitted = self.admission.admit(token(request.metadata())).await.map_err(|refused| {
            match &refused {
                Refused::Denied(why) => tracing::warn!(why, "a proxy is refused"),
                Refused::Unknown(why) => tracing::warn!(why, "a proxy's token cannot be looked at now"),
            }
            status(refused)
        })?;
        let mut said = request.into_inner();
        let hello = tokio::time::timeout(HELLO_WITHIN, said.message())
            .await
            .map_err(|_late| Status::deadline_exceeded("no Hello came"))??;
        let Some(FromProxy { message: Some(from_proxy::Message::Hello(hello)) }) = hello else {
            return Err(Status::invalid_argument("the first message must be a Hello"));
        };
        let caller = caller(&admitted, &hello)?;
        tracing::info!(gateway = %caller.gateway, pod = %caller.pod, held = hello.held.len(), "a proxy has come");
        let held = hello.held.into_iter().filter_map(|it| Some((it.name?, Version::from_wire(it.version))));
        let start = Start { held: held.collect(), positions: hello.position };
        let entered = self.hub.enter(caller, start, Arc::clone(&self.calls), Instant::now());
        tokio::spawn(hear(said, entered.voice()));
        Ok(Response::new(Box::pin(outgoing(entered, Arc::clone(&self.calls)))))
    }
}

fn token(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn status(refused: Refused) -> Status {
    match refused {
        Refused::Denied(why) => Status::unauthenticated(why),
        Refused::Unknown(why) => Status::unavailable(why),
    }
}

/// Who it is, by what its token proves: a `Hello` that says something else is a fault or an attack.
fn caller(admitted: &Admitted, hello: &Hello) -> Result<Caller, Status> {
    let named = |text: &str, what| match text.is_empty() {
        true => Err(Status::invalid_argument(format!("the Hello names no {what}"))),
        false => Ok(()),
    };
    named(&hello.gateway, "gateway")?;
    named(&hello.proxy, "proxy")?;
    if admitted.gateway.as_ref().is_some_and(|gateway| gateway.as_str() != hello.gateway) {
        return Err(Status::permission_denied(format!("the token is not one of gateway {}", hello.gateway)));
    }
    if admitted.pod.as_ref().is_some_and(|pod| **pod != *hello.proxy) {
        return Err(Status::permission_denied(format!("the token is not that of pod {}", hello.proxy)));
    }
    Ok(Caller {
        gateway: GatewayKey::new(hello.gateway.as_str()),
        pod: hello.proxy.as_str().into(),
        version: hello.version.clone(),
    })
}

/// Hears what a proxy says, to the end.
async fn hear(mut said: Streaming<FromProxy>, voice: Voice) {
    while let Ok(Some(FromProxy { message: Some(message) })) = said.message().await {
        match message {
            from_proxy::Message::Acknowledgement(said) => {
                if !voice.acknowledge(said) {
                    tracing::debug!("a proxy acknowledged what it was not sent");
                }
            }
            from_proxy::Message::Hello(_) => break,
        }
    }
    voice.end();
}

/// What goes to a proxy. Each message is made when there is room for it.
fn outgoing(entered: Entered, calls: Arc<Calls>) -> impl Stream<Item = Result<FromController, Status>> {
    futures::stream::unfold(Some(entered), move |entered| {
        let calls = Arc::clone(&calls);
        async move {
            let entered = entered?;
            loop {
                match entered.step(Instant::now()) {
                    Step::Send(message) => return Some((Ok(message), Some(entered))),
                    Step::Wait(until) => {
                        // Woken or late, it is decided anew.
                        let _late = tokio::time::timeout_at(until.into(), calls.wake.notified()).await;
                    }
                    Step::Resynchronise => {
                        let again = Status::aborted("too much was removed meanwhile: say what you have");
                        return Some((Err(again), None));
                    }
                    Step::End => return None,
                }
            }
        }
    })
}
