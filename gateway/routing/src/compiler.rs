//! From changes of objects to a routing table and changes of Problems.
//!
//! Purpose: total (whatever an object holds, the rest is compiled), deterministic (the order of changes does not
//! show in the result), and incremental (a change costs what it touches: a host names its Ingresses, a Service
//! its Backends). Not here: where changes come from, and publishing tables.
//!
//! The way of one Ingress: `class` (is it ours?) → `translate` (to the shape of HTTPRoute, with field paths) →
//! `lower` (to Routes that share Backends) → `hosts` (who wins which path of a host) → table.

mod backend;
mod class;
mod defaults;
mod endpoints;
mod hosts;
mod inspect;
mod interned;
mod ledger;
mod lower;
mod namespaces;
mod overlay;
mod pending;
mod policy;
mod secret;
mod seniority;
mod tls;
mod translate;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry as Slot;
use std::net::IpAddr;
use std::sync::Arc;

use crate::host::HostName;
use crate::object::Change;
use crate::object::Delta;
use crate::object::Endpoint;
use crate::object::Ingress;
use crate::object::Kind;
use crate::object::Name;
use crate::object::Object;
use crate::problem::Problem;
use crate::table::Endpoints;
use crate::table::IngressOrigin;
use crate::table::Ownership;
use crate::table::RoutingTable;

use backend::Backends;
use class::Admission;
use class::Classes;
use defaults::DefaultBackends;
use hosts::Hosts;
use ledger::Ledger;
use lower::Lowered;
use lower::Lowering;
use namespaces::Namespaces;
use pending::IngressChange;
use pending::Pending;
use policy::Lack;
use policy::Policies;
use policy::Scope;
use secret::Secrets;
use seniority::Seniority;

pub use ledger::ProblemDelta;

/// How a Compiler reads objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The `spec.controller` of the IngressClasses that are ours.
    pub controller: String,
    /// Classes that are ours whatever their controller is, or even if only Ingresses name them.
    pub classes: Vec<String>,
    /// The gateway's own namespace: whose policies may be about classes.
    pub namespace: String,
    /// The zone that this gateway runs in: endpoints with hints for it are preferred.
    pub zone: Option<String>,
}

impl Config {
    /// Whether a class is ours. `controller` is that of the IngressClass, if there is one.
    pub fn serves(&self, class: &str, controller: Option<&str>) -> bool {
        controller == Some(&self.controller) || self.classes.iter().any(|name| name == class)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controller: "wasm-gateway.dev/ingress-controller".to_owned(),
            classes: Vec::new(),
            namespace: "gateway-system".to_owned(),
            zone: None,
        }
    }
}

/// Holds the Snapshot and everything that was compiled from it.
#[derive(Debug)]
pub struct Compiler {
    own_namespace: String,
    table: RoutingTable,
    classes: Classes,
    namespaces: Namespaces,
    ownership: Arc<Ownership>,
    policies: Policies,
    ingresses: BTreeMap<Name, Entry>,
    hosts: Hosts,
    defaults: DefaultBackends,
    backends: Backends,
    secrets: Secrets,
    next_origin: u64,
}

/// An Ingress and what became of it.
#[derive(Debug)]
struct Entry {
    ingress: Ingress,
    /// Under which it stands in the indexes.
    seniority: Seniority,
    origin: Arc<IngressOrigin>,
    lowered: Lowered,
}

/// What a delta asks to be done, beside the Ingresses in it.
#[derive(Debug, Default)]
struct Dirty {
    /// To be admitted again although they may be the same.
    again: BTreeSet<Name>,
    /// Whose targets may have come or gone.
    policies: BTreeSet<Name>,
    hosts: BTreeSet<HostName>,
}

/// Compiles all objects at once: the same as [`Compiler::apply`] on a new Compiler. The Problems are sorted.
pub fn compile(config: Config, objects: impl IntoIterator<Item = Object>) -> (RoutingTable, Vec<Problem>) {
    let (table, problems) = Compiler::new(config).apply(objects.into_iter().map(Change::Apply).collect());
    (table, problems.added)
}

impl Compiler {
    /// Makes a Compiler that knows no object.
    pub fn new(config: Config) -> Self {
        Self {
            table: RoutingTable::default(),
            classes: Classes::new(&config),
            namespaces: Namespaces::default(),
            ownership: Arc::default(),
            policies: Policies::new(&config.namespace),
            ingresses: BTreeMap::new(),
            hosts: Hosts::default(),
            defaults: DefaultBackends::default(),
            backends: Backends::new(config.zone),
            secrets: Secrets::default(),
            next_origin: 0,
            own_namespace: config.namespace,
        }
    }

