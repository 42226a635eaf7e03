//! The case files of a plugin.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use api::plugin_case::PluginCase;
use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter as _};

/// The folder of the cases, in that of the plugin.
pub(super) const CASES: &str = "cases";

/// A case, and the name of its file without the extension.
#[derive(Clone, Debug)]
pub(super) struct NamedCase {
    pub(super) name: String,
    /// The case, or why the file is none.
    pub(super) case: Result<PluginCase, String>,
}

/// Reads all cases of a plugin, sorted by name.
///
/// # Errors
/// The folder or a file cannot be read, or there is no case.
pub(super) fn read_all(folder: &Path) -> anyhow::Result<Vec<NamedCase>> {
    let cases = folder.join(CASES);
    let entries = fs::read_dir(&cases).with_context(|| format!("{} cannot be read", cases.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("{} cannot be read", cases.display()))?.path();
        if path.extension().is_none_or(|extension| extension != "yaml" && extension != "yml") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let case = serde_saphyr::from_str(&text)
            .map_err(|error| format!("{} is no case: {}", path.display(), reason(&error)));
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.push(NamedCase { name, case });
    }
    ensure!(!found.is_empty(), "{} has no case: add a file NAME.yaml", cases.display());
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Describes an error with its place, in words of the case format.
fn reason(error: &Error) -> String {
    let message = match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the field `{key}` is there twice"),
        Error::DuplicateMappingKey { key: None, .. } => "a field is there twice".to_owned(),
        Error::Unexpected { expected: "mapping start", .. } => {
            "expected fields, each as `name: value`".to_owned()
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            "expected a list, each item behind `- `".to_owned()
        }
        Error::Unexpected { expected: "string scalar", .. } => "expected a text".to_owned(),
        Error::InvalidScalar { ty: "u16", .. } => "expected a number from 0 to 65535".to_owned(),
        Error::InvalidScalar { ty: "boolean", .. } => "expected true or false".to_owned(),
        Error::UnknownAnchor { .. } => "a value that starts with a star needs quotes".to_owned(),
        other => DefaultMessageFormatter.format_message(other).into_owned(),
    };
    match error.location() {
        Some(location) if location.line() > 0 => {
            format!("line {}, column {}: {message}", location.line(), location.column())
        }
        Some(_) | None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_cases_are_described_in_their_own_words() {
        for (text, expected) in [
            ("request: {path: /a, path: /b}", "line 1, column 21: the field `path` is there twice"),
            ("request: 5", "line 1, column 10: expected fields, each as `name: value`"),
            ("callouts: {to: a}", "line 1, column 11: expected a list, each item behind `- `"),
            ("upstream: {status: ok}", "line 1, column 20: expected a number from 0 to 65535"),
            ("expect: {reachesUpstream: maybe}", "line 1, column 27: expected true or false"),
            ("properties: {a: [1]}", "line 1, column 17: expected true, false, an integer or a text"),
            ("request: {path: *x}", "line 1, column 17: a value that starts with a star needs quotes"),
            ("callouts: [{}]", "line 1, column 12: missing field `to`"),
        ] {
            let error = serde_saphyr::from_str::<PluginCase>(text).unwrap_err();
            assert_eq!(reason(&error), expected, "{text}");
        }
    }
}
