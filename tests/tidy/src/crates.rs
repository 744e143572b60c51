//! Which crate may use which, and where a version, `unsafe` or a library with a seam may stand.

use std::collections::BTreeSet;

use crate::{Manifest, Tree};

/// A crate's place in the tree, and what it may use.
struct Place {
    directory: &'static str,
    name: &'static str,
    /// Crates of ours.
    ours: &'static [&'static str],
    /// Crates of the world that are shipped with it. A pure crate's list is its proof of purity: nothing on it can open a
    /// socket. `None`: any, since it is a binary, a test or the I/O itself.
    world: Option<&'static [&'static str]>,
}

const PLACES: [Place; 13] = [
    Place {
        directory: "dataplane/config",
        name: "ringway-config",
        ours: &[],
        world: Some(&["bytes", "http", "ipnet", "regex", "serde"]),
    },
    Place {
        directory: "dataplane/core",
        name: "ringway-core",
        ours: &["ringway-config"],
        world: Some(&["bytes", "http", "httparse", "ipnet", "memchr", "regex", "thiserror"]),
    },
    Place {
        directory: "gateway-api",
        name: "ringway-gateway-api",
        ours: &["ringway-config"],
        world: Some(&[
            "http",
            "ipnet",
            "jiff",
            "k8s-openapi",
            "regex",
            "rustls-pki-types",
            "saphyr-parser",
            "schemars",
            "serde",
            "serde_json",
            "serde_path_to_error",
            "thiserror",
            "webpki",
        ]),
    },
    Place {
        directory: "dataplane/proxy",
        name: "ringway-proxy",
        ours: &["ringway-config", "ringway-core"],
        world: None,
    },
    Place { directory: "controlplane/wire", name: "ringway-wire", ours: &["ringway-config"], world: None },
    // Knows nothing of files, Kubernetes or Gateway API objects, and nothing of how traffic is carried.
    Place {
        directory: "controlplane/subscriber",
        name: "ringway-subscriber",
        ours: &["ringway-config", "ringway-wire"],
        world: None,
    },
    Place {
        directory: "controlplane/controller",
        name: "ringway-controller",
        ours: &["ringway-config", "ringway-gateway-api", "ringway-wire"],
        world: None,
    },
    Place { directory: "cli", name: "ringway", ours: SHIPPED, world: None },
    Place {
        directory: "tests/sim",
        name: "ringway-sim",
        ours: &["ringway-config", "ringway-core", "ringway-proxy"],
        world: None,
    },
    Place { directory: "tests/e2e", name: "ringway-e2e", ours: SHIPPED, world: None },
    Place { directory: "tests/tidy", name: "ringway-tidy", ours: &[], world: Some(&[]) },
    Place { directory: "bench", name: "ringway-bench", ours: SHIPPED, world: None },
    // Black box: what measures any proxy may know nothing of ours.
    Place { directory: "perf", name: "ringway-perf", ours: &[], world: None },
];

/// What the binary is made of.
const SHIPPED: &[&str] = &[
    "ringway-config",
    "ringway-controller",
    "ringway-core",
    "ringway-gateway-api",
    "ringway-perf",
    "ringway-proxy",
    "ringway-subscriber",
    "ringway-wire",
];

impl Place {
    fn manifest(&self, tree: &Tree) -> Manifest {
        Manifest::read(&tree.text(&format!("{}/Cargo.toml", self.directory)))
    }
}

#[test]
fn a_crate_uses_only_what_its_place_in_the_tree_allows() {
    let tree = Tree::read();
    let root = tree.text("Cargo.toml");
    let members =
        root.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("members").0;
    let members: BTreeSet<_> =
        members.split(',').map(|m| m.trim().trim_matches('"')).filter(|m| !m.is_empty()).collect();
    let placed: BTreeSet<_> = PLACES.iter().map(|place| place.directory).collect();
    assert_eq!(members, placed, "each member of the workspace has its place");

    for place @ Place { directory, name, ours, world } in &PLACES {
        let manifest = place.manifest(&tree);
        let named = manifest.section("package").find(|(key, _)| *key == "name");
        assert_eq!(named, Some(("name", format!("{name:?}").as_str())), "{directory}");
        for dependency in manifest.dependencies() {
            let used = dependency.name;
            let allowed = match used.starts_with("ringway") {
                true => ours.contains(&used),
                false => !dependency.shipped || world.is_none_or(|world| world.contains(&used)),
            };
            assert!(allowed, "{directory} may not use {used}");
        }
    }
}

