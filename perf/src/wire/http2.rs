//! Frames of HTTP/2 as they come, in whatever pieces, and as they are written.

use crate::cause::Cause;
use crate::outgoing::Outgoing;

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Windows that both of our ends open: streams and connection alike. Large, so that the window is never the limit.
pub(crate) const WINDOW: u32 = 16 * 1024 * 1024;
/// The window that neither side has changed.
pub(crate) const WINDOW_DEFAULT: i64 = 65_535;
/// A window is opened again once that much of it is used.
pub(crate) const WINDOW_USED: u32 = WINDOW / 2;
/// Bytes of a frame, if not agreed otherwise, which we do not.
const FRAME_BYTES: usize = 16_384;
/// Bytes of a block of fields.
const BLOCK_BYTES_MAX: usize = 64 * 1024;

pub(crate) const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// What came. Frames that mean nothing here are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A piece of a body. `size` counts for the window, the padding with it; `end`: the stream's last piece.
    Data {
        stream: u32,
        bytes: &'a [u8],
        size: u32,
        end: bool,
    },
    Headers {
        stream: u32,
        block: &'a [u8],
        end: bool,
    },
    Reset {
        stream: u32,
        code: u32,
    },
    /// Not the acknowledgement.
    Settings(&'a [u8]),
    Ping([u8; 8]),
    GoAway {
        last: u32,
        code: u32,
    },
    WindowUpdate {
        stream: u32,
        increment: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Reads one direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// A frame's head, or its payload, that has come in part.
    part: Vec<u8>,
    /// The frame whose payload is next, and how much of a body has come already.
    head: Option<(Head, usize)>,
    /// A block of fields that goes on in another frame, with its stream and its end.
    block: Option<(u32, bool, Vec<u8>)>,
}

impl Frames {
    /// Takes bytes and calls `came` with each frame.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        mut came: impl FnMut(Frame<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        loop {
            let Some((head, passed)) = self.head else {
                let Some(read) = take(&mut self.part, &mut input, 9) else { return Ok(()) };
                let bytes = read.of(&self.part);
                let head = Head {
                    length: usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]),
                    kind: bytes[3],
                    flags: bytes[4],
                    stream: number(&bytes[5..9]) & 0x7fff_ffff,
                };
                self.part.clear();
                if head.length > FRAME_BYTES {
                    return Err(Cause::Malformed("frame longer than agreed"));
                }
                self.head = Some((head, 0));
                continue;
            };
            // A body passes by as it comes.
            if head.kind == DATA && head.flags & PADDED == 0 {
                let left = head.length - passed;
                let taken = left.min(input.len());
                if taken == 0 && left > 0 {
                    return Ok(());
                }
                let (bytes, rest) = input.split_at(taken);
                input = rest;
                let whole = taken == left;
                self.head = (!whole).then_some((head, passed + taken));
                let end = whole && head.flags & END_STREAM != 0;
                came(Frame::Data { stream: head.stream, bytes, size: taken as u32, end })?;
                continue;
            }
            let Some(read) = take(&mut self.part, &mut input, head.length) else { return Ok(()) };
            self.head = None;
            let part = std::mem::take(&mut self.part);
            self.frame(head, read.of(&part), &mut came)?;
            // Kept for the next one.
            self.part = part;
            self.part.clear();
        }
    }

    fn frame(
        &mut self,
        head: Head,
        mut payload: &[u8],
        came: &mut impl FnMut(Frame<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let stream = head.stream;
        let end = head.flags & END_STREAM != 0;
        let short = Cause::Malformed("frame");
        if self.block.is_some() != (head.kind == CONTINUATION) {
            return Err(Cause::Malformed("field block in pieces"));
        }
        if matches!(head.kind, DATA | HEADERS) && head.flags & PADDED != 0 {
            let (padding, rest) = payload.split_first().ok_or(short)?;
            let length = rest.len().checked_sub(usize::from(*padding)).ok_or(short)?;
            payload = &rest[..length];
        }
        match head.kind {
            DATA => came(Frame::Data { stream, bytes: payload, size: head.length as u32, end }),
            HEADERS => {
                if head.flags & PRIORITY != 0 {
                    payload = payload.get(5..).ok_or(short)?;
                }
                if head.flags & END_HEADERS == 0 {
                    self.block = Some((stream, end, payload.to_vec()));
                    return Ok(());
                }
                came(Frame::Headers { stream, block: payload, end })
            }
            CONTINUATION => {
                let Some((of, end, mut block)) = self.block.take() else { return Err(short) };
                block.extend_from_slice(payload);
                if of != stream || block.len() > BLOCK_BYTES_MAX {
                    return Err(Cause::Malformed("field block in pieces"));
                }
                if head.flags & END_HEADERS == 0 {
                    self.block = Some((stream, end, block));
                    return Ok(());
                }
                came(Frame::Headers { stream, block: &block, end })
            }
            RST_STREAM if payload.len() == 4 => came(Frame::Reset { stream, code: number(payload) }),
            SETTINGS if head.flags & ACK != 0 => Ok(()),
            SETTINGS if payload.len().is_multiple_of(6) => came(Frame::Settings(payload)),
            PING if head.flags & ACK != 0 => Ok(()),
            PING => came(Frame::Ping(payload.try_into().map_err(|_| short)?)),
            GOAWAY if payload.len() >= 8 => came(Frame::GoAway {
                last: number(&payload[..4]) & 0x7fff_ffff,
                code: number(&payload[4..8]),
            }),
            WINDOW_UPDATE if payload.len() == 4 => {
                came(Frame::WindowUpdate { stream, increment: number(payload) & 0x7fff_ffff })
            }
            RST_STREAM | SETTINGS | GOAWAY | WINDOW_UPDATE => Err(short),
            _ => Ok(()),
        }
    }
}

