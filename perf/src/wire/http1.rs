//! HTTP/1.1 messages as they come, in whatever pieces: how they are delimited, and nothing else of them.

use crate::cause::Cause;

/// Fields of a head. More are malformed to us; no contestant sends a tenth of them.
const FIELDS_MAX: usize = 64;
/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Where in a message we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    /// So many bytes of the body are still to come.
    Body(u64),
    /// All that comes is body.
    ToTheEnd,
    /// In the line of a chunk's size.
    ChunkSize {
        size: u64,
        digits: u8,
    },
    /// After its digits, until the line's end.
    ChunkExtension(u64),
    ChunkData(u64),
    /// Between a chunk's bytes and its line end; how much of that is read.
    ChunkEnd(u8),
    /// In the trailer section; bytes of the line so far, without its end.
    Trailers(u32),
}

/// A whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Of a response; 0 for a request.
    pub(crate) status: u16,
    pub(crate) body: u64,
    /// The connection ends after it.
    pub(crate) close: bool,
}

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) close: bool,
    length: Length,
    /// It asks for, or agrees to, a WebSocket.
    pub(crate) upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(u64),
    Chunked,
    ToTheEnd,
}

/// Which messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Requests,
    Responses,
}

/// Reads messages of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    kind: Kind,
    place: Place,
    /// A head that has come in part.
    part: Vec<u8>,
    message: Message,
    /// The key of a WebSocket that a request asks for.
    key: Option<Vec<u8>>,
}

/// What [`Reader::feed`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All was taken and the message is not whole.
    More,
    /// A message is whole; so many bytes were taken.
    Whole(Message, usize),
    /// The head agrees to, or asks for, another protocol, which begins after so many bytes.
    Upgrade(Message, usize),
}

