//! Plugins: what the control plane loads, and which of them the requests of a Route pass.
//!
//! Not here: where a plugin applies (`compiler::plugin_merge`), and modules (`plugin-host`).

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::Isolation;
use api::PluginPhase;
use bytes::Bytes;

use super::route::Backend;
use crate::object::Name;
use crate::object::ObjectRef;

/// Namespace and name of a WasmPlugin.
pub type PluginName = Name;

/// A plugin on the Routes of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PluginUse {
    /// The WasmPlugin.
    pub plugin: PluginName,
    /// Its phase.
    pub phase: PluginPhase,
    /// The configuration that it receives. May be empty.
    pub config: Arc<str>,
    /// The field that gives the configuration.
    pub origin: PluginOrigin,
}

/// The field that puts a plugin on a Route. Prints as `WasmPlugin shop/key spec.matchRules[0].config`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PluginOrigin {
    /// A WasmPlugin or a RoutePolicy.
    pub object: ObjectRef,
    /// Field path: `spec.matchRules[0].config`.
    pub field: Arc<str>,
}

impl fmt::Display for PluginOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object, self.field)
    }
}

/// A WasmPlugin, without the Routes that it applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginDefinition {
    /// Namespace and name.
    pub name: PluginName,
    /// Where the module is.
    pub source: PluginSource,
    /// SHA-256 that the module must have.
    pub sha256: Option<[u8; 32]>,
    /// Root ID.
    pub root_id: String,
    /// Phase.
    pub phase: PluginPhase,
    /// Place within the phase. The higher one is first.
    pub priority: i32,
    /// Treatment of requests while the plugin fails.
    pub fail: FailStrategy,
    /// Whether streams share an instance.
    pub isolation: Isolation,
    /// Limits on resources.
    pub limits: PluginLimits,
    /// Services that the plugin may call, without duplicates.
    pub upstreams: Vec<PluginUpstream>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Whether `StopIteration` of a header callback holds the head only.
    pub allow_on_headers_stop_iteration: bool,
    /// The configuration where neither a rule nor a RoutePolicy gives one.
    pub default_config: Arc<str>,
}

/// The place of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    /// A file, which may not exist.
    File {
        /// The file. Absolute if `folder` is.
        path: PathBuf,
        /// The folder that the file must be in, after all symlinks.
        folder: Arc<Path>,
    },
    /// A key of a ConfigMap.
    ConfigMap {
        /// Namespace and name of the ConfigMap.
        name: Name,
        /// The key.
        key: Arc<str>,
        /// The value. `None` if the ConfigMap or the key does not exist.
        bytes: Option<Bytes>,
    },
    /// The module may not be loaded. Holds the reason.
    Refused(String),
}

/// What happens to requests while a plugin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailStrategy {
    /// They are refused.
    Close,
    /// They are served without the plugin.
    Open,
}

/// Limits on the resources of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// Maximum bytes of an instance's memory.
    pub memory: u64,
    /// Maximum time of one call.
    pub call: Duration,
    /// Maximum bytes of a request body that are kept.
    pub request_body: u64,
    /// Maximum bytes of a response body that are kept.
    pub response_body: u64,
    /// Maximum concurrent callouts of a stream.
    pub callouts: u32,
}

/// A Service port that a plugin may call.
#[derive(Clone, Debug)]
pub struct PluginUpstream {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub name: Arc<str>,
    /// Number of the port.
    pub port: u16,
    /// Its Backend, which Routes share. The Service need not exist.
    pub backend: Arc<Backend>,
}

impl PartialEq for PluginUpstream {
    fn eq(&self, other: &Self) -> bool {
        // A Backend has one Service and one port.
        Arc::ptr_eq(&self.backend, &other.backend)
    }
}

impl Eq for PluginUpstream {}
