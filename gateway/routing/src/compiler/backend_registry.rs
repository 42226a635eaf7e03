//! Backends: one per Service port that a field refers to, with the cells that hold its endpoints.
//!
//! A change of a Service or an EndpointSlice is stored in cells and touches no Route. Not here: choosing endpoints
//! (`endpoints`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use api::ExternalNames;
use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;

use super::endpoints;
use super::endpoints::PortKey;
use super::endpoints::PortUser;
use super::endpoints::Protocol;
use super::endpoints::ServiceResolution;
use super::problem_delta::ProblemDeltaBuilder;
use super::referrer::Referrer;
use crate::object::EndpointSlice;
use crate::object::Kind;
use crate::object::Name;
use crate::object::PortRef;
use crate::object::Service;
use crate::object::ServicePort;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::Backend;
use crate::table::Endpoints;
use crate::table::ExternalName;
use crate::table::SharedId;

/// A Service port that a field refers to, and whether it may be an external name.
#[derive(Clone, Debug)]
pub(super) struct BackendTarget {
    pub(super) service: Name,
    pub(super) key: PortKey,
}

/// A reference to a Backend. The Backend exists until its last reference is released.
#[derive(Clone, Debug)]
pub(super) struct BackendReference {
    pub(super) referrer: Referrer,
    pub(super) backend: Arc<Backend>,
    external_names: ExternalNames,
    user: PortUser,
}

impl BackendReference {
    fn key(&self) -> PortKey {
        let (port, external_names) = (self.backend.port.clone(), self.external_names);
        PortKey { port, external_names, user: self.user }
    }
}

/// The known Services and EndpointSlices, and the Backends of their ports.
#[derive(Debug, Default)]
pub(super) struct BackendRegistry {
    /// The gateway's zone.
    zone: Option<String>,
    /// Whether `zone` changed since the last [`BackendRegistry::update`].
    zone_changed: bool,
    services: BTreeMap<Name, ServiceEntry>,
    /// The Service of each slice. The label of a slice may change.
    slice_owners: BTreeMap<Name, Name>,
    /// Backends of allowed external names, by DNS name and by Backend number.
    external: BTreeMap<Arc<str>, BTreeMap<u64, Arc<Backend>>>,
    /// DNS names whose set in `external` changed since [`BackendRegistry::take_changed_external_names`].
    changed_external_names: BTreeSet<Arc<str>>,
    /// Services that may have lost the last reference to a Backend or to themselves.
    sweep_candidates: BTreeSet<Name>,
    next_id: u64,
}

#[derive(Debug, Default)]
struct ServiceEntry {
    known: Option<Service>,
    slices: BTreeMap<Name, EndpointSlice>,
    ports: BTreeMap<PortKey, PortEntry>,
}

#[derive(Debug)]
struct PortEntry {
    backend: Arc<Backend>,
    /// The number of the Service port; `None` if the Service lacks it.
    number: Option<NonZeroU16>,
    fault: Option<BackendFault>,
    referrers: BTreeSet<Referrer>,
}

/// Why a Backend has nothing to connect to. All its referrers get a Problem.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BackendFault {
    reason: Reason,
    message: String,
}

impl BackendFault {
    /// Returns the Problem of a referrer. Plugins may name Services that do not exist yet.
    fn problem(&self, referrer: &Referrer) -> Option<Problem> {
        match (referrer.owner.kind, self.reason) {
            (Kind::WasmPlugin, Reason::ServiceNotFound) => None,
            (Kind::WasmPlugin, Reason::Unsupported) => {
                let message =
                    "a plugin may not call a Service of type ExternalName; write the name of another one";
                Some(referrer.problem(self.reason, message))
            }
            _ => Some(referrer.problem(self.reason, &self.message)),
        }
    }
}

// ===== impl BackendRegistry =====

impl BackendRegistry {
    pub(super) fn new(zone: Option<String>) -> Self {
        Self { zone, ..Self::default() }
    }

