//! `ringway perf`: how long requests take, measured so that nobody has to take it on trust.
//!
//! Load is open loop by default: when each request is due is settled before the run, and its latency counts from
//! there, so that a server that stalls cannot hide it by slowing the generator down. Knows nothing of ringway: every
//! figure holds for any proxy or server, and the crate depends on none of ours.
#![deny(unsafe_code)]

pub mod args;
mod cause;
pub mod churn;
pub mod compare;
mod contest;
pub mod cost;
pub mod distribution;
pub mod engine;
#[cfg(test)]
mod example;
pub mod find_max;
pub mod floor;
pub mod gate;
pub mod isolate;
mod live;
mod machine;
pub mod outcome;
mod outgoing;
pub mod peers;
pub mod plan;
mod poll;
pub mod report;
pub mod run;
pub mod schedule;
mod selftest;
pub mod server;
pub mod statistics;
mod transport;
pub mod verdict;
mod wire;

pub use args::Args;
pub use run::run;
