//! Host functions that exist so that modules load, and always fail.

use super::HostFunction;
use super::Params;

pub(super) static FUNCTIONS: &[HostFunction] = &[
    private("proxy_redis_init"),
    private("proxy_redis_call"),
    private("proxy_inject_encoded_data_to_filter_chain"),
    private("proxy_get_upstream_hosts"),
    private("proxy_set_upstream_override_host"),
];

/// Defines an import of Higress's own, for plugins that use it in some configurations only.
const fn private(name: &'static str) -> HostFunction {
    HostFunction { name, params: Params::AnyI32, has_result: true, define: |_, _| Ok(()) }
}
