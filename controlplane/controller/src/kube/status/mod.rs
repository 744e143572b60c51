//! From what translation says of an object to what stands in its status.
//!
//! In order: `programmed` (what only a running cluster can tell: addresses, and which proxies have it), `plan` (whether
//! and what to write, given what stands there), `desk` (which object is next, and when) and `write` (I/O).

pub mod desk;
pub mod plan;
pub mod programmed;
pub mod write;
