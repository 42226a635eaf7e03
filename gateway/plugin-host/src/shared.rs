//! What instances share within a process: data, queues and metrics.

mod data;
mod queue;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::event::RootIndex;
use crate::metric::GuestMetric;
use crate::metric::MetricHandles;
use crate::metric::PluginMetrics;
use crate::waker::Waker;

use data::SharedData;
use queue::Queue;
use queue::Registrar;

pub(crate) use data::SetError;
pub(crate) use queue::QueueError;

/// Maximum queues of a namespace and VM ID. Registering more fails. Together they hold at most 16 MiB.
pub(crate) const MAX_QUEUES: usize = 32;

/// Namespace and VM ID.
type VmKey = (Arc<str>, Bytes);

/// What instances share within a process. Data and queues live as long as an instance with their namespace and VM ID,
/// metrics until [`Shared::forget`].
#[derive(Default)]
pub struct Shared {
    vms: Mutex<BTreeMap<VmKey, Weak<SharedVm>>>,
    queues: Mutex<BTreeMap<u32, Weak<Queue>>>,
    metrics: Mutex<BTreeMap<Arc<str>, Arc<PluginMetrics>>>,
    /// Last version of shared data.
    version: AtomicU32,
    last_instance: AtomicU64,
}

/// What instances with the same namespace and VM ID share.
#[derive(Default)]
struct SharedVm {
    data: Mutex<SharedData>,
    queues: Mutex<Vec<Arc<Queue>>>,
}

/// An instance's way to the data and queues that it shares.
pub(crate) struct SharedHandle {
    shared: Arc<Shared>,
    vm: Arc<SharedVm>,
    namespace: Arc<str>,
    waker: Waker,
    instance: u64,
    registered: Vec<Arc<Queue>>,
}

impl Shared {
    /// Creates an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the metrics that guests defined, by plugin in the order of definition.
    #[must_use]
    pub fn metrics(&self) -> Vec<GuestMetric> {
        let metrics = lock(&self.metrics);
        metrics.iter().flat_map(|(plugin, metrics)| metrics.values(plugin)).collect()
    }

    /// Drops the metrics of a plugin that no longer exists.
    pub fn forget(&self, plugin: &str) {
        lock(&self.metrics).remove(plugin);
    }

    /// Returns the metrics of a plugin, for an instance of it.
    pub(crate) fn metrics_of(&self, plugin: &Arc<str>) -> MetricHandles {
        let mut metrics = lock(&self.metrics);
        MetricHandles::new(Arc::clone(metrics.entry(Arc::clone(plugin)).or_default()))
    }

