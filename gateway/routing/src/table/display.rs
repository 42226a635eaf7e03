//! Prints the table as a tree: host, path, Service, endpoint. The values are those of the view.

use std::fmt;

use super::routing_table::RoutingTable;
use super::view::BackendView;
use super::view::DefaultsView;
use super::view::EndpointState;
use super::view::HostView;
use super::view::OwnerDefaultsView;
use super::view::OwnerView;
use super::view::PluginView;
use super::view::PolicyView;
use super::view::RouteView;
use super::view::TableView;

impl fmt::Display for RoutingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl fmt::Display for TableView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hosts.is_empty() {
            writeln!(f, "(no hosts)")?;
        }
        for host in &self.hosts {
            write_host(f, host)?;
        }
        write_defaults(f, &self.defaults)?;
        for defaults in &self.owner_defaults {
            write_owners_defaults(f, defaults)?;
        }
        write_owners(f, &self.owners)
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &HostView) -> fmt::Result {
    write!(f, "{}", host.host)?;
    if !host.for_owners.is_empty() {
        write!(f, "  (for hosts of {})", host.for_owners.join(", "))?;
    }
    match (&host.tls_secret, &host.class_tls_secret) {
        (Some(secret), _) => write!(f, "  (TLS: Secret {secret})")?,
        (None, Some(secret)) => write!(f, "  (TLS: Secret {secret} of the class)")?,
        (None, None) => {}
    }
    writeln!(f)?;
    if !host.named {
        return writeln!(f, "  (no rule names this host)");
    }
    if host.routes.is_empty() {
        writeln!(f, "  (no routes)")?;
    }
    for route in &host.routes {
        write!(f, "  {} {}", route.kind, route.path)?;
        if let Some(conditions) = &route.conditions {
            write!(f, " [{conditions}]")?;
        }
        writeln!(f, "  (Ingress {} {})", route.ingress, route.field)?;
        write_route(f, route)?;
    }
    host.default.iter().try_for_each(|route| {
        writeln!(f, "  Default  (Ingress {} {})", route.ingress, route.field)?;
        write_route(f, route)
    })
}

fn write_defaults(f: &mut fmt::Formatter<'_>, defaults: &DefaultsView) -> fmt::Result {
    let DefaultsView { without_rules, with_rules, class, tls_secret } = defaults;
    let rows = [("Ingress", without_rules), ("Ingress", with_rules), ("IngressClass", class)];
    if tls_secret.is_some() || rows.iter().any(|(_, route)| route.is_some()) {
        write!(f, "(no rule matches)")?;
        if let Some(secret) = tls_secret {
            write!(f, "  (TLS: Secret {secret})")?;
        }
        writeln!(f)?;
    }
    for (kind, route) in rows {
        let Some(route) = route else { continue };
        writeln!(f, "  Default  ({kind} {} {})", route.ingress, route.field)?;
        write_route(f, route)?;
    }
    Ok(())
}

fn write_owners_defaults(f: &mut fmt::Formatter<'_>, defaults: &OwnerDefaultsView) -> fmt::Result {
    writeln!(f, "(no rule matches)  (for hosts of {})", defaults.namespaces.join(", "))?;
    for route in defaults.without_rules.iter().chain(&defaults.with_rules) {
        writeln!(f, "  Default  (Ingress {} {})", route.ingress, route.field)?;
        write_route(f, route)?;
    }
    Ok(())
}

fn write_owners(f: &mut fmt::Formatter<'_>, owners: &[OwnerView]) -> fmt::Result {
    if !owners.is_empty() {
        writeln!(f, "(owned hosts)")?;
    }
    for OwnerView { host, namespaces, config } in owners {
        let namespaces =
            if namespaces.is_empty() { "no namespace".to_owned() } else { namespaces.join(", ") };
        writeln!(f, "  {host}: {namespaces}  (IngressClassConfig {config})")?;
    }
    Ok(())
}

fn write_route(f: &mut fmt::Formatter<'_>, route: &RouteView) -> fmt::Result {
    if let Some(keys) = &route.annotations {
        writeln!(f, "    (by annotation {keys})")?;
    }
    for PolicyView { field, value, policy, source, target, annotations } in &route.policy {
        match annotations.as_deref() {
            None => writeln!(f, "    {field}: {value}  (RoutePolicy {policy} {source}, {target})")?,
            Some("") => writeln!(f, "    {field}: {value}  (class handler)")?,
            Some(keys) => writeln!(f, "    {field}: {value}  (annotation {keys})")?,
        }
    }
    for PluginView { plugin, phase, config_object, config_field } in &route.plugins {
        writeln!(f, "    plugin {plugin}: {phase}  ({config_object} {config_field})")?;
    }
    if route.closed {
        writeln!(f, "    (503: an annotation that restricts access is not honoured)")?;
    }
    if let Some(plugin) = &route.missing_plugin {
        writeln!(f, "    (503: plugin {plugin} is missing)")?;
    }
    if route.backends.is_empty() {
        writeln!(f, "    (no backend)")?;
    }
    route.backends.iter().try_for_each(|backend| write_backend(f, backend))
}

fn write_backend(f: &mut fmt::Formatter<'_>, backend: &BackendView) -> fmt::Result {
    write!(f, "    Service {}:{}", backend.service, backend.port)?;
    if backend.weight != 1 {
        write!(f, " × {}", backend.weight)?;
    }
    if let Some(protocol) = &backend.app_protocol {
        write!(f, " [{protocol}]")?;
    }
    if let Some(name) = &backend.external_name {
        write!(f, "  (external name {name})")?;
    }
    match backend.state {
        EndpointState::NoneReady => writeln!(f, "  (no endpoint is ready)")?,
        EndpointState::PortMissing => writeln!(f, "  (the Service has no such port)")?,
        EndpointState::ProtocolUnsupported => writeln!(f, "  (its appProtocol is not supported)")?,
        EndpointState::Ready => writeln!(f)?,
        EndpointState::ServiceMissing => writeln!(f, "  (no such Service)")?,
        EndpointState::SlicePortMissing => writeln!(f, "  (no EndpointSlice has a port of this name)")?,
    }
    for endpoint in &backend.endpoints {
        write!(f, "      {}", endpoint.address)?;
        if let Some(pod) = &endpoint.pod {
            write!(f, "  (Pod {pod})")?;
        }
        if endpoint.is_fallback {
            write!(f, "  (for other zones)")?;
        }
        if let Some(ejected) = &endpoint.ejected {
            write!(f, "  (ejected: {ejected})")?;
        }
        writeln!(f)?;
    }
    Ok(())
}
