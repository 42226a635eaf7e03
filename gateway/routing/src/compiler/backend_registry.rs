//! Backends: one per Service port that an Ingress names, with the cell that holds its endpoints.
//!
//! Purpose: a change of a Service or an EndpointSlice ends here. It stores into cells and touches no Route.
//! Not here: what can be dialled (`endpoints`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::ExternalNames;
use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;

use super::endpoints;
use super::endpoints::ServiceResolution;
use super::problem_delta::ProblemDeltaBuilder;
use crate::object::EndpointSlice;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::object::PortRef;
use crate::object::Service;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::Backend;
use crate::table::Endpoints;
use crate::table::ExternalName;
use crate::table::FieldPath;
use crate::table::IngressOrigin;

/// A Service port that somebody names, and what decides about its cells beside the Service.
#[derive(Clone, Debug)]
pub(super) struct BackendTarget {
    pub(super) service: Name,
    pub(super) port: PortRef,
    pub(super) external_names: ExternalNames,
}

/// A field that names a Service port.
#[derive(Clone, Debug)]
pub(super) struct BackendReference {
    pub(super) user: Referrer,
    pub(super) backend: Arc<Backend>,
    external_names: ExternalNames,
}

/// Who is told if something that was named cannot be used. There is one per Route and more, so it holds no text of
/// its own, and its order is by number.
#[derive(Clone, Debug)]
pub(super) struct Referrer {
    pub(super) owner: Arc<IngressOrigin>,
    pub(super) field: FieldPath,
    /// The other object that names it on behalf of the owner, and where: `RoutePolicy shop/canary spec.backends[0]`.
    pub(super) by: Option<Arc<str>>,
}

impl Ord for Referrer {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |user: &Self| (user.owner.id, user.field);
        key(self).cmp(&key(other)).then_with(|| self.by.cmp(&other.by))
    }
}

impl PartialOrd for Referrer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Referrer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Referrer {}

impl Referrer {
    pub(super) fn problem(&self, reason: Reason, message: &str) -> Problem {
        let message = match &self.by {
            Some(by) => format!("{message} (named by {by})"),
            None => message.to_owned(),
        };
        let object = ObjectRef { kind: self.owner.kind, name: self.owner.name.clone() };
        Problem { object, field: self.field.to_string(), reason, message }
    }
}

/// The known Services and slices, and who names them.
#[derive(Debug, Default)]
pub(super) struct BackendRegistry {
    /// Where this gateway runs.
    zone: Option<String>,
    /// Whether Services were resolved for another zone.
    zone_changed: bool,
    services: BTreeMap<Name, ServiceEntry>,
    /// The Service that each slice belongs to: a slice's label may change.
    slice_owners: BTreeMap<Name, Name>,
    /// Those whose Service is a name that is to be resolved, by name and by number.
    external: BTreeMap<Arc<str>, BTreeMap<u64, Arc<Backend>>>,
    /// Names that gained or lost one of those since [`BackendRegistry::take_changed_external_names`].
    changed_external_names: BTreeSet<Arc<str>>,
    /// Services that may have lost a Backend's last user, or their last reason to exist.
    sweep_candidates: BTreeSet<Name>,
    next_id: u64,
}

#[derive(Debug, Default)]
struct ServiceEntry {
    known: Option<Service>,
    slices: BTreeMap<Name, EndpointSlice>,
    /// By what decides about a Backend's cells beside the Service.
    ports: BTreeMap<(PortRef, ExternalNames), PortEntry>,
}

#[derive(Debug)]
struct PortEntry {
    backend: Arc<Backend>,
    fault: Option<Fault>,
    users: BTreeSet<Referrer>,
}

/// What the users of a Backend have to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    reason: Reason,
    message: String,
}

impl Fault {
    fn problem(&self, user: &Referrer) -> Problem {
        user.problem(self.reason, &self.message)
    }
}

// ===== impl BackendReference =====

impl BackendReference {
    fn key(&self) -> (PortRef, ExternalNames) {
        (self.backend.port.clone(), self.external_names)
    }
}

// ===== impl Backends =====

impl BackendRegistry {
    pub(super) fn new(zone: Option<String>) -> Self {
        Self { zone, ..Self::default() }
    }

    /// Counts from the next [`BackendRegistry::update`] on.
    pub(super) fn set_zone(&mut self, zone: Option<String>) {
        self.zone_changed |= self.zone != zone;
        self.zone = zone;
    }

