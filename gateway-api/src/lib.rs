//! Gateway API objects in, proxy configuration and statuses out. Pure.

pub mod manifest;
