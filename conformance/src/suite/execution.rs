//! One case in a run: its namespaces, its steps, and what was wrong.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::backends::CaseBackends;
use super::backends::SETTLE_APP;
use super::case::CaseStep;
use super::case::ExpectedResponse;
use super::case::LoadSpec;
use super::case::Need;
use super::case::RequestSpec;
use super::case::StatusSpec;
use super::case::TestCase;
use super::certificate::Pair;
use super::client;
use super::driver::Driver;
use super::driver::ObjectKey;
use super::load;
use super::load::Load;
use super::manifest::CaseScope;
use super::verdict::Expectation;

/// Why a case failed.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The name of the step.
    pub step: String,
    /// The request, as method and URL.
    pub request: String,
    /// What was expected.
    pub expected: String,
    /// The differences.
    pub got: String,
    /// The objects that were applied, as YAML.
    pub manifests: String,
}

/// The state of a case while it runs.
pub struct Execution<'a, D> {
    driver: &'a D,
    case: &'a TestCase,
    scope: CaseScope,
    backends: CaseBackends,
    certificates: BTreeMap<String, Pair>,
    /// Applied objects, for the report.
    applied: BTreeMap<ObjectKey, Value>,
    settlings: usize,
}

impl<'a, D: Driver> Execution<'a, D> {
    /// Prepares a case. Nothing is created yet.
    pub fn new(driver: &'a D, case: &'a TestCase, namespace: String, slot: usize) -> Self {
        let steps = case.all_steps();
        let names = steps.iter().flat_map(|step| &step.apps).map(|app| app.name.as_str());
        Self {
            driver,
            case,
            scope: CaseScope {
                namespace,
                class: driver.class().to_owned(),
                controller: driver.controller().to_owned(),
            },
            backends: CaseBackends::new(driver.pool(), slot, names),
            certificates: BTreeMap::new(),
            applied: BTreeMap::new(),
            settlings: 0,
        }
    }

    /// Executes all steps.
    ///
    /// # Errors
    /// An expectation is not met, or the driver failed.
    ///
    /// # Cancellation
    /// Dropping the future leaves the namespaces: call [`Self::clean_up`].
    pub async fn run(&mut self) -> Result<(), Box<Failure>> {
        let prepared = self.prepare().await;
        prepared.map_err(|error| self.driver_failure("preparation", &error))?;
        for step in self.case.all_steps() {
            self.run_step(&step).await?;
        }
        Ok(())
    }

    /// Deletes the namespaces and cluster-scoped objects of the case.
    ///
    /// # Errors
    /// The driver failed.
    ///
    /// # Cancellation
    /// Dropping the future leaves some of them.
    pub async fn clean_up(&self) -> anyhow::Result<()> {
        // Routes first: while a namespace terminates, its Ingresses live for seconds and may conflict with the next case.
        let is_early = |key: &&ObjectKey| key.kind == "Ingress" || key.namespace.is_empty();
        for key in self.applied.keys().filter(is_early) {
            self.driver.delete(key).await?;
        }
        for namespace in self.scope.namespaces(self.case) {
            self.driver.delete_namespace(&namespace).await?;
        }
        Ok(())
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        for namespace in self.scope.namespaces(self.case) {
            self.driver.create_namespace(&namespace).await?;
        }
        if self.driver.settles_later() {
            for object in self.scope.settle_app(&self.backends) {
                self.driver.apply(&object).await?;
            }
        }
        Ok(())
    }

    async fn run_step(&mut self, step: &CaseStep) -> Result<(), Box<Failure>> {
        let load =
            step.under_load.as_ref().map(|spec| Load::start(self.driver.addresses(), spec, &self.backends));
        let changed = self.apply_changes(step).await;
        let has_changed = changed.map_err(|error| self.driver_failure(&step.name, &error))?;
        if has_changed && self.driver.settles_later() && !is_immediate(step) {
            self.settle(step).await?;
        }
        for status in &step.ingress_status {
            self.check_status(step, status).await?;
        }
        for request in &step.requests {
            self.check_request(step, request).await?;
        }
        if let (Some(load), Some(spec)) = (load, &step.under_load) {
            load.finish().await.map_err(|got| self.load_failure(step, spec, got))?;
        }
        Ok(())
    }

