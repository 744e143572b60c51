//! PROXY protocol headers: an answer does not change when more bytes come, and consumes no more than there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_core::proxy_protocol::parse_proxy_header;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse_proxy_header(bytes);
    if let Ok(Some(header)) = whole {
        assert!(header.consumed <= bytes.len());
    }
    for end in 0..bytes.len().min(512) {
        let part = parse_proxy_header(&bytes[..end]);
        if part != Ok(None) {
            assert_eq!(part, whole);
            break;
        }
    }
});
