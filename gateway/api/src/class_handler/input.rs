//! What a handler reads: the class, one host, and the Ingresses and Services on it.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::Deserialize;
use serde::Serialize;

use crate::class_config::IngressClassConfigSpec;
use crate::http_route::HttpBackendRef;
use crate::http_route::HttpPathMatch;
use crate::http_route::HttpRouteMatch;
use crate::http_route::HttpRouteRule;
use crate::http_route::PathMatchType;
use crate::http_route::Port;

use super::rule_name;

/// The input of one call: a `ResourceList` about one host.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassInput {
    /// `config.kubernetes.io/v1`.
    #[serde(default)]
    pub api_version: ListVersion,
    /// `ResourceList`.
    #[serde(default)]
    pub kind: ListKind,
    /// The class and the host.
    pub function_config: ClassContext,
    /// The Ingresses, oldest first; then the Services that they name, and what an earlier round required, by name.
    #[serde(default)]
    pub items: Vec<ClassItem>,
}

/// `apiVersion` of a `ResourceList`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum ListVersion {
    /// Version 1.
    #[default]
    #[serde(rename = "config.kubernetes.io/v1")]
    V1,
}

/// `kind` of a `ResourceList`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum ListKind {
    /// `ResourceList`.
    #[default]
    ResourceList,
}

/// The class and the host of a call (`functionConfig`).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassContext {
    /// `ClassContext`.
    #[serde(default)]
    pub kind: ClassContextKind,
    /// Name of the IngressClass.
    pub class: String,
    /// `spec.controller` of the IngressClass. Empty if the class exists by `--class` alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub controller: String,
    /// `spec` of the IngressClassConfig that the class names, as JSON.
    #[serde(default)]
    pub parameters: serde_json::Value,
    /// The handler's own settings: `handler.config` of the parameters.
    #[serde(default)]
    pub config: serde_json::Value,
    /// The host: a DNS name, or `*.` and a DNS name. Absent: the rules without a host, and Ingresses without rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// `kind` of a [`ClassContext`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum ClassContextKind {
    /// `ClassContext`.
    #[default]
    ClassContext,
}

/// An object that a handler reads.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind")]
pub enum ClassItem {
    /// An Ingress of the class, with the rules of the host alone.
    Ingress(ClassIngress),
    /// A Service that an Ingress names.
    Service(ClassService),
    /// A ConfigMap that an earlier round required, if it exists.
    ConfigMap(RequiredConfigMap),
    /// A Secret that an earlier round required, if it exists. Its content is never passed.
    Secret(RequiredSecret),
}

/// Metadata of an object that a handler reads.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemMetadata {
    /// Namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Annotations of an Ingress.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// An Ingress.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ClassIngress {
    /// Name and annotations.
    pub metadata: ItemMetadata,
    /// Rules.
    #[serde(default)]
    pub spec: ClassIngressSpec,
}

/// `spec` of an Ingress.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassIngressSpec {
    /// Default backend. The gateway serves it; a handler may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_backend: Option<ClassIngressBackend>,
    /// The rules for the host of the call, in the order of the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ClassIngressRule>,
    /// Certificates. The gateway serves them; a handler may read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<ClassIngressTls>,
}

/// An entry of `spec.rules`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ClassIngressRule {
    /// Host. Absent: all hosts that no rule names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Paths.
    #[serde(default)]
    pub http: ClassIngressHttp,
}

/// `http` of a rule.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ClassIngressHttp {
    /// Paths, in order.
    #[serde(default)]
    pub paths: Vec<ClassIngressPath>,
}

/// An entry of `http.paths`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassIngressPath {
    /// Path as written. Empty if it is absent.
    #[serde(default)]
    pub path: String,
    /// `pathType` as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_type: Option<String>,
    /// Backend.
    #[serde(default)]
    pub backend: ClassIngressBackend,
}

/// A backend of an Ingress. Both absent: it is invalid.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ClassIngressBackend {
    /// Service and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ClassServiceBackend>,
    /// Another object, which the gateway does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ClassResource>,
}

/// An object that is no Service.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClassResource {
    /// Kind.
    pub kind: String,
}

/// Service and port of a backend.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ClassServiceBackend {
    /// Name of the Service.
    pub name: String,
    /// Port of the Service.
    pub port: ClassBackendPort,
}

