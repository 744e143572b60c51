//! GatewayParameters, a kind of ours: how the proxies of a Gateway are deployed.
//!
//! The object is taken in whatever it says, so that one with a mistake is there to be named in a condition;
//! [`RawParameters::read`] tells what it means or what is wrong with it.

use std::collections::BTreeMap;

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::macros::roots;
use super::status::NoStatus;

/// The group of the kinds that are ringway's own.
pub const GROUP_RINGWAY: &str = "ringway.dev";

roots! {
    /// How the proxies of a Gateway, or of every Gateway of a class, are deployed.
    GatewayParameters: "ringway.dev" "v1alpha1" "gatewayparameters" NamespaceResourceScope,
        spec RawParameters, status NoStatus;
}

/// What a GatewayParameters object says, right or wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawParameters(pub Value);

impl RawParameters {
    /// What it means; `Err` names the field that is wrong.
    pub fn read(&self) -> Result<Parameters, String> {
        if self.0.is_null() {
            return Ok(Parameters::default());
        }
        let parameters: Parameters = serde_path_to_error::deserialize(&self.0)
            .map_err(|error| format!("spec.{}: {}", error.path(), error.inner()))?;
        parameters.check()?;
        Ok(parameters)
    }
}

/// How the proxies of a Gateway are deployed. Everything has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// How many proxies. Left out, nobody is overruled: `kubectl scale` and autoscalers decide, beginning with 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// CPU and memory of each proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "resources")]
    pub resources: Option<ResourceRequirements>,
    /// The Service before the proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceParameters>,
    /// Laid over the pod template that ringway makes, as `kubectl patch` would: containers, volumes and variables
    /// are found by name. The proxy's container is `ringway`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub pod_template: Option<PodTemplateSpec>,
    /// What the proxies log: a level, or levels by module, such as `info,ringway_proxy=debug`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Whether, and how, each request is logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Off", "Text", "Json"]))]
    pub access_log: Option<AccessLog>,
    /// Limits by name, as `ringway run --limit` takes them, such as `header_bytes_max: 32KiB`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
    /// Grow and shrink with the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// How many proxies a drained node may take away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudget>,
    /// Run with io_uring, which container runtimes forbid by default: needs the seccomp profile
    /// `ringway/io-uring.json` on every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_uring: Option<bool>,
}

/// The Service before the proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceParameters {
    /// `LoadBalancer` (the default), or `ClusterIP` for a gateway that is reached from inside the cluster.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["LoadBalancer", "ClusterIP"]))]
    pub kind: Option<ServiceType>,
    /// Annotations, which is how most load balancers are configured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// `Cluster` (the default) spreads over all nodes; `Local` keeps the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Cluster", "Local"]))]
    pub external_traffic_policy: Option<TrafficPolicy>,
    /// Which load balancer, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_class: Option<String>,
    /// Networks that may connect; all if none is said and the load balancer knows how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_source_ranges: Vec<String>,
}

/// The type of a gateway's Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// Reached through a load balancer.
    #[default]
    LoadBalancer,
    /// Reached from inside the cluster.
    ClusterIP,
}

/// Where traffic from outside may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// To a proxy on any node.
    Cluster,
    /// To a proxy on the node that it came to.
    Local,
}

/// How requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLog {
    /// Not at all.
    Off,
    /// As text, in Envoy's format.
    Text,
    /// As JSON.
    Json,
}

/// Growing and shrinking with the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// At least so many proxies.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub min_replicas: i32,
    /// At most so many.
    #[schemars(range(min = 1))]
    pub max_replicas: i32,
    /// Percent of the requested CPU that each should use.
    #[serde(default = "eighty")]
    #[schemars(range(min = 1))]
    pub target_cpu_percent: i32,
}

fn one() -> i32 {
    1
}

fn eighty() -> i32 {
    80
}

