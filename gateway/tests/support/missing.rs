//! What a test needs and a machine may not have: said past the capture, and in the list of `conformance/test`.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::Write;

/// Whether the test cannot run here: the program is not installed.
pub(crate) fn is_missing(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return false;
    }
    skipped(&format!("{test}: not installed: {program}"));
    true
}

/// Says that a test did not run, and why.
pub(crate) fn skipped(what: &str) {
    let line = format!("SKIPPED: {what}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("GATEWAY_SKIPPED") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}
