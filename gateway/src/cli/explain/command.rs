//! `gateway explain URL`: explains a request by a folder, a cluster's API, or a running gateway's admin pages.
//!
//! Not here: the explanation itself.

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

/// Time limit for the connect to a running gateway, and for each read of its response.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The exit codes in `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0 explained, whatever the request's status is; 1 the URL or a header is invalid, or the objects cannot be \
read; 2 the command line is wrong.";

/// The flags of `gateway explain`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Explain {
    /// The URL of the request.
    url: String,
    /// The request's method.
    #[arg(long, value_name = "M", default_value = "GET")]
    method: String,
    /// A header of the request. May be repeated.
    #[arg(long = "header", value_name = "K: V")]
    headers: Vec<String>,
    /// Explain by this folder of YAML.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["admin", "kubeconfig"])]
    files: Option<PathBuf>,
    /// Explain by the API of the cluster that this file names. No gateway has to run there.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    kubeconfig: Option<PathBuf>,
    /// With --kubeconfig: read only this namespace. May be repeated.
    #[arg(long = "namespace", value_name = "NAMESPACE", requires = "kubeconfig")]
    namespaces: Vec<String>,
    /// Ask the running gateway with these admin pages.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
    /// The Service that exposes the gateway, to be shown.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = read_service_name)]
    status_service: Option<Name>,
    /// The format of the output.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
    #[command(flatten)]
    identity: Identity,
}

impl Explain {
    /// Prints the explanation. Returns the exit code.
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
            plugins: None,
            ejected: &[],
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
                "no gateway responds at {admin} (--admin ADDR asks elsewhere, --files DIR asks a folder, --kubeconfig FILE a cluster)"
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
            _ => bail!("{} responds {status}: {}", self.admin, body.trim_end()),
        }
    }
}
