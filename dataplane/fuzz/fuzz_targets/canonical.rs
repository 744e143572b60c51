//! Targets and hosts: the canonical form is its own canonical form, and has nothing left to disagree about.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_core::RequestHead;
use ringway_core::canonical::{fill_authority, fill_target};

fuzz_target!(|text: &str| {
    let (mut once, mut twice) = (RequestHead::new(), RequestHead::new());
    if fill_target(&mut once, text).is_ok() {
        let path = once.path();
        assert!(path.starts_with('/') && path.is_ascii());
        assert!(!path.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#' || b == b'\\'));
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        let target = match once.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        assert_eq!(fill_target(&mut twice, &target), Ok(()));
        assert_eq!((twice.path(), twice.query()), (once.path(), once.query()));
    }
    if fill_authority(&mut once, text).is_ok() {
        let authority = once.authority().to_owned();
        assert!(!once.host().is_empty());
        assert_eq!(fill_authority(&mut twice, &authority), Ok(()));
        assert_eq!(twice.authority(), authority);
    }
});
