//! Keeps the plugins that are wanted loaded.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use plugin_host::Engine;
use routing::table::PluginName;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::load::{INSTANCES_PER_WORKER, Load, LoadJob, Loaded, Modules, is_polled};
use super::retire::{self, ReplacedVersion};
use super::{DesiredPlugin, DesiredPlugins, PluginContext, PluginUpdate};
use crate::control::module_file::{self, FileStamp};
use crate::filter::plugin::{
    Breakers, InstanceChange, LoadedPlugin, NewInstance, PluginStats, PluginVersion,
};

/// Time between two looks at the files of modules. A file that was written in place is read at the second look that
/// finds it the same, or after [`MAX_UNSTABLE_LOOKS`].
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum looks at a file that is written again and again.
const MAX_UNSTABLE_LOOKS: u8 = 4;

/// Maximum time until all workers have new instances.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Loads the plugins in `desired` until its sender or the receiver of `updates` is dropped.
///
/// # Cancellation
/// Dropping the future ends loading; a compilation in progress ends by itself. What the workers have stays.
pub async fn run(
    context: Arc<PluginContext>,
    mut desired: watch::Receiver<DesiredPlugins>,
    updates: mpsc::Sender<PluginUpdate>,
) {
    let mut loader = Loader::new(context);
    loader.set_desired(&desired.borrow_and_update().clone());
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = desired.changed() => match changed {
                Ok(()) => {
                    let plugins = desired.borrow_and_update().clone();
                    loader.set_desired(&plugins);
                }
                Err(_sender_dropped) => return,
            },
            Some(done) = loader.jobs.join_next(), if !loader.jobs.is_empty() => {
                if let Some(update) = done.ok().and_then(|done| loader.on_done(done))
                    && updates.send(update).await.is_err()
                {
                    return;
                }
            }
            Some((version, worker)) = loader.replacement_rx.recv() => loader.replace(version, worker),
            _ = poll.tick(), if loader.has_files() => loader.poll_files(),
        }
    }
}

struct Loader {
    context: Arc<PluginContext>,
    /// Created with the first plugin.
    engine: Option<Engine>,
    modules: Arc<Modules>,
    plugins: BTreeMap<PluginName, Tracked>,
    jobs: JoinSet<Done>,
    replacements: mpsc::UnboundedSender<(u64, usize)>,
    replacement_rx: mpsc::UnboundedReceiver<(u64, usize)>,
    /// Versions whose instances may be replaced.
    versions: HashMap<u64, (Weak<PluginVersion>, Weak<()>)>,
}

struct Tracked {
    desired: DesiredPlugin,
    stats: Arc<PluginStats>,
    breakers: Arc<Breakers>,
    serving: Option<LoadedPlugin>,
    /// The versions before the one that serves, while they have instances.
    replaced: Vec<ReplacedVersion>,
    /// The file when it was read, and at the last look.
    read: Option<FileStamp>,
    seen: Option<FileStamp>,
    /// Looks since the file began to change.
    unstable_looks: u8,
    is_loading: bool,
    /// Whether something changed while a job ran.
    is_stale: bool,
    /// Whether the newest version was refused. Only a change of it or of its file can mend that.
    is_refused: bool,
}

/// The end of a job.
struct Done {
    name: PluginName,
    desired: DesiredPlugin,
    loaded: Loaded,
}

impl Loader {
    fn new(context: Arc<PluginContext>) -> Self {
        let (replacements, replacement_rx) = mpsc::unbounded_channel();
        Self {
            context,
            engine: None,
            modules: Arc::default(),
            plugins: BTreeMap::new(),
            jobs: JoinSet::new(),
            replacements,
            replacement_rx,
            versions: HashMap::new(),
        }
    }

