//! Writes one status. I/O only: what to write is `plan.rs`.
//!
//! A list that others write as well goes out against the state that was read; should somebody have been faster, what
//! stands there now is read and planned for again.

use kube::api::{Api, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Client, Error};
use ringway_gateway_api::objects::{Kind, ObjectKey};
use serde_json::{Value, json};

use super::super::raw::Record;
use super::super::watch;
use super::plan::{Write, plan};

/// Who writes, to server-side apply.
pub const FIELD_MANAGER: &str = "ringway.dev/gateway-controller";
/// How often others may be faster before the object waits for its next turn.
const CONFLICTS_MAX: usize = 20;

/// What a status should be, and what it was when that was last heard of.
#[derive(Debug)]
pub struct Task {
    /// Whose status.
    pub key: ObjectKey,
    /// In which version the kind is served.
    pub version: &'static str,
    /// The name of the controller, by which entries are told apart.
    pub controller: String,
    /// `None`: nothing of ours.
    pub wanted: Option<Value>,
    /// The object as it was heard of.
    pub record: Record,
    /// RFC 3339.
    pub now: String,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// It stands there, as this record says.
    Written(Record),
    /// It stood there already, or the object is gone or another one by now.
    Needless,
}

/// Writes a status if it is not there already.
pub async fn write(client: &Client, task: &Task) -> Result<Outcome, Error> {
    let resource = watch::resource(task.key.kind, task.version);
    let api: Api<DynamicObject> = if task.key.kind.namespaced() {
        Api::namespaced_with(client.clone(), &task.key.namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let mut record = task.record.clone();
    for _ in 0..CONFLICTS_MAX {
        let live = record.status();
        let Some(write) = plan(task.key.kind, &task.controller, task.wanted.as_ref(), &live, &task.now)
        else {
            return Ok(Outcome::Needless);
        };
        match send(&api, task, &record, write).await {
            Ok(object) => return Ok(Outcome::Written(record_of(&object))),
            Err(Error::Api(status)) if status.code == 404 => return Ok(Outcome::Needless),
            Err(Error::Api(status)) if status.code == 409 => {
                let Some(object) = api.get_opt(&task.key.name).await? else { return Ok(Outcome::Needless) };
                let now = record_of(&object);
                if now.uid != record.uid {
                    return Ok(Outcome::Needless);
                }
                record = now;
            }
            Err(error) => return Err(error),
        }
    }
    let why = "others write the same status all the time";
    Err(Error::Api(Box::new(kube::core::Status::failure(why, "Conflict").with_code(409))))
}

async fn send(
    api: &Api<DynamicObject>,
    task: &Task,
    record: &Record,
    write: Write,
) -> Result<DynamicObject, Error> {
    let name = &*task.key.name;
    match write {
        Write::Apply(status) => {
            let group = task.key.kind.group();
            let object = json!({
                "apiVersion": format!("{group}/{}", task.version), "kind": task.key.kind.as_str(),
                // Another object of the same name is not meant.
                "metadata": {"name": name, "uid": record.uid}, "status": status,
            });
            let params = PatchParams::apply(FIELD_MANAGER).force();
            api.patch_status(name, &params, &Patch::Apply(object)).await
        }
        Write::List(field, entries) => {
            let object = json!({
                "metadata": {"uid": record.uid, "resourceVersion": record.resource_version},
                "status": {field: entries},
            });
            let params =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            api.patch_status(name, &params, &Patch::Merge(object)).await
        }
    }
}

fn record_of(object: &DynamicObject) -> Record {
    Record {
        uid: object.metadata.uid.clone().unwrap_or_default().into(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default().into(),
        status: object.data.get("status").map(|status| status.to_string().into()),
    }
}

/// Whether a kind's status is kept apart from others' entries only by reading before writing.
pub fn is_shared(kind: Kind) -> bool {
    !matches!(kind, Kind::GatewayClass | Kind::Gateway | Kind::ListenerSet)
}