/// A port by number or by name.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClassBackendPort {
    /// Number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<NonZeroU16>,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An entry of `spec.tls`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassIngressTls {
    /// Hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// A Service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ClassService {
    /// Name.
    pub metadata: ItemMetadata,
    /// Type and ports.
    #[serde(default)]
    pub spec: ClassServiceSpec,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassServiceSpec {
    /// Type: `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub service_type: String,
    /// DNS name of a Service of type `ExternalName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_name: Option<String>,
    /// TCP ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ClassServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassServicePort {
    /// Name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Number.
    pub port: NonZeroU16,
    /// Protocol of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// A ConfigMap that a handler required.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct RequiredConfigMap {
    /// Name.
    pub metadata: ItemMetadata,
    /// Values that are text.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
}

/// A Secret that a handler required: it exists.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct RequiredSecret {
    /// Name.
    pub metadata: ItemMetadata,
}

/// A path of an Ingress in the input, with the name of its HTTPRoute rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassPath<'a> {
    /// Name of the HTTPRoute rule: [`rule_name`].
    pub name: String,
    /// The path.
    pub path: &'a ClassIngressPath,
}

// ===== impl ClassContext =====

impl ClassContext {
    /// Returns the context of the calls of a class, without a host.
    pub fn new(class: &str, controller: &str, parameters: &IngressClassConfigSpec) -> Self {
        let config = parameters.handler.as_ref().and_then(|handler| handler.config.as_ref());
        Self {
            class: class.to_owned(),
            controller: controller.to_owned(),
            // The specification has no map with keys that are no strings.
            parameters: serde_json::to_value(parameters).unwrap_or_default(),
            config: config.map(|config| config.0.clone()).unwrap_or_default(),
            ..Self::default()
        }
    }
}

// ===== impl ClassInput =====

impl ClassInput {
    /// Returns the Ingresses, oldest first.
    pub fn ingresses(&self) -> impl Iterator<Item = &ClassIngress> {
        self.items.iter().filter_map(|item| match item {
            ClassItem::Ingress(ingress) => Some(ingress),
            ClassItem::Service(_) | ClassItem::ConfigMap(_) | ClassItem::Secret(_) => None,
        })
    }

    /// Returns a Service. Returns `None` if it does not exist, or no Ingress names it.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&ClassService> {
        self.items.iter().find_map(|item| match item {
            ClassItem::Service(service) if service.metadata.is(namespace, name) => Some(service),
            _ => None,
        })
    }

    /// Returns a required ConfigMap. Returns `None` if it does not exist, or was not required yet.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&RequiredConfigMap> {
        self.items.iter().find_map(|item| match item {
            ClassItem::ConfigMap(map) if map.metadata.is(namespace, name) => Some(map),
            _ => None,
        })
    }

    /// Returns true if a required Secret exists.
    pub fn has_secret(&self, namespace: &str, name: &str) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item, ClassItem::Secret(secret) if secret.metadata.is(namespace, name)))
    }
}

impl ItemMetadata {
    fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }
}

// ===== impl ClassIngress =====

impl ClassIngress {
    /// Returns the value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }

    /// Returns the annotations whose keys begin with a prefix, by key.
    pub fn annotations<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.metadata.annotations.iter();
        all.filter(move |(key, _)| key.starts_with(prefix)).map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns all paths of the host, in order.
    pub fn paths(&self) -> impl Iterator<Item = ClassPath<'_>> {
        self.spec.rules.iter().enumerate().flat_map(|(rule, from)| {
            let paths = from.http.paths.iter().enumerate();
            paths.map(move |(path, from)| ClassPath { name: rule_name(rule, path), path: from })
        })
    }
}

// ===== impl ClassPath =====

impl ClassPath<'_> {
    /// Returns the HTTPRoute rule that means what the path means without annotations.
    pub fn rule(&self) -> HttpRouteRule {
        HttpRouteRule {
            name: Some(self.name.clone()),
            matches: vec![HttpRouteMatch::path(self.path_match())],
            backend_refs: self.backend().into_iter().collect(),
            ..HttpRouteRule::default()
        }
    }

    /// Returns the match of the path: `Exact`, or `PathPrefix` for every other `pathType`.
    pub fn path_match(&self) -> HttpPathMatch {
        let kind = match self.path.path_type.as_deref() {
            Some("Exact") => PathMatchType::Exact,
            _ => PathMatchType::PathPrefix,
        };
        let value = if self.path.path.is_empty() { "/" } else { &self.path.path };
        HttpPathMatch { kind, value: value.into() }
    }

    /// Returns the Service port of the path. Returns `None` if the backend is no Service with a port.
    pub fn backend(&self) -> Option<HttpBackendRef> {
        let service = self.path.backend.service.as_ref()?;
        let port = match (service.port.number, service.port.name.as_deref()) {
            (Some(number), _) => Port::Number(number),
            (None, Some(name)) => Port::Name(name.into()),
            (None, None) => return None,
        };
        Some(HttpBackendRef { name: service.name.as_str().into(), port, weight: 1 })
    }
}
