//! `gateway config`: prints the effective configuration.

use clap::Args;

use crate::cli::args::{SettingsArgs, SourceArgs};
use crate::cli::output;

/// `gateway config`. It has the flags of `gateway run`.
#[derive(Debug, Args)]
pub struct ShowConfig {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl ShowConfig {
    /// Prints the configuration as a file, with the source of each value.
    ///
    /// # Errors
    /// Returns an error if the configuration is wrong or standard output is closed.
    pub fn execute(&self) -> anyhow::Result<()> {
        output::print(&self.settings.load(self.source.default_settings())?.to_yaml())
    }
}
