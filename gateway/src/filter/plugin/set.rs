//! The loaded plugins of a gateway, and the filters of policies that use them.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::PluginPhase;
use hashbrown::HashMap;
use plugin_host::RootIndex;
use routing::table::{FailStrategy, PluginName, PluginOrigin, PluginUse};

use super::info::{Lease, PluginVersion};
use super::{PluginFilter, UnavailablePlugin};
use crate::filter::{Filter, Stage};

/// A version of a plugin whose instances are on all workers.
#[derive(Clone, Debug)]
pub struct LoadedPlugin {
    /// The version.
    pub version: Arc<PluginVersion>,
    /// Keeps its instances.
    pub lease: Lease,
    /// The root context of each configuration.
    pub roots: HashMap<Arc<str>, RootIndex>,
}

/// Plugins by name: those that are loaded, and how those that are not fail.
#[derive(Clone, Debug, Default)]
pub struct PluginSet {
    loaded: BTreeMap<PluginName, LoadedPlugin>,
    fails: BTreeMap<PluginName, FailStrategy>,
    /// The configuration that a field of an object had when its plugin was last loaded. It serves until the present one
    /// is loaded, or if the plugin refuses that.
    served: HashMap<(PluginName, PluginOrigin), Arc<str>>,
    is_bypassed: bool,
}

impl PluginSet {
    /// Returns a set whose plugins let all requests pass, for commands that load no plugin.
    pub fn bypassed() -> Self {
        Self { is_bypassed: true, ..Self::default() }
    }

    /// Replaces the names of all plugins and what happens if they fail. Others are dropped.
    pub fn define(&mut self, fails: BTreeMap<PluginName, FailStrategy>) {
        self.loaded.retain(|name, _| fails.contains_key(name));
        self.served.retain(|(name, _), _| fails.contains_key(name));
        self.fails = fails;
    }

    /// Replaces the loaded version of a plugin.
    pub fn activate(&mut self, name: PluginName, plugin: LoadedPlugin) {
        if self.fails.contains_key(&name) {
            self.loaded.insert(name, plugin);
        }
    }

    /// Returns the filter for a use of a plugin. A plugin that is not loaded refuses requests, or lets them pass, as its
    /// failure strategy says.
    pub fn filter(&mut self, plugin: &PluginUse) -> Arc<dyn Filter> {
        let stage = stage(plugin.phase);
        let fail = match self.fails.get(&plugin.plugin) {
            _ if self.is_bypassed => FailStrategy::Open,
            Some(fail) => *fail,
            None => FailStrategy::Close,
        };
        match self.serving(plugin) {
            Some((loaded, root)) => {
                let (version, lease) = (Arc::clone(&loaded.version), loaded.lease.clone());
                Arc::new(PluginFilter::new(version, lease, root, stage))
            }
            None => Arc::new(UnavailablePlugin::not_loaded(stage, fail)),
        }
    }

    /// Returns the version that serves a use of a plugin, and the root context of its configuration.
    fn serving(&mut self, plugin: &PluginUse) -> Option<(&LoadedPlugin, RootIndex)> {
        let loaded = self.loaded.get(&plugin.plugin)?;
        let key = (plugin.plugin.clone(), plugin.origin.clone());
        if let Some(root) = loaded.roots.get(&plugin.config) {
            self.served.insert(key, Arc::clone(&plugin.config));
            return Some((loaded, *root));
        }
        let root = self.served.get(&key).and_then(|config| loaded.roots.get(config))?;
        Some((loaded, *root))
    }
}

fn stage(phase: PluginPhase) -> Stage {
    match phase {
        PluginPhase::Authn => Stage::PluginAuthn,
        PluginPhase::Authz => Stage::PluginAuthz,
        PluginPhase::Unspecified => Stage::Plugin,
        PluginPhase::Stats => Stage::PluginStats,
    }
}