/// Where bytes that were asked for are.
enum Taken<'a> {
    Input(&'a [u8]),
    Part,
}

impl<'a> Taken<'a> {
    fn of<'b>(&self, part: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Input(bytes) => bytes,
            Self::Part => part,
        }
    }
}

/// Takes that many bytes, by way of `part` if they come in pieces. `None`: they are not all there.
fn take<'a>(part: &mut Vec<u8>, input: &mut &'a [u8], count: usize) -> Option<Taken<'a>> {
    if part.is_empty() && input.len() >= count {
        let (taken, rest) = input.split_at(count);
        *input = rest;
        return Some(Taken::Input(taken));
    }
    let (taken, rest) = input.split_at(input.len().min(count - part.len()));
    part.extend_from_slice(taken);
    *input = rest;
    (part.len() == count).then_some(Taken::Part)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// What settings say, of what matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) table_bytes: Option<usize>,
    pub(crate) window: Option<u32>,
}

pub(crate) fn settings(payload: &[u8]) -> Settings {
    let mut read = Settings::default();
    for setting in payload.chunks_exact(6) {
        let value = number(&setting[2..]);
        match number(&setting[..2]) {
            1 => read.table_bytes = Some(value as usize),
            4 => read.window = Some(value),
            _ => {}
        }
    }
    read
}

fn push_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// What both ends say first, the client after [`PREFACE`]: wide windows, and nothing is pushed.
pub(crate) fn push_greeting(out: &mut Outgoing, client: bool) {
    let bytes = out.bytes();
    let mut said = vec![(4u16, WINDOW), (3, 1_000)];
    if client {
        said = vec![(2, 0), (4, WINDOW)];
    }
    push_head(bytes, said.len() * 6, SETTINGS, 0, 0);
    for (name, value) in said {
        bytes.extend_from_slice(&name.to_be_bytes());
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    push_window_update(out, 0, WINDOW - WINDOW_DEFAULT as u32);
}

pub(crate) fn push_settings_ack(out: &mut Outgoing) {
    push_head(out.bytes(), 0, SETTINGS, ACK, 0);
}

pub(crate) fn push_ping_ack(out: &mut Outgoing, opaque: [u8; 8]) {
    push_head(out.bytes(), 8, PING, ACK, 0);
    out.push(&opaque);
}

pub(crate) fn push_window_update(out: &mut Outgoing, stream: u32, increment: u32) {
    push_head(out.bytes(), 4, WINDOW_UPDATE, 0, stream);
    out.push(&increment.to_be_bytes());
}

pub(crate) fn push_reset(out: &mut Outgoing, stream: u32, code: u32) {
    push_head(out.bytes(), 4, RST_STREAM, 0, stream);
    out.push(&code.to_be_bytes());
}

/// A block of fields. One that is too long for a frame goes on in others.
pub(crate) fn push_headers(out: &mut Outgoing, stream: u32, block: &[u8], end: bool) {
    let mut pieces = block.chunks(FRAME_BYTES).peekable();
    let (mut kind, mut flags) = (HEADERS, if end { END_STREAM } else { 0 });
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= END_HEADERS;
        }
        push_head(out.bytes(), piece.len(), kind, flags, stream);
        out.push(piece);
        (kind, flags) = (CONTINUATION, 0);
    }
}

/// A body on its way: the same bytes over and over, from `at`, as many as are `left`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) at: usize,
    pub(crate) left: usize,
    /// The stream ends with it.
    pub(crate) end: bool,
}

impl Body {
    /// Writes as much as both windows allow.
    pub(crate) fn push(
        &mut self,
        out: &mut Outgoing,
        stream: u32,
        content: &[u8],
        window: &mut i64,
        connection: &mut i64,
    ) {
        while self.left > 0 {
            let open = usize::try_from((*window).min(*connection)).unwrap_or(0);
            let length = self.left.min(FRAME_BYTES).min(open).min(content.len() - self.at);
            if length == 0 {
                return;
            }
            self.left -= length;
            let flags = if self.end && self.left == 0 { END_STREAM } else { 0 };
            push_head(out.bytes(), length, DATA, flags, stream);
            out.push(&content[self.at..self.at + length]);
            self.at = (self.at + length) % content.len();
            *window -= length as i64;
            *connection -= length as i64;
        }
    }
}

