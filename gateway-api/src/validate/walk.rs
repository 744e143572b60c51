//! Compares a value with its shape and asks the rules. The path is kept as it is walked and written out only
//! for a finding.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::code::{Code, Severity};
use super::form::Form;
use super::nearest::nearest;
use super::schema::{Distinct, Field, Rule, Shape};

/// The most findings that are listed for one object; one more says that there are others.
const FINDINGS_MAX: usize = 100;

/// Walks one object and collects what it finds.
pub(super) struct Checker<'v> {
    path: Vec<Step<'v>>,
    pub(super) found: Vec<Found>,
    errors: usize,
}

/// A finding that does not know yet whose it is.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) code: Code,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

enum Step<'v> {
    Field(&'v str),
    Index(usize),
}

impl<'v> Checker<'v> {
    pub(super) fn new() -> Self {
        Self { path: Vec::new(), found: Vec::new(), errors: 0 }
    }

    /// Compares `value` with `shape`.
    pub(super) fn walk(&mut self, shape: &Shape, value: &'v Value) {
        match *shape {
            Shape::Any => {}
            Shape::Boolean => {
                if !value.is_boolean() {
                    self.wrong_type("true or false", value);
                }
            }
            Shape::Integer { min, max } => self.integer(min, max, value),
            Shape::PortOrName => match value {
                Value::String(_) => self.text(1, 63, None, value),
                _ => self.integer(1, 65535, value),
            },
            Shape::IntegerOf(allowed) => match value.as_i64() {
                Some(number) if allowed.contains(&number) => {}
                Some(number) => self.not_one_of(&number.to_string(), allowed),
                None if beyond_counting(value).is_some() => self.not_one_of("it", allowed),
                None => self.wrong_type("an integer", value),
            },
            Shape::Text { min, max, form } => self.text(min, max, form, value),
            Shape::OneOf(allowed) => match value.as_str() {
                Some(text) if allowed.contains(&text) => {}
                Some(text) => {
                    let near = nearest(text, allowed.iter().copied());
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    self.report(
                        "",
                        Code::NotOneOf,
                        format!("`{text}` is not one of {}", allowed.join(", ")),
                        hint,
                    );
                }
                None => self.wrong_type("a string", value),
            },
            Shape::Object { fields, rules } => match value.as_object() {
                Some(object) => self.object(fields, rules, object, value),
                None => self.wrong_type("an object", value),
            },
            Shape::Map { key, value: shape, max } => match value.as_object() {
                Some(entries) => self.map(key, shape, max, entries),
                None => self.wrong_type("a map", value),
            },
            Shape::List { item, min, max, distinct, rules } => match value.as_array() {
                Some(items) => {
                    let before = self.errors;
                    self.list(item, min, max, distinct, items);
                    self.rules(rules, value, before);
                }
                None => self.wrong_type("a list", value),
            },
        }
    }

    fn integer(&mut self, min: i64, max: i64, value: &Value) {
        match value.as_i64() {
            Some(number) if number < min => {
                self.report("", Code::TooSmall, format!("{number} is less than {min}"), None);
            }
            Some(number) if number > max => {
                self.report("", Code::TooLarge, format!("{number} is more than {max}"), None);
            }
            Some(_) => {}
            None if value.is_u64() => {
                self.report("", Code::TooLarge, format!("{value} is more than {max}"), None)
            }
            // The text's own digits are lost by now: it is read as a double.
            None if beyond_counting(value) == Some(Ordering::Greater) => {
                self.report("", Code::TooLarge, format!("is more than {max}"), None);
            }
            None if beyond_counting(value) == Some(Ordering::Less) => {
                self.report("", Code::TooSmall, format!("is less than {min}"), None);
            }
            None => self.wrong_type("an integer", value),
        }
    }

    fn not_one_of(&mut self, shown: &str, allowed: &[i64]) {
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        self.report("", Code::NotOneOf, format!("{shown} is not one of {}", allowed.join(", ")), None);
    }

    fn text(&mut self, min: usize, max: usize, form: Option<&'static Form>, value: &Value) {
        let Some(text) = value.as_str() else { return self.wrong_type("a string", value) };
        let length = text.chars().count();
        if length < min {
            let message = if length == 0 { "is empty".to_owned() } else { format!("is shorter than {min}") };
            self.report("", Code::TooShort, message, None);
        } else if length > max {
            self.report("", Code::TooLong, format!("has {length} characters, more than {max}"), None);
        } else if let Some(form) = form.filter(|form| !(form.fits)(text)) {
            self.malformed("", text, form);
        }
    }

    fn malformed(&mut self, suffix: &str, text: &str, form: &Form) {
        let shown: String = text.chars().take(80).collect();
        self.report(suffix, Code::Malformed, format!("{shown:?} is not {}", form.called), None);
    }

