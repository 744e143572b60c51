//! Gateway API objects in, proxy configuration and statuses out. Pure: no clock, no file, no socket, no chance.
//!
//! `manifest/` reads YAML documents and knows where each field stands; `validate/` says what the official rules find
//! wrong with them; `objects/` holds the kinds, tolerantly decoded; `world.rs` keeps them sorted; `translate/` makes
//! configuration and statuses of them. Start at [`Translator`].
#![forbid(unsafe_code)]

pub mod manifest;
pub mod objects;
pub mod translate;
pub mod validate;
pub mod world;

pub use objects::{DecodeError, Kind, Object, ObjectKey};
pub use translate::{Delta, Notice, Options, Status, Translation, Translator, translate};
pub use world::{Changes, World};