/// Sizes of messages of gRPC, as their bytes pass by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Messages {
    prefix: [u8; 5],
    have: usize,
    left: usize,
}

impl Messages {
    /// Calls `whole` with the size of each message that ends in these bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut whole: impl FnMut(u64)) {
        while !bytes.is_empty() {
            if self.have < 5 {
                let taken = bytes.len().min(5 - self.have);
                self.prefix[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                self.have += taken;
                bytes = &bytes[taken..];
                if self.have < 5 {
                    return;
                }
                self.left = number(&self.prefix[1..]) as usize;
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            bytes = &bytes[taken..];
            if self.left == 0 {
                self.have = 0;
                whole(u64::from(number(&self.prefix[1..])));
            }
        }
    }
}

/// A message of gRPC with its prefix.
pub(crate) fn message(size: usize) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&(size as u32).to_be_bytes());
    message.resize(5 + size, b'x');
    message
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn written(mut out: Outgoing) -> Vec<u8> {
        let mut all = Vec::new();
        while !out.is_empty() {
            let Ok(_) = out.write::<Infallible>(|pieces| {
                all.extend_from_slice(&pieces[0]);
                Ok(pieces[0].len())
            });
        }
        all
    }

    /// What comes, with the pieces of a body joined.
    fn read(input: &[u8], piece: usize) -> Result<Vec<String>, Cause> {
        let mut frames = Frames::default();
        let mut seen: Vec<String> = Vec::new();
        let mut body = 0;
        for part in input.chunks(piece) {
            frames.feed(part, |frame| {
                match frame {
                    Frame::Data { stream, bytes, end, .. } => {
                        body += bytes.len();
                        if end {
                            seen.push(format!("body of {stream}: {body}"));
                        }
                    }
                    frame => seen.push(format!("{frame:?}")),
                }
                Ok(())
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn what_is_written_reads_back_in_whatever_pieces_it_comes() {
        let mut out = Outgoing::default();
        push_greeting(&mut out, true);
        push_headers(&mut out, 1, &[7; 40_000], false);
        let mut body = Body { at: 0, left: 30_000, end: true };
        body.push(&mut out, 1, &message(100), &mut 1_000_000, &mut 1_000_000);
        push_ping_ack(&mut out, [1; 8]);
        push_reset(&mut out, 3, 8);
        let bytes = written(out);
        let whole = read(&bytes, bytes.len()).unwrap();
        assert_eq!(whole.len(), 5, "{whole:?}");
        assert_eq!(whole[3], "body of 1: 30000");
        assert_eq!(whole[4], "Reset { stream: 3, code: 8 }");
        for piece in [1, 2, 9, 10, 1_000] {
            assert_eq!(read(&bytes, piece).as_ref(), Ok(&whole), "by {piece}");
        }
    }

    #[test]
    fn padding_is_no_part_of_a_body_and_counts_for_the_window() {
        let frame = [0, 0, 6, DATA, PADDED | END_STREAM, 0, 0, 0, 1, 3, b'a', b'b', 0, 0, 0];
        let mut seen = None;
        let told = Frames::default().feed(&frame, |frame| {
            if let Frame::Data { bytes, size, end, .. } = frame {
                seen = Some((bytes.to_vec(), size, end));
            }
            Ok(())
        });
        assert_eq!((told, seen), (Ok(()), Some((b"ab".to_vec(), 6, true))));
    }

    #[test]
    fn a_body_stops_at_the_smaller_window_and_goes_on() {
        let mut out = Outgoing::default();
        let (mut window, mut connection) = (10, 4);
        let mut body = Body { at: 0, left: 12, end: true };
        body.push(&mut out, 1, b"abc", &mut window, &mut connection);
        assert_eq!((body.left, window, connection), (8, 6, 0));
        connection = 100;
        body.push(&mut out, 1, b"abc", &mut window, &mut connection);
        assert_eq!((body.left, window, connection), (2, 0, 94));
    }

    #[test]
    fn what_is_malformed_is_told() {
        for frame in [
            &[0xff, 0, 0, DATA, 0, 0, 0, 0, 1][..],
            &[0, 0, 3, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0],
            &[0, 0, 1, CONTINUATION, 0, 0, 0, 0, 1, 0],
            &[0, 0, 1, HEADERS, PADDED | END_HEADERS, 0, 0, 0, 1, 9],
        ] {
            assert!(matches!(read(frame, 1), Err(Cause::Malformed(_))), "{frame:?}");
        }
    }

    #[test]
    fn messages_are_told_apart_in_whatever_pieces_they_come() {
        let bytes = [message(0), message(7), message(300)].concat();
        for piece in [1, 4, 6, bytes.len()] {
            let (mut messages, mut sizes) = (Messages::default(), Vec::new());
            for part in bytes.chunks(piece) {
                messages.feed(part, |size| sizes.push(size));
            }
            assert_eq!(sizes, [0, 7, 300], "by {piece}");
        }
    }
}
