//! The command line: lists the commands and dispatches to them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod args;
pub mod check;
pub mod config;
pub mod crds;
pub(crate) mod crypto;
pub mod demo;
pub(crate) mod ejections;
pub(crate) mod environment;
pub mod explain;
mod folder;
mod handlers;
pub mod identity;
pub mod outcome;
pub(crate) mod output;
pub(crate) mod pages;
pub mod plugin;
pub(crate) mod pods;
pub mod process;
pub mod read_once;
pub mod run;
pub mod show_config;
pub mod signals;
pub mod style;
pub mod translate;
pub mod wait;

/// The version, and the commit that the program was built from. Only release builds ask Git for it.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ")");

/// An ingress gateway for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "gateway", version = VERSION, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the Ingresses of a cluster, or of a folder with YAML files.
    Run(run::Run),
    /// Print the effective configuration and the source of each value.
    Config(show_config::ShowConfig),
    /// Show the gateway at work: sample apps behind real Ingress YAML, without a cluster.
    Demo(demo::Demo),
    /// Report the problems of a folder with YAML files, and the requests that it routes differently than another folder.
    Check(check::Check),
    /// Print the CustomResourceDefinitions of the gateway for `kubectl apply`.
    Crds,
    /// Show why a request is routed to its backend.
    Explain(explain::command::Explain),
    /// Write, build, test and inspect plugins.
    Plugin(plugin::Plugin),
    /// Print what the class handlers of a folder made of its Ingresses, and their verdict on each annotation.
    Translate(translate::Translate),
    /// Wait until an Ingress is live or refused.
    Wait(wait::command::Wait),
}

impl Cli {
    /// Returns the log level that applies without `GATEWAY_LOG`. Commands other than `run` print their results
    /// themselves.
    pub fn default_log_level(&self) -> tracing::Level {
        match self.command {
            Command::Run(_) => tracing::Level::INFO,
            Command::Config(_)
            | Command::Crds
            | Command::Demo(_)
            | Command::Check(_)
            | Command::Explain(_)
            | Command::Plugin(_)
            | Command::Translate(_)
            | Command::Wait(_) => tracing::Level::ERROR,
        }
    }

    /// Returns true if the command shows the log lines of plugins itself.
    pub fn shows_plugin_log(&self) -> bool {
        matches!(self.command, Command::Plugin(_))
    }

    /// Runs the command, prints its error, and returns the exit code of the process.
    pub fn execute(self) -> ExitCode {
        let name = self.command.name();
        self.command.execute().unwrap_or_else(|error| {
            output::print_error(name, &error);
            ExitCode::FAILURE
        })
    }
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Config(_) => "config",
            Self::Demo(_) => "demo",
            Self::Check(_) => "check",
            Self::Crds => "crds",
            Self::Explain(_) => "explain",
            Self::Plugin(_) => "plugin",
            Self::Translate(_) => "translate",
            Self::Wait(_) => "wait",
        }
    }

    fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(run) => run.execute()?,
            Self::Config(config) => config.execute()?,
            Self::Demo(demo) => demo.execute()?,
            Self::Check(check) => return Ok(check.execute()),
            Self::Crds => output::print(&crds::to_yaml()?)?,
            Self::Explain(explain) => return Ok(explain.execute()),
            Self::Plugin(plugin) => return Ok(plugin.execute()),
            Self::Translate(translate) => return Ok(translate.execute()),
            Self::Wait(wait) => return Ok(wait.execute()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
