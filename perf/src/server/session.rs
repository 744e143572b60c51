//! One connection of the backend, as bytes in and bytes out. Pure: when an answer leaves is the loop's business.

use super::http2::Http2;
use super::{Answering, Speaks};
use crate::cause::Cause;
use crate::outgoing::Outgoing;
use crate::wire::http1::{Kind, Reader, Step};
use crate::wire::websocket::{self, Frame, Frames};
use crate::wire::{hpack, http2};

/// Bodies up to this size are kept whole beside their head: one piece is written faster than two.
const WHOLE_BYTES_MAX: usize = 16 * 1024;

/// What all answers have in common, made once.
#[derive(Debug)]
pub(crate) struct Canned {
    speaks: Speaks,
    /// An HTTP/1.1 response; without its body if that is long.
    http1: Vec<u8>,
    /// The rest of it.
    http1_filler: usize,
    /// Fields of a response of HTTP/2, and its body.
    pub(crate) fields: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// Fields of a response of gRPC, one message, and the trailers.
    pub(crate) grpc_fields: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) trailers: Vec<u8>,
}

impl Canned {
    pub(crate) fn new(answering: &Answering) -> Self {
        let length = answering.response_bytes;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n");
        let mut http1 = head.into_bytes();
        let mut http1_filler = length;
        if length <= WHOLE_BYTES_MAX {
            http1.resize(http1.len() + length, b'x');
            http1_filler = 0;
        }
        let digits = length.to_string();
        Self {
            speaks: answering.speaks,
            http1,
            http1_filler,
            fields: hpack::response(true, &[("content-type", "text/plain"), ("content-length", &digits)]),
            body: vec![b'x'; length],
            grpc_fields: hpack::response(true, &[("content-type", "application/grpc")]),
            message: http2::message(length),
            trailers: hpack::response(false, &[("grpc-status", "0")]),
        }
    }
}

/// An answer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The next response of HTTP/1.1; whether the connection ends after it.
    Http1 { close: bool },
    /// The response of this stream.
    Http2 { stream: u32 },
    /// A message of gRPC.
    Message { stream: u32 },
    /// The end of a call of gRPC.
    End { stream: u32 },
}

/// One connection.
#[derive(Debug)]
pub(crate) enum Session {
    /// HTTP/1.1, or what has come of HTTP/2's preface.
    Http {
        began: Vec<u8>,
        reader: Reader,
        settled: bool,
    },
    Http2(Box<Http2>),
    WebSocket(Frames),
    Echo,
    Sink,
}

impl Session {
    pub(crate) fn new(canned: &Canned) -> Self {
        match canned.speaks {
            Speaks::Http => {
                Self::Http { began: Vec::new(), reader: Reader::new(Kind::Requests), settled: false }
            }
            Speaks::TcpEcho => Self::Echo,
            Speaks::TcpSink => Self::Sink,
        }
    }

    /// Bytes came. What they ask for is put into `due`; what needs no thought is written at once.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        out: &mut Outgoing,
        due: &mut Vec<Due>,
    ) -> Result<(), Cause> {
        match self {
            Self::Http { began, settled: settled @ false, .. } => {
                // No method of HTTP/1.1 begins as the preface does.
                began.extend_from_slice(input);
                let length = began.len().min(http2::PREFACE.len());
                if began[..length] != http2::PREFACE[..length] {
                    *settled = true;
                    let began = std::mem::take(began);
                    return self.feed(&began, out, due);
                }
                if length == http2::PREFACE.len() {
                    let rest = began.split_off(length);
                    *self = Self::Http2(Box::new(Http2::new(out)));
                    return self.feed(&rest, out, due);
                }
            }
            Self::Http { reader, .. } => {
                while !input.is_empty() {
                    match reader.feed(input)? {
                        Step::More => break,
                        Step::Whole(message, taken) => {
                            input = &input[taken..];
                            due.push(Due::Http1 { close: message.close });
                        }
                        Step::Upgrade(_, taken) => {
                            let accept = websocket::accept(reader.key().unwrap_or_default());
                            let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
                            out.push(format!("{head}sec-websocket-accept: {accept}\r\n\r\n").as_bytes());
                            *self = Self::WebSocket(Frames::default());
                            return self.feed(&input[taken..], out, due);
                        }
                    }
                }
            }
            Self::Http2(http2) => http2.feed(input, out, due)?,
            Self::WebSocket(frames) => frames.feed(input, |frame| match frame {
                Frame::Message { payload, .. } => {
                    websocket::push_message(out.bytes(), payload, false);
                    Ok(())
                }
                Frame::Ping(payload) => {
                    websocket::push(out.bytes(), websocket::PONG, payload, false);
                    Ok(())
                }
                Frame::Close => Err(Cause::Closed),
            })?,
            Self::Echo => out.push(input),
            Self::Sink => {}
        }
        Ok(())
    }

    /// Gives an answer. True: it is the connection's last.
    pub(crate) fn answer(&mut self, due: Due, canned: &Canned, out: &mut Outgoing) -> bool {
        match (due, self) {
            (Due::Http1 { close }, _) => {
                out.push(&canned.http1);
                out.fill(canned.http1_filler);
                close
            }
            (due, Self::Http2(http2)) => {
                http2.answer(due, canned, out);
                false
            }
            // Only an HTTP/2 session asks for these.
            _ => false,
        }
    }

    /// Goes on with bodies that a window held back.
    pub(crate) fn resume(&mut self, canned: &Canned, out: &mut Outgoing) {
        if let Self::Http2(http2) = self {
            http2.resume(canned, out);
        }
    }
}
