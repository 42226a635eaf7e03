//! `gateway translate DIR`: prints what the class handlers of a folder made of its Ingresses.
//!
//! The routes are HTTPRoutes and RoutePolicies as for `kubectl apply`; the ledger has the verdict on each annotation. Not
//! here: asking handlers (`handlers`), and other Problems (`check`).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use routing::handler::HandlerOutcome;
use routing::object::Kind;

use crate::cli::check::report::{CheckReport, Ingresses};
use crate::cli::check::repository::{self, Repository};
use crate::cli::check::sarif;
use crate::cli::identity::Identity;
use crate::cli::output::{print, print_error};
use crate::cli::read_once::read_answers;

pub mod ledger;
mod objects;

use ledger::Ledger;

/// Every annotation is honoured or without effect, and no handler failed.
const CLEAN: u8 = 0;
/// An annotation is refused, or a handler failed.
const REFUSED: u8 = 1;
/// The folder cannot be read. clap has the same code for a wrong command line.
const UNREADABLE: u8 = 2;

/// The end of `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0: no annotation is refused. 1: an annotation is refused, or a handler failed. 2: the folder cannot be read, or \
the command line is wrong. `gateway check` has all problems of the folder.";

/// `gateway translate`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Translate {
    /// Folder with YAML files: Ingresses, their IngressClass, and an IngressClassConfig with a handler.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// text: the ledger for people. yaml: the routes for `kubectl apply`. json: both. sarif: the ledger for code scanning.
    #[arg(long, value_enum, default_value_t = TranslateFormat::Text)]
    output: TranslateFormat,
    /// Gateway that the HTTPRoutes are attached to, as NAME or NAMESPACE/NAME. Absent: none.
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    #[command(flatten)]
    identity: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TranslateFormat {
    Text,
    Yaml,
    Json,
    Sarif,
}

impl Translate {
    /// Translates, prints the result, and returns the exit code.
    pub fn execute(&self) -> ExitCode {
        match self.translate() {
            Ok(code) => code.into(),
            Err(error) => {
                print_error("translate", &error);
                UNREADABLE.into()
            }
        }
    }

    fn translate(&self) -> anyhow::Result<u8> {
        let (reload, answers) = read_answers(&self.folder, self.identity.routing()?, &[])?;
        anyhow::ensure!(
            !reload.compiler().handlers().is_empty(),
            "no IngressClass in {} has a handler: add an IngressClassConfig with spec.handler, and name it in \
             spec.parameters of the class",
            self.folder.display()
        );
        let ledger = Ledger::new(&answers);
        let text = match self.output {
            TranslateFormat::Text => ledger.to_string(),
            TranslateFormat::Yaml => {
                let objects = objects::objects(&answers, reload.compiler(), self.gateway.as_deref());
                let documents = objects.iter().map(serde_saphyr::to_string);
                documents.collect::<Result<Vec<_>, _>>()?.join("---\n")
            }
            TranslateFormat::Json => {
                let items = objects::objects(&answers, reload.compiler(), self.gateway.as_deref());
                let report = serde_json::json!({"items": items, "ledger": ledger.entries});
                serde_json::to_string_pretty(&report)? + "\n"
            }
            TranslateFormat::Sarif => {
                let repository = Repository { folder: &self.folder, assume_secrets: false };
                let mut problems = repository::problems(&reload, repository);
                problems.retain(|problem| problem.kind == Kind::Ingress.to_string());
                let ingresses = Ingresses::from(&*reload.live().load_full().ingresses);
                let report = CheckReport { problems, ingresses, changes: None, certificates: None };
                serde_json::to_string_pretty(&sarif::log(&report))? + "\n"
            }
        };
        print(&text)?;
        let has_failed = answers.iter().any(|answer| matches!(answer.outcome, HandlerOutcome::Failed(_)));
        Ok(if has_failed || ledger.has_refusals() { REFUSED } else { CLEAN })
    }
}
