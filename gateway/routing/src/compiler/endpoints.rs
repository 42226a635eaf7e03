//! Resolves a Service port to endpoints.
//!
//! A pure function of the Service and its EndpointSlices. Not here: storage of these objects (`backend_registry`),
//! and DNS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use api::ExternalNames;

use crate::object::Endpoint;
use crate::object::EndpointSlice;
use crate::object::Name;
use crate::object::PortRef;
use crate::object::Service;
use crate::object::ServicePort;
use crate::object::SliceEndpoint;
use crate::table::Endpoints;
use crate::table::ExternalName;
use crate::table::ReadyEndpoints;

/// Everything beside the Service that decides the contents of a Backend's cells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortKey {
    pub(super) port: PortRef,
    pub(super) external_names: ExternalNames,
    pub(super) user: PortUser,
}

/// What uses a Service port. They speak different protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PortUser {
    /// A plugin speaks HTTP/1.1, or gRPC over plaintext HTTP/2.
    Plugin,
    /// A rule or a default backend: HTTP/1.1.
    Rule,
}

/// What a Service port says about its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Plaintext HTTP/1.1, or nothing.
    Http1,
    /// Nothing, but its name or number is that of TLS.
    LooksEncrypted,
    /// An `appProtocol` that this gateway does not know.
    Unknown,
    /// An `appProtocol` that this gateway does not speak.
    Unsupported,
}

/// Values of `appProtocol` for plaintext HTTP/1.1 and WebSockets over it.
const HTTP1: &[&str] = &["http", "http/1.1", "http1", "kubernetes.io/ws", "ws", "grpc-web"];

/// Values of `appProtocol` for TLS, or for HTTP/2 alone.
const NOT_SPOKEN: &[&str] = &[
    "grpc",
    "grpcs",
    "h2",
    "h2c",
    "http/2",
    "http2",
    "https",
    "kubernetes.io/h2c",
    "kubernetes.io/https",
    "kubernetes.io/wss",
    "ssl",
    "tls",
    "wss",
];

impl Protocol {
    pub(super) fn of(port: &ServicePort) -> Self {
        let Some(named) = port.app_protocol.as_deref() else {
            let looks_encrypted = *port.name == *"https" || port.name.starts_with("https-");
            return if looks_encrypted || port.port.get() == 443 {
                Self::LooksEncrypted
            } else {
                Self::Http1
            };
        };
        let is_one_of = |list: &[&str]| list.iter().any(|known| known.eq_ignore_ascii_case(named));
        match (is_one_of(HTTP1), is_one_of(NOT_SPOKEN)) {
            (true, _) => Self::Http1,
            (false, true) => Self::Unsupported,
            (false, false) => Self::Unknown,
        }
    }
}

/// The contents of a Backend's cells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceResolution {
    pub(super) endpoints: Endpoints,
    pub(super) app_protocol: Option<Arc<str>>,
    pub(super) external_name: Option<ExternalName>,
    /// The number of the Service port; `None` without one, and for external names.
    pub(super) port: Option<NonZeroU16>,
}

impl ServiceResolution {
    fn missing(endpoints: Endpoints) -> Self {
        Self { endpoints, app_protocol: None, external_name: None, port: None }
    }

    fn unsupported(port: &ServicePort) -> Self {
        Self { app_protocol: port.app_protocol.clone(), ..Self::missing(Endpoints::ProtocolUnsupported) }
    }
}

/// Returns true if a Service has the type that names a host instead of Pods.
pub(super) fn is_external(service: &Service) -> bool {
    *service.service_type == *"ExternalName"
}

/// Resolves a port of a Service. `zone` is the gateway's own.
pub(super) fn resolve(
    service: Option<&Service>,
    slices: &BTreeMap<Name, EndpointSlice>,
    key: &PortKey,
    zone: Option<&str>,
) -> ServiceResolution {
    let Some(service) = service else { return ServiceResolution::missing(Endpoints::ServiceMissing) };
    if is_external(service) {
        return resolve_external_name(service, key);
    }
    let Some(port) = find_port(service, &key.port) else {
        return ServiceResolution::missing(Endpoints::PortMissing);
    };
    if is_unsupported(port, key) {
        return ServiceResolution::unsupported(port);
    }
    let mut selected = match &service.fixed_endpoints {
        Some(fixed) => SelectedEndpoints { preferred: fixed.clone(), fallback: Vec::new() },
        None => select_endpoints(slices, port, zone),
    };
    sort_by_address(&mut selected.preferred);
    sort_by_address(&mut selected.fallback);
    let endpoints = match selected.preferred.is_empty() {
        true if service.fixed_endpoints.is_none() && lacks_port(slices, port) => Endpoints::SlicePortMissing,
        true => Endpoints::NoneReady,
        false => Endpoints::Ready(ReadyEndpoints::new(selected.preferred, selected.fallback)),
    };
    let app_protocol = port.app_protocol.clone();
    ServiceResolution { endpoints, app_protocol, external_name: None, port: Some(port.port) }
}

/// Sorts endpoints and removes duplicates. Slices may overlap while endpoints move between them. Of several Pods with
/// one address the first stays.
fn sort_by_address(endpoints: &mut Vec<Endpoint>) {
    endpoints.sort_unstable();
    endpoints.dedup_by(|later, earlier| later.address == earlier.address);
}

