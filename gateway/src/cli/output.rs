//! Output of commands: text to standard output, errors to standard error.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Deserialize;

/// The format of a command's or an admin page's output.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OutputFormat {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs.
    Json,
}

/// Prints to standard output. A reader that has closed the pipe wants no more: that is no error.
///
/// # Errors
/// Returns an error if standard output is full.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print"),
    }
}

/// Prints the error of a command to standard error. An error of this write is ignored: its reader is gone.
pub(crate) fn print_error(command: &str, error: &anyhow::Error) {
    let _ = writeln!(io::stderr(), "gateway {command}: {error:#}");
}
