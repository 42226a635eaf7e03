//! A Route: its condition, the Backends behind it, and where it comes from.
//!
//! Not here: choosing among Backends and endpoints, and dialling (`gateway::upstream`).

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;

use super::path_match::PathMatch;
use super::policy::Policy;
use crate::object::Endpoint;
use crate::object::Kind;
use crate::object::Name;
use crate::object::PortRef;

/// What serves the requests that a condition takes.
#[derive(Debug)]
pub struct Route {
    /// The condition.
    pub path: PathMatch,
    /// Who serves, by weight. Empty if the rule names nothing that can be served: it still takes its requests,
    /// and they are answered 503, because falling through to a shorter path would serve them from elsewhere.
    pub backends: Box<[WeightedBackend]>,
    /// What RoutePolicies say about it. One value is shared by all Routes about which none says anything.
    pub policy: Arc<Policy>,
    /// Which rule this is.
    pub origin: RouteOrigin,
}

/// A Backend and its share.
#[derive(Clone, Debug)]
pub struct WeightedBackend {
    /// Who serves.
    pub backend: Arc<Backend>,
    /// The share, relative to the sum over the Route; 0 takes no request.
    pub weight: u32,
}

/// The rule that a Route was compiled from.
#[derive(Clone, Debug)]
pub struct RouteOrigin {
    /// The object; one value per Ingress, shared by its Routes.
    pub ingress: Arc<IngressOrigin>,
    /// Where in the object.
    pub field: FieldPath,
}

/// A field of an object that names a Backend or a Secret, or stands for a Route. Prints as a field path. A number or
/// two instead of a text: a Route and the uses of its Backends hold three of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldPath {
    /// `spec.defaultBackend` of an Ingress.
    DefaultBackend,
    /// `spec.defaultBackend.service`.
    DefaultService,
    /// `spec.parameters` of an IngressClass.
    Parameters,
    /// `spec.rules[rule].http.paths[path]` of an Ingress.
    Path {
        /// Index of the rule.
        rule: u32,
        /// Index of the path in it.
        path: u32,
    },
    /// `spec.rules[rule].http.paths[path].backend.service`.
    Service {
        /// Index of the rule.
        rule: u32,
        /// Index of the path in it.
        path: u32,
    },
    /// `spec.tls[entry]`.
    Tls {
        /// Index of the entry.
        entry: u32,
    },
    /// `spec.tls[entry].hosts[host]`.
    TlsHost {
        /// Index of the entry.
        entry: u32,
        /// Index of the host in it.
        host: u32,
    },
    /// `spec.tls[entry].secretName`.
    TlsSecret {
        /// Index of the entry.
        entry: u32,
    },
}

impl FieldPath {
    /// The field below that names the Service, of fields that have one.
    #[must_use]
    pub fn service(self) -> Self {
        match self {
            Self::DefaultBackend => Self::DefaultService,
            Self::Path { rule, path } => Self::Service { rule, path },
            other => other,
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultBackend => f.write_str("spec.defaultBackend"),
            Self::DefaultService => f.write_str("spec.defaultBackend.service"),
            Self::Parameters => f.write_str("spec.parameters"),
            Self::Path { rule, path } => write!(f, "spec.rules[{rule}].http.paths[{path}]"),
            Self::Service { rule, path } => {
                write!(f, "spec.rules[{rule}].http.paths[{path}].backend.service")
            }
            Self::Tls { entry } => write!(f, "spec.tls[{entry}]"),
            Self::TlsHost { entry, host } => write!(f, "spec.tls[{entry}].hosts[{host}]"),
            Self::TlsSecret { entry } => write!(f, "spec.tls[{entry}].secretName"),
        }
    }
}

/// An Ingress as Routes refer to it; for the default backend of a class, its IngressClass.
#[derive(Debug)]
pub struct IngressOrigin {
    /// `Ingress` or `IngressClass`.
    pub kind: Kind,
    /// Namespace and name.
    pub name: Name,
    /// A number that stays the same while the Ingress exists. No other Ingress of the same Compiler ever has it.
    pub id: u64,
}

/// A Service port as Ingresses name it: one value per namespace, Service and port, shared by all Routes.
#[derive(Debug)]
pub struct Backend {
    /// A number that no other Backend of the same Compiler ever has.
    pub id: u64,
    /// The Service.
    pub service: Name,
    /// The port of the Service, as the rule names it.
    pub port: PortRef,
    /// The endpoint cell. The compiler stores into it when the Service or its slices change; requests load it.
    pub endpoints: ArcSwap<Endpoints>,
    /// `appProtocol` of the Service port, a cell too.
    pub app_protocol: ArcSwapOption<String>,
    /// What is to be resolved and dialled if the Service is of type ExternalName and its class allows that, a cell
    /// too. The compiler resolves no names; what [`crate::Compiler::resolved`] is told goes into `endpoints`.
    pub external_name: ArcSwapOption<ExternalName>,
}

/// A DNS name and port behind a Service of type ExternalName.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalName {
    /// The name, as the Service has it.
    pub host: Arc<str>,
    /// The number of the Service port: there is no other.
    pub port: NonZeroU16,
}

/// What there is to dial behind a Backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// No endpoint is ready.
    NoneReady,
    /// The Service has no such port.
    PortMissing,
    /// The ready endpoints: at least one, sorted by address, no address twice.
    Ready(Box<[Endpoint]>),
    /// There is no such Service.
    ServiceMissing,
}

impl Endpoints {
    /// The ready endpoints; none in every other state.
    pub fn ready(&self) -> &[Endpoint] {
        match self {
            Self::Ready(endpoints) => endpoints,
            Self::NoneReady | Self::PortMissing | Self::ServiceMissing => &[],
        }
    }
}
