//! Runs cases through a driver: several at a time, unless they use the same hosts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backends::MAX_SLOTS;
use super::case::Level;
use super::case::Need;
use super::case::TestCase;
use super::driver::Driver;
use super::execution::Execution;
use super::execution::Failure;

/// The outcome of a case.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CaseOutcome {
    /// All expectations were met.
    Passed,
    /// An expectation was not met.
    Failed(Box<Failure>),
    /// The case was not run. Contains the reason.
    Skipped(String),
}

/// A case and its outcome.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The case.
    pub case: TestCase,
    /// The outcome.
    pub outcome: CaseOutcome,
    /// Time from the start of the case to the end of its clean-up.
    pub duration: Duration,
}

/// Which cases run, and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Prefix of all namespaces of this run.
    pub prefix: String,
    /// Maximum number of cases at the same time, at most [`MAX_SLOTS`].
    pub parallel: usize,
}

/// Selects cases.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Parts of the ids of cases to run. Empty: all.
    pub run: Vec<String>,
    /// Parts of the ids of cases to skip.
    pub skip: Vec<String>,
    /// The highest level to run.
    pub level: Level,
    /// Features of which cases above `core` are run. Empty: all.
    pub features: Vec<String>,
}

impl Selection {
    /// Returns true if a case is selected.
    pub fn includes(&self, case: &TestCase) -> bool {
        let names = |parts: &[String]| {
            let is_named = |part: &String| {
                case.id.contains(part) || case.upstream.as_ref().is_some_and(|name| name.contains(part))
            };
            parts.iter().any(is_named)
        };
        let has_feature = case.level == Level::Core
            || self.features.is_empty()
            || case.feature.as_ref().is_some_and(|feature| self.features.contains(feature));
        (self.run.is_empty() || names(&self.run))
            && !names(&self.skip)
            && case.level <= self.level
            && has_feature
    }
}

/// Runs cases. Calls `on_result` for each one as it ends, and returns all results by id.
///
/// # Cancellation
/// Dropping the future leaves the namespaces of running cases.
pub async fn run<D: Driver + 'static>(
    driver: &Arc<D>,
    cases: Vec<TestCase>,
    options: &RunOptions,
    mut on_result: impl FnMut(&CaseResult),
) -> Vec<CaseResult> {
    let scheduler = Arc::new(Scheduler::new(&cases, options.parallel));
    let cases = Arc::new(cases);
    let (results_tx, mut results_rx) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for slot in 0..options.parallel.clamp(1, MAX_SLOTS) {
        let (driver, scheduler, cases) = (Arc::clone(driver), Arc::clone(&scheduler), Arc::clone(&cases));
        let (results_tx, prefix) = (results_tx.clone(), options.prefix.clone());
        tasks.spawn(async move {
            while let Some(number) = scheduler.next().await {
                let Some(case) = cases.get(number) else { continue };
                let result = run_case(&*driver, case, format!("{prefix}-{number}"), slot).await;
                // The receiver lives until all tasks have ended.
                let _ = results_tx.send(result);
                scheduler.finish(number).await;
            }
        });
    }
    drop(results_tx);
    let mut results = Vec::new();
    while let Some(result) = results_rx.recv().await {
        on_result(&result);
        results.push(result);
    }
    results.sort_by(|a, b| a.case.id.cmp(&b.case.id));
    results
}

async fn run_case<D: Driver>(driver: &D, case: &TestCase, namespace: String, slot: usize) -> CaseResult {
    let started_at = Instant::now();
    let outcome = match case.needs.iter().find(|need| !driver.has(**need)) {
        Some(need) => CaseOutcome::Skipped(reason_to_skip(*need).to_owned()),
        None => {
            let mut execution = Execution::new(driver, case, namespace, slot);
            let mut outcome = match execution.run().await {
                Ok(()) => CaseOutcome::Passed,
                Err(failure) => CaseOutcome::Failed(failure),
            };
            if let (Err(error), CaseOutcome::Passed) = (execution.clean_up().await, &outcome) {
                let got = format!("clean-up: {error:#}");
                outcome = CaseOutcome::Failed(Box::new(Failure { got, ..Failure::default() }));
            }
            outcome
        }
    };
    CaseResult { case: case.clone(), outcome, duration: started_at.elapsed() }
}

fn reason_to_skip(need: Need) -> &'static str {
    match need {
        Need::Status => "this driver reads no status of Ingresses",
    }
}

/// Assigns cases to slots. Cases whose hosts overlap never run at the same time.
struct Scheduler {
    state: Mutex<SchedulerState>,
    finished: Notify,
}

struct SchedulerState {
    waiting: Vec<usize>,
    running: Vec<usize>,
    sites: Vec<Sites>,
}

/// The hosts that a case claims.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sites {
    /// All requests: the case has a rule or a default backend without a host.
    All,
    /// The last two labels of each host.
    Some(BTreeSet<String>),
}

