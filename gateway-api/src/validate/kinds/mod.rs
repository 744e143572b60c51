//! The kinds that ringway reads: for each a table of its fields, by version, and the rules that fields alone
//! cannot express. The tables say what the official definitions of Gateway API v1.6.1 say; kinds of
//! Kubernetes itself are checked for what ringway needs of them.

mod filter;
mod gateway;
mod kubernetes;
mod policy;
mod route;
mod rules;
mod shared;

use serde_json::Value;

use super::form::{DNS_LABEL, DNS_NAME, Form};
use super::schema::{Shape, UNBOUNDED, map, object, optional, text};

/// A kind in one or more versions that share a definition.
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) versions: &'static [&'static str],
    pub(super) kind: &'static str,
    /// What its names look like.
    pub(super) name: &'static Form,
    pub(super) name_max: usize,
    pub(super) shape: Shape,
    /// Defaults that depend on other fields.
    pub(super) fill: fn(&mut Value),
}

impl Kind {
    /// The `apiVersion` in which it is best written.
    pub(super) fn api_version(&self) -> String {
        let version = self.versions.first().copied().unwrap_or_default();
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }
}

/// The group of the Gateway API.
pub(super) const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The group of its experiments.
pub(super) const GATEWAY_API_X: &str = "gateway.networking.x-k8s.io";

static KINDS: &[Kind] = &[
    gateway_api(&["v1", "v1beta1"], "GatewayClass", gateway::GATEWAY_CLASS),
    gateway_api(&["v1", "v1beta1"], "Gateway", gateway::GATEWAY),
    gateway_api(&["v1"], "ListenerSet", gateway::LISTENER_SET),
    gateway_api(&["v1", "v1beta1"], "HTTPRoute", route::HTTP_ROUTE),
    gateway_api(&["v1"], "GRPCRoute", route::GRPC_ROUTE),
    gateway_api(&["v1", "v1alpha3"], "TLSRoute", route::TLS_ROUTE),
    gateway_api(&["v1alpha2"], "TLSRoute", route::TLS_ROUTE_ALPHA2),
    gateway_api(&["v1"], "TCPRoute", route::LAYER4_ROUTE),
    gateway_api(&["v1alpha2"], "TCPRoute", route::LAYER4_ROUTE_ALPHA2),
    gateway_api(&["v1"], "UDPRoute", route::LAYER4_ROUTE),
    gateway_api(&["v1alpha2"], "UDPRoute", route::LAYER4_ROUTE_ALPHA2),
    gateway_api(&["v1", "v1beta1"], "ReferenceGrant", policy::REFERENCE_GRANT),
    gateway_api(&["v1", "v1alpha3"], "BackendTLSPolicy", policy::BACKEND_TLS_POLICY),
    Kind { group: GATEWAY_API_X, ..gateway_api(&["v1alpha1"], "XBackend", policy::XBACKEND) },
    Kind {
        name: &DNS_LABEL,
        name_max: 63,
        fill: kubernetes::fill_service,
        ..built_in("Service", kubernetes::SERVICE)
    },
    built_in("Secret", kubernetes::SECRET),
    built_in("ConfigMap", kubernetes::CONFIG_MAP),
    Kind { name: &DNS_LABEL, name_max: 63, ..built_in("Namespace", kubernetes::NAMESPACE) },
    Kind { group: "discovery.k8s.io", ..built_in("EndpointSlice", kubernetes::ENDPOINT_SLICE) },
];

const fn gateway_api(versions: &'static [&'static str], kind: &'static str, shape: Shape) -> Kind {
    Kind { group: GATEWAY_API, versions, kind, name: &DNS_NAME, name_max: 253, shape, fill: |_| {} }
}

const fn built_in(kind: &'static str, shape: Shape) -> Kind {
    Kind { group: "", ..gateway_api(&["v1"], kind, shape) }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter()
}

/// The definition that an object's `apiVersion` and `kind` name.
pub(super) fn of(value: &Value) -> Option<&'static Kind> {
    let (group, version, kind) = identity(value)?;
    KINDS.iter().find(|known| known.group == group && known.kind == kind && known.versions.contains(&version))
}

/// The versions in which an object's kind is known; empty if it is not known at all.
pub(super) fn versions(value: &Value) -> Vec<&'static str> {
    let Some((group, _, kind)) = identity(value) else { return Vec::new() };
    let known = KINDS.iter().filter(|known| known.group == group && known.kind == kind);
    known.flat_map(|known| known.versions).copied().collect()
}

/// Group, version and kind, if stated.
pub(super) fn identity(value: &Value) -> Option<(&str, &str, &str)> {
    let version = value.get("apiVersion")?.as_str().filter(|text| !text.is_empty())?;
    let kind = value.get("kind")?.as_str().filter(|text| !text.is_empty())?;
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    Some((group, version, kind))
}

/// What all objects have beside their own fields. Names are checked apart, by kind.
const METADATA: Shape = object(&[
    optional("name", Shape::Any),
    optional("namespace", Shape::Any),
    optional("generateName", Shape::Any),
    optional("labels", LABELS),
    optional("annotations", map(&text(0, UNBOUNDED), UNBOUNDED)),
    optional("creationTimestamp", Shape::Any),
    optional("deletionTimestamp", Shape::Any),
    optional("deletionGracePeriodSeconds", Shape::Any),
    optional("finalizers", Shape::Any),
    optional("generation", Shape::Any),
    optional("managedFields", Shape::Any),
    optional("ownerReferences", Shape::Any),
    optional("resourceVersion", Shape::Any),
    optional("selfLink", Shape::Any),
    optional("uid", Shape::Any),
]);

const LABELS: Shape =
    Shape::Map { key: Some(&super::form::LABEL_KEY), value: &shared::LABEL_VALUE, max: UNBOUNDED };
