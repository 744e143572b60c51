//! The manifests of the official suite, as its Go module carries them, translate with the statuses that the suite
//! asks for. Each file is a world of its own, on top of what the suite sets up for all.
//!
//! What a test of the suite says to be wrong is listed in `suite/`; everything else of ours must be right: accepted,
//! programmed, resolved. The suite's own check that every condition carries the object's generation is made for all.
//!
//! Needs Go and its module proxy, so it is not among the tests that run everywhere:
//! `cargo test -p ringway-gateway-api --test suite`.
#![expect(clippy::disallowed_methods, reason = "the cases are files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringway_gateway_api::objects::{Condition, ListenerStatus, Secret};
use ringway_gateway_api::translate::{Slices, translate};
use ringway_gateway_api::{Object, Options, Status, World, manifest};
use serde_json::{Value, json};

const MODULE: &str = "sigs.k8s.io/gateway-api/conformance@v1.6.1";

const EXPECTED: &str = include_str!("suite/v1.6.1.txt");

#[test]
fn every_manifest_of_the_suite_has_the_statuses_that_the_suite_asks_for() {
    let suite = suite();
    let base = objects(&read(&suite.join("base/manifests.yaml")));
    let mut files: Vec<PathBuf> = fs::read_dir(suite.join("tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 100, "{}", files.len());
    let mut differences = vec![];
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let world: Vec<Object> =
            base.iter().cloned().chain(set_up()).chain(objects(&read(&file))).map(generation).collect();
        let (found, counts) = look_at(&world);
        let of_file = |line: &str| Some(line.strip_prefix(&name)?.strip_prefix(": ")?.to_owned());
        let expected: BTreeSet<String> = EXPECTED.lines().filter_map(of_file).collect();
        differences.extend(found.difference(&expected).map(|line| format!("{name}: + {line}")));
        let missing = expected.iter().filter(|line| !found.contains(*line) && !counts.contains(*line));
        differences.extend(missing.map(|line| format!("{name}: - {line}")));
    }
    assert!(
        differences.is_empty(),
        "found (+) and not expected, expected (-) and not found:\n{}",
        differences.join("\n")
    );
}

#[test]
fn the_official_tests_of_the_support_table_are_the_suites() {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(suite().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "go") {
            let text = fs::read_to_string(path).unwrap();
            let quoted = text.split("ShortName:").skip(1).filter_map(|rest| rest.split('"').nth(1));
            names.extend(quoted.map(str::to_owned));
        }
    }
    assert!(names.len() > 100, "{}", names.len());
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let rows = readme.lines().skip_while(|line| !line.starts_with("| feature |")).skip(2);
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cell = row.trim_matches('|').split(" | ").nth(3).unwrap().trim();
        for name in cell.split(", ").filter(|name| *name != "–") {
            assert!(names.contains(name), "{name} is no test of {MODULE}: {row}");
        }
    }
}

fn suite() -> PathBuf {
    let output =
        Command::new("go").args(["mod", "download", "-json", MODULE]).output().expect("go is installed");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("go answers in JSON");
    PathBuf::from(answer["Dir"].as_str().unwrap_or_else(|| panic!("{answer}")))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap().replace("{GATEWAY_CLASS_NAME}", "ringway")
}

fn objects(text: &str) -> Vec<Object> {
    let (documents, errors) = manifest::parse("suite".into(), text);
    assert!(errors.is_empty(), "{errors:?}");
    documents.into_iter().filter_map(|document| Object::decode(document.value).unwrap()).collect()
}

/// The API server counts generations; the suite wants to see them everywhere.
fn generation(object: Object) -> Object {
    let mut value = serde_json::to_value(&object).unwrap();
    value["metadata"]["generation"] = json!(7);
    Object::decode(value).unwrap().unwrap()
}

