//! Who this gateway is among others: the classes that it serves, and where it runs.
//!
//! The same flag and variables for every command that compiles objects. Not here: what they change (`routing`).

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::config::error::ConfigError;
use crate::cli::config::{Config, Flag};
use crate::settings::Settings;

/// The settings that count for a folder, whoever reads it: all others are about serving.
const SETTINGS: [&str; 2] = ["classes", "zone"];

/// The flags. The zone comes from the environment, since a Deployment's Pods share their arguments and not their
/// zones.
#[derive(Debug, Args)]
pub struct Identity {
    /// Serve this class whatever its controller is, or even if only the old annotation names it; may be given
    /// several times.
    #[arg(long = "class", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    classes: Vec<String>,
}

impl Identity {
    /// What to tell the compiler, of these flags and the environment. Objects from a folder are read as if the gateway
    /// ran in namespace `gateway-system`, whatever `POD_NAMESPACE` is: a folder means the same on a laptop, in CI and
    /// in a Pod.
    ///
    /// # Errors
    /// A value cannot be read.
    pub fn routing(&self) -> Result<routing::Config, ConfigError> {
        let variables = SETTINGS.map(Config::variable);
        let is_named = |name: &String| variables.iter().flatten().any(|variable| variable == name);
        let environment = super::environment().filter(|(name, _)| is_named(name));
        let flags: Vec<_> = self.flag().into_iter().collect();
        Ok(Config::load(Settings::default(), None, environment, &flags)?.settings.routing)
    }

    /// The classes as a setting; nothing if none was named.
    pub fn flag(&self) -> Option<Flag> {
        self.names_classes().then(|| Flag {
            name: "--class".to_owned(),
            key: "classes".to_owned(),
            value: self.classes.join(","),
        })
    }

    /// Whether any class was named.
    pub fn names_classes(&self) -> bool {
        !self.classes.is_empty()
    }
}