    /// The names that Services of type ExternalName began or ceased to stand for since this was asked last, as far as
    /// their classes allow it. Whoever resolves names hands the addresses to [`Compiler::resolved`].
    pub fn take_touched_names(&mut self) -> BTreeSet<Arc<str>> {
        self.backends.take_touched_names()
    }

    /// The Services whose name this is, each once, as far as they are to be resolved.
    pub fn users_of_name(&self, host: &str) -> BTreeSet<Name> {
        self.backends.external(host).map(|backend| backend.service.clone()).collect()
    }

    /// Takes in what a name was resolved to: requests see it when this returns.
    pub fn resolved(&self, host: &str, addresses: &[IpAddr]) {
        for backend in self.backends.external(host) {
            let name = backend.external_name.load();
            let Some(name) = name.as_deref() else { continue };
            let endpoint =
                |address: &IpAddr| Endpoint { address: (*address, name.port.get()).into(), pod: None };
            let endpoints = match addresses {
                [] => Endpoints::NoneReady,
                addresses => Endpoints::Ready(addresses.iter().map(endpoint).collect()),
            };
            if **backend.endpoints.load() != endpoints {
                backend.endpoints.store(Arc::new(endpoints));
            }
        }
    }

    /// Says in which zone the gateway runs, where that is known only after its start. The next [`Compiler::apply`]
    /// brings all endpoints in step.
    pub fn set_zone(&mut self, zone: Option<String>) {
        self.backends.set_zone(zone);
    }

    /// Takes changes in, all of them together, and gives the table of the new Snapshot beside the Problems that
    /// came and went. If a delta changes one object more than once, the last change counts.
    ///
    /// Endpoint cells are shared with earlier tables, so changes of Services and EndpointSlices are visible in
    /// those as soon as this returns.
    pub fn apply(&mut self, delta: Delta) -> (RoutingTable, ProblemDelta) {
        let mut pending = Pending::new(delta);
        let mut ledger = Ledger::default();
        let mut dirty = self.take_surroundings(&mut pending, &mut ledger);
        let mut ingresses = pending.ingresses;
        for name in &dirty.again {
            ingresses.entry(name.clone()).or_insert(IngressChange::Again);
        }

        // Everything is withdrawn before anything is admitted again, but Backends without users stay until the
        // end: an Ingress that keeps its Service keeps its cell.
        let mut admitted = Vec::new();
        for (name, change) in ingresses {
            let existed = self.ingresses.contains_key(&name);
            if self.is_known(&name, &change) && !dirty.again.contains(&name) {
                continue;
            }
            if existed {
                self.withdraw(&name, &mut dirty, &mut ledger);
            }
            // It may have come or gone, or have become another controller's.
            dirty.policies.extend(self.policies.about_ingress(&name).cloned());
            if self.store(&name, change) {
                admitted.push(name);
            }
        }
        for name in admitted {
            self.admit(&name, &mut dirty, &mut ledger);
        }
        let (ingresses, classes) = (&self.ingresses, &self.classes);
        let lack = |scope: &Scope| match scope {
            Scope::Class(class) => classes.lack(class),
            Scope::Ingress { name, .. } => match ingresses.get(name) {
                None => Some(Lack::Absent),
                Some(entry) => classes.lack_of(&entry.ingress),
            },
        };
        self.policies.look_for_targets(dirty.policies, lack, &mut ledger);
        self.backends.sweep();
        self.secrets.sweep();
        let rebuilt = self.hosts.rebuild(dirty.hosts, &self.ownership, &mut ledger);
        let defaults = self.defaults.build(&self.ownership, &mut ledger);
        self.table = self.table.with(rebuilt, defaults, Arc::clone(&self.ownership));
        (self.table.clone(), ledger.close())
    }

    /// Takes in all but the Ingresses, and tells which Ingresses and policies have to be looked at because of it.
    fn take_surroundings(&mut self, pending: &mut Pending, ledger: &mut Ledger) -> Dirty {
        let mut dirty = Dirty::default();
        for namespace in self.namespaces.update(std::mem::take(&mut pending.namespaces)) {
            let first = Name { namespace: namespace.clone(), name: "".into() };
            let of_namespace = self.ingresses.range(first..).map(|(name, _)| name);
            dirty.again.extend(of_namespace.take_while(|name| name.namespace == namespace).cloned());
        }
        let (classes, configs) =
            (std::mem::take(&mut pending.classes), std::mem::take(&mut pending.class_configs));
        let changed = self.classes.update(classes, configs, ledger);
        let touched = self.policies.update(std::mem::take(&mut pending.policies), ledger);
        dirty.again.extend(touched.ingresses);
        dirty.policies = touched.policies;
        for class in &changed {
            dirty.policies.extend(self.policies.about_class(class).cloned());
        }
        for class in changed.union(&touched.classes) {
            dirty.again.extend(self.classes.users(class));
        }
        // What belongs to whom is for all classes, so that a change of it may be about any Ingress.
        if !changed.is_empty() && *self.ownership != self.classes.ownership() {
            self.ownership = Arc::new(self.classes.ownership());
            self.defaults.forget();
            dirty.again.extend(self.classes.all_users());
        }
        let (services, slices) = (std::mem::take(&mut pending.services), std::mem::take(&mut pending.slices));
        self.backends.update(services, slices, ledger);
        self.secrets.update(std::mem::take(&mut pending.secrets), ledger);
        if !(changed.is_empty() && touched.classes.is_empty()) {
            self.defaults.set_classes(
                (&self.classes, &mut self.policies),
                &self.own_namespace,
                (&mut self.backends, &mut self.secrets),
                (&mut self.next_origin, ledger),
            );
        }
        dirty
    }

