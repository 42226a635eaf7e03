//! Compiles changes of objects to a routing table and changes of Problems.
//!
//! Compiling is total: an invalid object costs only itself. It is deterministic: the order of changes does not affect
//! the result. It is incremental: a change costs in proportion to the hosts and Services that it affects. Not here:
//! the source of changes, and publishing tables.
//!
//! The steps of one Ingress: `class_index` (is it served?) → `translate` (to the shape of HTTPRoute) → `route_builder`
//! (to Routes that share Backends) → `host_index` (precedence within a host) → table. In a class with a handler, `answered`
//! comes in place of `translate`: it reads the handler's answers, which the caller brings.

mod acceptance;
mod annotations;
mod answered;
mod answered_policy;
mod backend_registry;
mod change_set;
mod class_index;
mod config;
mod defaults;
mod endpoints;
mod handler_index;
mod handler_input;
mod handler_source;
mod handlers;
mod host_index;
mod ingress_counts;
mod inspect;
mod namespaces;
mod pattern;
mod pattern_interner;
mod plugin_entry;
mod plugin_index;
mod plugin_merge;
mod plugin_rules;
mod plugin_source;
mod plugin_upstream;
mod policy_entry;
mod policy_index;
mod policy_interner;
mod policy_merge;
mod policy_target;
mod precedence;
mod problem_delta;
mod referrer;
mod reporting;
mod route_builder;
mod route_match;
mod rule_filters;
mod secret_registry;
mod tls;
mod translate;
mod translation;

pub use plugin_upstream::parse_upstream;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
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
use crate::table::PluginDefinition;
use crate::table::PluginName;
use crate::table::Policy;
use crate::table::ReadyEndpoints;
use crate::table::RoutingTable;

use answered::AnswerContext;
use backend_registry::BackendRegistry;
use change_set::ChangeSet;
use change_set::IngressChange;
use class_index::ClassIndex;
use defaults::ClassContext;
use defaults::DefaultBackends;
use handler_index::HandlerIndex;
use host_index::HostIndex;
use ingress_counts::IngressStanding;
use namespaces::Namespaces;
use pattern_interner::PatternInterner;
use plugin_index::PluginChanges;
use plugin_index::PluginContext;
use plugin_index::PluginIndex;
use policy_index::AffectedTargets;
use policy_index::PolicyIndex;
use policy_target::TargetError;
use policy_target::TargetScope;
use precedence::Precedence;
use problem_delta::ProblemDeltaBuilder;
use route_builder::BuiltIngress;
use route_builder::IngressContribution;
use route_builder::RouteBuilder;
use secret_registry::SecretRegistry;

pub use config::Config;
pub use ingress_counts::IngressCounts;
pub use problem_delta::ProblemDelta;
pub use reporting::ConfigState;
pub use reporting::Reporting;

/// Holds all objects and everything compiled from them.
#[derive(Debug)]
pub struct Compiler {
    own_namespace: String,
    table: RoutingTable,
    classes: ClassIndex,
    namespaces: Namespaces,
    ownership: Arc<Ownership>,
    policies: PolicyIndex,
    plugins: PluginIndex,
    ingresses: BTreeMap<Name, IngressEntry>,
    counts: IngressCounts,
    handlers: HandlerIndex,
    /// Whether the module of a handler may have changed since [`Compiler::take_handlers`].
    have_handlers_changed: bool,
    hosts: HostIndex,
    defaults: DefaultBackends,
    backends: BackendRegistry,
    patterns: PatternInterner,
    secrets: SecretRegistry,
    /// Number of the next [`IngressOrigin`].
    next_origin: u64,
    /// Since the last [`Compiler::take_changed_ingresses`].
    changed_ingresses: BTreeSet<Name>,
}

/// An Ingress and everything compiled from it.
#[derive(Debug)]
struct IngressEntry {
    ingress: Ingress,
    /// Its key in the indexes.
    precedence: Precedence,
    origin: Arc<IngressOrigin>,
    contribution: IngressContribution,
    /// As counted. `None` before it is admitted.
    standing: Option<IngressStanding>,
}