    /// Applies the changes of a step. Returns false if there are none.
    async fn apply_changes(&mut self, step: &CaseStep) -> anyhow::Result<bool> {
        if step.pause_millis > 0 {
            tokio::time::sleep(Duration::from_millis(step.pause_millis)).await;
        }
        let mut objects = Vec::new();
        for spec in &step.certificates {
            let pair = Pair::generate(spec)?;
            objects.push(self.scope.complete(&pair.secret(&spec.name)));
            self.certificates.insert(spec.name.clone(), pair);
        }
        let mut stale = BTreeSet::new();
        for app in &step.apps {
            let app_objects = self.scope.app_objects(app, &self.backends);
            stale.extend(self.stale_slices(&app_objects));
            objects.extend(app_objects);
        }
        objects.extend(step.apply.iter().map(|object| self.scope.complete(object)));
        let has_changed = !objects.is_empty() || !step.delete.is_empty();
        for object in objects {
            let key = ObjectKey::of(&object);
            self.driver.apply(&object).await.with_context(|| format!("{} {}", key.kind, key.name))?;
            self.applied.insert(key, object);
        }
        let deleted = step.delete.iter().map(|spec| ObjectKey {
            kind: spec.kind.clone(),
            namespace: self.scope.namespace(spec.namespace.as_deref()),
            name: spec.name.clone(),
        });
        for key in stale.into_iter().chain(deleted) {
            self.driver.delete(&key).await.with_context(|| format!("{} {}", key.kind, key.name))?;
            self.applied.remove(&key);
        }
        Ok(has_changed)
    }

    /// Returns the slices of an app that its new version does not have.
    fn stale_slices(&self, objects: &[Value]) -> Vec<ObjectKey> {
        let service =
            |object: &Value| object.pointer("/metadata/labels/kubernetes.io~1service-name").cloned();
        let current: BTreeSet<ObjectKey> = objects.iter().map(ObjectKey::of).collect();
        let name = objects
            .iter()
            .find_map(|object| Some(ObjectKey::of(object).name).filter(|_| service(object).is_none()));
        let old = self.applied.iter().filter(|(key, object)| {
            service(object).as_ref().and_then(Value::as_str) == name.as_deref()
                && name.is_some()
                && !current.contains(*key)
        });
        old.map(|(key, _)| key.clone()).collect()
    }

    /// Waits until a new Ingress is served. The controller has then most likely processed all earlier changes.
    async fn settle(&mut self, step: &CaseStep) -> Result<(), Box<Failure>> {
        self.settlings += 1;
        let (ingress, host) = self.scope.settle_ingress(self.settlings);
        let (old, _) = self.scope.settle_ingress(self.settlings - 1);
        let key = ObjectKey::of(&ingress);
        let applied = self.driver.apply(&ingress).await;
        applied.map_err(|error| self.driver_failure(&step.name, &error))?;
        self.applied.insert(key, ingress);
        let expect = ExpectedResponse {
            status: Some(200),
            app: Some(SETTLE_APP.to_owned()),
            ..ExpectedResponse::default()
        };
        let spec = LoadSpec { url: format!("http://{host}/"), expect };
        let request = RequestSpec { immediately: false, expect: spec.expect.clone(), ..load::request(&spec) };
        let settled = self.poll(&request).await;
        settled.map_err(|got| {
            let got = format!(
                "the change did not take effect: an Ingress that was applied after it is not served\n{got}"
            );
            self.request_failure(step, &request, got)
        })?;
        if self.settlings > 1 {
            let deleted = self.driver.delete(&ObjectKey::of(&old)).await;
            deleted.map_err(|error| self.driver_failure(&step.name, &error))?;
            self.applied.remove(&ObjectKey::of(&old));
        }
        Ok(())
    }

    async fn check_request(&self, step: &CaseStep, request: &RequestSpec) -> Result<(), Box<Failure>> {
        let outcome =
            if request.immediately { self.attempt(request).await } else { self.poll(request).await };
        outcome.map_err(|got| self.request_failure(step, request, got))
    }

    /// Repeats a request until responses match.
    async fn poll(&self, request: &RequestSpec) -> Result<(), String> {
        let limits = self.driver.limits();
        let limit = Instant::now() + limits.settle;
        let mut matches = 0;
        loop {
            match self.attempt(request).await {
                Ok(()) if matches + 1 >= limits.matches || request.count > 1 => return Ok(()),
                Ok(()) => matches += 1,
                Err(got) if Instant::now() >= limit => {
                    return Err(format!("{got}\n(repeated for {:?})", limits.settle));
                }
                Err(_) => {
                    matches = 0;
                    tokio::time::sleep(limits.poll).await;
                }
            }
        }
    }

    /// Sends a request `count` times and compares all responses.
    async fn attempt(&self, request: &RequestSpec) -> Result<(), String> {
        let expectation = Expectation {
            expect: &request.expect,
            backends: &self.backends,
            certificates: &self.certificates,
        };
        let mut replicas = BTreeSet::new();
        for number in 1..=request.count {
            let received = client::send(&self.driver.addresses(), request).await;
            let responder = expectation
                .compare(&received)
                .map_err(|got| if request.count > 1 { format!("request {number}: {got}") } else { got })?;
            replicas.extend(responder.map(|responder| responder.replica));
        }
        match &request.expect.replicas {
            Some(expected) if !expected.iter().eq(&replicas) => {
                Err(format!("replicas that responded: {replicas:?}, expected {expected:?}"))
            }
            _ => Ok(()),
        }
    }

