//! From the bytes of a module to instances for all workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::Isolation;
use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use plugin_host::{
    AllowedUpstream, Engine, GuestObserver, InstanceConfig, Limits, Module, ModuleError, RootIndex, Shared,
    Waker,
};
use routing::table::{PluginDefinition, PluginSource};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::board::{PluginBoard, PluginState};
use super::refusal::{PluginRefusal, check_configs};
use super::{DesiredPlugin, PluginContext};
use crate::control::module_file::{self, FileStamp};
use crate::filter::plugin::{
    Breakers, Lease, LoadedPlugin, NewInstance, PluginStats, PluginVersion, VersionUsage,
};

/// Instances of a version for each worker: one that serves, and one in its place if it dies.
pub(super) const INSTANCES_PER_WORKER: usize = 2;

/// Callouts of one instance in flight, for each one that a stream may have.
const STREAMS_WITH_CALLOUTS: usize = 128;

/// The ID of the next version in this process.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

/// What a job needs.
pub(super) struct LoadJob {
    pub(super) desired: DesiredPlugin,
    pub(super) engine: Engine,
    pub(super) modules: Arc<Modules>,
    pub(super) stats: Arc<PluginStats>,
    pub(super) breakers: Arc<Breakers>,
    pub(super) replacements: mpsc::UnboundedSender<(u64, usize)>,
    pub(super) context: Arc<PluginContext>,
}

/// The compiled modules, by digest. Plugins with the same bytes share one.
#[derive(Default)]
pub(super) struct Modules(Mutex<HashMap<[u8; 32], Module>>);

impl Modules {
    /// Returns the module of these bytes. Modules are compiled one after the other: a compilation uses all cores and
    /// much memory. Blocks.
    fn compile(&self, engine: &Engine, fetched: &Fetched) -> Result<Module, ModuleError> {
        let mut modules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&fetched.digest) {
            return Ok(module.clone());
        }
        let module = engine.compile(&fetched.bytes)?;
        modules.insert(fetched.digest, module.clone());
        Ok(module)
    }

    /// Drops all modules but those with these digests.
    pub(super) fn retain(&self, used: &HashSet<[u8; 32]>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| used.contains(digest));
    }
}

/// A version that is loaded, and its instances.
pub(super) struct Load {
    pub(super) plugin: LoadedPlugin,
    /// Those of one worker after those of the other.
    pub(super) instances: Vec<NewInstance>,
}

/// What a job found out besides its result.
pub(super) struct Loaded {
    pub(super) result: Result<Load, PluginRefusal>,
    /// The file before it was read.
    pub(super) stamp: Option<FileStamp>,
}

impl LoadJob {
    /// Fetches, compiles, and starts instances. Blocks for seconds.
    pub(super) fn run(self) -> Loaded {
        let stamp = module_file::stamp(&self.desired.definition.source);
        Loaded { result: self.load(), stamp }
    }

    fn load(self) -> Result<Load, PluginRefusal> {
        let Self { desired, engine, modules, stats, breakers, replacements, context } = self;
        let DesiredPlugin { definition, configs } = desired;
        let board: &PluginBoard = &context.board;
        let reached = |state| board.set_state(&definition.name, state);
        let fetched = fetch_verified(&definition)?;
        reached(PluginState::Fetched);
        let module = modules.compile(&engine, &fetched)?;
        reached(PluginState::Compiled);
        let process = ProcessParts {
            shared: Arc::clone(&context.shared),
            waker: context.waker(),
            observer: context.observer.clone(),
        };
        let config = instance_config(&definition, &configs, &module, process);
        check_configs(module.info(), &configs, &config)?;
        let version = Arc::new(PluginVersion {
            id: NEXT_VERSION.fetch_add(1, Ordering::Relaxed),
            name: Arc::clone(&config.plugin),
            fail: definition.fail,
            max_request_body: usize::try_from(definition.limits.request_body).unwrap_or(usize::MAX),
            max_response_body: usize::try_from(definition.limits.response_body).unwrap_or(usize::MAX),
            upstreams: definition.upstreams.iter().map(|upstream| Arc::clone(&upstream.backend)).collect(),
            module,
            config,
            is_isolated: definition.isolation == Isolation::Stream,
            stats,
            replacements,
            breakers,
            usage: VersionUsage::default(),
        });
        let lease = Lease::default();
        // The first one proves that the module takes its configuration.
        let start = || {
            let started = NewInstance::start(&version, lease.downgrade());
            started.map_err(|error| PluginRefusal::of_start(&error, &configs))
        };
        let first = start()?;
        reached(PluginState::Configured);
        let mut instances = Vec::new();
        if !version.is_isolated {
            instances.push(first);
            for _ in 1..context.workers.len() * INSTANCES_PER_WORKER {
                instances.push(start()?);
            }
        }
        let roots: HashMap<_, _> =
            configs.into_iter().enumerate().map(|(index, config)| (config, RootIndex(index))).collect();
        Ok(Load { plugin: LoadedPlugin { version, lease, roots }, instances })
    }
}

