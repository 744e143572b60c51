//! Cuts a body out of the bytes of a connection: ranges of what is fed, never a copy.
//!
//! A state machine that takes any slicing of its input: fed byte by byte it yields what it yields when fed whole. It
//! alone can say that a message ended cleanly ([`MessageEnd`]), which is what lets a connection be used again. Strict
//! about chunks, since a lenient reader and a strict one see two different requests (RFC 9112 section 7.1).

use std::ops::Range;

use super::framing::BodyFraming;
use crate::headers;
use crate::limits::Limits;
use crate::message::Fields;

/// Proof that a message was read to its end and that the end was not the connection's. Only the decoder makes one.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it is half of what gives a connection back"]
pub struct MessageEnd(());

/// What the decoder found next.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// Body bytes: a range of the input, never empty.
    Data(Range<usize>),
    /// Trailer fields; the end follows.
    Trailers(Fields),
    /// The end. Bytes after it belong to the next message.
    End(MessageEnd),
    /// All of the input is consumed, and the body goes on.
    NeedMore,
}

/// What is wrong with a body. The connection cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The size of a chunk is no hexadecimal number below 2^64.
    ChunkSize,
    /// Chunk extensions take more than their share.
    ChunkExtension,
    /// CRLF is missing where it must be.
    LineEnding,
    /// Trailers exceed the limits of a head.
    TrailersTooLarge,
    /// Trailers are malformed.
    Trailers,
    /// The connection ended before the body.
    Truncated,
    /// More was asked for after the end.
    Ended,
}

impl BodyError {
    /// For the access log.
    pub fn details(self) -> &'static str {
        match self {
            Self::ChunkSize => "invalid chunk size",
            Self::ChunkExtension => "chunk extensions too large or malformed",
            Self::LineEnding => "chunk does not end with CRLF",
            Self::TrailersTooLarge => "trailers exceed header_bytes_max or header_count_max",
            Self::Trailers => "malformed trailers",
            Self::Truncated => "body ended early",
            Self::Ended => "body read past its end",
        }
    }
}

/// Bytes of chunk extensions in one body. Nobody uses them but to hide work: one byte of data a line of extension.
const EXTENSION_BYTES_MAX: u32 = 16 << 10;

/// The state of one body.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    extension_bytes: u32,
    trailer_bytes_max: u32,
    trailer_count_max: u32,
    /// Lines of the trailer section so far. Allocated only if there are trailers.
    trailers: Vec<u8>,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length {
        left: u64,
    },
    UntilClose,
    ChunkSize {
        size: u64,
        digits: u8,
    },
    ChunkExtension {
        size: u64,
    },
    ChunkSizeLineFeed {
        size: u64,
    },
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    ChunkEndLineFeed,
    Trailers,
    End,
    Ended,
    /// For good: the bytes that were wrong must never be read again as something else.
    Failed(BodyError),
}

impl BodyDecoder {
    /// For a body with this framing.
    pub fn new(framing: BodyFraming, limits: &Limits) -> Self {
        let state = match framing {
            BodyFraming::None => State::End,
            BodyFraming::Length(0) => State::End,
            BodyFraming::Length(left) => State::Length { left },
            BodyFraming::Chunked => State::ChunkSize { size: 0, digits: 0 },
            BodyFraming::UntilClose => State::UntilClose,
        };
        let bounded = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        Self {
            state,
            extension_bytes: 0,
            trailer_bytes_max: bounded(limits.header_bytes_max),
            trailer_count_max: bounded(limits.header_count_max),
            trailers: Vec::new(),
        }
    }

