//! Does what a plan says, by server-side apply, and tells what the API server refused.

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::{Client, Error, ResourceExt};
use serde_json::Value;

use super::labels::{GATEWAY_LABEL, MANAGED_BY};
use super::name;
use super::objects::{Made, Owner};
use super::plan::{Live, Step, foreign};

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects that were written or deleted.
    pub written: usize,
    /// What could not be done, each thing once.
    pub refusals: Vec<Refusal>,
}

/// An object that could not be made as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind.
    pub made: Made,
    /// Its name.
    pub name: String,
    /// Why, in words for the Gateway's owner.
    pub message: String,
}

impl Refusal {
    fn of(made: Made, name: &str, message: impl std::fmt::Display) -> Self {
        Self { made, name: name.to_owned(), message: format!("{} {name}: {message}", made.as_str()) }
    }
}

/// Does the steps of a plan for a Gateway. An object that the API server refuses is told of, and the others are made
/// nevertheless; `Err` when the API server cannot be asked, which is for trying again.
pub async fn apply(client: &Client, owner: &Owner, steps: &[Step]) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    for step in steps {
        let (made, name, done) = match step {
            Step::Apply { made, name, document, ours } => {
                let api = api(client, owner, *made);
                if !ours && let Some(message) = somebody_elses(&api, name, owner).await? {
                    applied.refusals.push(Refusal::of(*made, name, message));
                    continue;
                }
                // The fields are ours to decide: whoever changed one is overruled.
                let force = PatchParams::apply(MANAGED_BY).force();
                (made, name, api.patch(name, &force, &Patch::Apply(document)).await.map(drop))
            }
            Step::Delete { made, name, uid } => {
                let only = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
                let parameters = DeleteParams { preconditions: Some(only), ..DeleteParams::background() };
                let deleted = api(client, owner, *made).delete(name, &parameters).await.map(drop);
                (made, name, deleted.or_else(gone))
            }
            Step::Refuse { made, name, message } => {
                applied.refusals.push(Refusal::of(*made, name, message));
                continue;
            }
        };
        match done {
            Ok(()) => applied.written += 1,
            Err(Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                applied.refusals.push(Refusal::of(*made, name, &status.message));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(applied)
}

/// What is there for a Gateway, asked of the API server: for whoever keeps no watch.
pub async fn live(client: &Client, owner: &Owner) -> Result<Live, Error> {
    let labelled = ListParams::default().labels(&format!("{GATEWAY_LABEL}={}", name::value(&owner.name)));
    let mut live = Live::default();
    for made in Made::ALL {
        for object in api(client, owner, *made).list(&labelled).await? {
            live.insert(*made, value(&object));
        }
    }
    Ok(live)
}

/// Whose an object is that no watch has shown to be ours, if it is there and not ours.
async fn somebody_elses(
    api: &Api<DynamicObject>,
    name: &str,
    owner: &Owner,
) -> Result<Option<String>, Error> {
    let there = api.get_opt(name).await?;
    Ok(there.filter(|object| object.uid().is_some()).and_then(|object| foreign(&value(&object), &owner.uid)))
}

fn gone(error: Error) -> Result<(), Error> {
    match error {
        Error::Api(status) if status.code == 404 || status.code == 409 => Ok(()),
        error => Err(error),
    }
}

fn api(client: &Client, owner: &Owner, made: Made) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &owner.namespace, &made.resource())
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object that was read as JSON is JSON")
}
