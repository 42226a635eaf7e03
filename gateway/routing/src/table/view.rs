//! The table as plain, sorted values, for printing and for the JSON of the admin pages.
//!
//! Equal tables have equal views. Numbers such as `Backend::id` are left out, because they depend on the history of the
//! process.

use std::sync::Arc;

use serde::Serialize;

use super::host::Host;
use super::host::HostRole;
use super::ownership::Owner;
use super::ownership::OwnerSet;
use super::plugin::PluginUse;
use super::policy::Policy;
use super::policy::SetField;
use super::route::Backend;
use super::route::Endpoints;
use super::route::Route;
use super::routing_table::RoutingTable;
use crate::object::Endpoint;

/// A whole table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableView {
    /// Exact hosts by name, then wildcards by name, then the rules without a host. A wildcard and the rules without a host
    /// are followed by their replacements for owned hosts.
    pub hosts: Vec<HostView>,
    /// Default backends of requests that match no rule.
    pub defaults: DefaultsView,
    /// Replacements of the first two for owned hosts.
    pub owner_defaults: Vec<OwnerDefaultsView>,
    /// Owned hosts: exact ones by name, then wildcards by name.
    pub owners: Vec<OwnerView>,
}

/// An owned host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnerView {
    /// The host, or a wildcard for all names below it at any depth.
    pub host: String,
    /// Namespaces that own the host.
    pub namespaces: Vec<String>,
    /// Name of the IngressClassConfig that has the entry.
    pub config: String,
}

/// Default backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultsView {
    /// Default backend of the oldest Ingress without rules.
    pub without_rules: Option<RouteView>,
    /// Default backend of the oldest Ingress with rules.
    pub with_rules: Option<RouteView>,
    /// Default backend of the oldest class whose parameters have one.
    pub class: Option<RouteView>,
    /// Secret of the default certificate, as namespace/name.
    pub tls_secret: Option<String>,
}

/// Default backends of the owners of a host, or of a namespace whose rules name one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerDefaultsView {
    /// Namespaces that own or name the hosts.
    pub namespaces: Vec<String>,
    /// Default backend of their oldest Ingress without rules.
    pub without_rules: Option<RouteView>,
    /// Default backend of their oldest Ingress with rules.
    pub with_rules: Option<RouteView>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostView {
    /// Name of the host.
    pub host: String,
    /// Owners whose hosts this entry serves. Empty: hosts without owners.
    pub for_owners: Vec<String>,
    /// Secret that an Ingress names for the host, as namespace/name.
    pub tls_secret: Option<String>,
    /// Secret of the class's default certificate, as namespace/name.
    pub class_tls_secret: Option<String>,
    /// Whether a rule names the host. If not, the entry is only for its certificate.
    pub named: bool,
    /// Routes in match order.
    pub routes: Vec<RouteView>,
    /// Default backend of the oldest Ingress that names the host and has one.
    pub default: Option<RouteView>,
}

/// One Route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// Canonical path, or regular expression.
    pub path: String,
    /// Other conditions, such as `method GET, header x-canary = always`. Routes of Ingress rules have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<String>,
    /// `Exact`, `Prefix`, `RegularExpression`, or `Default` for a default backend.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The Ingress as namespace/name, or the IngressClass of a class's default backend.
    pub ingress: String,
    /// Field path in the object.
    pub field: String,
    /// The annotations from which a class handler made the condition or the backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<String>,
    /// Weighted backends.
    pub backends: Vec<BackendView>,
    /// Fields that RoutePolicies set.
    pub policy: Vec<PolicyView>,
    /// Plugins in the order of requests.
    pub plugins: Vec<PluginView>,
    /// Whether requests get a 503, because an annotation that restricts access is not honoured.
    pub closed: bool,
    /// A plugin that applies to the Route, but does not exist or has no valid spec, as namespace/name. Requests get a
    /// 503.
    pub missing_plugin: Option<String>,
}

