//! Fills in what the API server would, from the same tables that the rules come from.

use serde_json::{Map, Value, json};

use super::kinds;
use super::schema::{Default, Field, Shape};

/// Gives an object of a known kind the values that absent fields stand for, and takes away nulls, which count
/// as absent. Objects of other kinds and values of the wrong shape are left as they are.
pub fn apply_defaults(value: &mut Value) {
    if let Some(kind) = kinds::of(value) {
        fill(&kind.shape, value);
        (kind.fill)(value);
    }
}

fn fill(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Object { fields, .. }, Value::Object(object)) => {
            object.retain(|_, value| !value.is_null());
            for field in *fields {
                fill_field(field, object);
            }
        }
        (Shape::Map { .. }, Value::Object(entries)) => entries.retain(|_, value| !value.is_null()),
        (Shape::List { item, .. }, Value::Array(items)) => {
            items.iter_mut().for_each(|value| fill(item, value))
        }
        _ => {}
    }
}

fn fill_field(field: &Field, object: &mut Map<String, Value>) {
    if let Some(value) = object.get_mut(field.name) {
        return fill(&field.shape, value);
    }
    let Some(default) = field.default else { return };
    let mut value = match default {
        Default::Text(text) => json!(text),
        Default::Integer(number) => json!(number),
        Default::Empty => json!({}),
        Default::One => json!([{}]),
    };
    fill(&field.shape, &mut value);
    object.insert(field.name.to_owned(), value);
}
