//! `gateway plugin inspect FILE`: what a module is, and which gateways load it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use plugin_host::describe;

use super::module_view::ModuleView;
use crate::cli::output::{OutputFormat, print, print_error};

/// The end of `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0: this gateway loads the module. 1: it refuses the module. 2: the file cannot be read, or the command line is \
wrong. The configuration is not known here: `gateway check` loads modules with theirs.";

/// The file cannot be read. clap has the same code for a wrong command line.
const UNREADABLE: u8 = 2;

/// `gateway plugin inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Inspect {
    /// The module.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// text for people, json for programs.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

impl Inspect {
    /// Prints the report, and returns the exit code.
    pub fn execute(&self) -> ExitCode {
        match self.inspect() {
            Ok(code) => code,
            Err(error) => {
                print_error("plugin inspect", &error);
                UNREADABLE.into()
            }
        }
    }

    fn inspect(&self) -> anyhow::Result<ExitCode> {
        let file = self.file.display();
        let bytes = std::fs::read(&self.file).with_context(|| format!("{file} cannot be read"))?;
        let report = match describe(&bytes) {
            Ok(report) => report,
            Err(error) => {
                print_error("plugin inspect", &anyhow::anyhow!("{file} is refused: {error}"));
                return Ok(ExitCode::FAILURE);
            }
        };
        let view = ModuleView::new(&file.to_string(), &bytes, &report);
        print(&match self.output {
            OutputFormat::Text => view.to_string(),
            OutputFormat::Json => serde_json::to_string_pretty(&view)? + "\n",
        })?;
        Ok(if view.is_loaded() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
