//! Cargo, for the modules of plugins.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

/// The target of modules.
const TARGET: &str = "wasm32-wasip1";

/// The profile of modules: as small as Cargo makes them, with the names of functions for backtraces. Given on the command
/// line, so that a crate need not define it.
const PROFILE: &[&str] = &[
    "inherits=\"release\"",
    "opt-level=\"s\"",
    "lto=\"fat\"",
    "codegen-units=1",
    "panic=\"abort\"",
    "strip=\"debuginfo\"",
];

/// Whether Cargo reports its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Shown,
    /// Only warnings and errors.
    Quiet,
}

/// A line of Cargo's report about an artifact.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    kind: Vec<String>,
}

impl Message {
    /// Returns the module if the message is about that of a crate. Dependencies may build modules of their own.
    fn module(self, manifest: &Path) -> Option<PathBuf> {
        let is_own = self.manifest_path.is_some_and(|path| path == manifest);
        let is_module = self.target.is_some_and(|target| target.kind.iter().any(|kind| kind == "cdylib"));
        let is_wasm = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
        let is_artifact = self.reason == "compiler-artifact" && is_own && is_module;
        self.filenames.into_iter().find(is_wasm).filter(|_| is_artifact)
    }
}

/// Builds the module of the crate in a folder. Returns its path. Cargo reports errors of the code to standard error.
///
/// # Errors
/// The folder has no crate, the target is not installed, the build failed, or the crate builds no module.
pub(super) fn build(folder: &Path, progress: Progress) -> anyhow::Result<PathBuf> {
    let manifest = folder.join("Cargo.toml");
    ensure!(
        manifest.is_file(),
        "{} does not exist: name the folder of a plugin, or write one by `gateway plugin new NAME`",
        manifest.display()
    );
    check_target(folder)?;
    let mut child =
        command(folder, progress).spawn().context("cargo cannot be started: install Rust by rustup")?;
    let manifest =
        manifest.canonicalize().with_context(|| format!("{} cannot be read", manifest.display()))?;
    let mut modules = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.context("the output of cargo cannot be read")?;
            // Lines of build scripts are no JSON.
            if let Ok(message) = serde_json::from_str::<Message>(&line) {
                modules.extend(message.module(&manifest));
            }
        }
    }
    let status = child.wait().context("cargo was lost")?;
    ensure!(status.success(), "the build failed: cargo has reported why");
    match modules.as_slice() {
        [module] => Ok(module.clone()),
        [] => bail!("the crate builds no module: add `crate-type = [\"cdylib\"]` to [lib] of Cargo.toml"),
        _ => bail!("{} builds several modules: name the folder of one plugin", folder.display()),
    }
}

fn command(folder: &Path, progress: Progress) -> Command {
    let mut command = Command::new(program());
    command.args(["build", "--lib", "--profile", "plugin", "--target", TARGET]);
    command.args(["--message-format", "json-render-diagnostics"]);
    for setting in PROFILE {
        command.arg("--config").arg(format!("profile.plugin.{setting}"));
    }
    if progress == Progress::Quiet {
        command.arg("--quiet");
    }
    // Flags for programs of this machine, such as its processor, are not for modules.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Checks that the toolchain of a folder has the target: the compiler's own message does not name the command.
fn check_target(folder: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder);
    let output = command.output().context("rustc cannot be started: install Rust by rustup")?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && Path::new(libraries.trim()).is_dir(),
        "the target {TARGET} is not installed: run `rustup target add {TARGET}`"
    );
    Ok(())
}
