//! Parses the head of an upstream's HTTP/1 response, or says why it cannot be passed on.
//!
//! As strict as for requests where framing is concerned: a response that two readers could cut differently lets one
//! client see the answer to another. Fills a head that is used again.

use std::mem::MaybeUninit;

use http::{Method, StatusCode};

use super::body::MessageEnd;
use super::framing::{BodyFraming, FramingError, FramingFields};
use super::request::FIELDS_MAX;
use super::scan::{HeadScan, ScanError};
use crate::headers::{CONNECTION_OPTIONS_MAX, ConnectionOptions};
use crate::limits::Limits;
use crate::message::{ResponseHead, Version};
use crate::pool::CleanEnd;

/// What a response's head says about its connection and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedResponse {
    /// Bytes of the head.
    pub consumed: usize,
    /// What follows.
    pub kind: ResponseKind,
    /// How its body ends; [`BodyFraming::None`] unless the kind is final.
    pub framing: BodyFraming,
    /// Whether the connection can be used again once the body ended.
    pub keep_alive: bool,
}

impl ParsedResponse {
    /// Proof that the connection can be used again: the response ended (`end`), its head does not speak against it, and
    /// all of the request was sent.
    pub fn clean_end(&self, _end: MessageEnd, request_sent: bool) -> Option<CleanEnd> {
        (self.kind == ResponseKind::Final && self.keep_alive && request_sent).then(CleanEnd::proven)
    }
}

/// What follows a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// 1xx: another head follows.
    Informational,
    /// 101: the connection is a tunnel from here on. The caller knows whether it asked for one.
    Switching,
    /// Its body follows.
    Final,
}

/// Why a response cannot be passed on. 502, and the connection cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// The head is larger than `header_bytes_max`.
    HeadTooLarge,
    /// More than `header_count_max` fields.
    TooManyFields,
    /// No HTTP/1 response.
    Malformed,
    /// The body's length is not certain.
    Framing(FramingError),
}

impl BadResponse {
    /// For the access log.
    pub fn details(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "upstream exceeded header_bytes_max",
            Self::TooManyFields => "upstream exceeded header_count_max",
            Self::Malformed => "malformed upstream response",
            Self::Framing(_) => "ambiguous length of upstream response",
        }
    }
}

impl From<ScanError> for BadResponse {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::LineTooLong | ScanError::HeadTooLarge => Self::HeadTooLarge,
            ScanError::LineEnding | ScanError::Junk | ScanError::Fold => Self::Malformed,
        }
    }
}

impl From<FramingError> for BadResponse {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

/// Parses the response at the beginning of `buf` into `head`; `None` if its head is not complete. `method` is that of
/// the request it answers. On an error `head` holds nothing of use.
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    method: &Method,
    head: &mut ResponseHead,
) -> Result<Option<ParsedResponse>, BadResponse> {
    let Some(range) = HeadScan::response(limits).find(buf)? else { return Ok(None) };
    head.clear();
    let bytes = &buf[range];
    // As for requests: room for what servers send, then for all that is allowed.
    match parse_fields::<64>(bytes, limits, method, head) {
        Err(BadResponse::TooManyFields) if limits.header_count_max > 64 => {
            head.fields.clear();
            parse_fields::<FIELDS_MAX>(bytes, limits, method, head)
        }
        parsed => parsed,
    }
    .map(Some)
}

