//! helm as `conformance cluster parts` installs it, and the value sets of the chart's tests.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Returns the folder of helm and crane, or why it is missing. The first call may build both, which takes minutes.
pub(crate) fn tools() -> Result<&'static Path, &'static str> {
    static TOOLS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let tools = TOOLS.get_or_init(|| {
        let mut parts = Command::new(env!("CARGO_BIN_EXE_conformance"));
        let output = parts.args(["cluster", "parts", "--tools"]).stdin(Stdio::null()).output().unwrap();
        if output.status.success() {
            return Ok(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end()));
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "))
    });
    tools.as_ref().map(PathBuf::as_path).map_err(String::as_str)
}

/// Runs helm in the folder of the chart. Panics if it is missing: the caller checks [`tools`].
pub(crate) fn helm(arguments: &[&str]) -> Output {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("charts/gateway");
    let helm = tools().unwrap().join("helm");
    Command::new(helm).args(arguments).current_dir(chart).stdin(Stdio::null()).output().unwrap()
}

/// Returns the names of the value sets, sorted: files of `charts/gateway/tests/values`.
pub(crate) fn value_sets() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("charts/gateway/tests/values");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> =
        entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Returns standard output and standard error of a process.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
