//! Fuzzes canonical paths. No input panics, and a canonical path is its own canonical form.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use routing::host;
use routing::path;

fuzz_target!(|data: &[u8]| {
    if let Ok(once) = path::canonical(data) {
        check(&once);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(once) = path::rule_path(text) {
            check(&once);
        }
        let _ = routing::HostName::parse(text);
    }
    if let Some(once) = host::normalise(data) {
        let twice = host::normalise(once.as_bytes()).expect("a normal host is a host");
        assert_eq!(once, twice);
    }
});

fn check(once: &str) {
    let twice = path::canonical(once.as_bytes()).expect("a canonical path is a path");
    assert!(matches!(twice, Cow::Borrowed(_)), "a canonical path is found to be one in one pass");
    assert_eq!(once, twice);
    assert!(once.starts_with('/') && once.is_ascii() && !once.contains("//"));
    assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
}
