//! Writes HTTP/1.1: heads, chunks, and answers of our own. Appends to the caller's buffer and allocates nothing else.
//!
//! Whatever fields a head holds, host, framing and connection management are written from arguments only, so that
//! none of them can pass from one side to the other by accident.

use http::{Method, StatusCode};

use super::framing::BodyFraming;
use crate::decision::{Answer, AnswerBody};
use crate::message::{Fields, RequestHead, ResponseHead, Version};

/// What the `Connection` field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: the connection stays open, as HTTP/1.1 does.
    Implied,
    /// `keep-alive`, for a client older than HTTP/1.1.
    KeepAlive,
    /// `close`
    Close,
    /// `upgrade`; the head has the `upgrade` field.
    Upgrade,
}

impl Persistence {
    /// How to tell a client of that version whether its connection stays open.
    pub fn tell(version: Version, keep_alive: bool) -> Self {
        match (keep_alive, version) {
            (false, _) => Self::Close,
            (true, Version::Http10) => Self::KeepAlive,
            (true, _) => Self::Implied,
        }
    }
}

/// How to frame a response's body for a client of that version; `length` is what is known of it. After
/// [`BodyFraming::UntilClose`] the connection must be closed.
pub fn frame_response(version: Version, length: Option<u64>) -> BodyFraming {
    match (length, version) {
        (Some(length), _) => BodyFraming::Length(length),
        (None, Version::Http10) => BodyFraming::UntilClose,
        (None, _) => BodyFraming::Chunked,
    }
}

/// Writes the head of a request to an upstream.
pub fn request_head(head: &RequestHead, framing: BodyFraming, persistence: Persistence, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.path().as_bytes());
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    field(b"host", head.authority().as_bytes(), out);
    fields(&head.fields, out);
    write_framing(framing, out);
    // TE speaks to the next hop, so it must be named (RFC 9110 section 10.1.4).
    let option: &[u8] = match (persistence, head.fields.contains("te")) {
        (Persistence::Implied, false) => b"",
        (Persistence::Implied, true) => b"te",
        (Persistence::KeepAlive, false) => b"keep-alive",
        (Persistence::KeepAlive, true) => b"keep-alive, te",
        (Persistence::Close, false) => b"close",
        (Persistence::Close, true) => b"close, te",
        (Persistence::Upgrade, false) => b"upgrade",
        (Persistence::Upgrade, true) => b"upgrade, te",
    };
    write_connection(option, out);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of a response to a client, also an informational one.
///
/// With [`BodyFraming::None`] a `content-length` among the fields is written, since it counts the body of another
/// answer (to HEAD, and in 304).
pub fn response_head(head: &ResponseHead, framing: BodyFraming, persistence: Persistence, out: &mut Vec<u8>) {
    status_line(head.status, out);
    fields(&head.fields, out);
    match (framing, head.fields.first("content-length")) {
        (BodyFraming::None, Some(length)) => field(b"content-length", length, out),
        _ => write_framing(framing, out),
    }
    write_connection(
        match persistence {
            Persistence::Implied => b"",
            Persistence::KeepAlive => b"keep-alive",
            Persistence::Close => b"close",
            Persistence::Upgrade => b"upgrade",
        },
        out,
    );
    out.extend_from_slice(b"\r\n");
}

/// Writes what precedes a chunk's data. The length is not zero: that would be the last chunk.
pub fn chunk_prefix(length: usize, out: &mut Vec<u8>) {
    debug_assert!(length > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let nibble = (length >> (4 * digit) & 15) as u8;
        out.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    }
    out.extend_from_slice(CHUNK_SUFFIX);
}

/// What follows a chunk's data.
pub const CHUNK_SUFFIX: &[u8] = b"\r\n";

/// Writes the last chunk, with trailers or without.
pub fn last_chunk(trailers: &Fields, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    fields(trailers, out);
    out.extend_from_slice(b"\r\n");
}

