//! From updates to the live state: compiles, loads certificates, publishes with one swap.
//!
//! Runs on the control runtime. Not here: reading objects (`source`) and serving them (`data`).

mod handlers;
mod plugins;
mod sample;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use routing::object::{Kind, Name, ObjectRef};
use routing::{Compiler, Config, Problem, ProblemDelta, Reason, RoutingTable, Severity};
use rustls::crypto::CryptoProvider;
use tokio::sync::{mpsc, oneshot, watch};

use crate::control::dns::{NameSet, Resolution};
use crate::control::plugin::{DesiredPlugins, PluginState, PluginUpdate};
use crate::control::source::Update;
use crate::live::{Live, LiveCell};
use crate::plan::{Planner, Plans};

use handlers::Handlers;
use plugins::UsedPlugins;
use reports::Reporter;
use secrets::SecretStore;

pub mod problems;
pub mod reports;

pub use handlers::HandlerChannels;
use problems::ProblemGroup;
pub use problems::{ProblemView, Problems};
pub use reports::{ExposingService, Published, ReportChannels, ReportProblems};

/// Maximum queued queries. Further callers wait.
const QUERY_QUEUE: usize = 8;

/// Maximum sleep until the wall clock is read again. The clock may be set, and it advances while a machine is suspended
/// and timers do not.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(60);

type Query = Box<dyn FnOnce(&Reload) + Send>;

/// A handle to a running [`Reload`], for queries about the objects that only the Reload has.
#[derive(Clone)]
pub struct ReloadHandle(mpsc::Sender<Query>);

impl ReloadHandle {
    /// Runs a query between two updates, so that it sees one consistent state. Returns `None` if the Reload ended or the
    /// query panicked.
    ///
    /// # Cancellation
    /// Dropping the future drops the result. The query may still run.
    pub async fn query<T, Q>(&self, query: Q) -> Option<T>
    where
        T: Send + 'static,
        Q: FnOnce(&Reload) -> T + Send + 'static,
    {
        let (result_tx, result_rx) = oneshot::channel();
        let query: Query = Box::new(move |reload| {
            // The caller may have been cancelled.
            let _ = result_tx.send(query(reload));
        });
        self.0.send(query).await.ok()?;
        result_rx.await.ok()
    }
}

/// What a [`Reload`] applies.
#[derive(Debug)]
pub struct ReloadInputs {
    /// From the source. Closed when the source ends.
    pub updates: mpsc::Receiver<Update>,
    /// From DNS. Closed when the task ends.
    pub resolutions: mpsc::Receiver<Resolution>,
    /// From the loader of plugins. Closed when the task ends.
    pub plugins: mpsc::Receiver<PluginUpdate>,
    /// To and from the task that asks class handlers.
    pub handlers: HandlerChannels,
    /// To and from the reports to the API. `None` without an API server.
    pub reports: Option<ReportChannels>,
}

/// Turns updates into the live state.
pub struct Reload {
    query_tx: mpsc::Sender<Query>,
    query_rx: mpsc::Receiver<Query>,
    routing: Config,
    compiler: Compiler,
    planner: Planner,
    plans: Plans,
    secrets: SecretStore,
    live: LiveCell,
    problems: Arc<Problems>,
    generation: watch::Sender<u64>,
    /// When the live table was published; `None` before the first.
    published_at: Option<SystemTime>,
    /// The DNS names in the table.
    dns_names: watch::Sender<NameSet>,
    /// The last resolution of each of these names.
    resolved: BTreeMap<Arc<str>, ResolvedName>,
    plugins: UsedPlugins,
    /// Secrets that other controllers make from objects of the source.
    promised_secrets: BTreeSet<Name>,
    handlers: Handlers,
    /// Tables that a worker may still read. They are dropped here and not on the worker.
    retired: Vec<Arc<Live>>,
    /// Reports to the API. `None` without an API server.
    reporter: Option<Reporter>,
}

/// The last resolution of a name, and the Problems of its Services.
struct ResolvedName {
    resolution: Resolution,
    problems: Vec<Problem>,
}

