//! What a Compiler holds, to be read by whoever explains a table.
//!
//! Not here: any judgement. What became of the objects is in the table and in the Problems.

use super::Admission;
use super::Compiler;
use crate::object::EndpointSlice;
use crate::object::Ingress;
use crate::object::Name;
use crate::object::Service;

impl Compiler {
    /// All Ingresses, also those of others, sorted by name.
    pub fn ingresses(&self) -> impl Iterator<Item = &Ingress> {
        self.ingresses.values().map(|entry| &entry.ingress)
    }

    /// Whether an Ingress exists and its class makes it ours.
    pub fn serves(&self, ingress: &Name) -> bool {
        let entry = self.ingresses.get(ingress);
        entry.is_some_and(|entry| matches!(self.classes.admission(&entry.ingress), Admission::Ours(_)))
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