    /// Takes from the front of the input: how many bytes are done with, and what they were.
    ///
    /// A piece of data is counted as consumed; its range is to be used before the bytes are dropped. After an error there
    /// is only that error.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Piece), BodyError> {
        let decoded = self.advance(input);
        if let Err(error) = decoded {
            self.state = State::Failed(error);
        }
        decoded
    }

    fn advance(&mut self, input: &[u8]) -> Result<(usize, Piece), BodyError> {
        let mut at = 0;
        loop {
            match self.state {
                State::End => {
                    self.state = State::Ended;
                    return Ok((at, Piece::End(MessageEnd(()))));
                }
                State::Ended => return Err(BodyError::Ended),
                State::Failed(error) => return Err(error),
                _ if at == input.len() => return Ok((at, Piece::NeedMore)),
                State::UntilClose => return Ok((input.len(), Piece::Data(at..input.len()))),
                State::Length { left } => {
                    let taken = take(left, &input[at..]);
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::End } else { State::Length { left } };
                    return Ok((at + taken, Piece::Data(at..at + taken)));
                }
                State::ChunkData { left } => {
                    let taken = take(left, &input[at..]);
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData { left } };
                    return Ok((at + taken, Piece::Data(at..at + taken)));
                }
                State::Trailers => {
                    let line = input[at..].iter().position(|&b| b == b'\n').map(|end| at + end + 1);
                    let end = line.unwrap_or(input.len());
                    if self.trailers.is_empty() && input[at..end] == *b"\r\n" {
                        self.state = State::End;
                    } else {
                        self.keep_trailers(&input[at..end])?;
                    }
                    at = end;
                    if self.trailers.ends_with(b"\r\n\r\n") || self.trailers == b"\r\n" {
                        self.state = State::End;
                        let trailers = parse_trailers(&self.trailers, self.trailer_count_max)?;
                        self.trailers = Vec::new();
                        if !trailers.is_empty() {
                            return Ok((at, Piece::Trailers(trailers)));
                        }
                    }
                }
                _ => {
                    self.state = self.step(input[at])?;
                    at += 1;
                }
            }
        }
    }

    /// Says what the end of the connection means for the body: nothing, if the body reaches that far or has ended.
    ///
    /// There is no [`MessageEnd`] in it: such a connection is never used again.
    pub fn connection_ended(&self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose | State::End | State::Ended => Ok(()),
            State::Failed(error) => Err(error),
            _ => Err(BodyError::Truncated),
        }
    }

    /// One byte between pieces of data.
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        Ok(match (self.state, byte) {
            (State::ChunkSize { digits: 1.., size }, b'\r') => State::ChunkSizeLineFeed { size },
            (State::ChunkSize { digits: 1.., size }, b';') => State::ChunkExtension { size },
            (State::ChunkSize { digits, size }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(BodyError::ChunkSize)?;
                // Sixteen digits fill 64 bits; more, be they zeros, no sender writes.
                if digits == 16 {
                    return Err(BodyError::ChunkSize);
                }
                State::ChunkSize { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::ChunkExtension { size }, b'\r') => State::ChunkSizeLineFeed { size },
            (State::ChunkExtension { size }, _) => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES_MAX || byte.is_ascii_control() && byte != b'\t' {
                    return Err(BodyError::ChunkExtension);
                }
                State::ChunkExtension { size }
            }
            (State::ChunkSizeLineFeed { size: 0 }, b'\n') => State::Trailers,
            (State::ChunkSizeLineFeed { size }, b'\n') => State::ChunkData { left: size },
            (State::ChunkEnd, b'\r') => State::ChunkEndLineFeed,
            (State::ChunkEndLineFeed, b'\n') => State::ChunkSize { size: 0, digits: 0 },
            (State::ChunkSizeLineFeed { .. } | State::ChunkEnd | State::ChunkEndLineFeed, _) => {
                return Err(BodyError::LineEnding);
            }
            (
                State::Length { .. }
                | State::UntilClose
                | State::ChunkData { .. }
                | State::Trailers
                | State::End
                | State::Ended
                | State::Failed(_),
                _,
            ) => unreachable!("decode takes these states itself"),
        })
    }

    /// Collects trailer bytes up to a line's end at most, within the limit; checks that lines end with CRLF.
    fn keep_trailers(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        if self.trailers.len() + bytes.len() > self.trailer_bytes_max as usize {
            return Err(BodyError::TrailersTooLarge);
        }
        self.trailers.extend_from_slice(bytes);
        if self.trailers.ends_with(b"\n") && !self.trailers.ends_with(b"\r\n") {
            return Err(BodyError::LineEnding);
        }
        Ok(())
    }
}

