//! Read access to the objects of a Compiler, for `explain` and the admin pages.
//!
//! Not here: the results of compiling, which are in the table and in the Problems.

use std::sync::Arc;

use super::Compiler;
use super::IngressCounts;
use super::class_index::ClassMatch;
use crate::host::HostName;
use crate::object::EndpointSlice;
use crate::object::Ingress;
use crate::object::Name;
use crate::object::Service;
use crate::table::Route;

impl Compiler {
    /// Returns all Ingresses, those of other controllers included, sorted by name.
    pub fn ingresses(&self) -> impl Iterator<Item = &Ingress> {
        self.ingresses.values().map(|entry| &entry.ingress)
    }

    /// Returns an Ingress, which may be another controller's.
    pub fn ingress(&self, name: &Name) -> Option<&Ingress> {
        self.ingresses.get(name).map(|entry| &entry.ingress)
    }

    /// Describes why an Ingress is not served. Returns `None` if a served class takes it.
    pub fn unserved_reason(&self, ingress: &Ingress) -> Option<String> {
        match self.classes.match_ingress(ingress) {
            ClassMatch::Served(_) => None,
            ClassMatch::Foreign => Some(self.classes.foreign_reason(ingress)),
            ClassMatch::Rejected(problem) => Some(problem.message),
        }
    }

    /// Returns the numbers of Ingresses by what this gateway does with them.
    pub fn ingress_counts(&self) -> IngressCounts {
        IngressCounts { default_class: self.classes.default_class().cloned(), ..self.counts.clone() }
    }

    /// Returns the Routes that Ingresses define for a host, oldest Ingress first. If several have one path, the
    /// table holds the first.
    pub fn candidate_routes<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a Arc<Route>> {
        self.hosts.candidate_routes(host)
    }

    /// Returns the names of all Services, sorted.
    pub fn services(&self) -> impl Iterator<Item = &Name> {
        self.backends.service_names()
    }

    /// Returns the names of all IngressClasses, sorted.
    pub fn classes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.classes.names()
    }

    /// Returns a Service.
    pub fn service(&self, name: &Name) -> Option<&Service> {
        self.backends.service(name)
    }

    /// Returns all EndpointSlices that belong to a Service.
    pub fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.backends.slices()
    }

    /// Returns the EndpointSlices of a Service, sorted by name. They may exist before the Service does.
    pub fn slices_of(&self, service: &Name) -> impl Iterator<Item = &EndpointSlice> {
        self.backends.slices_of(service)
    }
}
