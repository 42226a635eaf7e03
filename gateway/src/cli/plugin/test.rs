//! `gateway plugin test`: runs the cases of a plugin in the real gateway, or those of a class handler in its real host.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use api::plugin_case::{PluginCase, RecordedMessage};
use clap::Args;

use super::cargo::{self, Progress};
use super::case_file::{NamedCase, read_all};
use super::case_result::print_result;
use super::case_run::{CaseRun, CaseRunner, NoResponse};
use super::handler_cases::{self, HandlerCounts};
use crate::cli::output::{print, print_error};
use crate::cli::style::{Palette, paint};

/// The end of `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0: all cases pass. 1: a case fails, its file is malformed, or the module cannot be built. 2: the command line is wrong. Cases with \
`now` are skipped: the gateway has a real clock. `cargo test` runs them. `properties` have no effect here.";

/// `gateway plugin test`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Test {
    /// The folder of the plugin, with its cases in `cases`.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// A module that is already built, in any language.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
}

/// The numbers of cases.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Test {
    /// Runs the cases, and returns the exit code.
    pub fn execute(&self) -> ExitCode {
        match self.run() {
            Ok(Counts { failed: 0, .. }) => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                print_error("plugin test", &error);
                ExitCode::FAILURE
            }
        }
    }

    /// Returns the module, which is built first unless the command names one.
    fn built(&self) -> anyhow::Result<PathBuf> {
        match &self.module {
            Some(module) => Ok(module.clone()),
            None => cargo::build(&self.folder, Progress::Quiet),
        }
    }

    fn run(&self) -> anyhow::Result<Counts> {
        if handler_cases::are_in(&self.folder) {
            let HandlerCounts { passed, failed } = handler_cases::run(&self.folder, &self.built()?)?;
            print(&format!("{passed} passed, {failed} failed\n"))?;
            return Ok(Counts { passed, failed, skipped: 0 });
        }
        let cases = read_all(&self.folder)?;
        let module = self.built()?;
        let (runner, palette) = (CaseRunner::new(&module)?, Palette::for_stdout());
        let mut counts = Counts::default();
        for NamedCase { name, case } in &cases {
            if case.as_ref().is_ok_and(|case| case.now.is_some()) {
                counts.skipped += 1;
                print(&format!("{name}: {}: it sets the clock\n", paint(palette.warning, "skipped")))?;
                continue;
            }
            let began = Instant::now();
            let failure = match case {
                Ok(case) => run_case(&runner, case),
                Err(reason) => Some(format!("  {reason}\n")),
            };
            print_result(&palette, name, began.elapsed(), failure.as_deref())?;
            match failure {
                None => counts.passed += 1,
                Some(_) => counts.failed += 1,
            }
        }
        let Counts { passed, failed, skipped } = counts;
        print(&format!("{passed} passed, {failed} failed, {skipped} skipped\n"))?;
        Ok(counts)
    }
}

/// Runs a case. Returns why it failed, or `None` if it passed.
fn run_case(runner: &CaseRunner, case: &PluginCase) -> Option<String> {
    match runner.run(case) {
        Ok(run) => describe(case.differences(&run.record), &run),
        Err(error) => Some(format!("  {error:#}\n")),
    }
}

/// Describes why a case failed, with all that was recorded. Returns `None` if it passed.
fn describe(mut differences: Vec<String>, CaseRun { record, no_response }: &CaseRun) -> Option<String> {
    if let Some(NoResponse { reason, is_fault }) = no_response
        && (*is_fault || !differences.is_empty())
    {
        differences.push(reason.clone());
    }
    if differences.is_empty() {
        return None;
    }
    let mut text: String = differences.iter().map(|difference| format!("  {difference}\n")).collect();
    for (what, message) in
        [("request at the endpoint", &record.request), ("response at the client", &record.response)]
    {
        match message {
            Some(message) => text += &shown(what, message),
            None if differences.iter().any(|difference| difference.contains(what)) => {}
            None => {
                let _ = writeln!(text, "  there was no {what}");
            }
        }
    }
    for (to, message) in &record.callouts {
        text += &shown(&format!("callout to {to}"), message);
    }
    for line in &record.log {
        let _ = writeln!(text, "  log {line}");
    }
    Some(text)
}

fn shown(what: &str, message: &RecordedMessage) -> String {
    let mut text = format!("  {what}:\n");
    for (name, value) in message.headers.iter().chain(&message.trailers) {
        let _ = writeln!(text, "    {name}: {}", String::from_utf8_lossy(value));
    }
    if !message.body.is_empty() {
        let body: String = String::from_utf8_lossy(&message.body).chars().take(1000).collect();
        let _ = writeln!(text, "    {body:?}");
    }
    text
}