/// How many proxies may be taken away on purpose: one of the two is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// So many, or such a percentage, stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "count_or_percentage")]
    pub min_available: Option<IntOrString>,
    /// So many, or such a percentage, may be away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "count_or_percentage")]
    pub max_unavailable: Option<IntOrString>,
}

impl Parameters {
    /// What types cannot say.
    fn check(&self) -> Result<(), String> {
        if self.replicas.is_some_and(|replicas| replicas < 0) {
            return Err("spec.replicas: cannot be negative".into());
        }
        if let Some(Autoscaling { min_replicas: min, max_replicas: max, target_cpu_percent }) =
            self.autoscaling
        {
            if self.replicas.is_some() {
                return Err("spec.replicas: leave it out, spec.autoscaling decides".into());
            }
            if min < 1 || max < min {
                return Err(format!("spec.autoscaling: from {min} to {max} replicas is no range"));
            }
            if target_cpu_percent < 1 {
                return Err("spec.autoscaling.targetCpuPercent: must be at least 1".into());
            }
        }
        match &self.disruption_budget {
            Some(budget) if budget.min_available.is_some() == budget.max_unavailable.is_some() => {
                Err("spec.disruptionBudget: say either minAvailable or maxUnavailable".into())
            }
            _ => Ok(()),
        }
    }

    /// These, and where they say nothing what `general` says. Maps are joined; replicas and autoscaling are one
    /// question, which whoever answers one of them has answered.
    pub fn over(self, general: Self) -> Self {
        let scaled = self.replicas.is_some() || self.autoscaling.is_some();
        let joined = |mut under: BTreeMap<String, String>, over: BTreeMap<String, String>| {
            under.extend(over);
            under
        };
        let pod_template = match (general.pod_template, self.pod_template) {
            (Some(mut under), Some(over)) => {
                under.merge_from(over);
                Some(under)
            }
            (under, over) => over.or(under),
        };
        let service = match (general.service, self.service) {
            (Some(under), Some(over)) => Some(ServiceParameters {
                kind: over.kind.or(under.kind),
                annotations: joined(under.annotations, over.annotations),
                external_traffic_policy: over.external_traffic_policy.or(under.external_traffic_policy),
                load_balancer_class: over.load_balancer_class.or(under.load_balancer_class),
                load_balancer_source_ranges: if over.load_balancer_source_ranges.is_empty() {
                    under.load_balancer_source_ranges
                } else {
                    over.load_balancer_source_ranges
                },
            }),
            (under, over) => over.or(under),
        };
        Self {
            replicas: if scaled { self.replicas } else { general.replicas },
            autoscaling: if scaled { self.autoscaling } else { general.autoscaling },
            resources: self.resources.or(general.resources),
            service,
            pod_template,
            log_level: self.log_level.or(general.log_level),
            access_log: self.access_log.or(general.access_log),
            limits: joined(general.limits, self.limits),
            disruption_budget: self.disruption_budget.or(general.disruption_budget),
            io_uring: self.io_uring.or(general.io_uring),
        }
    }
}

impl Parameters {
    /// What `spec` may say, in the form that definitions of Kubernetes take: references resolved, no combinators.
    pub fn schema() -> Value {
        let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<Self>().to_value();
        structural(&mut schema);
        schema
    }
}

/// Takes away what Kubernetes does not know, and what would make the API server decide what we decide.
fn structural(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // An optional field is one that may be left out, which every field that is not required is.
            if let Some(Value::Array(choices)) = fields.remove("anyOf")
                && let Some(Value::Object(some)) = choices.into_iter().find(|one| one["type"].is_string())
            {
                fields.extend(some);
            }
            for unknown in ["$schema", "title", "nullable", "default"] {
                fields.remove(unknown);
            }
            fields.values_mut().for_each(structural);
        }
        Value::Array(items) => items.iter_mut().for_each(structural),
        _ => {}
    }
}

