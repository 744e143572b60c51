//! What `examples/` shows is right, and the README's first command does what the README says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringway_e2e::{Builder, Connection, Driver, binary, free_port, on_both_drivers};

on_both_drivers!(the_command_of_the_readme_answers_and_follows_an_edit);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn nothing_is_found_in_any_example() {
    let mut folders = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let folder = entry.unwrap().path();
        let output = Command::new(binary()).arg("validate").arg("-f").arg(&folder).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        // A Deployment among objects for a cluster is for others: a notice, and the only one.
        let others =
            shown.lines().all(|line| !line.contains("[RW") || line.contains("notice[RW1102] Deployment/"));
        assert!(output.status.success() && others, "{}: {shown}", folder.display());
        assert!(!shown.starts_with("0 objects"), "{}: {shown}", folder.display());
        folders += 1;
    }
    assert!(folders >= 2);
}

fn the_command_of_the_readme_answers_and_follows_an_edit(driver: Driver) {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        readme.contains("-p ringway -- run examples/hello --demo-backend\n"),
        "its first command is this one"
    );
    assert!(readme.contains("`curl localhost:8080/`") && readme.contains("`examples/hello/route.yaml`"));
    // Its ports may be taken here: the same files on others.
    let (port, backend) = (free_port(), free_port());
    let moved = |text: &str| {
        let text = text.replace("port: 8080", &format!("port: {}", port.number()));
        let text =
            text.replace("name: web\n  port: 3000", &format!("name: web\n  port: {}", backend.number()));
        assert!(text.contains(&port.number().to_string()) || text.contains(&backend.number().to_string()));
        text
    };
    let mut builder =
        Builder::new(driver).arguments([format!("--demo-backend=127.0.0.1:{}", backend.number())]);
    let mut route = String::new();
    for entry in fs::read_dir(root().join("examples/hello")).unwrap() {
        let path = entry.unwrap().path();
        let text = moved(&fs::read_to_string(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        builder = builder.text(&name, &text);
        if name == "route.yaml" {
            route = text;
        }
    }
    let mut gateway = builder.launch();
    gateway.wait_until_ready();
    let mut client = Connection::open(("127.0.0.1", port.number()));
    let answer = client.get("localhost", "/");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["headers"]["x-greeting"][0], "hello from ringway");
    gateway.save("route.yaml", route.replace("hello from ringway", "hello again"));
    ringway_e2e::eventually("the edit is live", || {
        (client.get("localhost", "/").json()["headers"]["x-greeting"][0] == "hello again").then_some(())
    });
}
