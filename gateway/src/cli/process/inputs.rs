//! The inputs of a [`Reload`]: updates from the source of objects, and resolutions of DNS names.
//!
//! Not here: reading objects (`source`), lookups (`dns`), and what happens when an input ends (`supervise`).

use std::path::PathBuf;
use std::sync::Arc;

use kubernetes::WatchScope;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::options::{Options, Source};
use crate::control::dns;
use crate::control::plugin::{self, PluginContext};
use crate::control::reload::{Reload, ReloadInputs};
use crate::control::source::files::{self, FolderWatcher};
use crate::control::source::kube as kubernetes;
use crate::settings::DnsSettings;

/// Updates that may wait to be applied. The source merges further changes into the next update.
const UPDATE_QUEUE: usize = 1;

/// Resolutions that may wait to be applied.
const RESOLUTION_QUEUE: usize = 16;

/// Results of loading plugins that may wait to be applied.
const PLUGIN_QUEUE: usize = 16;

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

/// Starts [`Inputs`]: once, and again after a panic.
pub(super) struct InputFactory {
    origin: Origin,
    dns: DnsSettings,
    plugins: Arc<PluginContext>,
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
        pending: watch::Sender<Option<String>>,
    },
}

impl InputFactory {
    /// Prepares the source. A cluster source reports to `pending` what its first update waits for.
    ///
    /// # Errors
    /// Returns an error if the kubeconfig file is malformed.
    pub(super) fn new(
        control: &Handle,
        options: &Options,
        pending: watch::Sender<Option<String>>,
        plugins: Arc<PluginContext>,
    ) -> anyhow::Result<Self> {
        let settings = &options.settings;
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
                }),
                pending,
            },
        };
        Ok(Self { origin, dns: settings.dns.clone(), plugins, control: control.clone() })
    }

    /// Starts to read objects and to resolve the names of `reload`. The first update holds all objects.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read.
    pub(super) fn start(&self, reload: &Reload) -> anyhow::Result<Inputs> {
        let (update_tx, updates) = mpsc::channel(UPDATE_QUEUE);
        let (resolution_tx, resolutions) = mpsc::channel(RESOLUTION_QUEUE);
        let mut tasks = JoinSet::new();
        let watcher = match &self.origin {
            Origin::Files { folder, classes } => Some(files::watch(folder, classes, update_tx)?),
            Origin::Kubernetes { client, spec, pending } => {
                let reader = kubernetes::run(client.clone(), (**spec).clone(), update_tx, pending.clone());
                tasks.spawn_on(reader, &self.control);
                None
            }
        };
        let lookup = Box::new(dns::resolver::Resolver::new(self.dns.clone()));
        tasks.spawn_on(dns::run(lookup, reload.dns_names(), resolution_tx), &self.control);
        let (plugin_tx, plugins) = mpsc::channel(PLUGIN_QUEUE);
        let loader = plugin::run(Arc::clone(&self.plugins), reload.plugins(), plugin_tx);
        tasks.spawn_on(loader, &self.control);
        let reload = ReloadInputs { updates, resolutions, plugins };
        Ok(Inputs { reload, _watcher: watcher, _tasks: tasks })
    }
}