    /// Returns the data and queues of an instance.
    pub(crate) fn attach(
        self: &Arc<Self>,
        namespace: &Arc<str>,
        vm_id: &Bytes,
        waker: &Waker,
    ) -> SharedHandle {
        let mut vms = lock(&self.vms);
        let key = (Arc::clone(namespace), vm_id.clone());
        let vm = vms.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            vms.retain(|_, vm| vm.strong_count() > 0);
            let vm = Arc::default();
            vms.insert(key, Arc::downgrade(&vm));
            vm
        });
        SharedHandle {
            shared: Arc::clone(self),
            vm,
            namespace: Arc::clone(namespace),
            waker: waker.clone(),
            instance: self.last_instance.fetch_add(1, Ordering::Relaxed),
            registered: Vec::new(),
        }
    }

    /// Returns a version that differs from those before. Never 0.
    fn next_version(&self) -> u32 {
        loop {
            let version = self.version.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if version != 0 {
                return version;
            }
        }
    }

    /// Creates a queue with an ID of its own.
    fn create_queue(&self, namespace: &Arc<str>, name: &[u8]) -> Arc<Queue> {
        let mut queues = lock(&self.queues);
        queues.retain(|_, queue| queue.strong_count() > 0);
        let id = (1..).find(|id| !queues.contains_key(id)).unwrap_or(0);
        let queue = Arc::new(Queue::new(id, namespace, name));
        queues.insert(id, Arc::downgrade(&queue));
        queue
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl SharedHandle {
    /// Returns a value and its version.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Bytes, u32)> {
        lock(&self.vm.data).get(key)
    }

    /// Sets a value if `version` is 0 or that of the current value.
    ///
    /// # Errors
    /// [`SetError`].
    pub(crate) fn set(&self, key: &[u8], value: &[u8], version: u32) -> Result<(), SetError> {
        let mut data = lock(&self.vm.data);
        data.check(key, value, version)?;
        data.set(key, value, self.shared.next_version());
        Ok(())
    }

    /// Returns the ID of the queue with this name, a new one if there is none, and has its items delivered to `root`.
    ///
    /// # Errors
    /// [`QueueError::Full`]: too many queues.
    pub(crate) fn register_queue(&mut self, name: &[u8], root: RootIndex) -> Result<u32, QueueError> {
        let mut queues = lock(&self.vm.queues);
        let queue = match queues.iter().find(|queue| queue.name() == name) {
            Some(queue) => Arc::clone(queue),
            None if queues.len() >= MAX_QUEUES => return Err(QueueError::Full),
            None => {
                let queue = self.shared.create_queue(&self.namespace, name);
                queues.push(Arc::clone(&queue));
                queue
            }
        };
        drop(queues);
        queue.register(Registrar { instance: self.instance, root, waker: self.waker.clone() });
        if !self.registered.iter().any(|known| known.id() == queue.id()) {
            self.registered.push(Arc::clone(&queue));
        }
        Ok(queue.id())
    }

    /// Finds the queue that an instance with this VM ID registered.
    ///
    /// # Errors
    /// [`QueueError::Unknown`].
    pub(crate) fn resolve_queue(&self, vm_id: &[u8], name: &[u8]) -> Result<u32, QueueError> {
        let key = (Arc::clone(&self.namespace), Bytes::copy_from_slice(vm_id));
        let vm = lock(&self.shared.vms).get(&key).and_then(Weak::upgrade).ok_or(QueueError::Unknown)?;
        let queues = lock(&vm.queues);
        queues.iter().find(|queue| queue.name() == name).map(|queue| queue.id()).ok_or(QueueError::Unknown)
    }

    /// Adds an item to a queue.
    ///
    /// # Errors
    /// [`QueueError::Unknown`], [`QueueError::Full`].
    pub(crate) fn enqueue(&self, id: u32, item: &[u8]) -> Result<(), QueueError> {
        self.queue(id)?.push(item)
    }

    /// Takes an item from a queue.
    ///
    /// # Errors
    /// [`QueueError::Unknown`], [`QueueError::Empty`].
    pub(crate) fn dequeue(&self, id: u32) -> Result<Bytes, QueueError> {
        self.queue(id)?.pop()
    }

    /// Takes one notice of a new item: the queue's ID and the root context that registered it.
    pub(crate) fn pop_notice(&self) -> Option<(u32, RootIndex)> {
        self.registered.iter().find_map(|queue| Some((queue.id(), queue.pop_notice(self.instance)?)))
    }

    /// Calls this instance's waker.
    pub(crate) fn wake(&self) {
        (self.waker.0)();
    }

    /// Finds a queue. Queues of other namespaces are unknown.
    fn queue(&self, id: u32) -> Result<Arc<Queue>, QueueError> {
        let queue = lock(&self.shared.queues).get(&id).and_then(Weak::upgrade);
        queue.filter(|queue| queue.namespace() == &*self.namespace).ok_or(QueueError::Unknown)
    }
}

impl Drop for SharedHandle {
    fn drop(&mut self) {
        for queue in &self.registered {
            queue.unregister(self.instance);
        }
    }
}

/// Locks. A panic of another holder leaves nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
