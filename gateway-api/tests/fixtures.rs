//! Golden translations: every folder of `fixtures/` is a case. `in.yaml` goes in; `config.out.yaml` and
//! `status.out.yaml` must come out, word for word.
//!
//! `UPDATE_FIXTURES=1 cargo test -p ringway-gateway-api --test fixtures` rewrites what comes out; review it as a diff.
#![expect(clippy::disallowed_methods, reason = "golden files are read and written")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringway_gateway_api::translate::{Slices, translate};
use ringway_gateway_api::{Changes, Object, Options, Status, Translation, Translator, World, manifest};
use serde_json::Value;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn text(case: &Path) -> String {
    fs::read_to_string(case.join("in.yaml")).unwrap()
}

fn objects(text: &str) -> Vec<Object> {
    let (documents, errors) = manifest::parse("in.yaml".into(), text);
    assert!(errors.is_empty(), "{errors:?}");
    documents.into_iter().map(|document| Object::decode(document.value).unwrap().unwrap()).collect()
}

/// A gateway on one machine, unless a comment of the case says otherwise.
fn options(text: &str) -> Options {
    let mut options = Options::standalone(vec!["192.0.2.1".parse().unwrap()]);
    for line in text.lines().filter_map(|line| line.strip_prefix("# options: ")) {
        match line.split_once('=') {
            None if line == "allow-external-name" => options.allow_external_name = true,
            Some(("usable-address", address)) => {
                options.usable_addresses.get_or_insert_default().insert(address.parse().unwrap());
            }
            None if line == "no-default-address" => options.default_addresses.clear(),
            None if line == "own-host" => options.shared_host = false,
            _ => panic!("unknown option: {line}"),
        }
    }
    options
}

fn translation(objects: Vec<Object>, options: Options) -> Translation {
    let mut translator = Translator::new(options);
    translator.apply(Changes::all(objects));
    translator.translation()
}

/// The two files. What is absent or empty is left out, and a condition is one line.
fn shown(translation: &Translation) -> (String, String) {
    let mut config = serde_json::to_value(&translation.config).unwrap();
    drop_empty(&mut config);
    config.as_object_mut().unwrap().retain(|_, part| part.as_object().is_none_or(|part| !part.is_empty()));
    let mut status: BTreeMap<String, Value> = BTreeMap::new();
    for (key, object) in &translation.statuses {
        let mut value = serde_json::to_value(object).unwrap();
        if matches!(**object, Status::GatewayClass(_)) {
            // The list is long, the same everywhere, and has a test of its own.
            value.as_object_mut().unwrap().remove("supportedFeatures");
        }
        one_line_conditions(&mut value);
        status.insert(key.to_string(), value);
    }
    if !translation.notices.is_empty() {
        status.insert("notices".into(), serde_json::to_value(&translation.notices).unwrap());
    }
    (yaml(&config), yaml(&status))
}

fn yaml(value: &impl serde::Serialize) -> String {
    serde_saphyr::to_string(value).unwrap()
}

fn drop_empty(value: &mut Value) {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_empty);
            fields.retain(|_, field| !empty(field));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// `Accepted=True Accepted @3: message`, where 3 is the generation.
fn one_line_conditions(value: &mut Value) {
    match value {
        Value::Object(fields) if fields.contains_key("observedGeneration") => {
            let text = |field: &str| fields[field].as_str().unwrap();
            *value = Value::String(format!(
                "{}={} {} @{}: {}",
                text("type"),
                text("status"),
                text("reason"),
                fields["observedGeneration"],
                text("message")
            ));
        }
        Value::Object(fields) => fields.values_mut().for_each(one_line_conditions),
        Value::Array(items) => items.iter_mut().for_each(one_line_conditions),
        _ => {}
    }
}

#[test]
fn every_case_comes_out_as_written() {
    let update = std::env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1");
    let mut wrong = vec![];
    let cases = cases();
    assert!(!cases.is_empty());
    for case in cases {
        let text = text(&case);
        let (config, status) = shown(&translation(objects(&text), options(&text)));
        for (file, came_out) in [("config.out.yaml", config), ("status.out.yaml", status)] {
            let path = case.join(file);
            if update {
                fs::write(&path, &came_out).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != came_out {
                wrong.push(format!("{}:\n{came_out}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "run with UPDATE_FIXTURES=1 and review the diff\n{}", wrong.join("\n"));
}

#[test]
fn every_case_names_the_lines_of_the_checklist_that_it_is_about() {
    for case in cases() {
        let text = text(&case);
        let named = text.lines().next().is_some_and(|line| line.starts_with("# Checklist: "));
        assert!(named, "{}: the first line is `# Checklist: …`", case.display());
    }
}

#[test]
fn step_by_step_in_any_order_is_the_same_as_from_nothing() {
    for case in cases() {
        let text = text(&case);
        let options = options(&text);
        let objects = objects(&text);
        let expected = definition(&objects, &options);
        // Every rotation and its reverse, one object at a time.
        for turn in 0..objects.len() {
            let mut order = objects.clone();
            order.rotate_left(turn);
            for order in [order.clone(), order.into_iter().rev().collect()] {
                let mut translator = Translator::new(options.clone());
                for object in order {
                    translator.apply(Changes::all([object]));
                }
                assert_eq!(translator.translation(), expected, "{}", case.display());
            }
        }
    }
}

#[test]
fn any_object_can_go_and_come_back() {
    for case in cases() {
        let text = text(&case);
        let options = options(&text);
        let objects = objects(&text);
        let expected = definition(&objects, &options);
        let mut translator = Translator::new(options.clone());
        translator.apply(Changes::all(objects.clone()));
        for object in &objects {
            translator.apply(Changes { upserts: vec![], deletes: vec![object.key()] });
            let rest: Vec<Object> =
                objects.iter().filter(|other| other.key() != object.key()).cloned().collect();
            assert_eq!(
                translator.translation(),
                definition(&rest, &options),
                "{} without {}",
                case.display(),
                object.key()
            );
            translator.apply(Changes::all([object.clone()]));
            assert_eq!(translator.translation(), expected, "{} with {} again", case.display(), object.key());
        }
    }
}

fn definition(objects: &[Object], options: &Options) -> Translation {
    translate(&World::of(objects), &Slices::of_objects(objects), options)
}
