//! HTTP/2 as a client, and gRPC over it: each slot is a stream at a time, or for good.

use std::sync::Arc;

use super::{Event, Script};
use crate::cause::Cause;
use crate::outgoing::Outgoing;
use crate::plan::Protocol;
use crate::wire::hpack::{self, Decoder, Field};
use crate::wire::http2::{self, Body, Frame, Frames, Messages, WINDOW_DEFAULT, WINDOW_USED};

/// A connection retires before its stream numbers run out.
const STREAM_MAX: u32 = 1 << 30;
/// The code by which a client gives a stream up.
const CANCEL: u32 = 8;

/// What a slot's stream is about. `id` 0: there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    id: u32,
    /// A request waits for its answer.
    awaited: bool,
    status: u16,
    grpc_status: Option<u16>,
    received: u64,
    /// Of the window that we opened.
    used: u32,
    /// That the other side opened.
    window: i64,
    body: Body,
    messages: Messages,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    script: Arc<Script>,
    frames: Frames,
    decoder: Decoder,
    slots: Vec<Stream>,
    next: u32,
    greeted: bool,
    retired: bool,
    /// What a block of fields may refer to.
    table: Table,
    used: u32,
    window: i64,
    window_initial: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Empty,
    Filled,
    /// Smaller than our fields need.
    Unusable,
}

impl Http2 {
    pub(crate) fn new(script: Arc<Script>) -> Self {
        Self {
            slots: vec![Stream::default(); script.streams],
            script,
            frames: Frames::default(),
            decoder: Decoder::default(),
            next: 1,
            greeted: false,
            retired: false,
            table: Table::Empty,
            used: 0,
            window: WINDOW_DEFAULT,
            window_initial: WINDOW_DEFAULT,
        }
    }

    pub(crate) fn open(&mut self, out: &mut Outgoing) {
        out.push(http2::PREFACE);
        http2::push_greeting(out, true);
    }

