//! Parses the head of an HTTP/1 request into its canonical form, or says why it is refused.
//!
//! Strict where readers could disagree: RFC 9112 section 6 for framing, section 3.2 for the target and `Host`. A
//! refusal always closes the connection, since what follows on it cannot be told apart any more. Fills a head that is
//! used again, so that a steady request allocates nothing.

use std::mem::MaybeUninit;

use http::{Method, StatusCode};
use ringway_config::PathError;

use super::framing::{BodyFraming, FramingError, FramingFields};
use super::scan::{HeadScan, ScanError};
use crate::arrival::Scheme;
use crate::canonical::{self, Uncanonical};
use crate::decision::Answer;
use crate::failure::Flag;
use crate::headers::{self, CONNECTION_OPTIONS_MAX, ConnectionOptions, list};
use crate::limits::Limits;
use crate::message::{RequestHead, Version};

/// What a request's head says about its connection and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes of the head, with blank lines before it.
    pub consumed: usize,
    /// How its body ends; never [`BodyFraming::UntilClose`].
    pub framing: BodyFraming,
    /// Whether the client expects the connection to stay open.
    pub keep_alive: bool,
    /// Whether the client asks for an upgrade that can be passed on. `upgrade` is among the fields then only.
    pub upgrade: bool,
}

/// Why a request is refused. The connection cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head did not come within its time. The caller keeps the clock.
    TooSlow,
    /// The request line is longer than `request_line_bytes_max`.
    LineTooLong,
    /// The head is larger than `header_bytes_max`.
    HeadTooLarge,
    /// More than `header_count_max` fields.
    TooManyFields,
    /// Bytes that can begin no request.
    Junk,
    /// The first line is another protocol's, such as a broken preface of HTTP/2: no answer of ours would be understood.
    OtherProtocol,
    /// A line that ends with a lone LF or has a lone CR.
    LineEnding,
    /// The request line is malformed.
    Line,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A folded field (RFC 9112 section 5.2).
    Fold,
    /// A field name is malformed, or there is a space before the colon (section 5.1).
    FieldName,
    /// A field value has a control byte.
    FieldValue,
    /// Two names that become one where `_` is read as `-`.
    NameCollision,
    /// More options in `Connection` than any client sends.
    ConnectionOptions,
    /// HTTP/1.1 without a host (section 3.2).
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// The target is in none of the forms of section 3.2.
    TargetForm,
    /// Target or host has no canonical form.
    Uncanonical(Uncanonical),
    /// `CONNECT`: we are no forward proxy.
    Connect,
    /// The body's length is not certain.
    Framing(FramingError),
    /// An expectation other than `100-continue`.
    Expectation,
}

impl Refusal {
    /// The reply, which closes the connection.
    pub fn answer(self) -> Answer {
        let (status, details) = self.status_and_details();
        Answer::refuse(status, Flag::DownstreamProtocolError, details).and_close()
    }