impl Reload {
    /// Creates a Reload with an empty table of generation 0.
    ///
    /// # Errors
    /// Returns an error if the default certificate cannot be generated.
    pub fn new(provider: Arc<CryptoProvider>, routing: Config, mut planner: Planner) -> anyhow::Result<Self> {
        let secrets = SecretStore::new(provider)?;
        let certificates = secrets.certificates().clone();
        let plans = planner.empty();
        let (table, ingresses) = (RoutingTable::default(), Arc::default());
        let live = Live { table, plans: plans.clone(), certificates, ingresses, generation: 0 };
        let (query_tx, query_rx) = mpsc::channel(QUERY_QUEUE);
        Ok(Self {
            query_tx,
            query_rx,
            compiler: Compiler::new(routing.clone()),
            routing,
            planner,
            plans,
            secrets,
            live: Arc::new(ArcSwap::from_pointee(live)),
            problems: Arc::default(),
            generation: watch::Sender::new(0),
            published_at: None,
            dns_names: watch::Sender::default(),
            resolved: BTreeMap::new(),
            plugins: UsedPlugins::default(),
            promised_secrets: BTreeSet::new(),
            handlers: Handlers::default(),
            retired: Vec::new(),
            reporter: None,
        })
    }

    /// Returns the cell of the live state, for the data plane.
    pub fn live(&self) -> LiveCell {
        Arc::clone(&self.live)
    }

    /// Returns all present Problems.
    pub fn problems(&self) -> Arc<Problems> {
        Arc::clone(&self.problems)
    }

    /// Returns the generation of the live table. It is 0 before the first update.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Returns the names to resolve. Their resolutions go to [`Reload::run`].
    pub fn dns_names(&self) -> watch::Receiver<NameSet> {
        self.dns_names.subscribe()
    }

    /// Returns the plugins to load. The results go to [`Reload::run`].
    pub fn plugins(&self) -> watch::Receiver<DesiredPlugins> {
        self.plugins.desired()
    }

    /// Returns a handle for queries while the Reload runs.
    pub fn handle(&self) -> ReloadHandle {
        ReloadHandle(self.query_tx.clone())
    }

    /// Returns the compiler, which has all objects.
    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Returns the Secrets that other controllers make from objects of the source.
    pub fn promised_secrets(&self) -> &BTreeSet<Name> {
        &self.promised_secrets
    }

