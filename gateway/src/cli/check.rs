//! `gateway check DIR`: what is wrong with a folder of YAML, and which requests it answers otherwise than another.
//!
//! It reads a folder as `gateway run` does and asks the same table. Not here: serving, and how Problems come
//! about.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use routing::Config;

use crate::cli;
use crate::cli::identity::Identity;
use crate::cli::process;

pub mod against;
pub mod report;
pub mod sarif;

use report::Report;

/// Nothing is wrong.
const CLEAN: u8 = 0;
/// There are Problems.
const PROBLEMS: u8 = 1;
/// A folder could not be read; clap uses the same code for a command line that it cannot read.
const UNREADABLE: u8 = 2;

/// What `--help` says of how it ends.
const EXIT_CODES: &str = "\
It ends with 0 if there is no Problem, 1 if there is one, 2 if a folder cannot be read or the command line is \
wrong. Notes do not count: a Service without endpoints is one, since a repository holds no EndpointSlices. Requests that are answered otherwise do not change that; --output json lists them as \"changes\".";

/// `gateway check`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Check {
    /// The folder with the YAML.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Another folder, such as what is served now: the requests whose answer would change are listed.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// For people, for tools, or for code scanning (SARIF 2.1.0).
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    identity: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Sarif,
}

impl Check {
    /// Checks and prints, and says with which code the process ends.
    pub fn execute(&self) -> ExitCode {
        match self.check() {
            Ok(code) => code.into(),
            Err(error) => {
                cli::complain("check", &error);
                UNREADABLE.into()
            }
        }
    }

    fn check(&self) -> anyhow::Result<u8> {
        let report = report(&self.folder, self.against.as_deref(), &self.identity.routing()?)?;
        let text = match self.output {
            Output::Text => report.to_string(),
            Output::Json => serde_json::to_string_pretty(&report)? + "\n",
            Output::Sarif => serde_json::to_string_pretty(&sarif::log(&report))? + "\n",
        };
        std::io::stdout().lock().write_all(text.as_bytes()).context("cannot print")?;
        Ok(if report.errors() == 0 { CLEAN } else { PROBLEMS })
    }
}

/// Reads a folder, and another one if it is to be compared with that.
///
/// # Errors
/// A folder cannot be read.
pub fn report(folder: &Path, against: Option<&Path>, routing: &Config) -> anyhow::Result<Report> {
    let now = process::read_once(folder, routing.clone())?;
    let problems = now.problems().views();
    let changes = match against {
        None => None,
        Some(folder) => {
            let before = process::read_once(folder, routing.clone())?;
            Some(against::changes(&before.live().load().table, &now.live().load().table))
        }
    };
    Ok(Report { problems, changes })
}
