//! The identity of a gateway: the classes that it serves, its zone, and its folder of plugins.
//!
//! All commands that compile objects have the same flag and variables. Not here: their effect (`routing`).

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::config::error::ConfigError;
use crate::cli::config::{Config, Flag};
use crate::cli::environment;
use crate::settings::Settings;

/// The settings that also apply to commands that do not serve.
const SETTINGS: [&str; 3] = ["classes", "pluginDir", "zone"];

/// The flags. The zone comes from the environment, because the pods of a Deployment have the same arguments and different
/// zones.
#[derive(Debug, Args)]
pub struct Identity {
    /// Serve this IngressClass whatever its controller is, or even if only the old annotation names it. May be repeated.
    #[arg(long = "class", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    classes: Vec<String>,
}

impl Identity {
    /// Returns the configuration of the compiler from these flags and the environment. The namespace is always
    /// `gateway-system`, so that a folder has the same meaning on a laptop, in CI and in a pod.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if a value cannot be read.
    pub fn routing(&self) -> Result<routing::Config, ConfigError> {
        let variables = SETTINGS.map(Config::variable);
        let is_named = |name: &String| variables.iter().flatten().any(|variable| variable == name);
        let environment = environment::variables().filter(|(name, _)| is_named(name));
        let flags: Vec<_> = self.flag().into_iter().collect();
        Ok(Config::load(Settings::default(), None, environment, &flags)?.settings.routing)
    }

    /// Returns the classes as a setting, or `None` if the flag is not given.
    pub fn flag(&self) -> Option<Flag> {
        self.has_classes().then(|| Flag {
            name: "--class".to_owned(),
            key: "classes".to_owned(),
            value: self.classes.join(","),
        })
    }

    /// Returns true if the flag is given.
    pub fn has_classes(&self) -> bool {
        !self.classes.is_empty()
    }
}
