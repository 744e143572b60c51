//! Request heads: the scan and the parser agree, and what is written is read as the same request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_core::http1::encode::{Persistence, request_head};
use ringway_core::http1::{HeadScan, parse_request};
use ringway_core::limits::Limits;
use ringway_core::{RequestHead, Scheme, Version};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let mut head = RequestHead::new();
    let parsed = parse_request(bytes, &limits, Scheme::Http, &mut head);
    assert_eq!(HeadScan::request(&limits).ready(bytes), parsed != Ok(None));
    let Ok(Some(parsed)) = parsed else { return };
    assert!(parsed.consumed <= bytes.len());
    // HTTP/1.1 cannot do without a host.
    if head.host().is_empty() {
        return;
    }
    let mut wire = Vec::new();
    request_head(&head, parsed.framing, Persistence::Implied, &mut wire);
    let mut again = RequestHead::new();
    let roomy = Limits {
        header_bytes_max: 1 << 20,
        request_line_bytes_max: 1 << 20,
        header_count_max: 1000,
        ..limits
    };
    let reparsed = parse_request(&wire, &roomy, Scheme::Http, &mut again)
        .expect("what we write is no refusal")
        .expect("what we write is whole");
    assert_eq!(reparsed.framing, parsed.framing);
    assert_eq!(reparsed.consumed, wire.len());
    // Fields of the hop are written by argument: the upgrade is not asked for again, nor is an expectation lost.
    for name in ["connection", "upgrade", "http2-settings", "te"] {
        head.fields.remove(name);
        again.fields.remove(name);
    }
    (head.version, head.scheme) = (Version::Http11, Scheme::Http);
    assert_eq!(
        (again.authority(), again.path(), again.query()),
        (head.authority(), head.path(), head.query())
    );
    assert_eq!(again, head);
});
