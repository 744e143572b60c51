//! The controller's Deployment and Service.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::*;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{Installation, NAME, metadata};
use crate::provision::{ADMIN_PORT, document};

/// Where proxies are served.
const STREAM_PORT: i32 = 15010;
/// Nobody's: it owns no file of any node.
const USER: i64 = 65532;

pub(super) fn objects(installation: &Installation) -> Vec<Value> {
    let namespace = &installation.namespace;
    let labels = LabelSelector {
        match_labels: Some([("app.kubernetes.io/name".to_owned(), NAME.to_owned())].into()),
        ..LabelSelector::default()
    };
    let service = Service {
        metadata: metadata(namespace, NAME),
        spec: Some(ServiceSpec {
            selector: labels.match_labels.clone(),
            ports: Some(vec![ServicePort {
                name: Some("grpc-stream".into()),
                port: STREAM_PORT,
                protocol: Some("TCP".into()),
                target_port: Some(IntOrString::String("stream".into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    let deployment = Deployment {
        metadata: metadata(namespace, NAME),
        spec: DeploymentSpec {
            replicas: Some(if installation.high_availability { 2 } else { 1 }),
            selector: labels.clone(),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::Int(1)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { name: None, namespace: None, ..metadata("", "") }),
                spec: Some(pod(installation, labels.clone())),
            },
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    };
    let mut objects = vec![document(&service), document(&deployment)];
    if installation.high_availability {
        objects.push(document(&PodDisruptionBudget {
            metadata: metadata(namespace, NAME),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(labels),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        }));
    }
    objects
}

fn pod(installation: &Installation, labels: LabelSelector) -> PodSpec {
    let spread = TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(labels),
        match_label_keys: Some(vec!["pod-template-hash".into()]),
        ..TopologySpreadConstraint::default()
    };
    PodSpec {
        service_account_name: Some(NAME.into()),
        enable_service_links: Some(false),
        priority_class_name: Some("system-cluster-critical".into()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        topology_spread_constraints: installation.high_availability.then(|| vec![spread]),
        containers: vec![container(installation)],
        ..PodSpec::default()
    }
}

fn container(installation: &Installation) -> Container {
    let mut arguments = vec![
        "controller".to_owned(),
        format!("--listen=[::]:{STREAM_PORT}"),
        format!("--namespace={}", installation.namespace),
        "--name=$(POD_NAME)".to_owned(),
        format!("--image={}", installation.image),
        format!("--admin-addr=0.0.0.0:{ADMIN_PORT}"),
    ];
    arguments.extend(installation.log_level.iter().map(|level| format!("--log-level={level}")));
    let port = |name: &str, number: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    let probe = |path: &str, period_seconds: i32| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        ..Probe::default()
    };
    let requests = [("cpu", "50m"), ("memory", "64Mi")];
    Container {
        name: "ringway".into(),
        image: Some(installation.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        args: Some(arguments),
        env: Some(vec![EnvVar {
            name: "POD_NAME".into(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".into()),
                    field_path: "metadata.name".into(),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }]),
        ports: Some(vec![port("stream", STREAM_PORT), port("admin", i32::from(ADMIN_PORT))]),
        resources: Some(ResourceRequirements {
            requests: Some(requests.map(|(name, amount)| (name.into(), Quantity(amount.into()))).into()),
            ..ResourceRequirements::default()
        }),
        readiness_probe: Some(probe("/ready", 2)),
        liveness_probe: Some(probe("/live", 10)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}
