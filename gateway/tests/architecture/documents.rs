//! What README and the other documents point at.

use std::fs;

use crate::tree::{TOP, files, read, root};

#[test]
fn paths_in_documents_exist() {
    let documents = files(".", &["md"]);
    assert!(documents.contains(&"README.md".to_owned()), "documents are not found: {documents:?}");
    let found: Vec<_> = documents.iter().flat_map(|file| dangling(file, &read(file))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns what backticks quote and points into the tree: a path, and the function behind a colon.
fn pointers(markdown: &str) -> Vec<(String, Option<String>)> {
    let quoted = markdown.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let inside = quoted.filter(|text| {
        text.split_once('/').is_some_and(|(top, _)| top == ".ci" || TOP.contains(&top) && top != "target")
            && !text.contains([' ', '<', '*', '…', '{'])
    });
    let split = |text: &str| match text.split_once(':') {
        Some((path, function)) => (path.to_owned(), Some(function.trim_end_matches("()").to_owned())),
        None => (text.to_owned(), None),
    };
    inside.map(split).collect()
}

/// Returns the pointers to files or functions that do not exist.
fn dangling(file: &str, markdown: &str) -> Vec<String> {
    let is_missing = |(path, function): &(String, Option<String>)| match function {
        None => !root().join(path).exists(),
        Some(function) => {
            let text = fs::read_to_string(root().join(path)).unwrap_or_default();
            let name = format!("fn {}", function.rsplit("::").next().unwrap_or_default());
            !text.match_indices(&name).any(|(at, _)| {
                let after = text.get(at + name.len()..).and_then(|rest| rest.chars().next());
                after.is_some_and(|c| c == '(' || c == '<')
            })
        }
    };
    let found = pointers(markdown).into_iter().filter(is_missing);
    found.map(|(path, function)| format!("{file}: no {path} {}", function.unwrap_or_default())).collect()
}

#[test]
fn dangling_paths_are_found() {
    let own = "gateway/tests/architecture/documents.rs";
    for (text, count) in [
        (format!("`{own}:dangling` | `{own}` | `cargo test` | `gateway/`"), 0),
        (format!("`{own}:dang`"), 1),
        ("`gateway/src/nowhere.rs:f` and `conformance/nothing`".to_owned(), 2),
    ] {
        assert_eq!(dangling("a.md", &text).len(), count, "{text}");
    }
}
