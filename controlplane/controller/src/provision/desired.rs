//! What there should be for a Gateway. Pure: the same Gateway always gets the same objects.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ringway_config::Transport;
use ringway_gateway_api::objects::{
    Autoscaling, DisruptionBudget, GROUP, Parameters, ServiceParameters, ServiceType, TrafficPolicy,
};

use super::labels::{self, selector};
use super::name;
use super::objects::{Objects, Owner};
use super::pod;
use super::view::{GatewayView, Install};

/// What there should be for a Gateway.
pub fn desired(gateway: &GatewayView, parameters: &Parameters, install: &Install) -> Objects {
    let base = name::base(&gateway.name, &gateway.class);
    let metadata = |name: &str| metadata(gateway, name);
    let labels = LabelSelector { match_labels: Some(selector(gateway)), ..LabelSelector::default() };
    Objects {
        owner: Owner {
            namespace: gateway.namespace.clone(),
            name: gateway.name.clone(),
            uid: gateway.uid.clone(),
        },
        service_account: ServiceAccount {
            metadata: metadata(&base),
            // The one token that a proxy needs is projected, for the controller alone.
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        config_map: ConfigMap {
            metadata: metadata(&base),
            data: Some(BTreeMap::from([("ca.crt".to_owned(), install.ca.clone())])),
            ..ConfigMap::default()
        },
        services: services(gateway, &parameters.service.clone().unwrap_or_default()),
        deployment: Deployment {
            metadata: metadata(&base),
            spec: DeploymentSpec {
                replicas: parameters.replicas,
                selector: labels.clone(),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateDeployment {
                        // A proxy goes when its successor serves.
                        max_unavailable: Some(IntOrString::Int(0)),
                        max_surge: Some(IntOrString::String("25%".into())),
                    }),
                }),
                template: pod::template(gateway, parameters, install, &base),
                ..DeploymentSpec::default()
            },
            ..Deployment::default()
        },
        autoscaler: parameters.autoscaling.as_ref().map(|scaling| HorizontalPodAutoscaler {
            metadata: metadata(&base),
            spec: autoscaler(scaling, &base),
            ..HorizontalPodAutoscaler::default()
        }),
        disruption_budget: parameters.disruption_budget.as_ref().map(|budget| {
            let DisruptionBudget { min_available, max_unavailable } = budget.clone();
            PodDisruptionBudget {
                metadata: metadata(&base),
                spec: Some(PodDisruptionBudgetSpec {
                    min_available,
                    max_unavailable,
                    selector: Some(labels),
                    ..PodDisruptionBudgetSpec::default()
                }),
                ..PodDisruptionBudget::default()
            }
        }),
    }
}

fn metadata(gateway: &GatewayView, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(gateway.namespace.clone()),
        labels: Some(labels::all(gateway)),
        annotations: some(gateway.annotations.clone()),
        owner_references: Some(vec![OwnerReference {
            api_version: format!("{GROUP}/v1"),
            kind: "Gateway".into(),
            name: gateway.name.clone(),
            uid: gateway.uid.clone(),
            controller: Some(true),
            // It would need a permission on finalizers of Gateways, and nothing waits for it.
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}

/// A Service for each address that is asked for, and one for an address that is to be found. An address of a Service
/// cannot be changed, so that each has a name of its own; and one that cannot be had takes away no other.
fn services(gateway: &GatewayView, parameters: &ServiceParameters) -> Vec<Service> {
    // Kubernetes knows no Service without a port.
    if gateway.ports.is_empty() {
        return vec![];
    }
    let found = gateway.any_address.then(|| service(gateway, parameters, None));
    found.into_iter().chain(gateway.asked.iter().map(|ip| service(gateway, parameters, Some(*ip)))).collect()
}

fn service(gateway: &GatewayView, parameters: &ServiceParameters, address: Option<IpAddr>) -> Service {
    let name = match address {
        None => name::base(&gateway.name, &gateway.class),
        Some(ip) => name::part(&gateway.name, &gateway.class, &ip.to_string().replace(['.', ':'], "-")),
    };
    let mut metadata = metadata(gateway, &name);
    let mut annotations = gateway.annotations.clone();
    annotations.extend(parameters.annotations.clone());
    metadata.annotations = some(annotations);

    let kind = parameters.kind.unwrap_or_default();
    let balanced = kind == ServiceType::LoadBalancer;
    let ports = gateway.ports.iter().map(|(port, transport)| {
        let (protocol, short) = match transport {
            Transport::Tcp => ("TCP", "tcp"),
            Transport::Udp => ("UDP", "udp"),
        };
        ServicePort {
            name: Some(format!("{short}-{port}")),
            port: i32::from(*port),
            protocol: Some(protocol.to_owned()),
            target_port: Some(IntOrString::Int(i32::from(*port))),
            ..ServicePort::default()
        }
    });
    let policy = parameters.external_traffic_policy.map(|policy| match policy {
        TrafficPolicy::Cluster => "Cluster".to_owned(),
        TrafficPolicy::Local => "Local".to_owned(),
    });
    let ranges = parameters.load_balancer_source_ranges.clone();
    let text = address.map(|ip| ip.to_string());
    let spec = ServiceSpec {
        type_: Some(if balanced { "LoadBalancer" } else { "ClusterIP" }.to_owned()),
        selector: Some(selector(gateway)),
        ports: Some(ports.collect()),
        external_traffic_policy: policy.filter(|_| balanced),
        load_balancer_class: parameters.load_balancer_class.clone().filter(|_| balanced),
        load_balancer_source_ranges: Some(ranges).filter(|ranges| balanced && !ranges.is_empty()),
        load_balancer_ip: text.clone().filter(|_| balanced),
        cluster_ip: text.filter(|_| !balanced),
        // A cluster of one family has no address of another.
        ip_families: address.filter(|_| !balanced).map(|ip| vec![family(ip).to_owned()]),
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), ..Service::default() }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn autoscaler(scaling: &Autoscaling, deployment: &str) -> HorizontalPodAutoscalerSpec {
    HorizontalPodAutoscalerSpec {
        min_replicas: Some(scaling.min_replicas),
        max_replicas: scaling.max_replicas,
        scale_target_ref: CrossVersionObjectReference {
            api_version: Some("apps/v1".into()),
            kind: "Deployment".into(),
            name: deployment.to_owned(),
        },
        metrics: Some(vec![MetricSpec {
            type_: "Resource".into(),
            resource: Some(ResourceMetricSource {
                name: "cpu".into(),
                target: MetricTarget {
                    type_: "Utilization".into(),
                    average_utilization: Some(scaling.target_cpu_percent),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        }]),
        ..HorizontalPodAutoscalerSpec::default()
    }
}

/// An empty map is not written: it would take no field, and read back as none.
pub(super) fn some(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    Some(map).filter(|map| !map.is_empty())
}
