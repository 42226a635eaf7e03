//! `gateway plugin build`: builds the module of a plugin or a class handler, and says its size.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use plugin_host::{OtherHost, describe};

use super::cargo::{self, Progress};
use crate::cli::output::{print, print_error};

/// `gateway plugin build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The folder of the crate.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

impl Build {
    /// Builds, and returns the exit code.
    pub fn execute(&self) -> ExitCode {
        match self.build() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print_error("plugin build", &error);
                ExitCode::FAILURE
            }
        }
    }

    fn build(&self) -> anyhow::Result<()> {
        let module = cargo::build(&self.folder, Progress::Shown)?;
        let bytes = std::fs::read(&module).with_context(|| format!("{} cannot be read", module.display()))?;
        let report = describe(&bytes)?;
        if report.is_command() {
            let kib = bytes.len() as f64 / 1024.0;
            return print(&format!("{}\n{kib:.1} KiB, a class handler\n", module.display()));
        }
        if let Some(refusal) = &report.refusal {
            bail!("{}: the gateway refuses it: {refusal}", module.display());
        }
        let mut text = format!("{}\n{:.1} KiB", module.display(), bytes.len() as f64 / 1024.0);
        for host in OtherHost::ALL {
            match host.refusal(&report) {
                None => text += &format!(", {host} loads it"),
                Some(reason) => text += &format!(", {host} refuses it: {reason}"),
            }
        }
        print(&(text + "\n"))
    }
}
