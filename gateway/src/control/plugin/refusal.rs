//! Why a version of a plugin is refused.

use std::fmt;
use std::sync::Arc;

use plugin_host::{ModuleError, ModuleInfo, StartError};

use super::schema::{CheckError, ConfigSchema, SchemaError};

/// Why a version of a plugin cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRefusal {
    /// The configuration at fault. `None` if the module is refused, whatever its configuration is.
    pub config: Option<Arc<str>>,
    /// The path of the field at fault below the configuration, such as `.rules[0].header`. Empty if it is unknown.
    pub path: String,
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
        Self { config, path: String::new(), message: error.to_string() }
    }
}

impl fmt::Display for PluginRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.strip_prefix('.').unwrap_or(&self.path) {
            "" => f.write_str(&self.message),
            path => write!(f, "{path} of the configuration: {}", self.message),
        }
    }
}

impl From<String> for PluginRefusal {
    fn from(message: String) -> Self {
        Self { config: None, path: String::new(), message }
    }
}

impl From<ModuleError> for PluginRefusal {
    fn from(error: ModuleError) -> Self {
        error.to_string().into()
    }
}

impl From<SchemaError> for PluginRefusal {
    fn from(error: SchemaError) -> Self {
        error.to_string().into()
    }
}

/// Checks configurations by the schema of a module. No-op if the module has none.
///
/// # Errors
/// The refusal of the first configuration that does not fit, or of the schema.
pub(super) fn check_configs(module: &ModuleInfo, configs: &[Arc<str>]) -> Result<(), PluginRefusal> {
    let Some(schema) = &module.config_schema else { return Ok(()) };
    let schema = ConfigSchema::parse(schema)?;
    configs.iter().try_for_each(|config| match schema.check(config) {
        Ok(()) => Ok(()),
        Err(error @ CheckError::TooComplex) => Err(error.to_string().into()),
        Err(CheckError::Mismatch(mismatch)) => {
            let message = mismatch.to_string();
            Err(PluginRefusal { config: Some(Arc::clone(config)), path: mismatch.path, message })
        }
    })
}
