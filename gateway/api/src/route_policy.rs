//! `RoutePolicy`: settings of routes that Ingress has no fields for.
//!
//! A namespaced kind of group `wasm-gateway.dev`, version `v1alpha1`. Not here: merging of policies (`routing`).

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::byte_size::ByteSize;
use crate::http_route::Port;
use crate::plugin_config::PluginConfig;
use crate::policy::Cors;
use crate::policy::HeaderEdits;
use crate::policy::Limits;
use crate::policy::LoadBalancing;
use crate::policy::Redirect;
use crate::policy::Retries;
use crate::policy::Timeouts;

/// Spec of a RoutePolicy.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutePolicySpec {
    /// Objects that the policy applies to.
    // The maximum is Gateway API's. The API server rejects CEL rules on unbounded lists.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// Weighted Services in the policy's namespace that replace the Ingress's own backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<PolicyBackend>>,
    /// Maximum size of a request body, such as `10Mi`. Larger requests get a 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_size: Option<ByteSize>,
    /// Timeouts of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Retries of failed requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// Balancing of requests over the endpoints of a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
    /// Limits on the use of a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Redirects to other URLs, such as from HTTP to HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Cross-origin requests that browsers may make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Edits of the header fields that endpoints receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<HeaderEdits>,
    /// Edits of the header fields that clients receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<HeaderEdits>,
    /// WasmPlugins that apply to the routes, beside those whose own targets do. Policies add up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub plugins: Vec<PolicyPlugin>,
}

/// A WasmPlugin on the routes of a policy.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyPlugin {
    /// Name of a WasmPlugin in the policy's namespace. If it does not exist, requests get a 503.
    pub name: String,
    /// Configuration on these routes. Absent: `pluginConfig` of the WasmPlugin, or else its `defaultConfig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PluginConfig>,
}

/// The target of a policy: an Ingress, one host or path of it, or an IngressClass for defaults.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// API group of the kind: `networking.k8s.io`.
    pub group: String,
    /// Kind of the object.
    pub kind: TargetKind,
    /// Name of the object. An Ingress must be in the policy's namespace.
    pub name: String,
    /// A host, as in the Ingress's rules. Absent: all hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path of either type, as in the Ingress's rules. Absent: all paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Kinds that a policy can target.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum TargetKind {
    /// `networking.k8s.io Ingress`.
    Ingress,
    /// `networking.k8s.io IngressClass`. Only policies in the gateway's own namespace may target it.
    IngressClass,
}

/// A Service port and its weight.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyBackend {
    /// Name of the Service.
    pub service: String,
    /// Port of the Service.
    pub port: Port,
    /// Share of requests, relative to the sum of all weights. 0 receives none.
    pub weight: u32,
}
