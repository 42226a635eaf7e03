//! A Route: its condition, its Backends and its origin.
//!
//! Not here: choosing a Backend and an endpoint, and connecting (`gateway::data::upstream`).

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;

use super::conditions::Conditions;
use super::conditions::RequestParts;
use super::path_match::PathMatch;
use super::policy::Policy;
use crate::object::Endpoint;
use crate::object::Kind;
use crate::object::Name;
use crate::object::PortRef;

/// A condition, and the Backends of matching requests.
#[derive(Debug)]
pub struct Route {
    /// The condition on the path.
    pub path: PathMatch,
    /// The other conditions. Routes of Ingress rules have none.
    pub conditions: Option<Arc<Conditions>>,
    /// Weighted Backends. Empty if the rule has no valid backend. Its requests get a 503, because a shorter path would
    /// serve them from another Service.
    pub backends: Box<[WeightedBackend]>,
    /// Merged RoutePolicies. All Routes without one share a value.
    pub policy: Arc<Policy>,
    /// Whether an annotation of the Ingress that restricts access is not honoured. Requests get a 503.
    pub is_closed: bool,
    /// The rule.
    pub origin: RouteOrigin,
    /// The annotations from which a class handler made the condition or the Backends.
    pub annotations: Option<Box<Arc<str>>>,
}

impl Route {
    /// Returns true if a request with this canonical path meets all conditions. Lookup in a table must agree with this
    /// definition.
    pub fn matches(&self, path: &str, request: &dyn RequestParts) -> bool {
        self.path.matches(path) && self.is_met(request)
    }

    /// Returns true if a request meets the conditions beside the path.
    pub(super) fn is_met(&self, request: &dyn RequestParts) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| conditions.are_met(request))
    }

    /// Returns the key by which Routes of one host are sorted. Routes with equal keys conflict.
    pub(crate) fn match_key(&self) -> MatchKey {
        MatchKey { path: self.path.clone(), conditions: self.conditions.clone() }
    }
}

/// All conditions of a Route. The lesser value takes precedence: the path decides, then the other conditions, then none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MatchKey {
    path: PathMatch,
    conditions: Option<Arc<Conditions>>,
}

impl Ord for MatchKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.path.cmp(&other.path).then_with(|| match (&self.conditions, &other.conditions) {
            (Some(own), Some(others)) => own.cmp(others),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        })
    }
}

impl PartialOrd for MatchKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A Backend and its weight.
#[derive(Clone, Debug)]
pub struct WeightedBackend {
    /// The Backend.
    pub backend: Arc<Backend>,
    /// Share of requests, relative to the sum over the Route. 0 receives none.
    pub weight: u32,
}

/// The rule that a Route was compiled from.
#[derive(Clone, Debug)]
pub struct RouteOrigin {
    /// The object. All Routes of an Ingress share one value.
    pub ingress: Arc<IngressOrigin>,
    /// Field of the object.
    pub field: FieldPath,
}

/// A field that defines a Route, or refers to a Service or a Secret. Prints as a field path.
///
/// Holds at most two numbers instead of a text, because a Route and its references hold three of them.
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
    /// `spec.allowedUpstreams[entry]` of a WasmPlugin.
    Upstream {
        /// Index of the entry.
        entry: u32,
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
    /// Returns the field of the Service below this field, or this field if it has none.
    #[must_use]
    pub fn service(self) -> Self {
        match self {
            Self::DefaultBackend => Self::DefaultService,
            Self::Path { rule, path } => Self::Service { rule, path },
            Self::DefaultService
            | Self::Parameters
            | Self::Service { .. }
            | Self::Upstream { .. }
            | Self::Tls { .. }
            | Self::TlsHost { .. }
            | Self::TlsSecret { .. } => self,
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
            Self::Upstream { entry } => write!(f, "spec.allowedUpstreams[{entry}]"),
            Self::Tls { entry } => write!(f, "spec.tls[{entry}]"),
            Self::TlsHost { entry, host } => write!(f, "spec.tls[{entry}].hosts[{host}]"),
            Self::TlsSecret { entry } => write!(f, "spec.tls[{entry}].secretName"),
        }
    }
}