/// How many of the input's bytes belong to something of which so many are left.
fn take(left: u64, input: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(input.len())
}

/// Parses a whole trailer section. Fields that may not be there are left out (RFC 9110 section 6.5.1).
fn parse_trailers(section: &[u8], count_max: u32) -> Result<Fields, BodyError> {
    let mut fields = Fields::new();
    let mut count = 0;
    let mut lines = section;
    // One at a time: how many there are is not known, and a trailer section is rare.
    while lines != b"\r\n" {
        let end = lines.windows(2).position(|pair| pair == b"\r\n").ok_or(BodyError::Trailers)? + 2;
        // A folded line begins with a space and is then no field of its own: refused by the parser.
        let mut line = lines[..end].to_vec();
        line.extend_from_slice(b"\r\n");
        let mut parsed = [httparse::EMPTY_HEADER; 1];
        match httparse::parse_headers(&line, &mut parsed) {
            Ok(httparse::Status::Complete((used, [field]))) if used == line.len() => {
                count += 1;
                if count > count_max {
                    return Err(BodyError::TrailersTooLarge);
                }
                fields.append(field.name.as_bytes(), field.value);
            }
            _ => return Err(BodyError::Trailers),
        }
        lines = &lines[end..];
    }
    fields.retain(|name, _| headers::may_be_trailer(name));
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that a decoder makes of an input that comes in such slices.
    #[derive(Debug, Default, PartialEq)]
    struct Outcome {
        data: Vec<u8>,
        trailers: Option<Fields>,
        ended: bool,
        consumed: usize,
        error: Option<BodyError>,
    }

    fn run(framing: BodyFraming, slices: &[&[u8]]) -> Outcome {
        let limits = Limits { header_bytes_max: 64, header_count_max: 3, ..Limits::default() };
        let mut decoder = BodyDecoder::new(framing, &limits);
        let mut outcome = Outcome::default();
        for &slice in slices {
            let mut slice = slice;
            loop {
                match decoder.decode(slice) {
                    Ok((consumed, piece)) => {
                        outcome.consumed += consumed;
                        match piece {
                            Piece::Data(range) => {
                                assert!(!range.is_empty() && range.end == consumed);
                                outcome.data.extend_from_slice(&slice[range]);
                            }
                            Piece::Trailers(fields) => outcome.trailers = Some(fields),
                            Piece::End(_) => {
                                outcome.ended = true;
                                return outcome;
                            }
                            Piece::NeedMore => {
                                assert_eq!(consumed, slice.len());
                                break;
                            }
                        }
                        slice = &slice[consumed..];
                    }
                    Err(error) => {
                        outcome.error = Some(error);
                        // How far it came before the error depends on the slicing and matters to nobody.
                        outcome.consumed = 0;
                        return outcome;
                    }
                }
            }
        }
        outcome
    }

    fn chunked(input: &str) -> Outcome {
        run(BodyFraming::Chunked, &[input.as_bytes()])
    }

    #[test]
    fn a_body_that_failed_has_failed_for_good() {
        for wrong in ["5 XYZ\r\n0\r\n\r\n", "0\r\nbad\r\n\r\n", "1\r\nA0\r\n\r\n", "8;\0aaaaa\r\n0\r\n\r\n"] {
            let mut decoder = BodyDecoder::new(BodyFraming::Chunked, &Limits::default());
            let mut input = wrong.as_bytes();
            let error = loop {
                match decoder.decode(input) {
                    Ok((_, Piece::NeedMore | Piece::End(_))) => panic!("{wrong:?} is no body"),
                    Ok((used, _)) => input = &input[used..],
                    Err(error) => break error,
                }
            };
            for again in [input, b"\r\n", b"0\r\n\r\n", b""] {
                assert_eq!(decoder.decode(again), Err(error), "{wrong:?} {again:?}");
            }
            assert_eq!(decoder.connection_ended(), Err(error));
        }
    }

    #[test]
    fn chunks_are_joined_and_what_follows_the_end_is_left() {
        for (input, data, trailers, rest) in [
            ("0\r\n\r\n", "", None, ""),
            ("5\r\nhello\r\n0\r\n\r\nGET", "hello", None, "GET"),
            ("5\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", "hello!", None, ""),
            ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789", None, ""),
            ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", None, ""),
            ("1;a=b\r\nx\r\n0;c=\"d;e\"\r\n\r\n", "x", None, ""),
            ("1\r\nx\r\n0\r\nA: b\r\nc:d \r\n\r\nz", "x", Some(vec![("a", "b"), ("c", "d")]), "z"),
            ("0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: h\r\n\r\n", "", None, ""),
            ("0\r\nTrailer: a\r\nX: y\r\n\r\n", "", Some(vec![("x", "y")]), ""),
        ] {
            let outcome = chunked(input);
            assert_eq!(outcome.error, None, "{input:?}");
            assert!(outcome.ended, "{input:?}");
            assert_eq!(outcome.data, data.as_bytes(), "{input:?}");
            assert_eq!(outcome.trailers, trailers.map(Fields::from_iter), "{input:?}");
            assert_eq!(&input[outcome.consumed..], rest, "{input:?}");
        }
    }

    #[test]
    fn chunks_that_readers_could_understand_differently_are_refused() {
        let extension = format!("1;{}\r\n", "x".repeat(EXTENSION_BYTES_MAX as usize + 1));
        for (input, error) in [
            ("\r\n", BodyError::ChunkSize),
            (";a\r\n", BodyError::ChunkSize),
            ("g\r\n", BodyError::ChunkSize),
            ("+1\r\n", BodyError::ChunkSize),
            ("-1\r\n", BodyError::ChunkSize),
            ("0x1\r\n", BodyError::ChunkSize),
            (" 1\r\n", BodyError::ChunkSize),
            ("1 \r\n", BodyError::ChunkSize),
            ("1 ;a\r\n", BodyError::ChunkSize),
            ("1\n", BodyError::ChunkSize),
            ("00000000000000001\r\n", BodyError::ChunkSize),
            ("10000000000000000\r\n", BodyError::ChunkSize),
            ("1\rx", BodyError::LineEnding),
            ("1;a\nx\r\n", BodyError::ChunkExtension),
            ("1;a\0\r\n", BodyError::ChunkExtension),
            ("1;a\rb\r\n", BodyError::LineEnding),
            (&extension, BodyError::ChunkExtension),
            ("1\r\nxy", BodyError::LineEnding),
            ("1\r\nx\n", BodyError::LineEnding),
            ("1\r\nx\rz", BodyError::LineEnding),
            ("0\r\n\n", BodyError::LineEnding),
            ("0\r\na: b\n", BodyError::LineEnding),
            ("0\r\na\r\n\r\n", BodyError::Trailers),
            ("0\r\n: b\r\n\r\n", BodyError::Trailers),
            ("0\r\na : b\r\n\r\n", BodyError::Trailers),
            ("0\r\na: b\r\n c\r\n\r\n", BodyError::Trailers),
            ("0\r\n a: b\r\n\r\n", BodyError::Trailers),
            ("0\r\na: b\0\r\n\r\n", BodyError::Trailers),
            ("0\r\na: b\rc: d\r\n\r\n", BodyError::Trailers),
            ("0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n", BodyError::TrailersTooLarge),
            (&format!("0\r\na: {}", "b".repeat(62)), BodyError::TrailersTooLarge),
        ] {
            assert_eq!(chunked(input).error, Some(error), "{input:?}");
        }
    }

    #[test]
    fn the_largest_chunk_does_not_overflow() {
        let outcome = chunked("ffffffffffffffff\r\nabc");
        assert_eq!((outcome.data, outcome.ended, outcome.error), (b"abc".to_vec(), false, None));
    }

    #[test]
    fn a_length_ends_the_body_and_nothing_is_an_end_at_once() {
        let outcome = run(BodyFraming::Length(3), &[b"ab", b"cdef"]);
        assert_eq!((outcome.data, outcome.ended, outcome.consumed), (b"abc".to_vec(), true, 3));
        for framing in [BodyFraming::None, BodyFraming::Length(0)] {
            let outcome = run(framing, &[b"abc"]);
            assert_eq!((outcome.data, outcome.ended, outcome.consumed), (vec![], true, 0));
        }
    }

    #[test]
    fn only_a_body_until_close_may_be_ended_by_the_connection() {
        let limits = Limits::default();
        let mut decoder = BodyDecoder::new(BodyFraming::UntilClose, &limits);
        assert_eq!(decoder.decode(b"abc"), Ok((3, Piece::Data(0..3))));
        assert_eq!(decoder.decode(b""), Ok((0, Piece::NeedMore)));
        assert_eq!(decoder.connection_ended(), Ok(()));
        for framing in [BodyFraming::Length(1), BodyFraming::Chunked] {
            assert_eq!(BodyDecoder::new(framing, &limits).connection_ended(), Err(BodyError::Truncated));
        }
    }

    #[test]
    fn the_end_is_given_out_once() {
        let mut decoder = BodyDecoder::new(BodyFraming::None, &Limits::default());
        assert_eq!(decoder.decode(b"x"), Ok((0, Piece::End(MessageEnd(())))));
        assert_eq!(decoder.decode(b"x"), Err(BodyError::Ended));
    }

    /// Chunked bodies, most of them well formed.
    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => "[a-z]{1,20}".prop_map(|data| format!("{:x}\r\n{data}\r\n", data.len())),
            1 => Just("2;ext=\"x\"\r\nab\r\n".to_owned()),
            1 => "[0-9a-f;\\r\\n :]{1,4}",
        ];
        let end = prop::sample::select(vec![
            "0\r\n\r\n",
            "0\r\na: b\r\n\r\nrest",
            "0\r\nx",
            "",
            "0\r\n\ra: b\r\n\r\n",
        ]);
        (prop::collection::vec(piece, 0..5), end)
            .prop_map(|(pieces, end)| (pieces.concat() + end).into_bytes())
    }

    proptest! {
        #[test]
        fn fed_in_any_slices_it_yields_what_it_yields_when_fed_whole(body in bodies(), cuts in prop::collection::vec(0usize..60, 0..6)) {
            let whole = run(BodyFraming::Chunked, &[&body]);
            let single: Vec<&[u8]> = body.chunks(1).collect();
            prop_assert_eq!(&run(BodyFraming::Chunked, &single), &whole);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let slices: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            prop_assert_eq!(&run(BodyFraming::Chunked, &slices), &whole);
        }

        #[test]
        fn it_decodes_what_the_encoder_wrote(pieces in prop::collection::vec("[ -~]{1,40}", 0..5), value in "[a-z]{0,9}") {
            let trailers: Fields = [("x-checksum", value)].into_iter().collect();
            let mut wire = Vec::new();
            for piece in &pieces {
                super::super::encode::chunk_prefix(piece.len(), &mut wire);
                wire.extend_from_slice(piece.as_bytes());
                wire.extend_from_slice(super::super::encode::CHUNK_SUFFIX);
            }
            super::super::encode::last_chunk(&trailers, &mut wire);
            let outcome = run(BodyFraming::Chunked, &[&wire]);
            prop_assert!(outcome.ended);
            prop_assert_eq!(outcome.consumed, wire.len());
            prop_assert_eq!(outcome.data, pieces.concat().into_bytes());
            prop_assert_eq!(outcome.trailers, Some(trailers));
        }
    }
}
