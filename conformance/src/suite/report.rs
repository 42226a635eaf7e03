//! Results as text for people, JSON, JUnit XML, and YAML in the shape of Gateway API's ConformanceReport.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use super::case::Level;
use super::execution::Failure;
use super::runner::CaseOutcome;
use super::runner::CaseResult;

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// All results with their failures.
    Json,
    /// JUnit XML, which CI systems read.
    Junit,
    /// The shape of Gateway API's ConformanceReport.
    Yaml,
}

/// A report to write: `FORMAT=FILE`.
#[derive(Clone, Debug)]
pub struct ReportTarget {
    /// The format.
    pub format: ReportFormat,
    /// The file.
    pub file: PathBuf,
}

impl FromStr for ReportTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, file) = text.split_once('=').ok_or("expected FORMAT=FILE")?;
        let format = match format {
            "json" => ReportFormat::Json,
            "junit" => ReportFormat::Junit,
            "yaml" => ReportFormat::Yaml,
            other => return Err(format!("format {other:?} is none of json, junit and yaml")),
        };
        Ok(Self { format, file: file.into() })
    }
}

/// The results of a run, and what was tested.
#[derive(Clone, Debug)]
pub struct SuiteReport {
    /// Name and version of the controller.
    pub implementation: String,
    /// The IngressClass.
    pub class: String,
    /// Date and time in RFC 3339.
    pub date: String,
    /// The results by id.
    pub results: Vec<CaseResult>,
}

impl SuiteReport {
    /// Returns the report in a format.
    ///
    /// # Errors
    /// The YAML library fails.
    pub fn to_format(&self, format: ReportFormat) -> anyhow::Result<String> {
        match format {
            ReportFormat::Json => Ok(format!("{:#}\n", self.to_json())),
            ReportFormat::Junit => Ok(self.to_junit()),
            ReportFormat::Yaml => Ok(serde_saphyr::to_string(&self.to_conformance_report())?),
        }
    }

    /// Returns true if no case failed.
    pub fn has_passed(&self) -> bool {
        !self.results.iter().any(|result| matches!(result.outcome, CaseOutcome::Failed(_)))
    }

    /// Returns the totals of each level, one a line.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for level in [Level::Core, Level::Extended, Level::Ours] {
            let totals = self.totals(level);
            if totals.passed + totals.failed + totals.skipped > 0 {
                let _ = writeln!(
                    text,
                    "{level:<9} {} passed, {} failed, {} skipped",
                    totals.passed, totals.failed, totals.skipped
                );
            }
        }
        let upstream: Vec<_> = self.results.iter().filter(|result| result.case.upstream.is_some()).collect();
        if !upstream.is_empty() {
            let passed =
                upstream.iter().filter(|result| matches!(result.outcome, CaseOutcome::Passed)).count();
            let _ = writeln!(text, "upstream  {passed} of {} passed", upstream.len());
        }
        text
    }

    fn totals(&self, level: Level) -> Totals {
        let mut totals = Totals::default();
        for result in self.results.iter().filter(|result| result.case.level == level) {
            match result.outcome {
                CaseOutcome::Passed => totals.passed += 1,
                CaseOutcome::Failed(_) => totals.failed += 1,
                CaseOutcome::Skipped(_) => totals.skipped += 1,
            }
        }
        totals
    }

    fn to_json(&self) -> Value {
        let cases: Vec<Value> = self
            .results
            .iter()
            .map(|result| {
                json!({
                    "id": result.case.id, "level": result.case.level, "feature": result.case.feature,
                    "upstream": result.case.upstream, "rule": result.case.rule, "source": result.case.source,
                    "outcome": outcome_name(&result.outcome), "detail": detail(&result.outcome),
                    "durationMillis": u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX),
                })
            })
            .collect();
        json!({
            "implementation": self.implementation, "ingressClass": self.class, "date": self.date, "cases": cases,
        })
    }

    fn to_junit(&self) -> String {
        let count = |name| self.results.iter().filter(|result| outcome_name(&result.outcome) == name).count();
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(
            xml,
            "<testsuite name=\"ingress-conformance\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" timestamp=\"{}\">",
            self.results.len(),
            count("failed"),
            count("skipped"),
            self.date
        );
        for result in &self.results {
            let (area, name) = result.case.id.split_once('/').unwrap_or(("", &result.case.id));
            let seconds = result.duration.as_secs_f64();
            let _ = write!(
                xml,
                "  <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\"",
                escape(area),
                escape(name)
            );
            match &result.outcome {
                CaseOutcome::Passed => xml.push_str("/>\n"),
                CaseOutcome::Skipped(reason) => {
                    let _ = writeln!(xml, "><skipped message=\"{}\"/></testcase>", escape(reason));
                }
                CaseOutcome::Failed(failure) => {
                    let text = failure_text(result, failure);
                    let message = escape(failure.got.lines().next().unwrap_or_default());
                    let _ = writeln!(
                        xml,
                        "><failure message=\"{message}\">{}</failure></testcase>",
                        escape(&text)
                    );
                }
            }
        }
        xml + "</testsuite>\n"
    }

    fn to_conformance_report(&self) -> Value {
        let (name, version) = self.implementation.split_once('@').unwrap_or((&self.implementation, ""));
        let mut features: BTreeMap<&str, bool> = BTreeMap::new();
        for result in self.results.iter().filter(|result| result.case.level != Level::Core) {
            if let (Some(feature), false) =
                (&result.case.feature, matches!(result.outcome, CaseOutcome::Skipped(_)))
            {
                *features.entry(feature).or_insert(true) &= matches!(result.outcome, CaseOutcome::Passed);
            }
        }
        let with = |is_supported: bool| -> Vec<&str> {
            features.iter().filter(|(_, value)| **value == is_supported).map(|(name, _)| *name).collect()
        };
        let mut extended = self.level_result(&[Level::Extended, Level::Ours]);
        if let Some(fields) = extended.as_object_mut() {
            fields.insert("supportedFeatures".to_owned(), json!(with(true)));
            fields.insert("unsupportedFeatures".to_owned(), json!(with(false)));
        }
        json!({
            "apiVersion": "wasm-gateway.dev/v1alpha1",
            "kind": "IngressConformanceReport",
            "date": self.date,
            "ingressAPIVersion": "networking.k8s.io/v1",
            "implementation": { "project": name, "version": version },
            "ingressClass": self.class,
            "profiles": [{ "name": "INGRESS-HTTP", "core": self.level_result(&[Level::Core]), "extended": extended }],
        })
    }

    fn level_result(&self, levels: &[Level]) -> Value {
        let named = |name: &str| -> BTreeSet<&str> {
            let results = self.results.iter().filter(|result| levels.contains(&result.case.level));
            results
                .filter(|result| outcome_name(&result.outcome) == name)
                .map(|result| result.case.id.as_str())
                .collect()
        };
        let (passed, failed, skipped) = (named("passed"), named("failed"), named("skipped"));
        let result = match (failed.is_empty(), skipped.is_empty()) {
            (false, _) => "failure",
            (true, false) => "partial",
            (true, true) => "success",
        };
        json!({
            "result": result,
            "statistics": { "Passed": passed.len(), "Failed": failed.len(), "Skipped": skipped.len() },
            "failedTests": failed,
            "skippedTests": skipped,
        })
    }
}

