//! Every decision of the proxy, without I/O, clock or randomness: bytes, values, time and chance come in, values go out.
//!
//! The order of the modules is the order of a request: its head is parsed ([`http1`], [`message`]), made canonical
//! ([`canonical`]), routed (`route`) to a [`Decision`], edited ([`headers`], [`step`]), sent to an endpoint that
//! `balance` picks within [`limits`], tried again if `retry` allows, and recorded (`record`).
//! `ringway-proxy` does what is decided here; nothing in this crate ever waits.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod admission;
pub mod answer_for;
pub mod arrival;
pub mod balance;
pub mod canonical;
pub mod compiled;
mod cors;
pub mod decision;
pub mod explain;
pub mod failure;
#[cfg(test)]
mod fixture;
pub mod handover;
pub mod headers;
pub mod health;
pub mod http1;
pub mod limits;
pub mod message;
pub mod pool;
pub mod proxy_protocol;
pub mod record;
mod redirect;
pub mod retry;
mod rewrite;
pub mod route;
pub mod sniff;
pub mod step;
pub mod summary;
pub mod time;
pub mod turn;

pub use answer_for::answer_for;
pub use arrival::{Arrival, PeerIdentity, Scheme};
pub use balance::{Balancer, EndpointId, Outcome, Pick};
pub use compiled::{BindKind, Compiled};
pub use decision::{Answer, AnswerBody, Decision, Forward, Plan, PlanBackend, PlanEnd, PlanTarget};
pub use explain::Explanation;
pub use failure::{Evidence, Failure, Flag, Flags, UpstreamCause};
pub use message::{Fields, RequestHead, ResponseHead, Version};
pub use pool::{CleanEnd, Lease, Pool, PoolLimits, SharedPool};
pub use retry::{Again, Attempts, Circumstances};
pub use route::{ClusterSource, L4Decision, L4Forward, L4Plan, L4Refusal, SniChoice, View};
pub use step::{MirrorTo, RequestFacts};
pub use summary::{Labels, Summary};
pub use time::Instant;
