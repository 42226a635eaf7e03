//! `gateway explain URL`: asks a folder, a cluster's API, or a running gateway by its admin pages.
//!
//! Not here: the answer.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use routing::object::Name;
use routing::{Config, Reason};

use super::request::RequestSpec;
use super::{ExplainContext, explain};
use crate::cli::args::loopback;
use crate::cli::config::read_service_name;
use crate::cli::environment;
use crate::cli::identity::Identity;
use crate::cli::output::{OutputFormat, print, print_error};
use crate::cli::pages::{self, Page, encode};
use crate::cli::read_once::{read_cluster, read_folder};
use crate::cli::style::Palette;
use crate::control::reload::Reload;
use crate::control::source::kube::WatchScope;

/// How long the running gateway may take to be reached, and to say the next part of its answer.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What `--help` says of how it ends.
const EXIT_CODES: &str = "\
It ends with 0 if there is an answer, whatever its status is; 1 if the URL or a header cannot be request about, or \
nobody answers; 2 if the command line is wrong.";

/// `gateway explain`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Explain {
    /// The URL of the request.
    url: String,
    /// The request's method.
    #[arg(long, value_name = "M", default_value = "GET")]
    method: String,
    /// A header of the request; may be given several times.
    #[arg(long = "header", value_name = "K: V")]
    headers: Vec<String>,
    /// Ask this folder of YAML, as if a gateway served it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["admin", "kubeconfig"])]
    files: Option<PathBuf>,
    /// Ask the cluster that this file names, as if a gateway served it; its API is read once, and none need run there.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    kubeconfig: Option<PathBuf>,
    /// With --kubeconfig: read these namespaces only; may be given several times.
    #[arg(long = "namespace", value_name = "NAMESPACE", requires = "kubeconfig")]
    namespaces: Vec<String>,
    /// Ask the running gateway whose admin pages are here.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
    /// The Service by which the outside reaches the gateway; it is only told of.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = read_service_name)]
    status_service: Option<Name>,
    /// For people or for tools.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
    #[command(flatten)]
    identity: Identity,
}

impl Explain {
    /// Asks and prints, and says with which code the process ends.
    pub fn execute(self) -> ExitCode {
        match self.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print_error("explain", &error);
                ExitCode::FAILURE
            }
        }
    }

    fn run(&self) -> anyhow::Result<()> {
        let request = RequestSpec::new(&self.method, &self.url, &self.headers)?;
        let text = match (&self.files, &self.kubeconfig) {
            (Some(folder), _) => {
                self.explain_objects(&read_folder(folder, self.identity.routing()?)?, &request)?
            }
            (None, Some(kubeconfig)) => self.explain_objects(&self.read_cluster(kubeconfig)?, &request)?,
            (None, None) => self.query_gateway()?,
        };
        print(&text)
    }

    fn read_cluster(&self, kubeconfig: &Path) -> anyhow::Result<Reload> {
        let routing = Config { namespace: environment::own_namespace(), ..self.identity.routing()? };
        let reload = read_cluster(kubeconfig, WatchScope::from_namespaces(&self.namespaces), routing)?;
        let mut stderr = std::io::stderr().lock();
        for problem in reload.problems().views_where(|problem| problem.reason == Reason::NotPermitted) {
            writeln!(stderr, "{problem}").context("cannot print")?;
        }
        Ok(reload)
    }

    fn explain_objects(&self, reload: &Reload, request: &RequestSpec) -> anyhow::Result<String> {
        let (live, problems) = (reload.live().load_full(), reload.problems());
        let context = ExplainContext {
            compiler: reload.compiler(),
            live: &live,
            problems: &problems,
            status_service: self.status_service.as_ref(),
        };
        let explanation = explain(request, context);
        Ok(match self.output {
            OutputFormat::Text => explanation.styled(Palette::for_stdout()).to_string(),
            OutputFormat::Json => serde_json::to_string_pretty(&explanation)? + "\n",
        })
    }

    fn query_gateway(&self) -> anyhow::Result<String> {
        if self.identity.has_classes() {
            bail!("--class is for --files and --kubeconfig: a running gateway has its own");
        }
        let mut target = format!("/explain?url={}&method={}", encode(&self.url), encode(&self.method));
        for header in &self.headers {
            target += &format!("&header={}", encode(header));
        }
        if let Some(service) = &self.status_service {
            target += &format!("&service={}", encode(&service.to_string()));
        }
        target += match self.output {
            OutputFormat::Json => "&output=json",
            OutputFormat::Text if Palette::for_stdout().is_coloured() => "&style=ansi",
            OutputFormat::Text => "",
        };
        let no_response = || {
            let admin = self.admin;
            format!(
                "no gateway answers at {admin} (--admin ADDR asks elsewhere, --files DIR asks a folder, --kubeconfig FILE a cluster)"
            )
        };
        let Page { status, body } =
            pages::get(self.admin, &target, ADMIN_TIMEOUT).with_context(no_response)?;
        match (status, self.output) {
            (200, OutputFormat::Text) => Ok(body),
            (200, OutputFormat::Json) => {
                let value: serde_json::Value = serde_json::from_str(&body)?;
                Ok(serde_json::to_string_pretty(&value)? + "\n")
            }
            _ => bail!("{} answers {status}: {}", self.admin, body.trim_end()),
        }
    }
}
