//! What a guest imports: the state behind the host functions, and the table of all of them.

mod buffers;
mod call;
mod foreign;
mod function;
mod grpc;
mod http;
mod maps;
mod metrics;
mod properties;
mod queues;
mod runtime;
mod shared_data;
mod streams;
mod system;
mod unsupported;
mod wasi;

use std::sync::Arc;

use wasmtime::Memory;
use wasmtime::TypedFunc;

use crate::abi::Abi;
use crate::action::Fields;
use crate::action::HttpResponse;
use crate::action_queue::ActionQueue;
use crate::callouts::Callouts;
use crate::config::InstanceConfig;
use crate::contexts::Contexts;
use crate::deadline::Deadline;
use crate::guest_log::GuestLog;
use crate::guest_log::LineOrigin;
use crate::guest_log::LogLevel;
use crate::limiter::GrowthLimiter;
use crate::metric::MetricHandles;
use crate::shared::SharedHandle;
use crate::signature::Signature;
use crate::view::PropertyValue;

pub(crate) use call::HostCall;
pub(crate) use call::ReturnSlot;
pub(crate) use call::Span;
pub(crate) use function::HostFunction;
pub(crate) use function::Params;
pub(crate) use function::host_function;

/// Import modules and the tables of their functions. The linker and the check of modules both read it.
static MODULES: &[(&str, &[&[HostFunction]])] = &[
    (
        "env",
        &[
            system::FUNCTIONS,
            streams::FUNCTIONS,
            buffers::FUNCTIONS,
            maps::FUNCTIONS,
            properties::FUNCTIONS,
            http::FUNCTIONS,
            grpc::FUNCTIONS,
            shared_data::FUNCTIONS,
            queues::FUNCTIONS,
            metrics::FUNCTIONS,
            runtime::FUNCTIONS,
            foreign::FUNCTIONS,
            unsupported::FUNCTIONS,
        ],
    ),
    ("wasi_snapshot_preview1", &[wasi::FUNCTIONS]),
    ("wasi_unstable", &[wasi::FUNCTIONS]),
];

/// Finds the host function of an import, and the static name of its module.
pub(crate) fn find(
    module: &str,
    name: &str,
    signature: Signature<'_>,
) -> Option<(&'static str, &'static HostFunction)> {
    let (module, tables) = MODULES.iter().find(|(known, _)| *known == module)?;
    let mut functions = tables.iter().flat_map(|table| table.iter());
    let function = functions.find(|function| function.name == name && function.has_type(signature))?;
    Some((module, function))
}

/// Returns true for an import that only Higress defines.
pub(crate) fn is_private(name: &str) -> bool {
    unsupported::FUNCTIONS.iter().any(|function| function.name == name)
}

/// Path of the property with the ID of a request.
const REQUEST_ID: &[u8] = b"request\0id";

/// Which host functions a guest may call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostAccess {
    /// Logging and WASI: while the guest initializes or allocates memory for the host.
    Restricted,
    /// All.
    Full,
}

/// The buffer that `proxy_get_configuration` of ABI 0.1.0 returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigurationKind {
    Vm,
    Plugin,
}

/// What a callout brought, during the callback about it.
#[derive(Default)]
pub(crate) enum Delivery {
    #[default]
    None,
    Http(HttpResponse),
    GrpcInitialMetadata(Fields),
    GrpcMessage(bytes::Bytes),
    GrpcTrailingMetadata(Fields),
}

/// The state behind the host functions of one instance.
pub(crate) struct HostState {
    pub(crate) config: Arc<InstanceConfig>,
    pub(crate) abi: Abi,
    pub(crate) access: HostAccess,
    /// The start is over.
    pub(crate) is_started: bool,
    /// `None` until the module is instantiated.
    pub(crate) memory: Option<Memory>,
    /// `None` while it runs, too.
    pub(crate) allocator: Option<TypedFunc<u32, u32>>,
    pub(crate) contexts: Contexts,
    pub(crate) configuration: ConfigurationKind,
    pub(crate) delivery: Delivery,
    /// Status and message of the last gRPC callout that ended.
    pub(crate) grpc_status: (u32, bytes::Bytes),
    pub(crate) actions: ActionQueue,
    pub(crate) callouts: Callouts,
    /// Holds what a host function returns until the guest has allocated memory for it.
    pub(crate) scratch: Vec<u8>,
    pub(crate) log: GuestLog,
    pub(crate) limiter: GrowthLimiter,
    pub(crate) deadline: Deadline,
    pub(crate) shared: SharedHandle,
    pub(crate) metrics: MetricHandles,
}

impl HostState {
    pub(crate) fn new(config: Arc<InstanceConfig>, abi: Abi) -> Self {
        Self {
            abi,
            access: HostAccess::Restricted,
            is_started: false,
            memory: None,
            allocator: None,
            contexts: Contexts::new(config.roots.len()),
            configuration: ConfigurationKind::Vm,
            delivery: Delivery::None,
            grpc_status: (0, bytes::Bytes::new()),
            actions: ActionQueue::new(config.limits.memory),
            callouts: Callouts::new(&config.limits),
            scratch: Vec::new(),
            log: GuestLog::new(),
            limiter: GrowthLimiter::new(&config.limits),
            deadline: Deadline::default(),
            shared: config.shared.attach(&config.namespace, &config.vm_id, &config.waker),
            metrics: config.shared.metrics_of(&config.plugin),
            config,
        }
    }

    /// Logs a line of the guest.
    pub(crate) fn log(&mut self, level: LogLevel, message: &[u8]) {
        let Self { log, config, contexts, .. } = self;
        let stream = contexts.effective();
        let request =
            match config.observer.as_ref().and(stream).map(|stream| stream.view.property(REQUEST_ID)) {
                Some(Some(PropertyValue::Bytes(id))) => Some(String::from_utf8_lossy(&id).into_owned()),
                _ => None,
            };
        let route = stream.map(|stream| stream.view.route());
        log.write(level, message, config, LineOrigin { route, request: request.as_deref() });
    }

    /// Logs a warning of the host about the guest, once for each stream.
    pub(crate) fn warn_once(&mut self, message: &'static str) {
        let Some(stream) = self.contexts.effective_mut() else { return };
        if !stream.has_warned {
            stream.has_warned = true;
            let (plugin, version, route) = (&*self.config.plugin, &*self.config.version, stream.view.route());
            tracing::warn!(target: "plugin", plugin, version, route, "{message}");
        }
    }
}
