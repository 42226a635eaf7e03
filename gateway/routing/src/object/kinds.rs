//! The objects that routing reads, trimmed to the fields that it needs.
//!
//! Not here: conversion from Kubernetes types (`convert`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::name::Kind;
use super::name::Name;
use super::name::ObjectRef;
use super::resource_version::ResourceVersion;
use super::secret::Secret;

/// An object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A ConfigMap.
    ConfigMap(ConfigMap),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// An Ingress.
    Ingress(Ingress),
    /// An IngressClass.
    IngressClass(IngressClass),
    /// An IngressClassConfig.
    IngressClassConfig(IngressClassConfig),
    /// A Namespace.
    Namespace(Namespace),
    /// A RoutePolicy.
    RoutePolicy(RoutePolicy),
    /// A Secret, without its bytes.
    Secret(Secret),
    /// A Service.
    Service(Service),
    /// A WasmPlugin.
    WasmPlugin(WasmPlugin),
}

impl Object {
    /// Returns the kind and name of the object.
    pub fn reference(&self) -> ObjectRef {
        let (kind, name) = match self {
            Self::ConfigMap(map) => (Kind::ConfigMap, &map.name),
            Self::EndpointSlice(slice) => (Kind::EndpointSlice, &slice.name),
            Self::Ingress(ingress) => (Kind::Ingress, &ingress.name),
            Self::IngressClass(class) => (Kind::IngressClass, &class.name),
            Self::IngressClassConfig(config) => (Kind::IngressClassConfig, &config.name),
            Self::Namespace(namespace) => (Kind::Namespace, &namespace.name),
            Self::RoutePolicy(policy) => (Kind::RoutePolicy, &policy.name),
            Self::Secret(secret) => (Kind::Secret, &secret.name),
            Self::Service(service) => (Kind::Service, &service.name),
            Self::WasmPlugin(plugin) => (Kind::WasmPlugin, &plugin.name),
        };
        ObjectRef { kind, name: name.clone() }
    }
}

/// The change of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object was created or updated.
    Apply(Object),
    /// The object was deleted.
    Delete(ObjectRef),
}

/// Changes that become visible together, in one table.
pub type Delta = Vec<Change>;

/// An Ingress, as far as routing reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ingress {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.resourceVersion`, if it has an order. Nothing is compiled from it.
    pub version: Option<ResourceVersion>,
    /// `metadata.creationTimestamp` in seconds since 1970. Absent: younger than any other.
    pub created: Option<i64>,
    /// Whether `metadata.deletionTimestamp` is set. Active Ingresses take precedence.
    pub deleting: bool,
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// Deprecated annotation `kubernetes.io/ingress.class`. Used if the field is absent.
    pub class_annotation: Option<Arc<str>>,
    /// Annotations, sorted by key. Those of kubectl are left out.
    pub annotations: Box<[Annotation]>,
    /// `spec.rules`, in order. Shared, as `tls` is, so that sources that keep objects need no second copy.
    pub rules: Arc<[IngressRule]>,
    /// `spec.tls`, in order.
    pub tls: Arc<[IngressTls]>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<IngressBackend>,
}

impl Ingress {
    /// Returns the class that the field names, or else the annotation.
    pub fn class_name(&self) -> Option<&Arc<str>> {
        self.class.as_ref().or(self.class_annotation.as_ref())
    }
}

/// One annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Key, with its prefix.
    pub key: Arc<str>,
    /// Value as written.
    pub value: Arc<str>,
}

/// One entry of `spec.rules`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressRule {
    /// `host` as written. Absent: all hosts.
    pub host: Option<Arc<str>>,
    /// `http.paths`, in order.
    pub paths: Vec<IngressPath>,
}

/// One entry of `spec.rules[].http.paths`.
#[derive(Clone, Debug, PartialEq)]
pub struct IngressPath {
    /// `path` as written. Absent and empty are equal.
    pub path: Arc<str>,
    /// `pathType` as written.
    pub path_type: Option<Arc<str>>,
    /// `backend`.
    pub backend: IngressBackend,
}

/// The backend of a path, or the default backend.
#[derive(Clone, Debug, PartialEq)]
pub enum IngressBackend {
    /// The backend is invalid.
    Invalid(BackendError),
    /// `backend.resource`: its kind.
    Resource(Arc<str>),
    /// `backend.service`.
    Service {
        /// `service.name`.
        name: Arc<str>,
        /// `service.port`.
        port: PortRef,
    },
}

/// Why a backend of an Ingress is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// It has neither a service nor a resource.
    #[error("neither service nor resource is given")]
    Missing,
    /// It has a service and a resource.
    #[error("service and resource are both given; only one may be")]
    ServiceAndResource,
    /// `service.name` is missing or empty.
    #[error("service.name is missing")]
    NameMissing,
    /// `service.port` is missing.
    #[error("service.port is missing")]
    PortMissing,
    /// `service.port` has neither a name nor a number.
    #[error("service.port has neither a name nor a number")]
    PortEmpty,
    /// `service.port` has a name and a number.
    #[error("service.port has both a name and a number; only one may be given")]
    PortAmbiguous,
    /// `service.port.number` is out of range.
    #[error("service.port.number is not from 1 to 65535")]
    PortOutOfRange,
}

/// A Service port, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRef {
    /// `port.name`: the name of the Service port.
    Name(Arc<str>),
    /// `port.number`: the number of the Service port.
    Number(NonZeroU16),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// One entry of `spec.tls`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressTls {
    /// `hosts` as written.
    pub hosts: Vec<Arc<str>>,
    /// `secretName`.
    pub secret: Option<Arc<str>>,
}

