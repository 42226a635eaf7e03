//! Skips tests whose program is not installed. The note bypasses output capture and reaches `conformance/test`.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::Write;

/// Returns true if the program is not in `PATH`, and notes that the test is skipped.
pub(crate) fn is_missing(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return false;
    }
    skipped(&format!("{test}: not installed: {program}"));
    true
}

/// Notes on standard error, and in the file `$GATEWAY_SKIPPED`, that a test is skipped.
pub(crate) fn skipped(reason: &str) {
    let line = format!("SKIPPED: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("GATEWAY_SKIPPED") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}
