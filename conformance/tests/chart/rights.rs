//! The rights of the chart are those of the plain manifests, which the tests of the cluster hold to the used ones.

use serde_json::Value;

use crate::{chart, expect, read, root};

/// A file of rules, and the object of the plain manifests that it equals. The file is empty if there is no such object.
const RULES: [(&str, &str, &str); 3] = [
    ("files/cluster-rules.yaml", "conformance/example/gateway.yaml", "ClusterRole"),
    ("files/namespace-rules.yaml", "conformance/example/namespace.yaml", "Role"),
    ("files/own-rules.yaml", "conformance/example/gateway.yaml", "Role"),
];

/// Returns the text of the rules of an object, without their indentation.
fn rules_of(manifest: &str, kind: &str) -> String {
    let has_kind = |object: &&str| object.lines().any(|line| line == format!("kind: {kind}"));
    let Some(object) = manifest.split("\n---\n").find(has_kind) else { return String::new() };
    let rules = object.split_once("rules:\n").unwrap().1.trim_end();
    rules.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect()
}

#[test]
fn rules_equal_those_of_the_plain_manifests() {
    for (file, manifest, kind) in RULES {
        let manifest = std::fs::read_to_string(root().join(manifest)).unwrap();
        expect(file, &rules_of(&manifest, kind));
    }
}

#[test]
fn golden_renders_grant_exactly_these_rules() {
    let rules = |file: &str| serde_saphyr::from_str::<Value>(&read(file)).unwrap_or_default();
    let [cluster, namespace, own] = RULES.map(|(file, _, _)| rules(file));
    assert!(cluster.is_array() && namespace.is_array());
    let mut counts = [0, 0];
    let entries = std::fs::read_dir(chart().join("tests/golden")).unwrap();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&path).unwrap();
        for object in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(object).unwrap();
            match object["kind"].as_str().unwrap_or_default() {
                "ClusterRole" => {
                    counts[0] += 1;
                    assert_eq!(object["rules"], cluster, "{}", path.display());
                }
                "Role" if object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-own")) => {
                    assert_eq!(object["rules"], own, "{}", path.display());
                }
                "Role" => {
                    counts[1] += 1;
                    assert_eq!(object["rules"], namespace, "{}", path.display());
                }
                _ => {}
            }
        }
    }
    assert!(counts[0] > 10 && counts[1] == 2, "{counts:?}");
}