/// The object of a Route: an Ingress, or the IngressClass of a default backend. Also a WasmPlugin that refers to
/// Services.
#[derive(Debug)]
pub struct IngressOrigin {
    /// `Ingress`, `IngressClass` or `WasmPlugin`.
    pub kind: Kind,
    /// Namespace and name.
    pub name: Name,
    /// A number that does not change while the Ingress exists. The Compiler never reuses it.
    pub id: u64,
}

/// A Service port. All Routes share one value per namespace, Service and port, as the rules write the port.
#[derive(Debug)]
pub struct Backend {
    /// A number that the Compiler never reuses.
    pub id: u64,
    /// The Service.
    pub service: Name,
    /// The port of the Service, as in the rule.
    pub port: PortRef,
    /// Endpoint cell. The Compiler stores changes of the Service and its slices, and requests load it.
    pub endpoints: ArcSwap<Endpoints>,
    /// Cell of the Service port's `appProtocol`.
    pub app_protocol: ArcSwapOption<String>,
    /// Cell of the external name, if the Service has type ExternalName and its class allows it. Its addresses are in
    /// `endpoints`, by [`crate::Compiler::set_addresses`].
    pub external_name: ArcSwapOption<ExternalName>,
    /// [`Backend::pool_id`].
    pub shared_id: SharedId,
}

/// The number that Backends of one Service port share.
#[derive(Debug)]
pub struct SharedId(AtomicU64);

impl SharedId {
    /// Creates the number of a Backend that shares nothing yet.
    pub fn new(id: u64) -> Self {
        Self(AtomicU64::new(id))
    }

    pub(crate) fn set(&self, id: u64) {
        self.0.store(id, Relaxed);
    }
}

impl Backend {
    /// Returns the number under which requests find connections, limits and the health of endpoints. Backends whose rules
    /// name one Service port differently, by its name and its number, have the same.
    pub fn pool_id(&self) -> u64 {
        self.shared_id.0.load(Relaxed)
    }
}

/// The DNS name and port of a Service of type ExternalName.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalName {
    /// DNS name, as in the Service.
    pub host: Arc<str>,
    /// Number of the Service port.
    pub port: NonZeroU16,
}

/// The endpoints of a Backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// No endpoint is ready.
    NoneReady,
    /// The Service has no such port.
    PortMissing,
    /// The `appProtocol` of the port is not supported.
    ProtocolUnsupported,
    /// At least one endpoint is ready.
    Ready(ReadyEndpoints),
    /// The Service does not exist.
    ServiceMissing,
    /// The Service has the port, but none of its EndpointSlices has a port of that name.
    SlicePortMissing,
}

/// Ready endpoints, sorted by address and without duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyEndpoints {
    preferred: Box<[Endpoint]>,
    fallback: Box<[Endpoint]>,
}

impl ReadyEndpoints {
    /// Creates the endpoints of a Service. `fallback` are those whose hints name other zones.
    pub fn new(preferred: Vec<Endpoint>, fallback: Vec<Endpoint>) -> Self {
        Self { preferred: preferred.into(), fallback: fallback.into() }
    }
}

impl Endpoints {
    /// Returns the ready endpoints that get requests. Empty in every other state.
    pub fn ready(&self) -> &[Endpoint] {
        match self {
            Self::Ready(endpoints) => &endpoints.preferred,
            _ => &[],
        }
    }

    /// Returns the ready endpoints that get requests only while all of [`Endpoints::ready`] are ejected.
    pub fn fallback(&self) -> &[Endpoint] {
        match self {
            Self::Ready(endpoints) => &endpoints.fallback,
            _ => &[],
        }
    }
}
