//! The objects that routing reads, trimmed to what it needs, and how they are taken from Kubernetes types.
//!
//! Purpose: every source (files, an API server) turns what it read into these types, so that compiling
//! sees one shape whatever the door. Not here: key material of Secrets (`gateway::reload` holds that).

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

mod convert;
mod resource_version;
mod secret;
mod string_interner;

pub use convert::ENDPOINTS_ANNOTATION;
pub use convert::FieldError;
pub use resource_version::ResourceVersion;
pub use resource_version::ResourceVersionError;
pub use secret::FallbackCertificate;
pub use secret::Secret;
pub use secret::SecretContent;
pub use secret::Validity;
pub use string_interner::StringInterner;

/// The kinds that a Snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `discovery.k8s.io/v1 EndpointSlice`.
    EndpointSlice,
    /// A file that could not be read; only the file source's Problems name it.
    File,
    /// `networking.k8s.io/v1 Ingress`.
    Ingress,
    /// `networking.k8s.io/v1 IngressClass`.
    IngressClass,
    /// `wasm-gateway.dev/v1alpha1 IngressClassConfig`.
    IngressClassConfig,
    /// `v1 Namespace`.
    Namespace,
    /// `v1 Node`; only a source's Problems name it.
    Node,
    /// `wasm-gateway.dev/v1alpha1 RoutePolicy`.
    RoutePolicy,
    /// `v1 Secret`.
    Secret,
    /// `v1 Service`.
    Service,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    /// The namespace, or nothing for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// The name inside the namespace.
    pub name: Arc<str>,
}

impl Name {
    /// Makes a name from its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl Ord for Name {
    /// By namespace, then by name. Most names share the text of their namespace, which then is not looked at.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_namespace = match Arc::ptr_eq(&self.namespace, &other.namespace) {
            true => Ordering::Equal,
            false => self.namespace.cmp(&other.namespace),
        };
        by_namespace.then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// One object among all: its kind and its name. Prints as `Ingress shop/web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: Name,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Any object of a Snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
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
}

impl Object {
    /// Says which object this is.
    pub fn reference(&self) -> ObjectRef {
        let (kind, name) = match self {
            Self::EndpointSlice(slice) => (Kind::EndpointSlice, &slice.name),
            Self::Ingress(ingress) => (Kind::Ingress, &ingress.name),
            Self::IngressClass(class) => (Kind::IngressClass, &class.name),
            Self::IngressClassConfig(config) => (Kind::IngressClassConfig, &config.name),
            Self::Namespace(namespace) => (Kind::Namespace, &namespace.name),
            Self::RoutePolicy(policy) => (Kind::RoutePolicy, &policy.name),
            Self::Secret(secret) => (Kind::Secret, &secret.name),
            Self::Service(service) => (Kind::Service, &service.name),
        };
        ObjectRef { kind, name: name.clone() }
    }
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object exists and looks like this now.
    Apply(Object),
    /// The object does not exist any more.
    Delete(ObjectRef),
}

/// Changes that belong together: they become visible in one table, or not at all.
pub type Delta = Vec<Change>;

/// An Ingress, as far as routing reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ingress {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.resourceVersion`, if it can be compared. Nothing is compiled from it: it tells how new the rest is.
    pub version: Option<ResourceVersion>,
    /// Seconds since 1970 of `metadata.creationTimestamp`; absent ones count as younger than any present one.
    pub created: Option<i64>,
    /// Whether `metadata.deletionTimestamp` is set: it gives way to live ones.
    pub deleting: bool,
    /// `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// The deprecated annotation `kubernetes.io/ingress.class`; it counts where the field is absent.
    pub class_annotation: Option<Arc<str>>,
    /// `spec.rules`, in order. Shared, as `tls` is: who holds objects for later holds no second copy.
    pub rules: Arc<[IngressRule]>,
    /// `spec.tls`, in order.
    pub tls: Arc<[IngressTls]>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<IngressBackend>,
}

impl Ingress {
    /// The class that it names: by the field, or else by the annotation.
    pub fn class_name(&self) -> Option<&Arc<str>> {
        self.class.as_ref().or(self.class_annotation.as_ref())
    }
}

/// One entry of `spec.rules`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressRule {
    /// `host` as written; absent means all hosts.
    pub host: Option<Arc<str>>,
    /// `http.paths`, in order.
    pub paths: Vec<IngressPath>,
}

