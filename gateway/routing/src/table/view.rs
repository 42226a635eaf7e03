//! The table as plain values, for people and for the admin's JSON. Everything is sorted; two equal tables look equal.
//!
//! Numbers such as `Backend::id` are left out: they tell one process's history, not what is served.

use std::sync::Arc;

use serde::Serialize;

use super::host::Host;
use super::host::HostRole;
use super::ownership::Owner;
use super::ownership::OwnerSet;
use super::policy::Policy;
use super::policy::PolicyOrigin;
use super::route::Backend;
use super::route::Endpoints;
use super::route::Route;
use super::routing_table::RoutingTable;

/// A whole table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableView {
    /// The hosts: exact ones by name, then wildcards by name, then the rules without a host. Behind a wildcard, and
    /// behind the rules without a host, what serves owned hosts in their place.
    pub hosts: Vec<HostView>,
    /// Who serves what no rule takes.
    pub defaults: DefaultsView,
    /// Who does so in place of the first two for owned hosts.
    pub owner_defaults: Vec<OwnerDefaultsView>,
    /// The owned hosts: exact ones by name, then wildcards by name.
    pub owners: Vec<OwnerView>,
}

/// A host that belongs to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnerView {
    /// The host, or the wildcard for all names below it, however deep.
    pub host: String,
    /// To whom it belongs.
    pub namespaces: Vec<String>,
    /// The IngressClassConfig that says so.
    pub config: String,
}

/// The default backends as plain values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultsView {
    /// By the oldest Ingress without rules.
    pub without_rules: Option<RouteView>,
    /// By the oldest Ingress with rules.
    pub with_rules: Option<RouteView>,
    /// By the oldest class whose parameters have one.
    pub class: Option<RouteView>,
    /// The Secret for hosts without one, as namespace/name.
    pub tls_secret: Option<String>,
}

/// The default backends of those who own a host together, as plain values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerDefaultsView {
    /// To whom such hosts belong.
    pub namespaces: Vec<String>,
    /// By their oldest Ingress without rules.
    pub without_rules: Option<RouteView>,
    /// By their oldest Ingress with rules.
    pub with_rules: Option<RouteView>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostView {
    /// The host's name.
    pub host: String,
    /// For hosts of these namespaces only; empty: for all that is nobody's.
    pub for_owners: Vec<String>,
    /// The Secret that an Ingress names for its certificate, as namespace/name.
    pub tls_secret: Option<String>,
    /// The Secret of its class's default certificate, as namespace/name.
    pub class_tls_secret: Option<String>,
    /// Whether a rule names the host; if not, it is there for its certificate alone.
    pub named: bool,
    /// The Routes in match order.
    pub routes: Vec<RouteView>,
    /// By the oldest Ingress naming this host that has a default backend.
    pub default: Option<RouteView>,
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
    /// The object it comes from: an Ingress as namespace/name, or for a class's default backend an IngressClass.
    pub ingress: String,
    /// Where in the Ingress.
    pub field: String,
    /// Who serves.
    pub backends: Vec<BackendView>,
    /// What RoutePolicies say about it.
    pub policy: Vec<PolicyView>,
}

/// One field of a Route's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// The field, as a RoutePolicy calls it: `bodySize`, `timeouts.connect`.
    pub field: &'static str,
    /// Its value; for `backends` they stand in the Route itself.
    pub value: String,
    /// The RoutePolicy, as namespace/name.
    pub policy: String,
    /// Where in the policy the value stands.
    pub source: &'static str,
    /// Where in the policy this Route is named.
    pub target: String,
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
    /// What an allowed Service of type ExternalName names, as host:port.
    pub external_name: Option<String>,
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
        let defaults = self.defaults();
        let view = |route: &Option<Arc<Route>>| route.as_deref().map(default_view);
        let hosts = self.hosts().flat_map(|host| {
            let for_owners = host.for_owners().map(|(owners, host)| host_view(host, texts(owners)));
            std::iter::once(host_view(host, Vec::new())).chain(for_owners)
        });
        let owner_defaults = defaults.for_owners.iter().map(|(owners, its)| OwnerDefaultsView {
            namespaces: texts(owners),
            without_rules: view(&its.without_rules),
            with_rules: view(&its.with_rules),
        });
        let has_any = |its: &OwnerDefaultsView| its.without_rules.is_some() || its.with_rules.is_some();
        TableView {
            hosts: hosts.collect(),
            owner_defaults: owner_defaults.filter(has_any).collect(),
            defaults: DefaultsView {
                without_rules: view(&defaults.without_rules),
                with_rules: view(&defaults.with_rules),
                class: view(&defaults.class),
                tls_secret: defaults.certificate.as_ref().map(ToString::to_string),
            },
            owners: self.ownership().iter().map(owner_view).collect(),
        }
    }
}

pub(super) fn owner_view(owner: &Owner) -> OwnerView {
    OwnerView {
        host: owner.host().to_string(),
        namespaces: owner.namespaces().map(ToOwned::to_owned).collect(),
        config: owner.config().to_owned(),
    }
}

fn texts(owners: &OwnerSet) -> Vec<String> {
    owners.iter().map(ToString::to_string).collect()
}

fn host_view(host: &Host, for_owners: Vec<String>) -> HostView {
    HostView {
        host: host.name().to_string(),
        for_owners,
        tls_secret: host.tls().map(ToString::to_string),
        class_tls_secret: host.class_certificate().map(ToString::to_string),
        named: host.role() == HostRole::Routed,
        routes: host.routes().iter().map(|route| route_view(route)).collect(),
        default: host.default_route().map(|route| default_view(route)),
    }
}

/// The Route of a default backend takes every path.
pub(super) fn default_view(route: &Route) -> RouteView {
    RouteView { kind: "Default", ..route_view(route) }
}

pub(super) fn route_view(route: &Route) -> RouteView {
    let backends = route.backends.iter().map(|entry| backend_view(&entry.backend, entry.weight));
    RouteView {
        path: route.path.path().to_owned(),
        kind: route.path.kind(),
        ingress: route.origin.ingress.name.to_string(),
        field: route.origin.field.to_string(),
        backends: backends.collect(),
        policy: policy_view(&route.policy),
    }
}

fn policy_view(policy: &Policy) -> Vec<PolicyView> {
    let view = |(value, origin): (String, &PolicyOrigin)| PolicyView {
        field: origin.field.strip_prefix("spec.").unwrap_or(origin.field),
        value,
        policy: origin.policy.to_string(),
        source: origin.field,
        target: origin.target.clone(),
    };
    policy.fields().into_iter().map(view).collect()
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
        external_name: backend
            .external_name
            .load()
            .as_ref()
            .map(|name| format!("{}:{}", name.host, name.port)),
    }
}
