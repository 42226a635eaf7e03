//! Index of all RoutePolicies by target.
//!
//! Not here: the parsing of a policy (`policy_entry`), and merging (`policy_merge`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::plugin_index::PluginIndex;
use super::plugin_merge::PluginMerger;
use super::policy_entry;
use super::policy_entry::PolicyEntry;
use super::policy_interner::PolicyInterner;
use super::policy_merge::PolicyMerger;
use super::policy_target::TargetError;
use super::policy_target::TargetScope;
use super::problem_delta::ProblemDeltaBuilder;
use crate::object::Name;
use crate::object::RoutePolicy;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::Policy;

/// The known policies and their targets.
#[derive(Debug)]
pub(super) struct PolicyIndex {
    /// The gateway's own namespace. Only its policies may target classes.
    namespace: Arc<str>,
    entries: BTreeMap<Name, PolicyEntry>,
    by_ingress: BTreeMap<Name, BTreeSet<Name>>,
    by_class: BTreeMap<Arc<str>, BTreeSet<Name>>,
    /// Policies by the plugins that they name.
    by_plugin: BTreeMap<Name, BTreeSet<Name>>,
    /// Problems of policies that Ingresses report, with the number of Ingresses that report each.
    shared_problems: BTreeMap<Problem, usize>,
    interner: PolicyInterner,
}

/// The former and present targets of changed policies.
#[derive(Debug, Default)]
pub(super) struct AffectedTargets {
    pub(super) ingresses: BTreeSet<Name>,
    pub(super) classes: BTreeSet<Arc<str>>,
    pub(super) policies: BTreeSet<Name>,
}

// ===== impl PolicyIndex =====

