//! Which proxies there should be for the Gateways of a cluster, and one pass to make it so.

use k8s_openapi::api::core::v1::Service;
use kube::{Client, Error};
use ringway_gateway_api::Translator;
use ringway_gateway_api::objects::{Kind, ObjectKey};
use ringway_gateway_api::translate::{Status, parameters};

use crate::provision::addresses::{Addresses, addresses};
use crate::provision::{GatewayView, Install, Objects, Refusal, apply, desired, live, plan, ports};

/// What is made for a Gateway.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// What there should be.
    pub objects: Objects,
    /// What the API server refused when it was last tried; `None`: it was not tried yet.
    pub refusals: Option<Vec<Refusal>>,
}

/// Whether a change of an object of a kind may concern what is made for Gateways.
pub fn concerns(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Gateway
            | Kind::GatewayClass
            | Kind::GatewayParameters
            | Kind::ListenerSet
            | Kind::Namespace
            | Kind::ReferenceGrant
            | Kind::Secret
    )
}

/// What there should be for a Gateway; `None` if it is not accepted: then what is there stays as it is.
pub fn wanted(translator: &Translator, key: &ObjectKey, install: &Install) -> Option<Objects> {
    let Status::Gateway(status) = &**translator.statuses().get(key)? else { return None };
    let accepted = status.conditions.iter().find(|condition| condition.kind == "Accepted")?;
    if accepted.status != "True" {
        return None;
    }
    let world = translator.world();
    let gateway = world.gateways.get(&key.namespace, &key.name)?;
    let name = format!("{}/{}", key.namespace, key.name);
    let listeners = translator.config().listeners.values();
    let ports =
        ports(listeners.map(|listener| &**listener).filter(|listener| listener.gateway.as_str() == name));
    let parameters = parameters(world, gateway).ok()?;
    Some(desired(&GatewayView::of(gateway, ports), &parameters, install))
}

/// Where a Gateway is reached, by what is made for it and what became of that.
pub fn reached(translator: &Translator, key: &ObjectKey, provisioned: Option<&Provisioned>) -> Addresses {
    let pending = || Addresses {
        missing: Some(("AddressNotAssigned", "No address has been assigned yet".to_owned())),
        ..Addresses::default()
    };
    let Some(Provisioned { objects, refusals: Some(refusals) }) = provisioned else { return pending() };
    let services = translator.world().services.in_namespace(&key.namespace);
    let services: Vec<Service> = services.map(|service| Service::clone(service)).collect();
    addresses(objects, &services, refusals)
}

/// Makes what there should be for a Gateway; what was refused.
pub async fn provision(client: &Client, objects: &Objects) -> Result<Vec<Refusal>, Error> {
    let live = live(client, &objects.owner).await?;
    let applied = apply(client, &objects.owner, &plan(objects, &live)).await?;
    Ok(applied.refusals)
}
