//! A real cluster as the source of objects and the place of their statuses.
//!
//! In order: `watch` (one kind, I/O), `raw` and `store` (what is held), `pace` (when it goes out), `follow` (the task
//! that owns all of it) and `status` (what objects are told). `report` is what is shown of it.
//! Beside it: `lease` (which replica writes), `authority` and `admission` (by what proxies and controller know each
//! other), and `serving` (the hub, as the follower sees it).

pub mod admission;
pub mod authority;
pub mod class;
pub mod follow;
pub mod lease;
pub mod pace;
pub mod provisioner;
pub mod raw;
pub mod report;
pub mod serving;
pub mod status;
pub mod store;
pub mod watch;
