//! `parametersRef` of a GatewayClass and of a Gateway: which object is meant, and whether it can be (checklist GC2, G6).

use crate::objects::{GROUP_RINGWAY, Gateway, GatewayClass, Kind, Parameters, ParametersReference};
use crate::world::World;

/// How a Gateway's proxies are deployed: by its own parameters, then by those of its class; `Err` says what is wrong
/// with them, as the conditions do.
pub fn parameters(world: &World, gateway: &Gateway) -> Result<Parameters, String> {
    let namespace = gateway.metadata.namespace.as_deref().unwrap_or("default");
    let class = match world.classes.get("", &gateway.spec.gateway_class_name) {
        Some(class) => of_class(world, class)?,
        None => Parameters::default(),
    };
    Ok(of_gateway(world, namespace, gateway)?.over(class))
}

/// What the class says.
pub(super) fn of_class(world: &World, class: &GatewayClass) -> Result<Parameters, String> {
    let Some(reference) = &class.spec.parameters_ref else { return Ok(Parameters::default()) };
    let field = "spec.parametersRef";
    let namespace = reference.namespace.as_deref().ok_or_else(|| {
        format!("{field}.namespace: missing; {} lives in a namespace", Kind::GatewayParameters.as_str())
    });
    known(reference, field)?;
    found(world, reference, namespace?, field)
}

/// What the Gateway itself says. Its parameters are in its own namespace.
pub(super) fn of_gateway(world: &World, namespace: &str, gateway: &Gateway) -> Result<Parameters, String> {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let Some(reference) = infrastructure.and_then(|infrastructure| infrastructure.parameters_ref.as_ref())
    else {
        return Ok(Parameters::default());
    };
    let field = "spec.infrastructure.parametersRef";
    known(reference, field)?;
    found(world, reference, namespace, field)
}

fn known(reference: &ParametersReference, field: &str) -> Result<(), String> {
    if reference.group == GROUP_RINGWAY && reference.kind == Kind::GatewayParameters.as_str() {
        return Ok(());
    }
    Err(format!(
        "{field}: {:?} of group {:?} is no kind of parameters that this controller knows; GatewayParameters of group \
         {GROUP_RINGWAY} is",
        reference.kind, reference.group
    ))
}

fn found(
    world: &World,
    reference: &ParametersReference,
    namespace: &str,
    field: &str,
) -> Result<Parameters, String> {
    let name = &reference.name;
    let Some(object) = world.parameters.get(namespace, name) else {
        return Err(format!("{field}: GatewayParameters {namespace}/{name} does not exist"));
    };
    object.spec.read().map_err(|why| format!("{field}: GatewayParameters {namespace}/{name}: {why}"))
}
