//! The plugins of a Route: those whose scope covers it, and those that RoutePolicies name.
//!
//! Not here: the configuration by rules (`plugin_rules`), and which RoutePolicy wins (`policy_merge`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::PluginPhase;

use super::plugin_entry;
use super::plugin_index::PluginEntry;
use super::plugin_index::PluginIndex;
use super::plugin_index::UsedConfig;
use super::plugin_rules::PluginRules;
use super::plugin_rules::RuleSubject;
use super::policy_entry;
use super::policy_entry::NamedPlugin;
use super::policy_target::PolicyTarget;
use super::policy_target::RouteCondition;
use crate::object::Name;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::table::PluginName;
use crate::table::PluginOrigin;
use crate::table::PluginUse;

/// Finds the plugins of the Routes of one Ingress.
#[derive(Debug)]
pub(super) struct PluginMerger<'a> {
    index: &'a PluginIndex,
    layers: Vec<PluginLayer<'a>>,
    used_configs: BTreeSet<UsedConfig>,
}

/// The scope of one plugin, or one target of it.
#[derive(Debug)]
struct PluginLayer<'a> {
    entry: &'a PluginEntry,
    /// `None`: the whole namespace.
    target: Option<&'a PolicyTarget>,
    /// Whether the target selected at least one Route.
    has_matched: bool,
}

/// A plugin that a RoutePolicy names.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedUse<'a> {
    pub(super) policy: &'a Name,
    pub(super) plugin: &'a NamedPlugin,
}

/// The plugins of a Route.
#[derive(Debug, Default)]
pub(super) struct RoutePlugins {
    /// In the order of requests.
    pub(super) plugins: Box<[PluginUse]>,
    /// The first plugin that does not exist or has no valid spec.
    pub(super) missing: Option<PluginName>,
}

/// A configuration, and the field that gives it.
struct ConfigOrigin {
    text: Arc<str>,
    object: ObjectRef,
    field: Arc<str>,
}

type ChainKey<'a> = (PluginPhase, Reverse<i32>, &'a Name);

impl<'a> PluginMerger<'a> {
    /// Creates a merger of all plugins for an Ingress and its class, or for a class alone.
    pub(super) fn new(index: &'a PluginIndex, ingress: Option<&Name>, class: Option<&Arc<str>>) -> Self {
        let mut layers = Vec::new();
        for entry in index.in_scope(ingress, class).into_values() {
            if entry.scope.targets().is_empty() {
                layers.push(PluginLayer { entry, target: None, has_matched: true });
            }
            for target in entry.scope.targets() {
                if target.scope.is_of(ingress, class) {
                    layers.push(PluginLayer { entry, target: Some(target), has_matched: false });
                }
            }
        }
        Self { index, layers, used_configs: BTreeSet::new() }
    }

    /// Returns true if no plugin's own scope covers the Ingress.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Returns the plugins of a Route. `named` are those of RoutePolicies, each plugin once.
    pub(super) fn merge(
        &mut self,
        subject: RuleSubject<'_>,
        condition: Option<RouteCondition<'_>>,
        named: &[NamedUse<'a>],
    ) -> RoutePlugins {
        let mut chain: BTreeMap<ChainKey<'a>, ConfigOrigin> = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for layer in &mut self.layers {
            if !layer.target.is_none_or(|target| target.scope.selects(condition)) {
                continue;
            }
            layer.has_matched = true;
            let name = layer.entry.name();
            match &layer.entry.rules {
                None => {
                    missing.insert(name.clone());
                }
                Some(rules) => {
                    if let Some(config) = rules.select(subject) {
                        let (text, field) = (Arc::clone(&config.text), Arc::clone(&config.field));
                        let object = plugin_entry::reference(name);
                        chain.insert(key(rules, name), ConfigOrigin { text, object, field });
                    }
                }
            }
        }
        for named in named {
            match self.index.get(&named.plugin.plugin).and_then(|entry| entry.rules.as_ref()) {
                Some(rules) => {
                    chain.insert(key(rules, &named.plugin.plugin), named.config(rules));
                }
                None => {
                    missing.insert(named.plugin.plugin.clone());
                }
            }
        }
        let plugins = chain.into_iter().map(|((phase, _, plugin), config)| {
            let ConfigOrigin { text, object, field } = config;
            self.used_configs.insert(UsedConfig { plugin: plugin.clone(), text: Arc::clone(&text) });
            PluginUse { plugin: plugin.clone(), phase, config: text, origin: PluginOrigin { object, field } }
        });
        RoutePlugins { plugins: plugins.collect(), missing: missing.pop_first() }
    }

    /// Returns the Problems of targets whose host or path no Route has.
    pub(super) fn unmatched(&self) -> impl Iterator<Item = Problem> + use<'a, '_> {
        self.layers.iter().filter(|layer| !layer.has_matched).filter_map(|layer| {
            let owner = plugin_entry::reference(layer.entry.name());
            layer.target?.unmatched(&owner)
        })
    }

    /// Returns the configurations of all merged Routes.
    pub(super) fn into_used_configs(self) -> Box<[UsedConfig]> {
        self.used_configs.into_iter().collect()
    }
}

fn key<'a>(rules: &PluginRules, plugin: &'a Name) -> ChainKey<'a> {
    let (phase, priority) = rules.order();
    (phase, priority, plugin)
}

impl NamedUse<'_> {
    fn config(&self, rules: &PluginRules) -> ConfigOrigin {
        let object = policy_entry::reference(self.policy);
        match &self.plugin.config {
            Some(config) => {
                ConfigOrigin { text: Arc::clone(&config.text), object, field: Arc::clone(&config.field) }
            }
            None => {
                let text = Arc::clone(&rules.default.text);
                ConfigOrigin { text, object, field: Arc::clone(&self.plugin.field) }
            }
        }
    }
}