/// The work that a delta causes beside its own Ingresses.
#[derive(Debug, Default)]
struct Dirty {
    /// Unchanged Ingresses to compile again.
    recompile: BTreeSet<Name>,
    /// Policies whose targets may have appeared or disappeared.
    policies: BTreeSet<Name>,
    /// Plugins whose targets may have appeared or disappeared.
    plugins: BTreeSet<Name>,
    /// Hosts to rebuild.
    hosts: BTreeSet<HostName>,
    /// Ingresses whose answers alone changed. No handler is asked again about them.
    answered: BTreeSet<Name>,
}

/// Compiles all objects at once. Equals [`Compiler::apply`] on a new Compiler. The Problems are sorted.
pub fn compile(config: Config, objects: impl IntoIterator<Item = Object>) -> (RoutingTable, Vec<Problem>) {
    let (table, problems) = Compiler::new(config).apply(objects.into_iter().map(Change::Apply).collect());
    (table, problems.added)
}

impl Compiler {
    /// Creates a Compiler without objects.
    pub fn new(config: Config) -> Self {
        Self {
            table: RoutingTable::default(),
            classes: ClassIndex::new(&config),
            namespaces: Namespaces::default(),
            ownership: Arc::default(),
            policies: PolicyIndex::new(&config.namespace),
            plugins: PluginIndex::new(&config),
            ingresses: BTreeMap::new(),
            counts: IngressCounts::default(),
            handlers: HandlerIndex::default(),
            have_handlers_changed: false,
            hosts: HostIndex::default(),
            defaults: DefaultBackends::default(),
            backends: BackendRegistry::new(config.zone),
            patterns: PatternInterner::default(),
            secrets: SecretRegistry::default(),
            next_origin: 0,
            changed_ingresses: BTreeSet::new(),
            own_namespace: config.namespace,
        }
    }

    /// Returns the merged policies that came since the last call and are in use. The caller builds for each what the
    /// data plane needs, under its [`crate::PolicyId`].
    pub fn take_new_policies(&mut self) -> Vec<Arc<Policy>> {
        self.policies.take_new()
    }

