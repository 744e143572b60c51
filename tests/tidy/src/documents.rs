//! What documents name exists, and they are clean.

use std::path::{Component, Path, PathBuf};

use crate::Tree;

#[test]
fn every_link_between_documents_leads_to_a_file() {
    let tree = Tree::read();
    for path in tree.ending(".md") {
        for (number, line) in prose(&tree.text(path)) {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
                if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let place = Path::new(path).parent().unwrap_or(Path::new("")).join(target);
                assert!(tree.has(&plain(&place)), "{path}:{number} links to {target}, which is not there");
            }
        }
    }
}

/// The lines of a document outside of its code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (!code && !fence).then_some((at + 1, line))
    })
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain.to_str().expect("names in the checkout are UTF-8").to_owned()
}

#[test]
fn documents_are_clean_at_their_ends() {
    let tree = Tree::read();
    for path in tree.ending(".md") {
        let text = tree.text(path);
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path} ends with one line feed");
        for (at, line) in text.lines().enumerate() {
            assert_eq!(line.trim_end(), line, "{path}:{} has blanks at its end", at + 1);
        }
    }
}

#[test]
fn every_file_that_a_document_of_the_code_names_is_there() {
    let tree = Tree::read();
    // Each names files from where its readers are.
    let documents = [
        ("dataplane/README.md", "dataplane"),
        ("controlplane/README.md", "controlplane"),
        ("gateway-api/README.md", "gateway-api/src"),
        ("docs/design.md", "dataplane"),
        ("docs/internals/adding.md", "dataplane"),
    ];
    for (document, base) in documents {
        for (number, line) in prose(&tree.text(document)) {
            let named = line.split('`').skip(1).step_by(2).filter(|named| named.contains('/'));
            for named in named.filter(|named| named.ends_with(['/']) || named.ends_with(".rs")) {
                let there = tree.has(named) || tree.has(&format!("{base}/{named}"));
                let there = there || tree.has(&format!("{}/{named}", base.trim_end_matches("/src")));
                assert!(there, "{document}:{number} names {named}, which is not there");
            }
        }
    }
}

#[test]
fn the_life_of_a_connection_names_every_file_of_the_proxy() {
    let tree = Tree::read();
    let text = tree.text("dataplane/README.md");
    for path in tree.below("dataplane/proxy/src").filter(|path| path.ends_with(".rs")) {
        let named = path.strip_prefix("dataplane/").expect("it is below");
        assert!(
            text.contains(&format!("`{named}`")),
            "dataplane/README.md does not say where {named} comes in"
        );
    }
}

#[test]
fn the_tree_in_the_readme_is_the_tree() {
    let tree = Tree::read();
    let text = tree.text("README.md");
    let drawn = text.split_once("## The tree").expect("the README draws the tree").1;
    let drawn = drawn.split("```").nth(1).expect("in a block of text");
    let mut above = String::new();
    for line in drawn.lines().skip(1) {
        let mut words = line.split_whitespace();
        let path = words.next().expect("a line names a directory");
        let path = if line.starts_with(' ') { format!("{above}{path}") } else { path.to_owned() };
        assert!(path.ends_with('/') && tree.has(&path), "README.md draws {path}, which is not there");
        if let Some(name) = words.next().filter(|word| word.starts_with("ringway")) {
            let manifest = tree.text(&format!("{path}Cargo.toml"));
            assert!(manifest.contains(&format!("name = {name:?}")), "README.md: {path} is not {name}");
        }
        if !line.starts_with(' ') {
            above = path;
        }
    }
    for crate_root in tree.ending("/Cargo.toml").filter_map(|path| path.strip_suffix("Cargo.toml")) {
        let top = crate_root.split_inclusive('/').next().expect("it has a name");
        assert!(drawn.contains(top), "README.md does not draw {top}");
    }
}
