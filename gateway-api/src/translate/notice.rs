//! What a user should know and no condition can say, because the object has no status.

use serde::Serialize;

use crate::objects::ObjectKey;

/// A remark about an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Notice {
    /// The object.
    pub object: ObjectKey,
    /// What is odd about it, with the field.
    pub message: String,
}
