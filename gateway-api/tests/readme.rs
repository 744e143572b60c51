//! The support table of `README.md`: it names what a GatewayClass claims, fixtures that are there, and every one of
//! them; and it calls nothing translated that no fixture shows, and nothing served without the test that shows it.
#![expect(clippy::disallowed_methods, reason = "the table and the cases are files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ringway_gateway_api::translate::{ANNOTATION_PREFIX, ANNOTATIONS, SUPPORTED_FEATURES};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Row {
    feature: String,
    modules: Vec<String>,
    fixtures: Vec<String>,
    tests: Vec<String>,
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
            let [feature, module, fixture, _, test, state] = cells[..] else { panic!("{line}") };
            Row {
                feature: feature.to_owned(),
                modules: quoted(module),
                fixtures: quoted(fixture),
                tests: quoted(test),
                state: state.to_owned(),
            }
        })
        .collect()
}

/// What is served is translated first.
fn is_translated(state: &str) -> bool {
    state == "translated" || state == "served"
}

/// What each file of manifests and traffic says that it proves, by file and feature.
fn proved() -> BTreeSet<(String, String)> {
    let mut proved = BTreeSet::new();
    for entry in fs::read_dir(root().join("../tests/e2e/features")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let lists = text.split("\nfeatures:").skip(1);
        assert!(text.contains("\nkind: Traffic\nfeatures:"), "{file} says what it proves");
        for list in lists.filter_map(|rest| rest.split("exchanges:").next()) {
            let list = list.split("\narguments:").next().unwrap_or(list);
            let list = list.split("\nbackends:").next().unwrap_or(list);
            let names = list.split(['[', ']', ',', '\n']).map(|name| name.trim().trim_start_matches("- "));
            proved.extend(names.filter(|name| !name.is_empty()).map(|name| (file.clone(), name.to_owned())));
        }
    }
    proved
}

#[test]
fn what_is_served_names_the_tests_that_show_it() {
    for row in table() {
        assert_eq!(row.state == "served", !row.tests.is_empty(), "{}: {:?}", row.feature, row.tests);
        for test in row.tests.iter().filter(|test| !test.ends_with(".yaml")) {
            let (suite, function) =
                test.split_once("::").unwrap_or_else(|| panic!("{test} is no suite's function"));
            let suite = fs::read_to_string(root().join(format!("../tests/e2e/tests/{suite}.rs"))).unwrap();
            let on_both = suite.split_once("on_both_drivers!(").and_then(|(_, rest)| rest.split_once(");"));
            let run: Vec<&str> = on_both.unwrap().0.split(',').map(str::trim).collect();
            assert!(run.contains(&function), "{}: {test} is not run on both drivers", row.feature);
        }
    }
}

#[test]
fn files_of_traffic_and_the_table_say_the_same_of_each_other() {
    let named: BTreeSet<(String, String)> = table()
        .into_iter()
        .flat_map(|row| row.tests.into_iter().map(move |test| (test, row.feature.clone())))
        .filter(|(test, _)| test.ends_with(".yaml"))
        .collect();
    let differ: Vec<_> = named.symmetric_difference(&proved()).cloned().collect();
    assert!(differ.is_empty(), "{differ:?}");
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

#[test]
fn the_annotations_are_those_that_are_read() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| annotation |")).skip(2);
    let documented: BTreeSet<(String, String)> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>())
        .map(|cells| (cells[0].trim_matches('`').to_owned(), cells[1].to_owned()))
        .filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX))
        .collect();
    let kinds = |kinds: &[ringway_gateway_api::Kind]| {
        kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let read: BTreeSet<(String, String)> =
        ANNOTATIONS.iter().map(|(key, on)| ((*key).to_owned(), kinds(on))).collect();
    assert_eq!(documented, read);
}
