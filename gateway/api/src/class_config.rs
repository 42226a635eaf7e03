//! `IngressClassConfig`: what `spec.parameters` of one of our IngressClasses says about the whole class.
//!
//! A cluster-scoped kind of group `wasm-gateway.dev`, version `v1alpha1`. Not here: what the fields do (`routing`).

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::http_route::Port;

/// The spec of an IngressClassConfig.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IngressClassConfigSpec {
    /// The namespaces whose Ingresses may use the class; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<Vec<String>>,
    /// Who answers what no Ingress takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_backend: Option<ClassBackend>,
    /// The certificate of hosts for which no Ingress names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_certificate: Option<ClassSecret>,
    /// Whether backends may be Services of type ExternalName.
    #[serde(default)]
    pub external_names: ExternalNames,
    /// Hosts that only some namespaces may serve, whatever the class of their Ingresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ownership: Vec<HostOwnership>,
}

/// A Service port that belongs to the class.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassBackend {
    /// The Service's namespace; absent: the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Service's name.
    pub service: String,
    /// The Service's port.
    pub port: Port,
}

/// A Secret that belongs to the class.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassSecret {
    /// The Secret's namespace; absent: the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Secret's name.
    pub name: String,
}

/// What becomes of a backend whose Service is of type ExternalName. Such a Service makes the gateway dial any
/// name that whoever may write Services thinks of, so it has to be allowed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ExternalNames {
    /// It is served.
    Allow,
    /// It is a Problem, and its path answers 503.
    #[default]
    Refuse,
}

/// Hosts and the namespaces that may serve them. Rules of other namespaces that name them are refused; those that
/// take any host, by a wildcard or without a host, and default backends do not get them either.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostOwnership {
    /// A DNS name, or `*.` and a DNS name for all names below it, however deep. The most specific entry decides alone.
    pub host: String,
    /// The namespaces whose Ingresses may name the host; of several entries for one host, all of them. None at all:
    /// nobody may.
    pub namespaces: Vec<String>,
}
