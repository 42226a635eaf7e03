//! The instances of a worker, by the version of their plugin.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hashbrown::HashMap;
use plugin_host::{Instance, InstanceConfig, Module, StartError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::info::PluginVersion;
use super::view::StreamView;
use super::worker_instance::{Postponed, Work, WorkerInstance};

/// A started instance, on its way to a worker.
pub struct NewInstance {
    version: Arc<PluginVersion>,
    lease: Weak<()>,
    instance: Instance<StreamView>,
    /// Completed once the worker has the instance.
    installed: Option<oneshot::Sender<()>>,
}

impl NewInstance {
    /// Starts an instance. Blocks for up to the version's limit of a start, so it is called off the workers.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(version: &Arc<PluginVersion>, lease: Weak<()>) -> Result<Self, StartError> {
        let instance = Instance::start(&version.module, Arc::clone(&version.config))?;
        Ok(Self { version: Arc::clone(version), lease, instance, installed: None })
    }

    /// Starts an instance and drops it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn check(module: &Module, config: Arc<InstanceConfig>) -> Result<(), StartError> {
        Instance::<StreamView>::start(module, config).map(drop)
    }

    /// Completes the sender once a worker has the instance.
    #[must_use]
    pub fn acknowledged(mut self, installed: oneshot::Sender<()>) -> Self {
        self.installed = Some(installed);
        self
    }
}

impl fmt::Debug for NewInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewInstance").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A change of the instances of a worker.
#[derive(Debug)]
pub enum InstanceChange {
    /// Adds an instance.
    Install(Box<NewInstance>),
    /// Drops the instances of a version as soon as the guest has seen all it must of their streams.
    Retire {
        /// ID of the version.
        version: u64,
        /// Drops them now. The failure strategy applies to streams of which the guest should see more.
        is_forced: bool,
    },
}

/// Maximum time that instances without open streams are kept for guests that have not finished with ended ones.
const KEPT_TIMEOUT: Duration = Duration::from_secs(60);

/// The plugin instances of one worker.
#[derive(Debug)]
pub struct Instances {
    worker: usize,
    pools: RefCell<HashMap<u64, Pool>>,
    work: mpsc::UnboundedSender<Work>,
    /// Whether there is anything to sweep.
    is_used: Cell<bool>,
}

/// The instances of one version.
#[derive(Debug, Default)]
struct Pool {
    current: Option<Rc<WorkerInstance>>,
    /// Takes the place of the current one when that dies.
    spare: Option<Rc<WorkerInstance>>,
    /// Requests that wait for an instance.
    waiters: Vec<Waker>,
}

impl Instances {
    /// Creates the set of a worker, and the receiver of its [`Work`].
    pub fn new(worker: usize) -> (Rc<Self>, mpsc::UnboundedReceiver<Work>) {
        let (work, work_rx) = mpsc::unbounded_channel();
        (Rc::new(Self { worker, pools: RefCell::default(), work, is_used: Cell::new(false) }), work_rx)
    }

    /// Carries out a change.
    pub fn change(&self, change: InstanceChange) {
        match change {
            InstanceChange::Install(instance) => self.install(*instance),
            InstanceChange::Retire { version, is_forced } => self.retire(version, is_forced),
        }
    }

    fn retire(&self, version: u64, is_forced: bool) {
        let mut pools = self.pools.borrow_mut();
        let Some(pool) = pools.get_mut(&version) else { return };
        for member in [&mut pool.current, &mut pool.spare] {
            if member.as_ref().is_some_and(|instance| instance.retire(is_forced)) {
                *member = None;
            }
        }
        if pool.current.is_none() && pool.spare.is_none() {
            pool.waiters.drain(..).for_each(Waker::wake);
            pools.remove(&version);
        }
    }

    fn install(&self, new: NewInstance) {
        let NewInstance { version, lease, instance, installed } = new;
        if version.usage.is_retired() {
            return;
        }
        self.is_used.set(true);
        let id = version.id;
        let instance = WorkerInstance::new(version, lease, instance, (self.worker, self.work.clone()));
        let mut pools = self.pools.borrow_mut();
        let pool = pools.entry(id).or_default();
        if pool.current.as_ref().is_none_or(|current| current.is_dead()) {
            pool.current = Some(instance);
        } else {
            pool.spare = Some(instance);
        }
        pool.waiters.drain(..).for_each(Waker::wake);
        if let Some(installed) = installed {
            // The builder may have given up.
            let _ = installed.send(());
        }
    }

