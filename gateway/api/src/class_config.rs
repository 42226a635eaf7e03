//! `IngressClassConfig`: the parameters of an IngressClass (`spec.parameters`).
//!
//! A cluster-scoped kind of group `wasm-gateway.dev`, version `v1alpha1`. Not here: the effect of the fields (`routing`).

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::http_route::Port;
use crate::plugin_config::PluginConfig;
use crate::switch::Switch;

/// Spec of an IngressClassConfig.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IngressClassConfigSpec {
    /// Namespaces whose Ingresses may use the class. Absent: all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<Vec<String>>,
    /// Backend of requests that match no Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_backend: Option<ClassBackend>,
    /// Certificate of hosts for which no Ingress names a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_certificate: Option<ClassSecret>,
    /// Whether Events are created for Ingresses of the class: a Warning for each Problem, and one when an Ingress is live.
    /// Absent: on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Switch>,
    /// Whether backends may be Services of type ExternalName.
    #[serde(default)]
    pub external_names: ExternalNames,
    /// What happens to Ingresses with annotations of other controllers that restrict access and are not honoured. Closed in
    /// any case: what `handler` closes.
    #[serde(default)]
    pub foreign_annotations: ForeignAnnotations,
    /// Module that says what the Ingresses of the class mean. Absent: they mean what the Ingress API says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<Box<ClassHandler>>,
    /// Hosts that only some namespaces may serve. Applies to the Ingresses of all classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ownership: Vec<HostOwnership>,
    /// Whether the gateway's addresses are written to the status of the Ingresses of the class. Absent: on, but off for a
    /// class of another controller that is served by `--class`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Switch>,
}

/// A module that says what the Ingresses of a class mean.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassHandler {
    /// Location of the module: `file://NAME`, or `configmap://NAME/KEY` for a ConfigMap of the gateway's own namespace.
    pub url: String,
    /// SHA-256 of the module in hexadecimal digits. A module with another digest is refused. Absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Prefixes of the annotations that the module speaks for, such as `nginx.ingress.kubernetes.io/`. An annotation with
    /// one of them on which the module has no verdict is a Problem.
    #[schemars(length(min = 1, max = 16))]
    pub dialect: Vec<String>,
    /// Settings of the module. They are opaque to the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PluginConfig>,
}

/// A Service port that a class refers to.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassBackend {
    /// Namespace of the Service. Absent: the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Service.
    pub service: String,
    /// Port of the Service.
    pub port: Port,
}

/// A Secret that a class refers to.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassSecret {
    /// Namespace of the Secret. Absent: the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Secret.
    pub name: String,
}

/// Treatment of backends whose Service has type ExternalName. Such a Service lets any writer of Services choose the
/// host to which the gateway connects.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ExternalNames {
    /// The backend is served.
    Allow,
    /// The backend is a Problem, and its path gets a 503.
    #[default]
    Refuse,
}

/// Treatment of Ingresses with annotations of other controllers that restrict access, such as an authentication or a
/// list of addresses. This gateway does not honour them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ForeignAnnotations {
    /// The annotation is a Problem, and all paths of its Ingress get a 503.
    #[default]
    Close,
    /// The annotation is a note, and the Ingress is served without it.
    Warn,
}

/// A host and the namespaces that may serve it. Rules of other namespaces for the host are rejected. Their wildcard
/// rules, rules without a host and default backends receive none of its requests.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostOwnership {
    /// A DNS name, or `*.` and a DNS name for all names below it at any depth. Only the most specific entry applies.
    pub host: String,
    /// Namespaces whose Ingresses may name the host. Several entries for one host add up. Empty: no namespace may.
    pub namespaces: Vec<String>,
}
