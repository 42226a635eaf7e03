//! Backends: one per Service port that an Ingress names, with the cell that holds its endpoints.
//!
//! Purpose: a change of a Service or an EndpointSlice ends here. It stores into cells and touches no Route.
//! Not here: what can be dialled (`endpoints`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;

use super::endpoints;
use super::endpoints::Resolved;
use super::ledger::Ledger;
use crate::object::EndpointSlice;
use crate::object::Kind;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::PortRef;
use crate::object::Service;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::Backend;
use crate::table::Endpoints;

/// A field of an Ingress that names a Service port.
#[derive(Clone, Debug)]
pub(super) struct BackendUse {
    pub(super) field: String,
    pub(super) service: Name,
    pub(super) port: PortRef,
}

/// The known Services and slices, and who names them.
#[derive(Debug, Default)]
pub(super) struct Backends {
    services: BTreeMap<Name, ServiceEntry>,
    /// The Service that each slice belongs to: a slice's label may change.
    slice_owners: BTreeMap<Name, Name>,
    /// Services that may have lost a Backend's last user, or their last reason to exist.
    loose: BTreeSet<Name>,
    next_id: u64,
}

#[derive(Debug, Default)]
struct ServiceEntry {
    known: Option<Service>,
    slices: BTreeMap<Name, EndpointSlice>,
    ports: BTreeMap<PortRef, PortEntry>,
}

#[derive(Debug)]
struct PortEntry {
    backend: Arc<Backend>,
    fault: Option<Fault>,
    users: BTreeSet<(Name, String)>,
}

/// What the users of a Backend have to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    reason: Reason,
    message: String,
}

// ===== impl Backends =====

impl Backends {
    pub(super) fn update(
        &mut self,
        services: BTreeMap<Name, Option<Service>>,
        slices: BTreeMap<Name, Option<EndpointSlice>>,
        ledger: &mut Ledger,
    ) {
        let mut dirty = BTreeSet::new();
        for (name, service) in services {
            self.services.entry(name.clone()).or_default().known = service;
            dirty.insert(name);
        }
        for (name, slice) in slices {
            dirty.extend(self.update_slice(name, slice));
        }
        for name in dirty {
            if let Some(entry) = self.services.get_mut(&name) {
                entry.resolve(&name, ledger);
            }
            self.loose.insert(name);
        }
    }

    /// Tells the Services whose slices changed: the one it belonged to and the one it belongs to.
    fn update_slice(&mut self, name: Name, slice: Option<EndpointSlice>) -> Vec<Name> {
        let mut dirty = Vec::with_capacity(2);
        if let Some(owner) = self.slice_owners.remove(&name) {
            if let Some(entry) = self.services.get_mut(&owner) {
                entry.slices.remove(&name);
            }
            dirty.push(owner);
        }
        if let Some(slice) = slice
            && let Some(service) = slice.service.clone()
        {
            let owner = Name { namespace: name.namespace.clone(), name: service };
            self.slice_owners.insert(name.clone(), owner.clone());
            self.services.entry(owner.clone()).or_default().slices.insert(name, slice);
            dirty.push(owner);
        }
        dirty
    }

    /// Finds or makes the Backend and notes its user.
    pub(super) fn claim(&mut self, owner: &Name, user: &BackendUse) -> Arc<Backend> {
        let entry = self.services.entry(user.service.clone()).or_default();
        if let Some(port) = entry.ports.get_mut(&user.port) {
            port.users.insert((owner.clone(), user.field.clone()));
            return Arc::clone(&port.backend);
        }
        let resolved = endpoints::resolve(entry.known.as_ref(), &entry.slices, &user.port);
        let fault = fault(&resolved.endpoints, entry.known.as_ref(), &user.service, &user.port);
        let backend = Arc::new(Backend {
            id: self.next_id,
            service: user.service.clone(),
            port: user.port.clone(),
            endpoints: ArcSwap::from_pointee(resolved.endpoints),
            app_protocol: ArcSwapOption::new(shared(resolved.app_protocol)),
        });
        self.next_id += 1;
        let users = BTreeSet::from([(owner.clone(), user.field.clone())]);
        entry.ports.insert(user.port.clone(), PortEntry { backend: Arc::clone(&backend), fault, users });
        backend
    }

