//! What remains of an exchange when it is over: the input of metrics and of the access log.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_config::{ClusterKey, ListenerKey, RouteKey};

use crate::failure::{Flag, Flags};
use crate::retry::Final;
use crate::time::Instant;

/// What a request is counted and logged under. Made with its plan and shared within the core: to share the names themselves
/// would be a write that all other cores feel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The listener that served it.
    pub listener: Option<ListenerKey>,
    /// The route that matched, if any.
    pub route: Option<RouteKey>,
    /// The cluster it was sent to, if any.
    pub cluster: Option<ClusterKey>,
}

/// One finished request. Every path through `serve` returns one, so that none is forgotten.
#[must_use = "a request that is not recorded is invisible"]
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What it is counted under, once known.
    pub labels: Option<Rc<Labels>>,
    /// The endpoint it was sent to last, if any.
    pub endpoint: Option<SocketAddr>,
    /// The status the client saw; 0 if it saw none.
    pub status: u16,
    /// For gRPC: the status told in trailers or headers.
    pub grpc_status: Option<u16>,
    /// Why it ended as it did.
    pub flags: Flags,
    /// The same in words.
    pub details: &'static str,
    /// Body bytes from the client.
    pub request_body_bytes: u64,
    /// Body bytes to the client.
    pub response_body_bytes: u64,
    /// When its first byte came.
    pub started: Instant,
    /// From its first byte to the last byte of the answer.
    pub duration: Duration,
    /// From sending it upstream to the first byte of the response.
    pub upstream_time: Option<Duration>,
    /// The part of the duration in which we worked on it, instead of waiting for the client or an upstream.
    pub processing_time: Duration,
    /// How often it was sent upstream.
    pub attempts: u32,
}

impl Summary {
    /// A request of which nothing is known yet but when it began.
    pub fn begun(started: Instant) -> Self {
        Self {
            labels: None,
            endpoint: None,
            status: 0,
            grpc_status: None,
            flags: Flags::default(),
            details: "",
            request_body_bytes: 0,
            response_body_bytes: 0,
            started,
            duration: Duration::ZERO,
            upstream_time: None,
            processing_time: Duration::ZERO,
            attempts: 0,
        }
    }

    /// The listener that served it, once known.
    pub fn listener(&self) -> Option<&ListenerKey> {
        self.labels.as_ref()?.listener.as_ref()
    }

    /// The route that matched, if any.
    pub fn route(&self) -> Option<&RouteKey> {
        self.labels.as_ref()?.route.as_ref()
    }

    /// The cluster it was sent to last, if any.
    pub fn cluster(&self) -> Option<&ClusterKey> {
        self.labels.as_ref()?.cluster.as_ref()
    }

    /// Why it was not sent again.
    pub fn note_final(&mut self, reason: Final) {
        if reason == Final::Exhausted {
            self.flags.insert(Flag::UpstreamRetryLimitExceeded);
        }
    }
}
