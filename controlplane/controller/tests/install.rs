//! What `ringway install` prints, word for word: `install/plain.yaml`, and with `--ha`, `install/ha.yaml`.
//!
//! `UPDATE_FIXTURES=1 cargo test -p ringway-controller --test install` rewrites the files; review them as a diff.
//! With `RINGWAY_KUBECTL`, a kubectl whose cluster may be asked, the API server must take every object as well.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use ringway_controller::install::{self, Installation};
use serde_json::{Value, json};

fn objects(high_availability: bool) -> Vec<Value> {
    let (namespace, image) = ("ringway-system".to_owned(), "ringway:1.0.0".to_owned());
    let mut objects =
        install::objects(&Installation { namespace, image, high_availability, log_level: None });
    for object in &mut objects {
        // A new version is no other installation.
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(version) = object.pointer_mut(&format!("{labels}/app.kubernetes.io~1version")) {
                *version = json!("1.0.0");
            }
        }
    }
    objects
}

#[test]
fn what_is_installed_is_what_the_golden_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/install");
    for (name, high_availability) in [("plain.yaml", false), ("ha.yaml", true)] {
        let documents: Vec<String> =
            objects(high_availability).iter().map(|one| serde_saphyr::to_string(one).unwrap()).collect();
        let (text, file) = (documents.join("---\n"), folder.join(name));
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let golden = fs::read_to_string(&file).unwrap_or_default();
        assert!(golden == text, "UPDATE_FIXTURES=1 shows as a diff what became of {name}");
    }
}

#[test]
fn everything_that_is_installed_is_removed_in_the_other_order() {
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {} {} {}", object["apiVersion"], object["kind"], metadata["namespace"], metadata["name"])
    };
    let mut installed: Vec<String> = objects(true).iter().map(name).collect();
    assert_eq!(installed.iter().collect::<BTreeSet<_>>().len(), installed.len(), "each stands once");
    installed.reverse();
    assert_eq!(install::removal("ringway-system").iter().map(name).collect::<Vec<_>>(), installed);
}

#[test]
fn the_api_server_takes_what_is_installed() {
    let Some(kubectl) = std::env::var_os("RINGWAY_KUBECTL") else { return };
    for mut object in objects(true) {
        // What is only tried does not bring a namespace for the next.
        if object["metadata"].get("namespace").is_some() {
            object["metadata"]["namespace"] = json!("default");
        }
        let mut child = Command::new(&kubectl)
            .args([
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}\n{object}", String::from_utf8_lossy(&output.stderr));
    }
}