    /// Returns a living instance of a version.
    pub(super) fn get(&self, version: u64) -> Option<Rc<WorkerInstance>> {
        let mut pools = self.pools.borrow_mut();
        let pool = pools.get_mut(&version)?;
        if let Some(current) = &pool.current
            && !current.is_dead()
        {
            return Some(Rc::clone(current));
        }
        pool.current = pool.spare.take().filter(|spare| !spare.is_dead());
        pool.current.clone()
    }

    /// Waits for an instance of a version.
    pub(super) fn poll_instance(&self, version: u64, task: &Context<'_>) -> Poll<()> {
        if self.get(version).is_some() {
            return Poll::Ready(());
        }
        let mut pools = self.pools.borrow_mut();
        pools.entry(version).or_default().waiters.push(task.waker().clone());
        Poll::Pending
    }

    /// Starts an instance for one stream, here.
    pub(super) fn isolated(&self, version: &Arc<PluginVersion>) -> Result<Rc<WorkerInstance>, StartError> {
        let instance = Instance::start(&version.module, Arc::clone(&version.config))?;
        let work = (self.worker, self.work.clone());
        Ok(WorkerInstance::new(Arc::clone(version), Weak::new(), instance, work))
    }

    /// Asks for an instance in place of a dead one.
    pub fn replace(&self, dead: &WorkerInstance) {
        if dead.lease.strong_count() > 0 && !dead.version.usage.is_retired() {
            // The control runtime may be stopping.
            let _ = dead.version.replacements.send((dead.version.id, self.worker));
        }
    }

    /// Was an instance ever installed?
    pub fn is_used(&self) -> bool {
        self.is_used.get()
    }

    /// Drops dead instances without streams, and stops those of versions that no route has any more. Called once a
    /// second.
    pub fn sweep(&self) {
        let mut pools = self.pools.borrow_mut();
        pools.retain(|_, pool| {
            let members = [&mut pool.current, &mut pool.spare];
            for member in members {
                if member.as_ref().is_some_and(sweep_unused) {
                    *member = None;
                }
            }
            let memory = |instance: &Rc<WorkerInstance>| i64::try_from(instance.memory()).unwrap_or(i64::MAX);
            if let Some(stats) = pool.current.as_ref().and_then(|current| current.stats()) {
                let sum = pool.current.iter().chain(&pool.spare).map(memory).sum();
                stats.memory.store(sum, Ordering::Relaxed);
            }
            // The first attempt to replace it may have failed.
            if let (Some(dead), None) =
                (pool.current.as_ref().filter(|current| current.is_dead()), &pool.spare)
            {
                self.replace(dead);
            }
            // Those whose time is over have left; the others ask again.
            pool.waiters.drain(..).for_each(Waker::wake);
            pool.current.is_some() || pool.spare.is_some()
        });
    }

    /// Delivers queue notifications to all instances. Returns when to try again if some may not run now.
    pub fn deliver_queues(&self) -> Option<Instant> {
        let pools = self.pools.borrow();
        let instances: Vec<_> =
            pools.values().flat_map(|pool| [pool.current.clone(), pool.spare.clone()]).flatten().collect();
        drop(pools);
        let results = instances.iter().map(WorkerInstance::deliver_queues);
        results.filter_map(|result| result.err().map(|Postponed(until)| until)).min()
    }
}

/// Stops an instance that no route uses and that has no open stream. Returns true once it can be dropped.
fn sweep_unused(instance: &Rc<WorkerInstance>) -> bool {
    if instance.lease.strong_count() > 0 || instance.has_open_streams() {
        return false;
    }
    let now = Instant::now();
    let since = instance.unused_since.get().unwrap_or(now);
    instance.unused_since.set(Some(since));
    let is_stopped = instance.stop_roots();
    (is_stopped && !instance.has_streams()) || now.duration_since(since) > KEPT_TIMEOUT
}
