//! Index of all WasmPlugins by scope, with their definitions for the control plane.
//!
//! Not here: the parsing of a plugin (`plugin_entry`), and the plugins of a Route (`plugin_merge`).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::ExternalNames;

use super::backend_registry::BackendReference;
use super::backend_registry::BackendRegistry;
use super::backend_registry::BackendTarget;
use super::config::Config;
use super::endpoints::PortKey;
use super::endpoints::PortUser;
use super::plugin_entry;
use super::plugin_entry::ParsedPlugin;
use super::plugin_entry::PluginDetails;
use super::plugin_entry::PluginScope;
use super::plugin_rules::PluginRules;
use super::plugin_upstream::UpstreamRef;
use super::policy_target;
use super::policy_target::TargetError;
use super::policy_target::TargetScope;
use super::problem_delta::ProblemDeltaBuilder;
use super::referrer::Referrer;
use crate::object::ConfigMap;
use crate::object::Kind;
use crate::object::Name;
use crate::object::PortRef;
use crate::object::WasmPlugin;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FieldPath;
use crate::table::IngressOrigin;
use crate::table::PluginDefinition;
use crate::table::PluginSource;
use crate::table::PluginUpstream;

/// The known plugins, the ConfigMaps of their modules, and the configurations in use.
#[derive(Debug)]
pub(super) struct PluginIndex {
    config: Config,
    entries: BTreeMap<Name, PluginEntry>,
    by_namespace: BTreeMap<Arc<str>, BTreeSet<Name>>,
    by_ingress: BTreeMap<Name, BTreeSet<Name>>,
    by_class: BTreeMap<Arc<str>, BTreeSet<Name>>,
    config_maps: BTreeMap<Name, ConfigMap>,
    by_config_map: BTreeMap<Name, BTreeSet<Name>>,
    /// Configurations by plugin, with the number of their holders.
    used_configs: BTreeMap<Name, BTreeMap<Arc<str>, usize>>,
}

/// A plugin, and everything that was acquired for it.
#[derive(Debug)]
pub(super) struct PluginEntry {
    object: WasmPlugin,
    /// The referrer of its upstreams.
    origin: Arc<IngressOrigin>,
    pub(super) scope: PluginScope,
    /// `None` if the spec is malformed.
    pub(super) rules: Option<PluginRules>,
    definition: Option<Arc<PluginDefinition>>,
    upstreams: Vec<BackendReference>,
    /// Problems of the plugin alone.
    problems: Vec<Problem>,
    /// The Problem of a ConfigMap.
    module_problem: Option<Problem>,
    /// Problems of targets that do not exist or are not served.
    target_problems: Vec<Problem>,
}

/// The changes of [`PluginIndex::update`].
#[derive(Debug, Default)]
pub(super) struct PluginChanges {
    pub(super) plugins: BTreeMap<Name, Option<WasmPlugin>>,
    pub(super) config_maps: BTreeMap<Name, Option<ConfigMap>>,
}

/// Registries of [`PluginIndex::update`].
pub(super) struct PluginContext<'a> {
    pub(super) backends: &'a mut BackendRegistry,
    /// Number of the next [`IngressOrigin`].
    pub(super) next_origin: &'a mut u64,
    pub(super) problem_delta: &'a mut ProblemDeltaBuilder,
}

/// What changed plugins affect.
#[derive(Debug, Default)]
pub(super) struct AffectedRoutes {
    /// Namespaces whose Ingresses are affected.
    pub(super) namespaces: BTreeSet<Arc<str>>,
    pub(super) ingresses: BTreeSet<Name>,
    pub(super) classes: BTreeSet<Arc<str>>,
    /// All changed plugins.
    pub(super) plugins: BTreeSet<Name>,
    /// Plugins whose Routes changed, or whose order or configurations on them.
    pub(super) rerouted: BTreeSet<Name>,
}

/// A configuration that a plugin has on some Route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UsedConfig {
    pub(super) plugin: Name,
    pub(super) text: Arc<str>,
}

// ===== impl PluginIndex =====