/// The certificates that the suite makes while it sets up (`utils/suite/suite.go`).
fn set_up() -> Vec<Object> {
    const INFRA: &str = "gateway-conformance-infra";
    const SECRETS: &[(&str, &str)] = &[
        ("gateway-conformance-web-backend", "certificate"),
        (INFRA, "tls-validity-checks-certificate"),
        (INFRA, "tls-validity-checks-client-certificate"),
        (INFRA, "tls-validity-checks-per-port-client-certificate"),
        (INFRA, "tls-checks-certificate"),
        (INFRA, "tls-checks-client-certificate"),
        (INFRA, "tls-passthrough-checks-certificate"),
        ("gateway-conformance-app-backend", "tls-passthrough-checks-certificate"),
        (INFRA, "tls-terminate-checks-certificate"),
    ];
    const AUTHORITIES: &[(&str, &str)] = &[
        ("gateway-conformance-web-backend", "web-backend-cm"),
        (INFRA, "tls-validity-checks-ca-certificate"),
        (INFRA, "tls-validity-checks-per-port-ca-certificate"),
        (INFRA, "tls-checks-ca-certificate"),
        (INFRA, "mismatch-ca-certificate"),
    ];
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/listener-certificates/in.yaml");
    let pair: std::sync::Arc<Secret> = objects(&fs::read_to_string(case).unwrap())
        .into_iter()
        .find_map(|object| match object {
            Object::Secret(secret) if secret.metadata.name.as_deref() == Some("cert") => Some(secret),
            _ => None,
        })
        .unwrap();
    let data = pair.string_data.as_ref().unwrap();
    let object = |kind: &str, (namespace, name): &(&str, &str), data: Value| {
        let field = if kind == "Secret" { "stringData" } else { "data" };
        let metadata = json!({ "namespace": namespace, "name": name });
        let value = json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata, field: data });
        Object::decode(value).unwrap().unwrap()
    };
    let secrets = SECRETS.iter().map(|name| object("Secret", name, json!(data)));
    let authorities =
        AUTHORITIES.iter().map(|name| object("ConfigMap", name, json!({ "ca.crt": data["tls.crt"] })));
    secrets.chain(authorities).collect()
}

/// Everything that is not as it should be; and how many routes and ListenerSets are attached.
fn look_at(objects: &[Object]) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut options = Options::standalone(vec!["192.0.2.1".parse().unwrap()]);
    options.shared_host = false;
    let translation = translate(&World::of(objects), &Slices::of_objects(objects), &options);
    let mut wrong = BTreeSet::new();
    let mut counts = BTreeSet::new();
    for (key, status) in &translation.statuses {
        let mut look = |place: String, conditions: &[Condition]| {
            for condition in conditions {
                assert_eq!(condition.observed_generation, 7, "{place} {}", condition.kind);
                // True of many of its listeners, and no test of the suite looks at it.
                if condition.kind == "OverlappingTLSConfig" {
                    continue;
                }
                let negative = matches!(
                    &*condition.kind,
                    "Conflicted"
                        | "OverlappingTLSConfig"
                        | "PartiallyInvalid"
                        | "InsecureFrontendValidationMode"
                );
                if condition.status != if negative { "False" } else { "True" } {
                    wrong.insert(format!("{place} {}={}", condition.kind, condition.reason));
                }
            }
        };
        let key = key.to_string().replace("gateway-conformance-", "");
        let mut listeners = |look: &mut dyn FnMut(String, &[Condition]), listeners: &[ListenerStatus]| {
            for listener in listeners {
                counts.insert(format!("{key}#{} routes={}", listener.name, listener.attached_routes));
                look(format!("{key}#{}", listener.name), &listener.conditions);
            }
        };
        match &**status {
            Status::GatewayClass(status) => look(key, &status.conditions),
            Status::Gateway(status) => {
                look(key.clone(), &status.conditions);
                listeners(&mut look, &status.listeners);
                counts.insert(format!("{key} sets={}", status.attached_listener_sets));
            }
            Status::ListenerSet(status) => {
                look(key.clone(), &status.conditions);
                listeners(&mut look, &status.listeners);
            }
            Status::Route(status) => {
                for parent in &status.parents {
                    look(format!("{key}@{}", parent.parent_ref.name), &parent.conditions);
                }
            }
            Status::Policy(status) => {
                for ancestor in &status.ancestors {
                    look(format!("{key}@{}", ancestor.ancestor_ref.name), &ancestor.conditions);
                }
            }
            Status::XBackend(status) => {
                for parent in &status.parents {
                    look(format!("{key}@{}", parent.parent_ref.name), &parent.conditions);
                }
            }
        }
    }
    (wrong, counts)
}
