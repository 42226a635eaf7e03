//! Runs case files of class handlers.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use api::class_handler::ClassInput;
use api::class_handler::ClassOutput;

/// Runs all cases of a folder, relative to the folder of the crate. `NAME.in.yaml` is the input of a call, and
/// `NAME.out.yaml` beside it the output. With `UPDATE_EXPECT=1` the outputs are written instead. `gateway plugin test` runs
/// the same files in the gateway.
///
/// ```no_run
/// # use plugin_sdk::class::{ClassInput, ClassOutput};
/// # fn translate(_: &ClassInput) -> ClassOutput { ClassOutput::default() }
/// #[test]
/// fn cases_pass() {
///     plugin_sdk::class::run_cases("cases", translate);
/// }
/// ```
///
/// # Panics
/// A case fails, or the folder has none. The message lists all differences.
#[expect(clippy::panic, reason = "the test fails")]
pub fn run_cases(folder: impl AsRef<Path>, translate: fn(&ClassInput) -> ClassOutput) {
    let folder = folder.as_ref();
    let files = match inputs(folder) {
        Ok(files) if !files.is_empty() => files,
        Ok(_) => panic!("no cases *.in.yaml in {}", folder.display()),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    let mut failures = String::new();
    for file in files {
        if let Err(failure) = run_file(&file, translate) {
            failures.push_str(&format!("\n{}: {failure}", file.display()));
        }
    }
    if !failures.is_empty() {
        panic!("cases fail; UPDATE_EXPECT=1 writes the outputs:{failures}");
    }
}

/// Returns the inputs of a folder in the order of their names.
fn inputs(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(".in.yaml")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn run_file(file: &Path, translate: fn(&ClassInput) -> ClassOutput) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let input: ClassInput = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    let output = translate(&input);
    // As the gateway reads it.
    let json = serde_json::to_string(&output).map_err(|error| error.to_string())?;
    let read: ClassOutput =
        serde_json::from_str(&json).map_err(|error| format!("the output is not valid: {error}"))?;
    let actual = serde_saphyr::to_string(&read).map_err(|error| error.to_string())?;
    let expected = PathBuf::from(file.to_string_lossy().replace(".in.yaml", ".out.yaml"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return fs::write(&expected, actual).map_err(|error| error.to_string());
    }
    let known = fs::read_to_string(&expected).map_err(|error| format!("{}: {error}", expected.display()))?;
    let known: ClassOutput =
        serde_saphyr::from_str(&known).map_err(|error| format!("{}: {error}", expected.display()))?;
    if known == read {
        return Ok(());
    }
    Err(format!("the output differs from {}; it is:\n{actual}", expected.display()))
}
