//! Golden files of what is made for a Gateway: every folder of `provision/` is a case. From `in.yaml` must come
//! `out.yaml`, word for word.
//!
//! `UPDATE_FIXTURES=1 cargo test -p ringway-controller --test provision` rewrites what comes out; review it as a diff.
//! With `RINGWAY_KUBECTL`, a kubectl whose cluster may be asked, the API server must take every object as well.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringway_controller::provision::{GatewayView, Install, Objects, desired, ports};
use ringway_gateway_api::translate::{Slices, parameters, translate};
use ringway_gateway_api::{Object, Options, World, manifest};
use serde_json::{Value, json};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provision");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// The way of a cluster: objects, what is translated of them, and what is made for their one Gateway.
fn made(case: &Path) -> Objects {
    let text = fs::read_to_string(case.join("in.yaml")).unwrap();
    let (documents, errors) = manifest::parse("in.yaml".into(), &text);
    assert!(errors.is_empty(), "{errors:?}");
    let objects: Vec<Object> =
        documents.into_iter().map(|document| Object::decode(document.value).unwrap().unwrap()).collect();
    let world = World::of(&objects);
    let translation = translate(&world, &Slices::default(), &Options::default());
    let (_, gateway) = world.gateways.iter().next().expect("a Gateway");
    let parameters = parameters(&world, gateway).unwrap();
    let listeners = translation.config.listeners.values().map(|listener| &**listener);
    let install = Install {
        image: "ringway:1.0.0".into(),
        controller: "https://ringway-controller.ringway-system.svc:15010".into(),
        ca: "-----BEGIN CERTIFICATE-----\n".into(),
    };
    desired(&GatewayView::of(gateway, ports(listeners)), &parameters, &install)
}

fn yaml(objects: &Objects) -> String {
    let documents =
        objects.documents().into_iter().map(|(_, document)| serde_saphyr::to_string(&document).unwrap());
    documents.collect::<Vec<_>>().join("---\n")
}

#[test]
fn what_is_made_for_a_gateway_is_what_the_golden_files_say() {
    let cases = cases();
    assert!(!cases.is_empty());
    let mut wrong = vec![];
    for case in cases {
        let (made, file) = (yaml(&made(&case)), case.join("out.yaml"));
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            fs::write(&file, &made).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != made {
            wrong.push(file);
        }
    }
    assert!(wrong.is_empty(), "UPDATE_FIXTURES=1 shows as a diff what became of {wrong:?}");
}

#[test]
fn everything_that_is_made_is_found_again_and_goes_with_its_gateway() {
    for case in cases() {
        let objects = made(&case);
        let mut names = BTreeSet::new();
        for (kind, document) in objects.documents() {
            let metadata = &document["metadata"];
            assert_eq!(metadata["ownerReferences"][0]["uid"], json!(objects.owner.uid), "{case:?} {kind:?}");
            assert_eq!(
                metadata["labels"]["app.kubernetes.io/managed-by"],
                json!("ringway"),
                "{case:?} {kind:?}"
            );
            let selector = objects.deployment.spec.selector.match_labels.as_ref().unwrap();
            let template = document.pointer("/spec/template/metadata/labels");
            for (key, value) in selector {
                assert_eq!(metadata["labels"][key], json!(value), "{case:?} {kind:?}");
                assert!(template.is_none_or(|labels| labels[key] == json!(value)), "{case:?} {kind:?}");
            }
            assert!(names.insert((kind, metadata["name"].to_string())), "{case:?}: {kind:?} twice");
        }
    }
}

/// A pod may do nothing that the strictest standard of Kubernetes forbids.
#[test]
fn pods_are_restricted() {
    for case in cases() {
        let pod = made(&case).deployment.spec.template.spec.unwrap();
        let context = pod.security_context.unwrap();
        assert_eq!((context.run_as_non_root, pod.automount_service_account_token), (Some(true), Some(false)));
        assert!(context.seccomp_profile.is_some(), "{case:?}");
        for container in pod.containers {
            let context = container.security_context.unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false));
            assert_eq!(context.read_only_root_filesystem, Some(true));
            assert_eq!(context.capabilities.unwrap().drop.unwrap(), ["ALL"]);
        }
    }
}

#[test]
fn the_api_server_takes_what_is_made() {
    let Some(kubectl) = std::env::var_os("RINGWAY_KUBECTL") else { return };
    for case in cases() {
        for (_, mut document) in made(&case).documents() {
            // A namespace that every cluster has.
            document["metadata"]["namespace"] = json!("default");
            let mut child = Command::new(&kubectl)
                .args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(document.to_string().as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // Of the addresses that are asked for, a cluster has its own alone.
            let other_address = said.contains("not in the valid range") || said.contains("IP family");
            assert!(output.status.success() || other_address, "{case:?}: {said}\n{document}");
            assert_ne!(document, Value::Null);
        }
    }
}