    fn status_and_details(self) -> (StatusCode, &'static str) {
        let details = match self {
            Self::TooSlow => return (StatusCode::REQUEST_TIMEOUT, "header_read_timeout exceeded"),
            Self::LineTooLong => return (StatusCode::URI_TOO_LONG, "request_line_bytes_max exceeded"),
            Self::HeadTooLarge => {
                return (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header_bytes_max exceeded");
            }
            Self::TooManyFields => {
                return (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header_count_max exceeded");
            }
            Self::Version => {
                return (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP version not supported");
            }
            Self::Connect => return (StatusCode::NOT_IMPLEMENTED, "CONNECT not supported"),
            Self::Framing(FramingError::CodingUnsupported) => {
                return (StatusCode::NOT_IMPLEMENTED, "transfer coding not supported");
            }
            Self::Expectation => return (StatusCode::EXPECTATION_FAILED, "expectation not supported"),
            Self::Junk | Self::OtherProtocol => "not an HTTP request",
            Self::LineEnding => "line does not end with CRLF",
            Self::Line => "malformed request line",
            Self::Fold => "folded header field",
            Self::FieldName => "invalid header field name",
            Self::FieldValue => "invalid header field value",
            Self::NameCollision => "header field names differ in underscore and dash only",
            Self::ConnectionOptions => "too many connection options",
            Self::HostMissing => "host missing",
            Self::HostRepeated => "host repeated",
            Self::TargetForm => "invalid form of request target",
            Self::Uncanonical(reason) => reason.details(),
            Self::Framing(error) => match error {
                FramingError::LengthInvalid => "invalid content-length",
                FramingError::LengthRepeated => "content-length repeated",
                FramingError::LengthAndCoding => "content-length beside transfer-encoding",
                FramingError::CodingBeforeHttp11 => "transfer-encoding before HTTP/1.1",
                FramingError::CodingInvalid => "transfer-encoding does not end with one chunked",
                FramingError::CodingUnsupported => unreachable!("answered with 501 above"),
            },
        };
        (StatusCode::BAD_REQUEST, details)
    }
}

impl From<ScanError> for Refusal {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::LineTooLong => Self::LineTooLong,
            ScanError::HeadTooLarge => Self::HeadTooLarge,
            ScanError::LineEnding => Self::LineEnding,
            ScanError::Junk => Self::Junk,
            ScanError::Fold => Self::Fold,
        }
    }
}

impl From<FramingError> for Refusal {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

impl From<Uncanonical> for Refusal {
    fn from(error: Uncanonical) -> Self {
        Self::Uncanonical(error)
    }
}

/// Parses the request at the beginning of `buf` into `head`; `None` if its head is not complete ([`HeadScan`] tells
/// that without beginning again). `scheme` is the connection's. On a refusal `head` holds nothing of use.
pub fn parse_request(
    buf: &[u8],
    limits: &Limits,
    scheme: Scheme,
    head: &mut RequestHead,
) -> Result<Option<Parsed>, Refusal> {
    let Some(range) = HeadScan::request(limits).find(buf)? else { return Ok(None) };
    let consumed = range.end;
    let bytes = &buf[range];
    head.clear();
    head.scheme = scheme;
    // Room on the stack for what clients send; a head with more fields than that is parsed again with more room.
    let parsed = match parse_fields::<64>(bytes, limits, head) {
        Err(Refusal::TooManyFields) if limits.header_count_max > 64 => {
            head.fields.clear();
            parse_fields::<FIELDS_MAX>(bytes, limits, head)
        }
        parsed => parsed,
    }?;
    Ok(Some(Parsed { consumed, ..parsed }))
}

/// The most fields a head can have, whatever `header_count_max` says: they are listed on the stack (32 bytes each).
pub(super) const FIELDS_MAX: usize = 1024;

// Not inlined: the larger of the two would make every call pay for its stack.
#[inline(never)]
fn parse_fields<const N: usize>(
    bytes: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Parsed, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; N];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(consumed)) if consumed == bytes.len() => {}
        // The head is complete by our own count of lines: the parser saw another end than we did.
        Ok(_) => return Err(Refusal::LineEnding),
        Err(error) => return Err(refusal(error, bytes)),
    }
    if request.headers.len() > limits.header_count_max {
        return Err(Refusal::TooManyFields);
    }
    let (method, target, version) = (request.method, request.path, request.version);
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return Err(Refusal::Line);
    };
    head.method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::Line)?;
    head.version = if version == 0 { Version::Http10 } else { Version::Http11 };

    let mut host = None;
    let mut framing = FramingFields::default();
    let mut options = ConnectionOptions::default();
    let mut expect = None;
    let mut upgrade = None;
    for field in &*request.headers {
        let name = field.name;
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => {
                if host.replace(field.value).is_some() {
                    return Err(Refusal::HostRepeated);
                }
                continue;
            }
            6 if is("expect") => {
                expect = Some(expect.unwrap_or(true) && field.value.eq_ignore_ascii_case(b"100-continue"));
            }
            7 if is("upgrade") => {
                upgrade = Some(upgrade.unwrap_or(true) && may_upgrade_to(field.value));
            }
            10 if is("connection") => options.read(field.value),
            14 if is("content-length") => {
                framing.length(field.value)?;
                continue;
            }
            17 if is("transfer-encoding") => {
                framing.coding(field.value)?;
                continue;
            }
            _ => {}
        }
        head.fields.append(name.as_bytes(), field.value);
    }
    if headers::names_collide(&head.fields) {
        return Err(Refusal::NameCollision);
    }
    if options.count > CONNECTION_OPTIONS_MAX {
        return Err(Refusal::ConnectionOptions);
    }
    fill_origin(head, target, host)?;

    let framing = framing.conclude(head.version)?.unwrap_or(BodyFraming::None);
    let http11 = head.version == Version::Http11;
    match expect {
        Some(false) if http11 => return Err(Refusal::Expectation),
        // An older client does not understand 100, and without a body there is nothing to wait for. Else the upstream
        // says whether it wants the body.
        Some(_) if !http11 || framing.is_empty() => drop(head.fields.remove("expect")),
        Some(_) | None => {}
    }
    // With a body, what comes after it would be this protocol's or the next one's, as each side believes.
    let passes = http11 && options.upgrade && upgrade == Some(true) && framing.is_empty();
    if upgrade.is_some() && !passes {
        head.fields.remove("upgrade");
    }
    Ok(Parsed { consumed: 0, framing, keep_alive: options.keep_alive(head.version), upgrade: passes })
}