    fn set_desired(&mut self, desired: &DesiredPlugins) {
        let board = &self.context.board;
        self.plugins.retain(|name, _| {
            let is_wanted = desired.contains_key(name);
            if !is_wanted {
                board.remove(name);
                self.context.shared.forget(&name.to_string());
            }
            is_wanted
        });
        for (name, plugin) in desired {
            let workers = self.context.workers.len();
            let tracked = self.plugins.entry(name.clone()).or_insert_with(|| Tracked::new(plugin, workers));
            let is_known = tracked.serving.is_some() || tracked.is_loading || tracked.is_refused;
            if is_known && tracked.desired == *plugin {
                continue;
            }
            tracked.desired = plugin.clone();
            let url = module_file::url(&plugin.definition.source);
            self.context.board.define(name, url, &tracked.stats, &tracked.breakers);
            self.load(name);
        }
    }

    /// Starts a job for a plugin, or marks the running one as stale.
    fn load(&mut self, name: &PluginName) {
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(error) => return tracing::error!(error, "no plugin can run"),
        };
        let Some(tracked) = self.plugins.get_mut(name) else { return };
        tracked.is_stale = tracked.is_loading;
        if tracked.is_loading {
            return;
        }
        tracked.is_loading = true;
        tracked.replaced.retain(ReplacedVersion::has_instances);
        let job = LoadJob {
            desired: tracked.desired.clone(),
            engine,
            modules: Arc::clone(&self.modules),
            stats: Arc::clone(&tracked.stats),
            breakers: Arc::clone(&tracked.breakers),
            replacements: self.replacements.clone(),
            context: Arc::clone(&self.context),
        };
        let replaced = tracked.replaced.clone();
        self.jobs.spawn(run_job(name.clone(), job, replaced));
    }

    fn engine(&mut self) -> Result<Engine, String> {
        if let Some(engine) = &self.engine {
            return Ok(engine.clone());
        }
        let cached = Engine::new(self.context.cache.as_deref());
        let engine = match (cached, &self.context.cache) {
            (Err(error), Some(folder)) => {
                tracing::error!(%error, folder = %folder.display(), "compiled code is not cached");
                Engine::new(None)
            }
            (engine, _) => engine,
        };
        let engine = engine.map_err(|error| error.to_string())?;
        self.engine = Some(engine.clone());
        Ok(engine)
    }

    /// Takes the result of a job. Returns what the table needs to know.
    fn on_done(&mut self, done: Done) -> Option<PluginUpdate> {
        let Done { name, desired, loaded: Loaded { result, stamp } } = done;
        let tracked = self.plugins.get_mut(&name)?;
        tracked.is_loading = false;
        tracked.read = stamp;
        tracked.seen = stamp;
        tracked.is_refused = result.is_err();
        let is_stale = std::mem::take(&mut tracked.is_stale);
        let board = Arc::clone(&self.context.board);
        let update = match result {
            Ok(Load { plugin, .. }) => {
                let digest = module_file::hex(&plugin.version.module.info().digest);
                tracing::info!(plugin = %name, digest, configurations = desired.configs.len(), "plugin ready");
                // What failed may be mended.
                tracked.breakers.requests.close();
                tracked.breakers.background.close();
                self.context.board.set_serving(&name, digest);
                let (version, lease) = (Arc::downgrade(&plugin.version), plugin.lease.downgrade());
                self.versions.retain(|_, (_, lease)| lease.strong_count() > 0);
                self.versions.insert(plugin.version.id, (version, lease));
                if let Some(before) = tracked.serving.replace(plugin.clone()) {
                    tracked.replaced.push(ReplacedVersion::new(&before, &plugin));
                }
                PluginUpdate { name: name.clone(), loaded: Some(plugin), refusal: None, board }
            }
            Err(refusal) => PluginUpdate { name: name.clone(), loaded: None, refusal: Some(refusal), board },
        };
        // Jobs may be about to use theirs.
        if self.plugins.values().all(|tracked| !tracked.is_loading) {
            let serving = self.plugins.values().filter_map(|tracked| tracked.serving.as_ref());
            self.modules.retain(&serving.map(|plugin| plugin.version.module.info().digest).collect());
        }
        if is_stale {
            self.load(&name);
        }
        Some(update)
    }

    /// Starts an instance in place of a dead one.
    fn replace(&self, version: u64, worker: usize) {
        let Some((version, lease)) = self.versions.get(&version) else { return };
        let (Some(version), lease) = (version.upgrade(), lease.clone()) else { return };
        let Some(sender) = self.context.workers.get(worker).cloned() else { return };
        tokio::task::spawn_blocking(move || match NewInstance::start(&version, lease) {
            // The worker may have stopped.
            Ok(instance) => drop(sender.send(InstanceChange::Install(Box::new(instance)))),
            Err(error) => {
                tracing::error!(plugin = &*version.name, %error, "no instance in place of a dead one")
            }
        });
    }

    fn has_files(&self) -> bool {
        self.plugins.values().any(|tracked| is_polled(&tracked.desired.definition))
    }

    fn poll_files(&mut self) {
        let mut changed = Vec::new();
        for (name, tracked) in &mut self.plugins {
            if tracked.is_loading || !is_polled(&tracked.desired.definition) {
                continue;
            }
            let now = module_file::stamp(&tracked.desired.definition.source);
            let before = std::mem::replace(&mut tracked.seen, now);
            if now == tracked.read {
                tracked.unstable_looks = 0;
                continue;
            }
            let is_replaced = now.zip(tracked.read).is_none_or(|(now, read)| now.is_other_file(read));
            tracked.unstable_looks += 1;
            if is_replaced || now == before || tracked.unstable_looks >= MAX_UNSTABLE_LOOKS {
                tracked.unstable_looks = 0;
                changed.push(name.clone());
            }
        }
        changed.iter().for_each(|name| self.load(name));
    }
}