impl PluginIndex {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            entries: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            by_ingress: BTreeMap::new(),
            by_class: BTreeMap::new(),
            config_maps: BTreeMap::new(),
            by_config_map: BTreeMap::new(),
            used_configs: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, name: &Name) -> Option<&PluginEntry> {
        self.entries.get(name)
    }

    /// Returns a ConfigMap that a plugin or a class handler refers to.
    pub(super) fn config_map(&self, name: &Name) -> Option<&ConfigMap> {
        self.config_maps.get(name)
    }

    /// Returns the definitions of all plugins with a valid spec, sorted by name.
    pub(super) fn definitions(&self) -> impl Iterator<Item = &Arc<PluginDefinition>> {
        self.entries.values().filter_map(|entry| entry.definition.as_ref())
    }

    /// Returns the plugins whose own scope covers an Ingress, its class, or a class alone. Sorted by name.
    pub(super) fn in_scope(
        &self,
        ingress: Option<&Name>,
        class: Option<&Arc<str>>,
    ) -> BTreeMap<&Name, &PluginEntry> {
        let by_namespace = ingress.and_then(|ingress| self.by_namespace.get(&ingress.namespace));
        let by_ingress = ingress.and_then(|ingress| self.by_ingress.get(ingress));
        let by_class = class.and_then(|class| self.by_class.get(class));
        let names = by_namespace.into_iter().chain(by_ingress).chain(by_class).flatten();
        names.filter_map(|name| self.entries.get_key_value(name)).collect()
    }

    pub(super) fn targeting_ingress(&self, name: &Name) -> impl Iterator<Item = &Name> {
        self.by_ingress.get(name).into_iter().flatten()
    }

    pub(super) fn targeting_class(&self, class: &str) -> impl Iterator<Item = &Name> {
        self.by_class.get(class).into_iter().flatten()
    }

    /// Applies changes of plugins and ConfigMaps.
    pub(super) fn update(
        &mut self,
        changes: PluginChanges,
        context: &mut PluginContext<'_>,
    ) -> AffectedRoutes {
        let mut affected = AffectedRoutes::default();
        let mut reloaded = BTreeSet::new();
        for (name, map) in changes.config_maps {
            reloaded.extend(self.by_config_map.get(&name).into_iter().flatten().cloned());
            match map {
                Some(map) => self.config_maps.insert(name, map),
                None => self.config_maps.remove(&name),
            };
        }
        for (name, plugin) in changes.plugins {
            if self.entries.get(&name).map(|entry| &entry.object) == plugin.as_ref() {
                continue;
            }
            reloaded.remove(&name);
            let before = self.remove(&name, context);
            let after = plugin.map(|plugin| self.build(plugin, before.as_ref(), context));
            affected.add(&name, before.as_ref(), after.as_ref());
            if let Some(entry) = after {
                self.insert(name, entry);
            }
        }
        for name in reloaded {
            self.reload(&name, context.problem_delta);
        }
        affected
    }

    /// Removes a plugin from all indexes, and its Problems.
    fn remove(&mut self, name: &Name, context: &mut PluginContext<'_>) -> Option<PluginEntry> {
        let entry = self.entries.remove(name)?;
        context.problem_delta.remove(entry.problems.iter().cloned());
        context.problem_delta.remove(entry.module_problem.clone());
        context.problem_delta.remove(entry.target_problems.iter().cloned());
        for reference in &entry.upstreams {
            context.backends.release(reference, context.problem_delta);
        }
        if let PluginScope::Namespace = entry.scope {
            remove_from(&mut self.by_namespace, &name.namespace, name);
        }
        for target in entry.scope.targets() {
            match &target.scope {
                TargetScope::Class(class) => remove_from(&mut self.by_class, class, name),
                TargetScope::Ingress { name: ingress, .. } => {
                    remove_from(&mut self.by_ingress, ingress, name)
                }
            }
        }
        if let Some(map) = entry.config_map() {
            remove_from(&mut self.by_config_map, map, name);
        }
        Some(entry)
    }

    fn insert(&mut self, name: Name, entry: PluginEntry) {
        if let PluginScope::Namespace = entry.scope {
            self.by_namespace.entry(name.namespace.clone()).or_default().insert(name.clone());
        }
        for target in entry.scope.targets() {
            let plugins = match &target.scope {
                TargetScope::Class(class) => self.by_class.entry(class.clone()).or_default(),
                TargetScope::Ingress { name, .. } => self.by_ingress.entry(name.clone()).or_default(),
            };
            plugins.insert(name.clone());
        }
        if let Some(map) = entry.config_map() {
            self.by_config_map.entry(map.clone()).or_default().insert(name.clone());
        }
        self.entries.insert(name, entry);
    }

    /// Builds a plugin. Keeps the number and, if nothing in it changed, the definition of the version before it.
    fn build(
        &self,
        plugin: WasmPlugin,
        before: Option<&PluginEntry>,
        context: &mut PluginContext<'_>,
    ) -> PluginEntry {
        let ParsedPlugin { scope, details, problems } = plugin_entry::parse(&plugin, &self.config);
        let origin = match before {
            Some(before) => Arc::clone(&before.origin),
            None => new_origin(&plugin.name, context),
        };
        let mut entry = PluginEntry {
            object: plugin,
            origin,
            scope,
            rules: None,
            definition: None,
            upstreams: Vec::new(),
            problems,
            module_problem: None,
            target_problems: Vec::new(),
        };
        if let Some(PluginDetails { rules, upstreams, mut definition }) = details {
            entry.acquire(&upstreams, &mut definition, context);
            entry.rules = Some(rules);
            let known = before.and_then(|before| before.definition.as_ref());
            self.set_definition(&mut entry, definition, known);
        }
        context.problem_delta.add(entry.problems.iter().cloned());
        context.problem_delta.add(entry.module_problem.clone());
        entry
    }

    /// Stores a definition with the present bytes of its ConfigMap.
    fn set_definition(
        &self,
        entry: &mut PluginEntry,
        mut definition: PluginDefinition,
        known: Option<&Arc<PluginDefinition>>,
    ) {
        entry.module_problem = self.load(&mut definition.source).map(|message| {
            let owner = plugin_entry::reference(&entry.object.name);
            policy_target::problem(&owner, "spec.url".to_owned(), Reason::ConfigMapNotFound, message)
        });
        entry.definition = Some(match known {
            Some(known) if **known == definition => Arc::clone(known),
            _ => Arc::new(definition),
        });
    }

    /// Sets the bytes of a ConfigMap. Returns what is missing.
    fn load(&self, source: &mut PluginSource) -> Option<String> {
        let PluginSource::ConfigMap { name, key, bytes } = source else { return None };
        let map = self.config_maps.get(name);
        *bytes = map.and_then(|map| map.data.get(key)).cloned();
        match (map, bytes) {
            (_, Some(_)) => None,
            (Some(_), None) => Some(format!("ConfigMap {name} has no key {}", key.escape_debug())),
            (None, None) => Some(format!("ConfigMap {name} does not exist")),
        }
    }

    /// Updates the definition of a plugin whose ConfigMap changed.
    fn reload(&mut self, name: &Name, problem_delta: &mut ProblemDeltaBuilder) {
        let Some(mut entry) = self.entries.remove(name) else { return };
        if let Some(known) = entry.definition.clone() {
            problem_delta.remove(entry.module_problem.take());
            self.set_definition(&mut entry, PluginDefinition::clone(&known), Some(&known));
            problem_delta.add(entry.module_problem.clone());
        }
        self.entries.insert(name.clone(), entry);
    }

    /// Updates the Problems of targets that do not exist or are not served.
    pub(super) fn check_targets(
        &mut self,
        plugins: BTreeSet<Name>,
        target_error: impl Fn(&TargetScope) -> Option<TargetError>,
        problem_delta: &mut ProblemDeltaBuilder,
    ) {
        for name in plugins {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let owner = plugin_entry::reference(&name);
            let problems = entry.scope.targets().iter().filter_map(|target| {
                let error = target_error(&target.scope)?;
                Some(target.problem(&owner, error))
            });
            let problems = problems.collect();
            problem_delta.remove(std::mem::replace(&mut entry.target_problems, problems));
            problem_delta.add(entry.target_problems.iter().cloned());
        }
    }
}

