//! Programs that a test needs and a machine may not have.

use std::io::Write;
use std::path::Path;

/// Whether the test cannot run here: the program is not installed. Says so past the capture, and in the list of
/// `conformance/test`.
pub(crate) fn is_missing(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return false;
    }
    let line = format!("SKIPPED: {test}: not installed: {program}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("GATEWAY_SKIPPED") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(Path::new(&list)).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
    true
}
