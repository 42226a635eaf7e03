//! Builds the guests, for tests and for the benchmark, into the target folder of the running program.

#![allow(dead_code, reason = "each user needs a part of it")]

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Why there is no module.
#[derive(Clone, Debug)]
pub(crate) enum NoModule {
    /// A compiler or its target is not installed.
    Missing(String),
    /// The build failed.
    Failed(String),
}

impl std::fmt::Display for NoModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for NoModule {}

/// Target of the guests in Rust.
const TARGET: &str = "wasm32-wasip1";

/// Returns the path of a guest in Rust: an example of the package `guests`. The first call builds all of them.
///
/// # Errors
/// Why there is no module.
pub(crate) fn module(guests: &Path, name: &str) -> Result<PathBuf, NoModule> {
    static FOLDER: OnceLock<Result<PathBuf, NoModule>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| build_rust(guests)).clone()?;
    Ok(folder.join(format!("{name}.wasm")))
}

/// Returns the path of the guest in Go. The first call builds it.
///
/// # Errors
/// Why there is no module.
pub(crate) fn go_module(guests: &Path) -> Result<PathBuf, NoModule> {
    static MODULE: OnceLock<Result<PathBuf, NoModule>> = OnceLock::new();
    MODULE.get_or_init(|| build_go(guests)).clone()
}

fn build_rust(guests: &Path) -> Result<PathBuf, NoModule> {
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"]))?;
    if !Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir() {
        return Err(NoModule::Missing(format!("not installed: {TARGET} (rustup target add {TARGET})")));
    }
    let folder = artifacts("guests")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--release", "--examples", "--target", TARGET, "--manifest-path"]);
    command.arg(guests.join("Cargo.toml")).arg("--target-dir").arg(&folder);
    // Flags for the host's compiler, such as instrumentation, are not for the guests.
    run(command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(folder.join(TARGET).join("release/examples"))
}

fn build_go(guests: &Path) -> Result<PathBuf, NoModule> {
    let folder = artifacts("guests")?.join("go");
    // A name of its own for each process: renamed into place, a reader never sees half of it.
    let (module, new) = (folder.join("go.wasm"), folder.join(format!("{}.wasm", std::process::id())));
    std::fs::create_dir_all(&folder).map_err(|error| NoModule::Failed(error.to_string()))?;
    let mut command = Command::new("go");
    command.args(["build", "-buildmode=c-shared", "-trimpath", "-o"]).arg(&new).arg(".");
    command.current_dir(guests.join("go")).env("GOOS", "wasip1").env("GOARCH", "wasm");
    run(command.env("GOFLAGS", "-mod=mod -buildvcs=false").env("GOTOOLCHAIN", "local"))?;
    std::fs::rename(&new, &module).map_err(|error| NoModule::Failed(error.to_string()))?;
    Ok(module)
}

/// Returns a folder for artifacts that later runs use again, beside the folder of the profile of this program.
///
/// # Errors
/// This program is in no target folder.
pub(crate) fn artifacts(name: &str) -> Result<PathBuf, NoModule> {
    let own = std::env::current_exe().map_err(|error| NoModule::Failed(error.to_string()))?;
    let guests = guests_folder(&own);
    let guests =
        guests.ok_or_else(|| NoModule::Failed(format!("{} is in no target folder", own.display())))?;
    Ok(guests.with_file_name(name))
}

/// Returns the folder of the guests for a program in `<target>/<profile>`, or in a folder of artifacts below it.
///
/// Only the layout of the path is used: Cargo marks with `CACHEDIR.TAG` only the target folders that it creates, and a
/// continuous integration system may create its own.
pub(crate) fn guests_folder(program: &Path) -> Option<PathBuf> {
    let parent = program.parent()?;
    let is_below_profile = ["deps", "examples"].iter().any(|name| parent.ends_with(name));
    let profile = if is_below_profile { parent.parent()? } else { parent };
    Some(profile.parent()?.join("guests"))
}

/// Runs a command, and returns its standard output.
fn run(command: &mut Command) -> Result<String, NoModule> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Err(error) => Err(NoModule::Missing(format!("not installed: {program} ({error})"))),
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(NoModule::Failed(format!("{program} failed: {}\n{text}", output.status)))
        }
    }
}