    /// Applies what the inputs give, and runs queries between them, until one of their channels closes.
    ///
    /// # Cancellation
    /// Safe: each message is applied without waiting.
    pub async fn run(&mut self, inputs: &mut ReloadInputs) {
        let ReloadInputs { updates, resolutions, plugins, handlers, reports } = inputs;
        self.handlers.connect(handlers.work.clone());
        self.reporter =
            reports.as_ref().map(|reports| Reporter::new(reports.published.clone(), reports.service.clone()));
        loop {
            tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => self.apply(update, SystemTime::now()),
                    None => return,
                },
                resolution = resolutions.recv() => match resolution {
                    Some(resolution) => self.on_resolution(resolution),
                    None => return,
                },
                plugin = plugins.recv() => match plugin {
                    Some(plugin) => self.apply_plugin(plugin),
                    None => return,
                },
                handled = handlers.updates.recv() => match handled {
                    Some(handled) => self.apply_handlers(handled),
                    None => return,
                },
                problems = next_problems(reports) => match problems {
                    Some(problems) => self.apply_report_problems(&problems),
                    None => return,
                },
                () = sleep_until(self.secrets.next_check()) => self.check_certificate_dates(SystemTime::now()),
                Some(query) = self.query_rx.recv() => query(self),
            }
        }
    }

    /// Drops all objects and Problems. The live state stays until the next update, which must hold all objects, as the
    /// first update of a source does.
    pub fn reset(&mut self) {
        self.compiler = Compiler::new(self.routing.clone());
        self.secrets.clear();
        self.problems.clear();
        self.resolved.clear();
        self.plugins.clear();
        self.handlers.clear();
        self.dns_names.send_replace(NameSet::default());
    }

    /// Applies one update at a moment of the wall clock. Requests see the result when this returns.
    pub fn apply(&mut self, mut update: Update, now: SystemTime) {
        let is_location_only = update.is_location_only();
        self.problems.update_source_maps(update.source_maps);
        if let Some(promised) = update.promised_secrets {
            self.promised_secrets = promised;
        }
        if is_location_only && *self.generation.borrow() > 0 {
            return;
        }
        if let Some(reporter) = &mut self.reporter {
            reporter.add_identities(std::mem::take(&mut update.identities));
        }
        self.secrets.apply(update.secrets, &mut update.objects, now);
        if update.zone.is_some() {
            self.compiler.set_zone(update.zone);
        }
        let (table, delta) = self.compiler.apply(update.objects);
        if let Some(problems) = update.problems {
            self.problems.replace_source_problems(problems);
        }
        self.publish_compiled(table, delta);
        self.ask_handlers();
    }

    /// Publishes a table that the compiler returned, with everything that follows from it.
    fn publish_compiled(&mut self, table: RoutingTable, delta: ProblemDelta) {
        self.problems.change(delta.removed.iter(), delta.added);
        let ingresses = self.compiler.take_changed_ingresses();
        if let Some(reporter) = &mut self.reporter {
            reporter.add_compiled(&self.compiler, ingresses);
        }
        self.update_dns_names();
        let new = self.compiler.take_new_policies();
        let solved = self.plugins.update(&self.compiler, &new, &mut self.planner);
        self.problems.change(solved.iter(), Vec::new());
        self.plans = self.planner.extend(&self.plans, &new);
        self.publish_table(table);
    }

    /// Publishes a table with the present plans and certificates, as a new generation.
    fn publish_table(&mut self, table: RoutingTable) {
        let generation = self.generation.borrow().wrapping_add(1);
        let (plans, certificates) = (self.plans.clone(), self.secrets.certificates().clone());
        let ingresses = Arc::new(self.compiler.ingress_counts());
        let before = self.live.load_full();
        let is_noticeable =
            generation == 1 || !before.table.has_same_rules(&table) || before.ingresses != ingresses;
        drop(before);
        self.publish(Live { table, plans, certificates, ingresses, generation });
        self.published_at = Some(SystemTime::now());
        // Before logging: a client that sees the new table may request /readyz.
        self.generation.send_replace(generation);
        self.log_published(is_noticeable);
    }

    /// Checks the validity periods of certificates. Publishes only if one began or ended since the last check.
    pub fn check_certificate_dates(&mut self, now: SystemTime) {
        let objects = self.secrets.check_dates(now);
        if !objects.is_empty() {
            self.apply(Update { objects, ..Update::default() }, now);
        }
    }

    /// Applies the result of loading a plugin: the plans of its policies change, or a Problem says why not.
    pub fn apply_plugin(&mut self, update: PluginUpdate) {
        let PluginUpdate { name, loaded, refusal, board } = update;
        let state =
            refusal.as_ref().map_or(PluginState::Ready, |refusal| PluginState::Refused(refusal.to_string()));
        let (before, after) = self.plugins.set_problem(&name, refusal);
        self.problems.change(before.iter(), Vec::from_iter(after));
        if let Some(reporter) = &mut self.reporter {
            reporter.add_plugin(name.clone());
        }
        match loaded {
            None => self.log_problem_changes(),
            Some(loaded) => {
                let version = Arc::clone(&loaded.version);
                self.planner.plugins.activate(name.clone(), loaded);
                self.plans = self.planner.extend(&self.plans, &self.plugins.policies_with(&name));
                let table = self.live.load().table.clone();
                self.publish_table(table);
                version.usage.set_published();
            }
        }
        board.set_state(&name, state);
    }

    /// Applies the Problems that writing reports found.
    fn apply_report_problems(&mut self, problems: &ReportProblems) {
        self.problems.change(&problems.removed, problems.added.clone());
        self.log_problem_changes();
    }

    /// Publishes the names to resolve, if they changed, and copies known resolutions to new Backends. The cost depends on
    /// the number of changes, not on the number of names.
    fn update_dns_names(&mut self) {
        let changed = self.compiler.take_changed_external_names();
        let (used, unused): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|name| !self.compiler.services_with_external_name(name).is_empty());
        for name in &unused {
            if let Some(known) = self.resolved.remove(name) {
                self.problems.change(known.problems.iter(), Vec::new());
            }
        }
        for name in &used {
            if let Some(ResolvedName { resolution, problems }) = self.resolved.remove(name) {
                self.apply_resolution(resolution, &problems);
            }
        }
        self.dns_names.send_if_modified(|names| {
            let mut is_changed = false;
            for name in &unused {
                is_changed |= names.remove(name);
            }
            for name in used {
                is_changed |= names.insert(name);
            }
            is_changed
        });
    }

    /// Applies a resolution. The table does not change, only endpoint cells in it.
    fn on_resolution(&mut self, resolution: Resolution) {
        // The last Service with this name may have been deleted during the lookup.
        if !self.dns_names.borrow().contains(&resolution.name) {
            return;
        }
        tracing::debug!(name = %resolution.name, addresses = ?resolution.addresses, "resolved");
        let before = self.resolved.remove(&resolution.name).map(|known| known.problems);
        self.apply_resolution(resolution, &before.unwrap_or_default());
        self.log_problem_changes();
    }

    /// Copies a resolution to its Backends, and replaces the Problems `before` by those of this resolution.
    fn apply_resolution(&mut self, resolution: Resolution, before: &[Problem]) {
        self.compiler.set_addresses(&resolution.name, &resolution.addresses);
        let services = self.compiler.services_with_external_name(&resolution.name).into_iter();
        let problems: Vec<_> = match &resolution.problem {
            Some(message) => services.map(|service| name_not_resolved(service, message.clone())).collect(),
            None => Vec::new(),
        };
        self.problems.change(before, problems.clone());
        self.resolved.insert(Arc::clone(&resolution.name), ResolvedName { resolution, problems });
    }

    fn publish(&mut self, live: Live) {
        let old = self.live.swap(Arc::new(live));
        self.retired.push(old);
        self.retired.retain(|live| Arc::strong_count(live) > 1);
    }

    /// Logs the published generation, and the Problems that it added and removed. A generation that no client can
    /// notice is a debug line.
    fn log_published(&mut self, is_noticeable: bool) {
        let (live, problems) = (self.live.load(), self.problems.count());
        let (generation, hosts, ingresses) = (live.generation, live.table.len(), &live.ingresses);
        if is_noticeable {
            tracing::info!(generation, hosts, problems, %ingresses, "the new routing table serves");
        } else {
            tracing::debug!(generation, hosts, problems, %ingresses, "the routing table serves without a change of rules");
        }
        if is_noticeable && ingresses.served == 0 && ingresses.total() > 0 {
            tracing::warn!(%ingresses, "no Ingress is served; to serve another class, name it by --class");
        }
        self.log_problem_changes();
    }

    /// Logs the Problems that were added and removed since the last call, and passes them to the reports.
    fn log_problem_changes(&mut self) {
        let changes = self.problems.take_changes();
        for ProblemGroup { first, others } in problems::group(&changes.added) {
            let problem = self.problems.view(first);
            let is_note = first.reason.severity() == Severity::Note;
            match (is_note, others) {
                (true, 0) => tracing::info!(%problem, "note"),
                (true, _) => {
                    tracing::info!(%problem, others, "note about many objects; /problems lists them")
                }
                (false, 0) => tracing::warn!(%problem, "problem"),
                (false, _) => {
                    tracing::warn!(%problem, others, "problem of many objects; /problems lists them");
                }
            }
        }
        for ProblemGroup { first, others } in problems::group(&changes.removed) {
            match others {
                0 => tracing::info!(problem = %first, "problem solved"),
                _ => tracing::info!(problem = %first, others, "problem of many objects solved"),
            }
        }
        let generation = *self.generation.borrow();
        if let Some(reporter) = &mut self.reporter {
            reporter.send(generation, &self.problems, changes);
        }
    }
}

/// Waits for the next Problems of the reports. Never returns without reports.
async fn next_problems(reports: &mut Option<ReportChannels>) -> Option<ReportProblems> {
    match reports {
        Some(reports) => reports.problems.recv().await,
        None => std::future::pending().await,
    }
}

fn name_not_resolved(service: Name, message: String) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Service, name: service },
        field: "spec.externalName".to_owned(),
        reason: Reason::NameNotResolved,
        message,
    }
}

/// Sleeps until a moment of the wall clock, or for [`CLOCK_CHECK_INTERVAL`] if that is sooner. Never returns for `None`.
async fn sleep_until(due: Option<SystemTime>) {
    let Some(due) = due else { return std::future::pending().await };
    let left = due.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left.min(CLOCK_CHECK_INTERVAL)).await;
}