/// A plugin on a Route. Its configuration is not shown: it may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginView {
    /// The WasmPlugin, as namespace/name.
    pub plugin: String,
    /// Its phase, as in the YAML.
    pub phase: &'static str,
    /// The object that gives the configuration: `WasmPlugin shop/key`.
    pub config_object: String,
    /// Field path of the configuration in the object: `spec.matchRules[0].config`.
    pub config_field: String,
}

/// A field that a RoutePolicy sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// Name of the field: `bodySize`, `timeouts.connect`.
    pub field: &'static str,
    /// Value of the field. That of `backends` is in the Route itself.
    pub value: String,
    /// The RoutePolicy, as namespace/name.
    pub policy: String,
    /// Field path of the value in the policy.
    pub source: &'static str,
    /// Field path of the target in the policy.
    pub target: String,
    /// The annotations from which a class handler made the policy, which is no object then. Empty if it named none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<String>,
}

/// One Backend of a Route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    /// The Service, as namespace/name.
    pub service: String,
    /// Port of the Service, as in the rule.
    pub port: String,
    /// Weight.
    pub weight: u32,
    /// `appProtocol` of the Service port.
    pub app_protocol: Option<String>,
    /// State of the endpoints.
    pub state: EndpointState,
    /// Ready endpoints, sorted by address. Those for other zones are last.
    pub endpoints: Vec<EndpointView>,
    /// External name of an allowed Service of type ExternalName, as host:port.
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
    /// The `appProtocol` of the port is not supported.
    ProtocolUnsupported,
    /// At least one endpoint is ready.
    Ready,
    /// The Service does not exist.
    ServiceMissing,
    /// No EndpointSlice has a port of the Service port's name.
    SlicePortMissing,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    /// Address and port.
    pub address: String,
    /// The Pod behind it, if known.
    pub pod: Option<String>,
    /// Whether it gets requests only while all endpoints for the gateway's zone are ejected.
    #[serde(rename = "fallback", skip_serializing_if = "std::ops::Not::not")]
    pub is_fallback: bool,
    /// Why it gets no requests at present, by its failures. The table itself does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected: Option<String>,
}

impl TableView {
    /// Marks the endpoints that `reason` returns a text for, by the names of their Service and their addresses.
    pub fn mark_ejected(&mut self, reason: impl Fn(&str, &str) -> Option<String>) {
        let defaults = &mut self.defaults;
        let defaults = [&mut defaults.without_rules, &mut defaults.with_rules, &mut defaults.class];
        let owners = self.owner_defaults.iter_mut();
        let owners = owners.flat_map(|owner| [&mut owner.without_rules, &mut owner.with_rules]);
        let hosts = self.hosts.iter_mut().flat_map(|host| host.routes.iter_mut().chain(&mut host.default));
        let routes = hosts.chain(defaults.into_iter().chain(owners).flatten());
        for backend in routes.flat_map(|route| &mut route.backends) {
            for endpoint in &mut backend.endpoints {
                endpoint.ejected = reason(&backend.service, &endpoint.address);
            }
        }
    }
}

