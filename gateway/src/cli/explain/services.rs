//! The Services of a Route, and the Service that exposes the gateway, by their objects.
//!
//! Not here: the choice of endpoints, which is in the table.

use std::net::IpAddr;
use std::net::SocketAddr;

use routing::Compiler;
use routing::object::{EndpointSlice, Name, Service, SliceEndpoint};
use routing::table::BackendView;

use super::view::{EndpointView, ExposureView, PortView, ServiceView, SliceView};

/// Returns the Services of a Route's Backends, in the same order.
pub(super) fn service_views(backends: &[BackendView], compiler: &Compiler) -> Vec<ServiceView> {
    backends.iter().map(|backend| service_view(backend, compiler)).collect()
}

fn service_view(backend: &BackendView, compiler: &Compiler) -> ServiceView {
    let (namespace, name) = backend.service.split_once('/').unwrap_or_default();
    let name = Name::new(namespace, name);
    let service = compiler.service(&name);
    let ready_endpoints: Vec<_> = backend.endpoints.iter().map(|endpoint| endpoint.address.clone()).collect();
    let used_addresses: Vec<_> = ready_endpoints
        .iter()
        .filter_map(|address| address.parse::<SocketAddr>().ok())
        .map(|address| address.ip())
        .collect();
    let fixed_endpoints = service.and_then(|service| service.fixed_endpoints.as_ref());
    ServiceView {
        service: backend.service.clone(),
        port: backend.port.clone(),
        kind: service.map(|service| service.service_type.to_string()),
        ports: service.map(ports).unwrap_or_default(),
        slices: compiler.slices_of(&name).map(|slice| slice_view(slice, &used_addresses)).collect(),
        fixed_endpoints: fixed_endpoints
            .map(|fixed| fixed.iter().map(|endpoint| endpoint.address.to_string()).collect()),
        external_name: backend.external_name.clone(),
        ready_endpoints,
    }
}

fn ports(service: &Service) -> Vec<PortView> {
    let port_view = |port: &routing::object::ServicePort| PortView {
        name: port.name.to_string(),
        port: Some(port.port.get()),
        node_port: port.node_port.map(std::num::NonZero::get),
    };
    service.ports.iter().map(port_view).collect()
}

fn slice_view(slice: &EndpointSlice, used_addresses: &[IpAddr]) -> SliceView {
    let port = |port: &routing::object::SlicePort| PortView {
        name: port.name.to_string(),
        port: port.port.map(std::num::NonZero::get),
        node_port: None,
    };
    SliceView {
        slice: slice.name.to_string(),
        ports: slice.ports.iter().map(port).collect(),
        endpoints: slice.endpoints.iter().map(|endpoint| endpoint_view(endpoint, used_addresses)).collect(),
    }
}

fn endpoint_view(endpoint: &SliceEndpoint, used_addresses: &[IpAddr]) -> EndpointView {
    let address = endpoint.addresses.first();
    EndpointView {
        address: address.map(ToString::to_string),
        ready: endpoint.ready,
        serving: endpoint.serving,
        terminating: endpoint.terminating,
        zones: endpoint.zones.iter().map(ToString::to_string).collect(),
        pod: endpoint.pod.as_ref().map(ToString::to_string),
        used: address.is_some_and(|address| used_addresses.contains(address)),
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
