//! The words in which the tables of `kinds/` are written: what shape a value has, what it holds if nothing is
//! said, and which rules beyond shape it follows. Everything here is constant data; `walk.rs` and
//! `defaults.rs` read it.

use serde_json::Value;

use super::form::Form;
use super::walk::Checker;

/// A rule that a shape cannot express. It is asked only about values whose shape, defaults included, is
/// right.
pub(super) type Rule = for<'v> fn(&'v Value, &mut Checker<'v>);

/// What a value may be.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Anything: not looked into.
    Any,
    /// True or false.
    Boolean,
    /// An integer within bounds.
    Integer { min: i64, max: i64 },
    /// A port's number or its name.
    PortOrName,
    /// One of these integers.
    IntegerOf(&'static [i64]),
    /// A text within bounds, counted in characters, and of a form.
    Text { min: usize, max: usize, form: Option<&'static Form> },
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Known fields.
    Object { fields: &'static [Field], rules: &'static [Rule] },
    /// Keys that the user chooses.
    Map { key: Option<&'static Form>, value: &'static Shape, max: usize },
    /// A list within bounds.
    List { item: &'static Shape, min: usize, max: usize, distinct: Distinct, rules: &'static [Rule] },
}

/// What tells the items of a list apart.
#[derive(Clone, Copy)]
pub(super) enum Distinct {
    /// Nothing: they may be equal.
    No,
    /// The whole value.
    Value,
    /// This field.
    By(&'static str),
}

/// A field of an object.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    pub(super) default: Option<Default>,
}

/// What a field holds if it is absent.
#[derive(Clone, Copy)]
pub(super) enum Default {
    Text(&'static str),
    Integer(i64),
    /// An object, whose own fields have defaults.
    Empty,
    /// A list of one such object.
    One,
}

pub(super) const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: true, default: None }
}

pub(super) const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: false, default: None }
}

pub(super) const fn defaulted(name: &'static str, shape: Shape, default: Default) -> Field {
    Field { name, shape, required: false, default: Some(default) }
}

pub(super) const fn object(fields: &'static [Field]) -> Shape {
    Shape::Object { fields, rules: &[] }
}

pub(super) const fn ruled(fields: &'static [Field], rules: &'static [Rule]) -> Shape {
    Shape::Object { fields, rules }
}

pub(super) const fn text(min: usize, max: usize) -> Shape {
    Shape::Text { min, max, form: None }
}

pub(super) const fn formed(min: usize, max: usize, form: &'static Form) -> Shape {
    Shape::Text { min, max, form: Some(form) }
}

pub(super) const fn integer(min: i64, max: i64) -> Shape {
    Shape::Integer { min, max }
}

pub(super) const fn list(item: &'static Shape, min: usize, max: usize) -> Shape {
    Shape::List { item, min, max, distinct: Distinct::No, rules: &[] }
}

pub(super) const fn map(value: &'static Shape, max: usize) -> Shape {
    Shape::Map { key: None, value, max }
}

impl Shape {
    /// The list with what tells its items apart.
    pub(super) const fn distinct(self, by: Distinct) -> Self {
        match self {
            Self::List { item, min, max, rules, .. } => Self::List { item, min, max, distinct: by, rules },
            other => other,
        }
    }

    /// The list with rules about it as a whole.
    pub(super) const fn with(self, rules: &'static [Rule]) -> Self {
        match self {
            Self::List { item, min, max, distinct, .. } => Self::List { item, min, max, distinct, rules },
            other => other,
        }
    }
}

pub(super) const UNBOUNDED: usize = usize::MAX;
pub(super) const INT32_MAX: i64 = i32::MAX as i64;
