//! The inputs of a [`Reload`]: updates from the source of objects, and resolutions of DNS names.
//!
//! Not here: reading objects (`source`), lookups (`dns`), and what happens when an input ends (`supervise`).

use std::path::PathBuf;
use std::sync::Arc;

use kubernetes::{WatchBoard, WatchScope};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::admin::Admin;
use super::options::{Options, Source};
use crate::cli::environment;
use crate::control::dns;
use crate::control::handler::{self, HandlerContext};
use crate::control::leader::{self, LeaseSettings};
use crate::control::plugin::{self, PluginContext};
use crate::control::reload::{HandlerChannels, Reload, ReloadInputs, ReportChannels};
use crate::control::source::files::{self, FolderWatcher};
use crate::control::source::identity::FIELD_MANAGER;
use crate::control::source::kube as kubernetes;
use crate::control::status::{self, ReportInputs, ReportSettings, ReportStats};
use crate::settings::{DnsSettings, Settings};

/// Updates that may wait to be applied. The source merges further changes into the next update.
const UPDATE_QUEUE: usize = 1;

/// Resolutions that may wait to be applied.
const RESOLUTION_QUEUE: usize = 16;

/// Results of loading plugins that may wait to be applied.
const PLUGIN_QUEUE: usize = 16;

/// Answers of class handlers that may wait to be applied.
const HANDLER_QUEUE: usize = 4;

/// Changes of Problems of reports that may wait to be applied.
const PROBLEM_QUEUE: usize = 16;

/// The environment variable with the node of this pod (downward API).
const NODE_NAME: &str = "NODE_NAME";

/// The inputs of a [`Reload`]. Dropping them stops their tasks.
pub(super) struct Inputs {
    /// What the Reload applies.
    pub(super) reload: ReloadInputs,
    /// The thread that watches a folder.
    pub(super) _watcher: Option<FolderWatcher>,
    /// All tasks on the control runtime.
    pub(super) _tasks: JoinSet<()>,
}

/// What inputs have in common with the rest of the gateway.
pub(super) struct InputContext {
    /// What the first update of a cluster source waits for.
    pub(super) pending: watch::Sender<Option<String>>,
    /// The plugins.
    pub(super) plugins: Arc<PluginContext>,
    /// The class handlers.
    pub(super) handlers: HandlerContext,
    /// The age and health of each watch.
    pub(super) watches: Arc<WatchBoard>,
    /// Counts of reports to the API.
    pub(super) stats: Arc<ReportStats>,
    /// True once the gateway drains.
    pub(super) draining: watch::Receiver<bool>,
}

/// Starts [`Inputs`]: once, and again after a panic.
pub(super) struct InputFactory {
    origin: Origin,
    dns: DnsSettings,
    context: InputContext,
    control: Handle,
}

enum Origin {
    Files {
        folder: PathBuf,
        classes: Vec<String>,
    },
    Kubernetes {
        client: kubernetes::Client,
        spec: Box<kubernetes::WatchSpec>,
        reports: Box<ReportSettings>,
        lease: Box<LeaseSettings>,
    },
}

impl InputContext {
    /// Returns the parts that the pages show, with the two that they do not.
    pub(super) fn new(
        pages: &Admin,
        pending: watch::Sender<Option<String>>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            pending,
            plugins: Arc::clone(&pages.plugins),
            handlers: HandlerContext {
                cache: pages.plugins.cache.clone(),
                board: Arc::clone(&pages.handlers),
            },
            watches: Arc::clone(&pages.watches),
            stats: pages.reports.clone().unwrap_or_default(),
            draining,
        }
    }
}

/// Returns the field manager of the conditions that a gateway writes. The API server accepts 128 characters.
fn condition_manager(settings: &Settings) -> String {
    let name = format!("{FIELD_MANAGER}/{}/{}", settings.routing.namespace, settings.status.lease);
    name.chars().take(128).collect()
}

