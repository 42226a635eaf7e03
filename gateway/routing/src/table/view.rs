//! The table as plain values, for people and for the admin's JSON. Everything is sorted; two equal tables look equal.
//!
//! Numbers such as `Backend::id` are left out: they tell one process's history, not what is served.

use serde::Serialize;

use super::RoutingTable;
use super::host::Host;
use super::route::Backend;
use super::route::Endpoints;
use super::route::Route;

/// A whole table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableView {
    /// The hosts, sorted by name.
    pub hosts: Vec<HostView>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostView {
    /// The host's name.
    pub host: String,
    /// The Secret of its certificate, as namespace/name.
    pub tls_secret: Option<String>,
    /// The Routes in match order.
    pub routes: Vec<RouteView>,
}

/// One Route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// The canonical path.
    pub path: String,
    /// `Exact` or `Prefix`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The Ingress it comes from, as namespace/name.
    pub ingress: String,
    /// Where in the Ingress.
    pub field: String,
    /// Who serves.
    pub backends: Vec<BackendView>,
}

/// One Backend of a Route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    /// The Service, as namespace/name.
    pub service: String,
    /// The Service port as the rule names it.
    pub port: String,
    /// The share of requests.
    pub weight: u32,
    /// `appProtocol` of the Service port.
    pub app_protocol: Option<String>,
    /// What there is to dial.
    pub state: EndpointState,
    /// The ready endpoints, sorted by address.
    pub endpoints: Vec<EndpointView>,
}

/// [`Endpoints`] without the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointState {
    /// No endpoint is ready.
    NoneReady,
    /// The Service has no such port.
    PortMissing,
    /// At least one endpoint is ready.
    Ready,
    /// There is no such Service.
    ServiceMissing,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointView {
    /// Address and port.
    pub address: String,
    /// The Pod behind it, if known.
    pub pod: Option<String>,
}

impl RoutingTable {
    /// The table as plain values, with the endpoints of this moment.
    pub fn view(&self) -> TableView {
        TableView { hosts: self.hosts().map(|host| host_view(host)).collect() }
    }
}

fn host_view(host: &Host) -> HostView {
    HostView {
        host: host.name().to_string(),
        tls_secret: host.tls().map(ToString::to_string),
        routes: host.routes().iter().map(|route| route_view(route)).collect(),
    }
}

fn route_view(route: &Route) -> RouteView {
    let backends = route.backends.iter().map(|entry| backend_view(&entry.backend, entry.weight));
    RouteView {
        path: route.path.path().to_owned(),
        kind: route.path.kind(),
        ingress: route.origin.ingress.name.to_string(),
        field: route.origin.field.clone(),
        backends: backends.collect(),
    }
}

fn backend_view(backend: &Backend, weight: u32) -> BackendView {
    let endpoints = backend.endpoints.load();
    let state = match &**endpoints {
        Endpoints::NoneReady => EndpointState::NoneReady,
        Endpoints::PortMissing => EndpointState::PortMissing,
        Endpoints::Ready(_) => EndpointState::Ready,
        Endpoints::ServiceMissing => EndpointState::ServiceMissing,
    };
    let endpoints = endpoints.ready().iter().map(|endpoint| EndpointView {
        address: endpoint.address.to_string(),
        pod: endpoint.pod.as_deref().map(ToOwned::to_owned),
    });
    BackendView {
        service: backend.service.to_string(),
        port: backend.port.to_string(),
        weight,
        app_protocol: backend.app_protocol.load().as_deref().cloned(),
        state,
        endpoints: endpoints.collect(),
    }
}
