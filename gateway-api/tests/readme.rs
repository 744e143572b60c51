//! The support table of `README.md`: it names what a GatewayClass claims, fixtures that are there, and every one of
//! them; and it calls nothing translated that no fixture shows, and nothing served that no test over sockets names.
#![expect(clippy::disallowed_methods, reason = "the table and the cases are files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ringway_gateway_api::translate::SUPPORTED_FEATURES;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Row {
    feature: String,
    modules: Vec<String>,
    fixtures: Vec<String>,
    state: String,
}

/// The texts between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = text.lines().skip_while(|line| !line.starts_with("| feature |")).skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [feature, module, fixture, _, state] = cells[..] else { panic!("{line}") };
            Row {
                feature: feature.to_owned(),
                modules: quoted(module),
                fixtures: quoted(fixture),
                state: state.to_owned(),
            }
        })
        .collect()
}

/// What is served is translated first.
fn is_translated(state: &str) -> bool {
    state == "translated" || state == "served"
}

/// Features that tests over sockets name: `features:` of the traffic files, and lines `//! Features: …` of the suites.
fn proved() -> BTreeSet<String> {
    let suites = root().join("../tests/e2e");
    let mut proved = BTreeSet::new();
    for folder in ["features", "tests"] {
        for entry in fs::read_dir(suites.join(folder)).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let listed = text.split_once("\nfeatures:").and_then(|(_, rest)| rest.split_once("exchanges:"));
            let named = text.lines().filter_map(|line| line.strip_prefix("//! Features: "));
            for list in named.chain(listed.map(|(list, _)| list)) {
                let words = list.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
                proved.extend(words.map(str::to_owned));
            }
        }
    }
    proved
}

#[test]
fn what_is_served_is_what_a_test_over_sockets_names() {
    let proved = proved();
    let wrong: Vec<_> = table()
        .into_iter()
        .filter(|row| (row.state == "served") != proved.contains(&row.feature))
        .map(|row| (row.feature, row.state))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_feature_that_a_class_claims_is_in_the_table_as_translated() {
    let translated: BTreeSet<String> =
        table().into_iter().filter(|row| is_translated(&row.state)).map(|row| row.feature).collect();
    let missing: Vec<_> = SUPPORTED_FEATURES.iter().filter(|name| !translated.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_translated_has_a_fixture_and_what_is_named_is_there() {
    for row in table() {
        assert!(!is_translated(&row.state) || !row.fixtures.is_empty(), "{}", row.feature);
        for fixture in &row.fixtures {
            assert!(root().join("fixtures").join(fixture).is_dir(), "{}: {fixture}", row.feature);
        }
        for module in &row.modules {
            assert!(root().join("src/translate").join(module).is_file(), "{}: {module}", row.feature);
        }
    }
}

#[test]
fn every_fixture_is_in_the_table() {
    let named: BTreeSet<String> = table().into_iter().flat_map(|row| row.fixtures).collect();
    let there = fs::read_dir(root().join("fixtures")).unwrap();
    let there: BTreeSet<String> =
        there.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(there.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new());
}