#[test]
fn versions_stand_in_the_root_alone() {
    let tree = Tree::read();
    for path in tree.ending("Cargo.toml").filter(|path| *path != "Cargo.toml" && !path.contains("/fuzz/")) {
        let manifest = Manifest::read(&tree.text(path));
        for dependency in manifest.dependencies() {
            assert!(dependency.inherited, "{path}: {} has a version of its own", dependency.name);
        }
        for (key, value) in manifest.section("package") {
            assert!(key != "version" && key != "edition", "{path}: {key} = {value} belongs to the workspace");
        }
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace_and_forbids_unsafe_code() {
    let tree = Tree::read();
    for place @ Place { directory, name, .. } in &PLACES {
        let manifest = place.manifest(&tree);
        assert_eq!(manifest.section("lints").next(), Some(("workspace", "true")), "{directory}");
        let law = if ["ringway-proxy", "ringway-perf"].contains(name) {
            "#![deny(unsafe_code)]"
        } else {
            "#![forbid(unsafe_code)]"
        };
        let roots = ["src/lib.rs", "src/main.rs"].map(|file| format!("{directory}/{file}"));
        for root in roots.iter().filter(|root| tree.has(root)) {
            assert!(tree.text(root).lines().any(|line| line == law), "{root} lacks {law}");
        }
    }
}

#[test]
fn unsafe_code_stands_only_where_it_meets_the_machine_or_a_heap_is_counted() {
    let tree = Tree::read();
    // In two pieces, or this file would be a finding.
    let allowances = [concat!("allow(unsafe", "_code)"), concat!("expect(unsafe", "_code")];
    let allowed = |path: &&str| {
        path.starts_with("dataplane/proxy/src/io/")
            // A counting allocator is `unsafe` by its trait.
            || *path == "dataplane/proxy/tests/allocations.rs"
            // The raw relay of io_uring, and a network of one's own: no safe call gives either.
            || ["perf/src/floor/ring.rs", "perf/src/isolate.rs"].contains(path)
    };
    for path in tree.ending(".rs").filter(|path| !allowed(path)) {
        let text = tree.text(path);
        for allowance in allowances {
            assert!(!text.contains(allowance), "{path}: {allowance}");
        }
    }
}

#[test]
fn a_library_with_a_seam_is_named_behind_it_only() {
    let tree = Tree::read();
    let seams = [("monoio", "dataplane/proxy/src/io/"), ("h2", "dataplane/proxy/src/http2")];
    for (library, seam) in seams {
        for path in
            tree.below("dataplane/proxy/src").filter(|path| path.ends_with(".rs") && !path.starts_with(seam))
        {
            for (number, line) in tree.text(path).lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                assert!(!names(code, library), "{path}:{} names {library}, whose seam is {seam}", number + 1);
            }
        }
    }
}

/// Whether a line of code uses a crate: `library::…`, not `our_library::…` or `library_of_ours`.
fn names(code: &str, library: &str) -> bool {
    code.match_indices(&format!("{library}::")).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
    })
}

#[test]
fn every_dependency_has_its_reason() {
    let tree = Tree::read();
    let root = Manifest::read(&tree.text("Cargo.toml"));
    let needed: BTreeSet<_> = root
        .section("workspace.dependencies")
        .filter(|(name, _)| !name.starts_with("ringway"))
        .map(|(name, value)| {
            // A crate under another name here is explained under its own.
            let own = value.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next());
            own.unwrap_or(name).to_owned()
        })
        .collect();
    let text = tree.text("docs/dependencies.md");
    let rows =
        text.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| !row.starts_with("crate "));
    // `crate`, `crate (where)` or `crate, crate`.
    let cells = rows.filter_map(|row| Some(row.split_once(" | ")?.0.split(" (").collect::<Vec<_>>()));
    let explained: Vec<_> = cells
        .flat_map(|cell| {
            cell[0].split(", ").map(|name| (name.to_owned(), cell.get(1).copied())).collect::<Vec<_>>()
        })
        .collect();
    let fuzz_alone: BTreeSet<_> = explained
        .iter()
        .filter(|(_, place)| place.is_some_and(|place| place.contains("only")))
        .map(|(name, _)| name.clone())
        .collect();
    let reasons: BTreeSet<_> = explained.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(reasons.len(), explained.len(), "docs/dependencies.md explains one crate twice");
    let missing: Vec<_> = needed.difference(&reasons).collect();
    assert!(missing.is_empty(), "docs/dependencies.md has no line for {missing:?}");
    let left: Vec<_> = reasons.difference(&needed).filter(|name| !fuzz_alone.contains(*name)).collect();
    assert!(left.is_empty(), "docs/dependencies.md explains what is not in Cargo.toml: {left:?}");
}

#[test]
fn every_dependency_of_the_workspace_is_used() {
    let tree = Tree::read();
    let root = Manifest::read(&tree.text("Cargo.toml"));
    let manifests: Vec<_> = PLACES.iter().map(|place| place.manifest(&tree)).collect();
    let used: BTreeSet<_> = manifests.iter().flat_map(Manifest::dependencies).map(|d| d.name).collect();
    let named: BTreeSet<_> = root.section("workspace.dependencies").map(|(name, _)| name).collect();
    let idle: Vec<_> = named.difference(&used).filter(|name| **name != "ringway-sim").collect();
    assert!(idle.is_empty(), "no member uses {idle:?}");
}

#[test]
fn pure_crates_ban_clocks_files_sockets_and_threads() {
    let tree = Tree::read();
    for directory in ["dataplane/config", "dataplane/core", "gateway-api"] {
        let rules = tree.text(&format!("{directory}/clippy.toml"));
        for banned in
            ["std::time::Instant::now", "std::fs::File", "std::net::TcpStream", "std::thread::spawn"]
        {
            assert!(rules.contains(banned), "{directory}/clippy.toml does not ban {banned}");
        }
    }
}