    /// Adds the Problem of a user that was noted, if there is any.
    pub(super) fn report(&self, owner: &Name, user: &BackendUse, ledger: &mut Ledger) {
        let port = self.services.get(&user.service).and_then(|entry| entry.ports.get(&user.port));
        let fault = port.and_then(|port| port.fault.as_ref());
        ledger.add(fault.map(|fault| problem(fault, owner, &user.field)));
    }

    /// Forgets a user, with its Problem. The Backend stays until the next sweep.
    pub(super) fn release(&mut self, owner: &Name, user: &BackendUse, ledger: &mut Ledger) {
        let Some(entry) = self.services.get_mut(&user.service) else { return };
        let Some(port) = entry.ports.get_mut(&user.port) else { return };
        port.users.remove(&(owner.clone(), user.field.clone()));
        ledger.remove(port.fault.as_ref().map(|fault| problem(fault, owner, &user.field)));
        self.loose.insert(user.service.clone());
    }

    /// Forgets Backends that nobody names, and Services that neither exist nor are named.
    pub(super) fn sweep(&mut self) {
        for name in std::mem::take(&mut self.loose) {
            let Some(entry) = self.services.get_mut(&name) else { continue };
            entry.ports.retain(|_, port| !port.users.is_empty());
            if entry.known.is_none() && entry.slices.is_empty() && entry.ports.is_empty() {
                self.services.remove(&name);
            }
        }
    }
}

// ===== impl ServiceEntry =====

impl ServiceEntry {
    /// Brings the cells of all Backends of this Service up to date, and the Problems of their users.
    fn resolve(&mut self, name: &Name, ledger: &mut Ledger) {
        for (port, entry) in &mut self.ports {
            let resolved = endpoints::resolve(self.known.as_ref(), &self.slices, port);
            let fault = fault(&resolved.endpoints, self.known.as_ref(), name, port);
            entry.store(resolved);
            if fault != entry.fault {
                ledger.remove(entry.problems());
                entry.fault = fault;
                ledger.add(entry.problems());
            }
        }
    }
}

// ===== impl PortEntry =====

impl PortEntry {
    /// Leaves cells alone that hold the same already, so that whoever compares pointers sees no change.
    fn store(&self, resolved: Resolved) {
        if **self.backend.endpoints.load() != resolved.endpoints {
            self.backend.endpoints.store(Arc::new(resolved.endpoints));
        }
        let app_protocol = shared(resolved.app_protocol);
        if *self.backend.app_protocol.load() != app_protocol {
            self.backend.app_protocol.store(app_protocol);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let Some(fault) = &self.fault else { return Vec::new() };
        self.users.iter().map(|(owner, field)| problem(fault, owner, field)).collect()
    }
}

fn shared(text: Option<Arc<str>>) -> Option<Arc<String>> {
    text.map(|text| Arc::new(text.as_ref().to_owned()))
}

fn fault(endpoints: &Endpoints, known: Option<&Service>, service: &Name, port: &PortRef) -> Option<Fault> {
    let is_external = known.is_some_and(|known| *known.service_type == *"ExternalName");
    let (reason, message) = match endpoints {
        Endpoints::Ready(_) => return None,
        Endpoints::ServiceMissing => (Reason::ServiceNotFound, format!("there is no Service {service}")),
        _ if is_external => {
            (Reason::Unsupported, format!("Service {service} is of type ExternalName, which is not served"))
        }
        Endpoints::PortMissing => (Reason::PortNotFound, port_missing(service, port)),
        Endpoints::NoneReady => {
            (Reason::NoEndpoints, format!("no endpoint of Service {service} port {port} is ready"))
        }
    };
    Some(Fault { reason, message })
}

fn port_missing(service: &Name, port: &PortRef) -> String {
    match port {
        PortRef::Name(name) => format!("Service {service} has no port of the name {}", name.escape_debug()),
        PortRef::Number(number) => format!("Service {service} has no port {number}"),
    }
}

fn problem(fault: &Fault, owner: &Name, field: &str) -> Problem {
    Problem {
        object: ObjectRef { kind: Kind::Ingress, name: owner.clone() },
        field: field.to_owned(),
        reason: fault.reason,
        message: fault.message.clone(),
    }
}
