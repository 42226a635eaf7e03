//! Reads case files: those embedded in the program, or a folder. Reports all faults before a case runs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;

use super::backends::MAX_APPS;
use super::backends::MAX_REPLICAS;
use super::case::AppSpec;
use super::case::ExpectedResponse;
use super::case::Level;
use super::case::TestCase;
use super::client::TargetUrl;

/// The case files of this repository, by path.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/cases.rs"));

/// Kinds that a case may apply and delete, with their versions.
pub const KINDS: [(&str, &str); 6] = [
    ("Ingress", "networking.k8s.io/v1"),
    ("IngressClass", "networking.k8s.io/v1"),
    ("Service", "v1"),
    ("Secret", "v1"),
    ("EndpointSlice", "discovery.k8s.io/v1"),
    ("RoutePolicy", "wasm-gateway.dev/v1alpha1"),
];

/// Returns the cases of this repository, or those of a folder, sorted by id.
///
/// # Errors
/// A file cannot be read, or at least one case has a fault. The error names the file, and its line if it is known.
pub fn load(folder: Option<&Path>) -> anyhow::Result<Vec<TestCase>> {
    let files = match folder {
        Some(folder) => read_folder(folder)?,
        None => EMBEDDED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
    };
    ensure!(!files.is_empty(), "there is no case: expected AREA/NAME.yaml below the folder");
    let (mut cases, mut faults) = (Vec::new(), Vec::new());
    for (name, text) in &files {
        match parse(name, text) {
            Ok(case) => cases.push(case),
            Err(fault) => faults.push(format!("{fault:#}")),
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(cases)
}

fn read_folder(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let entries = |path: &Path| fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()));
    for area in entries(folder)? {
        let area = area?.path();
        if !area.is_dir() {
            continue;
        }
        for file in entries(&area)? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&file);
                let text = text.with_context(|| format!("cannot read {}", file.display()))?;
                files.insert(file.strip_prefix(folder).unwrap_or(&file).display().to_string(), text);
            }
        }
    }
    Ok(files)
}

/// Parses the text of a case file.
///
/// # Errors
/// The text is no valid case. The error names the file, and the line or the field.
pub fn parse(file: &str, text: &str) -> anyhow::Result<TestCase> {
    let mut case: TestCase = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        anyhow::anyhow!("{file}:{line}: {}", error.without_snippet())
    })?;
    case.id = file.trim_end_matches(".yaml").to_owned();
    check(&case).with_context(|| file.to_owned())?;
    Ok(case)
}

/// Checks what the types cannot express.
fn check(case: &TestCase) -> anyhow::Result<()> {
    ensure!(
        case.level == Level::Core || case.feature.is_some(),
        "feature: required unless the level is core"
    );
    ensure!(!case.rule.trim().is_empty(), "rule: the tested sentence is required");
    let steps = case.all_steps();
    let apps: Vec<&AppSpec> = steps.iter().flat_map(|step| &step.apps).collect();
    let names: BTreeSet<&str> = apps.iter().map(|app| app.name.as_str()).collect();
    ensure!(names.len() <= MAX_APPS, "apps: {} names; the limit is {MAX_APPS}", names.len());
    for app in &apps {
        check_app(app)?;
    }
    let certificates: BTreeSet<&str> =
        steps.iter().flat_map(|step| &step.certificates).map(|spec| spec.name.as_str()).collect();
    let mut expectations = 0;
    for step in &steps {
        let load = step.under_load.iter().map(|load| (&load.url, &load.expect));
        let requests = step.requests.iter().map(|request| (&request.url, &request.expect));
        for (url, expect) in load.chain(requests) {
            TargetUrl::parse(url).with_context(|| format!("step {:?}: url {url:?}", step.name))?;
            check_names(expect, &names, &certificates).with_context(|| format!("step {:?}", step.name))?;
            expectations += 1;
        }
        for object in &step.apply {
            let kind = object.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default();
            check_kind(kind).with_context(|| format!("step {:?}", step.name))?;
        }
        for delete in &step.delete {
            check_kind(&delete.kind).with_context(|| format!("step {:?}: delete", step.name))?;
        }
        expectations += step.ingress_status.len();
    }
    ensure!(expectations > 0, "requests: a case without an expectation cannot fail");
    Ok(())
}

fn check_kind(kind: &str) -> anyhow::Result<()> {
    let known = KINDS.map(|(kind, _)| kind);
    ensure!(known.contains(&kind), "kind {kind:?} is not supported; supported are {}", known.join(", "));
    Ok(())
}

fn check_app(app: &AppSpec) -> anyhow::Result<()> {
    let field = || format!("apps: {}", app.name);
    ensure!(!app.ports.is_empty() && app.ports.len() <= 2, "{}: one or two ports are supported", field());
    ensure!(app.replicas <= MAX_REPLICAS, "{}: the limit is {MAX_REPLICAS} replicas", field());
    for slice in app.slices.iter().flatten() {
        let is_small = slice.endpoints.iter().all(|endpoint| endpoint.replica < MAX_REPLICAS);
        ensure!(is_small, "{}: replicas count from 0 to {}", field(), MAX_REPLICAS - 1);
    }
    Ok(())
}

fn check_names(
    expect: &ExpectedResponse,
    apps: &BTreeSet<&str>,
    certificates: &BTreeSet<&str>,
) -> anyhow::Result<()> {
    for app in expect.app.iter().chain(&expect.app_in).chain(&expect.not_app) {
        ensure!(apps.contains(app.as_str()), "expect: there is no app {app:?}");
    }
    for certificate in expect.certificate.iter().chain(&expect.not_certificate) {
        ensure!(
            certificates.contains(certificate.as_str()),
            "expect: there is no certificate {certificate:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "level: core\nrule: It matches.\nsource: API\napps: [{name: a}]\nrequests:\n\
                         - {url: 'http://a.example/', expect: {status: 200, app: a}}\n";

    #[test]
    fn embedded_cases_are_valid() {
        let cases = load(None).unwrap();
        let upstream = cases.iter().filter(|case| case.upstream.is_some()).count();
        assert_eq!(upstream, 30, "cases of the upstream suite");
    }

    #[test]
    fn faulty_cases_are_rejected_with_their_place() {
        struct Row {
            text: String,
            error: &'static str,
        }
        let rows = [
            Row { text: VALID.replace("level:", "lvl:"), error: "a/b.yaml:1: " },
            Row { text: VALID.replace("{status:", "{code:"), error: "a/b.yaml:6: " },
            Row { text: VALID.replace("core", "ours"), error: "feature: required" },
            Row { text: VALID.replace("app: a}", "app: b}"), error: "there is no app \"b\"" },
            Row {
                text: VALID.replace("status: 200, app: a", "certificate: c"),
                error: "no certificate \"c\"",
            },
            Row { text: VALID.replace("http:", "ftp:"), error: "ftp" },
            Row { text: VALID.replace("{name: a}", "{name: a, replicas: 99}"), error: "limit is" },
            Row { text: "level: core\nrule: a\nsource: b\n".to_owned(), error: "cannot fail" },
            Row {
                text: format!("{VALID}steps: [{{name: s, delete: [{{kind: Pod, name: p}}]}}]\n"),
                error: "kind \"Pod\"",
            },
        ];
        assert!(parse("a/b.yaml", VALID).is_ok());
        for row in rows {
            let error = format!("{:#}", parse("a/b.yaml", &row.text).unwrap_err());
            assert!(error.starts_with("a/b.yaml:") && error.contains(row.error), "{error}\n{}", row.text);
        }
    }
}