/// Returns true if the slices have ready endpoints, and none of the slices has a port of the Service port's name.
fn lacks_port(slices: &BTreeMap<Name, EndpointSlice>, port: &ServicePort) -> bool {
    let has_name = |slice: &EndpointSlice| slice.ports.iter().any(|candidate| candidate.name == port.name);
    let has_ready = |slice: &EndpointSlice| slice.endpoints.iter().any(|endpoint| endpoint.ready);
    slices.values().any(has_ready) && !slices.values().any(has_name)
}

/// Resolves a Service of type ExternalName. Its EndpointSlices are ignored, because the right to write them does not
/// imply the right to write the Service.
fn resolve_external_name(service: &Service, key: &PortKey) -> ServiceResolution {
    let known = find_port(service, &key.port);
    if let Some(port) = known.filter(|port| is_unsupported(port, key)) {
        return ServiceResolution::unsupported(port);
    }
    // Such Services need not list ports. Then the number in the Ingress is the port to connect to.
    let number = known.map(|known| known.port).or(match key.port {
        PortRef::Number(number) => Some(number),
        PortRef::Name(_) => None,
    });
    let Some(port) = number else { return ServiceResolution::missing(Endpoints::PortMissing) };
    let host = service.external_name.clone().filter(|_| key.external_names == ExternalNames::Allow);
    ServiceResolution {
        endpoints: Endpoints::NoneReady,
        app_protocol: known.and_then(|known| known.app_protocol.clone()),
        external_name: host.map(|host| ExternalName { host, port }),
        port: None,
    }
}

/// Returns the port of a Service by its name or number.
pub(super) fn find_port<'a>(service: &'a Service, port: &PortRef) -> Option<&'a ServicePort> {
    service.ports.iter().find(|candidate| matches_port(candidate, port))
}

fn is_unsupported(port: &ServicePort, key: &PortKey) -> bool {
    key.user == PortUser::Rule && Protocol::of(port) == Protocol::Unsupported
}

fn matches_port(candidate: &ServicePort, port: &PortRef) -> bool {
    match port {
        PortRef::Name(name) => candidate.name == *name,
        PortRef::Number(number) => candidate.port == *number,
    }
}

/// An endpoint of a slice, with the number of the port to connect to.
#[derive(Clone, Copy)]
struct PortEndpoint<'a> {
    endpoint: &'a SliceEndpoint,
    port: NonZeroU16,
}

impl PortEndpoint<'_> {
    fn is_ready(self) -> bool {
        self.endpoint.ready && !self.endpoint.terminating
    }

    /// Returns true if the endpoint terminates and still serves. A Service with publishNotReadyAddresses reports its
    /// endpoints as `ready` instead of `serving`.
    fn is_draining(self) -> bool {
        self.endpoint.terminating && (self.endpoint.serving || self.endpoint.ready)
    }

    fn has_hint_for(self, zone: &str) -> bool {
        self.endpoint.zones.iter().any(|hint| **hint == *zone)
    }

    /// Returns the first address: the API defines all addresses of an endpoint as one Pod, and the first as the one
    /// to use.
    fn to_endpoint(self) -> Option<Endpoint> {
        let address = SocketAddr::new(*self.endpoint.addresses.first()?, self.port.get());
        Some(Endpoint { address, pod: self.endpoint.pod.clone() })
    }
}

/// The endpoints of a Service port.
struct SelectedEndpoints {
    /// Those that get requests.
    preferred: Vec<Endpoint>,
    /// Ready ones whose hints name other zones.
    fallback: Vec<Endpoint>,
}

/// Returns the ready endpoints. If there are none, returns the terminating ones that still serve.
fn select_endpoints(
    slices: &BTreeMap<Name, EndpointSlice>,
    port: &ServicePort,
    zone: Option<&str>,
) -> SelectedEndpoints {
    let all = || slices.values().flat_map(|slice| port_endpoints(slice, port));
    let mut ready: Vec<_> = all().filter(|candidate| candidate.is_ready()).collect();
    if ready.is_empty() {
        let draining = all().filter(|candidate| candidate.is_draining());
        let preferred = draining.filter_map(PortEndpoint::to_endpoint).collect();
        return SelectedEndpoints { preferred, fallback: Vec::new() };
    }
    let mut fallback = Vec::new();
    if let Some(zone) = zone {
        // Without a hint on every endpoint, or without one for this zone, some endpoints would get no requests.
        let all_hinted = ready.iter().all(|candidate| !candidate.endpoint.zones.is_empty());
        if all_hinted && ready.iter().any(|candidate| candidate.has_hint_for(zone)) {
            fallback = ready.extract_if(.., |candidate| !candidate.has_hint_for(zone)).collect();
        }
    }
    let endpoints = |selected: Vec<PortEndpoint<'_>>| {
        selected.into_iter().filter_map(PortEndpoint::to_endpoint).collect()
    };
    SelectedEndpoints { preferred: endpoints(ready), fallback: endpoints(fallback) }
}

/// Returns the endpoints of a slice for a Service port. The names of the ports match, not their numbers, because the
/// target number may differ per slice.
fn port_endpoints<'a>(
    slice: &'a EndpointSlice,
    port: &'a ServicePort,
) -> impl Iterator<Item = PortEndpoint<'a>> {
    let numbers =
        slice.ports.iter().filter(|candidate| candidate.name == port.name).filter_map(|port| port.port);
    numbers.flat_map(|port| slice.endpoints.iter().map(move |endpoint| PortEndpoint { endpoint, port }))
}
