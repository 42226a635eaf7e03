//! From a Service and its EndpointSlices to what can be dialled for one port.
//!
//! A pure function of these objects. Not here: who keeps them (`backend`), and resolving names.

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

/// What a Backend's cells are to hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceResolution {
    pub(super) endpoints: Endpoints,
    pub(super) app_protocol: Option<Arc<str>>,
    pub(super) external_name: Option<ExternalName>,
}

impl ServiceResolution {
    fn without_name(endpoints: Endpoints) -> Self {
        Self { endpoints, app_protocol: None, external_name: None }
    }
}

/// Whether a Service is of the type that names a host instead of Pods.
pub(super) fn is_external(service: &Service) -> bool {
    *service.service_type == *"ExternalName"
}

/// Looks the port up in the Service, and its endpoints in the slices. `zone` is where this gateway runs.
pub(super) fn resolve(
    service: Option<&Service>,
    slices: &BTreeMap<Name, EndpointSlice>,
    (port, external_names): (&PortRef, ExternalNames),
    zone: Option<&str>,
) -> ServiceResolution {
    let Some(service) = service else { return ServiceResolution::without_name(Endpoints::ServiceMissing) };
    if is_external(service) {
        return resolve_external_name(service, port, external_names);
    }
    let Some(port) = service.ports.iter().find(|candidate| is_port(candidate, port)) else {
        return ServiceResolution::without_name(Endpoints::PortMissing);
    };
    let mut endpoints = match &service.fixed_endpoints {
        Some(fixed) => fixed.clone(),
        None => select_endpoints(slices, port, zone),
    };
    // Slices may overlap while endpoints move between them; of two names for one address the first stays.
    endpoints.sort_unstable();
    endpoints.dedup_by(|later, earlier| later.address == earlier.address);
    let endpoints = match endpoints.is_empty() {
        true => Endpoints::NoneReady,
        false => Endpoints::Ready(endpoints.into()),
    };
    ServiceResolution { endpoints, app_protocol: port.app_protocol.clone(), external_name: None }
}

/// Endpoints of such a Service are not looked at: whoever wrote them may have no right to write the Service.
fn resolve_external_name(
    service: &Service,
    port: &PortRef,
    external_names: ExternalNames,
) -> ServiceResolution {
    let known = service.ports.iter().find(|candidate| is_port(candidate, port));
    // Such Services need not list ports, and then a number stands for itself.
    let number = known.map(|known| known.port).or(match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(_) => None,
    });
    let Some(port) = number else { return ServiceResolution::without_name(Endpoints::PortMissing) };
    let host = service.external_name.clone().filter(|_| external_names == ExternalNames::Allow);
    ServiceResolution {
        endpoints: Endpoints::NoneReady,
        app_protocol: known.and_then(|known| known.app_protocol.clone()),
        external_name: host.map(|host| ExternalName { host, port }),
    }
}

fn is_port(candidate: &ServicePort, port: &PortRef) -> bool {
    match port {
        PortRef::Name(name) => candidate.name == *name,
        PortRef::Number(number) => candidate.port == *number,
    }
}

/// The ready endpoints; if there are none, those that still serve while they terminate. Never others.
fn select_endpoints(
    slices: &BTreeMap<Name, EndpointSlice>,
    port: &ServicePort,
    zone: Option<&str>,
) -> Vec<Endpoint> {
    let all = || slices.values().flat_map(|slice| port_endpoints(slice, port));
    let mut ready: Vec<_> =
        all().filter(|(candidate, _)| candidate.ready && !candidate.terminating).collect();
    if ready.is_empty() {
        // `ready` may be forced by publishNotReadyAddresses, so it counts as serving too.
        let serves = |candidate: &SliceEndpoint| candidate.serving || candidate.ready;
        let draining = all().filter(|(candidate, _)| candidate.terminating && serves(candidate));
        return draining.filter_map(endpoint).collect();
    }
    if let Some(zone) = zone {
        let is_near = |candidate: &SliceEndpoint| candidate.zones.iter().any(|near| **near == *zone);
        // Hints that are not there for all, or for nobody here, would leave some endpoints without their share.
        let all_hinted = ready.iter().all(|(candidate, _)| !candidate.zones.is_empty());
        if all_hinted && ready.iter().any(|(candidate, _)| is_near(candidate)) {
            ready.retain(|(candidate, _)| is_near(candidate));
        }
    }
    ready.into_iter().filter_map(endpoint).collect()
}

/// A slice's port carries the name of the Service port, not its number: the target number may differ per slice.
fn port_endpoints<'a>(
    slice: &'a EndpointSlice,
    port: &'a ServicePort,
) -> impl Iterator<Item = (&'a SliceEndpoint, NonZeroU16)> {
    let numbers =
        slice.ports.iter().filter(|candidate| candidate.name == port.name).filter_map(|port| port.port);
    numbers.flat_map(|number| slice.endpoints.iter().map(move |endpoint| (endpoint, number)))
}

/// All addresses of an endpoint are the same Pod; the API asks consumers to use the first.
fn endpoint((from, port): (&SliceEndpoint, NonZeroU16)) -> Option<Endpoint> {
    let address = SocketAddr::new(*from.addresses.first()?, port.get());
    Some(Endpoint { address, pod: from.pod.clone() })
}