    /// Whether a change tells nothing that is compiled. Somebody else's status, or a label, still makes a new version.
    fn is_known(&mut self, name: &Name, change: &IngressChange) -> bool {
        let IngressChange::Apply(ingress) = change else { return false };
        let Some(known) = self.ingresses.get_mut(name).map(|entry| &mut entry.ingress) else { return false };
        let version = std::mem::replace(&mut known.version, ingress.version);
        let is_known = known == ingress;
        if !is_known {
            known.version = version;
        }
        is_known
    }

    /// Takes out of all indexes what an Ingress brought in. It stays known.
    fn withdraw(&mut self, name: &Name, dirty: &mut Dirty, ledger: &mut Ledger) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        let lowered = std::mem::take(&mut entry.lowered);
        ledger.remove(lowered.problems);
        self.policies.remove_shared(lowered.policy_problems.into_vec(), ledger);
        for host in lowered.hosts {
            self.hosts.leave(&host, &entry.seniority);
            dirty.hosts.insert(host);
        }
        if lowered.default.is_some() {
            self.defaults.leave(&entry.ingress, &entry.seniority);
        }
        for claim in &lowered.backend_uses {
            self.backends.release(claim, ledger);
        }
        for claim in &lowered.secret_uses {
            self.secrets.release(claim, ledger);
        }
        self.classes.leave(&entry.ingress);
    }

    /// Keeps the new state of an Ingress, and tells whether it exists.
    fn store(&mut self, name: &Name, change: IngressChange) -> bool {
        match change {
            IngressChange::Again => self.ingresses.contains_key(name),
            IngressChange::Delete => {
                self.ingresses.remove(name);
                false
            }
            IngressChange::Apply(ingress) => {
                match self.ingresses.entry(name.clone()) {
                    Slot::Occupied(mut slot) => slot.get_mut().ingress = ingress,
                    Slot::Vacant(slot) => {
                        let (kind, name) = (Kind::Ingress, slot.key().clone());
                        let seniority = Seniority::of(&ingress, self.namespaces.presence(&name.namespace));
                        let origin = Arc::new(IngressOrigin { kind, name, id: self.next_origin });
                        self.next_origin += 1;
                        slot.insert(Entry { ingress, seniority, origin, lowered: Lowered::default() });
                    }
                }
                true
            }
        }
    }

    /// Compiles an Ingress, if it is ours, as far as it can be compiled alone, and enters it into the indexes.
    fn admit(&mut self, name: &Name, dirty: &mut Dirty, ledger: &mut Ledger) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        entry.seniority = Seniority::of(&entry.ingress, self.namespaces.presence(&name.namespace));
        self.classes.join(&entry.ingress);
        let (lowered, hosts) = match self.classes.admission(&entry.ingress) {
            Admission::NotOurs => return,
            Admission::Refused(problem) => {
                (Lowered { problems: Box::new([*problem]), ..Lowered::default() }, BTreeMap::new())
            }
            Admission::Ours(rules) => {
                let translation = translate::translate(&entry.ingress, &self.ownership);
                let context = Lowering {
                    origin: &entry.origin,
                    external_names: rules.external_names,
                    class_certificate: rules.default_certificate.clone(),
                    backends: &mut self.backends,
                    overlay: self.policies.overlay(Some(name), entry.ingress.class_name()),
                };
                lower::lower(translation, context)
            }
        };
        ledger.add(lowered.problems.iter().cloned());
        self.policies.add_shared(&lowered.policy_problems, ledger);
        for (host, claims) in hosts {
            dirty.hosts.insert(host.clone());
            self.hosts.join(host, &entry.seniority, claims);
        }
        if let Some(default) = &lowered.default {
            self.defaults.join(&entry.ingress, &entry.seniority, default);
        }
        for claim in &lowered.backend_uses {
            self.backends.report(claim, ledger);
        }
        for claim in &lowered.secret_uses {
            self.secrets.claim(claim, ledger);
        }
        entry.lowered = lowered;
    }
}
