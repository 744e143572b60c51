//! What documents name exists.

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
