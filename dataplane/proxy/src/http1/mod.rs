//! HTTP/1.x on both sides: the connections of clients, and those to upstreams.

mod client;
mod server;

pub(crate) use client::upgrade_instead_of_connect;
pub use client::{Http1Client, RequestSide, ResponseSide};
pub use server::{Http1Reply, ReplyState, serve_connection};