    pub(super) fn update(
        &mut self,
        services: BTreeMap<Name, Option<Service>>,
        slices: BTreeMap<Name, Option<EndpointSlice>>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        let mut dirty = BTreeSet::new();
        if std::mem::take(&mut self.zone_changed) {
            dirty.extend(self.services.keys().cloned());
        }
        for (name, service) in services {
            self.services.entry(name.clone()).or_default().known = service;
            dirty.insert(name);
        }
        for (name, slice) in slices {
            dirty.extend(self.update_slice(name, slice));
        }
        for name in dirty {
            let entry = self.services.get_mut(&name);
            let renamed = entry.map(|entry| entry.resolve(&name, self.zone.as_deref(), problem_delta));
            for ExternalNameChange { before, backend } in renamed.unwrap_or_default() {
                self.unindex_external_name(before.as_deref(), backend.id);
                self.index_external_name(&backend);
            }
            self.sweep_candidates.insert(name);
        }
    }

    /// Backends whose Service is this name, and whose addresses are to be resolved.
    pub(super) fn with_external_name(&self, host: &str) -> impl Iterator<Item = &Arc<Backend>> {
        self.external.get(host).into_iter().flat_map(BTreeMap::values)
    }

    /// The names that gained or lost a Backend since this was asked last.
    pub(super) fn take_changed_external_names(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.changed_external_names)
    }

    fn index_external_name(&mut self, backend: &Arc<Backend>) {
        if let Some(name) = &*backend.external_name.load() {
            let of_name = self.external.entry(Arc::clone(&name.host)).or_default();
            of_name.insert(backend.id, Arc::clone(backend));
            self.changed_external_names.insert(Arc::clone(&name.host));
        }
    }

    fn unindex_external_name(&mut self, name: Option<&ExternalName>, id: u64) {
        let Some(name) = name else { return };
        if let Some(of_name) = self.external.get_mut(&name.host) {
            of_name.remove(&id);
            if of_name.is_empty() {
                self.external.remove(&name.host);
            }
        }
        self.changed_external_names.insert(Arc::clone(&name.host));
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

    pub(super) fn service(&self, name: &Name) -> Option<&Service> {
        self.services.get(name)?.known.as_ref()
    }

    pub(super) fn slices_of(&self, service: &Name) -> impl Iterator<Item = &EndpointSlice> {
        self.services.get(service).into_iter().flat_map(|entry| entry.slices.values())
    }

    /// Finds or makes the Backend and notes its user.
    pub(super) fn acquire(&mut self, target: BackendTarget, user: Referrer) -> BackendReference {
        let external_names = target.external_names;
        let key = (target.port, external_names);
        let known = self.services.get_mut(&target.service).and_then(|entry| entry.ports.get_mut(&key));
        let backend = match known {
            Some(port) => {
                port.users.insert(user.clone());
                Arc::clone(&port.backend)
            }
            None => self.create(target.service, key, user.clone()),
        };
        BackendReference { user, backend, external_names }
    }

    fn create(&mut self, service: Name, key: (PortRef, ExternalNames), user: Referrer) -> Arc<Backend> {
        let entry = self.services.entry(service.clone()).or_default();
        let known = entry.known.as_ref();
        let resolved = endpoints::resolve(known, &entry.slices, (&key.0, key.1), self.zone.as_deref());
        let fault = fault(&resolved, known, &service, &key.0);
        let backend = Arc::new(Backend {
            id: self.next_id,
            service,
            port: key.0.clone(),
            endpoints: ArcSwap::from_pointee(resolved.endpoints),
            app_protocol: ArcSwapOption::new(shared(resolved.app_protocol)),
            external_name: ArcSwapOption::new(resolved.external_name.map(Arc::new)),
        });
        self.next_id += 1;
        let users = BTreeSet::from([user]);
        entry.ports.insert(key, PortEntry { backend: Arc::clone(&backend), fault, users });
        self.index_external_name(&backend);
        backend
    }

    /// Adds the Problem of a user that was noted, if there is any.
    pub(super) fn report_fault(&self, from: &BackendReference, problem_delta: &mut ProblemDeltaBuilder) {
        let port = self.services.get(&from.backend.service).and_then(|entry| entry.ports.get(&from.key()));
        let fault = port.and_then(|port| port.fault.as_ref());
        problem_delta.add(fault.map(|fault| fault.problem(&from.user)));
    }

    /// Forgets a user, with its Problem. The Backend stays until the next sweep.
    pub(super) fn release(&mut self, from: &BackendReference, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(entry) = self.services.get_mut(&from.backend.service) else { return };
        let Some(port) = entry.ports.get_mut(&from.key()) else { return };
        port.users.remove(&from.user);
        problem_delta.remove(port.fault.as_ref().map(|fault| fault.problem(&from.user)));
        self.sweep_candidates.insert(from.backend.service.clone());
    }

    /// Forgets Backends that nobody names, and Services that neither exist nor are named.
    pub(super) fn sweep(&mut self) {
        for name in std::mem::take(&mut self.sweep_candidates) {
            let Some(entry) = self.services.get_mut(&name) else { continue };
            let unused: Vec<_> = entry.ports.extract_if(.., |_, port| port.users.is_empty()).collect();
            if entry.known.is_none() && entry.slices.is_empty() && entry.ports.is_empty() {
                self.services.remove(&name);
            }
            for (_, PortEntry { backend, .. }) in unused {
                self.unindex_external_name(backend.external_name.load().as_deref(), backend.id);
            }
        }
    }
}