impl Sites {
    fn of(case: &TestCase) -> Self {
        let mut sites = BTreeSet::new();
        let steps = case.all_steps();
        let objects = steps.iter().flat_map(|step| &step.apply);
        for spec in objects.filter(|object| object.get("kind").and_then(Value::as_str) == Some("Ingress")) {
            let rules = spec.pointer("/spec/rules").and_then(Value::as_array);
            let hosts = rules.into_iter().flatten().map(|rule| rule.get("host").and_then(Value::as_str));
            let has_backend = spec.pointer("/spec/defaultBackend").is_some();
            for host in hosts.chain(has_backend.then_some(None)) {
                let Some(host) = host.filter(|host| !host.is_empty()) else { return Self::All };
                let labels: Vec<&str> = host.rsplit('.').take(2).collect();
                sites.insert(labels.join("."));
            }
        }
        Self::Some(sites)
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Some(a), Self::Some(b)) => !a.is_disjoint(b),
            (Self::All, _) | (_, Self::All) => true,
        }
    }
}

impl Scheduler {
    fn new(cases: &[TestCase], parallel: usize) -> Self {
        let sites: Vec<Sites> = cases.iter().map(Sites::of).collect();
        let mut waiting: Vec<usize> = (0..cases.len()).collect();
        // Cases that run alone come last, so that the others are not interrupted.
        waiting.sort_by_key(|number| parallel > 1 && sites.get(*number) == Some(&Sites::All));
        let state = SchedulerState { waiting, running: Vec::new(), sites };
        Self { state: Mutex::new(state), finished: Notify::new() }
    }

    /// Waits for a case that may start. Returns `None` if all were started.
    async fn next(&self) -> Option<usize> {
        loop {
            let finished = self.finished.notified();
            tokio::pin!(finished);
            // Registered before the look, so that no notification is lost.
            finished.as_mut().enable();
            {
                let mut state = self.state.lock().await;
                if state.waiting.is_empty() {
                    return None;
                }
                let free = state.waiting.iter().position(|number| state.is_free(*number));
                if let Some(at) = free {
                    let number = state.waiting.remove(at);
                    state.running.push(number);
                    return Some(number);
                }
            }
            finished.await;
        }
    }

    async fn finish(&self, number: usize) {
        self.state.lock().await.running.retain(|running| *running != number);
        self.finished.notify_waiters();
    }
}

impl SchedulerState {
    fn is_free(&self, number: usize) -> bool {
        let Some(own) = self.sites.get(number) else { return true };
        self.running.iter().filter_map(|running| self.sites.get(*running)).all(|other| !own.overlaps(other))
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::parse;
    use super::*;

    fn case(id: &str, level: &str, manifest: &str) -> TestCase {
        let text = format!(
            "level: {level}\nfeature: f\nrule: r\nsource: s\nupstream: up\nmanifests: [{manifest}]\n\
             requests: [{{url: 'http://a/', expect: {{status: 404}}}}]\n"
        );
        parse(&format!("{id}.yaml"), &text).unwrap()
    }

    fn ingress(spec: &str) -> String {
        format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: a}}, spec: {spec}}}")
    }

    #[test]
    fn cases_with_the_same_site_do_not_overlap_others() {
        let sites = |spec| Sites::of(&case("a/b", "core", &ingress(spec)));
        let foo = sites("{rules: [{host: a.foo.com}]}");
        assert!(foo.overlaps(&sites("{rules: [{host: '*.foo.com'}]}")));
        assert!(!foo.overlaps(&sites("{rules: [{host: a.bar.com}, {host: b}]}")));
        for all in [
            "{rules: [{http: {paths: []}}]}",
            "{defaultBackend: {}}",
            "{rules: [{host: x}], defaultBackend: {}}",
        ] {
            assert!(foo.overlaps(&sites(all)), "{all}");
        }
    }

    #[test]
    fn selection_combines_names_level_and_features() {
        struct Row {
            selection: Selection,
            expected: bool,
        }
        let all = Selection { run: vec![], skip: vec![], level: Level::Ours, features: vec![] };
        let text = |text: &str| vec![text.to_owned()];
        let rows = [
            Row { selection: all.clone(), expected: true },
            Row { selection: Selection { run: text("a/"), ..all.clone() }, expected: true },
            Row { selection: Selection { run: text("up"), ..all.clone() }, expected: true },
            Row { selection: Selection { run: text("x"), ..all.clone() }, expected: false },
            Row { selection: Selection { skip: text("b"), ..all.clone() }, expected: false },
            Row { selection: Selection { level: Level::Core, ..all.clone() }, expected: false },
            Row { selection: Selection { features: text("f"), ..all.clone() }, expected: true },
            Row { selection: Selection { features: text("g"), ..all }, expected: false },
        ];
        for row in rows {
            assert_eq!(row.selection.includes(&case("a/b", "ours", "")), row.expected, "{:?}", row.selection);
        }
    }
}
