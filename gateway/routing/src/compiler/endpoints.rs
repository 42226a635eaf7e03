//! From a Service and its EndpointSlices to what can be dialled for one port.
//!
//! A pure function of these objects. Not here: who keeps them (`backend`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::object::Endpoint;
use crate::object::EndpointSlice;
use crate::object::Name;
use crate::object::PortRef;
use crate::object::Service;
use crate::object::ServicePort;
use crate::table::Endpoints;

/// What a Backend's cells are to hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) endpoints: Endpoints,
    pub(super) app_protocol: Option<Arc<str>>,
}

/// Looks the port up in the Service, and its endpoints in the slices.
pub(super) fn resolve(
    service: Option<&Service>,
    slices: &BTreeMap<Name, EndpointSlice>,
    port: &PortRef,
) -> Resolved {
    let Some(service) = service else {
        return Resolved { endpoints: Endpoints::ServiceMissing, app_protocol: None };
    };
    let Some(port) = service.ports.iter().find(|candidate| is_port(candidate, port)) else {
        return Resolved { endpoints: Endpoints::PortMissing, app_protocol: None };
    };
    let mut endpoints = match &service.fixed_endpoints {
        Some(fixed) => fixed.clone(),
        None => slices.values().flat_map(|slice| ready(slice, port)).collect(),
    };
    // Slices may overlap while endpoints move between them; of two names for one address the first stays.
    endpoints.sort_unstable();
    endpoints.dedup_by(|later, earlier| later.address == earlier.address);
    let endpoints = match endpoints.is_empty() {
        true => Endpoints::NoneReady,
        false => Endpoints::Ready(endpoints.into()),
    };
    Resolved { endpoints, app_protocol: port.app_protocol.clone() }
}

fn is_port(candidate: &ServicePort, port: &PortRef) -> bool {
    match port {
        PortRef::Name(name) => candidate.name == *name,
        PortRef::Number(number) => candidate.port == *number,
    }
}

/// A slice's port carries the name of the Service port, not its number: the target number may differ per slice.
fn ready<'a>(slice: &'a EndpointSlice, port: &'a ServicePort) -> impl Iterator<Item = Endpoint> + 'a {
    let numbers =
        slice.ports.iter().filter(|candidate| candidate.name == port.name).filter_map(|port| port.port);
    numbers.flat_map(|number| {
        slice.endpoints.iter().filter(|endpoint| endpoint.ready && !endpoint.terminating).filter_map(
            move |endpoint| {
                // All addresses of an endpoint are the same Pod; the API asks consumers to use the first.
                let address = SocketAddr::new(*endpoint.addresses.first()?, number.get());
                Some(Endpoint { address, pod: endpoint.pod.clone() })
            },
        )
    })
}
