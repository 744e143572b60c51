//! How source files begin, and what none may hold.

use crate::Tree;

#[test]
fn every_source_file_opens_by_saying_what_it_is_for() {
    let tree = Tree::read();
    for path in tree.ending(".rs") {
        assert!(tree.text(path).starts_with("//! "), "{path} has no opening");
    }
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    let tree = Tree::read();
    // In two pieces each, or this file would be a finding.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
    ];
    let sources = |place: &str| place.split(':').next().is_some_and(|path| path.ends_with(".rs"));
    for (place, line) in tree.lines().filter(|(place, _)| sources(place)) {
        for mark in marks {
            assert!(!line.contains(mark), "{place}: {mark}");
        }
    }
}

#[test]
fn the_tree_names_no_place_of_one_machine() {
    let tree = Tree::read();
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/fa", "rm/"),
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("proxy.golang", ".org"),
        concat!("registry.npm", "js"),
        concat!("deb.deb", "ian.org"),
    ];
    for (place, line) in tree.lines().filter(|(place, _)| !place.contains("Cargo.lock:")) {
        for found in places {
            assert!(!names_place(&line, found), "{place}: {found}");
        }
    }
}

/// Whether a line has a machine's path at the start of a path, not in the middle of one.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        !place.starts_with('/') || !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_.-}".contains(c))
    })
}

#[test]
fn a_path_is_found_where_it_starts_only() {
    let place = concat!("/ro", "ot/");
    assert!(names_place(&format!("in {place}x"), place));
    assert!(!names_place(&format!("in chart{place}x"), place));
}