/// An IngressClass, as far as routing reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressClass {
    /// Name. The namespace is empty.
    pub name: Name,
    /// `metadata.creationTimestamp`, as for an Ingress.
    pub created: Option<i64>,
    /// `spec.controller`.
    pub controller: Arc<str>,
    /// `spec.parameters`.
    pub parameters: Option<ParametersRef>,
    /// Whether `ingressclass.kubernetes.io/is-default-class` is `true`. Only the file source reads it.
    pub is_default: bool,
}

/// `spec.parameters` of an IngressClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParametersRef {
    /// `apiGroup`. Empty for the core group.
    pub group: Arc<str>,
    /// `kind`.
    pub kind: Arc<str>,
    /// `name`.
    pub name: Arc<str>,
    /// `namespace` with `scope: Namespace`. Absent for `scope: Cluster`.
    pub namespace: Option<Arc<str>>,
}

/// The parameters of an IngressClass. Cluster-scoped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressClassConfig {
    /// Name. The namespace is empty.
    pub name: Name,
    /// Folder of a `file://` URL of the handler: that of the YAML. Absent: the plugin folder of the gateway.
    pub folder: Option<Arc<Path>>,
    /// `spec`.
    pub spec: api::IngressClassConfigSpec,
}

/// A Namespace, as far as routing reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    /// Name. The namespace is empty.
    pub name: Name,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// A RoutePolicy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoutePolicy {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.creationTimestamp`, as for an Ingress.
    pub created: Option<i64>,
    /// `spec`.
    pub spec: Box<api::RoutePolicySpec>,
}

/// A WasmPlugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WasmPlugin {
    /// Namespace and name.
    pub name: Name,
    /// Folder of `file://` URLs: that of the YAML. Absent: the plugin folder of the gateway.
    pub folder: Option<Arc<Path>>,
    /// `spec`.
    pub spec: PluginSpec,
}

/// The spec of a WasmPlugin.
#[derive(Clone, Debug, PartialEq)]
pub enum PluginSpec {
    /// It does not parse, and no earlier version is known. Routes in its scope are closed.
    Malformed {
        /// `targetRefs`, if they parse. As in [`api::WasmPluginSpec`].
        target_refs: Option<Vec<api::TargetRef>>,
    },
    /// It parses.
    Valid(Box<api::WasmPluginSpec>),
}

impl Default for PluginSpec {
    fn default() -> Self {
        Self::Valid(Box::default())
    }
}

/// A ConfigMap that a WasmPlugin or a class handler refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigMap {
    /// Namespace and name.
    pub name: Name,
    /// `data` and `binaryData`.
    pub data: BTreeMap<Arc<str>, Bytes>,
}

/// A Service, as far as routing reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Namespace and name.
    pub name: Name,
    /// `spec.type` as written. Absent: `ClusterIP`.
    pub service_type: Arc<str>,
    /// `spec.externalName`, of a Service of type `ExternalName`.
    pub external_name: Option<Arc<str>>,
    /// `spec.ports`, in order.
    pub ports: Vec<ServicePort>,
    /// Endpoints that replace the EndpointSlices (annotation `wasm-gateway.dev/endpoints`, file source only).
    pub fixed_endpoints: Option<Vec<Endpoint>>,
    /// `spec.clusterIPs`, or else `spec.clusterIP`. A headless Service has none.
    pub cluster_ips: Box<[IpAddr]>,
    /// Addresses outside of the cluster. Most Services have none.
    pub external_addresses: Option<Box<ExternalAddresses>>,
}

/// Addresses of a Service outside of the cluster, beside those of the nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExternalAddresses {
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`: IP addresses and host names.
    pub load_balancer: Vec<Arc<str>>,
}

/// One entry of a Service's `spec.ports`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// `name`. Absent and empty are equal.
    pub name: Arc<str>,
    /// `port`.
    pub port: NonZeroU16,
    /// `appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// `nodePort` of a Service of type NodePort or LoadBalancer.
    pub node_port: Option<NonZeroU16>,
}

/// An EndpointSlice, as far as routing reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: Name,
    /// Label `kubernetes.io/service-name`. A slice without it belongs to no Service.
    pub service: Option<Arc<str>>,
    /// `ports`. A slice whose port has no number covers all ports, and routing ignores it.
    pub ports: Vec<SlicePort>,
    /// `endpoints`, in order.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One entry of an EndpointSlice's `ports`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlicePort {
    /// `name`, which equals that of the Service port. Absent and empty are equal.
    pub name: Arc<str>,
    /// `port`: the number to connect to.
    pub port: Option<NonZeroU16>,
}

/// One entry of an EndpointSlice's `endpoints`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SliceEndpoint {
    /// The IP addresses in `addresses`. By the API, consumers use only the first.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`. Absent: true.
    pub ready: bool,
    /// `conditions.serving`. Absent: the value of `ready`.
    pub serving: bool,
    /// `conditions.terminating`. Absent: false.
    pub terminating: bool,
    /// `hints.forZones[].name`: the zones whose clients should prefer the endpoint.
    pub zones: Vec<Arc<str>>,
    /// `targetRef.name` of a Pod. Printed beside the address.
    pub pod: Option<Arc<str>>,
}

/// The address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address and port to connect to.
    pub address: SocketAddr,
    /// The Pod behind the address, if known.
    pub pod: Option<Arc<str>>,
}