    async fn check_status(&self, step: &CaseStep, spec: &StatusSpec) -> Result<(), Box<Failure>> {
        if !self.driver.has(Need::Status) {
            return Ok(());
        }
        let limits = self.driver.limits();
        let started_at = Instant::now();
        let hold = Duration::from_millis(spec.for_millis).min(limits.hold);
        loop {
            let has_address = self.driver.has_address(&self.scope.namespace, &spec.ingress).await;
            let has_address = has_address.map_err(|error| self.driver_failure(&step.name, &error))?;
            let elapsed = started_at.elapsed();
            let is_met = has_address == spec.has_address;
            if is_met && elapsed >= hold {
                return Ok(());
            }
            // An absent address must stay absent: the first one is a failure.
            let has_failed = !is_met && (spec.for_millis > 0 || elapsed >= limits.settle);
            if has_failed {
                let word = |present: bool| if present { "an address" } else { "no address" };
                return Err(self.failure(
                    step,
                    Failure {
                        request: format!("status of Ingress {}", spec.ingress),
                        expected: word(spec.has_address).to_owned(),
                        got: format!("{} after {elapsed:.1?}", word(has_address)),
                        ..Failure::default()
                    },
                ));
            }
            tokio::time::sleep(limits.poll).await;
        }
    }

    fn request_failure(&self, step: &CaseStep, request: &RequestSpec, got: String) -> Box<Failure> {
        let mut text = format!("{} {}", request.method, request.url);
        if let Some(host) = &request.host {
            text += &format!(" (Host: {host})");
        }
        if let Some(name) = &request.sni {
            text += &format!(" (server name: {name:?})");
        }
        for (name, value) in &request.headers {
            text += &format!("\n{name}: {value}");
        }
        let expected = describe(&request.expect);
        self.failure(step, Failure { request: text, expected, got, ..Failure::default() })
    }

    fn load_failure(&self, step: &CaseStep, spec: &LoadSpec, got: String) -> Box<Failure> {
        let (request, expected) = (format!("GET {} during the step", spec.url), describe(&spec.expect));
        self.failure(step, Failure { request, expected, got, ..Failure::default() })
    }

    fn driver_failure(&self, step: &str, error: &anyhow::Error) -> Box<Failure> {
        Box::new(Failure {
            step: step.to_owned(),
            got: format!("{error:#}"),
            manifests: self.applied_yaml(),
            ..Failure::default()
        })
    }

    fn failure(&self, step: &CaseStep, failure: Failure) -> Box<Failure> {
        Box::new(Failure { step: step.name.clone(), manifests: self.applied_yaml(), ..failure })
    }

    /// Returns the applied objects as YAML, without private keys and without those of the runner itself.
    fn applied_yaml(&self) -> String {
        let is_shown = |key: &ObjectKey| key.kind != "Secret" && !key.name.starts_with(SETTLE_APP);
        let objects = self.applied.iter().filter(|(key, _)| is_shown(key)).map(|(_, object)| object);
        let documents = objects.filter_map(|object| serde_saphyr::to_string(object).ok());
        documents.collect::<Vec<_>>().join("---\n")
    }
}

/// Returns true if a step requires its first response to match: waiting for a probe would hide a late table.
fn is_immediate(step: &CaseStep) -> bool {
    step.requests.iter().any(|request| request.immediately)
}

/// Returns an expectation as one line.
fn describe(expect: &ExpectedResponse) -> String {
    let mut parts = Vec::new();
    let statuses: Vec<String> = expect.status.iter().chain(&expect.status_in).map(u16::to_string).collect();
    if !statuses.is_empty() {
        parts.push(format!("status {}", statuses.join(" or ")));
    }
    let apps: Vec<&str> = expect.app.iter().chain(&expect.app_in).map(String::as_str).collect();
    if !apps.is_empty() {
        parts.push(format!("app {}", apps.join(" or ")));
    }
    parts.extend(expect.not_app.iter().map(|app| format!("not app {app}")));
    parts.extend(expect.replicas.iter().map(|replicas| format!("replicas {replicas:?}")));
    for (name, value) in [("path", &expect.path), ("host", &expect.host), ("method", &expect.method)] {
        parts.extend(value.iter().map(|value| format!("{name} {value} at the app")));
    }
    parts.extend(expect.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    parts.extend(expect.request_headers.iter().map(|(name, value)| format!("{name}: {value} at the app")));
    parts.extend(expect.certificate.iter().map(|name| format!("certificate of Secret {name}")));
    parts.extend(expect.not_certificate.iter().map(|name| format!("not the certificate of Secret {name}")));
    parts.extend(expect.body_bytes.iter().map(|length| format!("body of {length} bytes")));
    parts.extend(expect.received_bytes.iter().map(|length| format!("{length} bytes at the app")));
    if expect.or_refused {
        parts.push("or no connection".to_owned());
    }
    parts.join(", ")
}
