//! A real cluster as the source of objects and the place of their statuses.
//!
//! In order: `watch` (one kind, I/O), `raw` and `store` (what is held), `pace` (when it goes out), `follow` (the task
//! that owns all of it) and `status` (what objects are told). `report` is what is shown of it.

pub mod class;
pub mod follow;
pub mod pace;
pub mod raw;
pub mod report;
pub mod status;
pub mod store;
pub mod watch;
