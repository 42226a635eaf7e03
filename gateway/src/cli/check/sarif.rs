//! The report of `gateway check` in SARIF 2.1.0, for code scanning. Optional parts of SARIF are absent.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::against::RouteChange;
use super::report::CheckReport;
use crate::control::reload::ProblemView;

/// The rule id of requests that are routed differently.
const ROUTE_CHANGED: &str = "RouteChanged";

/// Returns the SARIF log of one run.
pub fn log(report: &CheckReport) -> Value {
    let changes = report.changes.as_deref().unwrap_or_default();
    let mut rules: BTreeSet<&str> = report.problems.iter().map(|problem| problem.reason.as_str()).collect();
    if !changes.is_empty() {
        rules.insert(ROUTE_CHANGED);
    }
    let rules: Vec<_> = rules.into_iter().map(|id| json!({ "id": id })).collect();
    let results: Vec<_> = report.problems.iter().map(problem).chain(changes.iter().map(change)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "gateway",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": results,
        }],
    })
}

fn problem(problem: &ProblemView) -> Value {
    let names = [&problem.kind, &problem.namespace, &problem.name, &problem.field];
    let logical = names.into_iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>().join("/");
    let mut location = json!({ "logicalLocations": [{ "fullyQualifiedName": logical }] });
    if let (Some(file), Some(location)) = (&problem.file, location.as_object_mut()) {
        let mut physical = json!({ "artifactLocation": { "uri": uri(file) } });
        if let (Some(line), Some(physical)) = (problem.line, physical.as_object_mut()) {
            physical.insert("region".to_owned(), json!({ "startLine": line.max(1) }));
        }
        location.insert("physicalLocation".to_owned(), physical);
    }
    json!({
        "ruleId": problem.reason,
        "level": problem.severity,
        "message": { "text": problem.message },
        "locations": [location],
    })
}

fn change(change: &RouteChange) -> Value {
    let text = format!("{}: {} before, {} now", change.url, change.before, change.now);
    json!({
        "ruleId": ROUTE_CHANGED,
        "level": "note",
        "message": { "text": text },
        "locations": [{ "logicalLocations": [{ "fullyQualifiedName": change.url }] }],
    })
}

/// Returns a relative path as a URI, percent-encoded.
fn uri(path: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(encode).collect()
}
