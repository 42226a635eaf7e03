//! The Services of a Route, and the Service that exposes the gateway, by their objects.
//!
//! Not here: the choice of endpoints, which is in the table.

use std::net::IpAddr;
use std::net::SocketAddr;

use routing::Compiler;
use routing::object::{EndpointSlice, Name, Service, ServicePort, SliceEndpoint, SlicePort};
use routing::table::BackendView;

use super::view::{EjectedView, EndpointView, ExposureView, PortView, ServiceView, SliceView};
use crate::cli::ejections;
use crate::data::upstream::ejection::EjectedEndpoint;

/// Returns the Services of a Route's Backends, in the same order.
pub(super) fn service_views(
    backends: &[BackendView],
    compiler: &Compiler,
    ejected: &[EjectedEndpoint],
) -> Vec<ServiceView> {
    backends.iter().map(|backend| service_view(backend, compiler, ejected)).collect()
}

fn service_view(backend: &BackendView, compiler: &Compiler, ejected: &[EjectedEndpoint]) -> ServiceView {
    let (namespace, name) = backend.service.split_once('/').unwrap_or_default();
    let name = Name::new(namespace, name);
    let service = compiler.service(&name);
    let EndpointUse { used, ejected } = endpoint_use(backend, ejected);
    let port = service.and_then(|service| service.ports.iter().find(|port| is_named(port, &backend.port)));
    let slice_context = SliceContext { port, has_ready: !backend.endpoints.is_empty(), used: &used };
    let slices = compiler.slices_of(&name).map(|slice| slice_view(slice, slice_context));
    let fixed_endpoints = service.and_then(|service| service.fixed_endpoints.as_ref());
    ServiceView {
        service: backend.service.clone(),
        port: backend.port.clone(),
        kind: service.map(|service| service.service_type.to_string()),
        ports: service.map(ports).unwrap_or_default(),
        slices: slices.collect(),
        fixed_endpoints: fixed_endpoints
            .map(|fixed| fixed.iter().map(|endpoint| endpoint.address.to_string()).collect()),
        external_name: backend.external_name.clone(),
        ready_endpoints: used,
        ejected_endpoints: ejected,
    }
}

/// Returns true if a rule's port, a name or a number, is this port.
fn is_named(port: &ServicePort, name: &str) -> bool {
    *port.name == *name || port.port.to_string() == name
}

/// Which ready endpoints of a Backend get requests.
struct EndpointUse {
    used: Vec<String>,
    ejected: Vec<EjectedView>,
}

/// Leaves out ejected endpoints, and those for other zones while one for this zone is left. If all are ejected, all are
/// used.
fn endpoint_use(backend: &BackendView, ejected: &[EjectedEndpoint]) -> EndpointUse {
    let find = |address: &str| ejections::find(ejected, &backend.service, address);
    let addresses = |select: &dyn Fn(&routing::table::EndpointView) -> bool| -> Vec<String> {
        let selected = backend.endpoints.iter().filter(|endpoint| select(endpoint));
        selected.map(|endpoint| endpoint.address.clone()).collect()
    };
    let is_healthy = |address: &str| find(address).is_none();
    let candidates = [
        addresses(&|endpoint| !endpoint.is_fallback && is_healthy(&endpoint.address)),
        addresses(&|endpoint| is_healthy(&endpoint.address)),
        addresses(&|_| true),
    ];
    let used = candidates.into_iter().find(|used| !used.is_empty()).unwrap_or_default();
    let view = |address: &String| {
        Some(EjectedView { address: address.clone(), reason: ejections::describe(find(address)?) })
    };
    let ejected = backend.endpoints.iter().filter_map(|endpoint| view(&endpoint.address)).collect();
    EndpointUse { used, ejected }
}

fn ports(service: &Service) -> Vec<PortView> {
    let port_view = |port: &ServicePort| PortView {
        name: port.name.to_string(),
        port: Some(port.port.get()),
        node_port: port.node_port.map(std::num::NonZero::get),
    };
    service.ports.iter().map(port_view).collect()
}

/// What decides whether an endpoint of a slice is used.
#[derive(Clone, Copy)]
struct SliceContext<'a> {
    /// The Service port; `None` if the Service lacks it.
    port: Option<&'a ServicePort>,
    /// Whether the Service port has endpoints.
    has_ready: bool,
    /// The endpoints that get requests.
    used: &'a [String],
}

fn slice_view(slice: &EndpointSlice, context: SliceContext<'_>) -> SliceView {
    let port = |port: &SlicePort| PortView {
        name: port.name.to_string(),
        port: port.port.map(std::num::NonZero::get),
        node_port: None,
    };
    SliceView {
        slice: slice.name.to_string(),
        ports: slice.ports.iter().map(port).collect(),
        endpoints: slice.endpoints.iter().map(|endpoint| endpoint_view(slice, endpoint, context)).collect(),
    }
}

fn endpoint_view(slice: &EndpointSlice, endpoint: &SliceEndpoint, context: SliceContext<'_>) -> EndpointView {
    let address = endpoint.addresses.first();
    let numbers = || {
        let ports =
            slice.ports.iter().filter(|port| context.port.is_some_and(|wanted| wanted.name == port.name));
        ports.filter_map(|port| port.port)
    };
    let is_used = address.is_some_and(|address| {
        numbers().any(|port| context.used.contains(&SocketAddr::new(*address, port.get()).to_string()))
    });
    EndpointView {
        address: address.map(ToString::to_string),
        ready: endpoint.ready,
        serving: endpoint.serving,
        terminating: endpoint.terminating,
        zones: endpoint.zones.iter().map(ToString::to_string).collect(),
        pod: endpoint.pod.as_ref().map(ToString::to_string),
        used: is_used,
        unused_because: (!is_used).then(|| unused_reason(endpoint, context, numbers().next().is_some())),
    }
}

/// Returns why an endpoint gets no requests. `has_port` is whether its slice has the Service port.
fn unused_reason(endpoint: &SliceEndpoint, context: SliceContext<'_>, has_port: bool) -> &'static str {
    match (endpoint.ready, endpoint.terminating) {
        _ if endpoint.addresses.is_empty() => "it has no valid address",
        _ if context.port.is_none() => "the Service has no such port",
        _ if !has_port => "its slice has no port of the Service port's name",
        (_, true) if context.has_ready => "it terminates, and others are ready",
        (_, true) => "it terminates, and no longer serves",
        (false, false) => "it is not ready",
        (true, false) if endpoint.zones.is_empty() => "it is ejected",
        (true, false) => "it is ejected, or its hints name other zones",
    }
}

/// Returns the Service that exposes the gateway.
pub(super) fn exposure_view(name: Option<&Name>, compiler: &Compiler) -> ExposureView {
    let service = name.and_then(|name| compiler.service(name));
    let exposure = service.and_then(|service| service.external_addresses.as_deref());
    let texts = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect();
    let balancer = exposure.map(|exposure| exposure.load_balancer.as_slice()).unwrap_or_default();
    ExposureView {
        service: name.map(ToString::to_string),
        kind: service.map(|service| service.service_type.to_string()),
        load_balancer: balancer.iter().map(ToString::to_string).collect(),
        external_ips: exposure.map(|exposure| texts(&exposure.external_ips)).unwrap_or_default(),
        cluster_ips: service.map(|service| texts(&service.cluster_ips)).unwrap_or_default(),
        ports: service.map(ports).unwrap_or_default(),
    }
}
