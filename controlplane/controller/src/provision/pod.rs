//! The pod of a proxy: with no right that it does not need, on a read-only root.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::*;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ringway_gateway_api::objects::{AccessLog, Parameters};

use super::desired::some;
use super::labels::{self, selector};
use super::view::{GatewayView, Install};

/// For whom a proxy's token is made out.
pub const TOKEN_AUDIENCE: &str = "ringway.dev/controller";
/// Where a proxy answers probes and scrapes.
pub const ADMIN_PORT: u16 = 15000;

/// The container's name, by which `podTemplate` finds it.
const CONTAINER: &str = "ringway";
/// Nobody's: it owns no file of any node.
const USER: i64 = 65532;
/// The profile that permits io_uring, below the kubelet's directory of profiles.
const IO_URING_PROFILE: &str = "ringway/io-uring.json";
const TOKEN_DIR: &str = "/var/run/secrets/ringway.dev";
const CA_DIR: &str = "/etc/ringway/ca";
const STATE_DIR: &str = "/var/lib/ringway";
/// As long as kube-proxy on every node may take to hear that the pod goes.
const DRAIN_DELAY_S: i64 = 5;
/// For what is under way then.
const DRAIN_TIMEOUT_S: i64 = 30;

/// The pod template: ours, the parameters' laid over it, and the labels by which its pods are found.
pub(super) fn template(
    gateway: &GatewayView,
    parameters: &Parameters,
    install: &Install,
    base: &str,
) -> PodTemplateSpec {
    let mut annotations = gateway.annotations.clone();
    for (key, value) in [
        ("prometheus.io/scrape", "true".to_owned()),
        ("prometheus.io/port", ADMIN_PORT.to_string()),
        ("prometheus.io/path", "/metrics".to_owned()),
    ] {
        annotations.entry(key.to_owned()).or_insert(value);
    }
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::all(gateway)),
            annotations: some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(gateway, parameters, install, base)),
    };
    if let Some(overlay) = &parameters.pod_template {
        template.merge_from(overlay.clone());
        let metadata = template.metadata.get_or_insert_default();
        metadata.labels.get_or_insert_default().extend(selector(gateway));
    }
    template
}

fn spec(gateway: &GatewayView, parameters: &Parameters, install: &Install, base: &str) -> PodSpec {
    let labels = LabelSelector { match_labels: Some(selector(gateway)), ..LabelSelector::default() };
    PodSpec {
        service_account_name: Some(base.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(DRAIN_DELAY_S + DRAIN_TIMEOUT_S + 10),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(seccomp(parameters.io_uring.unwrap_or(false))),
            // Ports below 1024 without a capability; the setting is the pod's own.
            sysctls: Some(vec![Sysctl {
                name: "net.ipv4.ip_unprivileged_port_start".into(),
                value: "0".into(),
            }]),
            ..PodSecurityContext::default()
        }),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".into(),
            when_unsatisfiable: "ScheduleAnyway".into(),
            label_selector: Some(labels),
            // The old pods of a rolling update would count otherwise.
            match_label_keys: Some(vec!["pod-template-hash".into()]),
            ..TopologySpreadConstraint::default()
        }]),
        containers: vec![container(gateway, parameters, install)],
        volumes: Some(volumes(base)),
        ..PodSpec::default()
    }
}

fn seccomp(io_uring: bool) -> SeccompProfile {
    match io_uring {
        true => {
            SeccompProfile { type_: "Localhost".into(), localhost_profile: Some(IO_URING_PROFILE.into()) }
        }
        false => SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None },
    }
}