    pub(crate) fn request(&mut self, slot: u32, out: &mut Outgoing, events: &mut Vec<Event>) {
        let long = self.script.protocol == Protocol::GrpcStream;
        let content = &self.script.message;
        let stream = &mut self.slots[slot as usize];
        if stream.id == 0 {
            *stream = Stream { id: self.next, window: self.window_initial, ..Stream::default() };
            self.next += 2;
            let block = match self.table {
                Table::Empty => {
                    self.table = Table::Filled;
                    &self.script.block.first
                }
                Table::Filled => &self.script.block.later,
                Table::Unusable => &self.script.block.plain,
            };
            http2::push_headers(out, stream.id, block, content.is_empty());
        }
        stream.awaited = true;
        stream.body = Body { at: 0, left: content.len(), end: !long };
        stream.body.push(out, stream.id, content, &mut stream.window, &mut self.window);
        if self.next > STREAM_MAX && !self.retired {
            self.retired = true;
            events.push(Event::Retired);
        }
    }

    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        out: &mut Outgoing,
        events: &mut Vec<Event>,
    ) -> Result<(), Cause> {
        let mut frames = std::mem::take(&mut self.frames);
        let fed = frames.feed(input, |frame| self.frame(frame, out, events));
        self.frames = frames;
        fed
    }

    /// Gives a request up.
    pub(crate) fn cancel(&mut self, slot: u32, out: &mut Outgoing) {
        let stream = std::mem::take(&mut self.slots[slot as usize]);
        if stream.id != 0 {
            http2::push_reset(out, stream.id, CANCEL);
        }
    }

    fn slot(&self, id: u32) -> Option<usize> {
        self.slots.iter().position(|stream| stream.id == id && id != 0)
    }

    fn frame(&mut self, frame: Frame<'_>, out: &mut Outgoing, events: &mut Vec<Event>) -> Result<(), Cause> {
        match frame {
            Frame::Data { stream: id, bytes, size, end } => {
                self.used += size;
                if self.used >= WINDOW_USED {
                    http2::push_window_update(out, 0, std::mem::take(&mut self.used));
                }
                let Some(slot) = self.slot(id) else { return Ok(()) };
                let long = self.script.protocol == Protocol::GrpcStream;
                let stream = &mut self.slots[slot];
                stream.received += bytes.len() as u64;
                stream.used += size;
                if stream.used >= WINDOW_USED && !end {
                    http2::push_window_update(out, id, std::mem::take(&mut stream.used));
                }
                if long {
                    let awaited = &mut stream.awaited;
                    stream.messages.feed(bytes, |size| {
                        if std::mem::take(awaited) {
                            events.push(Event::Answered { slot: slot as u32, status: 0, bytes: size });
                        }
                    });
                }
                if end {
                    self.ended(slot, out, events);
                }
            }
            Frame::Headers { stream: id, block, end } => {
                let mut status = None;
                let mut grpc_status = None;
                self.decoder.decode(block, |field| match field {
                    Field::Status(code) => status = Some(code),
                    Field::GrpcStatus(code) => grpc_status = Some(code),
                    Field::Grpc | Field::Other => {}
                })?;
                let Some(slot) = self.slot(id) else { return Ok(()) };
                let stream = &mut self.slots[slot];
                stream.status = status.unwrap_or(stream.status);
                stream.grpc_status = grpc_status.or(stream.grpc_status);
                if end {
                    self.ended(slot, out, events);
                }
            }
            Frame::Reset { stream: id, code } => {
                let Some(slot) = self.slot(id) else { return Ok(()) };
                self.failed(slot, Cause::StreamReset(code), events);
            }
            Frame::Settings(payload) => self.settings(payload, out, events),
            Frame::Ping(opaque) => http2::push_ping_ack(out, opaque),
            Frame::GoAway { last, code } => {
                if !self.retired {
                    self.retired = true;
                    events.push(Event::Retired);
                }
                for slot in 0..self.slots.len() {
                    if self.slots[slot].id > last {
                        self.failed(slot, Cause::GoAway(code), events);
                    }
                }
            }
            Frame::WindowUpdate { stream: 0, increment } => {
                self.window += i64::from(increment);
                for stream in &mut self.slots {
                    stream.body.push(
                        out,
                        stream.id,
                        &self.script.message,
                        &mut stream.window,
                        &mut self.window,
                    );
                }
            }
            Frame::WindowUpdate { stream: id, increment } => {
                if let Some(slot) = self.slot(id) {
                    let stream = &mut self.slots[slot];
                    stream.window += i64::from(increment);
                    stream.body.push(out, id, &self.script.message, &mut stream.window, &mut self.window);
                }
            }
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8], out: &mut Outgoing, events: &mut Vec<Event>) {
        let settings = http2::settings(payload);
        if let Some(window) = settings.window {
            let more = i64::from(window) - self.window_initial;
            self.window_initial = i64::from(window);
            for stream in &mut self.slots {
                stream.window += more;
                stream.body.push(out, stream.id, &self.script.message, &mut stream.window, &mut self.window);
            }
        }
        if settings.table_bytes.is_some_and(|bytes| bytes < hpack::TABLE_BYTES) {
            // A table that shrinks below what is in use must be told of; the plain form does.
            self.table = Table::Unusable;
        } else if self.script.block.table_bytes > hpack::TABLE_BYTES {
            self.table = Table::Unusable;
        }
        http2::push_settings_ack(out);
        if !self.greeted {
            self.greeted = true;
            events.push(Event::Ready);
        }
    }

    /// The other side ended a stream.
    fn ended(&mut self, slot: usize, out: &mut Outgoing, events: &mut Vec<Event>) {
        let stream = std::mem::take(&mut self.slots[slot]);
        if stream.body.left > 0 {
            // Answered before it was asked in full: the rest is not sent.
            http2::push_reset(out, stream.id, CANCEL);
        }
        if !stream.awaited {
            return;
        }
        let slot = slot as u32;
        events.push(match self.script.protocol {
            Protocol::Grpc | Protocol::GrpcStream if stream.status != 200 => {
                Event::Failed { slot, cause: Cause::Status(stream.status) }
            }
            Protocol::GrpcStream => match stream.grpc_status {
                None | Some(0) => Event::Failed { slot, cause: Cause::Closed },
                Some(status) => Event::Failed { slot, cause: Cause::GrpcStatus(status) },
            },
            Protocol::Grpc => match stream.grpc_status {
                None => Event::Failed { slot, cause: Cause::Malformed("call without grpc-status") },
                Some(status) => Event::Answered { slot, status, bytes: stream.received.saturating_sub(5) },
            },
            _ => Event::Answered { slot, status: stream.status, bytes: stream.received },
        });
    }

    fn failed(&mut self, slot: usize, cause: Cause, events: &mut Vec<Event>) {
        let stream = std::mem::take(&mut self.slots[slot]);
        if stream.awaited {
            events.push(Event::Failed { slot: slot as u32, cause });
        }
    }
}
