//! A WebSocket as a client: an upgrade, then one message at a time to and fro.

use std::sync::Arc;

use super::{Event, Script};
use crate::cause::Cause;
use crate::outgoing::Outgoing;
use crate::wire::http1::{Kind, Reader, Step};
use crate::wire::websocket::{self, Frame, Frames};

/// One connection.
#[derive(Debug)]
pub(crate) struct WebSocket {
    script: Arc<Script>,
    /// `None`: the upgrade is over.
    greeting: Option<Reader>,
    frames: Frames,
    awaited: bool,
}

impl WebSocket {
    pub(crate) fn new(script: Arc<Script>) -> Self {
        let greeting = Some(Reader::new(Kind::Responses));
        Self { script, greeting, frames: Frames::default(), awaited: false }
    }

    pub(crate) fn open(&mut self, out: &mut Outgoing) {
        out.push(&self.script.http1);
    }

    pub(crate) fn request(&mut self, out: &mut Outgoing) {
        self.awaited = true;
        out.push(&self.script.message);
    }

    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) -> Result<(), Cause> {
        if let Some(reader) = &mut self.greeting {
            match reader.feed(input)? {
                Step::More => return Ok(()),
                Step::Whole(message, _) => return Err(Cause::Status(message.status)),
                Step::Upgrade(_, taken) => {
                    input = &input[taken..];
                    self.greeting = None;
                    events.push(Event::Ready);
                }
            }
        }
        let awaited = &mut self.awaited;
        self.frames.feed(input, |frame| match frame {
            Frame::Message { size, .. } if std::mem::take(awaited) => {
                events.push(Event::Answered { slot: 0, status: 0, bytes: size });
                Ok(())
            }
            Frame::Message { .. } => Err(Cause::Malformed("message without a request")),
            Frame::Ping(payload) => {
                websocket::push(out.bytes(), websocket::PONG, payload, true);
                Ok(())
            }
            Frame::Close => Err(Cause::Closed),
        })
    }
}
