//! What feeds a [`Reload`]: the source of objects, and who resolves the names that they name.
//!
//! Not here: reading (`source`, `names`), and what happens when one of them ends (`supervise`).

use std::path::PathBuf;

use kubernetes::WatchScope;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{Options, Source, WAITING_UPDATES};
use crate::control::dns::{self, Resolution};
use crate::control::reload::Reload;
use crate::control::source::Update;
use crate::control::source::files::{self, FolderWatcher};
use crate::control::source::kube as kubernetes;
use crate::settings::DnsSettings;

/// Answers about names that may wait to be taken in.
const RESOLUTION_QUEUE: usize = 16;

/// The environment variable that names the node of this pod, by the downward API.
const NODE_NAME: &str = "NODE_NAME";

/// What feeds a [`Reload`]. All of it ends when this is dropped.
pub(super) struct Feeding {
    /// From the source; closed if that has ended.
    pub(super) updates: mpsc::Receiver<Update>,
    /// About names; closed if nobody resolves them any more.
    pub(super) resolutions: mpsc::Receiver<Resolution>,
    /// The thread that watches a folder.
    pub(super) _watcher: Option<FolderWatcher>,
    /// Whatever runs on the control runtime.
    pub(super) _tasks: JoinSet<()>,
}

/// Starts it, as often as need be.
pub(super) struct Feeder {
    origin: Origin,
    dns: DnsSettings,
    control: Handle,
}

enum Origin {
    Files {
        folder: PathBuf,
        classes: Vec<String>,
    },
    Kubernetes {
        client: kubernetes::Client,
        wanted: Box<kubernetes::WatchSpec>,
        told: watch::Sender<Option<String>>,
    },
}

impl Feeder {
    /// Looks up where objects come from. What a cluster's source waits for is `told`.
    ///
    /// # Errors
    /// The kubeconfig makes no sense.
    pub(super) fn new(
        control: &Handle,
        options: &Options,
        told: watch::Sender<Option<String>>,
    ) -> anyhow::Result<Self> {
        let settings = &options.settings;
        let origin = match &options.source {
            Source::Files(folder) => {
                Origin::Files { folder: folder.clone(), classes: settings.routing.classes.clone() }
            }
            Source::Kubernetes(kubeconfig) => Origin::Kubernetes {
                client: control.block_on(kubernetes::build_client(kubeconfig.as_deref()))?,
                wanted: Box::new(kubernetes::WatchSpec {
                    scope: WatchScope::from_namespaces(&settings.namespaces),
                    routing: settings.routing.clone(),
                    // Who says the zone knows it better than a label.
                    node: std::env::var(NODE_NAME).ok().filter(|_| settings.routing.zone.is_none()),
                    purpose: kubernetes::Purpose::Serve,
                }),
                told,
            },
        };
        Ok(Self { origin, dns: settings.dns.clone(), control: control.clone() })
    }

    /// Begins to read objects, all of them at first, and to resolve the names that this Reload asks for.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn begin(&self, reload: &Reload) -> anyhow::Result<Feeding> {
        let (sender, updates) = mpsc::channel(WAITING_UPDATES);
        let (resolver, resolutions) = mpsc::channel(RESOLUTION_QUEUE);
        let mut tasks = JoinSet::new();
        let watcher = match &self.origin {
            Origin::Files { folder, classes } => Some(files::watch(folder, classes, sender)?),
            Origin::Kubernetes { client, wanted, told } => {
                let reading = kubernetes::run(client.clone(), (**wanted).clone(), sender, told.clone());
                tasks.spawn_on(reading, &self.control);
                None
            }
        };
        let lookup = Box::new(dns::resolver::Resolver::new(self.dns.clone()));
        tasks.spawn_on(dns::run(lookup, reload.dns_names(), resolver), &self.control);
        Ok(Feeding { updates, resolutions, _watcher: watcher, _tasks: tasks })
    }
}
