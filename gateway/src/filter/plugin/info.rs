//! A version of a plugin: what its filters on all workers share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use plugin_host::{Callback, Callbacks, InstanceConfig, Module};
use routing::table::{Backend, FailStrategy};
use tokio::sync::mpsc;

use super::breaker::Breakers;
use super::stats::PluginStats;

/// A loaded and configured version of a plugin.
pub struct PluginVersion {
    /// Number of the version. Never used again.
    pub id: u64,
    /// Namespace and name.
    pub name: Arc<str>,
    /// What happens to requests if it fails.
    pub fail: FailStrategy,
    /// Maximum bytes of a request body that it may hold.
    pub max_request_body: usize,
    /// Maximum bytes of a response body that it may hold.
    pub max_response_body: usize,
    /// The backends of its callouts, by the index that actions name.
    pub upstreams: Vec<Arc<Backend>>,
    /// The module.
    pub module: Module,
    /// What its instances are started with.
    pub config: Arc<InstanceConfig>,
    /// Whether each stream has an instance of its own.
    pub is_isolated: bool,
    /// Counts of all versions of the plugin.
    pub stats: Arc<PluginStats>,
    /// Asks for an instance in place of a dead one, by the IDs of the version and the worker.
    pub replacements: mpsc::UnboundedSender<(u64, usize)>,
    /// Over all versions of the plugin.
    pub breakers: Arc<Breakers>,
    /// Whether and where it is in use.
    pub usage: VersionUsage,
}

/// Whether and where a version is in use.
#[derive(Debug, Default)]
pub struct VersionUsage {
    instances: AtomicUsize,
    is_published: AtomicBool,
    is_retired: AtomicBool,
}

impl VersionUsage {
    /// Records that new requests use the version.
    pub fn set_published(&self) {
        self.is_published.store(true, Ordering::Release);
    }

    /// Do new requests use the version, or one that came after it?
    pub fn is_published(&self) -> bool {
        self.is_published.load(Ordering::Acquire)
    }

    /// Records that workers drop their instances. A request that still needs one starts its own.
    pub fn set_retired(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Returns the number of its instances on workers.
    pub fn instances(&self) -> usize {
        self.instances.load(Ordering::Acquire)
    }

    pub(super) fn on_instance(&self) {
        self.instances.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn on_instance_dropped(&self) {
        self.instances.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Kept by the filters of a version. Without one, its instances stop once their last stream has ended.
#[derive(Clone, Debug, Default)]
pub struct Lease(pub(super) Arc<()>);

impl Lease {
    /// Returns a reference that keeps nothing.
    pub fn downgrade(&self) -> Weak<()> {
        Arc::downgrade(&self.0)
    }
}

impl PluginVersion {
    pub(super) fn has(&self, callback: Callback) -> bool {
        self.callbacks().has(callback)
    }

    pub(super) fn callbacks(&self) -> Callbacks {
        self.module.info().callbacks
    }
}

impl fmt::Debug for PluginVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginVersion")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
