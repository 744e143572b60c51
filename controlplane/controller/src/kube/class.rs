//! Whether the Gateway API that is installed is one that we know (checklist GC6). Pure.

use ringway_gateway_api::objects::Condition;
use serde_json::{Value, json};

/// The annotation of the definitions that names their version.
pub const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";
/// The newest minor version of v1 that we know, and the oldest whose objects we read.
const KNOWN_MINORS: std::ops::RangeInclusive<u32> = 1..=6;

/// Adds to a class's status whether the installed version is known. What is known is done in any case.
pub fn complete(status: &mut Value, bundle: Option<&str>) {
    let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) else { return };
    let generation = conditions.first().and_then(|accepted| accepted["observedGeneration"].as_i64());
    let Some(bundle) = bundle else { return };
    let known = minor(bundle).is_some_and(|minor| KNOWN_MINORS.contains(&minor));
    let condition = Condition {
        kind: "SupportedVersion".to_owned(),
        status: if known { "True" } else { "False" }.to_owned(),
        reason: if known { "SupportedVersion" } else { "UnsupportedVersion" }.to_owned(),
        message: format!(
            "Gateway API {bundle} is installed; v1.{} to v1.{} are known{}",
            KNOWN_MINORS.start(),
            KNOWN_MINORS.end(),
            if known { "" } else { ", and what is known of it is done" }
        ),
        observed_generation: generation.unwrap_or_default(),
        last_transition_time: None,
    };
    conditions.push(json!(condition));
}

fn minor(bundle: &str) -> Option<u32> {
    let mut parts = bundle.strip_prefix("v1.")?.split(['.', '-']);
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_by_its_minor_number() {
        for (bundle, expected) in [
            (Some("v1.6.1"), Some("True")),
            (Some("v1.6.0-rc.1"), Some("True")),
            (Some("v1.9.0"), Some("False")),
            (Some("v0.8.1"), Some("False")),
            (Some("monthly"), Some("False")),
            (None, None),
        ] {
            let mut status = json!({"conditions": [{"type": "Accepted", "observedGeneration": 3}]});
            complete(&mut status, bundle);
            let found = status["conditions"].get(1);
            assert_eq!(found.and_then(|found| found["status"].as_str()), expected, "{bundle:?}");
            assert!(found.is_none_or(|found| found["observedGeneration"] == 3));
        }
    }
}