/// Writes an answer of our own, head and body. `method` is the request's; `date` is an HTTP date.
pub fn answer(answer: &Answer, method: &Method, persistence: Persistence, date: &[u8], out: &mut Vec<u8>) {
    let status = answer.shown_status();
    status_line(status, out);
    let body = answer_fields(answer, date, |name, value| field(name, value, out));
    if !(status.is_informational() || status == StatusCode::NO_CONTENT) {
        write_framing(BodyFraming::Length(body.len() as u64), out);
    }
    let close = answer.close || persistence == Persistence::Close;
    write_connection(
        match persistence {
            _ if close => b"close",
            Persistence::KeepAlive => b"keep-alive",
            Persistence::Implied | Persistence::Upgrade | Persistence::Close => b"",
        },
        out,
    );
    out.extend_from_slice(b"\r\n");
    if *method != Method::HEAD {
        out.extend_from_slice(body.as_bytes());
    }
}

/// The same as a head and a body, for a codec that has its own way to write them. A length is not among the fields.
pub fn answer_head<'a>(answer: &'a Answer, date: &[u8], head: &mut ResponseHead) -> &'a str {
    head.clear();
    head.status = answer.shown_status();
    let fields = &mut head.fields;
    answer_fields(answer, date, |name, value| fields.append(name, value))
}

/// Gives out an answer's fields, and returns its body.
fn answer_fields<'a>(answer: &'a Answer, date: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> &'a str {
    field(b"date", date);
    for (name, value) in answer.fields.iter() {
        field(name, value);
    }
    let text = match &answer.body {
        AnswerBody::Empty => "",
        AnswerBody::Text(text) => text,
    };
    match answer.grpc_status {
        Some(status) => {
            field(b"content-type", b"application/grpc");
            field(b"grpc-status", status.to_string().as_bytes());
            if !text.is_empty() {
                field(b"grpc-message", percent_encoded(text).as_bytes());
            }
            ""
        }
        None => {
            if !text.is_empty() {
                field(b"content-type", b"text/plain; charset=utf-8");
            }
            text
        }
    }
}

/// The encoding of `grpc-message`: all but printable ASCII without `%`.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail")
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

