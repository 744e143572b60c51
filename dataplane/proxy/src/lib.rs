//! The I/O of the proxy: sockets, TLS, HTTP codecs, the life of a connection.
//!
//! What to do is decided in `ringway-core`; here it is done, top to bottom, in short async functions. All of it is
//! generic over one thing, the outside world ([`env::Env`]): the machine in production, the simulator in tests.
//! Nothing here shares mutable state between cores: they talk by mailbox.
//!
//! Follow a request: [`accept`] → [`connection`] → [`http1`] or [`http2`] → [`serve`] → [`upstream`] → [`carry`].
#![deny(unsafe_code)]

pub mod accept;
pub mod access_log;
pub mod admission;
pub mod body;
pub mod buffer;
mod busy;
pub mod carry;
pub mod cluster;
pub mod connection;
pub mod core;
mod date;
pub mod drain;
pub mod env;
pub mod exchange;
pub mod http1;
pub mod http2;
pub mod io;
pub mod latch;
pub mod link;
pub mod mailbox;
mod mirror;
mod names;
pub mod outbox;
mod outliers;
pub mod proxy;
mod race;
mod resolver;
pub mod room;
pub mod serve;
pub mod signal;
pub mod snapshot;
mod tcp;
mod threads;
pub mod timer;
pub mod tls;
mod tunnel;
mod udp;
pub mod upstream;
pub mod worker;

pub use proxy::{Applied, FailedBind, Options, Proxy, TEND_EVERY};
pub use resolver::Resolver;
