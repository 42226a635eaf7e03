//! A number that equal tables share, so that replicas can be compared.

use std::hash::DefaultHasher;
use std::hash::Hash as _;
use std::hash::Hasher as _;

use super::host::Host;
use super::route::Route;
use super::routing_table::RoutingTable;

impl RoutingTable {
    /// Returns a hash of all hosts, Routes and default backends. Equal tables of one version of this program have the same,
    /// in every process. Endpoints are left out. The cost grows with the table: about 0.1 µs for each Route.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for host in self.hosts() {
            hash_host(host, &mut hasher);
            for (owners, host) in host.for_owners() {
                for owner in owners.iter() {
                    owner.hash(&mut hasher);
                }
                hash_host(host, &mut hasher);
            }
        }
        let defaults = self.defaults();
        for route in [&defaults.without_rules, &defaults.with_rules, &defaults.class] {
            hash_route(route.as_deref(), &mut hasher);
        }
        defaults.certificate.hash(&mut hasher);
        for owner in self.ownership().iter() {
            owner.host().hash(&mut hasher);
            owner.namespaces().for_each(|namespace| namespace.hash(&mut hasher));
        }
        hasher.finish()
    }
}

fn hash_host(host: &Host, hasher: &mut DefaultHasher) {
    host.name().hash(hasher);
    (host.role() as u8).hash(hasher);
    host.tls().hash(hasher);
    host.class_certificate().hash(hasher);
    for route in host.routes() {
        hash_route(Some(route), hasher);
    }
    hash_route(host.default_route().map(|route| &**route), hasher);
}

fn hash_route(route: Option<&Route>, hasher: &mut DefaultHasher) {
    let Some(route) = route else { return false.hash(hasher) };
    route.path.hash(hasher);
    route.conditions.hash(hasher);
    for weighted in &route.backends {
        weighted.weight.hash(hasher);
        weighted.backend.service.hash(hasher);
        weighted.backend.port.hash(hasher);
    }
    route.policy.hash(hasher);
    route.origin.ingress.name.hash(hasher);
    route.origin.field.hash(hasher);
}
