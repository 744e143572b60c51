//! Rules that several kinds share, and the small words in which rules are written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::code::Code;
use super::super::walk::Checker;

/// Whether a field is there.
pub(super) fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some()
}

/// A text field; empty if absent.
pub(super) fn of<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A list's items; none if it is no list.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The items of a list field; none if absent.
pub(super) fn items_of<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).map_or(&[], items)
}

/// The items whose key an earlier item has, each with that item. Items without a key are left alone.
pub(super) fn duplicates<'v, K: Ord>(
    items: &'v [Value],
    key: impl Fn(&'v Value) -> Option<K>,
) -> Vec<(usize, usize)> {
    let mut first = BTreeMap::new();
    let mut duplicates = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(key) = key(item) else { continue };
        let first = *first.entry(key).or_insert(index);
        if first != index {
            duplicates.push((index, first));
        }
    }
    duplicates
}

/// A Service is reached at a port; other kinds may know their own.
pub(super) fn backend_port<'v>(backend: &'v Value, check: &mut Checker<'v>) {
    if of(backend, "group").is_empty() && of(backend, "kind") == "Service" && !has(backend, "port") {
        check.broken(".port", Code::BackendWithoutPort);
    }
}

/// Several references to one object must each say which part of it they mean, by the fields `parts`; and no
/// two the same.
pub(super) fn references_differ<'v>(
    value: &'v Value,
    check: &mut Checker<'v>,
    parts: &[&str],
    (not_distinct, twice): (Code, Code),
) {
    let references = items(value);
    let object =
        |reference: &'v Value| ["group", "kind", "name", "namespace"].map(|field| of(reference, field));
    let part = |reference: &'v Value| -> Vec<Option<String>> {
        let stated = |part: &&str| reference.get(part).filter(|value| *value != "" && *value != 0);
        parts.iter().map(|part| stated(part).map(Value::to_string)).collect()
    };
    for (index, reference) in references.iter().enumerate() {
        let shape = |reference| part(reference).iter().map(Option::is_some).collect::<Vec<_>>();
        let earlier = references[..index]
            .iter()
            .position(|other| object(other) == object(reference) && shape(other) != shape(reference));
        if let Some(earlier) = earlier {
            let message =
                format!("refers to the same object as [{earlier}], and only one says which part of it");
            check.report(&format!("[{index}]"), not_distinct, message, None);
        }
    }
    for (index, first) in duplicates(references, |reference| Some((object(reference), part(reference)))) {
        check.report(&format!("[{index}]"), twice, format!("is the same as [{first}]"), None);
    }
}

/// Names within a list are optional, but those that are given differ.
pub(super) fn rule_names_differ<'v>(value: &'v Value, check: &mut Checker<'v>) {
    for (index, first) in duplicates(items(value), |rule| rule.get("name")?.as_str()) {
        let message = format!("has the name of rule [{first}]");
        check.report(&format!("[{index}].name"), Code::RuleNameTwice, message, None);
    }
}
