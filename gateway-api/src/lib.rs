//! Gateway API objects in, proxy configuration and statuses out. Pure: no clock, no file, no socket, no chance.
//!
//! `manifest/` reads YAML documents and knows where each field stands; `objects/` holds the kinds, tolerantly
//! decoded; `validate/` says what the official rules find wrong with them.
#![forbid(unsafe_code)]

pub mod manifest;
pub mod objects;
pub mod validate;

pub use objects::{DecodeError, Kind, Object, ObjectKey};