// ===== impl ServiceEntry =====

impl ServiceEntry {
    /// Brings the cells of all Backends of this Service up to date, and the Problems of their users. Gives those whose
    /// name to be resolved is another one now.
    fn resolve(
        &mut self,
        name: &Name,
        zone: Option<&str>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> Vec<ExternalNameChange> {
        let mut renamed = Vec::new();
        let known = self.known.as_ref();
        for ((port, external_names), entry) in &mut self.ports {
            let resolved = endpoints::resolve(known, &self.slices, (port, *external_names), zone);
            let fault = fault(&resolved, known, name, port);
            renamed.extend(entry.store(resolved));
            if fault != entry.fault {
                problem_delta.remove(entry.problems());
                entry.fault = fault;
                problem_delta.add(entry.problems());
            }
        }
        renamed
    }
}

/// A Backend of which another name is to be resolved now, or none.
struct ExternalNameChange {
    before: Option<Arc<ExternalName>>,
    backend: Arc<Backend>,
}

// ===== impl PortEntry =====

impl PortEntry {
    /// Leaves cells alone that hold the same already, so that whoever compares pointers sees no change.
    fn store(&self, resolved: ServiceResolution) -> Option<ExternalNameChange> {
        let is_same_name = self.backend.external_name.load().as_deref() == resolved.external_name.as_ref();
        // What a name was resolved to is not ours to forget.
        let keeps_addresses = is_same_name && resolved.external_name.is_some();
        if !keeps_addresses && **self.backend.endpoints.load() != resolved.endpoints {
            self.backend.endpoints.store(Arc::new(resolved.endpoints));
        }
        let app_protocol = shared(resolved.app_protocol);
        if *self.backend.app_protocol.load() != app_protocol {
            self.backend.app_protocol.store(app_protocol);
        }
        if is_same_name {
            return None;
        }
        let before = self.backend.external_name.swap(resolved.external_name.map(Arc::new));
        Some(ExternalNameChange { before, backend: Arc::clone(&self.backend) })
    }

    fn problems(&self) -> Vec<Problem> {
        let Some(fault) = &self.fault else { return Vec::new() };
        self.users.iter().map(|user| fault.problem(user)).collect()
    }
}

fn shared(text: Option<Arc<str>>) -> Option<Arc<String>> {
    text.map(|text| Arc::new(text.as_ref().to_owned()))
}

fn fault(
    resolved: &ServiceResolution,
    known: Option<&Service>,
    service: &Name,
    port: &PortRef,
) -> Option<Fault> {
    let is_external = known.is_some_and(endpoints::is_external);
    let (reason, message) = match &resolved.endpoints {
        Endpoints::Ready(_) => return None,
        Endpoints::ServiceMissing => (Reason::ServiceNotFound, format!("there is no Service {service}")),
        Endpoints::PortMissing => (Reason::PortNotFound, port_missing(service, port)),
        // Whoever resolves the name tells of what is wrong with it.
        Endpoints::NoneReady if resolved.external_name.is_some() => return None,
        Endpoints::NoneReady if is_external => (
            Reason::Unsupported,
            format!(
                "Service {service} is of type ExternalName, which is served only if the IngressClassConfig of the \
                 class says \"externalNames: Allow\""
            ),
        ),
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
