//! Compares the CustomResourceDefinitions of the chart with those generated from the types.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;

#[test]
fn chart_definitions_match_the_types() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/gateway/crds");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected = Vec::new();
    for definition in gateway::cli::crds::all() {
        let name = format!("{}.yaml", definition.plural);
        let text = format!(
            "# Printed by `gateway crds`; UPDATE_EXPECT=1 cargo test -p gateway --test crds\n{}",
            definition.to_yaml().unwrap()
        );
        let place = folder.join(&name);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&place, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&place).unwrap_or_default(), text, "{name} is stale");
        expected.push(name);
    }
    assert!(std::env::var_os("UPDATE_EXPECT").is_some() || files == expected, "{files:?}");
}
