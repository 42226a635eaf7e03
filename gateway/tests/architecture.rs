//! Guards the shape of the house, from the text of the tree: which crate and which module may know which, what
//! stands at the top level, how long files are, and that each says what it is for.
//!
//! The rules are the tables below; changing one is a decision about DESIGN §2. Not here: how code is written,
//! which is the lint table's and clippy's.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates each of our crates may name, by folder. A workspace member that is missing here fails.
const CRATES: &[(&str, &[&str])] = &[
    ("gateway/api", &[]),
    ("gateway/http1", &[]),
    ("gateway/routing", &["api"]),
    ("gateway/plugin-host", &[]),
    ("gateway", &["api", "routing", "http1", "plugin-host"]),
    ("plugin-sdk", &["api"]),
    ("plugins/", &["plugin-sdk"]),
    ("conformance", &["gateway"]),
];

/// All names that [`CRATES`] is about.
const OURS: &[&str] = &["api", "http1", "routing", "plugin-host", "gateway", "plugin-sdk", "conformance"];

/// Heavy dependencies and the only folders whose crate may name them.
const FENCED: &[(&str, &[&str])] = &[
    ("tokio", &["gateway", "gateway/plugin-host", "conformance"]),
    ("pingora", &["gateway"]),
    ("kube", &["gateway", "conformance"]),
    ("wasmtime", &["gateway/plugin-host"]),
];

/// Which modules of `gateway` each may name, in the order of the flow; its own submodules are always allowed.
/// The longest entry that fits a module or a name counts, so `a::b` may be freer or stricter than `a`.
/// A top-level module that is missing here fails. `["*"]`: it puts the others together.
const MODULES: &[(&str, &[&str])] = &[
    ("observe", &[]),
    ("settings", &["observe::access_log"]),
    ("live", &[]),
    ("control::source", &[]),
    ("control::dns", &["settings"]),
    ("control::certificates", &["live", "control::source"]),
    ("control::reload", &["live", "control::source", "control::dns", "control::certificates"]),
    ("data::wire", &[]),
    ("data::upstream", &["settings", "observe::counters", "data::wire"]),
    ("data::exchange", &["live", "settings", "observe", "data::wire", "data::upstream"]),
    ("data::listener", &["live", "settings", "observe", "data::wire", "data::upstream", "data::exchange"]),
    ("cli", &["*"]),
    ("control", &[]),
    ("data", &[]),
];

/// Modules of `gateway` that may name the `kube` crate.
const KUBE: &[&str] = &["control::source::kube", "control::status", "control::leader", "cli"];