/// One entry of `spec.rules[].http.paths`.
#[derive(Clone, Debug, PartialEq)]
pub struct IngressPath {
    /// `path` as written; absent and empty are the same.
    pub path: Arc<str>,
    /// `pathType` as written.
    pub path_type: Option<Arc<str>>,
    /// `backend`.
    pub backend: IngressBackend,
}

/// What a path or a default backend names.
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

/// How a backend names a Service port.
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
    /// The class's name; its namespace is empty.
    pub name: Name,
    /// Seconds since 1970 of `metadata.creationTimestamp`, as for an Ingress.
    pub created: Option<i64>,
    /// `spec.controller`.
    pub controller: Arc<str>,
    /// `spec.parameters`.
    pub parameters: Option<ParametersRef>,
    /// Whether `ingressclass.kubernetes.io/is-default-class` is `true`. Only sources that play admission read it.
    pub is_default: bool,
}

/// What `spec.parameters` of an IngressClass names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParametersRef {
    /// `apiGroup`; empty for the core group.
    pub group: Arc<str>,
    /// `kind`.
    pub kind: Arc<str>,
    /// `name`.
    pub name: Arc<str>,
    /// `namespace`, with `scope: Namespace`; absent for `scope: Cluster`.
    pub namespace: Option<Arc<str>>,
}

/// The parameters of our IngressClasses; cluster-scoped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressClassConfig {
    /// The name; its namespace is empty.
    pub name: Name,
    /// `spec`.
    pub spec: api::IngressClassConfigSpec,
}

/// A Namespace: whether Ingresses in it are on their way out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    /// The name; its namespace is empty.
    pub name: Name,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// What Ingress cannot say about its requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoutePolicy {
    /// Namespace and name.
    pub name: Name,
    /// Seconds since 1970 of `metadata.creationTimestamp`, as for an Ingress.
    pub created: Option<i64>,
    /// `spec`.
    pub spec: Box<api::RoutePolicySpec>,
}

/// A Service, as far as routing reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Namespace and name.
    pub name: Name,
    /// `spec.type` as written; absent is `ClusterIP`.
    pub service_type: Arc<str>,
    /// `spec.externalName`, of a Service of type `ExternalName`.
    pub external_name: Option<Arc<str>>,
    /// `spec.ports`, in order.
    pub ports: Vec<ServicePort>,
    /// Addresses that stand in for EndpointSlices (`wasm-gateway.dev/endpoints`, file source only).
    pub fixed_endpoints: Option<Vec<Endpoint>>,
    /// `spec.clusterIPs`, or `spec.clusterIP` if there are none; a headless Service has none.
    pub cluster_ips: Box<[IpAddr]>,
    /// How the outside reaches it. Most Services are not meant for the outside and have none.
    pub external_addresses: Option<Box<ExternalAddresses>>,
}

/// By which addresses the outside reaches a Service, beside those of the nodes.
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
    /// `name`; absent and empty are the same.
    pub name: Arc<str>,
    /// `port`.
    pub port: NonZeroU16,
    /// `appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// `nodePort`: the port on each node, of a Service of type NodePort or LoadBalancer.
    pub node_port: Option<NonZeroU16>,
}

/// An EndpointSlice, as far as routing reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: Name,
    /// The label `kubernetes.io/service-name`; a slice without it serves nobody.
    pub service: Option<Arc<str>>,
    /// `ports`: name and number. No number means that the slice does not restrict the port, which routing cannot dial.
    pub ports: Vec<SlicePort>,
    /// `endpoints`, in order.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One entry of an EndpointSlice's `ports`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlicePort {
    /// `name`; absent and empty are the same. It equals the Service port's name.
    pub name: Arc<str>,
    /// `port`: the number to dial.
    pub port: Option<NonZeroU16>,
}

/// One entry of an EndpointSlice's `endpoints`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SliceEndpoint {
    /// `addresses` that parse as IP addresses; the API says that all but the first are to be ignored by consumers.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; absent means true.
    pub ready: bool,
    /// `conditions.serving`; absent means the value of `ready`.
    pub serving: bool,
    /// `conditions.terminating`; absent means false.
    pub terminating: bool,
    /// `hints.forZones[].name`: the zones whose clients are to use it.
    pub zones: Vec<Arc<str>>,
    /// `targetRef.name` when it is a Pod: what tables print beside the address.
    pub pod: Option<Arc<str>>,
}

/// One address and port that can be dialled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where to dial.
    pub address: std::net::SocketAddr,
    /// The Pod behind the address, if known.
    pub pod: Option<Arc<str>>,
}
