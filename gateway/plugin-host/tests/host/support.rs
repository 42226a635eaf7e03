//! Guests, views and rows of tables for the tests.

mod capture;
mod functions;
mod guest;
mod row;
mod view;

use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;
use plugin_host::AllowedUpstream;
use plugin_host::Engine;
use plugin_host::Instance;
use plugin_host::InstanceConfig;
use plugin_host::Limits;
use plugin_host::Module;
use plugin_host::Shared;
use plugin_host::StartError;
use plugin_host::Waker;

pub(crate) use capture::captured;
pub(crate) use functions::FUNCTIONS;
pub(crate) use guest::Guest;
pub(crate) use row::Expect;
pub(crate) use row::Row;
pub(crate) use row::run_rows;
pub(crate) use view::TestView;

/// All tests share one engine, as a process does.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(None).unwrap());

/// Returns the configuration of an instance with one root context and empty configurations.
pub(crate) fn config() -> InstanceConfig {
    InstanceConfig {
        plugin: "shop/test".into(),
        version: "v1".into(),
        namespace: "shop".into(),
        root_id: Bytes::from_static(b"root"),
        vm_id: Bytes::from_static(b"vm"),
        vm_configuration: Bytes::new(),
        environment: Vec::new(),
        roots: vec![Bytes::new()],
        upstreams: vec![AllowedUpstream { namespace: "shop".into(), name: "authz".into(), port: 8080 }],
        limits: Limits { call: std::time::Duration::from_millis(500), ..Limits::default() },
        allow_on_headers_stop_iteration: false,
        shared: Arc::new(Shared::new()),
        waker: Waker(Arc::new(|| {})),
        observer: None,
    }
}

/// Compiles a guest.
pub(crate) fn compile(guest: &Guest) -> Module {
    ENGINE.compile(&guest.binary()).unwrap()
}

/// Starts a guest.
pub(crate) fn try_start(guest: &Guest, config: InstanceConfig) -> Result<Instance<TestView>, StartError> {
    Instance::start(&compile(guest), Arc::new(config))
}

/// Starts a guest with the usual configuration.
pub(crate) fn start(guest: &Guest) -> Instance<TestView> {
    try_start(guest, config()).unwrap()
}