#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn outcome_name(outcome: &CaseOutcome) -> &'static str {
    match outcome {
        CaseOutcome::Passed => "passed",
        CaseOutcome::Failed(_) => "failed",
        CaseOutcome::Skipped(_) => "skipped",
    }
}

fn detail(outcome: &CaseOutcome) -> Value {
    match outcome {
        CaseOutcome::Passed => Value::Null,
        CaseOutcome::Failed(failure) => json!(failure),
        CaseOutcome::Skipped(reason) => reason.as_str().into(),
    }
}

/// Returns one line for a result.
pub fn result_line(result: &CaseResult) -> String {
    let word = match &result.outcome {
        CaseOutcome::Passed => "ok     ",
        CaseOutcome::Failed(_) => "FAILED ",
        CaseOutcome::Skipped(_) => "skipped",
    };
    let reason = match &result.outcome {
        CaseOutcome::Skipped(reason) => format!(": {reason}"),
        CaseOutcome::Passed | CaseOutcome::Failed(_) => String::new(),
    };
    format!(
        "{word} {:<8} {} ({:.1} s){reason}",
        result.case.level.to_string(),
        result.case.id,
        result.duration.as_secs_f64()
    )
}

/// Returns all that is known about a failure: rule, step, manifest, request, expected and actual response.
pub fn failure_text(result: &CaseResult, failure: &Failure) -> String {
    let indent = |text: &str| text.trim_end().replace('\n', "\n    ");
    let mut text = format!(
        "{}\n  rule: {}\n  source: {}\n",
        result.case.id,
        result.case.rule.trim(),
        result.case.source
    );
    let upstream = result.case.upstream.as_deref().unwrap_or_default();
    let parts = [
        ("upstream", upstream),
        ("step", &failure.step),
        ("manifest", &failure.manifests),
        ("request", &failure.request),
        ("expected", &failure.expected),
        ("got", &failure.got),
    ];
    for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        let separator = if value.trim_end().contains('\n') { "\n    " } else { " " };
        let _ = writeln!(text, "  {name}:{separator}{}", indent(value));
    }
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The part of a JSON report that a comparison reads.
#[derive(Debug, Deserialize)]
struct StoredReport {
    implementation: String,
    date: String,
    cases: Vec<StoredResult>,
}

#[derive(Debug, Deserialize)]
struct StoredResult {
    id: String,
    level: Level,
    outcome: String,
}

