//! The case files of a plugin.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use api::plugin_case::PluginCase;

/// The folder of the cases, in that of the plugin.
pub(super) const CASES: &str = "cases";

/// A case, and the name of its file without the extension.
#[derive(Clone, Debug)]
pub(super) struct NamedCase {
    pub(super) name: String,
    pub(super) case: PluginCase,
}

/// Reads all cases of a plugin, sorted by name.
///
/// # Errors
/// The folder has no case, or a file is malformed.
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
        let case = serde_saphyr::from_str(&text).with_context(|| format!("{} is no case", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.push(NamedCase { name, case });
    }
    ensure!(!found.is_empty(), "{} has no case: add a file NAME.yaml", cases.display());
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}
