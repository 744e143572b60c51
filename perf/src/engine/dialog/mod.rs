//! What is said on one connection: requests out, bytes in, events of them. Pure, one machine for each protocol; the
//! loop owns the sockets and the clock.

mod http1;
mod http2;
mod message;
mod websocket;

use std::sync::Arc;

use self::http1::Http1;
use self::http2::Http2;
use self::message::{Bulk, Ping};
use self::websocket::WebSocket;
use crate::cause::Cause;
use crate::engine::target::Target;
use crate::outgoing::Outgoing;
use crate::plan::{Plan, Protocol};
use crate::wire::hpack::{self, Block};
use crate::wire::{http2 as frames, websocket as messages};

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
    pub(crate) request_bytes: usize,
    pub(crate) streams: usize,
    /// A request of HTTP/1.1 without its body, or the upgrade to a WebSocket.
    pub(crate) http1: Vec<u8>,
    /// The fields of a request of HTTP/2.
    pub(crate) block: Block,
    /// A message, or the body of a request of HTTP/2.
    pub(crate) message: Vec<u8>,
}

impl Script {
    pub(crate) fn new(plan: &Plan, target: &Target) -> Self {
        let anew = matches!(plan.protocol, Protocol::Connect | Protocol::ConnectResumed);
        let grpc = matches!(plan.protocol, Protocol::Grpc | Protocol::GrpcStream);
        let mut fields: Vec<(&str, &str)> = Vec::new();
        if grpc {
            fields.extend([("content-type", "application/grpc"), ("te", "trailers")]);
        }
        fields.extend(plan.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let length = plan.request_bytes.to_string();
        if !grpc && plan.request_bytes > 0 {
            fields.push(("content-length", &length));
        }
        let method = if grpc || plan.request_bytes > 0 { "POST" } else { "GET" };
        let message = match plan.protocol {
            Protocol::Http2 => vec![b'x'; plan.request_bytes],
            Protocol::Grpc | Protocol::GrpcStream => frames::message(plan.request_bytes),
            Protocol::WebSocket => {
                let mut message = Vec::new();
                messages::push_message(&mut message, &vec![b'x'; plan.request_bytes], true);
                message
            }
            _ => Vec::new(),
        };
        Self {
            protocol: plan.protocol,
            request_bytes: plan.request_bytes,
            streams: plan.streams,
            http1: match plan.protocol {
                Protocol::WebSocket => http1::encode_upgrade(&target.path, &target.authority, &plan.headers),
                _ => http1::encode(&target.path, &target.authority, &plan.headers, plan.request_bytes, anew),
            },
            block: hpack::request(method, target.secure, &target.authority, &target.path, &fields),
            message,
        }
    }
}

/// One connection's side of the talk.
#[derive(Debug)]
pub(crate) enum Dialog {
    Http1(Http1),
    Http2(Box<Http2>),
    WebSocket(WebSocket),
    Ping(Ping),
    Bulk(Bulk),
}

impl Dialog {
    pub(crate) fn new(script: &Arc<Script>) -> Self {
        let script = Arc::clone(script);
        match script.protocol {
            Protocol::TcpPing => Self::Ping(Ping::new(script.request_bytes)),
            Protocol::TcpBulk => Self::Bulk(Bulk::new(script.request_bytes)),
            Protocol::Http2 | Protocol::Grpc | Protocol::GrpcStream => {
                Self::Http2(Box::new(Http2::new(script)))
            }
            Protocol::WebSocket => Self::WebSocket(WebSocket::new(script)),
            Protocol::Http1 | Protocol::Connect | Protocol::ConnectResumed | Protocol::Idle => {
                Self::Http1(Http1::new(script))
            }
        }
    }

    /// Says what comes first. True: requests may be made as soon as the connection stands; else an [`Event::Ready`]
    /// comes.
    pub(crate) fn open(&mut self, out: &mut Outgoing) -> bool {
        match self {
            Self::Http2(http2) => http2.open(out),
            Self::WebSocket(websocket) => websocket.open(out),
            Self::Http1(_) | Self::Ping(_) | Self::Bulk(_) => return true,
        }
        false
    }

    /// Makes a request. `slot` is free, and the talk ready.
    pub(crate) fn request(&mut self, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        match self {
            Self::Http1(http1) => http1.request(out),
            Self::Http2(http2) => http2.request(slot, out, events),
            Self::WebSocket(websocket) => websocket.request(out),
            Self::Ping(ping) => ping.request(out),
            Self::Bulk(bulk) => bulk.request(out),
        }
    }

    /// Bytes came.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) -> Result<(), Cause> {
        match self {
            Self::Http1(http1) => http1.feed(input, events),
            Self::Http2(http2) => http2.feed(input, out, events),
            Self::WebSocket(websocket) => websocket.feed(input, out, events),
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
    pub(crate) fn cancel(&mut self, slot: u32, out: &mut Outgoing) -> bool {
        if let Self::Http2(http2) = self {
            http2.cancel(slot, out);
            return true;
        }
        false
    }
}