impl PolicyIndex {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            entries: BTreeMap::new(),
            by_ingress: BTreeMap::new(),
            by_class: BTreeMap::new(),
            by_plugin: BTreeMap::new(),
            shared_problems: BTreeMap::new(),
            interner: PolicyInterner::default(),
        }
    }

    pub(super) fn update(
        &mut self,
        changes: BTreeMap<Name, Option<RoutePolicy>>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) -> AffectedTargets {
        let mut affected = AffectedTargets::default();
        for (name, policy) in changes {
            if self.entries.get(&name).map(|entry| &entry.policy) == policy.as_ref() {
                continue;
            }
            if let Some(old) = self.entries.remove(&name) {
                problem_delta.remove(old.problems);
                problem_delta.remove(old.target_problems);
                for named in &old.plugins {
                    remove_from(&mut self.by_plugin, &named.plugin, &name);
                }
                for target in old.targets {
                    affected.insert(&target.scope);
                    self.unindex(&name, &target.scope);
                }
            }
            if let Some(policy) = policy {
                let entry = PolicyEntry::parse(policy, &self.namespace);
                problem_delta.add(entry.problems.iter().cloned());
                for target in &entry.targets {
                    affected.insert(&target.scope);
                    self.index(&name, &target.scope);
                }
                for named in &entry.plugins {
                    self.by_plugin.entry(named.plugin.clone()).or_default().insert(name.clone());
                }
                self.entries.insert(name.clone(), entry);
            }
            affected.policies.insert(name);
        }
        affected
    }

    fn index(&mut self, policy: &Name, scope: &TargetScope) {
        let policies = match scope {
            TargetScope::Class(class) => self.by_class.entry(class.clone()).or_default(),
            TargetScope::Ingress { name, .. } => self.by_ingress.entry(name.clone()).or_default(),
        };
        policies.insert(policy.clone());
    }

    fn unindex(&mut self, policy: &Name, scope: &TargetScope) {
        match scope {
            TargetScope::Class(class) => remove_from(&mut self.by_class, class, policy),
            TargetScope::Ingress { name, .. } => remove_from(&mut self.by_ingress, name, policy),
        }
    }

    pub(super) fn targeting_ingress(&self, name: &Name) -> impl Iterator<Item = &Name> {
        self.by_ingress.get(name).into_iter().flatten()
    }

    pub(super) fn targeting_class(&self, class: &str) -> impl Iterator<Item = &Name> {
        self.by_class.get(class).into_iter().flatten()
    }

    /// Returns the policies that name a plugin, and their targets.
    pub(super) fn naming_plugin(&self, plugin: &Name) -> AffectedTargets {
        let policies = self.by_plugin.get(plugin).cloned().unwrap_or_default();
        let mut affected = AffectedTargets { policies, ..AffectedTargets::default() };
        let entries: Vec<_> = affected.policies.iter().filter_map(|name| self.entries.get(name)).collect();
        for target in entries.iter().flat_map(|entry| &entry.targets) {
            affected.insert(&target.scope);
        }
        affected
    }

    /// Updates the Problems of targets that do not exist or are not served, and of plugins that do not exist.
    pub(super) fn check_targets(
        &mut self,
        policies: BTreeSet<Name>,
        plugins: &PluginIndex,
        target_error: impl Fn(&TargetScope) -> Option<TargetError>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        for name in policies {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let owner = policy_entry::reference(&name);
            let targets = entry.targets.iter().filter_map(|target| {
                let error = target_error(&target.scope)?;
                Some(target.problem(&owner, error))
            });
            // A name with a slash has its own Problem.
            let missing = entry
                .plugins
                .iter()
                .filter(|named| plugins.get(&named.plugin).is_none() && !named.plugin.name.contains('/'));
            let missing = missing.map(|named| {
                let message = format!(
                    "WasmPlugin {} does not exist; requests of these routes get a 503",
                    named.plugin.to_string().escape_debug()
                );
                let field = format!("{}.name", named.field);
                policy_entry::problem(&name, field, Reason::PluginNotFound, message)
            });
            let problems = targets.chain(missing).collect();
            problem_delta.remove(std::mem::replace(&mut entry.target_problems, problems));
            problem_delta.add(entry.target_problems.iter().cloned());
        }
    }

    /// Returns a merger of all policies and plugins for an Ingress and its class, or for a class alone.
    pub(super) fn merger<'a>(
        &'a mut self,
        plugins: &'a PluginIndex,
        ingress: Option<&'a Name>,
        class: Option<&Arc<str>>,
    ) -> PolicyMerger<'a> {
        let by_class = class.and_then(|class| self.by_class.get(class));
        let by_ingress = ingress.and_then(|ingress| self.by_ingress.get(ingress));
        let names: BTreeSet<&Name> = by_class.into_iter().chain(by_ingress).flatten().collect();
        let plugins = PluginMerger::new(plugins, ingress, class);
        let mut merger = PolicyMerger::new(&mut self.interner, plugins, ingress);
        for entry in names.into_iter().filter_map(|name| self.entries.get(name)) {
            for target in entry.targets.iter().filter(|target| target.scope.is_of(ingress, class)) {
                merger.add(entry, target);
            }
        }
        merger.sort();
        merger
    }

    /// Returns the merged policies that are new since the last call.
    pub(super) fn take_new(&mut self) -> Vec<Arc<Policy>> {
        self.interner.take_new()
    }

    /// Adds the Problems that one Ingress reports of policies. Several Ingresses may report the same Problem.
    pub(super) fn add_shared_problems(
        &mut self,
        problems: &[Problem],
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        for problem in problems {
            let count = self.shared_problems.entry(problem.clone()).or_default();
            *count += 1;
            if *count == 1 {
                problem_delta.add([problem.clone()]);
            }
        }
    }

    pub(super) fn remove_shared_problems(
        &mut self,
        problems: Vec<Problem>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        for problem in problems {
            let Some(count) = self.shared_problems.get_mut(&problem) else { continue };
            *count -= 1;
            if *count == 0 {
                self.shared_problems.remove(&problem);
                problem_delta.remove([problem]);
            }
        }
    }
}

fn remove_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Name>>, key: &K, policy: &Name) {
    let Some(policies) = index.get_mut(key) else { return };
    policies.remove(policy);
    if policies.is_empty() {
        index.remove(key);
    }
}

// ===== impl AffectedTargets =====

impl AffectedTargets {
    fn insert(&mut self, scope: &TargetScope) {
        match scope {
            TargetScope::Class(class) => self.classes.insert(class.clone()),
            TargetScope::Ingress { name, .. } => self.ingresses.insert(name.clone()),
        };
    }
}
