//! Which crate may depend on which.

use crate::tree::{members, read};

/// Which of our crates each of our crates may name, by folder. A workspace member that is missing here fails.
const CRATES: &[(&str, &[&str])] = &[
    ("gateway/api", &[]),
    ("gateway/http1", &[]),
    ("gateway/routing", &["api"]),
    ("gateway/plugin-host", &[]),
    ("gateway", &["api", "routing", "http1", "plugin-host"]),
    // It is a dependency of its own tests, with the mock host.
    ("plugin-sdk", &["api", "plugin-sdk", "plugin-sdk-macros"]),
    ("plugin-sdk/macros", &[]),
    ("plugins/", &["plugin-sdk"]),
    ("conformance", &["gateway"]),
];

/// All names that [`CRATES`] is about.
const OURS: &[&str] =
    &["api", "http1", "routing", "plugin-host", "gateway", "plugin-sdk", "plugin-sdk-macros", "conformance"];

/// Heavy dependencies and the only folders whose crate may name them.
const FENCED: &[(&str, &[&str])] = &[
    ("tokio", &["gateway", "gateway/plugin-host", "conformance"]),
    ("pingora", &["gateway"]),
    ("kube", &["gateway", "conformance"]),
    ("wasmtime", &["gateway/plugin-host"]),
];

#[test]
fn crates_depend_only_on_allowed_crates() {
    let members = members();
    assert!(members.contains(&"gateway".to_owned()), "members are not read: {members:?}");
    let found: Vec<_> = members
        .iter()
        .flat_map(|folder| forbidden_crates(folder, &read(&format!("{folder}/Cargo.toml"))))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns the dependencies that a manifest names and must not.
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

/// Returns the names in all dependency sections of a manifest.
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

#[test]
fn forbidden_crates_are_found_in_every_kind_of_section() {
    for section in
        ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
    {
        let manifest = format!("[{section}]\nserde = \"1\"\nhttp1.workspace = true\n");
        let found = forbidden_crates("gateway/routing", &manifest);
        assert_eq!(found, ["gateway/routing must not depend on http1"], "{section}");
    }
    for (folder, manifest, count) in [
        ("gateway/http1", "[dependencies.tokio]\nversion = \"1\"\n", 1),
        ("gateway/api", "[dependencies]\npingora-core = \"0.9\"\n", 1),
        ("gateway", "[dependencies]\nwasmtime = { version = \"48\" }\n", 1),
        ("gateway", "[dependencies]\n\"kube\" = \"5\"\nrouting = { path = \"x\" }\n", 0),
        ("elsewhere", "[dependencies]\n", 1),
        ("plugins/cors", "[dependencies]\nplugin-sdk = \"1\"\n", 0),
    ] {
        assert_eq!(forbidden_crates(folder, manifest).len(), count, "{folder}: {manifest}");
    }
}
