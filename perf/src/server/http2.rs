//! HTTP/2 as a server: any request gets the same answer, a call of gRPC a message for each of its own.

use super::session::{Canned, Due};
use crate::cause::Cause;
use crate::outgoing::Outgoing;
use crate::wire::hpack::{Decoder, Field};
use crate::wire::http2::{self, Body, Frame, Frames, Messages, WINDOW_DEFAULT, WINDOW_USED};

/// A stream that is not over.
#[derive(Clone, Copy, Debug)]
struct Stream {
    id: u32,
    grpc: bool,
    /// The head of its answer was sent.
    begun: bool,
    /// All of its answer is asked for.
    closing: bool,
    used: u32,
    window: i64,
    body: Body,
    messages: Messages,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    frames: Frames,
    decoder: Decoder,
    streams: Vec<Stream>,
    used: u32,
    window: i64,
    window_initial: i64,
    /// A window was opened.
    opened: bool,
}

impl Http2 {
    /// The preface has come.
    pub(crate) fn new(out: &mut Outgoing) -> Self {
        http2::push_greeting(out, false);
        Self {
            frames: Frames::default(),
            decoder: Decoder::default(),
            streams: Vec::new(),
            used: 0,
            window: WINDOW_DEFAULT,
            window_initial: WINDOW_DEFAULT,
            opened: false,
        }
    }

    pub(crate) fn feed(&mut self, input: &[u8], out: &mut Outgoing, due: &mut Vec<Due>) -> Result<(), Cause> {
        let mut frames = std::mem::take(&mut self.frames);
        let fed = frames.feed(input, |frame| self.frame(frame, out, due));
        self.frames = frames;
        fed
    }

    fn frame(&mut self, frame: Frame<'_>, out: &mut Outgoing, due: &mut Vec<Due>) -> Result<(), Cause> {
        match frame {
            Frame::Headers { stream: id, block, end } => {
                let mut grpc = false;
                self.decoder.decode(block, |field| grpc |= field == Field::Grpc)?;
                if self.find(id).is_none() {
                    self.streams.push(Stream {
                        id,
                        grpc,
                        begun: false,
                        closing: false,
                        used: 0,
                        window: self.window_initial,
                        body: Body::default(),
                        messages: Messages::default(),
                    });
                }
                if end {
                    self.ended(id, due);
                }
            }
            Frame::Data { stream: id, bytes, size, end } => {
                self.used += size;
                if self.used >= WINDOW_USED {
                    http2::push_window_update(out, 0, std::mem::take(&mut self.used));
                }
                let Some(at) = self.find(id) else { return Ok(()) };
                let stream = &mut self.streams[at];
                stream.used += size;
                if stream.used >= WINDOW_USED && !end {
                    http2::push_window_update(out, id, std::mem::take(&mut stream.used));
                }
                if stream.grpc {
                    stream.messages.feed(bytes, |_| due.push(Due::Message { stream: id }));
                }
                if end {
                    self.ended(id, due);
                }
            }
            Frame::Reset { stream, .. } => self.streams.retain(|open| open.id != stream),
            Frame::Settings(payload) => {
                if let Some(window) = http2::settings(payload).window {
                    let more = i64::from(window) - self.window_initial;
                    self.window_initial = i64::from(window);
                    for stream in &mut self.streams {
                        stream.window += more;
                    }
                    self.opened = true;
                }
                http2::push_settings_ack(out);
            }
            Frame::Ping(opaque) => http2::push_ping_ack(out, opaque),
            Frame::WindowUpdate { stream: 0, increment } => {
                self.window += i64::from(increment);
                self.opened = true;
            }
            Frame::WindowUpdate { stream: id, increment } => {
                if let Some(at) = self.find(id) {
                    self.streams[at].window += i64::from(increment);
                    self.opened = true;
                }
            }
            Frame::GoAway { .. } => {}
        }
        Ok(())
    }

    fn find(&self, id: u32) -> Option<usize> {
        self.streams.iter().position(|stream| stream.id == id)
    }

    /// The client has sent all of a request.
    fn ended(&mut self, id: u32, due: &mut Vec<Due>) {
        if let Some(at) = self.find(id) {
            due.push(if self.streams[at].grpc { Due::End { stream: id } } else { Due::Http2 { stream: id } });
        }
    }

    pub(crate) fn answer(&mut self, due: Due, canned: &Canned, out: &mut Outgoing) {
        let (Due::Http2 { stream: id } | Due::Message { stream: id } | Due::End { stream: id }) = due else {
            return;
        };
        // The client may have given it up.
        let Some(at) = self.find(id) else { return };
        let stream = &mut self.streams[at];
        let fields = if stream.grpc { &canned.grpc_fields } else { &canned.fields };
        if !stream.begun {
            stream.begun = true;
            let whole = !stream.grpc && canned.body.is_empty();
            http2::push_headers(out, id, fields, whole);
        }
        match due {
            Due::Message { .. } => stream.body.left += canned.message.len(),
            Due::End { .. } => stream.closing = true,
            _ => {
                stream.closing = true;
                stream.body = Body { at: 0, left: canned.body.len(), end: true };
            }
        }
        self.push(at, canned, out);
    }

    /// Sends what the windows allow of a stream's answer. True: that was all of it, and the stream is gone.
    fn push(&mut self, at: usize, canned: &Canned, out: &mut Outgoing) -> bool {
        let stream = &mut self.streams[at];
        let content = if stream.grpc { &canned.message } else { &canned.body };
        stream.body.push(out, stream.id, content, &mut stream.window, &mut self.window);
        let over = stream.closing && stream.body.left == 0;
        if over {
            if stream.grpc {
                http2::push_headers(out, stream.id, &canned.trailers, true);
            }
            self.streams.swap_remove(at);
        }
        over
    }

    /// Goes on with what a window held back.
    pub(crate) fn resume(&mut self, canned: &Canned, out: &mut Outgoing) {
        if !std::mem::take(&mut self.opened) {
            return;
        }
        let mut at = 0;
        while at < self.streams.len() {
            let held = self.streams[at].body.left > 0;
            if !(held && self.push(at, canned, out)) {
                at += 1;
            }
        }
    }
}
