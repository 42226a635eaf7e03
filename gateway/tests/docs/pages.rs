//! The pages, and the generated parts between their markers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tables;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// Returns the repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_owned()
}

/// Reads a text file by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns all documents of the project, by path from the root.
pub(crate) fn documents() -> Vec<String> {
    let entries = fs::read_dir(root().join("gateway/docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<_> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("gateway/docs/{name}")).collect();
    found.sort();
    found.extend(["README.md", "gateway/ARCHITECTURE.md", "conformance/README.md"].map(str::to_owned));
    found
}

/// Returns all sources, manifests and scripts of the project with their texts.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), Vec::new());
    folders.extend(["gateway", "conformance", "charts"].map(|name| root().join(name)));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let extension = entry.extension().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() && !["target", "corpus"].contains(&name.as_str()) {
                folders.push(entry);
            } else if ["rs", "toml", "yaml", "sh"].contains(&extension.as_str()) || name == "test" {
                found.push((entry.clone(), fs::read_to_string(&entry).unwrap_or_default()));
            }
        }
    }
    found.push((root().join("Cargo.toml"), read("Cargo.toml")));
    found
}

#[test]
fn generated_tables_match_the_code() {
    let mut unused = tables::NAMES.to_vec();
    let mut stale = Vec::new();
    for path in documents() {
        let text = read(&path);
        let expected = regenerate(&path, &text, |name| {
            unused.retain(|unused| *unused != name);
            tables::generate(name)
        });
        if expected != text && std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(root().join(&path), &expected).unwrap();
        } else if expected != text {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "UPDATE_EXPECT=1 cargo test -p gateway --test docs\nstale: {stale:?}");
    assert!(unused.is_empty(), "in no document: {unused:?}");
}

/// Returns the text of a page with each generated part replaced by the present one.
fn regenerate(path: &str, text: &str, mut generate: impl FnMut(&str) -> Option<String>) -> String {
    let (mut result, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").unwrap_or_else(|| panic!("{path}: {BEGIN} without -->"));
        let (_, after) = after.split_once(END).unwrap_or_else(|| panic!("{path}: {name} without {END}"));
        let table = generate(name).unwrap_or_else(|| panic!("{path}: nothing generates {name}"));
        result += &format!("{before}{BEGIN}{name} -->\n{}\n{END}", table.trim_end());
        rest = after;
    }
    result + rest
}

#[test]
fn regenerate_replaces_stale_parts_only() {
    let page = "# A\n<!-- generated: x -->\nold\n<!-- end -->\ntext\n";
    let new = regenerate("a.md", page, |name| (name == "x").then(|| "new\n".to_owned()));
    assert_eq!(new, "# A\n<!-- generated: x -->\nnew\n<!-- end -->\ntext\n");
}