impl Reader {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            place: Place::Head,
            part: Vec::new(),
            message: Message { status: 0, body: 0, close: false },
            key: None,
        }
    }

    /// The key of the WebSocket that was asked for.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Takes bytes up to the end of the next message.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Result<Step, Cause> {
        let mut at = 0;
        if self.place == Place::Head {
            let (head, taken) = match self.head(input)? {
                Some(read) => read,
                None => return Ok(Step::More),
            };
            at = taken;
            // Interim responses announce another head.
            if self.kind == Kind::Responses && (100..200).contains(&head.status) && head.status != 101 {
                return self.feed(&input[at..]).map(|step| match step {
                    Step::More => Step::More,
                    Step::Whole(message, more) => Step::Whole(message, at + more),
                    Step::Upgrade(message, more) => Step::Upgrade(message, at + more),
                });
            }
            self.message = Message { status: head.status, body: 0, close: head.close };
            if head.upgrade {
                return Ok(Step::Upgrade(self.message, at));
            }
            self.place = match head.length {
                Length::Known(length) => Place::Body(length),
                Length::Chunked => Place::ChunkSize { size: 0, digits: 0 },
                Length::ToTheEnd => Place::ToTheEnd,
            };
        }
        loop {
            let rest = &input[at..];
            let taken = match &mut self.place {
                Place::Head => return Ok(Step::Whole(self.message, at)),
                Place::Body(left) => {
                    let taken = (rest.len() as u64).min(*left);
                    self.message.body += taken;
                    *left -= taken;
                    if *left == 0 {
                        self.place = Place::Head;
                        return Ok(Step::Whole(self.message, at + taken as usize));
                    }
                    taken as usize
                }
                Place::ToTheEnd => {
                    self.message.body += rest.len() as u64;
                    rest.len()
                }
                Place::ChunkData(left) => {
                    let taken = (rest.len() as u64).min(*left);
                    self.message.body += taken;
                    *left -= taken;
                    if *left == 0 {
                        self.place = Place::ChunkEnd(0);
                    }
                    taken as usize
                }
                _ => match rest.first() {
                    Some(byte) => {
                        self.place = chunk_line(self.place, *byte)?;
                        1
                    }
                    None => 0,
                },
            };
            at += taken;
            if at == input.len() && self.place != Place::Head {
                return Ok(Step::More);
            }
        }
    }

    /// The other side has sent all it will. A response that was delimited by that is whole.
    pub(crate) fn end(&mut self) -> Option<Message> {
        let whole = self.place == Place::ToTheEnd;
        self.place = Place::Head;
        whole.then_some(self.message)
    }

    /// The head, if it is whole, and how many bytes of `input` it took.
    fn head(&mut self, input: &[u8]) -> Result<Option<(Head, usize)>, Cause> {
        if self.part.is_empty() {
            return match self.parse(input)? {
                Some(read) => Ok(Some(read)),
                None => {
                    self.keep(input)?;
                    Ok(None)
                }
            };
        }
        let before = self.part.len();
        let mut part = std::mem::take(&mut self.part);
        part.extend_from_slice(input);
        match self.parse(&part)? {
            Some((head, end)) => Ok(Some((head, end - before))),
            None => {
                if part.len() > HEAD_BYTES_MAX {
                    return Err(Cause::Malformed("head"));
                }
                self.part = part;
                Ok(None)
            }
        }
    }

    fn keep(&mut self, input: &[u8]) -> Result<(), Cause> {
        if input.len() > HEAD_BYTES_MAX {
            return Err(Cause::Malformed("head"));
        }
        self.part.extend_from_slice(input);
        Ok(())
    }

    fn parse(&mut self, input: &[u8]) -> Result<Option<(Head, usize)>, Cause> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let malformed = |_| Cause::Malformed("head");
        match self.kind {
            Kind::Responses => {
                let mut response = httparse::Response::new(&mut fields);
                let httparse::Status::Complete(end) = response.parse(input).map_err(malformed)? else {
                    return Ok(None);
                };
                let status = response.code.unwrap_or(0);
                let mut head = read_fields(response.headers, response.version == Some(0))?;
                head.status = status;
                head.upgrade = status == 101;
                match (status, head.length) {
                    (204 | 304, _) => head.length = Length::Known(0),
                    (_, Length::Known(u64::MAX)) => {
                        head.length = Length::ToTheEnd;
                        head.close = true;
                    }
                    _ => {}
                }
                Ok(Some((head, end)))
            }
            Kind::Requests => {
                let mut request = httparse::Request::new(&mut fields);
                let httparse::Status::Complete(end) = request.parse(input).map_err(malformed)? else {
                    return Ok(None);
                };
                let mut head = read_fields(request.headers, request.version == Some(0))?;
                if head.length == Length::Known(u64::MAX) {
                    head.length = Length::Known(0);
                }
                if head.upgrade {
                    let named = request
                        .headers
                        .iter()
                        .find(|field| field.name.eq_ignore_ascii_case("sec-websocket-key"));
                    self.key = named.map(|field| field.value.to_vec());
                    head.upgrade = self.key.is_some();
                }
                Ok(Some((head, end)))
            }
        }
    }
}

/// What the fields say of the message's end. A length that is not given reads as `u64::MAX`.
fn read_fields(fields: &[httparse::Header<'_>], old: bool) -> Result<Head, Cause> {
    let mut head = Head { status: 0, close: old, length: Length::Known(u64::MAX), upgrade: false };
    for field in fields {
        // By length first: most fields are of no interest.
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") && head.length != Length::Chunked => {
                let length = std::str::from_utf8(field.value).ok().and_then(|text| text.trim().parse().ok());
                head.length = Length::Known(length.ok_or(Cause::Malformed("content-length"))?);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => head.length = Length::Chunked,
            10 if field.name.eq_ignore_ascii_case("connection") => {
                if field.value.eq_ignore_ascii_case(b"close") {
                    head.close = true;
                } else if field.value.eq_ignore_ascii_case(b"keep-alive") {
                    head.close = false;
                }
            }
            7 if field.name.eq_ignore_ascii_case("upgrade") => {
                head.upgrade = field.value.eq_ignore_ascii_case(b"websocket");
            }
            _ => {}
        }
    }
    Ok(head)
}

