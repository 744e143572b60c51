//! Turns what users wrote into what a proxy is told: files are watched, read, translated and published.
//!
//! The steps in order: `source` (files and the kernel's word that they changed), `settle` (when a burst is over),
//! `inventory` (the objects in force), `publish` (objects to data plane) and `status` (what came of them).
//! [`standalone`] runs them. [`kube`] does the same for a cluster. Nothing here carries traffic, and nothing that fails here takes away what is in force.
#![forbid(unsafe_code)]

mod chunk;
pub mod install;
pub mod inventory;
pub mod kube;
mod now;
pub mod provision;
pub mod publish;
pub mod rest;
pub mod serve;
pub mod settle;
pub mod source;
pub mod standalone;
pub mod status;
