//! From changes of objects to a routing table and changes of Problems.
//!
//! Purpose: total (whatever an object holds, the rest is compiled), deterministic (the order of changes does not
//! show in the result), and incremental (a change costs what it touches: a host names its Ingresses, a Service
//! its Backends). Not here: where changes come from, and publishing tables.
//!
//! The way of one Ingress: `class` (is it ours?) → `translate` (to the shape of HTTPRoute, with field paths) →
//! `lower` (to Routes that share Backends) → `hosts` (who wins which path of a host) → table.

mod backend_registry;
mod change_set;
mod class_index;
mod defaults;
mod endpoints;
mod host_index;
mod inspect;
mod namespaces;
mod policy_index;
mod policy_interner;
mod policy_merge;
mod precedence;
mod problem_delta;
mod route_builder;
mod secret_registry;
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

use backend_registry::BackendRegistry;
use change_set::ChangeSet;
use change_set::IngressChange;
use class_index::ClassIndex;
use class_index::ClassMatch;
use defaults::DefaultBackends;
use host_index::HostIndex;
use namespaces::Namespaces;
use policy_index::PolicyIndex;
use policy_index::TargetError;
use policy_index::TargetScope;
use precedence::Precedence;
use problem_delta::ProblemDeltaBuilder;
use route_builder::IngressContribution;
use route_builder::RouteBuilder;
use secret_registry::SecretRegistry;

pub use problem_delta::ProblemDelta;

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
            controller: api::CONTROLLER.to_owned(),
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
    classes: ClassIndex,
    namespaces: Namespaces,
    ownership: Arc<Ownership>,
    policies: PolicyIndex,
    ingresses: BTreeMap<Name, IngressEntry>,
    hosts: HostIndex,
    defaults: DefaultBackends,
    backends: BackendRegistry,
    secrets: SecretRegistry,
    next_origin: u64,
}

/// An Ingress and what became of it.
#[derive(Debug)]
struct IngressEntry {
    ingress: Ingress,
    /// Under which it stands in the indexes.
    precedence: Precedence,
    origin: Arc<IngressOrigin>,
    contribution: IngressContribution,
}

