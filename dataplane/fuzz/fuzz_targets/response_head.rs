//! Response heads: the scan and the parser agree, and what is written is read as the same response.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use ringway_core::http1::encode::{Persistence, response_head};
use ringway_core::http1::{BodyFraming, HeadScan, ResponseKind, parse_response};
use ringway_core::limits::Limits;
use ringway_core::{ResponseHead, Version};

fuzz_target!(|input: (bool, &[u8])| {
    let (head_request, bytes) = input;
    let method = if head_request { Method::HEAD } else { Method::GET };
    let limits = Limits::default();
    let mut head = ResponseHead::new();
    let parsed = parse_response(bytes, &limits, &method, &mut head);
    assert_eq!(HeadScan::response(&limits).ready(bytes), parsed != Ok(None));
    let Ok(Some(parsed)) = parsed else { return };
    assert!(parsed.consumed <= bytes.len());
    assert!(parsed.kind == ResponseKind::Final || parsed.framing == BodyFraming::None);
    assert!(!(parsed.keep_alive && parsed.framing == BodyFraming::UntilClose));
    let mut wire = Vec::new();
    response_head(&head, parsed.framing, Persistence::Implied, &mut wire);
    let mut again = ResponseHead::new();
    let roomy = Limits { header_bytes_max: 1 << 20, header_count_max: 1000, ..limits };
    let reparsed = parse_response(&wire, &roomy, &method, &mut again)
        .expect("what we write is no error")
        .expect("what we write is whole");
    assert_eq!((reparsed.framing, reparsed.kind), (parsed.framing, parsed.kind));
    assert_eq!(reparsed.consumed, wire.len());
    head.version = Version::Http11;
    head.fields.remove("connection");
    // Its place may change: the codec writes it last.
    let lengths = |head: &ResponseHead| head.fields.first("content-length").map(<[u8]>::to_vec);
    assert_eq!(lengths(&again), lengths(&head));
    head.fields.remove("content-length");
    again.fields.remove("content-length");
    assert_eq!(again, head);
});