fn status_line(status: StatusCode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes all fields but those that the head itself or an argument decides.
fn fields(fields: &Fields, out: &mut Vec<u8>) {
    for (name, value) in fields.iter() {
        match name {
            b"host" | b"connection" | b"content-length" | b"transfer-encoding" => {}
            _ => field(name, value, out),
        }
    }
}

fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_framing(framing: BodyFraming, out: &mut Vec<u8>) {
    match framing {
        BodyFraming::None | BodyFraming::UntilClose => {}
        BodyFraming::Chunked => field(b"transfer-encoding", b"chunked", out),
        BodyFraming::Length(length) => {
            // The digits of 64 bits, from the last.
            let mut digits = [0; 20];
            let mut start = digits.len();
            let mut rest = length;
            loop {
                start -= 1;
                digits[start] = b'0' + (rest % 10) as u8;
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
            field(b"content-length", &digits[start..], out);
        }
    }
}

fn write_connection(option: &[u8], out: &mut Vec<u8>) {
    if !option.is_empty() {
        field(b"connection", option, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Flag;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn host_framing_and_connection_come_from_arguments_only() {
        let mut head = RequestHead::new();
        head.method = Method::POST;
        head.set_authority("a.b", Some(81));
        head.set_path("/p");
        head.set_query(Some(""));
        for (name, value) in [
            ("x", "1"),
            ("host", "evil"),
            ("content-length", "9"),
            ("transfer-encoding", "gzip"),
            ("connection", "x"),
            ("te", "trailers"),
        ] {
            head.fields.append(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(
            written(|out| request_head(&head, BodyFraming::Chunked, Persistence::Close, out)),
            "POST /p? HTTP/1.1\r\nhost: a.b:81\r\nx: 1\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\
             connection: close, te\r\n\r\n"
        );
    }

    #[test]
    fn a_response_tells_the_length_of_the_body_it_does_not_have() {
        let mut head = ResponseHead::new();
        head.fields.append(b"content-length", b"18446744073709551615");
        assert_eq!(
            written(|out| response_head(&head, BodyFraming::None, Persistence::KeepAlive, out)),
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\nconnection: keep-alive\r\n\r\n"
        );
        assert_eq!(
            written(|out| response_head(&head, BodyFraming::Length(u64::MAX - 1), Persistence::Implied, out)),
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551614\r\n\r\n"
        );
        head.clear();
        head.status = StatusCode::from_u16(299).unwrap();
        assert_eq!(
            written(|out| response_head(&head, BodyFraming::UntilClose, Persistence::Close, out)),
            "HTTP/1.1 299 \r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn old_clients_get_bodies_that_they_understand() {
        assert_eq!(frame_response(Version::Http10, None), BodyFraming::UntilClose);
        assert_eq!(frame_response(Version::Http10, Some(1)), BodyFraming::Length(1));
        assert_eq!(frame_response(Version::Http11, None), BodyFraming::Chunked);
        assert_eq!(Persistence::tell(Version::Http10, true), Persistence::KeepAlive);
        assert_eq!(Persistence::tell(Version::Http11, true), Persistence::Implied);
    }

    #[test]
    fn chunk_sizes_are_plain_hexadecimal() {
        for (length, prefix) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0xabcdef, "abcdef\r\n")] {
            assert_eq!(written(|out| chunk_prefix(length, out)), prefix);
        }
        assert_eq!(written(|out| chunk_prefix(usize::MAX, out)), format!("{:x}\r\n", usize::MAX));
        assert_eq!(written(|out| last_chunk(&Fields::new(), out)), "0\r\n\r\n");
    }

    #[test]
    fn an_answer_has_a_length_and_no_body_for_head() {
        let refusal = Answer::refuse(StatusCode::NOT_FOUND, Flag::NoRoute, "no route");
        let head = "HTTP/1.1 404 Not Found\r\ndate: D\r\ncontent-type: text/plain; charset=utf-8\r\n\
                    content-length: 8\r\n";
        let write = |method, answer_: &Answer, persistence| {
            written(|out| answer(answer_, &method, persistence, b"D", out))
        };
        assert_eq!(write(Method::GET, &refusal, Persistence::Implied), format!("{head}\r\nno route"));
        assert_eq!(write(Method::HEAD, &refusal, Persistence::Implied), format!("{head}\r\n"));
        let closing = refusal.and_close();
        assert_eq!(
            write(Method::GET, &closing, Persistence::KeepAlive),
            format!("{head}connection: close\r\n\r\nno route"),
            "an answer that closes says so whatever the caller wants"
        );
        let preflight = Answer::reply(StatusCode::NO_CONTENT, "");
        assert_eq!(
            write(Method::OPTIONS, &preflight, Persistence::Implied),
            "HTTP/1.1 204 No Content\r\ndate: D\r\n\r\n"
        );
    }

    #[test]
    fn grpc_errors_are_fields_of_a_200() {
        let refusal = Answer::refuse(StatusCode::NOT_FOUND, Flag::NoRoute, "100% lost").for_grpc(12);
        assert_eq!(
            written(|out| answer(&refusal, &Method::POST, Persistence::Implied, b"D", out)),
            "HTTP/1.1 200 OK\r\ndate: D\r\ncontent-type: application/grpc\r\ngrpc-status: 12\r\n\
             grpc-message: 100%25 lost\r\ncontent-length: 0\r\n\r\n"
        );
        let mut head = ResponseHead::new();
        assert_eq!(answer_head(&refusal, b"D", &mut head), "");
        assert_eq!(head.fields.first("grpc-status"), Some(&b"12"[..]));
    }
}
