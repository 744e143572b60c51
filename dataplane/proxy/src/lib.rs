//! The I/O of the proxy: sockets, TLS, HTTP codecs, the life of a connection.
//!
//! What to do is decided in `ringway-core`; here it is done, top to bottom, in short async functions. All of it is
//! generic over one thing, the outside world ([`env::Env`]): the machine in production, the simulator in tests.
//! Nothing here shares mutable state between cores: they talk by mailbox.
#![deny(unsafe_code)]

pub mod env;
pub mod mailbox;
pub mod tls;