fn container(gateway: &GatewayView, parameters: &Parameters, install: &Install) -> Container {
    Container {
        name: CONTAINER.into(),
        image: Some(install.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        args: Some(arguments(gateway, parameters, install)),
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
        // Listeners' ports are not named here: a new one would replace every pod.
        ports: Some(vec![ContainerPort {
            name: Some("admin".into()),
            container_port: i32::from(ADMIN_PORT),
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        resources: Some(parameters.resources.clone().unwrap_or_else(resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        readiness_probe: Some(probe("/ready", 2, 2)),
        liveness_probe: Some(probe("/live", 10, 3)),
        volume_mounts: Some(
            [("token", TOKEN_DIR, true), ("ca", CA_DIR, true), ("state", STATE_DIR, false)]
                .map(|(name, path, read_only)| VolumeMount {
                    name: name.into(),
                    mount_path: path.into(),
                    read_only: read_only.then_some(true),
                    ..VolumeMount::default()
                })
                .into(),
        ),
        ..Container::default()
    }
}

fn arguments(gateway: &GatewayView, parameters: &Parameters, install: &Install) -> Vec<String> {
    let mut arguments = vec![
        "proxy".to_owned(),
        format!("--controller={}", install.controller),
        format!("--gateway={}/{}", gateway.namespace, gateway.name),
        "--name=$(POD_NAME)".to_owned(),
        format!("--token-file={TOKEN_DIR}/token"),
        format!("--ca-file={CA_DIR}/ca.crt"),
        format!("--last-good={STATE_DIR}/last-good"),
        format!("--admin-addr=0.0.0.0:{ADMIN_PORT}"),
        format!("--drain-delay={DRAIN_DELAY_S}s"),
        format!("--drain-timeout={DRAIN_TIMEOUT_S}s"),
    ];
    arguments.extend(parameters.log_level.iter().map(|level| format!("--log-level={level}")));
    arguments.extend(parameters.access_log.map(|log| match log {
        AccessLog::Off => "--access-log=off".to_owned(),
        AccessLog::Text => "--access-log=text".to_owned(),
        AccessLog::Json => "--access-log=json".to_owned(),
    }));
    arguments.extend(parameters.limits.iter().map(|(name, value)| format!("--limit={name}={value}")));
    arguments
}

/// What an idle proxy needs: enough to be placed and to be told apart from nothing. No limit of CPU, which would
/// make it wait while the node idles.
fn resources() -> ResourceRequirements {
    let requests = [("cpu", "10m"), ("memory", "32Mi")];
    ResourceRequirements {
        requests: Some(requests.map(|(name, amount)| (name.into(), Quantity(amount.into()))).into()),
        ..ResourceRequirements::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("admin".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn volumes(base: &str) -> Vec<Volume> {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            audience: Some(TOKEN_AUDIENCE.into()),
            expiration_seconds: Some(3600),
            path: "token".into(),
            ..ServiceAccountTokenProjection::default()
        }),
        ..VolumeProjection::default()
    };
    vec![
        Volume {
            name: "token".into(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(vec![token]),
                ..ProjectedVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "ca".into(),
            config_map: Some(ConfigMapVolumeSource {
                name: base.to_owned(),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        // Private keys are in it: it survives the container, but no disk sees it.
        Volume {
            name: "state".into(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".into()),
                size_limit: Some(Quantity("64Mi".into())),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_overlay_reaches_the_proxy_by_name_but_not_the_labels_by_which_it_is_found() {
        let gateway = GatewayView {
            namespace: "ns".into(),
            name: "web".into(),
            uid: "u".into(),
            class: "ringway".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            asked: [].into(),
            any_address: true,
            ports: [].into(),
        };
        let overlay = serde_json::json!({
            "metadata": { "labels": { super::labels::GATEWAY_LABEL: "other", "team": "edge" } },
            "spec": {
                "nodeSelector": { "disk": "ssd" },
                "containers": [{ "name": "ringway", "env": [{ "name": "X", "value": "1" }] }, { "name": "helper" }],
            },
        });
        let parameters = Parameters {
            pod_template: Some(serde_json::from_value(overlay).unwrap()),
            ..Parameters::default()
        };
        let install = Install { image: "i:1".into(), controller: "https://c:1".into(), ca: "".into() };
        let template = template(&gateway, &parameters, &install, "web-ringway");
        let labels = template.metadata.unwrap().labels.unwrap();
        assert_eq!((&*labels[labels::GATEWAY_LABEL], &*labels["team"]), ("web", "edge"));
        let spec = template.spec.unwrap();
        assert_eq!(spec.node_selector.unwrap()["disk"], "ssd");
        let names: Vec<&str> = spec.containers.iter().map(|container| &*container.name).collect();
        assert_eq!(names, ["ringway", "helper"]);
        let variables: Vec<&str> = spec.containers[0].env.iter().flatten().map(|env| &*env.name).collect();
        assert_eq!(variables, ["POD_NAME", "X"]);
        assert_eq!(spec.containers[0].image.as_deref(), Some("i:1"));
    }
}
