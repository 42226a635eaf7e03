//! At most two versions of a plugin have instances: before a third one starts, the oldest is retired.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::filter::plugin::{InstanceChange, LoadedPlugin, PluginVersion};

/// Maximum time that a new version waits for streams of which a guest of the oldest version should see more. Their
/// failure strategy applies then.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time for the workers to drop instances after that.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two looks at the instances that are left.
const RETIRE_INTERVAL: Duration = Duration::from_millis(20);

/// A version that another one has replaced.
#[derive(Clone, Debug)]
pub(super) struct ReplacedVersion {
    version: Weak<PluginVersion>,
    lease: Weak<()>,
    successor: Weak<PluginVersion>,
}

impl ReplacedVersion {
    pub(super) fn new(replaced: &LoadedPlugin, successor: &LoadedPlugin) -> Self {
        Self {
            version: Arc::downgrade(&replaced.version),
            lease: replaced.lease.downgrade(),
            successor: Arc::downgrade(&successor.version),
        }
    }

    /// Has it instances on workers? Those of single streams do not count: they end with their streams.
    pub(super) fn has_instances(&self) -> bool {
        let version = self.version.upgrade();
        version.is_some_and(|version| !version.is_isolated && version.usage.instances() > 0)
    }

    /// Do new requests not use it any more?
    fn is_unpublished(&self) -> bool {
        let is_replaced = |successor: Arc<PluginVersion>| successor.usage.is_published();
        // Without a lease, no route has it. Without a successor, a later one has replaced it.
        self.lease.strong_count() == 0 || self.successor.upgrade().is_none_or(is_replaced)
    }
}

/// Waits until versions have no instances any more, and makes the workers drop them.
///
/// # Cancellation
/// Dropping the future leaves it to the workers to drop instances once no route uses them.
pub(super) async fn retire(workers: &[mpsc::UnboundedSender<InstanceChange>], replaced: &[ReplacedVersion]) {
    let forced_at = Instant::now() + RETIRE_TIMEOUT;
    loop {
        let now = Instant::now();
        let left: Vec<_> = replaced.iter().filter(|replaced| replaced.has_instances()).collect();
        if left.is_empty() {
            return;
        }
        if now > forced_at + DROP_TIMEOUT {
            return tracing::warn!("a worker has not dropped an old version of a plugin");
        }
        for replaced in left.into_iter().filter(|replaced| replaced.is_unpublished()) {
            let Some(version) = replaced.version.upgrade() else { continue };
            version.usage.set_retired();
            let is_forced = replaced.lease.strong_count() == 0 || now >= forced_at;
            for worker in workers {
                // A worker that has stopped has no instances.
                let _ = worker.send(InstanceChange::Retire { version: version.id, is_forced });
            }
        }
        tokio::time::sleep(RETIRE_INTERVAL).await;
    }
}
