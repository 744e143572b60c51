//! Manifests: the text of Kubernetes objects in, plain values with their places out. Pure: the caller reads
//! files.
//!
//! [`parse()`] turns multi-document YAML (or JSON) into [`Document`]s, each a JSON value that remembers where
//! every field stood, so that whatever is found wrong later can be shown as `file:line:column`. A broken
//! document costs itself only: its faults are reported and the others are returned. What an API server would
//! add to a stored object is added by `standalone.rs`; what the objects mean is `objects/`, and whether they
//! follow the rules is `validate/`.

mod document;
mod fault;
mod parse;
mod place;
mod scalar;
mod standalone;

pub use document::{Document, ObjectName};
pub use fault::{ManifestError, Problem};
pub use parse::{DEPTH_MAX, DOCUMENTS_MAX, ERRORS_MAX, EXPANSION_BYTES_MAX, TEXT_BYTES_MAX, parse};
pub use place::{Place, Places, SourceName};
pub use standalone::{Scope, Stamp, default_namespace, scope, stamp};
