//! Heads between the codec's form and ours.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use ringway_core::canonical::{fill_authority, fill_target};
use ringway_core::headers::{may_be_trailer, names_collide};
use ringway_core::http1::{BodyFraming, FramingError, Refusal, may_upgrade_to, parse_content_length};
use ringway_core::limits::Limits;
use ringway_core::{Fields, RequestHead, ResponseHead, Scheme, Version};

/// Fills our head from a client's request; says how long its body is. `scheme` is the connection's: whether a request came
/// over TLS is not for the client to say. The codec has checked pseudo-headers, letter
/// case and connection fields (RFC 9113 sections 8.2 and 8.3).
pub(super) fn read_request(
    request: &Request<()>,
    ended: bool,
    limits: &Limits,
    scheme: Scheme,
    head: &mut RequestHead,
) -> Result<BodyFraming, Refusal> {
    head.clear();
    head.version = Version::Http2;
    head.method = request.method().clone();
    head.scheme = scheme;
    head.protocol =
        request.extensions().get::<h2::ext::Protocol>().map(|protocol| protocol.as_str().to_owned());
    if head.method == Method::CONNECT && !head.protocol.as_deref().is_some_and(is_tunnel_protocol) {
        return Err(Refusal::Connect);
    }
    if request.headers().len() > limits.header_count_max {
        return Err(Refusal::TooManyFields);
    }
    let host = single(request.headers(), &HOST)?;
    // `:authority` wins; a `Host` that says something else could be believed by someone behind us (section 8.3.1).
    match (request.uri().authority(), host) {
        (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(&host) => {
            return Err(Refusal::HostRepeated);
        }
        (Some(authority), _) => fill_authority(head, authority.as_str())?,
        (None, Some(host)) => fill_authority(head, &host)?,
        (None, None) => return Err(Refusal::HostMissing),
    }
    match request.uri().path_and_query().map(|path| path.as_str()) {
        Some("*") if head.method == Method::OPTIONS => {
            head.set_path("*");
            head.set_query(None);
        }
        Some(target) => fill_target(head, target)?,
        None => return Err(Refusal::TargetForm),
    }
    if request.headers().get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(FramingError::LengthRepeated.into());
    }
    let framing = framing(request.headers(), ended);
    // A tunnel has no body either.
    let nothing_to_send = framing.is_empty() || head.protocol.is_some();
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in request.headers() {
        if name == COOKIE {
            // Crumbs become one field again (RFC 9113 section 8.2.3).
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
        } else if name == EXPECT {
            // As in HTTP/1.1: others are refused, and without a body there is nothing to wait for.
            if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::Expectation);
            }
            if !nothing_to_send {
                head.fields.append(name.as_str().as_bytes(), value.as_bytes());
            }
        } else if name != CONTENT_LENGTH && name != HOST {
            head.fields.append(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !cookies.is_empty() {
        head.fields.append(b"cookie", &cookies);
    }
    if names_collide(&head.fields) {
        return Err(Refusal::NameCollision);
    }
    Ok(framing)
}

/// Fills our head from an upstream's response.
pub(super) fn read_response(response: &Response<()>, method: &Method, head: &mut ResponseHead) {
    // To HEAD and in 304 it counts the body of another answer, so it is no framing and passes.
    let counts_nothing = *method == Method::HEAD || response.status() == StatusCode::NOT_MODIFIED;
    head.clear();
    head.version = Version::Http2;
    head.status = response.status();
    for (name, value) in response.headers() {
        if name != CONTENT_LENGTH || counts_nothing {
            head.fields.append(name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

/// How long a body is. The codec compares it with what comes.
pub(super) fn framing(headers: &HeaderMap, ended: bool) -> BodyFraming {
    if ended {
        return BodyFraming::None;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| parse_content_length(value.as_bytes()));
    length.map_or(BodyFraming::Chunked, BodyFraming::Length)
}

/// The fields of a head or of trailers, in the codec's form.
pub(super) fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    for (name, value) in fields.iter() {
        append(&mut map, name, value);
    }
    map
}

/// Fields that were accepted by one codec are legal for the other.
fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

/// Trailers, in our form: those that may be trailers, as in HTTP/1.
pub(super) fn read_trailers(map: &HeaderMap) -> Fields {
    let legal = map.iter().filter(|(name, _)| may_be_trailer(name.as_str().as_bytes()));
    legal.map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}

/// A response in the codec's form. `length` is told if it is known.
pub(super) fn write_response(head: &ResponseHead, length: Option<u64>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = header_map(&head.fields);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// A request in the codec's form; `None` if it has none.
pub(super) fn write_request(head: &RequestHead, framing: BodyFraming) -> Option<Request<()>> {
    let mut target = String::from(head.path());
    if let Some(query) = head.query() {
        target.push('?');
        target.push_str(query);
    }
    let uri = Uri::builder()
        .scheme(head.scheme.as_str())
        .authority(Bytes::copy_from_slice(head.authority().as_bytes()).as_ref())
        .path_and_query(target)
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = header_map(&head.fields);
    // An upgrade of HTTP/1.1 means nothing here, and is forbidden (RFC 9113 section 8.2.2).
    request.headers_mut().remove(UPGRADE);
    if let BodyFraming::Length(length) = framing {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(protocol) = &head.protocol {
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol.as_str()));
    }
    Some(request)
}

/// Whether a `:protocol` may become an HTTP/1 upgrade. The codec checks nothing of it: one with a line break would be a
/// second request to an HTTP/1 upstream, and one that names HTTP a tunnel around our rules.
fn is_tunnel_protocol(protocol: &str) -> bool {
    HeaderName::from_bytes(protocol.as_bytes()).is_ok() && may_upgrade_to(protocol.as_bytes())
}

fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(String::from_utf8_lossy(value.as_bytes()).into_owned())),
        (Some(_), Some(_)) => Err(Refusal::HostRepeated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(protocol: &str) -> Result<BodyFraming, Refusal> {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = "http://a.test/chat".parse().unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
        read_request(&request, false, &Limits::default(), Scheme::Http, &mut RequestHead::new())
    }

    #[test]
    fn a_protocol_that_would_be_a_request_of_its_own_or_a_way_around_the_rules_is_refused() {
        assert!(connect("websocket").is_ok());
        for protocol in
            ["x\r\n\r\nGET /admin HTTP/1.1\r\nhost: h\r\n\r\n", "web socket", "", "h2c", "HTTP", "TLS"]
        {
            assert_eq!(connect(protocol).unwrap_err(), Refusal::Connect, "{protocol:?}");
        }
    }

    #[test]
    fn a_length_that_is_said_twice_is_refused() {
        let request = |lengths: &[u64]| {
            let empty = Request::post("http://a/");
            let request =
                lengths.iter().fold(empty, |request, length| request.header(CONTENT_LENGTH, *length));
            let request = request.body(()).unwrap();
            read_request(&request, false, &Limits::default(), Scheme::Http, &mut RequestHead::new())
        };
        assert_eq!(request(&[5]), Ok(BodyFraming::Length(5)));
        for lengths in [[5, 7], [5, 5]] {
            assert_eq!(request(&lengths), Err(Refusal::Framing(FramingError::LengthRepeated)));
        }
    }

    #[test]
    fn a_client_waits_for_100_only_with_a_body_to_send() {
        for (expect, ended, passes) in [
            ("100-continue", false, Ok(true)),
            ("100-Continue", false, Ok(true)),
            ("100-continue", true, Ok(false)),
            ("anything", false, Err(Refusal::Expectation)),
            ("anything", true, Err(Refusal::Expectation)),
        ] {
            let request = Request::get("http://a/").header(EXPECT, expect).body(()).unwrap();
            let mut head = RequestHead::new();
            let read = read_request(&request, ended, &Limits::default(), Scheme::Http, &mut head);
            assert_eq!(read.map(|_| head.fields.contains("expect")), passes, "{expect} {ended}");
        }
    }

    #[test]
    fn a_request_is_as_secure_as_its_connection() {
        let request = Request::get("https://a/").body(()).unwrap();
        let mut head = RequestHead::new();
        read_request(&request, true, &Limits::default(), Scheme::Http, &mut head).unwrap();
        assert_eq!(head.scheme, Scheme::Http);
    }

    #[test]
    fn trailers_hold_what_trailers_may_hold() {
        let mut map = HeaderMap::new();
        for name in ["grpc-status", "x-forwarded-for", "authorization", "content-length"] {
            map.insert(name, HeaderValue::from_static("1"));
        }
        assert_eq!(read_trailers(&map), [("grpc-status", "1")].into_iter().collect());
    }

    #[test]
    fn a_length_that_counts_another_answers_body_passes() {
        let mut response = Response::new(());
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        let mut head = ResponseHead::new();
        read_response(&response, &Method::HEAD, &mut head);
        assert!(head.fields.contains("content-length"));
        read_response(&response, &Method::GET, &mut head);
        assert!(!head.fields.contains("content-length"));
    }
}
