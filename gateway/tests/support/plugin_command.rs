//! `gateway plugin` for crates that are built by it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::missing::skipped;
use crate::modules;

/// Returns the command in a folder. What it builds is kept for later runs.
pub(crate) fn gateway(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.arg("plugin").args(arguments).current_dir(folder).env_remove("GATEWAY_LOG");
    command.env("CARGO_TARGET_DIR", target_folder());
    command
}

/// Returns the folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the folder of artifacts, beside that of the profile that this program was built with.
pub(crate) fn target_folder() -> PathBuf {
    let guests = modules::guests_folder(&std::env::current_exe().unwrap());
    guests.unwrap().with_file_name("plugin-new")
}

/// Returns the path of a module that was built.
pub(crate) fn built(module: &str) -> PathBuf {
    target_folder().join("wasm32-wasip1/plugin").join(format!("{module}.wasm"))
}

/// Returns standard error.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns true, and notes it, if this machine cannot build modules.
pub(crate) fn is_target_missing(test: &str) -> bool {
    let target = ["--print", "target-libdir", "--target", "wasm32-wasip1"];
    let output = Command::new("rustc").args(target).output().unwrap();
    let is_missing = !Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir();
    if is_missing {
        skipped(&format!("{test}: not installed: wasm32-wasip1 (rustup target add wasm32-wasip1)"));
    }
    is_missing
}
