//! `gateway plugin`: the commands of plugin authors.

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub mod build;
mod cargo;
mod case_file;
mod case_result;
mod case_run;
mod echo;
mod grpc_server;
mod handler_cases;
pub mod inspect;
mod listener;
mod module_view;
pub mod new;
mod request_log;
pub mod run;
mod run_log;
mod sandbox;
mod script;
pub mod test;
mod watch;
mod wire;

/// `gateway plugin`.
#[derive(Debug, Args)]
pub struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Write the crate of a new plugin.
    New(new::New),
    /// Build the module of a plugin.
    Build(build::Build),
    /// Build a plugin and run its cases in the real gateway.
    Test(test::Test),
    /// Serve a plugin on this machine, and reload it after each change.
    Run(run::RunPlugin),
    /// Show what a module is: ABI, imports, exports, sizes, configuration, and which gateways load it.
    Inspect(inspect::Inspect),
}

impl Plugin {
    /// Runs the command and returns the exit code of the process.
    pub fn execute(self) -> ExitCode {
        match self.command {
            PluginCommand::New(new) => new.execute(),
            PluginCommand::Build(build) => build.execute(),
            PluginCommand::Test(test) => test.execute(),
            PluginCommand::Run(run) => run.execute(),
            PluginCommand::Inspect(inspect) => inspect.execute(),
        }
    }
}