/// What may stand at the top level besides dot-files.
const TOP: &[&str] = &[
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

/// Lines that a source file may have.
const LONGEST: usize = 600;

#[test]
fn crates_name_only_whom_they_may() {
    let members = members(&read("Cargo.toml"));
    assert!(members.contains(&"gateway".to_owned()), "members are not read: {members:?}");
    let found: Vec<_> = members
        .iter()
        .flat_map(|folder| forbidden_crates(folder, &read(&format!("{folder}/Cargo.toml"))))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn modules_name_only_whom_they_may() {
    let mut found = Vec::new();
    for file in sources("gateway/src") {
        let Some(module) = module_of(&file) else { continue };
        found.extend(forbidden_modules(&module, &fs::read_to_string(root().join(&file)).expect("readable")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_else_stands_at_the_top_level() {
    let entries = fs::read_dir(root()).expect("readable");
    let names = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
    let found: Vec<_> =
        names.filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str())).collect();
    assert!(found.is_empty(), "not in the house: {found:?}");
}

#[test]
fn every_file_is_short_and_says_what_it_is_for() {
    let files = sources(".");
    assert!(files.len() > 20, "sources are not found: {files:?}");
    let check = |file: &PathBuf| faults(&file.display().to_string(), &read(&file.display().to_string()));
    let found: Vec<_> = files.iter().flat_map(check).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_the_readme_points_at_exists() {
    let text = read("README.md");
    assert!(pointers(&text).iter().any(|(_, function)| function.is_some()), "README.md has no request's way");
    let found = dangling(&text);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

// The checkers themselves, on samples that break the rules.

#[test]
fn a_forbidden_crate_is_found_in_every_kind_of_section() {
    for section in
        ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
    {
        let found = forbidden_crates(
            "gateway/routing",
            &format!("[{section}]\nserde = \"1\"\nhttp1.workspace = true\n"),
        );
        assert_eq!(found, ["gateway/routing must not depend on http1"], "{section}");
    }
    assert_eq!(forbidden_crates("gateway/http1", "[dependencies.tokio]\nversion = \"1\"\n").len(), 1);
    assert_eq!(forbidden_crates("gateway/api", "[dependencies]\npingora-core = \"0.9\"\n").len(), 1);
    assert_eq!(forbidden_crates("gateway", "[dependencies]\nwasmtime = { version = \"48\" }\n").len(), 1);
    assert_eq!(
        forbidden_crates("gateway", "[dependencies]\n\"kube\" = \"5\"\nrouting = { path = \"x\" }\n").len(),
        0
    );
    assert_eq!(forbidden_crates("elsewhere", "[dependencies]\n").len(), 1);
    assert_eq!(forbidden_crates("plugins/cors", "[dependencies]\nplugin-sdk = \"1\"\n").len(), 0);
}

#[test]
fn a_forbidden_module_is_found_however_it_is_written() {
    let up = |module: &str, line: &str| forbidden_modules(module, line).len();
    let files = "control::source::files";
    assert_eq!(up(files, "use crate::control::reload::Reload;"), 1);
    assert_eq!(
        up(files, "use crate::{control::source::Update, control::reload::Reload, data::listener};"),
        2
    );
    assert_eq!(up(files, "fn f() { crate::control::reload::now() }"), 1);
    assert_eq!(up(files, "use super::super::reload;"), 1);
    assert_eq!(up("control::source", "use super::{reload::Reload};"), 1);
    assert_eq!(up(files, "use super::Update; // crate::control::reload\n//! [`crate::live`]"), 0);
    assert_eq!(up("data::upstream", "use crate::observe::counters::Counters;"), 0);
    assert_eq!(up("data::upstream", "use crate::observe::metrics;"), 1);
    assert_eq!(up("data::exchange", "use crate::control::reload::Reload;"), 1);
    assert_eq!(up("observe::counters", "use crate::live::Live;"), 1);
    assert_eq!(up("observe::metrics", "use crate::{live::Live, observe::counters};"), 1);
    assert_eq!(up("cli::process::admin", "use crate::{live::Live, observe::counters};"), 0);
    assert_eq!(up("cli::process", "use crate::data::listener::Listener;"), 0);
    assert_eq!(up("newcomer", ""), 1);
}

#[test]
fn fenced_crates_are_found_inside_modules() {
    assert_eq!(forbidden_modules("data::exchange", "use kube::Client;").len(), 1);
    assert_eq!(forbidden_modules("data::exchange", "let e: wasmtime::Engine;").len(), 1);
    assert_eq!(forbidden_modules("control::source::kube", "use kube::Client;").len(), 0);
    let (other, own) = ("data::wire", "use crate::control::source::kube::watch;");
    assert_eq!(forbidden_modules(other, own).len(), 1, "by the module's rule, not as the crate");
    assert_eq!(forbidden_modules("cli::process", own).len(), 0);
}

#[test]
fn faults_of_a_file_are_found() {
    assert_eq!(faults("a.rs", "//! Purpose.\n"), [""; 0]);
    assert_eq!(faults("a.rs", "use std::fmt;\n").len(), 1);
    assert_eq!(faults("a.rs", &format!("//! Purpose.\n{}", "\n".repeat(LONGEST))).len(), 1);
    assert_eq!(
        faults("a.rs", &format!("//! Purpose.\n{}]\n    {})\n", UNFINISHED[0], UNFINISHED[1])).len(),
        2
    );
}

#[test]
fn a_dangling_pointer_is_found() {
    let own = "gateway/tests/architecture.rs";
    assert_eq!(dangling(&format!("`{own}:dangling` | `{own}` | `cargo test` | `gateway/`")), [""; 0]);
    assert_eq!(dangling(&format!("`{own}:dang`")).len(), 1);
    assert_eq!(dangling("`gateway/src/nowhere.rs:f` and `conformance/nothing`").len(), 2);
}

/// The members that the workspace's Cargo.toml lists.
fn members(manifest: &str) -> Vec<String> {
    let list =
        manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("members").0;
    list.lines().filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// What a manifest names and must not.
fn forbidden_crates(folder: &str, manifest: &str) -> Vec<String> {
    let rule = CRATES.iter().find(|(of, _)| *of == folder || (of.ends_with('/') && folder.starts_with(of)));
    let Some((_, allowed)) = rule else { return vec![format!("{folder} has no entry in CRATES")] };
    let is_forbidden = |name: &String| {
        let fence =
            FENCED.iter().find(|(fenced, _)| name == fenced || name.starts_with(&format!("{fenced}-")));
        (OURS.contains(&name.as_str()) && !allowed.contains(&name.as_str()))
            || fence.is_some_and(|(_, folders)| !folders.contains(&folder))
    };
    let found = dependencies(manifest).into_iter().filter(is_forbidden);
    found.map(|name| format!("{folder} must not depend on {name}")).collect()
}

/// The names in all dependency sections of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header.ends_with("dependencies");
            if let Some((_, name)) = header.split_once("dependencies.") {
                names.push(name.to_owned());
            }
        } else if inside && !line.starts_with('#') && line.contains('=') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            names.push(name.trim_matches('"').to_owned());
        }
    }
    names
}

/// What a module names and must not; also if the module itself is unknown.
fn forbidden_modules(module: &str, text: &str) -> Vec<String> {
    let Some((own, allowed)) = rule_of(module) else {
        return vec![format!("{module} has no entry in MODULES")];
    };
    let code = code(text);
    let mut found = Vec::new();
    for name in named(module, &code) {
        let is_module = MODULES.iter().any(|(known, _)| is_within(&name, known));
        let is_allowed =
            allowed.iter().chain([own]).any(|allowed| *allowed == "*" || is_within(&name, allowed));
        if is_module && !is_allowed {
            found.push(format!("{module} must not name {name}"));
        }
    }
    if words(&code, "kube").next().is_some() && !KUBE.iter().any(|allowed| is_within(module, allowed)) {
        found.push(format!("{module} must not name the kube crate"));
    }
    if words(&code, "wasmtime").next().is_some() {
        found.push(format!("{module} must not name wasmtime"));
    }
    found
}

/// The entry of the longest path that a module is within.
fn rule_of(module: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    MODULES.iter().filter(|(known, _)| is_within(module, known)).max_by_key(|(known, _)| known.len())
}

/// Whether a path is the other one or below it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The module path of a source file in `gateway/src`; none for the crate's roots and for unit tests.
fn module_of(file: &Path) -> Option<String> {
    let path = file.strip_prefix("gateway/src").ok()?.with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let is_root = parts.len() == 1 && ["lib", "main"].contains(&parts.first()?.as_str());
    (!is_root && !parts.contains(&"tests".to_owned())).then(|| parts.join("::"))
}

/// The text without line comments. A `//` in a string also ends its line here, which can only hide, and nobody
/// names a module there.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path inside the crate that a module names by `crate::` or `super::`, from the crate's root.
fn named(module: &str, code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in words(code, "crate") {
        expand("", rest, &mut names);
    }
    for mut rest in words(code, "super") {
        let mut from: Vec<_> = module.split("::").collect();
        from.pop();
        while let Some(further) = rest.strip_prefix("super::") {
            from.pop();
            rest = further;
        }
        let prefix = from.iter().map(|part| format!("{part}::")).collect::<String>();
        expand(&prefix, rest, &mut names);
    }
    names
}

/// What follows each `word::` that begins a path.
fn words<'a>(code: &'a str, word: &str) -> impl Iterator<Item = &'a str> {
    let start = format!("{word}::");
    code.match_indices(&start)
        .map(|(at, found)| (at, at + found.len()))
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(move |(at, end)| {
            let before = code.get(..at)?.chars().next_back().unwrap_or(' ');
            (!before.is_alphanumeric() && before != '_' && before != ':').then(|| code.get(end..)).flatten()
        })
}

/// Adds the path at the start of `rest`, or each one of a group in braces, behind a prefix.
fn expand(prefix: &str, rest: &str, names: &mut Vec<String>) {
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        if path.ends_with("::") && after.starts_with('{') {
            return expand(&format!("{prefix}{path}"), after, names);
        }
        names.push(format!("{prefix}{}", path.trim_end_matches(':')));
        return;
    };
    let (mut depth, mut begin) = (0_u32, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = group.get(begin..at).unwrap_or_default();
                if !item.trim().is_empty() {
                    expand(prefix, item, names);
                }
                begin = at + 1;
                if c == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// Marks of work that is not done, in two parts so that this file has none.
const UNFINISHED: &[&str] = &[concat!("#[", "ignore"), concat!("todo", "!(")];

/// What is wrong with a source file as such.
fn faults(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{file} does not begin by saying what it is for (//!)"));
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        found.push(format!("{file} has {lines} lines, {LONGEST} is the most"));
    }
    let code = code(text);
    let marks = UNFINISHED.iter().filter(|mark| code.contains(**mark));
    found.extend(marks.map(|mark| format!("{file} contains {mark}")));
    found
}

/// What stands in backticks and points into the tree: a path, and the function after a colon.
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

/// Pointers to files or functions that do not exist.
fn dangling(markdown: &str) -> Vec<String> {
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
    found.map(|(path, function)| format!("README.md: no {path} {}", function.unwrap_or_default())).collect()
}

/// All Rust files below a folder, by path from the root, sorted. Build output and dot-folders are left out.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("readable")) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let path = path.strip_prefix(root()).expect("below the root");
                files.push(path.components().filter(|part| part.as_os_str() != ".").collect());
            }
        }
    }
    files.sort();
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The repository's top level.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_owned()
}