impl RoutingTable {
    /// Returns the table as plain values, with the present endpoints.
    pub fn view(&self) -> TableView {
        let defaults = self.defaults();
        let view = |route: &Option<Arc<Route>>| route.as_deref().map(default_view);
        let hosts = self.hosts().flat_map(|host| {
            let for_owners = host.for_owners().map(|(owners, host)| host_view(host, names(owners)));
            std::iter::once(host_view(host, Vec::new())).chain(for_owners)
        });
        let owner_defaults = defaults.for_owners.iter().map(|(owners, defaults)| OwnerDefaultsView {
            namespaces: names(owners),
            without_rules: view(&defaults.without_rules),
            with_rules: view(&defaults.with_rules),
        });
        let is_global = |route: &Arc<Route>| {
            defaults.without_rules.as_ref().is_some_and(|global| Arc::ptr_eq(global, route))
        };
        let by_namespace = defaults.by_namespace.iter().filter_map(|(namespace, defaults)| {
            let ranked = defaults.without_rules.as_ref().filter(|ranked| !is_global(&ranked.route))?;
            let without_rules = Some(default_view(&ranked.route));
            Some(OwnerDefaultsView {
                namespaces: vec![namespace.to_string()],
                without_rules,
                with_rules: None,
            })
        });
        let owner_defaults: Vec<_> = owner_defaults.collect();
        let is_listed =
            |view: &OwnerDefaultsView| owner_defaults.iter().any(|known| known.namespaces == view.namespaces);
        let by_namespace: Vec<_> = by_namespace.filter(|view| !is_listed(view)).collect();
        let owner_defaults = owner_defaults.into_iter().chain(by_namespace);
        let has_any = |view: &OwnerDefaultsView| view.without_rules.is_some() || view.with_rules.is_some();
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

fn names(owners: &OwnerSet) -> Vec<String> {
    owners.iter().map(ToString::to_string).collect()
}

fn host_view(host: &Host, for_owners: Vec<String>) -> HostView {
    HostView {
        host: host.name().to_string(),
        for_owners,
        tls_secret: host.tls().first().map(ToString::to_string),
        class_tls_secret: host.class_certificate().map(ToString::to_string),
        named: host.role() == HostRole::Routed,
        routes: host.routes().iter().map(|route| route_view(route)).collect(),
        default: host.default_route().map(|route| default_view(route)),
    }
}

/// Returns the view of the Route of a default backend.
pub(super) fn default_view(route: &Route) -> RouteView {
    RouteView { kind: "Default", ..route_view(route) }
}

pub(super) fn route_view(route: &Route) -> RouteView {
    let backends = route.backends.iter().map(|entry| backend_view(&entry.backend, entry.weight));
    RouteView {
        path: route.path.path().to_owned(),
        conditions: route.conditions.as_ref().map(ToString::to_string),
        kind: route.path.kind(),
        ingress: route.origin.ingress.name.to_string(),
        field: route.origin.field.to_string(),
        annotations: route.annotations.as_deref().map(ToString::to_string),
        backends: backends.collect(),
        policy: policy_view(&route.policy),
        plugins: route.policy.plugins.iter().map(plugin_view).collect(),
        closed: route.is_closed,
        missing_plugin: route.policy.missing_plugin.as_ref().map(ToString::to_string),
    }
}

fn plugin_view(plugin: &PluginUse) -> PluginView {
    PluginView {
        plugin: plugin.plugin.to_string(),
        phase: plugin.phase.as_str(),
        config_object: plugin.origin.object.to_string(),
        config_field: plugin.origin.field.to_string(),
    }
}

fn policy_view(policy: &Policy) -> Vec<PolicyView> {
    let view = |SetField { value, origin }: SetField<'_>| PolicyView {
        field: origin.field.strip_prefix("spec.").unwrap_or(origin.field),
        value,
        policy: origin.policy.to_string(),
        source: origin.field,
        target: origin.target.clone(),
        annotations: origin.annotations.as_deref().map(str::to_owned),
    };
    policy.fields().into_iter().map(view).collect()
}

fn backend_view(backend: &Backend, weight: u32) -> BackendView {
    let endpoints = backend.endpoints.load();
    let state = match &**endpoints {
        Endpoints::NoneReady => EndpointState::NoneReady,
        Endpoints::PortMissing => EndpointState::PortMissing,
        Endpoints::ProtocolUnsupported => EndpointState::ProtocolUnsupported,
        Endpoints::Ready(_) => EndpointState::Ready,
        Endpoints::ServiceMissing => EndpointState::ServiceMissing,
        Endpoints::SlicePortMissing => EndpointState::SlicePortMissing,
    };
    let endpoint_view = |endpoint: &Endpoint, is_fallback| EndpointView {
        address: endpoint.address.to_string(),
        pod: endpoint.pod.as_deref().map(ToOwned::to_owned),
        is_fallback,
        ejected: None,
    };
    let preferred = endpoints.ready().iter().map(|endpoint| endpoint_view(endpoint, false));
    let fallback = endpoints.fallback().iter().map(|endpoint| endpoint_view(endpoint, true));
    let endpoints = preferred.chain(fallback);
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