/// Target and `Host` become authority, path and query (RFC 9112 section 3.2).
fn fill_origin(head: &mut RequestHead, target: &str, host: Option<&[u8]>) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    match host {
        None if head.version == Version::Http11 => return Err(Refusal::HostMissing),
        None => {}
        Some(host) => {
            let host = std::str::from_utf8(host).map_err(|_| Uncanonical::Host)?;
            canonical::fill_authority(head, host)?;
        }
    }
    if target.starts_with('/') {
        return Ok(canonical::fill_target(head, target)?);
    }
    if target == "*" {
        return if head.method == Method::OPTIONS { fill_asterisk(head) } else { Err(Refusal::TargetForm) };
    }
    // Absolute form: its authority wins over Host (section 3.2.2). Its scheme is not believed: whether a request came over
    // TLS is for the connection to say.
    let (scheme, rest) = target.split_once("://").ok_or(Refusal::TargetForm)?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(Refusal::TargetForm);
    }
    // A backslash ends the authority for browsers, and is refused here as no host may have it.
    let (authority, origin) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    canonical::fill_authority(head, authority)?;
    match origin.as_bytes().first() {
        Some(b'/') => Ok(canonical::fill_target(head, origin)?),
        None if head.method == Method::OPTIONS => fill_asterisk(head),
        _ => {
            // Without a path the path is a slash; a query may follow.
            canonical::fill_target(head, "/")?;
            let query = origin.strip_prefix('?');
            if query.is_none() && !origin.is_empty() {
                return Err(Uncanonical::from(PathError::Fragment).into());
            }
            canonical::fill_query(head, query)?;
            Ok(())
        }
    }
}

/// `OPTIONS` of the server itself (sections 3.2.4 and 3.3).
fn fill_asterisk(head: &mut RequestHead) -> Result<(), Refusal> {
    head.set_path("*");
    head.set_query(None);
    Ok(())
}

/// Whether an `Upgrade` names only protocols that may be tunnelled.
///
/// Never another HTTP or TLS: the upstream would take requests from the tunnel that no rule of ours has seen.
pub fn may_upgrade_to(value: &[u8]) -> bool {
    let mut protocols = list(value).peekable();
    protocols.peek().is_some()
        && protocols.all(|protocol| {
            let name = protocol.split(|&b| b == b'/').next().unwrap_or_default().trim_ascii();
            [&b"h2"[..], b"h2c", b"h3", b"http", b"tls"].iter().all(|http| !name.eq_ignore_ascii_case(http))
        })
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::HeaderName => Refusal::FieldName,
        httparse::Error::HeaderValue => Refusal::FieldValue,
        httparse::Error::NewLine => Refusal::LineEnding,
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        httparse::Error::Version if names_a_version(bytes) => Refusal::Version,
        httparse::Error::Version if is_foreign(bytes) => Refusal::OtherProtocol,
        httparse::Error::Version | httparse::Error::Token | httparse::Error::Status => Refusal::Line,
    }
}

/// Whether the request line is well formed but for a version that we do not speak.
fn names_a_version(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|&b| b == b'\r').next().unwrap_or_default().split(|&b| b == b' ');
    let parts = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(_), Some(_), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None) = parts else {
        return false;
    };
    major.is_ascii_digit() && minor.is_ascii_digit() && !matches!((major, minor), (b'1', b'0' | b'1'))
}

