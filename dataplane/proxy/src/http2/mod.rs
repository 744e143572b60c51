//! HTTP/2 on both sides, over the `h2` crate: the only place that names it.
//!
//! A connection is driven by one task, each stream of a client by one more; frames of all streams that became ready in
//! one turn leave in one send ([`io`]). Flow-control credit is given back only when the other side took the bytes.

mod client;
mod io;
mod message;
mod server;
mod stream;

pub use client::{ClientStream, RequestSide, ResponseSide, SharedClient, obtain};
pub use server::{Reply, serve_connection};
pub use stream::{Sink, Source};

use crate::body::BodyFailure;

/// What an error of the codec means for a body.
fn body_failure(error: &h2::Error) -> BodyFailure {
    if is_refusal(error) {
        BodyFailure::Refused
    } else if error.is_reset() && error.is_remote() {
        BodyFailure::Reset
    } else if error.is_io() || error.is_go_away() {
        BodyFailure::Broken
    } else {
        BodyFailure::Protocol("HTTP/2 protocol error")
    }
}

/// The other end says that it did not act: a refused stream, or a stream above the last one it will serve.
fn is_refusal(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}
