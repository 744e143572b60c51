//! What the controller may do: what it does, and nothing else. Made of the lists that its code goes by.

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use ringway_gateway_api::objects::Kind;
use serde_json::Value;

use super::{NAME, metadata};
use crate::provision::{Made, document};

/// Roles and their bindings: one of the cluster, one of the controller's own namespace.
pub(super) fn objects(namespace: &str) -> Vec<Value> {
    let subjects = || {
        let subject = Subject {
            kind: "ServiceAccount".into(),
            name: NAME.into(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        };
        Some(vec![subject])
    };
    let role = |kind: &str| RoleRef {
        api_group: Some("rbac.authorization.k8s.io".into()),
        kind: kind.to_owned(),
        name: NAME.to_owned(),
    };
    vec![
        document(&ClusterRole {
            metadata: metadata("", NAME),
            rules: Some(in_the_cluster()),
            ..ClusterRole::default()
        }),
        document(&ClusterRoleBinding {
            metadata: metadata("", NAME),
            role_ref: role("ClusterRole"),
            subjects: subjects(),
        }),
        document(&Role { metadata: metadata(namespace, NAME), rules: Some(at_home()) }),
        document(&RoleBinding {
            metadata: metadata(namespace, NAME),
            role_ref: role("Role"),
            subjects: subjects(),
        }),
    ]
}

/// In every namespace: any may have gateways, routes and what they lead to.
pub(crate) fn in_the_cluster() -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = vec![];
    for kind in Kind::ALL {
        rules.push(rule(kind.group(), kind.plural(), &["get", "list", "watch"]));
    }
    for kind in Kind::ALL.iter().filter(|kind| has_status(**kind)) {
        rules.push(rule(kind.group(), &format!("{}/status", kind.plural()), &["patch"]));
    }
    for made in Made::ALL {
        let resource = made.resource();
        let verbs = ["get", "list", "watch", "create", "patch", "delete"];
        rules.push(rule(&resource.group, &resource.plural, &verbs));
    }
    // Whose token a proxy shows, and what it runs in.
    rules.push(rule("authentication.k8s.io", "tokenreviews", &["create"]));
    rules.push(rule("", "pods", &["get"]));
    rules.push(rule("apps", "replicasets", &["get"]));
    // What a user must fix.
    rules.push(rule("events.k8s.io", "events", &["create", "patch"]));
    // Which version of the Gateway API is there.
    rules.push(PolicyRule {
        resource_names: Some(vec!["gatewayclasses.gateway.networking.k8s.io".into()]),
        ..rule("apiextensions.k8s.io", "customresourcedefinitions", &["get"])
    });
    joined(rules)
}

/// In its own namespace: who leads, and the authority by which proxies know it.
fn at_home() -> Vec<PolicyRule> {
    joined(vec![
        rule("coordination.k8s.io", "leases", &["get", "create", "update"]),
        rule("", "secrets", &["get", "create", "update"]),
    ])
}

fn has_status(kind: Kind) -> bool {
    kind.group().starts_with("gateway.networking.") && kind != Kind::ReferenceGrant
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}

/// Resources of a group with the same verbs stand in one rule; a resource that stands twice has all its verbs.
fn joined(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut joined: Vec<PolicyRule> = vec![];
    for rule in rules {
        let same = |other: &&mut PolicyRule| {
            other.api_groups == rule.api_groups
                && other.verbs == rule.verbs
                && other.resource_names.is_none()
                && rule.resource_names.is_none()
        };
        match joined.iter_mut().find(same) {
            Some(other) => {
                other.resources.get_or_insert_default().extend(rule.resources.into_iter().flatten())
            }
            None => joined.push(rule),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(rules: &[PolicyRule], group: &str, resource: &str, verb: &str) -> bool {
        rules.iter().any(|rule| {
            rule.api_groups.iter().flatten().any(|one| one == group)
                && rule.resources.iter().flatten().any(|one| one == resource)
                && rule.verbs.iter().any(|one| one == verb)
        })
    }

    #[test]
    fn the_controller_may_do_what_it_does_and_nothing_with_a_star() {
        let rules = in_the_cluster();
        for rule in &rules {
            let texts = rule.verbs.iter().chain(rule.resources.iter().flatten());
            assert!(texts.chain(rule.api_groups.iter().flatten()).all(|text| text != "*"), "{rule:?}");
        }
        for (group, resource, verb, expected) in [
            ("gateway.networking.k8s.io", "gateways", "watch", true),
            ("gateway.networking.k8s.io", "gateways/status", "patch", true),
            ("gateway.networking.k8s.io", "gateways", "patch", false),
            ("gateway.networking.x-k8s.io", "xbackends/status", "patch", true),
            ("ringway.dev", "gatewayparameters", "list", true),
            ("discovery.k8s.io", "endpointslices", "watch", true),
            ("apps", "deployments", "delete", true),
            ("", "secrets", "watch", true),
            ("", "secrets", "patch", false),
            ("", "pods", "delete", false),
            ("authentication.k8s.io", "tokenreviews", "create", true),
            ("rbac.authorization.k8s.io", "clusterroles", "create", false),
        ] {
            assert_eq!(may(&rules, group, resource, verb), expected, "{verb} {resource}.{group}");
        }
    }
}