/// What a delta asks to be done, beside the Ingresses in it.
#[derive(Debug, Default)]
struct Dirty {
    /// To be admitted again although they may be the same.
    recompile: BTreeSet<Name>,
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
            classes: ClassIndex::new(&config),
            namespaces: Namespaces::default(),
            ownership: Arc::default(),
            policies: PolicyIndex::new(&config.namespace),
            ingresses: BTreeMap::new(),
            hosts: HostIndex::default(),
            defaults: DefaultBackends::default(),
            backends: BackendRegistry::new(config.zone),
            secrets: SecretRegistry::default(),
            next_origin: 0,
            own_namespace: config.namespace,
        }
    }

    /// The names that Services of type ExternalName began or ceased to stand for since this was asked last, as far as
    /// their classes allow it. Whoever resolves names hands the addresses to [`Compiler::resolved`].
    pub fn take_changed_external_names(&mut self) -> BTreeSet<Arc<str>> {
        self.backends.take_changed_external_names()
    }

    /// The Services whose name this is, each once, as far as they are to be resolved.
    pub fn services_with_external_name(&self, host: &str) -> BTreeSet<Name> {
        self.backends.with_external_name(host).map(|backend| backend.service.clone()).collect()
    }

    /// Takes in what a name was resolved to: requests see it when this returns.
    pub fn set_addresses(&self, host: &str, addresses: &[IpAddr]) {
        for backend in self.backends.with_external_name(host) {
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
        let mut pending = ChangeSet::new(delta);
        let mut problem_delta = ProblemDeltaBuilder::default();
        let mut dirty = self.apply_context(&mut pending, &mut problem_delta);
        let mut ingresses = pending.ingresses;
        for name in &dirty.recompile {
            ingresses.entry(name.clone()).or_insert(IngressChange::Recompile);
        }

        // Everything is withdrawn before anything is admitted again, but Backends without users stay until the
        // end: an Ingress that keeps its Service keeps its cell.
        let mut admitted = Vec::new();
        for (name, change) in ingresses {
            let existed = self.ingresses.contains_key(&name);
            if self.is_unchanged(&name, &change) && !dirty.recompile.contains(&name) {
                continue;
            }
            if existed {
                self.withdraw(&name, &mut dirty, &mut problem_delta);
            }
            // It may have come or gone, or have become another controller's.
            dirty.policies.extend(self.policies.targeting_ingress(&name).cloned());
            if self.store(&name, change) {
                admitted.push(name);
            }
        }
        for name in admitted {
            self.admit(&name, &mut dirty, &mut problem_delta);
        }
        let (ingresses, classes) = (&self.ingresses, &self.classes);
        let target_error = |scope: &TargetScope| match scope {
            TargetScope::Class(class) => classes.class_target_error(class),
            TargetScope::Ingress { name, .. } => match ingresses.get(name) {
                None => Some(TargetError::NotFound),
                Some(entry) => classes.ingress_target_error(&entry.ingress),
            },
        };
        self.policies.check_targets(dirty.policies, target_error, &mut problem_delta);
        self.backends.sweep();
        self.secrets.sweep();
        let rebuilt = self.hosts.rebuild(dirty.hosts, &self.ownership, &mut problem_delta);
        let defaults = self.defaults.build(&self.ownership, &mut problem_delta);
        self.table = self.table.with(rebuilt, defaults, Arc::clone(&self.ownership));
        (self.table.clone(), problem_delta.close())
    }

    /// Takes in all but the Ingresses, and tells which Ingresses and policies have to be looked at because of it.
    fn apply_context(&mut self, pending: &mut ChangeSet, problem_delta: &mut ProblemDeltaBuilder) -> Dirty {
        let mut dirty = Dirty::default();
        for namespace in self.namespaces.update(std::mem::take(&mut pending.namespaces)) {
            let first = Name { namespace: namespace.clone(), name: "".into() };
            let of_namespace = self.ingresses.range(first..).map(|(name, _)| name);
            dirty.recompile.extend(of_namespace.take_while(|name| name.namespace == namespace).cloned());
        }
        let (classes, configs) =
            (std::mem::take(&mut pending.classes), std::mem::take(&mut pending.class_configs));
        let changed = self.classes.update(classes, configs, problem_delta);
        let affected = self.policies.update(std::mem::take(&mut pending.policies), problem_delta);
        dirty.recompile.extend(affected.ingresses);
        dirty.policies = affected.policies;
        for class in &changed {
            dirty.policies.extend(self.policies.targeting_class(class).cloned());
        }
        for class in changed.union(&affected.classes) {
            dirty.recompile.extend(self.classes.ingresses_of_class(class));
        }
        // What belongs to whom is for all classes, so that a change of it may be about any Ingress.
        if !changed.is_empty() && *self.ownership != self.classes.ownership() {
            self.ownership = Arc::new(self.classes.ownership());
            self.defaults.mark_dirty();
            dirty.recompile.extend(self.classes.all_ingresses());
        }
        let (services, slices) = (std::mem::take(&mut pending.services), std::mem::take(&mut pending.slices));
        self.backends.update(services, slices, problem_delta);
        self.secrets.update(std::mem::take(&mut pending.secrets), problem_delta);
        if !(changed.is_empty() && affected.classes.is_empty()) {
            self.defaults.set_classes(
                (&self.classes, &mut self.policies),
                &self.own_namespace,
                (&mut self.backends, &mut self.secrets),
                (&mut self.next_origin, problem_delta),
            );
        }
        dirty
    }

    /// Whether a change tells nothing that is compiled. Somebody else's status, or a label, still makes a new version.
    fn is_unchanged(&mut self, name: &Name, change: &IngressChange) -> bool {
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
    fn withdraw(&mut self, name: &Name, dirty: &mut Dirty, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        let contribution = std::mem::take(&mut entry.contribution);
        problem_delta.remove(contribution.problems);
        self.policies.remove_shared(contribution.policy_problems.into_vec(), problem_delta);
        for host in contribution.hosts {
            self.hosts.remove(&host, &entry.precedence);
            dirty.hosts.insert(host);
        }
        if contribution.default.is_some() {
            self.defaults.remove(&entry.ingress, &entry.precedence);
        }
        for claim in &contribution.backend_uses {
            self.backends.release(claim, problem_delta);
        }
        for claim in &contribution.secret_uses {
            self.secrets.release(claim, problem_delta);
        }
        self.classes.remove_ingress(&entry.ingress);
    }

    /// Keeps the new state of an Ingress, and tells whether it exists.
    fn store(&mut self, name: &Name, change: IngressChange) -> bool {
        match change {
            IngressChange::Recompile => self.ingresses.contains_key(name),
            IngressChange::Delete => {
                self.ingresses.remove(name);
                false
            }
            IngressChange::Apply(ingress) => {
                match self.ingresses.entry(name.clone()) {
                    Slot::Occupied(mut slot) => slot.get_mut().ingress = ingress,
                    Slot::Vacant(slot) => {
                        let (kind, name) = (Kind::Ingress, slot.key().clone());
                        let precedence =
                            Precedence::of_ingress(&ingress, self.namespaces.lifecycle(&name.namespace));
                        let origin = Arc::new(IngressOrigin { kind, name, id: self.next_origin });
                        self.next_origin += 1;
                        slot.insert(IngressEntry {
                            ingress,
                            precedence,
                            origin,
                            contribution: IngressContribution::default(),
                        });
                    }
                }
                true
            }
        }
    }

    /// Compiles an Ingress, if it is ours, as far as it can be compiled alone, and enters it into the indexes.
    fn admit(&mut self, name: &Name, dirty: &mut Dirty, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        entry.precedence = Precedence::of_ingress(&entry.ingress, self.namespaces.lifecycle(&name.namespace));
        self.classes.add_ingress(&entry.ingress);
        let (contribution, hosts) = match self.classes.match_ingress(&entry.ingress) {
            ClassMatch::Foreign => return,
            ClassMatch::Rejected(problem) => (
                IngressContribution { problems: Box::new([*problem]), ..IngressContribution::default() },
                BTreeMap::new(),
            ),
            ClassMatch::Served(rules) => {
                let translation = translate::translate(&entry.ingress, &self.ownership);
                let context = RouteBuilder {
                    origin: &entry.origin,
                    external_names: rules.external_names,
                    class_certificate: rules.default_certificate.clone(),
                    backends: &mut self.backends,
                    merger: self.policies.merger(Some(name), entry.ingress.class_name()),
                };
                route_builder::build(translation, context)
            }
        };
        problem_delta.add(contribution.problems.iter().cloned());
        self.policies.add_shared(&contribution.policy_problems, problem_delta);
        for (host, claims) in hosts {
            dirty.hosts.insert(host.clone());
            self.hosts.insert(host, &entry.precedence, claims);
        }
        if let Some(default) = &contribution.default {
            self.defaults.insert(&entry.ingress, &entry.precedence, default);
        }
        for claim in &contribution.backend_uses {
            self.backends.report_fault(claim, problem_delta);
        }
        for claim in &contribution.secret_uses {
            self.secrets.acquire(claim, problem_delta);
        }
        entry.contribution = contribution;
    }
}
