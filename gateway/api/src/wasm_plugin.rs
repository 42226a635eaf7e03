//! `WasmPlugin`: a Proxy-Wasm module, the routes that it applies to, and its configuration there.
//!
//! A namespaced kind of group `wasm-gateway.dev`, version `v1alpha1`. The field names are those of Istio and Higress.
//! Not here: which routes a plugin applies to (`routing`), and running it (`plugin-host`).

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::byte_size::ByteSize;
use crate::duration::Duration;
use crate::plugin_config::PluginConfig;
use crate::route_policy::TargetRef;

/// Spec of a WasmPlugin.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WasmPluginSpec {
    /// Location of the module: `file://NAME`, or `configmap://NAME/KEY` for a ConfigMap of the plugin's namespace.
    pub url: String,
    /// SHA-256 of the module in hexadecimal digits. A module with another digest is refused. Absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Root ID: which of the module's root contexts the plugin is. Absent: the empty ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_name: Option<String>,
    /// Place among the plugins of a route. `AUTHN` runs first, then `AUTHZ`, then plugins without a phase, then
    /// `STATS`.
    #[serde(default)]
    pub phase: PluginPhase,
    /// Place within the phase. The higher priority runs first; then namespace and name decide.
    #[serde(default)]
    pub priority: i32,
    /// Treatment of requests while the plugin fails. `FAIL_CLOSE` and `FAIL_RELOAD` refuse them, `FAIL_OPEN` serves them
    /// without the plugin. A failed instance is always replaced.
    #[serde(default)]
    pub fail_strategy: PluginFailStrategy,
    /// Whether streams share an instance.
    #[serde(default)]
    pub isolation: Isolation,
    /// Ingresses, one host or path of them, or an IngressClass, that the plugin applies to. Absent: all Ingresses of its
    /// namespace. Empty: only routes whose RoutePolicy names the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<TargetRef>>,
    /// Configuration on every route, or, with `matchRules`, of rules without their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_config: Option<PluginConfig>,
    /// Configuration on routes that no rule of `matchRules` matches. Absent: with `matchRules`, the plugin is off there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_config: Option<PluginConfig>,
    /// Turns the plugin off on routes that no rule of `matchRules` matches.
    #[serde(default)]
    pub default_config_disable: bool,
    /// Configurations for some routes. The first rule that matches a route applies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub match_rules: Vec<MatchRule>,
    /// Limits on the resources of the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<PluginLimitsSpec>,
    /// Services that the plugin may call: `NAME:PORT`, `NAMESPACE/NAME:PORT`, or
    /// `outbound|PORT||NAME.NAMESPACE.svc.cluster.local`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allowed_upstreams: Vec<String>,
    /// Environment variables of the module.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvironmentVariable>,
    /// Whether the action `StopIteration` of a header callback holds the head only, and body callbacks go on. By default
    /// it stops the whole stream.
    #[serde(default)]
    pub allow_on_headers_stop_iteration: bool,
}

/// The phase of a plugin. The order is that of requests.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum PluginPhase {
    /// Before all others: authentication.
    #[serde(rename = "AUTHN")]
    Authn,
    /// After authentication: authorization.
    #[serde(rename = "AUTHZ")]
    Authz,
    /// After authorization: everything else.
    #[default]
    #[serde(rename = "UNSPECIFIED_PHASE")]
    Unspecified,
    /// After all others: statistics.
    #[serde(rename = "STATS")]
    Stats,
}

impl PluginPhase {
    /// Returns the word in the YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authn => "AUTHN",
            Self::Authz => "AUTHZ",
            Self::Unspecified => "UNSPECIFIED_PHASE",
            Self::Stats => "STATS",
        }
    }
}

/// What happens to requests while a plugin fails.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginFailStrategy {
    /// They are refused.
    #[default]
    FailClose,
    /// They are served without the plugin.
    FailOpen,
    /// The same as [`PluginFailStrategy::FailClose`].
    FailReload,
}

/// Whether streams share an instance of a plugin.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum Isolation {
    /// All streams of a worker share one.
    #[default]
    Shared,
    /// Each stream has its own.
    Stream,
}

/// Routes and the plugin's configuration on them. All dimensions that are given must match; one entry of each is enough.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchRule {
    /// Ingresses, as `NAME` or `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<String>,
    /// Hosts of Ingress rules: a DNS name, or `*.` and a DNS name for all names with one more label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
    /// Further entries of `host`, as Higress spells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domain: Vec<String>,
    /// Services of the routes, as `NAME` or `NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service: Vec<String>,
    /// Configuration on these routes. Absent: `pluginConfig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PluginConfig>,
    /// Turns the plugin off on these routes.
    #[serde(default)]
    pub config_disable: bool,
}

/// Limits on the resources of a plugin.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginLimitsSpec {
    /// Maximum memory of an instance, such as `32Mi`, which is the default. Growth beyond it fails in the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Maximum time of one call into the module, such as `10ms`, which is the default. A longer call is a failure of the
    /// plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_timeout: Option<Duration>,
    /// Maximum bytes of a request body that are kept for the plugin. Absent: `1Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body: Option<ByteSize>,
    /// Maximum bytes of a response body that are kept for the plugin. Absent: `1Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_body: Option<ByteSize>,
    /// Maximum concurrent callouts of one stream. Absent: 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callouts: Option<u32>,
}

/// An environment variable.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentVariable {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}
