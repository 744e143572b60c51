//! What can be wrong with a manifest before anyone asks what it means. Every message says what is wrong and
//! what to do.

use super::ObjectName;
use super::place::Place;

/// A fault of a text, with its place: `file:line:column: what is wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ManifestError {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is longer than a manifest may be.
    #[error("the text has {bytes} bytes, more than the {limit} that are read; split it into several files")]
    TextTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More documents than are read from one text.
    #[error("there are more than {limit} documents; split the text into several files")]
    TooManyDocuments {
        /// The limit.
        limit: usize,
    },
    /// So many faults that the rest is not listed.
    #[error("there are more than {limit} faults; mend these first")]
    TooManyFaults {
        /// The limit.
        limit: usize,
    },
    /// Not YAML: what the parser says.
    #[error("not valid YAML: {0}; check quotes, colons and indentation here and on the line before")]
    Syntax(String),
    /// Nested deeper than any object of ours.
    #[error("nested deeper than {limit} levels; no known object needs that, flatten it")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Anchors and aliases stand for more than may be held.
    #[error("anchors and aliases expand to more than {limit} bytes; write the values out or use fewer")]
    ExpandsTooFar {
        /// The limit.
        limit: usize,
    },
    /// An alias inside the very node that it names.
    #[error("the alias stands inside the value it refers to; write the value out")]
    AliasOfItself,
    /// The same key twice in one mapping.
    #[error("the key `{key}` appears twice, first on line {first}; remove one")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of its first appearance.
        first: u32,
    },
    /// A list, mapping or nothing used as a key.
    #[error("a key must be a word or a number; quote it if it looks otherwise")]
    KeyNotScalar,
    /// `<<`, which YAML 1.2 does not have.
    #[error("merge keys (`<<`) are not supported; write the fields out")]
    MergeKey,
    /// A tag that has no JSON equivalent.
    #[error("the tag `{0}` is not supported; write a plain value")]
    Tag(String),
    /// A scalar that its own tag contradicts.
    #[error("`{text}` is not a value of type `{tag}`; mend the value or remove the tag")]
    TagMismatch {
        /// The scalar as written.
        text: String,
        /// The tag.
        tag: String,
    },
    /// Infinity, not-a-number, or beyond what a double holds.
    #[error("`{0}` cannot be held as a number; quote it if it is a string")]
    NoSuchNumber(String),
    /// A document that is not a mapping.
    #[error("this document is a {0}, not an object; start it with `apiVersion:` and `kind:`")]
    NotAnObject(&'static str),
    /// The value does not fit the type of its kind.
    #[error("{object}: {field}: {message}; correct the field's value")]
    Field {
        /// The object it belongs to.
        object: Box<ObjectName>,
        /// The field's path.
        field: String,
        /// What does not fit.
        message: String,
    },
}
