//! Runs case files.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use api::PluginCase;
use api::PropertyValue;

use super::message::MockRequest;
use super::message::MockResponse;
use super::mock_host::MockHost;
use crate::plugin::Plugin;

/// Runs all case files `*.yaml` of a folder, relative to the folder of the crate. `gateway plugin test` runs the same files in
/// the gateway.
///
/// ```no_run
/// # use plugin_sdk::prelude::*;
/// # struct Hello;
/// # #[plugin]
/// # impl Plugin for Hello {
/// #     fn new(_: NoConfig, _: &RootContext) -> Result<Self, Error> {
/// #         Ok(Self)
/// #     }
/// # }
/// #[test]
/// fn cases_pass() {
///     plugin_sdk::test::run_cases::<Hello>("cases");
/// }
/// ```
///
/// # Panics
/// A case fails, or the folder has none. The message lists all differences.
#[expect(clippy::panic, reason = "the test fails")]
pub fn run_cases<P: Plugin>(folder: impl AsRef<Path>) {
    let folder = folder.as_ref();
    let files = match files(folder) {
        Ok(files) if !files.is_empty() => files,
        Ok(_) => panic!("no case files in {}", folder.display()),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    let mut failures = String::new();
    for file in files {
        let differences = run_file::<P>(&file).unwrap_or_else(|error| vec![error]);
        for difference in differences {
            failures.push_str(&format!("\n{}: {difference}", file.display()));
        }
    }
    if !failures.is_empty() {
        panic!("cases fail:{failures}");
    }
}

/// Returns the case files of a folder in the order of their names.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the differences of a case.
fn run_file<P: Plugin>(file: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let case: PluginCase = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    run_case::<P>(&case)
}

fn run_case<P: Plugin>(case: &PluginCase) -> Result<Vec<String>, String> {
    let mut host = MockHost::new();
    for (path, value) in &case.properties {
        let value = match value {
            PropertyValue::Boolean(value) => vec![u8::from(*value)],
            PropertyValue::Integer(value) => value.to_le_bytes().to_vec(),
            PropertyValue::String(value) => value.as_bytes().to_vec(),
        };
        host.set_property(&path.split('.').collect::<Vec<_>>(), &value);
    }
    if let Some(now) = &case.now {
        host = host.now(parse_time(now)?);
    }
    let configuration = case.config.as_ref().map(|config| config.text()).unwrap_or_default();
    let plugin = host.start::<P>(&configuration).map_err(|error| error.to_string())?;
    for callout in &case.callouts {
        plugin.answer(callout);
    }
    let exchange =
        plugin.exchange(MockRequest::from_case(&case.request), MockResponse::from_case(&case.upstream));
    Ok(case.differences(&exchange))
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time: jiff::Timestamp = text.parse().map_err(|error| format!("now: {error}"))?;
    Duration::try_from(time.as_duration()).map_err(|_| "now: the time is before 1970".to_owned())
}
