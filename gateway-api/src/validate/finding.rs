//! A finding: what is wrong, where, and what to do.

use std::fmt;

use super::code::{Code, Severity};
use crate::manifest::{Document, ManifestError, ObjectName, Place, Problem};

/// One thing that is wrong with an object, or worth knowing about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of finding it is.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// Whose it is.
    pub object: ObjectName,
    /// The path of the field; empty for the object as a whole.
    pub field: String,
    /// Where it stands: the field, or its nearest ancestor that was written down.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Finding {
    /// A finding about a field of a document. Without a hint of its own, it takes the code's remedy.
    pub fn new(
        code: Code,
        document: &Document,
        field: String,
        message: String,
        hint: Option<String>,
    ) -> Self {
        Self {
            code,
            severity: code.severity(),
            object: document.name(),
            place: document.place(&field),
            field,
            message,
            hint: hint.unwrap_or_else(|| code.remedy().to_owned()),
        }
    }
}

/// `file:line:column: error[RW1201] HTTPRoute/ns/name: spec.rules: what is wrong; what to do`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}[{}]", self.place, self.severity, self.code)?;
        if self.object != ObjectName::default() {
            write!(f, " {}", self.object)?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.message, self.hint)
    }
}

impl From<ManifestError> for Finding {
    fn from(error: ManifestError) -> Self {
        let code = match &error.problem {
            Problem::TextTooLong { .. } => Code::TextTooLong,
            Problem::TooManyDocuments { .. } => Code::TooManyDocuments,
            Problem::TooManyFaults { .. } => Code::TooManyFaults,
            Problem::Syntax(_) => Code::Syntax,
            Problem::TooDeep { .. } => Code::TooDeep,
            Problem::ExpandsTooFar { .. } => Code::ExpandsTooFar,
            Problem::AliasOfItself => Code::AliasOfItself,
            Problem::DuplicateKey { .. } => Code::DuplicateKey,
            Problem::KeyNotScalar => Code::KeyNotScalar,
            Problem::MergeKey => Code::MergeKey,
            Problem::Tag(_) => Code::Tag,
            Problem::TagMismatch { .. } => Code::TagMismatch,
            Problem::NoSuchNumber(_) => Code::NoSuchNumber,
            Problem::NotAnObject(_) => Code::NotAnObject,
            Problem::Field { .. } => Code::Undecodable,
        };
        let shown = error.problem.to_string();
        // A problem's own sentence is "what is wrong; what to do".
        let (message, hint) = shown.rsplit_once("; ").unwrap_or((&shown, code.remedy()));
        let (message, hint) = (message.to_owned(), hint.to_owned());
        let (object, field, message) = match error.problem {
            Problem::Field { object, field, message } => (*object, field, message),
            _ => (ObjectName::default(), String::new(), message),
        };
        Self { code, severity: code.severity(), object, field, place: error.place, message, hint }
    }
}

/// Sorts findings by place, so that a reader can go through a file once; then by code and field.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        (&a.place, a.code, &a.field, &a.message).cmp(&(&b.place, b.code, &b.field, &b.message))
    });
}
