//! Alerts and dashboard use metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::{chart, missing, read, root};

/// Returns the names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("gateway_")).map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_use_existing_metrics() {
    let known = metrics(&fs::read_to_string(root().join("gateway/docs/metrics.md")).unwrap());
    for file in ["files/alerts.yaml", "files/dashboard.json"] {
        let used = metrics(&read(file));
        assert!(used.len() > 5, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn promtool_accepts_the_alerts() {
    if missing::is_missing("promtool", "promtool_accepts_the_alerts") {
        return;
    }
    let output =
        Command::new("promtool").args(["check", "rules", "files/alerts.yaml"]).current_dir(chart()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
