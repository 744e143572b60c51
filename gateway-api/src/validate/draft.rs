//! An object that is not admitted, as near to what was meant as can be told: lest one wrong value hides what else is
//! wrong, with it and with all that refers to it. Never served.

use serde_json::Value;

use super::code::{Code, Severity};
use super::finding::Finding;
use crate::manifest::Document;
use crate::objects::Object;

/// An unsound object without what is unsound about it.
#[derive(Debug)]
pub struct Draft {
    /// It decodes.
    pub document: Document,
    /// The fields that are not as they were written.
    mended: Vec<String>,
    whole: bool,
}

impl Draft {
    /// Mends or takes out the values that were found not to fit. `None`: it is still nothing that can be read.
    pub(super) fn of(document: &Document, found: &[Finding]) -> Option<Self> {
        let unfit = |finding: &&Finding| {
            let codes = [Code::WrongType, Code::TooLarge, Code::TooSmall];
            finding.severity == Severity::Error && codes.contains(&finding.code)
        };
        let unfit: Vec<&Finding> = found.iter().filter(unfit).collect();
        let mended: Vec<String> = unfit.iter().map(|finding| finding.field.clone()).collect();
        // As little as will do: a number out of bounds may still be one that can be held.
        let efforts = [(true, false), (true, true), (false, true)];
        efforts.into_iter().find_map(|(convert, numbers)| {
            let mut document = document.clone();
            let mut whole = true;
            for finding in &unfit {
                let wrong_type = finding.code == Code::WrongType;
                if wrong_type || numbers {
                    whole &= wrong_type;
                    whole &= mend(&mut document.value, &finding.field, convert, !wrong_type)?;
                }
            }
            let decodes = matches!(Object::decode(document.value.clone()), Ok(Some(_)));
            decodes.then(|| Self { document, mended: mended.clone(), whole })
        })
    }

    /// Whether nothing is missing from it, so that the rules can be asked about it once more.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether a finding is about what was mended, so that it says nothing of what was written.
    pub fn hides(&self, finding: &Finding) -> bool {
        let within = |mended: &String| {
            finding
                .field
                .strip_prefix(&**mended)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        finding.object == self.document.name()
            && finding.place.source == self.document.source
            && self.mended.iter().any(within)
    }
}

/// Puts what was probably meant in the place of a field, or nothing; whether something is there.
fn mend(value: &mut Value, field: &str, convert: bool, number: bool) -> Option<bool> {
    let (parent, last) = parent_of(value, field)?;
    let found = match (&mut *parent, &last) {
        (Value::Object(fields), Step::Field(name)) => fields.get_mut(*name)?,
        (Value::Array(items), Step::Index(index)) => items.get_mut(*index)?,
        _ => return None,
    };
    let meant = match found {
        Value::String(text) => text.parse::<u32>().map(Value::from).ok(),
        // A number that is possible nearly everywhere, such as for a port, which must be there.
        Value::Number(_) if number => Some(Value::from(1)),
        Value::Number(_) | Value::Bool(_) => Some(Value::String(found.to_string())),
        _ => None,
    };
    let meant = meant.filter(|_| convert);
    let converted = meant.is_some();
    match (parent, last, meant) {
        (Value::Object(fields), Step::Field(name), Some(meant)) => {
            drop(fields.insert(name.to_owned(), meant))
        }
        (Value::Array(items), Step::Index(index), Some(meant)) => *items.get_mut(index)? = meant,
        (Value::Object(fields), Step::Field(name), None) => drop(fields.remove(name)),
        // Without an item, all that come after it would be others.
        _ => return None,
    }
    Some(converted)
}

enum Step<'f> {
    Field(&'f str),
    Index(usize),
}

/// What holds the field, and the last step to it.
fn parent_of<'v, 'f>(value: &'v mut Value, field: &'f str) -> Option<(&'v mut Value, Step<'f>)> {
    let mut at = value;
    let (mut step, mut rest) = next(field)?;
    while !rest.is_empty() {
        at = match step {
            Step::Field(name) => at.get_mut(name)?,
            Step::Index(index) => at.get_mut(index)?,
        };
        (step, rest) = next(rest)?;
    }
    Some((at, step))
}

fn next(path: &str) -> Option<(Step<'_>, &str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(quoted) = path.strip_prefix("[\"") {
        let (name, rest) = quoted.split_once("\"]")?;
        return Some((Step::Field(name), rest));
    }
    if let Some(bracketed) = path.strip_prefix('[') {
        let (index, rest) = bracketed.split_once(']')?;
        return Some((Step::Index(index.parse().ok()?), rest));
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    (end > 0).then(|| (Step::Field(&path[..end]), &path[end..]))
}