/// Checks a plugin without a gateway: reads and compiles its module, and configures an instance with each
/// configuration. Blocks.
///
/// # Errors
/// [`PluginRefusal`].
pub fn check(engine: &Engine, desired: &DesiredPlugin) -> Result<(), PluginRefusal> {
    let module = engine.compile(&fetch_verified(&desired.definition)?.bytes)?;
    let process = ProcessParts { shared: Arc::default(), waker: Waker(Arc::new(|| {})), observer: None };
    let config = instance_config(&desired.definition, &desired.configs, &module, process);
    check_configs(module.info(), &desired.configs, &config)?;
    NewInstance::check(&module, config).map_err(|error| PluginRefusal::of_start(&error, &desired.configs))
}

/// The bytes of a module, with their SHA-256.
struct Fetched {
    bytes: Bytes,
    digest: [u8; 32],
}

fn fetch_verified(definition: &PluginDefinition) -> Result<Fetched, String> {
    let bytes = module_file::read(&definition.source)?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    match definition.sha256 {
        Some(expected) if expected != digest => Err(format!(
            "the module's SHA-256 is {}, not the one in spec.sha256: correct one of the two",
            module_file::hex(&digest)
        )),
        Some(_) | None => Ok(Fetched { bytes, digest }),
    }
}

/// What the instances of a process have in common.
struct ProcessParts {
    shared: Arc<Shared>,
    waker: Waker,
    observer: Option<Arc<dyn GuestObserver>>,
}

fn instance_config(
    definition: &PluginDefinition,
    configs: &[Arc<str>],
    module: &Module,
    ProcessParts { shared, waker, observer }: ProcessParts,
) -> Arc<InstanceConfig> {
    let call = definition.limits.call;
    let configure = match definition.isolation {
        Isolation::Shared => Limits::default().configure,
        // Started while a request waits.
        Isolation::Stream => call,
    };
    let callouts = usize::try_from(definition.limits.callouts).unwrap_or(usize::MAX);
    let digest = module_file::hex(&module.info().digest);
    let upstream = |upstream: &routing::table::PluginUpstream| AllowedUpstream {
        namespace: upstream.namespace.to_string(),
        name: upstream.name.to_string(),
        port: upstream.port,
    };
    Arc::new(InstanceConfig {
        plugin: definition.name.to_string().into(),
        version: digest.get(..12).unwrap_or_default().into(),
        namespace: definition.name.namespace.to_string().into(),
        root_id: definition.root_id.clone().into(),
        vm_id: Bytes::new(),
        vm_configuration: Bytes::new(),
        environment: definition.environment.clone(),
        roots: configs.iter().map(|config| Bytes::copy_from_slice(config.as_bytes())).collect(),
        upstreams: definition.upstreams.iter().map(upstream).collect(),
        limits: Limits {
            memory: usize::try_from(definition.limits.memory).unwrap_or(usize::MAX),
            call,
            configure,
            callouts: callouts.saturating_mul(STREAMS_WITH_CALLOUTS),
            callouts_per_stream: callouts,
            ..Limits::default()
        },
        allow_on_headers_stop_iteration: definition.allow_on_headers_stop_iteration,
        shared,
        waker,
        observer,
    })
}

/// Does the module of this source change without a change of the object?
pub(super) fn is_polled(definition: &PluginDefinition) -> bool {
    matches!(definition.source, PluginSource::File { .. })
}