    /// Returns the plugins with a valid spec, sorted by name. A plugin keeps its value as long as nothing in it changes.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<PluginDefinition>> {
        self.plugins.definitions()
    }

    /// Returns the configurations that a plugin has on the Routes of the last table, sorted and without duplicates.
    pub fn plugin_configs(&self, plugin: &PluginName) -> Vec<Arc<str>> {
        self.plugins.configs(plugin)
    }

    /// Returns the external names (ExternalName Services of classes that allow them) that gained or lost a Service since
    /// the last call. The caller resolves them and passes the addresses to [`Compiler::set_addresses`].
    pub fn take_changed_external_names(&mut self) -> BTreeSet<Arc<str>> {
        self.backends.take_changed_external_names()
    }

    /// Returns the Services whose external name this is. Empty if the name need not be resolved.
    pub fn services_with_external_name(&self, host: &str) -> BTreeSet<Name> {
        self.backends.with_external_name(host).map(|backend| backend.service.clone()).collect()
    }

    /// Sets the addresses of an external name. Requests use them as soon as this returns.
    pub fn set_addresses(&self, host: &str, addresses: &[IpAddr]) {
        for backend in self.backends.with_external_name(host) {
            let name = backend.external_name.load();
            let Some(name) = name.as_deref() else { continue };
            let endpoint =
                |address: &IpAddr| Endpoint { address: (*address, name.port.get()).into(), pod: None };
            let endpoints = match addresses {
                [] => Endpoints::NoneReady,
                addresses => {
                    let preferred = addresses.iter().map(endpoint).collect();
                    Endpoints::Ready(ReadyEndpoints::new(preferred, Vec::new()))
                }
            };
            if **backend.endpoints.load() != endpoints {
                backend.endpoints.store(Arc::new(endpoints));
            }
        }
    }

    /// Sets the gateway's zone. The next [`Compiler::apply`] updates all endpoints.
    pub fn set_zone(&mut self, zone: Option<String>) {
        self.backends.set_zone(zone);
    }

    /// Applies a delta. Returns the new table, and the Problems that were added and removed. If the delta changes an
    /// object more than once, the last change counts.
    ///
    /// Earlier tables share the endpoint cells. Changes of Services and EndpointSlices are visible in them as soon as
    /// this returns.
    pub fn apply(&mut self, delta: Delta) -> (RoutingTable, ProblemDelta) {
        let mut changes = ChangeSet::new(delta);
        let mut problem_delta = ProblemDeltaBuilder::default();
        let ingresses = std::mem::take(&mut changes.ingresses);
        let dirty = self.apply_context(changes, &mut problem_delta);
        self.rebuild(ingresses, dirty, problem_delta)
    }

    /// Compiles Ingresses, and everything that they affect.
    fn rebuild(
        &mut self,
        ingresses: BTreeMap<Name, IngressChange>,
        mut dirty: Dirty,
        mut problem_delta: ProblemDeltaBuilder,
    ) -> (RoutingTable, ProblemDelta) {
        self.apply_ingresses(ingresses, &mut dirty, &mut problem_delta);
        self.check_targets(dirty.policies, dirty.plugins, &mut problem_delta);
        self.backends.sweep();
        self.secrets.sweep();
        let rebuilt = self.hosts.rebuild(dirty.hosts, &self.ownership, &mut problem_delta);
        let defaults = self.defaults.build(&self.ownership, &mut problem_delta);
        self.table = self.table.with(rebuilt, defaults, Arc::clone(&self.ownership));
        (self.table.clone(), problem_delta.build())
    }

    /// Applies the changes of all kinds but Ingress. Returns the Ingresses, policies and plugins that they affect.
    fn apply_context(&mut self, changes: ChangeSet, problem_delta: &mut ProblemDeltaBuilder) -> Dirty {
        let mut dirty = Dirty::default();
        self.note_handler_inputs(&changes);
        for namespace in self.namespaces.update(changes.namespaces) {
            dirty.recompile.extend(self.ingresses_in(&namespace));
        }
        let changed = self.classes.update(changes.classes, changes.class_configs, problem_delta);
        self.backends.update(changes.services, changes.slices, problem_delta);
        self.secrets.update(changes.secrets, problem_delta);
        let mut affected = self.policies.update(changes.policies, problem_delta);
        let plugins = PluginChanges { plugins: changes.plugins, config_maps: changes.config_maps };
        self.apply_plugins(plugins, &mut affected, &mut dirty, problem_delta);
        dirty.recompile.extend(affected.ingresses);
        dirty.policies.extend(affected.policies);
        for class in &changed {
            dirty.policies.extend(self.policies.targeting_class(class).cloned());
            dirty.plugins.extend(self.plugins.targeting_class(class).cloned());
        }
        for class in &changed {
            self.have_handlers_changed = true;
            self.handlers.mark_class(class);
        }
        for class in changed.union(&affected.classes) {
            dirty.recompile.extend(self.classes.ingresses_of_class(class));
        }
        // Ownership applies to all classes, so a change of it may affect any Ingress.
        if !changed.is_empty() && *self.ownership != self.classes.ownership() {
            self.ownership = Arc::new(self.classes.ownership());
            self.defaults.mark_dirty();
            dirty.recompile.extend(self.classes.all_ingresses());
        }
        if !(changed.is_empty() && affected.classes.is_empty()) {
            self.defaults.set_classes(ClassContext {
                classes: &self.classes,
                policies: &mut self.policies,
                plugins: &mut self.plugins,
                own_namespace: &self.own_namespace,
                backends: &mut self.backends,
                secrets: &mut self.secrets,
                next_origin: &mut self.next_origin,
                problem_delta,
            });
        }
        dirty
    }

    /// Applies the changes of plugins and their ConfigMaps. Adds the objects that they affect.
    fn apply_plugins(
        &mut self,
        changes: PluginChanges,
        affected: &mut AffectedTargets,
        dirty: &mut Dirty,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        let (backends, next_origin) = (&mut self.backends, &mut self.next_origin);
        let mut context = PluginContext { backends, next_origin, problem_delta };
        let routes = self.plugins.update(changes, &mut context);
        for namespace in &routes.namespaces {
            dirty.recompile.extend(self.ingresses_in(namespace));
        }
        dirty.plugins.extend(routes.plugins);
        affected.ingresses.extend(routes.ingresses);
        affected.classes.extend(routes.classes);
        for plugin in &routes.rerouted {
            dirty.recompile.extend(self.handlers.naming_plugin(plugin).cloned());
            let named = self.policies.naming_plugin(plugin);
            affected.ingresses.extend(named.ingresses);
            affected.classes.extend(named.classes);
            affected.policies.extend(named.policies);
        }
    }

    /// Returns the Ingresses of a namespace.
    fn ingresses_in(&self, namespace: &Arc<str>) -> Vec<Name> {
        let first = Name { namespace: Arc::clone(namespace), name: "".into() };
        let following = self.ingresses.range(first..).map(|(name, _)| name);
        following.take_while(|name| name.namespace == *namespace).cloned().collect()
    }

    /// Withdraws all changed Ingresses before it admits any. Backends without references stay until the sweep, so an
    /// Ingress that keeps its Service keeps its endpoint cell.
    fn apply_ingresses(
        &mut self,
        mut changes: BTreeMap<Name, IngressChange>,
        dirty: &mut Dirty,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        for name in &dirty.recompile {
            changes.entry(name.clone()).or_insert(IngressChange::Recompile);
        }
        let mut to_admit = Vec::new();
        for (name, change) in changes {
            if !matches!(change, IngressChange::Recompile) {
                dirty.answered.remove(&name);
            }
            let existed = self.ingresses.contains_key(&name);
            if self.is_unchanged(&name, &change) && !dirty.recompile.contains(&name) {
                continue;
            }
            if existed {
                self.withdraw(&name, dirty, problem_delta);
            }
            self.changed_ingresses.insert(name.clone());
            // The Ingress may be new, deleted or another controller's now.
            dirty.policies.extend(self.policies.targeting_ingress(&name).cloned());
            dirty.plugins.extend(self.plugins.targeting_ingress(&name).cloned());
            if self.store(&name, change) {
                to_admit.push(name);
            }
        }
        for name in to_admit {
            self.admit(&name, dirty, problem_delta);
        }
    }

    fn check_targets(
        &mut self,
        policies: BTreeSet<Name>,
        plugins: BTreeSet<Name>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        let (ingresses, classes) = (&self.ingresses, &self.classes);
        let target_error = |scope: &TargetScope| match scope {
            TargetScope::Class(class) => classes.class_target_error(class),
            TargetScope::Ingress { name, .. } => match ingresses.get(name) {
                None => Some(TargetError::NotFound),
                Some(entry) => classes.ingress_target_error(&entry.ingress),
            },
        };
        self.policies.check_targets(policies, &self.plugins, target_error, problem_delta);
        self.plugins.check_targets(plugins, target_error, problem_delta);
    }

    /// Returns true if a change alters nothing that is compiled: status and labels change the version only.
    fn is_unchanged(&mut self, name: &Name, change: &IngressChange) -> bool {
        let IngressChange::Apply(ingress) = change else { return false };
        let Some(known) = self.ingresses.get_mut(name).map(|entry| &mut entry.ingress) else { return false };
        let version = std::mem::replace(&mut known.version, ingress.version);
        let is_unchanged = known == ingress;
        if !is_unchanged {
            known.version = version;
        }
        is_unchanged
    }

    /// Removes the contribution of an Ingress from all indexes. The entry stays.
    fn withdraw(&mut self, name: &Name, dirty: &mut Dirty, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        let contribution = std::mem::take(&mut entry.contribution);
        problem_delta.remove(contribution.problems);
        self.policies.remove_shared_problems(contribution.policy_problems.into_vec(), problem_delta);
        for host in contribution.hosts {
            self.hosts.remove(&host, &entry.precedence);
            dirty.hosts.insert(host);
        }
        if contribution.default_route.is_some() {
            self.defaults.remove(&entry.ingress, &entry.precedence);
        }
        for reference in &contribution.backends {
            self.backends.release(reference, problem_delta);
        }
        for reference in &contribution.secrets {
            self.secrets.release(reference, problem_delta);
        }
        self.plugins.release_configs(&contribution.used_configs);
        self.classes.remove_ingress(&entry.ingress);
        if let Some(standing) = entry.standing.take() {
            self.counts.remove(&standing);
        }
        if let Some(class) = entry.ingress.class_name() {
            if !dirty.answered.contains(name) {
                self.handlers.mark(class, name);
            }
            self.handlers.remove(class, &entry.precedence);
        }
    }

    /// Stores the new state of an Ingress. Returns true if the Ingress exists.
    fn store(&mut self, name: &Name, change: IngressChange) -> bool {
        match change {
            IngressChange::Recompile => self.ingresses.contains_key(name),
            IngressChange::Delete => {
                self.handlers.forget(name);
                self.ingresses.remove(name);
                false
            }
            IngressChange::Apply(ingress) => {
                match self.ingresses.entry(name.clone()) {
                    Entry::Occupied(mut slot) => slot.get_mut().ingress = ingress,
                    Entry::Vacant(slot) => {
                        let (kind, name) = (Kind::Ingress, slot.key().clone());
                        let lifecycle = self.namespaces.lifecycle(&name.namespace);
                        let precedence = Precedence::of_ingress(&ingress, lifecycle);
                        let origin = Arc::new(IngressOrigin { kind, name, id: self.next_origin });
                        self.next_origin += 1;
                        let (contribution, standing) = (IngressContribution::default(), None);
                        slot.insert(IngressEntry { ingress, precedence, origin, contribution, standing });
                    }
                }
                true
            }
        }
    }

    /// Compiles a served Ingress and adds its contribution to all indexes.
    fn admit(&mut self, name: &Name, dirty: &mut Dirty, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        let lifecycle = self.namespaces.lifecycle(&name.namespace);
        entry.precedence = Precedence::of_ingress(&entry.ingress, lifecycle);
        self.classes.add_ingress(&entry.ingress);
        let accepted = acceptance::accept(&self.classes, &entry.ingress);
        self.counts.add(&accepted.standing);
        entry.standing = Some(accepted.standing);
        let built = match accepted.parameters {
            None => {
                self.handlers.forget(name);
                BuiltIngress::unserved(accepted.problems)
            }
            Some(parameters) => {
                let class = entry.ingress.class_name();
                let mut merger = self.policies.merger(&self.plugins, Some(name), class);
                let mut translation = match (&parameters.handler, class) {
                    (Some(handler), Some(class)) => {
                        let hosts = handler_input::hosts(&entry.ingress);
                        self.handlers.insert(class, hosts, &entry.precedence);
                        if !dirty.answered.contains(name) {
                            self.handlers.mark(class, name);
                        }
                        let answers = self.handlers.merge_into(name, &mut merger);
                        let (plugins, ownership) = (&self.plugins, &self.ownership);
                        let context = AnswerContext { handler, answers, plugins, ownership };
                        answered::translate(&entry.ingress, context)
                    }
                    _ => {
                        self.handlers.forget(name);
                        translate::translate(&entry.ingress, &self.ownership)
                    }
                };
                translation.problems.extend(accepted.problems);
                let builder = RouteBuilder {
                    origin: &entry.origin,
                    class: entry.ingress.class_name().cloned().unwrap_or_default(),
                    external_names: parameters.external_names,
                    is_closed: accepted.is_closed,
                    class_certificate: parameters.default_certificate.clone(),
                    registry: &mut self.backends,
                    merger,
                    patterns: &mut self.patterns,
                    acquired: Vec::new(),
                    faults: Vec::new(),
                };
                builder.build(translation)
            }
        };
        self.index(name, built, dirty, problem_delta);
    }

    /// Adds what an Ingress defines to all indexes, and keeps it in its entry.
    fn index(
        &mut self,
        name: &Name,
        built: BuiltIngress,
        dirty: &mut Dirty,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        let Some(entry) = self.ingresses.get_mut(name) else { return };
        let BuiltIngress { contribution, hosts } = built;
        problem_delta.add(contribution.problems.iter().cloned());
        self.policies.add_shared_problems(&contribution.policy_problems, problem_delta);
        for (host, contribution) in hosts {
            dirty.hosts.insert(host.clone());
            self.hosts.insert(host, &entry.precedence, contribution);
        }
        if let Some(route) = &contribution.default_route {
            self.defaults.insert(&entry.ingress, &entry.precedence, route);
        }
        for reference in &contribution.backends {
            self.backends.report_fault(reference, problem_delta);
        }
        for reference in &contribution.secrets {
            self.secrets.acquire(reference, problem_delta);
        }
        self.plugins.acquire_configs(&contribution.used_configs);
        entry.contribution = contribution;
    }
}