/// Returns JSON reports side by side as a Markdown table: totals first, then each case on which they differ.
///
/// # Errors
/// A file cannot be read or is no JSON report.
pub fn compare(files: &[PathBuf]) -> anyhow::Result<String> {
    let mut reports = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let report: StoredReport =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON report", file.display()))?;
        reports.push(report);
    }
    let row = |first: String, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
    let names = reports.iter().map(|report| report.implementation.replace('@', " ")).collect();
    let mut table = row("case".to_owned(), names);
    table += &row("---".to_owned(), reports.iter().map(|_| "---".to_owned()).collect());
    table += &row(
        "date".to_owned(),
        reports.iter().map(|report| report.date.chars().take(10).collect()).collect(),
    );
    for level in [Level::Core, Level::Extended, Level::Ours] {
        let total = |report: &StoredReport| {
            let cases: Vec<_> = report.cases.iter().filter(|case| case.level == level).collect();
            let run = cases.iter().filter(|case| case.outcome != "skipped").count();
            format!("{} of {run}", cases.iter().filter(|case| case.outcome == "passed").count())
        };
        table += &row(format!("**{level}**"), reports.iter().map(total).collect());
    }
    let ids: BTreeSet<(Level, &str)> =
        reports.iter().flat_map(|report| &report.cases).map(|case| (case.level, case.id.as_str())).collect();
    for (level, id) in ids {
        let outcome = |report: &StoredReport| {
            let case = report.cases.iter().find(|case| case.id == id);
            case.map_or_else(|| "–".to_owned(), |case| case.outcome.clone())
        };
        let outcomes: Vec<String> = reports.iter().map(outcome).collect();
        if outcomes.iter().any(|outcome| outcome != "passed") {
            table += &row(format!("`{id}` ({level})"), outcomes);
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::catalog::parse;
    use super::*;

    fn report() -> SuiteReport {
        let failure = Failure { got: "status: 404 <&>".to_owned(), ..Failure::default() };
        let outcomes = [
            ("a/good", "core", CaseOutcome::Passed),
            ("a/bad", "extended", CaseOutcome::Failed(Box::new(failure))),
            ("b/none", "ours", CaseOutcome::Skipped("no status".to_owned())),
        ];
        let results = outcomes.map(|(id, level, outcome)| {
            let text = format!(
                "level: {level}\nfeature: F-{level}\nrule: r\nsource: s\n\
                 requests: [{{url: 'http://a/', expect: {{status: 404}}}}]\n"
            );
            let case = parse(&format!("{id}.yaml"), &text).unwrap();
            CaseResult { case, outcome, duration: Duration::from_millis(1500) }
        });
        SuiteReport {
            implementation: "Some Controller@1.2".to_owned(),
            class: "some".to_owned(),
            date: "2026-11-29T12:00:00Z".to_owned(),
            results: results.to_vec(),
        }
    }

    #[test]
    fn junit_counts_outcomes_and_escapes_text() {
        let xml = report().to_format(ReportFormat::Junit).unwrap();
        for part in [
            "tests=\"3\" failures=\"1\" skipped=\"1\"",
            "<testcase classname=\"a\" name=\"good\" time=\"1.500\"/>",
            "<failure message=\"status: 404 &lt;&amp;&gt;\">",
            "<skipped message=\"no status\"/>",
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
    }

    #[test]
    fn yaml_lists_failed_tests_and_unsupported_features() {
        let report = report();
        assert!(!report.has_passed());
        let value: Value = serde_saphyr::from_str(&report.to_format(ReportFormat::Yaml).unwrap()).unwrap();
        let profile = &value["profiles"][0];
        assert_eq!(profile["core"]["result"], "success");
        assert_eq!(profile["extended"]["failedTests"], json!(["a/bad"]));
        assert_eq!(profile["extended"]["unsupportedFeatures"], json!(["F-extended"]));
        assert_eq!(profile["extended"]["statistics"], json!({ "Passed": 0, "Failed": 1, "Skipped": 1 }));
        assert_eq!(value["implementation"], json!({ "project": "Some Controller", "version": "1.2" }));
    }

    #[test]
    fn comparison_has_totals_and_the_cases_that_did_not_pass() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), report().to_format(ReportFormat::Json).unwrap()).unwrap();
        let table = compare(&[file.path().to_owned()]).unwrap();
        assert_eq!(
            table,
            "| case | Some Controller 1.2 |\n| --- | --- |\n| date | 2026-11-29 |\n| **core** | 1 of 1 |\n\
             | **extended** | 0 of 1 |\n| **ours** | 0 of 0 |\n| `a/bad` (extended) | failed |\n\
             | `b/none` (ours) | skipped |\n"
        );
        std::fs::write(file.path(), "{}").unwrap();
        assert!(compare(&[file.path().to_owned()]).is_err());
    }
}
