//! The plugins of the compiled objects: those to load, and the plans that change with a new version.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::object::{Kind, ObjectRef};
use routing::table::{PluginName, PluginUse};
use routing::{Compiler, Policy, PolicyId, Problem, Reason};
use tokio::sync::watch;

use crate::control::plugin::{DesiredPlugin, DesiredPlugins, PluginRefusal};
use crate::plan::Planner;

/// The field of a WasmPlugin for routes without another configuration.
const DEFAULT_CONFIG: &str = "spec.pluginConfig";

/// The plugins that the table uses, and the policies that use them.
#[derive(Debug, Default)]
pub(super) struct UsedPlugins {
    desired: watch::Sender<DesiredPlugins>,
    policies: BTreeMap<PolicyId, Arc<Policy>>,
    problems: BTreeMap<PluginName, Problem>,
}

impl UsedPlugins {
    /// Returns the plugins to load.
    pub(super) fn desired(&self) -> watch::Receiver<DesiredPlugins> {
        self.desired.subscribe()
    }

    /// Takes over what a compilation changed. Returns the Problems of plugins that no longer exist.
    pub(super) fn update(
        &mut self,
        compiler: &Compiler,
        new: &[Arc<Policy>],
        planner: &mut Planner,
    ) -> Vec<Problem> {
        for policy in new {
            if policy.plugins.is_empty() {
                self.policies.remove(&policy.id);
            } else {
                self.policies.insert(policy.id, Arc::clone(policy));
            }
        }
        let desired: DesiredPlugins = compiler
            .plugins()
            .map(|definition| {
                let configs = compiler.plugin_configs(&definition.name);
                (definition.name.clone(), DesiredPlugin { definition: Arc::clone(definition), configs })
            })
            // Without a route there is nothing to configure it with.
            .filter(|(_, plugin)| !plugin.configs.is_empty())
            .collect();
        planner
            .plugins
            .define(desired.iter().map(|(name, plugin)| (name.clone(), plugin.definition.fail)).collect());
        let gone: Vec<_> =
            self.problems.keys().filter(|name| !desired.contains_key(*name)).cloned().collect();
        let solved = gone.iter().filter_map(|name| self.problems.remove(name)).collect();
        self.desired.send_if_modified(|present| {
            let is_changed = *present != desired;
            if is_changed {
                *present = desired;
            }
            is_changed
        });
        solved
    }

    /// Returns the policies that use a plugin.
    pub(super) fn policies_with(&self, name: &PluginName) -> Vec<Arc<Policy>> {
        let uses = |policy: &&Arc<Policy>| policy.plugins.iter().any(|plugin| plugin.plugin == *name);
        self.policies.values().filter(uses).cloned().collect()
    }

    /// Replaces the Problem of a plugin. Returns the one before, and the new one.
    pub(super) fn set_problem(
        &mut self,
        name: &PluginName,
        refusal: Option<PluginRefusal>,
    ) -> (Option<Problem>, Option<Problem>) {
        let before = self.problems.remove(name);
        let problem = refusal.map(|refusal| {
            let (field, message) = self.describe(name, refusal);
            let object = ObjectRef { kind: Kind::WasmPlugin, name: name.clone() };
            Problem { object, field, reason: Reason::PluginRefused, message }
        });
        if let Some(problem) = &problem {
            self.problems.insert(name.clone(), problem.clone());
        }
        (before, problem)
    }

    /// Returns the field of the WasmPlugin that is at fault, and the message. A configuration of a RoutePolicy has no
    /// field there, so the message names it.
    fn describe(&self, name: &PluginName, refusal: PluginRefusal) -> (String, String) {
        let PluginRefusal { config, path, message } = refusal;
        let Some(config) = config else { return ("spec.url".to_owned(), message) };
        let is_refused = |plugin: &&PluginUse| plugin.plugin == *name && plugin.config == config;
        let mut origins = self.policies.values().flat_map(|policy| &policy.plugins).filter(is_refused);
        let default = format!("{DEFAULT_CONFIG}{path}");
        match origins.next().map(|plugin| &plugin.origin) {
            // No configuration is given.
            Some(origin) if &*origin.field == "spec" => (default, message),
            Some(origin) if origin.object.kind == Kind::WasmPlugin => {
                (format!("{}{path}", origin.field), message)
            }
            Some(origin) => {
                (DEFAULT_CONFIG.to_owned(), format!("{message} (the configuration of {origin}{path})"))
            }
            None => (default, message),
        }
    }

    /// Forgets everything, as after a panic. The loader keeps what it has until the next compilation.
    pub(super) fn clear(&mut self) {
        self.policies.clear();
        self.problems.clear();
    }
}
