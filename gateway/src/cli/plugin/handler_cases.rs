//! The cases of a class handler: `NAME.in.yaml` is the input of a call, `NAME.out.yaml` beside it the output.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use api::class_handler::{ClassInput, ClassOutput};
use bytes::Bytes;
use plugin_host::{CommandLimits, Engine, HandlerCommand};

use super::case_file::CASES;
use super::case_result::print_result;
use crate::cli::style::Palette;

/// The end of the names of inputs.
const INPUT: &str = ".in.yaml";

/// The numbers of cases.
pub(super) struct HandlerCounts {
    pub(super) passed: usize,
    pub(super) failed: usize,
}

/// Returns true if a folder has the cases of a class handler.
pub(super) fn are_in(folder: &Path) -> bool {
    inputs(folder).is_ok_and(|inputs| !inputs.is_empty())
}

/// Runs all cases in a module, and prints their results.
///
/// # Errors
/// The module is no class handler, or a case cannot be read.
pub(super) fn run(folder: &Path, module: &Path) -> anyhow::Result<HandlerCounts> {
    let bytes = fs::read(module).with_context(|| format!("{} cannot be read", module.display()))?;
    let command = Engine::new(None)?.compile_command(&bytes)?;
    let palette = Palette::for_stdout();
    let mut counts = HandlerCounts { passed: 0, failed: 0 };
    for input in inputs(folder)? {
        let name = input.file_name().unwrap_or_default().to_string_lossy().replace(INPUT, "");
        let began = Instant::now();
        let failure = run_case(&command, &input)?;
        let failure = failure.map(|reason| format!("{reason}\n"));
        print_result(&palette, &name, began.elapsed(), failure.as_deref())?;
        match failure {
            None => counts.passed += 1,
            Some(_) => counts.failed += 1,
        }
    }
    Ok(counts)
}

/// Runs a case twice. Returns why it failed, or `None`.
fn run_case(command: &HandlerCommand, path: &Path) -> anyhow::Result<Option<String>> {
    let input: ClassInput = read(path)?;
    let expected: ClassOutput = read(&PathBuf::from(path.to_string_lossy().replace(INPUT, ".out.yaml")))?;
    let text = Bytes::from(serde_json::to_vec(&input)?);
    let limits = CommandLimits::default();
    let output = match command.run(text.clone(), &limits) {
        Ok(output) => output.stdout,
        Err(error) => return Ok(Some(format!("  {error}"))),
    };
    let second = command.run(text, &limits).map(|output| output.stdout);
    if second.as_ref() != Ok(&output) {
        return Ok(Some("  a second run has another output".to_owned()));
    }
    let actual: ClassOutput = match serde_json::from_slice(&output) {
        Ok(actual) => actual,
        Err(error) => return Ok(Some(format!("  the output is no ResourceList of a handler: {error}"))),
    };
    if actual == expected {
        return Ok(None);
    }
    Ok(Some(format!("  the output differs; it is:\n{}", serde_saphyr::to_string(&actual)?)))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no case", path.display()))
}

fn inputs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cases = folder.join(CASES);
    let entries = fs::read_dir(&cases).with_context(|| format!("{} cannot be read", cases.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("{} cannot be read", cases.display()))?.path();
        if path.to_string_lossy().ends_with(INPUT) {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "{} has no case: add a file NAME{INPUT}", cases.display());
    found.sort();
    Ok(found)
}
