//! ClientHellos: an answer does not change when more bytes come, and a name is canonical.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_core::canonical::split_authority;
use ringway_core::sniff::client_hello;

fuzz_target!(|bytes: &[u8]| {
    let whole = client_hello(bytes);
    for end in 0..bytes.len().min(2048) {
        let part = client_hello(&bytes[..end]);
        if part != Ok(None) {
            assert_eq!(part, whole);
            break;
        }
    }
    if let Ok(Some(hello)) = whole
        && let Some(name) = hello.sni
    {
        assert_eq!(split_authority(&name), Ok((&*name.to_ascii_lowercase(), None)));
    }
});