/// One byte of what stands around chunks.
fn chunk_line(place: Place, byte: u8) -> Result<Place, Cause> {
    let malformed = Err(Cause::Malformed("chunk"));
    match place {
        Place::ChunkSize { size, digits } => match (byte as char).to_digit(16) {
            Some(digit) if digits < 15 => {
                Ok(Place::ChunkSize { size: size * 16 + u64::from(digit), digits: digits + 1 })
            }
            None if digits > 0 && byte == b'\n' => Ok(after_size(size)),
            None if digits > 0 => Ok(Place::ChunkExtension(size)),
            _ => malformed,
        },
        Place::ChunkExtension(size) if byte == b'\n' => Ok(after_size(size)),
        Place::ChunkExtension(size) => Ok(Place::ChunkExtension(size)),
        Place::ChunkEnd(0) if byte == b'\r' => Ok(Place::ChunkEnd(1)),
        Place::ChunkEnd(1) if byte == b'\n' => Ok(Place::ChunkSize { size: 0, digits: 0 }),
        Place::Trailers(0) if byte == b'\n' => Ok(Place::Head),
        Place::Trailers(_) if byte == b'\n' => Ok(Place::Trailers(0)),
        Place::Trailers(count) if byte == b'\r' => Ok(Place::Trailers(count)),
        Place::Trailers(count) if (count as usize) < HEAD_BYTES_MAX => Ok(Place::Trailers(count + 1)),
        _ => malformed,
    }
}

fn after_size(size: u64) -> Place {
    if size == 0 { Place::Trailers(0) } else { Place::ChunkData(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, input: &[u8], piece: usize) -> Result<Vec<Message>, Cause> {
        let mut reader = Reader::new(kind);
        let mut messages = Vec::new();
        for mut part in input.chunks(piece) {
            while !part.is_empty() {
                match reader.feed(part)? {
                    Step::More => break,
                    Step::Whole(message, taken) | Step::Upgrade(message, taken) => {
                        messages.push(message);
                        part = &part[taken..];
                    }
                }
            }
        }
        messages.extend(reader.end());
        Ok(messages)
    }

    fn message(status: u16, body: u64, close: bool) -> Message {
        Message { status, body, close }
    }

    #[test]
    fn responses_end_where_they_say_in_whatever_pieces_they_come() {
        let cases: [(&[u8], Vec<Message>); 9] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", vec![message(200, 5, false)]),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
                vec![message(200, 1, false), message(404, 0, false)],
            ),
            (b"HTTP/1.1 204 No Content\r\n\r\n", vec![message(204, 0, false)]),
            (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", vec![message(304, 0, false)]),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
                vec![message(200, 21, false)],
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\r\nc: d\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                vec![message(200, 0, false), message(200, 0, false)],
            ),
            (b"HTTP/1.1 200 OK\r\n\r\nto the end", vec![message(200, 10, true)]),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", vec![message(200, 2, false)]),
            (b"HTTP/1.0 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", vec![message(200, 2, true)]),
        ];
        for (input, expected) in cases {
            for piece in [1, 2, 3, 16, input.len()] {
                assert_eq!(
                    read(Kind::Responses, input, piece),
                    Ok(expected.clone()),
                    "{:?} by {piece}",
                    String::from_utf8_lossy(input)
                );
            }
        }
    }

    #[test]
    fn requests_end_where_they_say() {
        let input = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc";
        for piece in [1, 5, input.len()] {
            assert_eq!(
                read(Kind::Requests, input, piece),
                Ok(vec![message(0, 0, false), message(0, 3, true)])
            );
        }
    }

    #[test]
    fn what_is_not_http_is_told() {
        for (input, cause) in [
            (&b"SSH-2.0-x\r\n"[..], Cause::Malformed("head")),
            (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Cause::Malformed("content-length")),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz", Cause::Malformed("chunk")),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc", Cause::Malformed("chunk")),
        ] {
            for piece in [1, input.len()] {
                assert_eq!(read(Kind::Responses, input, piece), Err(cause));
            }
        }
    }

    #[test]
    fn a_head_that_does_not_end_is_given_up() {
        let mut reader = Reader::new(Kind::Responses);
        assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\n"), Ok(Step::More));
        let line = [b"a: ", &[b'b'; 1_000][..], b"\r\n"].concat();
        let given_up = (0..100).any(|_| reader.feed(&line).is_err());
        assert!(given_up);
    }
}