    /// Sets the gateway's zone. The next [`BackendRegistry::update`] applies it.
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
            let changes = entry.map(|entry| entry.resolve(&name, self.zone.as_deref(), problem_delta));
            for ExternalNameChange { before, backend } in changes.unwrap_or_default() {
                self.unindex_external_name(before.as_deref(), backend.id);
                self.index_external_name(&backend);
            }
            self.sweep_candidates.insert(name);
        }
    }

    /// Returns the Backends of an external name.
    pub(super) fn with_external_name(&self, host: &str) -> impl Iterator<Item = &Arc<Backend>> {
        self.external.get(host).into_iter().flat_map(BTreeMap::values)
    }

    /// Returns the DNS names that gained or lost a Backend since the last call.
    pub(super) fn take_changed_external_names(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.changed_external_names)
    }

    fn index_external_name(&mut self, backend: &Arc<Backend>) {
        if let Some(name) = &*backend.external_name.load() {
            let backends = self.external.entry(Arc::clone(&name.host)).or_default();
            backends.insert(backend.id, Arc::clone(backend));
            self.changed_external_names.insert(Arc::clone(&name.host));
        }
    }

    fn unindex_external_name(&mut self, name: Option<&ExternalName>, id: u64) {
        let Some(name) = name else { return };
        if let Some(backends) = self.external.get_mut(&name.host) {
            backends.remove(&id);
            if backends.is_empty() {
                self.external.remove(&name.host);
            }
        }
        self.changed_external_names.insert(Arc::clone(&name.host));
    }

    /// Returns the affected Services: the slice's former one and its present one.
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

    pub(super) fn service_names(&self) -> impl Iterator<Item = &Name> {
        self.services.iter().filter(|(_, entry)| entry.known.is_some()).map(|(name, _)| name)
    }

    pub(super) fn service(&self, name: &Name) -> Option<&Service> {
        self.services.get(name)?.known.as_ref()
    }

    /// Returns the slices of all Services.
    pub(super) fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.services.values().flat_map(|entry| entry.slices.values())
    }

    pub(super) fn slices_of(&self, service: &Name) -> impl Iterator<Item = &EndpointSlice> {
        self.services.get(service).into_iter().flat_map(|entry| entry.slices.values())
    }

    /// Adds a referrer to the Backend of a Service port, which is created if it does not exist.
    pub(super) fn acquire(&mut self, target: BackendTarget, referrer: Referrer) -> BackendReference {
        let BackendTarget { service, key } = target;
        let (external_names, user) = (key.external_names, key.user);
        let known = self.services.get_mut(&service).and_then(|entry| entry.ports.get_mut(&key));
        let backend = match known {
            Some(port) => {
                port.referrers.insert(referrer.clone());
                Arc::clone(&port.backend)
            }
            None => self.create(service, key, referrer.clone()),
        };
        BackendReference { referrer, backend, external_names, user }
    }

    fn create(&mut self, service: Name, key: PortKey, referrer: Referrer) -> Arc<Backend> {
        let entry = self.services.entry(service.clone()).or_default();
        let known = entry.known.as_ref();
        let resolution = endpoints::resolve(known, &entry.slices, &key, self.zone.as_deref());
        let fault = fault(&resolution, known, &entry.slices, (&service, &key));
        let backend = Arc::new(Backend {
            id: self.next_id,
            service,
            port: key.port.clone(),
            endpoints: ArcSwap::from_pointee(resolution.endpoints),
            app_protocol: ArcSwapOption::new(shared(resolution.app_protocol)),
            external_name: ArcSwapOption::new(resolution.external_name.map(Arc::new)),
            shared_id: SharedId::new(self.next_id),
        });
        self.next_id += 1;
        let (number, referrers) = (resolution.port, BTreeSet::from([referrer]));
        entry.ports.insert(key, PortEntry { backend: Arc::clone(&backend), number, fault, referrers });
        entry.share_ports();
        self.index_external_name(&backend);
        backend
    }

    /// Adds the Problem of a reference, if its Backend has a fault.
    pub(super) fn report_fault(&self, reference: &BackendReference, problem_delta: &mut ProblemDeltaBuilder) {
        let entry = self.services.get(&reference.backend.service);
        let port = entry.and_then(|entry| entry.ports.get(&reference.key()));
        let fault = port.and_then(|port| port.fault.as_ref());
        problem_delta.add(fault.and_then(|fault| fault.problem(&reference.referrer)));
    }

    /// Removes a referrer and its Problem. The Backend stays until the next [`BackendRegistry::sweep`].
    pub(super) fn release(&mut self, reference: &BackendReference, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(entry) = self.services.get_mut(&reference.backend.service) else { return };
        let Some(port) = entry.ports.get_mut(&reference.key()) else { return };
        port.referrers.remove(&reference.referrer);
        problem_delta.remove(port.fault.as_ref().and_then(|fault| fault.problem(&reference.referrer)));
        self.sweep_candidates.insert(reference.backend.service.clone());
    }

    /// Removes Backends without referrers, and Services that neither exist nor have a Backend or a slice.
    pub(super) fn sweep(&mut self) {
        for name in std::mem::take(&mut self.sweep_candidates) {
            let Some(entry) = self.services.get_mut(&name) else { continue };
            let unused: Vec<_> = entry.ports.extract_if(.., |_, port| port.referrers.is_empty()).collect();
            if !unused.is_empty() {
                entry.share_ports();
            }
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

/// A Backend whose external name changed, appeared or disappeared.
struct ExternalNameChange {
    before: Option<Arc<ExternalName>>,
    backend: Arc<Backend>,
}

impl ServiceEntry {
    /// Updates the cells of all Backends of the Service, and the Problems of their referrers.
    fn resolve(
        &mut self,
        name: &Name,
        zone: Option<&str>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> Vec<ExternalNameChange> {
        let mut changes = Vec::new();
        let known = self.known.as_ref();
        for (key, entry) in &mut self.ports {
            let resolution = endpoints::resolve(known, &self.slices, key, zone);
            let fault = fault(&resolution, known, &self.slices, (name, key));
            entry.number = resolution.port;
            changes.extend(entry.store(resolution));
            if fault != entry.fault {
                problem_delta.remove(entry.problems());
                entry.fault = fault;
                problem_delta.add(entry.problems());
            }
        }
        self.share_ports();
        changes
    }

    /// Makes the Backends of one port, by its name and by its number, share pool and endpoints: that of the lowest number
    /// is the pool of all.
    fn share_ports(&self) {
        let mut firsts: BTreeMap<NonZeroU16, &Arc<Backend>> = BTreeMap::new();
        for PortEntry { backend, number, .. } in self.ports.values() {
            let Some(number) = number else { continue };
            let first = firsts.entry(*number).or_insert(backend);
            if backend.id < first.id {
                *first = backend;
            }
        }
        for PortEntry { backend, number, .. } in self.ports.values() {
            let first = number.and_then(|number| firsts.get(&number)).copied().unwrap_or(backend);
            backend.shared_id.set(first.id);
            // The pointer, too: a pool looks its endpoints up again for each other pointer.
            let endpoints = first.endpoints.load_full();
            if !Arc::ptr_eq(&endpoints, &backend.endpoints.load()) && number.is_some() {
                backend.endpoints.store(endpoints);
            }
        }
    }
}

// ===== impl PortEntry =====

impl PortEntry {
    /// Stores a resolution in the cells. A cell with an equal value stays as it is, so that readers who compare
    /// pointers see no change.
    fn store(&self, resolution: ServiceResolution) -> Option<ExternalNameChange> {
        let is_same_name = self.backend.external_name.load().as_deref() == resolution.external_name.as_ref();
        // The addresses of an external name come from DNS, not from the Service.
        let keeps_addresses = is_same_name && resolution.external_name.is_some();
        if !keeps_addresses && **self.backend.endpoints.load() != resolution.endpoints {
            self.backend.endpoints.store(Arc::new(resolution.endpoints));
        }
        let app_protocol = shared(resolution.app_protocol);
        if *self.backend.app_protocol.load() != app_protocol {
            self.backend.app_protocol.store(app_protocol);
        }
        if is_same_name {
            return None;
        }
        let before = self.backend.external_name.swap(resolution.external_name.map(Arc::new));
        Some(ExternalNameChange { before, backend: Arc::clone(&self.backend) })
    }

    fn problems(&self) -> Vec<Problem> {
        let Some(fault) = &self.fault else { return Vec::new() };
        self.referrers.iter().filter_map(|referrer| fault.problem(referrer)).collect()
    }
}

fn shared(text: Option<Arc<str>>) -> Option<Arc<String>> {
    text.map(|text| Arc::new(text.as_ref().to_owned()))
}

fn fault(
    resolution: &ServiceResolution,
    known: Option<&Service>,
    slices: &BTreeMap<Name, EndpointSlice>,
    (service, key): (&Name, &PortKey),
) -> Option<BackendFault> {
    let is_external = known.is_some_and(endpoints::is_external);
    let port = &key.port;
    let (reason, message) = match &resolution.endpoints {
        Endpoints::ServiceMissing => (Reason::ServiceNotFound, format!("Service {service} does not exist")),
        Endpoints::PortMissing => (Reason::PortNotFound, port_missing(service, port, known)),
        Endpoints::SlicePortMissing => {
            (Reason::PortNotFound, slice_port_missing((service, port), known, slices))
        }
        Endpoints::ProtocolUnsupported => {
            let protocol = resolution.app_protocol.as_deref().unwrap_or_default();
            (Reason::ProtocolUnsupported, protocol_unsupported(service, port, protocol))
        }
        Endpoints::NoneReady if is_external && resolution.external_name.is_none() => (
            Reason::Unsupported,
            format!(
                "Service {service} has type ExternalName, which the class does not allow; write \"externalNames: \
                 Allow\" in its IngressClassConfig"
            ),
        ),
        // DNS failures are reported where the name is resolved.
        Endpoints::NoneReady if resolution.external_name.is_none() => {
            (Reason::NoEndpoints, format!("Service {service} port {port} has no ready endpoint"))
        }
        Endpoints::NoneReady | Endpoints::Ready(_) => {
            let known = known.filter(|_| key.user == PortUser::Rule)?;
            (Reason::ProtocolAssumed, protocol_assumed(service, port, known)?)
        }
    };
    Some(BackendFault { reason, message })
}

/// Describes EndpointSlices without a port of the Service port's name. Kubernetes writes such slices for no Service, so
/// another writer has named their ports.
fn slice_port_missing(
    (service, port): (&Name, &PortRef),
    known: Option<&Service>,
    slices: &BTreeMap<Name, EndpointSlice>,
) -> String {
    let wanted = known.and_then(|known| endpoints::find_port(known, port));
    let wanted = wanted.map(|port| quoted(&port.name)).unwrap_or_default();
    let present: BTreeSet<_> =
        slices.values().flat_map(|slice| &slice.ports).map(|port| quoted(&port.name)).collect();
    let present = present.into_iter().collect::<Vec<_>>().join(", ");
    format!(
        "no EndpointSlice of Service {service} has a port named {wanted}, as port {port} of the Service is; their ports \
         are named {present}"
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.escape_debug())
}

fn protocol_unsupported(service: &Name, port: &PortRef, protocol: &str) -> String {
    format!(
        "Service {service} port {port} has appProtocol {}, but endpoints are reached by plaintext HTTP/1.1 only, so \
         requests get a 503; remove appProtocol if the port speaks HTTP/1.1, or name another port",
        protocol.escape_debug()
    )
}

/// Returns the note about a port that may not speak HTTP/1.1.
fn protocol_assumed(service: &Name, port: &PortRef, known: &Service) -> Option<String> {
    let found = endpoints::find_port(known, port)?;
    let about = match Protocol::of(found) {
        Protocol::Http1 | Protocol::Unsupported => return None,
        Protocol::LooksEncrypted => "looks like TLS by its name or number".to_owned(),
        Protocol::Unknown => {
            format!("has the unknown appProtocol {}", found.app_protocol.as_deref()?.escape_debug())
        }
    };
    Some(format!(
        "Service {service} port {port} {about}; it is reached by plaintext HTTP/1.1, which \"appProtocol: http\" \
         confirms"
    ))
}

fn port_missing(service: &Name, port: &PortRef, known: Option<&Service>) -> String {
    let missing = match port {
        PortRef::Name(name) => format!("Service {service} has no port named {}", name.escape_debug()),
        PortRef::Number(number) => format!("Service {service} has no port {number}"),
    };
    let ports = known.map(|known| known.ports.as_slice()).unwrap_or_default();
    let show = |port: &ServicePort| match &*port.name {
        "" => port.port.to_string(),
        name => format!("{name} {}", port.port),
    };
    match ports {
        [] => missing,
        ports => format!("{missing}; it has {}", ports.iter().map(show).collect::<Vec<_>>().join(", ")),
    }
}