impl InputFactory {
    /// Prepares the source.
    ///
    /// # Errors
    /// Returns an error if the kubeconfig file is malformed.
    pub(super) fn new(control: &Handle, options: &Options, context: InputContext) -> anyhow::Result<Self> {
        let settings = &options.settings;
        let instance = environment::replica_name();
        let origin = match &options.source {
            Source::Files(folder) => {
                Origin::Files { folder: folder.clone(), classes: settings.routing.classes.clone() }
            }
            Source::Kubernetes(kubeconfig) => Origin::Kubernetes {
                client: control.block_on(kubernetes::build_client(kubeconfig.as_deref()))?,
                spec: Box::new(kubernetes::WatchSpec {
                    scope: WatchScope::from_namespaces(&settings.namespaces),
                    routing: settings.routing.clone(),
                    // A configured zone overrides the label of the node.
                    node: std::env::var(NODE_NAME).ok().filter(|_| settings.routing.zone.is_none()),
                    purpose: kubernetes::Purpose::Serve,
                    board: Arc::clone(&context.watches),
                }),
                reports: Box::new(ReportSettings {
                    addresses: settings.status.addresses.clone(),
                    service: settings.status.service.clone(),
                    instance: instance.clone(),
                    manager: condition_manager(settings),
                }),
                lease: Box::new(LeaseSettings {
                    namespace: settings.routing.namespace.clone(),
                    name: settings.status.lease.clone(),
                    identity: instance,
                }),
            },
        };
        Ok(Self { origin, dns: settings.dns.clone(), context, control: control.clone() })
    }

    /// Starts to read objects and to resolve the names of `reload`. The first update holds all objects.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read.
    pub(super) fn start(&self, reload: &Reload) -> anyhow::Result<Inputs> {
        let (update_tx, updates) = mpsc::channel(UPDATE_QUEUE);
        let (resolution_tx, resolutions) = mpsc::channel(RESOLUTION_QUEUE);
        let mut tasks = JoinSet::new();
        let (watcher, reports) = match &self.origin {
            Origin::Files { folder, classes } => (Some(files::watch(folder, classes, update_tx)?), None),
            Origin::Kubernetes { client, spec, reports, lease } => {
                let pending = self.context.pending.clone();
                let reader = kubernetes::run(client.clone(), (**spec).clone(), update_tx, pending);
                tasks.spawn_on(reader, &self.control);
                (None, Some(self.start_reports(client, reports, lease, &mut tasks)))
            }
        };
        let lookup = Box::new(dns::resolver::Resolver::new(self.dns.clone()));
        tasks.spawn_on(dns::run(lookup, reload.dns_names(), resolution_tx), &self.control);
        let (plugin_tx, plugins) = mpsc::channel(PLUGIN_QUEUE);
        let loader = plugin::run(Arc::clone(&self.context.plugins), reload.plugins(), plugin_tx);
        tasks.spawn_on(loader, &self.control);
        let (work, asked) = mpsc::unbounded_channel();
        let (handled_tx, handled) = mpsc::channel(HANDLER_QUEUE);
        tasks.spawn_on(handler::run(self.context.handlers.clone(), asked, handled_tx), &self.control);
        let handlers = HandlerChannels { work, updates: handled };
        let reload = ReloadInputs { updates, resolutions, plugins, handlers, reports };
        Ok(Inputs { reload, _watcher: watcher, _tasks: tasks })
    }

    /// Starts leader election and the task that writes reports.
    fn start_reports(
        &self,
        client: &kubernetes::Client,
        settings: &ReportSettings,
        lease: &LeaseSettings,
        tasks: &mut JoinSet<()>,
    ) -> ReportChannels {
        let (published_tx, published) = mpsc::unbounded_channel();
        let (problem_tx, problems) = mpsc::channel(PROBLEM_QUEUE);
        let (leader_tx, leader) = watch::channel(false);
        let inputs = ReportInputs {
            published,
            problems: problem_tx,
            leader,
            plugins: Arc::clone(&self.context.plugins),
            stats: Arc::clone(&self.context.stats),
        };
        let draining = self.context.draining.clone();
        tasks.spawn_on(leader::run(client.clone(), lease.clone(), leader_tx, draining), &self.control);
        tasks.spawn_on(status::run(client.clone(), settings.clone(), inputs), &self.control);
        ReportChannels { published: published_tx, problems, service: settings.service.clone() }
    }
}
