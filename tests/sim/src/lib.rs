//! The deterministic simulator: the production proxy under virtual time and drawn faults.
//!
//! [`world`] runs tasks under a virtual clock; [`network`] connects them; [`mod@env`] is what the proxy sees of both.
//! [`faults`] says what may go wrong, [`peer`] has scripted clients and backends, [`checker`] the oracles that judge
//! what they saw, [`scenario`] runs seeds. One seed decides everything: no other source of chance, time or order may
//! be used here.
#![forbid(unsafe_code)]

pub mod checker;
pub mod env;
pub mod faults;
pub mod network;
pub mod peer;
pub mod proxy;
pub mod random;
pub mod scenario;
pub mod scenarios;
pub mod trace;
pub mod world;

pub use env::SimEnv;
pub use faults::Faults;
pub use random::Random;
pub use scenario::Scenario;
pub use world::{Bounds, Place, Run, World};
