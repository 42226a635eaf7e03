//! Files of the repository, by path from its root.

use std::fs;
use std::path::{Path, PathBuf};

/// What the top level may hold besides dot-files.
pub(crate) const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "gateway",
    "plugin-sdk",
    "plugins",
    "charts",
    "conformance",
    "target",
];

/// Returns the repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_owned()
}

/// Reads a text file.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns all files below a folder with one of these extensions, sorted. Build output, fuzz corpora and dot-folders
/// are left out.
pub(crate) fn files(folder: &str, extensions: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("readable")) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !["target", "corpus"].contains(&name.as_str()) && !name.starts_with('.') {
                folders.push(path);
            } else if extensions.contains(&extension.as_str()) {
                let path = path.strip_prefix(root()).expect("below the root");
                let path: PathBuf = path.components().filter(|part| part.as_os_str() != ".").collect();
                files.push(path.display().to_string());
            }
        }
    }
    files.sort();
    files
}

/// Returns the folders of the workspace's members.
pub(crate) fn members() -> Vec<String> {
    members_of(&read("Cargo.toml"))
}

/// Returns the members that a workspace manifest lists.
fn members_of(manifest: &str) -> Vec<String> {
    let list =
        manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("members").0;
    list.lines().filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// A source file of a crate.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The folder of its crate.
    pub(crate) krate: String,
    /// Its path from the root.
    pub(crate) path: String,
    /// Its module path in the crate; empty for the crate's root.
    pub(crate) module: String,
}

impl Source {
    pub(crate) fn text(&self) -> String {
        read(&self.path)
    }
}

/// Returns the production sources of all members. Unit tests in files of their own are left out.
pub(crate) fn sources() -> Vec<Source> {
    let in_member = |krate: String| {
        let files = files(&format!("{krate}/src"), &["rs"]).into_iter();
        files.filter_map(move |path| {
            let module = module_of(path.strip_prefix(&format!("{krate}/src/"))?)?;
            Some(Source { krate: krate.clone(), path, module })
        })
    };
    members().into_iter().flat_map(in_member).collect()
}

/// Returns the module path of a file below `src`; `None` for unit tests.
fn module_of(path: &str) -> Option<String> {
    let parts: Vec<_> = path.strip_suffix(".rs")?.split('/').collect();
    if parts.contains(&"tests") {
        return None;
    }
    let is_root = matches!(parts[..], ["lib" | "main"]);
    Some(if is_root { String::new() } else { parts.join("::") })
}

#[test]
fn top_level_holds_only_the_listed_names() {
    let entries = fs::read_dir(root()).expect("readable");
    let names = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
    let found: Vec<_> =
        names.filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str())).collect();
    assert!(found.is_empty(), "not in DESIGN §2: {found:?}");
}

#[test]
fn sources_of_all_members_are_found() {
    let sources = sources();
    assert!(sources.len() > 200, "{} sources", sources.len());
    for member in members() {
        assert!(sources.iter().any(|source| source.krate == member), "no sources in {member}");
    }
}
