//! Facts about the tree, as tests.
//!
//! Each test reads the files of the checkout and nothing else, so all of them together take a second. A test here holds
//! what a compiler cannot see: which crate may use which, that documents name what exists, that a document's figures are
//! the code's. It never runs a program and never writes.
#![forbid(unsafe_code)]

mod manifest;
mod tree;

pub use manifest::Manifest;
pub use tree::Tree;

#[cfg(test)]
mod commands;
#[cfg(test)]
mod crates;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod sources;