    fn object(&mut self, fields: &[Field], rules: &[Rule], object: &'v Map<String, Value>, value: &'v Value) {
        let before = self.errors;
        for field in fields.iter().filter(|field| field.required && !object.contains_key(field.name)) {
            self.report(&format!(".{}", field.name), Code::MissingField, "is missing".to_owned(), None);
        }
        for (name, value) in object {
            self.path.push(Step::Field(name));
            match fields.iter().find(|field| field.name == name) {
                Some(field) => self.walk(&field.shape, value),
                None => {
                    let near = nearest(name, fields.iter().map(|field| field.name));
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    self.report("", Code::UnknownField, "there is no such field".to_owned(), hint);
                }
            }
            self.path.pop();
        }
        self.rules(rules, value, before);
    }

    fn map(
        &mut self,
        key: Option<&'static Form>,
        shape: &Shape,
        max: usize,
        entries: &'v Map<String, Value>,
    ) {
        if entries.len() > max {
            self.report(
                "",
                Code::TooManyEntries,
                format!("has {} entries, more than {max}", entries.len()),
                None,
            );
        }
        for (name, value) in entries {
            self.path.push(Step::Field(name));
            if let Some(form) = key.filter(|form| !(form.fits)(name)) {
                self.malformed("", name, form);
            }
            self.walk(shape, value);
            self.path.pop();
        }
    }

    fn list(&mut self, item: &Shape, min: usize, max: usize, distinct: Distinct, items: &'v [Value]) {
        let count = items.len();
        if count < min {
            let message = if count == 0 {
                "is empty".to_owned()
            } else {
                format!("has {count} items, less than {min}")
            };
            self.report("", Code::TooFewItems, message, None);
        } else if count > max {
            self.report("", Code::TooManyItems, format!("has {count} items, more than {max}"), None);
        }
        for (index, value) in items.iter().enumerate() {
            self.path.push(Step::Index(index));
            self.walk(item, value);
            self.path.pop();
        }
        let (key, code): (fn(&'v Value, &'static str) -> Option<&'v Value>, _) = match distinct {
            Distinct::No => return,
            Distinct::Value => (|value, _| Some(value), Code::DuplicateValue),
            Distinct::By(_) => (|value, field| value.get(field), Code::DuplicateItem),
        };
        let field = if let Distinct::By(field) = distinct { field } else { "" };
        let mut seen = BTreeSet::new();
        for (index, value) in items.iter().enumerate() {
            let Some(key) = key(value, field).filter(|key| key.is_string() || key.is_number()) else {
                continue;
            };
            if !seen.insert(key.to_string()) {
                let suffix =
                    if field.is_empty() { format!("[{index}]") } else { format!("[{index}].{field}") };
                self.report(&suffix, code, format!("{key} appears twice"), None);
            }
        }
    }

    fn rules(&mut self, rules: &[Rule], value: &'v Value, errors_before: usize) {
        if self.errors == errors_before {
            rules.iter().for_each(|rule| rule(value, self));
        }
    }

    fn wrong_type(&mut self, expected: &str, value: &Value) {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_f64() => "a fraction",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let hint = match (expected, value) {
            ("a string", Value::Number(_) | Value::Bool(_)) => Some(format!("quote it: \"{value}\"")),
            ("an integer", Value::String(text)) if text.parse::<i64>().is_ok() => {
                Some(format!("remove the quotes: {text}"))
            }
            ("true or false", Value::String(text)) => match text.to_lowercase().as_str() {
                "true" | "yes" | "on" => Some("write true, without quotes".to_owned()),
                "false" | "no" | "off" => Some("write false, without quotes".to_owned()),
                _ => None,
            },
            ("a list", Value::Object(_) | Value::String(_)) => Some("begin each item with `- `".to_owned()),
            _ => None,
        };
        self.report("", Code::WrongType, format!("is {found}, not {expected}"), hint);
    }

    /// Adds a finding about what the code says by itself.
    pub(super) fn broken(&mut self, suffix: &str, code: Code) {
        self.report(suffix, code, code.meaning().to_owned(), None);
    }

    /// Adds a finding about the field at `suffix` from here, such as `[2].tls`.
    pub(super) fn report(&mut self, suffix: &str, code: Code, message: String, hint: Option<String>) {
        if code.severity() == Severity::Error {
            self.errors += 1;
        }
        match self.found.len() {
            0..FINDINGS_MAX => {
                let field = self.field(suffix);
                self.found.push(Found { code, field, message, hint });
            }
            FINDINGS_MAX => self.found.push(Found {
                code: Code::MoreFindings,
                field: String::new(),
                message: format!("there are more than {FINDINGS_MAX} findings"),
                hint: None,
            }),
            _ => {}
        }
    }

    fn field(&self, suffix: &str) -> String {
        let mut field = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => write!(field, "[{index}]"),
                Step::Field(name) if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                    write!(field, ".{name}")
                }
                Step::Field(name) => write!(field, "[\"{name}\"]"),
            }
            .expect("writing to a String cannot fail");
        }
        field.push_str(suffix);
        field.strip_prefix('.').map(str::to_owned).unwrap_or(field)
    }
}

/// Whether a number is above or below all that an integer can hold. Such a one is no fraction, whatever holds it.
fn beyond_counting(value: &Value) -> Option<Ordering> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    let number = value.as_f64().filter(|_| value.is_f64())?;
    if number >= BOUND {
        Some(Ordering::Greater)
    } else if number < -BOUND {
        Some(Ordering::Less)
    } else {
        None
    }
}
