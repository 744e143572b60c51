//! HTTP/1.1 as a client: one request at a time.

use std::sync::Arc;

use super::{Event, Script};
use crate::cause::Cause;
use crate::outgoing::Outgoing;
use crate::wire::http1::{Kind, Reader, Step};

/// One connection.
#[derive(Debug)]
pub(crate) struct Http1 {
    script: Arc<Script>,
    reader: Reader,
    awaited: bool,
}

impl Http1 {
    pub(crate) fn new(script: Arc<Script>) -> Self {
        Self { script, reader: Reader::new(Kind::Responses), awaited: false }
    }

    pub(crate) fn request(&mut self, out: &mut Outgoing) {
        self.awaited = true;
        out.push(&self.script.http1);
        out.fill(self.script.request_bytes);
    }

    pub(crate) fn feed(&mut self, mut input: &[u8], events: &mut Vec<Event>) -> Result<(), Cause> {
        while !input.is_empty() {
            if !self.awaited {
                return Err(Cause::Malformed("answer without a request"));
            }
            match self.reader.feed(input)? {
                Step::More => return Ok(()),
                Step::Whole(message, taken) => {
                    input = &input[taken..];
                    self.awaited = false;
                    if message.close {
                        events.push(Event::Retired);
                    }
                    events.push(Event::Answered { slot: 0, status: message.status, bytes: message.body });
                }
                Step::Upgrade(..) => return Err(Cause::Malformed("upgrade that was not asked for")),
            }
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, events: &mut Vec<Event>) {
        if let Some(message) = self.reader.end() {
            self.awaited = false;
            events.push(Event::Answered { slot: 0, status: message.status, bytes: message.body });
        }
    }
}

/// A request without its body.
pub(crate) fn encode(
    path: &str,
    authority: &str,
    headers: &[(String, String)],
    body: usize,
    close: bool,
) -> Vec<u8> {
    let method = if body == 0 { "GET" } else { "POST" };
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("host: {authority}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if body > 0 {
        head.push_str(&format!("content-length: {body}\r\n"));
    }
    if close {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The request for a WebSocket. Its key is the same each time: it is there for caches in the way.
pub(crate) fn encode_upgrade(path: &str, authority: &str, headers: &[(String, String)]) -> Vec<u8> {
    let fields = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "cmluZ3dheSBwZXJmIGtleQ=="),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    encode(path, authority, &[headers, &fields].concat(), 0, false)
}
