//! Watches one kind for ever and passes on what it hears. I/O only: what it means is for `store.rs`.
//!
//! A kind need not exist, nor be served in the version that we like best: it is looked for until it is there, and
//! again when it goes. Breaks, restarts and a history that is gone (410) are for kube's watcher, which resumes or
//! lists anew; until a list is whole, nothing that is held goes.

use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ApiResource, ListParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Error};
use ringway_gateway_api::objects::Kind;
use tokio::sync::mpsc;

use super::raw;
use super::store::Heard;

/// How often it is looked for a kind that does not exist.
const LOOK_ABSENT: Duration = Duration::from_secs(2);
/// How often it is looked whether a better version of a kind is served by now.
const LOOK_SERVED: Duration = Duration::from_secs(60);
/// The first wait after an error; it doubles up to the second.
const WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How long a watch lasts; one that went silent without a word is noticed soon after.
const WATCH_SECONDS: u32 = 60;

/// What was heard of a kind, in the version that it is served in.
pub type Message = (Kind, &'static str, Heard);

/// Watches a kind until nobody listens.
pub async fn watch(client: Client, kind: Kind, to: mpsc::Sender<Message>) {
    let mut wait = WAIT.0;
    loop {
        match served(&client, kind).await {
            Ok(Some(version)) => {
                wait = WAIT.0;
                if follow(&client, kind, version, &to).await == Ended::NobodyListens {
                    return;
                }
            }
            Ok(None) => {
                wait = WAIT.0;
                if to.send((kind, "", Heard::Absent)).await.is_err() {
                    return;
                }
                tokio::time::sleep(LOOK_ABSENT).await;
            }
            Err(error) => {
                tracing::warn!(%kind, %error, "cannot ask the API server which versions it serves");
                if to.is_closed() {
                    return;
                }
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(WAIT.1);
            }
        }
    }
}

/// Why a watch ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The kind is gone, or there is a version that we like better.
    LookAgain,
    NobodyListens,
}

async fn follow(client: &Client, kind: Kind, version: &'static str, to: &mpsc::Sender<Message>) -> Ended {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind, version));
    let (fields, labels) = raw::selectors(kind);
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let config = watcher::Config {
        field_selector: fields.map(str::to_owned),
        label_selector: labels.map(str::to_owned),
        ..config
    };
    let mut events = std::pin::pin!(watcher(api.clone(), config.clone()));
    let mut look = tokio::time::interval(LOOK_SERVED);
    look.tick().await;
    let mut wait = WAIT.0;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = look.tick() => match served(client, kind).await {
                Ok(Some(now)) if now == version => continue,
                Ok(_) => return Ended::LookAgain,
                // It may be restarting; the watch is the better judge.
                Err(_) => continue,
            },
        };
        let heard = match event {
            // Asked for before the list is, so the list is at least as new.
            Some(Ok(Event::Init)) => Heard::Begins(newest(&api, &config).await),
            Some(Ok(Event::InitApply(object))) => Heard::Listed(Box::new(object)),
            Some(Ok(Event::InitDone)) => Heard::Whole,
            Some(Ok(Event::Apply(object))) => Heard::Now(Box::new(object)),
            Some(Ok(Event::Delete(object))) => Heard::Gone(Box::new(object)),
            Some(Err(error)) => {
                // A definition that is gone is not found; it is asked for by name before that is believed.
                if is_not_found(&error)
                    && matches!(served(client, kind).await, Ok(now) if now != Some(version))
                {
                    return Ended::LookAgain;
                }
                tracing::warn!(%kind, error = %shown(&error), "the watch broke; what is known stays in force");
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(WAIT.1);
                continue;
            }
            None => return Ended::LookAgain,
        };
        if !matches!(heard, Heard::Begins(_)) {
            wait = WAIT.0;
        }
        if to.send((kind, version, heard)).await.is_err() {
            return Ended::NobodyListens;
        }
    }
}

/// The version of a kind's objects as they are now, all together. Their own versions do not tell: the last change may have
/// been that one went.
async fn newest(api: &Api<DynamicObject>, config: &watcher::Config) -> Option<String> {
    let one = ListParams {
        field_selector: config.field_selector.clone(),
        label_selector: config.label_selector.clone(),
        ..ListParams::default().limit(1)
    };
    // If it fails, so will the list.
    api.list_metadata(&one).await.ok()?.metadata.resource_version
}

/// The first of the versions that we know in which a kind is served; `None`: it does not exist.
pub async fn served(client: &Client, kind: Kind) -> Result<Option<&'static str>, Error> {
    for version in kind.versions() {
        let listed = if kind.group().is_empty() {
            client.list_core_api_resources(version).await
        } else {
            client.list_api_group_resources(&format!("{}/{version}", kind.group())).await
        };
        match listed {
            Ok(list) if list.resources.iter().any(|found| found.name == kind.plural()) => {
                return Ok(Some(version));
            }
            Ok(_) => {}
            Err(Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// How a kind is asked for in a version.
pub fn resource(kind: Kind, version: &str) -> ApiResource {
    let named = GroupVersionKind::gvk(kind.group(), version, kind.as_str());
    ApiResource::from_gvk_with_plural(&named, kind.plural())
}

fn is_not_found(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error)
    | watcher::Error::WatchStartFailed(error)
    | watcher::Error::WatchFailed(error)) = error
    else {
        return false;
    };
    matches!(error, Error::Api(status) if status.code == 404)
}

/// An error with its causes, in one line.
pub fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        cause = error.source();
    }
    text
}
