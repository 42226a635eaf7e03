//! Kinds and names of objects.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Kinds of objects, and of the other things that a Problem may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1 ConfigMap`.
    ConfigMap,
    /// `discovery.k8s.io/v1 EndpointSlice`.
    EndpointSlice,
    /// A file. Only Problems of the file source name it.
    File,
    /// `networking.k8s.io/v1 Ingress`.
    Ingress,
    /// `networking.k8s.io/v1 IngressClass`.
    IngressClass,
    /// `wasm-gateway.dev/v1alpha1 IngressClassConfig`.
    IngressClassConfig,
    /// `v1 Namespace`.
    Namespace,
    /// `v1 Node`. Only Problems of a source name it.
    Node,
    /// `wasm-gateway.dev/v1alpha1 RoutePolicy`.
    RoutePolicy,
    /// `v1 Secret`.
    Secret,
    /// `v1 Service`.
    Service,
    /// `wasm-gateway.dev/v1alpha1 WasmPlugin`.
    WasmPlugin,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    /// Namespace. Empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// Name within the namespace.
    pub name: Arc<str>,
}

impl Name {
    /// Creates a name from its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl Ord for Name {
    /// By namespace, then by name. Most names share the text of their namespace, so the pointers are compared first.
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

/// Kind and name of an object. Prints as `Ingress shop/web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub name: Name,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