fn new_origin(plugin: &Name, context: &mut PluginContext<'_>) -> Arc<IngressOrigin> {
    let id = *context.next_origin;
    *context.next_origin += 1;
    Arc::new(IngressOrigin { kind: Kind::WasmPlugin, name: plugin.clone(), id })
}

fn remove_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Name>>, key: &K, plugin: &Name) {
    let Some(plugins) = index.get_mut(key) else { return };
    plugins.remove(plugin);
    if plugins.is_empty() {
        index.remove(key);
    }
}

// ===== configurations in use =====

impl PluginIndex {
    /// Returns the configurations that a plugin has on some Route, sorted.
    pub(super) fn configs(&self, plugin: &Name) -> Vec<Arc<str>> {
        self.used_configs.get(plugin).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// Adds a holder of each configuration.
    pub(super) fn acquire_configs(&mut self, configs: &[UsedConfig]) {
        for UsedConfig { plugin, text } in configs {
            let configs = self.used_configs.entry(plugin.clone()).or_default();
            *configs.entry(text.clone()).or_default() += 1;
        }
    }

    /// Removes a holder of each configuration.
    pub(super) fn release_configs(&mut self, configs: &[UsedConfig]) {
        for UsedConfig { plugin, text } in configs {
            let Some(known) = self.used_configs.get_mut(plugin) else { continue };
            let Some(count) = known.get_mut(text) else { continue };
            *count -= 1;
            if *count == 0 {
                known.remove(text);
            }
            if known.is_empty() {
                self.used_configs.remove(plugin);
            }
        }
    }
}

// ===== impl PluginEntry =====

impl PluginEntry {
    /// Returns namespace and name.
    pub(super) fn name(&self) -> &Name {
        &self.object.name
    }

