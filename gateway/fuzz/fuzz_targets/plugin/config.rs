//! The configuration of fuzzed instances.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plugin_host::AllowedUpstream;
use plugin_host::InstanceConfig;
use plugin_host::Limits;
use plugin_host::Shared;
use plugin_host::Waker;

/// Returns a configuration with small limits and two root contexts.
pub(crate) fn config() -> InstanceConfig {
    let time = Duration::from_millis(20);
    InstanceConfig {
        plugin: "shop/fuzz".into(),
        version: "v1".into(),
        namespace: "shop".into(),
        root_id: Bytes::from_static(b"root"),
        vm_id: Bytes::new(),
        vm_configuration: Bytes::from_static(b"vm"),
        environment: vec![("A".to_owned(), "1".to_owned())],
        roots: vec![Bytes::from_static(b"one"), Bytes::new()],
        upstreams: vec![AllowedUpstream { namespace: "shop".into(), name: "a".into(), port: 80 }],
        limits: Limits { memory: 4 << 20, call: time, configure: time, callouts: 4, ..Limits::default() },
        allow_on_headers_stop_iteration: false,
        shared: Arc::new(Shared::new()),
        waker: Waker(Arc::new(|| {})),
        observer: None,
    }
}