impl Tracked {
    fn new(desired: &DesiredPlugin, workers: usize) -> Self {
        Self {
            desired: desired.clone(),
            stats: Arc::new(PluginStats::new(workers)),
            breakers: Arc::default(),
            serving: None,
            replaced: Vec::new(),
            read: None,
            seen: None,
            unstable_looks: 0,
            is_loading: false,
            is_stale: false,
            is_refused: false,
        }
    }
}

/// Loads a version and hands its instances to the workers.
async fn run_job(name: PluginName, job: LoadJob, replaced: Vec<ReplacedVersion>) -> Done {
    let (desired, context) = (job.desired.clone(), Arc::clone(&job.context));
    retire::retire(&context.workers, &replaced).await;
    let mut loaded = match tokio::task::spawn_blocking(move || job.run()).await {
        Ok(loaded) => loaded,
        Err(_panic) => Loaded { result: Err("loading it ended by a panic".to_owned().into()), stamp: None },
    };
    if let Ok(Load { instances, .. }) = &mut loaded.result
        && let Err(message) = install(&context, std::mem::take(instances)).await
    {
        loaded.result = Err(message.into());
    }
    Done { name, desired, loaded }
}

async fn install(context: &PluginContext, instances: Vec<NewInstance>) -> Result<(), String> {
    let mut installed = Vec::with_capacity(instances.len());
    for (index, instance) in instances.into_iter().enumerate() {
        let (sender, receiver) = oneshot::channel();
        if let Some(worker) = context.workers.get(index / INSTANCES_PER_WORKER) {
            // A worker that has stopped needs none.
            let _ = worker.send(InstanceChange::Install(Box::new(instance.acknowledged(sender))));
            installed.push(receiver);
        }
    }
    let all = futures::future::join_all(installed);
    match tokio::time::timeout(INSTALL_TIMEOUT, all).await {
        Ok(_) => Ok(()),
        Err(_elapsed) => Err("a worker did not take its instance in time".to_owned()),
    }
}
