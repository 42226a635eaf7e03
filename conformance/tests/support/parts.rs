//! Check for a cluster on this machine.

use std::process::{Command, Stdio};

/// Returns in one line why `conformance cluster` cannot run here, or `None` if it can.
pub(crate) fn missing() -> Option<String> {
    let mut parts = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let parts = parts.args(["cluster", "parts"]).stdin(Stdio::null()).output().unwrap();
    let message = String::from_utf8_lossy(&parts.stderr).trim().replace('\n', "; ");
    assert_ne!(parts.status.code(), Some(101), "it panicked: {message}");
    (!parts.status.success()).then_some(message)
}
