//! A connection to an HTTP/1 upstream: sends one request, receives one response, and may then be used again.

use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use ringway_core::http1::encode::Persistence;
use ringway_core::http1::{
    BodyDecoder, BodyFraming, HeadScan, MessageEnd, ParsedResponse, ResponseKind, encode, parse_response,
};
use ringway_core::limits::Limits;
use ringway_core::{CleanEnd, RequestHead, ResponseHead};

use crate::body::{Coding, Http1Sink, Http1Source};
use crate::buffer::{Buffer, Buffers};
use crate::env::Env;
use crate::link::{Link, LinkError};
use crate::upstream::{NoResponse, ResponseStart};

/// A connection to an upstream.
pub struct Http1Client<E: Env> {
    /// In which way its cluster was spoken to when it was made.
    epoch: u64,
    link: Rc<Link<E>>,
    buffers: Buffers,
    inbox: Option<Buffer>,
    decoder: BodyDecoder,
    parsed: Option<ParsedResponse>,
    end: Option<MessageEnd>,
}

impl<E: Env> Http1Client<E> {
    /// A connection that has not been used.
    pub fn new(link: Rc<Link<E>>, buffers: Buffers, limits: &Limits, epoch: u64) -> Self {
        let decoder = BodyDecoder::new(BodyFraming::None, limits);
        Self { epoch, link, buffers, inbox: None, decoder, parsed: None, end: None }
    }

    /// In which way its cluster was spoken to when it was made.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The connection itself.
    pub fn link(&self) -> &Link<E> {
        &self.link
    }

    /// Whether an idle connection can take a request: the upstream has neither ended it nor said anything.
    pub fn is_quiet(&self) -> bool {
        let mut probe = self.buffers.take();
        matches!(self.link.try_fill(&mut probe), Ok(None))
    }

    /// The proof that the connection may be used again after its last response. `request_sent`: to its last byte.
    pub fn reusable(&mut self, request_sent: bool) -> Option<CleanEnd> {
        // Answered before it was sent: what is still on its way is of that request.
        if self.link.is_late() {
            return None;
        }
        let unread = self.inbox.take().is_some_and(|inbox| !inbox.is_empty());
        let (parsed, end) = (self.parsed.take()?, self.end.take()?);
        parsed.clean_end(end, request_sent).filter(|_| !unread)
    }

    /// The two directions of one exchange.
    pub fn split<'c>(&'c mut self, out: &'c mut Vec<u8>) -> (RequestSide<'c, E>, ResponseSide<'c, E>) {
        (self.parsed, self.end) = (None, None);
        let request = RequestSide { link: &self.link, out };
        let response = ResponseSide {
            link: &self.link,
            buffers: &self.buffers,
            inbox: &mut self.inbox,
            decoder: &mut self.decoder,
            end: &mut self.end,
            parsed: &mut self.parsed,
        };
        (request, response)
    }
}

/// Sends a request.
pub struct RequestSide<'c, E: Env> {
    link: &'c Link<E>,
    out: &'c mut Vec<u8>,
}

impl<'c, E: Env> RequestSide<'c, E> {
    /// Writes the head; the body goes into the sink. Nothing is sent before the sink is flushed or ended.
    pub fn begin(
        self,
        head: &RequestHead,
        framing: BodyFraming,
        upgrade: bool,
        idle: Duration,
    ) -> Http1Sink<'c, E> {
        self.out.clear();
        let persistence = if upgrade { Persistence::Upgrade } else { Persistence::Implied };
        encode::request_head(head, framing, persistence, self.out);
        let coding = match framing {
            // What follows the head of an upgrade is the tunnel.
            BodyFraming::None if upgrade => Coding::Close,
            BodyFraming::None => Coding::Length(0),
            BodyFraming::Length(bytes) => Coding::Length(bytes),
            BodyFraming::Chunked | BodyFraming::UntilClose => Coding::Chunked,
        };
        Http1Sink::new(self.link, self.out, coding, idle)
    }
}

/// Receives a response.
pub struct ResponseSide<'c, E: Env> {
    link: &'c Link<E>,
    buffers: &'c Buffers,
    inbox: &'c mut Option<Buffer>,
    decoder: &'c mut BodyDecoder,
    end: &'c mut Option<MessageEnd>,
    parsed: &'c mut Option<ParsedResponse>,
}

impl<'c, E: Env> ResponseSide<'c, E> {
    /// Receives the next head, informational ones included.
    pub async fn head(
        &mut self,
        limits: &Limits,
        method: &Method,
        head: &mut ResponseHead,
        patience: Duration,
    ) -> Result<ResponseStart, NoResponse> {
        if self.inbox.is_none() {
            *self.inbox = match self.link.first_fill(self.buffers, patience).await {
                Ok(Some(buffer)) => Some(buffer),
                Err(LinkError::Idle) => return Err(NoResponse::Idle),
                Ok(None) | Err(LinkError::Broken) => return Err(NoResponse::Unanswered),
            };
        }
        let inbox = self.inbox.as_mut().expect("it has just been taken");
        let mut scan = HeadScan::response(limits);
        let parsed = loop {
            if scan.ready(inbox.filled())
                && let Some(parsed) = parse_response(inbox.filled(), limits, method, head)
                    .map_err(|bad| NoResponse::Bad(bad.details()))?
            {
                break parsed;
            }
            if !inbox.grow(limits.header_bytes_max) {
                return Err(NoResponse::Bad("upstream exceeded header_bytes_max"));
            }
            match self.link.fill(inbox, patience).await {
                Ok(1..) => {}
                Err(LinkError::Idle) => return Err(NoResponse::Idle),
                Ok(0) | Err(LinkError::Broken) if inbox.is_empty() => return Err(NoResponse::Unanswered),
                Ok(0) | Err(LinkError::Broken) => return Err(NoResponse::Cut),
            }
        };
        inbox.consume(parsed.consumed);
        let ParsedResponse { kind, framing, .. } = parsed;
        match kind {
            ResponseKind::Informational => {}
            ResponseKind::Switching => *self.decoder = BodyDecoder::new(BodyFraming::UntilClose, limits),
            ResponseKind::Final => {
                *self.decoder = BodyDecoder::new(framing, limits);
                *self.parsed = Some(parsed);
            }
        }
        Ok(ResponseStart { kind, framing })
    }

    /// The body that follows the final head.
    pub fn body(self, idle: Duration) -> Http1Source<'c, E> {
        Http1Source::new(self.link, self.buffers, self.inbox, self.decoder, self.end, idle)
    }
}

/// Makes an extended CONNECT (RFC 8441) the upgrade that it stands for in HTTP/1.1. The handshake's key is ours: the
/// client's protocol has none, and checks nothing of it.
pub(crate) fn upgrade_instead_of_connect(head: &mut RequestHead, draw: impl Fn() -> u64) {
    let Some(protocol) = head.protocol.take() else { return };
    head.method = Method::GET;
    head.fields.set("upgrade", protocol.as_bytes());
    if protocol == "websocket" {
        let key: Vec<u8> = [draw().to_be_bytes(), draw().to_be_bytes()].concat();
        head.fields.set("sec-websocket-key", BASE64_STANDARD.encode(key).as_bytes());
    }
}