    fn config_map(&self) -> Option<&Name> {
        match &self.definition.as_ref()?.source {
            PluginSource::ConfigMap { name, .. } => Some(name),
            PluginSource::File { .. } | PluginSource::Refused(_) => None,
        }
    }

    /// Acquires the Backends of the plugin's upstreams.
    fn acquire(
        &mut self,
        upstreams: &[UpstreamRef],
        definition: &mut PluginDefinition,
        context: &mut PluginContext<'_>,
    ) {
        for UpstreamRef { service, port, entry } in upstreams {
            let (named, external_names) = (PortRef::Number(*port), ExternalNames::Refuse);
            let key = PortKey { port: named, external_names, user: PortUser::Plugin };
            let field = FieldPath::Upstream { entry: *entry };
            let referrer = Referrer { owner: Arc::clone(&self.origin), field, via: None };
            let reference =
                context.backends.acquire(BackendTarget { service: service.clone(), key }, referrer);
            context.backends.report_fault(&reference, context.problem_delta);
            definition.upstreams.push(PluginUpstream {
                namespace: Arc::clone(&service.namespace),
                name: Arc::clone(&service.name),
                port: port.get(),
                backend: Arc::clone(&reference.backend),
            });
            self.upstreams.push(reference);
        }
    }
}

// ===== impl AffectedRoutes =====

impl AffectedRoutes {
    /// Adds a plugin with its former and present version.
    fn add(&mut self, name: &Name, before: Option<&PluginEntry>, after: Option<&PluginEntry>) {
        self.plugins.insert(name.clone());
        if let (Some(before), Some(after)) = (before, after)
            && before.scope == after.scope
            && before.rules == after.rules
        {
            return;
        }
        self.rerouted.insert(name.clone());
        for entry in before.into_iter().chain(after) {
            if let PluginScope::Namespace = entry.scope {
                self.namespaces.insert(name.namespace.clone());
            }
            for target in entry.scope.targets() {
                match &target.scope {
                    TargetScope::Class(class) => self.classes.insert(class.clone()),
                    TargetScope::Ingress { name, .. } => self.ingresses.insert(name.clone()),
                };
            }
        }
    }
}
