//! The table as a tree for people: host, path, Service, endpoint. The same values as the view, in another dress.

use std::fmt;

use super::RoutingTable;
use super::view::BackendView;
use super::view::EndpointState;

impl fmt::Display for RoutingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view();
        if view.hosts.is_empty() {
            return writeln!(f, "(no hosts)");
        }
        for host in &view.hosts {
            write!(f, "{}", host.host)?;
            if let Some(secret) = &host.tls_secret {
                write!(f, "  (TLS: Secret {secret})")?;
            }
            writeln!(f)?;
            if host.routes.is_empty() {
                writeln!(f, "  (no routes)")?;
            }
            for route in &host.routes {
                writeln!(f, "  {} {}  (Ingress {} {})", route.kind, route.path, route.ingress, route.field)?;
                if route.backends.is_empty() {
                    writeln!(f, "    (no backend)")?;
                }
                for backend in &route.backends {
                    write_backend(f, backend)?;
                }
            }
        }
        Ok(())
    }
}

fn write_backend(f: &mut fmt::Formatter<'_>, backend: &BackendView) -> fmt::Result {
    write!(f, "    Service {}:{}", backend.service, backend.port)?;
    if backend.weight != 1 {
        write!(f, " × {}", backend.weight)?;
    }
    if let Some(protocol) = &backend.app_protocol {
        write!(f, " [{protocol}]")?;
    }
    match backend.state {
        EndpointState::NoneReady => writeln!(f, "  (no endpoint is ready)")?,
        EndpointState::PortMissing => writeln!(f, "  (the Service has no such port)")?,
        EndpointState::Ready => writeln!(f)?,
        EndpointState::ServiceMissing => writeln!(f, "  (no such Service)")?,
    }
    for endpoint in &backend.endpoints {
        write!(f, "      {}", endpoint.address)?;
        if let Some(pod) = &endpoint.pod {
            write!(f, "  (Pod {pod})")?;
        }
        writeln!(f)?;
    }
    Ok(())
}
