//! What an instance is started with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::observer::GuestObserver;
use crate::shared::Shared;
use crate::waker::Waker;

/// Bounds of one plugin. Each is enforced by the host, whatever the guest does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum bytes of the linear memory; growth beyond fails in the guest.
    pub memory: usize,
    /// Maximum elements of the table.
    pub table: usize,
    /// Maximum time of one call of the guest, host functions included. Exact to 1 ms.
    pub call: Duration,
    /// Maximum time of the start: initialization and configuration.
    pub configure: Duration,
    /// Maximum callouts in flight, over all contexts of the instance.
    pub callouts: usize,
    /// Maximum callouts in flight that were begun for one stream. Those of root contexts count for the instance alone.
    pub callouts_per_stream: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 32 << 20,
            table: 10_000,
            call: Duration::from_millis(10),
            configure: Duration::from_secs(5),
            callouts: 1024,
            callouts_per_stream: 8,
        }
    }
}

/// An upstream that a plugin may call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowedUpstream {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Port of the Service.
    pub port: u16,
}

/// What an instance is started with.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    /// Namespace and name of the plugin, for logs and for the property `plugin_name`.
    pub plugin: Arc<str>,
    /// Short name of the module's version, for logs.
    pub version: Arc<str>,
    /// Shared data and queues are separate for each namespace.
    pub namespace: Arc<str>,
    /// The root ID: which of a module's root contexts the guest creates.
    pub root_id: Bytes,
    /// Instances with the same VM ID share data and queues. Empty is an ID too.
    pub vm_id: Bytes,
    /// The buffer `VM_CONFIGURATION`.
    pub vm_configuration: Bytes,
    /// Environment variables of WASI.
    pub environment: Vec<(String, String)>,
    /// The buffer `PLUGIN_CONFIGURATION` of each root context. Never empty.
    pub roots: Vec<Bytes>,
    /// Upstreams of callouts, by the index that actions name.
    pub upstreams: Vec<AllowedUpstream>,
    /// Bounds.
    pub limits: Limits,
    /// Whether action 1 of a headers callback holds only the head, as Envoy's option of this name does.
    pub allow_on_headers_stop_iteration: bool,
    /// Shared data, queues and guest metrics of the process.
    pub shared: Arc<Shared>,
    /// Called when a queue of the guest has an item.
    pub waker: Waker,
    /// Receives the lines of the guest beside the log, whatever the level of that is.
    pub observer: Option<Arc<dyn GuestObserver>>,
}
