//! Oracles: they are told what clients and backends saw, know what the network broke, and say what must not be.

pub mod content;
pub mod http;
pub mod rest;
pub mod tcp;
