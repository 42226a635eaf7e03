//! Whether there can be a cluster on this machine.

use std::process::{Command, Stdio};

/// Why there can be none, in one line, as `conformance cluster parts` says it.
pub(crate) fn missing() -> Option<String> {
    let mut parts = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let parts = parts.args(["cluster", "parts"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&parts.stderr).trim().replace('\n', "; ");
    assert_ne!(parts.status.code(), Some(101), "it panicked: {said}");
    (!parts.status.success()).then_some(said)
}
