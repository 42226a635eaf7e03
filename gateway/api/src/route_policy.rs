//! `RoutePolicy`: what Ingress cannot say about the requests that it routes.
//!
//! A namespaced kind of group `wasm-gateway.dev`, version `v1alpha1`. Not here: which policy wins (`routing`).

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::byte_size::ByteSize;
use crate::http_route::Port;
use crate::traffic::Limits;
use crate::traffic::LoadBalancing;
use crate::traffic::Retries;
use crate::traffic::Timeouts;

/// The spec of a RoutePolicy.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutePolicySpec {
    /// What the policy is about.
    #[schemars(length(min = 1, max = 16))]
    // As in Gateway API; without a bound a rule in CEL is refused.
    pub target_refs: Vec<TargetRef>,
    /// Who serves instead of the Ingress's own backend, by weight: Services of the policy's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<PolicyBackend>>,
    /// The longest request body that is taken, such as `10Mi`; longer ones are answered 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_size: Option<ByteSize>,
    /// How long things may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// When a request is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// How requests are spread among the endpoints of a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
    /// How much of a Service may be taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// An Ingress, one host or path of it, or an IngressClass for defaults.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// The kind's group: `networking.k8s.io`.
    pub group: String,
    /// Which kind.
    pub kind: TargetKind,
    /// The object's name; an Ingress is looked up in the policy's namespace.
    pub name: String,
    /// A host as the Ingress's rules name it; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path as the Ingress's rules name it, of either type; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The kinds that a policy can be about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum TargetKind {
    /// `networking.k8s.io Ingress`.
    Ingress,
    /// `networking.k8s.io IngressClass`, from the gateway's own namespace only.
    IngressClass,
}

/// A Service port and its share.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyBackend {
    /// The Service's name.
    pub service: String,
    /// The Service's port.
    pub port: Port,
    /// The share of requests, relative to the sum of all weights; 0 takes none.
    pub weight: u32,
}
