//! What a Compiler holds, to be read by whoever explains a table.
//!
//! Not here: any judgement. What became of the objects is in the table and in the Problems.

use std::sync::Arc;

use super::ClassMatch;
use super::Compiler;
use crate::host::HostName;
use crate::object::EndpointSlice;
use crate::object::Ingress;
use crate::object::Name;
use crate::object::Service;
use crate::table::Route;

impl Compiler {
    /// All Ingresses, also those of others, sorted by name.
    pub fn ingresses(&self) -> impl Iterator<Item = &Ingress> {
        self.ingresses.values().map(|entry| &entry.ingress)
    }

    /// An Ingress, also one of others.
    pub fn ingress(&self, name: &Name) -> Option<&Ingress> {
        self.ingresses.get(name).map(|entry| &entry.ingress)
    }

    /// Why an Ingress is not served at all, for people; nothing if its class makes it ours.
    pub fn unserved_reason(&self, ingress: &Ingress) -> Option<String> {
        match self.classes.match_ingress(ingress) {
            ClassMatch::Served(_) => None,
            ClassMatch::Foreign => Some(self.classes.foreign_reason(ingress)),
            ClassMatch::Rejected(problem) => Some(problem.message),
        }
    }

    /// The Routes that Ingresses ask for under a host as rules name it, oldest Ingress first. Of several for one
    /// path the table holds the first one.
    pub fn candidate_routes<'a>(&'a self, host: &'a HostName) -> impl Iterator<Item = &'a Arc<Route>> {
        self.hosts.candidate_routes(host)
    }

    /// A Service.
    pub fn service(&self, name: &Name) -> Option<&Service> {
        self.backends.service(name)
    }

    /// The EndpointSlices of a Service, sorted by name. There may be some although the Service does not exist.
    pub fn slices_of(&self, service: &Name) -> impl Iterator<Item = &EndpointSlice> {
        self.backends.slices_of(service)
    }
}