fn anything(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

fn count_or_percentage(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}

fn resources(_: &mut schemars::SchemaGenerator) -> Schema {
    let quantities = json_schema!({
        "type": "object",
        "additionalProperties": { "x-kubernetes-int-or-string": true },
    });
    json_schema!({
        "type": "object",
        "properties": { "requests": quantities, "limits": quantities },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(spec: Value) -> Result<Parameters, String> {
        RawParameters(spec).read()
    }

    #[test]
    fn what_has_a_default_may_be_left_out() {
        let schema = Parameters::schema();
        assert_eq!(schema.get("required"), None);
        assert_eq!(schema["properties"]["disruptionBudget"].get("required"), None);
        assert_eq!(schema["properties"]["autoscaling"]["required"], json!(["maxReplicas"]));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        for (spec, expected) in [
            (json!({ "replicas": "two" }), "spec.replicas: invalid type"),
            (json!({ "replicas": -1 }), "spec.replicas: cannot be negative"),
            (json!({ "service": { "type": "NodePort" } }), "spec.service.type: unknown variant `NodePort`"),
            (json!({ "replicas": 2, "autoscaling": { "maxReplicas": 3 } }), "spec.replicas: leave it out"),
            (json!({ "autoscaling": { "minReplicas": 4, "maxReplicas": 3 } }), "from 4 to 3 replicas"),
            (json!({ "disruptionBudget": {} }), "spec.disruptionBudget: say either"),
            (json!({ "podTemplate": { "spec": { "containers": 1 } } }), "spec.podTemplate"),
            (json!("x"), "spec."),
        ] {
            let error = read(spec.clone()).unwrap_err();
            assert!(error.contains(expected), "{spec}: {error}");
        }
        assert_eq!(read(Value::Null), Ok(Parameters::default()));
        assert_eq!(read(json!({ "fromTheFuture": 1 })), Ok(Parameters::default()));
    }

    #[test]
    fn the_schema_knows_every_field_and_is_structural() {
        let schema = Parameters::schema();
        let text = schema.to_string();
        for unknown in ["anyOf", "oneOf", "$ref", "nullable", "null", "title", "\"default\""] {
            assert!(!text.contains(unknown), "{unknown}: {text}");
        }
        let names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "accessLog",
                "autoscaling",
                "disruptionBudget",
                "ioUring",
                "limits",
                "logLevel",
                "podTemplate",
                "replicas",
                "resources",
                "service",
            ]
        );
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(
                property["type"].is_string() && property["description"].is_string(),
                "{name}: {property}"
            );
        }
        assert_eq!(
            schema["properties"]["service"]["properties"]["type"]["enum"],
            json!(["LoadBalancer", "ClusterIP"])
        );
    }

    #[test]
    fn a_gateways_parameters_go_before_those_of_its_class() {
        let class = read(json!({
            "replicas": 3, "logLevel": "warn", "limits": { "a": "1", "b": "1" },
            "service": { "type": "ClusterIP", "annotations": { "x": "1" } },
            "podTemplate": { "metadata": { "labels": { "l": "1" } } },
        }))
        .unwrap();
        let gateway = read(json!({
            "autoscaling": { "maxReplicas": 9 }, "limits": { "b": "2" },
            "service": { "annotations": { "y": "2" } },
            "podTemplate": { "metadata": { "labels": { "m": "2" } } },
        }))
        .unwrap();
        let both = gateway.over(class);
        let expected = json!({
            "autoscaling": { "minReplicas": 1, "maxReplicas": 9, "targetCpuPercent": 80 },
            "logLevel": "warn", "limits": { "a": "1", "b": "2" },
            "service": { "type": "ClusterIP", "annotations": { "x": "1", "y": "2" } },
            "podTemplate": { "metadata": { "labels": { "l": "1", "m": "2" } } },
        });
        assert_eq!(serde_json::to_value(both).unwrap(), expected);
    }
}
