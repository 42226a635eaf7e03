//! `gateway check DIR`: reports the Problems of a folder with YAML files, and the requests that it routes differently than
//! another folder.
//!
//! It reads a folder, compiles a table and loads plugins as `gateway run` does. Not here: finding Problems (`routing`,
//! `source`, `control::plugin`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use routing::Config;

use crate::cli::identity::Identity;
use crate::cli::output::{print, print_error};
use crate::cli::read_once::read_folder;

pub mod against;
pub mod plugins;
pub mod report;
pub mod sarif;

use report::{CheckReport, Ingresses};

/// There is no Problem.
const CLEAN: u8 = 0;
/// There is a Problem, or no Ingress is served.
const PROBLEMS: u8 = 1;
/// A folder cannot be read. clap has the same code for a wrong command line.
const UNREADABLE: u8 = 2;

/// The end of `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0: no Problem. 1: at least one Problem, or no Ingress that is served. 2: a folder cannot be read, or the command line is wrong. Notes do \
not count: a Service without endpoints is a note, because a repository has no EndpointSlices. Changed routes do not \
count either; --output json lists them as \"changes\".";

/// `gateway check`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Check {
    /// Folder with YAML files.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Another folder, for example the live one. Requests that it routes differently are listed.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// text for people, json for programs, sarif for code scanning (SARIF 2.1.0).
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    output: ReportFormat,
    #[command(flatten)]
    identity: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    Text,
    Json,
    Sarif,
}

impl Check {
    /// Checks, prints the report, and returns the exit code.
    pub fn execute(&self) -> ExitCode {
        match self.check() {
            Ok(code) => code.into(),
            Err(error) => {
                print_error("check", &error);
                UNREADABLE.into()
            }
        }
    }

    fn check(&self) -> anyhow::Result<u8> {
        let report = report(&self.folder, self.against.as_deref(), &self.identity.routing()?)?;
        let text = match self.output {
            ReportFormat::Text => report.to_string(),
            ReportFormat::Json => serde_json::to_string_pretty(&report)? + "\n",
            ReportFormat::Sarif => serde_json::to_string_pretty(&sarif::log(&report))? + "\n",
        };
        print(&text)?;
        Ok(if report.errors() == 0 && report.ingresses.served > 0 { CLEAN } else { PROBLEMS })
    }
}

/// Reads a folder and returns its Problems. With a second folder, also returns the requests that it routes differently.
///
/// # Errors
/// Returns an error if a folder cannot be read, or if it has plugins and this machine cannot run WebAssembly.
pub fn report(folder: &Path, against: Option<&Path>, routing: &Config) -> anyhow::Result<CheckReport> {
    let mut now = read_folder(folder, routing.clone())?;
    plugins::load(&mut now)?;
    let problems = now.problems().views();
    let changes = match against {
        None => None,
        Some(folder) => {
            let before = read_folder(folder, routing.clone())?;
            Some(against::changes(&before.live().load().table, &now.live().load().table))
        }
    };
    let ingresses = Ingresses::from(&*now.live().load().ingresses);
    Ok(CheckReport { problems, ingresses, changes })
}
