//! Why a version of a plugin is refused.

use std::sync::Arc;

use plugin_host::{ModuleError, StartError};

/// Why a version of a plugin cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRefusal {
    /// The configuration that the guest refused. `None` if the module is refused, whatever its configuration is.
    pub config: Option<Arc<str>>,
    /// For the author of the WasmPlugin.
    pub message: String,
}

impl PluginRefusal {
    /// Returns the refusal of an instance with these configurations.
    pub(super) fn of_start(error: &StartError, configs: &[Arc<str>]) -> Self {
        let config = match error {
            StartError::RefusedConfiguration(root, _) => configs.get(root.0).cloned(),
            StartError::Instantiate(_) | StartError::Trapped { .. } | StartError::RefusedVm(_) => None,
        };
        Self { config, message: error.to_string() }
    }
}

impl From<String> for PluginRefusal {
    fn from(message: String) -> Self {
        Self { config: None, message }
    }
}

impl From<ModuleError> for PluginRefusal {
    fn from(error: ModuleError) -> Self {
        error.to_string().into()
    }
}
