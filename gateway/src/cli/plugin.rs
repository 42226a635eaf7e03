//! `gateway plugin`: the commands of plugin authors.

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub mod inspect;
mod module_view;

/// `gateway plugin`.
#[derive(Debug, Args)]
pub struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Show what a module is: ABI, imports, exports, sizes, configuration, and which gateways load it.
    Inspect(inspect::Inspect),
}

impl Plugin {
    /// Runs the command and returns the exit code of the process.
    pub fn execute(self) -> ExitCode {
        match self.command {
            PluginCommand::Inspect(inspect) => inspect.execute(),
        }
    }
}
