//! One object as it was written: its value, its name, and where each field stands.

use std::fmt;

use serde_json::Value;

use super::fault::{ManifestError, Problem};
use super::place::{Place, Places, SourceName};
use crate::objects::{DecodeError, Object};

/// One object of a manifest, not yet understood.
#[derive(Debug, Clone)]
pub struct Document {
    /// The text it came from.
    pub source: SourceName,
    /// The object: always a JSON object.
    pub value: Value,
    /// Where its fields stand.
    pub places: Places,
}

impl Document {
    /// The place of the field at `path`, or of its nearest ancestor; the object's own for the empty path.
    pub fn place(&self, path: &str) -> Place {
        let (line, column) = self.places.find(path);
        Place { source: SourceName::clone(&self.source), line, column }
    }

    /// The object's name for messages.
    pub fn name(&self) -> ObjectName {
        ObjectName::of(&self.value)
    }

    /// The object, typed. `None`: a kind that ringway does not read. What does not fit is an error that names
    /// the object, the field and its place.
    pub fn object(&self) -> Result<Option<Object>, ManifestError> {
        Object::decode(self.value.clone()).map_err(|error| match error {
            DecodeError::Field { path, message } => self.fault(path, message),
            DecodeError::Untyped => {
                let missing = if self.places.holds("apiVersion") { "kind" } else { "apiVersion" };
                self.fault(missing.to_owned(), "missing".to_owned())
            }
            DecodeError::Unnamed => self.fault("metadata.name".to_owned(), "missing".to_owned()),
        })
    }

    /// An error about the field at `field`, for those who read the value by other means.
    pub fn fault(&self, field: String, message: String) -> ManifestError {
        let place = self.place(&field);
        ManifestError { place, problem: Problem::Field { object: Box::new(self.name()), field, message } }
    }
}

/// An object's name as messages print it: `HTTPRoute/namespace/name`, `GatewayClass/name`.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its kind; empty if it states none.
    pub kind: String,
    /// Its namespace; empty if it states none, as for kinds without one.
    pub namespace: String,
    /// Its name; empty if it states none.
    pub name: String,
}

impl ObjectName {
    /// The name that an object states, whatever else is wrong with it.
    pub fn of(value: &Value) -> Self {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { kind: text("/kind"), namespace: text("/metadata/namespace"), name: text("/metadata/name") }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &'_ str| if text.is_empty() { "?".to_owned() } else { text.to_owned() };
        write!(f, "{}/", shown(&self.kind))?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&shown(&self.name))
    }
}
