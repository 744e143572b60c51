//! What is said on one connection: requests out, bytes in, events of them. Pure, one machine for each protocol; the
//! loop owns the sockets and the clock.

mod http1;
mod message;

use std::sync::Arc;

pub(crate) use self::http1::Http1;
pub(crate) use self::message::{Bulk, Ping};
use crate::cause::Cause;
use crate::engine::target::Target;
use crate::outgoing::Outgoing;
use crate::plan::{Plan, Protocol};

/// What came of bytes that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Requests may be made.
    Ready,
    /// The request of this slot is answered.
    Answered {
        slot: u32,
        /// Of HTTP or gRPC; 0 where there is none.
        status: u16,
        /// Of the body or message.
        bytes: u64,
    },
    /// The request of this slot will not be answered.
    Failed { slot: u32, cause: Cause },
    /// No request may be made any more; those that are under way may still be answered.
    Retired,
}

/// What all connections of a run say, made once.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) protocol: Protocol,
    /// `host` or `host:port`.
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) secure: bool,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) request_bytes: usize,
    pub(crate) streams: usize,
    /// A request of HTTP/1.1 without its body.
    pub(crate) http1: Vec<u8>,
}

impl Script {
    pub(crate) fn new(plan: &Plan, target: &Target) -> Self {
        let anew = matches!(plan.protocol, Protocol::Connect | Protocol::ConnectResumed);
        Self {
            protocol: plan.protocol,
            authority: target.authority.clone(),
            path: target.path.clone(),
            secure: target.secure,
            headers: plan.headers.clone(),
            request_bytes: plan.request_bytes,
            streams: plan.streams,
            http1: http1::encode(&target.path, &target.authority, &plan.headers, plan.request_bytes, anew),
        }
    }
}

/// One connection's side of the talk.
#[derive(Debug)]
pub(crate) enum Dialog {
    Http1(Http1),
    Ping(Ping),
    Bulk(Bulk),
}

impl Dialog {
    pub(crate) fn new(script: &Arc<Script>) -> Self {
        let script = Arc::clone(script);
        match script.protocol {
            Protocol::TcpPing => Self::Ping(Ping::new(script.request_bytes)),
            Protocol::TcpBulk => Self::Bulk(Bulk::new(script.request_bytes)),
            _ => Self::Http1(Http1::new(script)),
        }
    }

    /// The connection stands. True: requests may be made at once; else an [`Event::Ready`] comes.
    pub(crate) fn open(&mut self, _out: &mut Outgoing) -> bool {
        true
    }

    /// Makes a request. `slot` is free, and the talk ready.
    pub(crate) fn request(&mut self, slot: u32, out: &mut Outgoing) {
        match self {
            Self::Http1(http1) => http1.request(out),
            Self::Ping(ping) => ping.request(out),
            Self::Bulk(bulk) => bulk.request(out),
        }
        let _ = slot;
    }

    /// Bytes came.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        _out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) -> Result<(), Cause> {
        match self {
            Self::Http1(http1) => http1.feed(input, events),
            Self::Ping(ping) => ping.feed(input, events),
            Self::Bulk(_) => Ok(()),
        }
    }

    /// All that waited is written.
    pub(crate) fn written(&mut self, events: &mut Vec<Event>) {
        if let Self::Bulk(bulk) = self {
            bulk.written(events);
        }
    }

    /// The other side has sent all it will.
    pub(crate) fn end(&mut self, events: &mut Vec<Event>) {
        if let Self::Http1(http1) = self {
            http1.end(events);
        }
    }

    /// Gives a request up. False: the connection cannot be used without its answer.
    pub(crate) fn cancel(&mut self, _slot: u32, _out: &mut Outgoing) -> bool {
        false
    }
}
