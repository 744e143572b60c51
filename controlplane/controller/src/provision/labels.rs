//! The labels by which what is made for a Gateway is known (GEP-1762).

use std::collections::BTreeMap;

use super::name;
use super::view::GatewayView;

/// Whose Gateway it is for.
pub const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
/// The Gateway's class.
pub const CLASS_LABEL: &str = "gateway.networking.k8s.io/gateway-class-name";
/// By which watches find everything that was made.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`], and the name under which fields are applied.
pub const MANAGED_BY: &str = "ringway";

/// What proxies of a Gateway, and no other pods, are labelled with. A Deployment's selector never changes, so neither
/// may this.
pub fn selector(gateway: &GatewayView) -> BTreeMap<String, String> {
    BTreeMap::from([
        (GATEWAY_LABEL.to_owned(), name::value(&gateway.name)),
        (CLASS_LABEL.to_owned(), name::value(&gateway.class)),
    ])
}

/// The labels of everything that is made; the Gateway's own never replace those by which it is found.
pub(super) fn all(gateway: &GatewayView) -> BTreeMap<String, String> {
    let mut labels = gateway.labels.clone();
    let ours = [
        (MANAGED_BY_LABEL, MANAGED_BY.to_owned()),
        ("app.kubernetes.io/name", "ringway-proxy".to_owned()),
        ("app.kubernetes.io/component", "gateway".to_owned()),
        ("app.kubernetes.io/instance", name::base(&gateway.name, &gateway.class)),
    ];
    labels.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    labels.extend(selector(gateway));
    labels
}