/// Whether neither of what would be target and version is like those of HTTP.
fn is_foreign(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|&b| b == b'\r').next().unwrap_or_default().split(|&b| b == b' ');
    let (_, Some([target, ..]), Some([version, ..])) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    !matches!(target, b'/' | b'*' | b'h' | b'H') && !version.eq_ignore_ascii_case(&b'h')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Option<(Parsed, RequestHead)>, Refusal> {
        parse_bytes(text.as_bytes())
    }

    fn parse_bytes(bytes: &[u8]) -> Result<Option<(Parsed, RequestHead)>, Refusal> {
        let mut head = RequestHead::new();
        let parsed = parse_request(bytes, &Limits::default(), Scheme::Http, &mut head)?;
        Ok(parsed.map(|parsed| (parsed, head)))
    }

    fn refused(text: &str) -> Option<Refusal> {
        parse(text).err()
    }

    fn whole(text: &str) -> (Parsed, RequestHead) {
        match parse(text) {
            Ok(Some(whole)) => whole,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    /// A request whose fields beside `Host` are given, in lines.
    fn with(fields: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn a_request_becomes_a_canonical_head() {
        let text = "\r\nGET /a/../%7Eb?c HTTP/1.1\r\nHOST:  Example.com.:80 \r\nX-A:\t1\r\nx-a: \r\n\r\nnext";
        let (parsed, head) = whole(text);
        assert_eq!(
            parsed,
            Parsed { consumed: text.len() - 4, framing: BodyFraming::None, keep_alive: true, upgrade: false }
        );
        assert_eq!((head.path(), head.query()), ("/~b", Some("c")));
        assert_eq!((head.host(), head.authority()), ("example.com", "example.com:80"));
        assert_eq!(head.fields, [("x-a", "1"), ("x-a", "")].into_iter().collect());
        assert_eq!((head.method, head.version, head.scheme), (Method::GET, Version::Http11, Scheme::Http));
    }

    #[test]
    fn the_length_of_a_body_is_certain_or_the_request_is_refused() {
        use BodyFraming::{Chunked, Length, None};
        use FramingError::{
            CodingInvalid, CodingUnsupported, LengthAndCoding, LengthInvalid, LengthRepeated,
        };
        for (section, fields, framing) in [
            ("9112 6.3 (7)", "", Ok(None)),
            ("9112 6.3 (6)", "Content-Length: 0\r\n", Ok(Length(0))),
            ("9112 6.3 (6)", "content-length: 42 \r\n", Ok(Length(42))),
            ("9112 6.3 (4)", "Transfer-Encoding: chunked\r\n", Ok(Chunked)),
            ("9112 7: codings are case-insensitive", "Transfer-Encoding: ChunkeD\r\n", Ok(Chunked)),
            ("9112 6.3 (3)", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Err(LengthAndCoding)),
            ("9112 6.3 (3)", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Err(LengthAndCoding)),
            ("9112 6.3 (5)", "Content-Length: 1\r\nContent-Length: 2\r\n", Err(LengthRepeated)),
            ("9110 8.6: we reject", "Content-Length: 1\r\nContent-Length: 1\r\n", Err(LengthRepeated)),
            ("9110 8.6: we reject", "Content-Length: 1, 1\r\n", Err(LengthInvalid)),
            ("9112 6.3 (5)", "Content-Length: 1, 2\r\n", Err(LengthInvalid)),
            ("9110 8.6", "Content-Length: +1\r\n", Err(LengthInvalid)),
            ("9110 8.6", "Content-Length: -1\r\n", Err(LengthInvalid)),
            ("9110 8.6", "Content-Length: 0x1\r\n", Err(LengthInvalid)),
            ("9110 8.6", "Content-Length:\r\n", Err(LengthInvalid)),
            ("9110 8.6", "Content-Length: 1 2\r\n", Err(LengthInvalid)),
            ("9110 8.6: overflow", "Content-Length: 18446744073709551616\r\n", Err(LengthInvalid)),
            ("9112 6.3 (4)", "Transfer-Encoding: gzip\r\n", Err(CodingInvalid)),
            ("9112 6.3 (4)", "Transfer-Encoding: chunked, gzip\r\n", Err(CodingInvalid)),
            ("9112 6.1", "Transfer-Encoding: chunked, chunked\r\n", Err(CodingInvalid)),
            ("9112 6.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(CodingInvalid)),
            ("9112 6.3 (4)", "Transfer-Encoding: identity\r\n", Err(CodingInvalid)),
            ("9112 7", "Transfer-Encoding: xchunked\r\n", Err(CodingInvalid)),
            ("9112 7.1: no parameters", "Transfer-Encoding: chunked;a=b\r\n", Err(CodingInvalid)),
            ("9112 7", "Transfer-Encoding: \"chunked\"\r\n", Err(CodingInvalid)),
            ("9112 7", "Transfer-Encoding:\r\n", Err(CodingInvalid)),
            ("9112 7", "Transfer-Encoding: chunked,\r\n", Err(CodingInvalid)),
            ("9112 6.1", "Transfer-Encoding: gzip, chunked\r\n", Err(CodingUnsupported)),
            ("9112 6.1", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Err(CodingUnsupported)),
        ] {
            let found = parse(&with(fields)).map(|whole| whole.unwrap().0.framing);
            assert_eq!(found, framing.map_err(Refusal::Framing), "{section}: {fields:?}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(old), Some(Refusal::Framing(FramingError::CodingBeforeHttp11)), "9112 6.1");
    }

    #[test]
    fn framing_is_not_among_the_fields() {
        let (_, head) = whole(&with("Content-Length: 3\r\nX: y\r\n"));
        assert_eq!(head.fields, [("x", "y")].into_iter().collect());
        let (_, head) = whole(&with("Transfer-Encoding: chunked\r\n"));
        assert!(head.fields.is_empty());
    }

    #[test]
    fn malformed_heads_are_refused() {
        for (section, text, refusal) in [
            ("9112 2.2: bare CR", with("A: b\rc\r\n"), Refusal::FieldValue),
            ("9112 2.2: bare LF", with("A: b\nC: d\r\n"), Refusal::LineEnding),
            ("9112 2.2: bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(), Refusal::LineEnding),
            ("9112 2.2: bare CR", "GET / HTTP/1.1\rHost: a\r\n\r\n".to_owned(), Refusal::LineEnding),
            (
                "9112 2.2: space after the line",
                "GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_owned(),
                Refusal::Fold,
            ),
            ("9112 5.2", with("A: b\r\n c\r\n"), Refusal::Fold),
            ("9112 5.1", with("A : b\r\n"), Refusal::FieldName),
            ("9112 5.1", with("Content-Length : 1\r\n"), Refusal::FieldName),
            ("9110 5.1", with(": b\r\n"), Refusal::FieldName),
            ("9110 5.1", with("A\r\n"), Refusal::FieldName),
            ("9110 5.1", with("A(b: c\r\n"), Refusal::FieldName),
            ("9110 5.1", with("\u{e9}: c\r\n"), Refusal::FieldName),
            ("9110 5.5", with("A: b\0c\r\n"), Refusal::FieldValue),
            ("9110 5.5", with("A: b\x07c\r\n"), Refusal::FieldValue),
            ("9110 5.5", with("A: b\x7fc\r\n"), Refusal::FieldValue),
            ("9112 3", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Refusal::Line),
            ("9112 3", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Refusal::Line),
            ("9112 3", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n".to_owned(), Refusal::LineEnding),
            ("9112 3", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Refusal::Line),
            ("9112 3", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Refusal::Line),
            ("9112 3: HTTP/0.9", "GET /\r\n\r\n".to_owned(), Refusal::Line),
            ("9112 3.1", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Refusal::Line),
            ("9112 2.3", "GET / http/1.1\r\nHost: a\r\n\r\n".to_owned(), Refusal::Line),
            ("9112 2.3", "GET / HTTP/1.10\r\nHost: a\r\n\r\n".to_owned(), Refusal::LineEnding),
            ("9110 15.6.6", "GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), Refusal::Version),
            ("9110 15.6.6", "PRI * HTTP/2.0\r\n\r\n".to_owned(), Refusal::Version),
            ("9110 15.6.6", "GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), Refusal::Version),
            ("9112 2.2: leading junk", " GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Refusal::Junk),
            ("a TLS handshake", "\x16\x03\x01".to_owned(), Refusal::Junk),
            (
                "9113 3.4: a broken preface",
                "INVALID CONNECTION PREFACE\r\n\r\n".to_owned(),
                Refusal::OtherProtocol,
            ),
            ("9112 3", "GET / FOO\r\n\r\n".to_owned(), Refusal::Line),
            ("9110 10.1.1", with("Expect: more\r\n"), Refusal::Expectation),
            (
                "9110 10.1.1",
                with("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 1\r\n"),
                Refusal::Expectation,
            ),
            (
                "bounded work",
                with(&format!("Connection: {}\r\n", "a,".repeat(17))),
                Refusal::ConnectionOptions,
            ),
        ] {
            assert_eq!(refused(&text), Some(refusal), "{section}: {text:?}");
        }
    }

    #[test]
    fn every_form_of_target_and_host_of_section_3_2_is_told_apart() {
        const H: &str = "Host: h\r\n";
        for (section, line, host, origin) in [
            ("3.2.1", "GET /a HTTP/1.1", H, Ok(("h", "/a"))),
            ("3.2.2", "GET http://T:8/a?b HTTP/1.1", H, Ok(("t:8", "/a"))),
            ("3.2.2", "GET HTTPS://t/../a HTTP/1.1", H, Err(Uncanonical::from(PathError::AboveRoot).into())),
            ("3.2.2", "GET http://t HTTP/1.1", H, Ok(("t", "/"))),
            ("3.2.2", "GET http://t?x HTTP/1.1", H, Ok(("t", "/"))),
            ("3.2.2", "GET http://t HTTP/1.0", "", Ok(("t", "/"))),
            ("3.2: Host is needed beside it", "GET http://t HTTP/1.1", "", Err(Refusal::HostMissing)),
            ("3.2: and checked", "GET http://t HTTP/1.1", "Host: a b\r\n", Err(Uncanonical::Host.into())),
            ("3.2.2", "GET http:///a HTTP/1.1", H, Err(Uncanonical::Host.into())),
            ("9110 4.2.4", "GET http://u@t/ HTTP/1.1", H, Err(Uncanonical::UserInformation.into())),
            ("3.2.2", "GET http://t\\a/ HTTP/1.1", H, Err(Uncanonical::Host.into())),
            ("3.2.2", "GET http://t#a HTTP/1.1", H, Err(Uncanonical::from(PathError::Fragment).into())),
            ("3.2.2", "GET ftp://t/ HTTP/1.1", H, Err(Refusal::TargetForm)),
            ("3.2.3", "CONNECT t:443 HTTP/1.1", H, Err(Refusal::Connect)),
            ("3.2.3", "CONNECT /a HTTP/1.1", H, Err(Refusal::Connect)),
            ("3.2.3", "GET t:443 HTTP/1.1", H, Err(Refusal::TargetForm)),
            ("3.2.4", "OPTIONS * HTTP/1.1", H, Ok(("h", "*"))),
            ("3.2.4", "OPTIONS http://t HTTP/1.1", H, Ok(("t", "*"))),
            ("3.2.4", "OPTIONS http://t?x HTTP/1.1", H, Ok(("t", "/"))),
            ("3.2.4", "GET * HTTP/1.1", H, Err(Refusal::TargetForm)),
            ("3.2.4", "OPTIONS *a HTTP/1.1", H, Err(Refusal::TargetForm)),
            ("3.2", "GET a HTTP/1.1", H, Err(Refusal::TargetForm)),
            ("3.2", "GET / HTTP/1.1", "", Err(Refusal::HostMissing)),
            ("3.2", "GET / HTTP/1.0", "", Ok(("", "/"))),
            ("3.2", "GET / HTTP/1.1", "Host: h\r\nHost: h\r\n", Err(Refusal::HostRepeated)),
            ("3.2", "GET / HTTP/1.1", "Host:\r\n", Err(Uncanonical::Host.into())),
            ("3.2", "GET / HTTP/1.1", "Host: h, i\r\n", Err(Uncanonical::Host.into())),
            ("3.2", "GET / HTTP/1.1", "Host: h/\r\n", Err(Uncanonical::Host.into())),
            ("3.2", "GET / HTTP/1.1", "Host: h:x\r\n", Err(Uncanonical::Port.into())),
        ] {
            let found = parse(&format!("{line}\r\n{host}\r\n")).map(|whole| whole.unwrap().1);
            let found = found.as_ref().map(|head| (head.authority(), head.path())).map_err(|error| *error);
            assert_eq!(found, origin, "{section}: {line} {host:?}");
        }
        let (_, head) = whole("GET http://t?x HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!((head.query(), head.scheme), (Some("x"), Scheme::Http));
        let (_, head) = whole("GET https://t/ HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(head.scheme, Scheme::Http, "the connection's");
    }

    #[test]
    fn a_connection_stays_open_as_section_9_3_says() {
        for (version, connection, keep_alive) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: x, Close\r\n", false),
            ("1.1", "Connection: x\r\nConnection: close\r\n", false),
            ("1.1", "Connection: keep-alive, close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let (parsed, _) = whole(&format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n"));
            assert_eq!(parsed.keep_alive, keep_alive, "{version} {connection:?}");
        }
    }

    #[test]
    fn only_an_upgrade_that_may_pass_is_among_the_fields() {
        const C: &str = "Connection: Upgrade\r\n";
        for (version, fields, passes) in [
            ("1.1", format!("{C}Upgrade: websocket\r\n"), true),
            ("1.1", format!("{C}Upgrade: websocket\r\nContent-Length: 0\r\n"), true),
            ("1.1", format!("{C}Upgrade: SPDY/3.1, foo\r\n"), true),
            ("1.1", "Upgrade: websocket\r\n".to_owned(), false),
            ("1.0", format!("{C}Upgrade: websocket\r\n"), false),
            ("1.1", format!("{C}Upgrade:\r\n"), false),
            ("1.1", format!("{C}Upgrade: websocket\r\nContent-Length: 1\r\n"), false),
            ("1.1", format!("{C}Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n"), false),
            ("1.1", format!("{C}Upgrade: h2c\r\nHTTP2-Settings: x\r\n"), false),
            ("1.1", format!("{C}Upgrade: websocket, H2C\r\n"), false),
            ("1.1", format!("{C}Upgrade: websocket\r\nUpgrade: h2c\r\n"), false),
            ("1.1", format!("{C}Upgrade: HTTP/2.0\r\n"), false),
            ("1.1", format!("{C}Upgrade: TLS/1.0\r\n"), false),
        ] {
            let (parsed, head) = whole(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!((parsed.upgrade, head.fields.contains("upgrade")), (passes, passes), "{fields:?}");
        }
    }

    #[test]
    fn a_client_waits_for_100_only_with_a_body_to_send() {
        for (version, fields, waits) in [
            ("1.1", "Expect: 100-Continue\r\nContent-Length: 1\r\n", true),
            ("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", true),
            ("1.1", "Expect: 100-continue\r\n", false),
            ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
            ("1.0", "Expect: anything\r\n", false),
        ] {
            let (_, head) = whole(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!(head.fields.contains("expect"), waits, "{fields:?}");
        }
    }

    #[test]
    fn names_with_underscores_pass_unless_they_collide() {
        for (fields, refused) in [
            ("x_a: 1\r\n", false),
            ("x_a: 1\r\nX_A: 2\r\n", false),
            ("x_a: 1\r\nx-b: 2\r\n", false),
            ("x_a: 1\r\nX-A: 2\r\n", true),
            ("X-A: 1\r\nx_a: 2\r\n", true),
            ("x_a-b: 1\r\nx-a_b: 2\r\n", true),
            ("content_length: 1\r\n", true),
            ("Transfer_Encoding: chunked\r\n", true),
            ("transfer-encoding: chunked\r\ntransfer_encoding: chunked\r\n", true),
        ] {
            let found = parse(&with(fields)).err();
            assert_eq!(found, refused.then_some(Refusal::NameCollision), "{fields:?}");
        }
    }

    #[test]
    fn limits_are_told_by_name() {
        let limits = Limits { header_count_max: 70, ..Limits::default() };
        let mut head = RequestHead::new();
        let mut parse = |text: &str| {
            parse_request(text.as_bytes(), &limits, Scheme::Http, &mut head).map(|p| p.is_some())
        };
        assert_eq!(parse(&with(&"a: b\r\n".repeat(69))), Ok(true));
        assert_eq!(parse(&with(&"a: b\r\n".repeat(70))), Err(Refusal::TooManyFields));
        assert_eq!(parse(&with(&"a: b\r\n".repeat(2000))), Err(Refusal::TooManyFields));
        assert_eq!(parse(&format!("GET /{}", "a".repeat(16 << 10))), Err(Refusal::LineTooLong));
        assert_eq!(parse(&with(&format!("a: {}", "b".repeat(64 << 10)))), Err(Refusal::HeadTooLarge));
        for (refusal, status, details) in [
            (Refusal::TooSlow, 408, "header_read_timeout exceeded"),
            (Refusal::LineTooLong, 414, "request_line_bytes_max exceeded"),
            (Refusal::HeadTooLarge, 431, "header_bytes_max exceeded"),
            (Refusal::TooManyFields, 431, "header_count_max exceeded"),
            (Refusal::Version, 505, "HTTP version not supported"),
            (Refusal::Connect, 501, "CONNECT not supported"),
            (Refusal::Framing(FramingError::CodingUnsupported), 501, "transfer coding not supported"),
            (Refusal::Expectation, 417, "expectation not supported"),
            (Refusal::Framing(FramingError::LengthAndCoding), 400, "content-length beside transfer-encoding"),
        ] {
            let answer = refusal.answer();
            assert_eq!((answer.status.as_u16(), answer.details), (status, details));
            assert!(answer.close && answer.flags.contains(Flag::DownstreamProtocolError));
        }
    }

    #[test]
    fn a_head_that_is_used_again_keeps_nothing_of_the_request_before() {
        let mut head = RequestHead::new();
        let mut parse = |text: &str| {
            parse_request(text.as_bytes(), &Limits::default(), Scheme::Http, &mut head).map(|_| head.clone())
        };
        let second = "GET / HTTP/1.0\r\n\r\n";
        let fresh = whole(second).1;
        parse("OPTIONS https://t:1/a?b HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n").unwrap();
        assert_eq!(parse(second), Ok(fresh));
    }

    #[test]
    fn a_steady_request_is_written_where_the_one_before_was() {
        let mut head = RequestHead::new();
        let mut places = |target: &str| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: Example.com\r\nA: b\r\n\r\n");
            parse_request(text.as_bytes(), &Limits::default(), Scheme::Http, &mut head).unwrap().unwrap();
            let field = head.fields.first("a").map(<[u8]>::as_ptr);
            (head.path().as_ptr(), head.authority().as_ptr(), field)
        };
        let first = places("/a/../b?query");
        assert_eq!(places("/without"), first);
        assert_eq!(places("/%7Ea?again"), first);
    }

    /// Heads made of the pieces that matter: framing, line ends, colons, and good requests among them.
    fn heads() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "GET / HTTP/1.1\r\n",
            "POST /a HTTP/1.1\r\n",
            "GET http://x/ HTTP/1.0\r\n",
            "Host: a\r\n",
            "Host: b\r\n",
            "Content-Length: 5\r\n",
            "Content-Length : 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding:\tchunked\r\n",
            "transfer_encoding: chunked\r\n",
            "Connection: close\r\n",
            "A: b\r\n",
            " c\r\n",
            "\r\n",
            "\n",
            "\r",
            "\0",
            "A: \u{e9}\r\n",
            "A:\r\n",
            "x",
        ]);
        prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_scan_is_ready_exactly_when_parsing_gives_an_answer(text in heads()) {
            let bytes = text.as_bytes();
            let mut scan = HeadScan::request(&Limits::default());
            for end in 0..=bytes.len() {
                let parsed = parse_bytes(&bytes[..end]);
                prop_assert_eq!(scan.ready(&bytes[..end]), parsed != Ok(None));
                if parsed != Ok(None) {
                    // And the answer does not depend on what comes after it.
                    prop_assert_eq!(parsed, parse_bytes(bytes));
                    break;
                }
            }
        }

        #[test]
        fn what_is_written_parses_to_the_same_request(text in heads()) {
            if let Ok(Some((parsed, head))) = parse(&text) {
                let mut wire = Vec::new();
                super::super::encode::request_head(&head, parsed.framing, super::super::encode::Persistence::Implied, &mut wire);
                // An HTTP/1.0 request may lack a host, which HTTP/1.1 cannot.
                if !head.host().is_empty() {
                    let (again, mut same) = parse_bytes(&wire).unwrap().unwrap();
                    let mut head = head;
                    head.version = Version::Http11;
                    head.fields.remove("connection");
                    same.scheme = head.scheme;
                    prop_assert_eq!(same, head);
                    prop_assert_eq!(again.framing, parsed.framing);
                    prop_assert_eq!(again.consumed, wire.len());
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut request = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
            request.extend_from_slice(&bytes);
            let _ = parse_bytes(&bytes);
            prop_assert!(parse_bytes(&request).map(|whole| whole.is_none_or(|(p, _)| p.consumed <= request.len())).unwrap_or(true));
        }
    }
}
