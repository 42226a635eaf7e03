//! Loads plugins: fetches modules, compiles them, starts instances, and hands these to the workers.
//!
//! A failure keeps the version that serves. Not here: which plugins exist (`routing`), when their filters take effect
//! (`reload`), and what a module may do (`plugin_host`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use plugin_host::{GuestObserver, Shared, Waker};
use routing::table::{PluginDefinition, PluginName};
use tokio::sync::{Notify, mpsc};

use crate::filter::plugin::{InstanceChange, LoadedPlugin};

mod board;
mod load;
mod loader;
mod metrics;
mod refusal;
mod retire;
mod schema;

pub use board::{PluginBoard, PluginState, PluginStatus};
pub use load::check;
pub use loader::run;
pub use metrics::plugin_metrics;
pub use refusal::PluginRefusal;
pub use schema::{CheckError, ConfigMismatch, ConfigSchema, SchemaError};

/// A plugin that the table uses.
#[derive(Clone, Debug)]
pub struct DesiredPlugin {
    /// The WasmPlugin.
    pub definition: Arc<PluginDefinition>,
    /// All of its configurations that policies use.
    pub configs: Vec<Arc<str>>,
}

impl PartialEq for DesiredPlugin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.definition, &other.definition) && self.configs == other.configs
    }
}

/// All plugins, by name.
pub type DesiredPlugins = BTreeMap<PluginName, DesiredPlugin>;

/// The result of an attempt to load a plugin.
#[derive(Debug)]
pub struct PluginUpdate {
    /// The WasmPlugin.
    pub name: PluginName,
    /// The version that serves from now on; `None`: the one that serves stays.
    pub loaded: Option<LoadedPlugin>,
    /// Why the newest version cannot serve; `None` if it serves.
    pub refusal: Option<PluginRefusal>,
    /// Gets the state once the update is applied, so that a plugin that is ready serves.
    pub board: Arc<PluginBoard>,
}

/// What loading needs of the process. It outlives restarts of the control plane.
#[derive(Debug)]
pub struct PluginContext {
    /// The way of instances to each worker.
    pub workers: Vec<mpsc::UnboundedSender<InstanceChange>>,
    /// Wake the workers for queues.
    pub queues: Vec<Arc<Notify>>,
    /// What guests share.
    pub shared: Arc<Shared>,
    /// Folder for compiled code. `None`: compiled again after each start.
    pub cache: Option<PathBuf>,
    /// The state of each plugin, for the admin pages.
    pub board: Arc<PluginBoard>,
    /// Sees the calls and log lines of all guests.
    pub observer: Option<Arc<dyn GuestObserver>>,
}

impl PluginContext {
    /// Returns a waker of all workers.
    fn waker(&self) -> Waker {
        let queues = self.queues.clone();
        Waker(Arc::new(move || queues.iter().for_each(|queue| queue.notify_one())))
    }
}
