//! The report of `gateway check` in SARIF 2.1.0, for code scanning. Optional parts of SARIF are absent.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::against::RouteChange;
use super::report::CheckReport;
use super::tls_changes::CertificateChange;
use crate::control::reload::ProblemView;

/// The name of the working directory in locations.
const ROOT: &str = "SRCROOT";

/// The rule id of requests that are routed differently.
const ROUTE_CHANGED: &str = "RouteChanged";

/// The rule id of hosts with another certificate.
const CERTIFICATE_CHANGED: &str = "CertificateChanged";

/// Returns the SARIF log of one run.
pub fn log(report: &CheckReport) -> Value {
    let changes = report.changes.as_deref().unwrap_or_default();
    let certificates = report.certificates.as_deref().unwrap_or_default();
    let mut rules: BTreeSet<&str> = report.problems.iter().map(|problem| problem.reason.as_str()).collect();
    if !changes.is_empty() {
        rules.insert(ROUTE_CHANGED);
    }
    if !certificates.is_empty() {
        rules.insert(CERTIFICATE_CHANGED);
    }
    let rules: Vec<_> = rules.into_iter().map(|id| json!({ "id": id })).collect();
    let results = report.problems.iter().map(problem);
    let results: Vec<_> = results
        .chain(changes.iter().map(change))
        .chain(certificates.iter().map(certificate_change))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "gateway",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "originalUriBaseIds": { ROOT: { "uri": root_uri() } },
            "results": results,
        }],
    })
}

fn problem(problem: &ProblemView) -> Value {
    let names = [&problem.kind, &problem.namespace, &problem.name, &problem.field];
    let logical = names.into_iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>().join("/");
    let mut location = json!({ "logicalLocations": [{ "fullyQualifiedName": logical }] });
    if let (Some(file), Some(location)) = (&problem.file, location.as_object_mut()) {
        let mut physical = json!({ "artifactLocation": artifact(file) });
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

fn certificate_change(change: &CertificateChange) -> Value {
    json!({
        "ruleId": CERTIFICATE_CHANGED,
        "level": "note",
        "message": { "text": change.to_string().trim_end() },
        "locations": [{ "logicalLocations": [{ "fullyQualifiedName": change.host }] }],
    })
}

/// Returns the location of a file. A relative path is below the working directory.
fn artifact(file: &str) -> Value {
    if file.starts_with('/') {
        return json!({ "uri": format!("file://{}", uri(file)) });
    }
    json!({ "uri": uri(file), "uriBaseId": ROOT })
}

/// Returns the working directory as a URI.
fn root_uri() -> String {
    let folder = std::env::current_dir().unwrap_or_default();
    format!("file://{}/", uri(folder.to_string_lossy().trim_end_matches('/')))
}

/// Returns a path as a URI, percent-encoded.
fn uri(path: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(encode).collect()
}
