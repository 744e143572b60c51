//! GatewayClasses: which are ours, and what we promise to their users (checklist GC1 to GC4).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Options;
use super::condition::{fails, holds};
use super::parameters::of_class;
use crate::objects::{GatewayClassStatus, SupportedFeature};
use crate::world::World;

/// The classes of ours: `Err` with a sentence for those that we cannot serve as they are.
pub(crate) type Classes = BTreeMap<Arc<str>, Result<(), String>>;

/// What the official suite calls the things that we do; sorted (checklist GC4).
pub const SUPPORTED_FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructurePropagation",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

/// The classes of ours, with the statuses of those that are objects.
pub(crate) fn classes(world: &World, options: &Options) -> (Classes, BTreeMap<Arc<str>, GatewayClassStatus>) {
    let mut classes = Classes::new();
    let mut statuses = BTreeMap::new();
    // An object of the implied name that names another controller wins: it is then not ours.
    if let Some(implied) = &options.implied_class
        && world.classes.get("", implied).is_none()
    {
        classes.insert(Arc::clone(implied), Ok(()));
    }
    for (name, class) in world.classes.iter() {
        if class.spec.controller_name != *options.controller {
            continue;
        }
        let generation = class.metadata.generation.unwrap_or_default();
        let verdict = of_class(world, class).map(drop);
        let accepted = match &verdict {
            Ok(()) => holds("Accepted", "Accepted", "Served by this controller", generation),
            Err(message) => fails("Accepted", "InvalidParameters", message.clone(), generation),
        };
        let features = SUPPORTED_FEATURES.iter().map(|name| SupportedFeature { name: (*name).into() });
        let status =
            GatewayClassStatus { conditions: vec![accepted], supported_features: features.collect() };
        statuses.insert(Arc::clone(&name.name), status);
        classes.insert(name.name, verdict);
    }
    (classes, statuses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supported_features_are_sorted_unique_and_fit() {
        assert!(SUPPORTED_FEATURES.is_sorted_by(|a, b| a < b));
        assert!(SUPPORTED_FEATURES.len() <= 64, "the CRD takes no more");
    }
}
