//! The differences between two routing tables, as a reader of YAML understands them.
//!
//! Not here: differences of policies and certificates.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use routing::RoutingTable;
use routing::table::{Route, WeightedBackend};

use super::row::{path, without_namespace};

/// The routes and endpoints of one generation. A table alone does not remember them: endpoints change in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The Services of a route by its host and path.
    routes: BTreeMap<String, String>,
    /// The number of ready endpoints of a Service.
    endpoints: BTreeMap<String, usize>,
}

/// One difference between two generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A route that the earlier generation does not have.
    Added {
        /// Host and path.
        route: String,
        /// Its Services.
        services: String,
    },
    /// A route that the later generation does not have.
    Removed {
        /// Host and path.
        route: String,
        /// Its Services.
        services: String,
    },
    /// A route with other Services.
    Rerouted {
        /// Host and path.
        route: String,
        /// Its Services in the earlier generation.
        before: String,
        /// Its Services in the later generation.
        after: String,
    },
    /// A Service with another number of ready endpoints.
    Scaled {
        /// The Service.
        service: String,
        /// Ready endpoints in the earlier generation.
        before: usize,
        /// Ready endpoints in the later generation.
        after: usize,
    },
}

impl Snapshot {
    /// Copies the routes of a table, and the number of endpoints that are ready now.
    pub(super) fn new(table: &RoutingTable) -> Self {
        let mut snapshot = Self::default();
        for host in table.hosts() {
            for route in host.routes().iter().chain(host.default_route()) {
                snapshot.insert(format!("{}{}", host.name(), spaced(&path(route))), route);
            }
        }
        if let Some(route) = table.defaults().first() {
            snapshot.insert("all other requests".to_owned(), route);
        }
        snapshot
    }

    fn insert(&mut self, key: String, route: &Route) {
        for WeightedBackend { backend, .. } in &route.backends {
            let ready = backend.endpoints.load().ready().len();
            self.endpoints.insert(service(backend.service.to_string().as_str()), ready);
        }
        self.routes.insert(key, services(route));
    }

    /// Returns the changes from this generation to a later one: routes by host and path, then Services by name.
    pub(super) fn changes(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (route, services) in &self.routes {
            let (route, before) = (route.clone(), services.clone());
            match after.routes.get(&route) {
                None => changes.push(Change::Removed { route, services: before }),
                Some(after) if *after == before => {}
                Some(after) => changes.push(Change::Rerouted { route, before, after: after.clone() }),
            }
        }
        let added = after.routes.iter().filter(|(route, _)| !self.routes.contains_key(*route));
        changes.extend(added.map(|(route, services)| {
            let (route, services) = (route.clone(), services.clone());
            Change::Added { route, services }
        }));
        for (service, before) in &self.endpoints {
            let after = after.endpoints.get(service).filter(|after| *after != before);
            let scaled =
                |after: &usize| Change::Scaled { service: service.clone(), before: *before, after: *after };
            changes.extend(after.map(scaled));
        }
        changes
    }
}

/// Returns the text with a space in front unless it is a path.
fn spaced(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!(" {path}") }
}

fn service(name: &str) -> String {
    without_namespace(name).to_owned()
}

/// Returns the Services of a route: `service-a`, or `service-a 90, service-b 10` with their weights. The port is shown
/// where it is not 80, as in all files of the demo.
fn services(route: &Route) -> String {
    let is_split = route.backends.len() > 1;
    let text = |WeightedBackend { backend, weight }: &WeightedBackend| {
        let (name, port) = (service(backend.service.to_string().as_str()), backend.port.to_string());
        let port = if port == "80" || port == "http" { String::new() } else { format!(":{port}") };
        if is_split { format!("{name}{port} {weight}") } else { name + &port }
    };
    match route.backends.iter().map(text).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "no Service".to_owned(),
        services => services,
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { route, services } => write!(f, "{route}: added → {services}"),
            Self::Removed { route, services } => write!(f, "{route}: removed (was {services})"),
            Self::Rerouted { route, before, after } => write!(f, "{route}: {before} → {after}"),
            Self::Scaled { service, before, after } => {
                write!(f, "Service {service}: {before} → {after} ready endpoints")
            }
        }
    }
}
