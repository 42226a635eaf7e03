//! Loads the plugins of a folder without serving them, as `gateway run` does before a version serves.
//!
//! Not here: what a plugin must have (`plugin_host`), and the fields of its object (`routing`).

use std::sync::Arc;

use anyhow::Context as _;
use plugin_host::Engine;
use routing::table::{PluginDefinition, PluginSource};

use crate::control::plugin::{self, DesiredPlugin, PluginUpdate};
use crate::control::reload::Reload;

/// Loads all plugins and adds a Problem for each one that is refused. Blocks for about a second for each MiB of modules.
///
/// # Errors
/// Returns an error if this machine cannot run WebAssembly.
pub fn load(reload: &mut Reload) -> anyhow::Result<()> {
    let plugins = loadable(reload);
    if plugins.is_empty() {
        return Ok(());
    }
    let engine = Engine::new(None).context("plugins cannot be checked")?;
    for plugin in plugins {
        let refusal = plugin::check(&engine, &plugin).err();
        let name = plugin.definition.name.clone();
        reload.apply_plugin(PluginUpdate { name, loaded: None, refusal, board: Arc::default() });
    }
    Ok(())
}

/// Returns the plugins whose module can be read, with all their configurations.
fn loadable(reload: &Reload) -> Vec<DesiredPlugin> {
    let compiler = reload.compiler();
    let desired = |definition: &Arc<PluginDefinition>| {
        let mut configs = compiler.plugin_configs(&definition.name);
        if configs.is_empty() {
            // No route uses the plugin.
            configs.push(Arc::clone(&definition.default_config));
        }
        DesiredPlugin { definition: Arc::clone(definition), configs }
    };
    compiler.plugins().filter(|definition| !is_reported(definition)).map(desired).collect()
}

/// Returns true if the compiler has a Problem about the source of the module.
fn is_reported(definition: &PluginDefinition) -> bool {
    match &definition.source {
        PluginSource::Refused(_) | PluginSource::ConfigMap { bytes: None, .. } => true,
        PluginSource::ConfigMap { bytes: Some(_), .. } | PluginSource::File { .. } => false,
    }
}