// Not inlined: the larger of the two would make every call pay for its stack.
#[inline(never)]
fn parse_fields<const N: usize>(
    bytes: &[u8],
    limits: &Limits,
    method: &Method,
    head: &mut ResponseHead,
) -> Result<ParsedResponse, BadResponse> {
    let mut fields = [const { MaybeUninit::uninit() }; N];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    );
    match parsed {
        Ok(httparse::Status::Complete(consumed)) if consumed == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(BadResponse::TooManyFields),
        Ok(_) | Err(_) => return Err(BadResponse::Malformed),
    }
    if response.headers.len() > limits.header_count_max {
        return Err(BadResponse::TooManyFields);
    }
    let (Some(code), Some(version)) = (response.code, response.version) else {
        return Err(BadResponse::Malformed);
    };
    head.status = StatusCode::from_u16(code).map_err(|_| BadResponse::Malformed)?;
    head.version = if version == 0 { Version::Http10 } else { Version::Http11 };

    let mut framing = FramingFields::default();
    let mut options = ConnectionOptions::default();
    let counts_nothing = *method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
    for field in &*response.headers {
        let is = |other: &str| field.name.eq_ignore_ascii_case(other);
        match field.name.len() {
            10 if is("connection") => options.read(field.value),
            14 if is("content-length") => {
                framing.length(field.value)?;
                // It tells how long the body of another request's answer would be.
                if !counts_nothing {
                    continue;
                }
            }
            17 if is("transfer-encoding") => {
                framing.coding(field.value)?;
                continue;
            }
            _ => {}
        }
        head.fields.append(field.name.as_bytes(), field.value);
    }
    if options.count > CONNECTION_OPTIONS_MAX {
        return Err(BadResponse::Malformed);
    }
    let declared = framing.conclude(head.version)?;
    let kind = match head.status {
        StatusCode::SWITCHING_PROTOCOLS => ResponseKind::Switching,
        status if status.is_informational() => ResponseKind::Informational,
        _ => ResponseKind::Final,
    };
    // RFC 9112 section 6.3, rules 1 to 8; a CONNECT is never forwarded.
    let framing = if kind != ResponseKind::Final || counts_nothing || head.status == StatusCode::NO_CONTENT {
        BodyFraming::None
    } else {
        declared.unwrap_or(BodyFraming::UntilClose)
    };
    // A 204 that announces a body may send it, too: then it must not become the head of the next response.
    let denies_itself =
        head.status == StatusCode::NO_CONTENT && declared.is_some_and(|body| !body.is_empty());
    let keep_alive = options.keep_alive(head.version) && framing != BodyFraming::UntilClose && !denies_itself;
    Ok(ParsedResponse { consumed: bytes.len(), kind, framing, keep_alive })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::encode;

    fn parse(method: Method, text: &str) -> Result<Option<(ParsedResponse, ResponseHead)>, BadResponse> {
        let mut head = ResponseHead::new();
        let parsed = parse_response(text.as_bytes(), &Limits::default(), &method, &mut head)?;
        Ok(parsed.map(|parsed| (parsed, head)))
    }

    #[test]
    fn a_bodys_end_is_found_as_section_6_3_says() {
        use BodyFraming::{Chunked, Length, None, UntilClose};
        use FramingError::{
            CodingInvalid, CodingUnsupported, LengthAndCoding, LengthInvalid, LengthRepeated,
        };
        const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
        for (rule, method, line, fields, framing) in [
            ("1", Method::HEAD, "HTTP/1.1 200 OK", "Content-Length: 5\r\n", Ok(None)),
            ("1", Method::HEAD, "HTTP/1.1 200 OK", CHUNKED, Ok(None)),
            ("1", Method::HEAD, "HTTP/1.1 200 OK", "", Ok(None)),
            ("1", Method::GET, "HTTP/1.1 204 No Content", "", Ok(None)),
            ("1", Method::GET, "HTTP/1.1 304 Not Modified", "Content-Length: 5\r\n", Ok(None)),
            ("1", Method::GET, "HTTP/1.1 100 Continue", "", Ok(None)),
            ("1", Method::GET, "HTTP/1.1 101 Switching Protocols", "", Ok(None)),
            (
                "3",
                Method::GET,
                "HTTP/1.1 200 OK",
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                Err(LengthAndCoding),
            ),
            ("4", Method::GET, "HTTP/1.1 200 OK", CHUNKED, Ok(Chunked)),
            ("4", Method::GET, "HTTP/1.1 200 OK", "Transfer-Encoding: gzip\r\n", Err(CodingInvalid)),
            (
                "4",
                Method::GET,
                "HTTP/1.1 200 OK",
                "Transfer-Encoding: gzip, chunked\r\n",
                Err(CodingUnsupported),
            ),
            (
                "5",
                Method::GET,
                "HTTP/1.1 200 OK",
                "Content-Length: 5\r\nContent-Length: 6\r\n",
                Err(LengthRepeated),
            ),
            ("5", Method::GET, "HTTP/1.1 200 OK", "Content-Length: 5x\r\n", Err(LengthInvalid)),
            ("5", Method::HEAD, "HTTP/1.1 200 OK", "Content-Length: 5x\r\n", Err(LengthInvalid)),
            ("6", Method::GET, "HTTP/1.1 200 OK", "Content-Length: 5\r\n", Ok(Length(5))),
            ("6", Method::GET, "HTTP/1.0 200 OK", "Content-Length: 0\r\n", Ok(Length(0))),
            ("8", Method::GET, "HTTP/1.1 200 OK", "", Ok(UntilClose)),
            ("8", Method::GET, "HTTP/1.0 200 OK", "", Ok(UntilClose)),
        ] {
            let found =
                parse(method, &format!("{line}\r\n{fields}\r\n")).map(|whole| whole.unwrap().0.framing);
            assert_eq!(found, framing.map_err(BadResponse::Framing), "rule {rule}: {line} {fields:?}");
        }
        assert_eq!(
            parse(Method::GET, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").map(|_| ()),
            Err(BadResponse::Framing(FramingError::CodingBeforeHttp11))
        );
    }

    #[test]
    fn a_length_that_counts_another_body_stays_among_the_fields() {
        for (method, status, stays) in
            [(Method::HEAD, 200, true), (Method::GET, 304, true), (Method::GET, 200, false)]
        {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
            let (_, head) = parse(method, &text).unwrap().unwrap();
            assert_eq!(head.fields.contains("content-length"), stays);
        }
    }

    #[test]
    fn a_connection_is_used_again_only_if_both_sides_agree_where_the_response_ends() {
        for (text, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", true),
        ] {
            assert_eq!(parse(Method::GET, text).unwrap().unwrap().0.keep_alive, keep_alive, "{text:?}");
        }
    }

    #[test]
    fn what_follows_is_told_by_the_status() {
        for (status, kind) in [
            (100, ResponseKind::Informational),
            (103, ResponseKind::Informational),
            (199, ResponseKind::Informational),
            (101, ResponseKind::Switching),
            (200, ResponseKind::Final),
            (999, ResponseKind::Final),
        ] {
            let text = format!("HTTP/1.1 {status} \r\nUpgrade: websocket\r\n\r\n");
            let (parsed, head) = parse(Method::GET, &text).unwrap().unwrap();
            assert_eq!((parsed.kind, head.status.as_u16()), (kind, status));
            assert_eq!(parsed.consumed, text.len());
        }
    }

    #[test]
    fn what_is_no_response_is_an_error_and_a_part_of_one_is_not() {
        for (text, expected) in [
            ("", Ok(false)),
            ("HTTP/1.1 200 OK\r\n", Ok(false)),
            ("HTTP/1.1 200\r\n\r\n", Ok(true)),
            ("HTTP/1.1 200 \u{e9}\r\n\r\n", Ok(true)),
            ("HTTP/1.1 099 X\r\n\r\n", Err(BadResponse::Malformed)),
            ("HTTP/1.1 20 X\r\n\r\n", Err(BadResponse::Malformed)),
            ("HTTP/1.1 2000 X\r\n\r\n", Err(BadResponse::Malformed)),
            ("HTTP/2.0 200 X\r\n\r\n", Err(BadResponse::Malformed)),
            ("ICY 200 X\r\n\r\n", Err(BadResponse::Malformed)),
            ("\r\nHTTP/1.1 200 X\r\n\r\n", Err(BadResponse::Malformed)),
            ("HTTP/1.1 200 X\n\n", Err(BadResponse::Malformed)),
            ("HTTP/1.1 200 X\r\nA : b\r\n\r\n", Err(BadResponse::Malformed)),
            ("HTTP/1.1 200 X\r\nA: b\r\n c\r\n\r\n", Err(BadResponse::Malformed)),
            ("HTTP/1.1 200 X\r\nA: b\0\r\n\r\n", Err(BadResponse::Malformed)),
            ("HTTP/1.1 200 X\r\nA: b\rc\r\n\r\n", Err(BadResponse::Malformed)),
        ] {
            assert_eq!(parse(Method::GET, text).map(|whole| whole.is_some()), expected, "{text:?}");
        }
        let many = format!("HTTP/1.1 200 X\r\n{}\r\n", "a: b\r\n".repeat(129));
        assert_eq!(parse(Method::GET, &many).map(|_| ()), Err(BadResponse::TooManyFields));
        let large = format!("HTTP/1.1 200 X\r\na: {}", "b".repeat(64 << 10));
        assert_eq!(parse(Method::GET, &large).map(|_| ()), Err(BadResponse::HeadTooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_parses_to_the_same_response(
            status in 200u16..1000,
            fields in prop::collection::vec(("x-[a-z]{1,8}", "[!-~]{0,12}"), 0..70),
            length in any::<Option<u64>>(),
        ) {
            let mut head = ResponseHead::new();
            head.status = StatusCode::from_u16(status).unwrap();
            head.fields = fields.into_iter().collect();
            let bodiless = status == 204 || status == 304;
            let framing = if bodiless { BodyFraming::None } else { encode::frame_response(head.version, length) };
            let mut wire = Vec::new();
            encode::response_head(&head, framing, encode::Persistence::Implied, &mut wire);
            let (parsed, same) = parse(Method::GET, std::str::from_utf8(&wire).unwrap()).unwrap().unwrap();
            prop_assert_eq!(same, head);
            prop_assert_eq!((parsed.framing, parsed.keep_alive, parsed.consumed), (framing, true, wire.len()));
        }
    }
}
