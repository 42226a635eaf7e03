//! `gateway check DIR`: reports the Problems of a folder with YAML files, and the requests that it routes differently than
//! another folder.
//!
//! It reads a folder, compiles a table and loads plugins as `gateway run` does. Not here: finding Problems (`routing`,
//! `source`, `control::plugin`).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use routing::Config;

use crate::cli::identity::Identity;
use crate::cli::output::{print, print_error};
use crate::cli::read_once::{read_folder, read_folder_except};
use crate::control::source::files::PathPattern;

pub mod against;
pub mod plugins;
pub mod report;
pub(in crate::cli) mod repository;
pub mod sarif;
pub mod tls_changes;

use report::{CheckReport, Ingresses};
use repository::Repository;

/// There is no Problem.
const CLEAN: u8 = 0;
/// There is a Problem, or no Ingress is served.
const PROBLEMS: u8 = 1;
/// A folder cannot be read. clap has the same code for a wrong command line.
const UNREADABLE: u8 = 2;

/// The end of `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0: no Problem. 1: at least one Problem, or no Ingress that is served. 2: a folder cannot be read, or the \
command line is wrong. Notes count with --strict only: a Service without endpoints is a note, because a repository has no \
EndpointSlices. Changed routes and certificates do not count; --output json lists them.";

/// `gateway check`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Check {
    /// Folder with YAML files. `-` is standard input, such as the output of `kubectl get ingress -A -o yaml`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Another folder, for example the live one. Requests that it routes differently, and hosts for which it has another
    /// certificate, are listed.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// text for people, json for programs, sarif for code scanning (SARIF 2.1.0).
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    output: ReportFormat,
    /// Count notes as Problems.
    #[arg(long)]
    strict: bool,
    /// Missing Secrets are notes, because they are made elsewhere. Those that cert-manager makes are notes without this flag.
    #[arg(long)]
    assume_secrets: bool,
    /// Files that are not read, such as `values*.yaml` or `charts/*/templates`. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
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
        let report = self.report(&self.identity.routing()?)?;
        let text = match self.output {
            ReportFormat::Text => report.to_string(),
            ReportFormat::Json => serde_json::to_string_pretty(&report)? + "\n",
            ReportFormat::Sarif => serde_json::to_string_pretty(&sarif::log(&report))? + "\n",
        };
        print(&text)?;
        let count = if self.strict { report.problems.len() } else { report.errors() };
        Ok(if count == 0 && report.ingresses.served > 0 { CLEAN } else { PROBLEMS })
    }

    /// Reads the folder and returns its Problems. With a second folder, also returns what it changes.
    fn report(&self, routing: &Config) -> anyhow::Result<CheckReport> {
        let exclude: Vec<_> = self.exclude.iter().map(|pattern| PathPattern::new(pattern)).collect();
        let mut now = read_folder_except(&self.folder, routing.clone(), &exclude)?;
        plugins::load(&mut now)?;
        let repository = Repository { folder: &self.folder, assume_secrets: self.assume_secrets };
        let problems = repository::problems(&now, repository);
        let live = now.live().load_full();
        let (mut changes, mut certificates) = (None, None);
        if let Some(folder) = &self.against {
            let before = read_folder(folder, routing.clone())?.live().load_full();
            changes = Some(against::changes(&before.table, &live.table));
            certificates = Some(tls_changes::changes(&before, &live));
        }
        Ok(CheckReport { problems, ingresses: Ingresses::from(&*live.ingresses), changes, certificates })
    }
}
