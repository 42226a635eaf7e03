//! The command line. Each command reads as what it does; the work is elsewhere.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub mod check;
pub mod config;
pub mod crds;
pub mod demo;
pub mod explain;
pub mod identity;
pub mod outcome;
pub(crate) mod pages;
pub(crate) mod pods;
pub mod process;
pub mod style;
pub mod wait;

use crate::cli::config::error::ConfigError;
use crate::cli::config::{Config, Flag};
use crate::cli::process::{Gateway, Options, Source};
use crate::settings::Settings;
use identity::Identity;

/// An ingress gateway for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a folder of Ingress YAML says, or a cluster.
    Run(Run),
    /// Print the effective configuration, and where each value of it comes from.
    Config(ShowConfig),
    /// Show the gateway at work: sample apps behind real Ingress YAML, without a cluster.
    Demo(crate::cli::demo::Demo),
    /// Say what is wrong with a folder of YAML, and which requests it answers otherwise than another one.
    Check(crate::cli::check::Check),
    /// Print the CustomResourceDefinitions of our kinds, for `kubectl apply`.
    Crds,
    /// Say why a request goes where it goes.
    Explain(crate::cli::explain::command::Explain),
    /// Wait until an Ingress is live, or refused.
    Wait(crate::cli::wait::command::Wait),
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    configured: Configured,
}

/// `gateway config` takes the flags of `gateway run`.
#[derive(Debug, Args)]
struct ShowConfig {
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    configured: Configured,
}

/// Where objects come from; in a pod, neither is given.
#[derive(Debug, Args)]
struct Door {
    /// A folder with YAML; it is watched, changes show at once.
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    files: Option<PathBuf>,
    /// The cluster that this file names; without it and without --files: the cluster whose pod this is.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl Door {
    /// What is so unless something else is said: a folder is served to this machine alone.
    fn defaults(&self) -> Settings {
        if self.files.is_some() {
            return Settings::default();
        }
        Settings::in_cluster(&own_namespace())
    }

    fn source(self) -> Source {
        self.files.map_or(Source::Kubernetes(self.kubeconfig), Source::Files)
    }
}

/// The flags that make the configuration, with the file and the environment.
#[derive(Debug, Args)]
struct Configured {
    /// The configuration file; `gateway config` prints one with all there is.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen for plaintext.
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where to listen for TLS.
    #[arg(long, value_name = "ADDR")]
    https: Option<String>,
    /// Where to serve the admin pages.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Where to serve /livez, /readyz and /metrics alone.
    #[arg(long, value_name = "ADDR")]
    probe: Option<String>,
    /// How many workers, one thread each; as many as there are processors if not given.
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Leave the reason out of the gateway's own answers.
    #[arg(long)]
    no_reason_header: bool,
    /// The Service by which the outside reaches this gateway; `explain` tells of it.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    status_service: Option<String>,
    /// Any other setting, by its place in the configuration file: `timeouts.keepAlive=30s`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    identity: Identity,
}

/// Says on standard error why a command that was to print something did not.
pub(crate) fn complain(command: &str, error: &anyhow::Error) {
    // Who closed it does not want to know.
    let _ = writeln!(std::io::stderr(), "gateway {command}: {error:#}");
}

/// The variables of the environment, those that are text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The gateway's own namespace in a cluster.
pub(crate) fn own_namespace() -> String {
    let namespace = std::env::var("POD_NAMESPACE").ok().filter(|namespace| !namespace.is_empty());
    namespace.unwrap_or_else(|| routing::Config::default().namespace)
}

/// An address on this machine only.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl Cli {
    /// What is logged unless the environment says otherwise: the demo's own output already tells the rest.
    pub fn default_level(&self) -> tracing::Level {
        match self.command {
            Command::Run(_) => tracing::Level::INFO,
            Command::Config(_)
            | Command::Crds
            | Command::Demo(_)
            | Command::Check(_)
            | Command::Explain(_)
            | Command::Wait(_) => tracing::Level::ERROR,
        }
    }

    /// Does what was asked, and says with which code the process ends.
    ///
    /// # Errors
    /// What kept it from being done, for people.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(run) => run.execute()?,
            Command::Config(config) => config.execute()?,
            Command::Demo(demo) => demo.execute()?,
            Command::Check(check) => return Ok(check.execute()),
            Command::Crds => print_crds()?,
            Command::Explain(explain) => return Ok(explain.execute()),
            Command::Wait(wait) => return Ok(wait.execute()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Run {
    fn execute(self) -> anyhow::Result<()> {
        let settings = self.configured.load(self.door.defaults())?.settings;
        let gateway = Gateway::start(&Options { source: self.door.source(), settings })?;
        tracing::info!(http = %gateway.http, https = %gateway.https, admin = %gateway.admin, "listening");
        let (signals, stop) = gateway.control().block_on(async {
            let mut signals = Signals::watch()?;
            let stop = signals.next().await;
            io::Result::Ok((signals, stop))
        })?;
        tracing::info!(?stop, "stopping");
        signals.end(gateway, stop);
        Ok(())
    }
}

impl ShowConfig {
    fn execute(&self) -> anyhow::Result<()> {
        let text = self.configured.load(self.door.defaults())?.to_yaml();
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }
}

fn print_crds() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for definition in crate::cli::crds::all() {
        write!(out, "---\n{}", definition.to_yaml()?)?;
    }
    Ok(())
}

impl Configured {
    fn load(&self, defaults: Settings) -> Result<Config, ConfigError> {
        Config::load(defaults, self.config.as_deref(), environment(), &self.flags())
    }

    /// What was given, each with its place in the configuration file.
    fn flags(&self) -> Vec<Flag> {
        let hidden = self.no_reason_header.then(|| "hidden".to_owned());
        let named = [
            ("--http", "listeners.http", &self.http),
            ("--https", "listeners.https", &self.https),
            ("--admin", "listeners.admin", &self.admin),
            ("--probe", "listeners.probe", &self.probe),
            ("--workers", "workers", &self.workers),
            ("--no-reason-header", "responses.reasonHeader", &hidden),
            ("--status-service", "status.service", &self.status_service),
        ];
        let flag = |name: &str, key: &str, value: &str| Flag {
            name: name.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let given =
            named.into_iter().filter_map(|(name, key, value)| Some(flag(name, key, value.as_deref()?)));
        let set = self.set.iter().map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            flag("--set", key, value)
        });
        given.chain(self.identity.flag()).chain(set).collect()
    }
}

/// How the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Requests in flight may end.
    Gently,
    /// At once.
    Now,
}

/// The two ways to be told to stop: SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to watch; the process no longer ends by itself on them. Called inside a runtime.
    ///
    /// # Errors
    /// The signals cannot be watched.
    pub fn watch() -> io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    /// Waits for either.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Gently,
            _ = self.interrupt.recv() => Stop::Now,
        }
    }

    /// Ends the gateway in the way that was asked for. A further SIGTERM changes nothing, since a hook and the kubelet
    /// may both send one; SIGINT ends the drain too.
    pub fn end(mut self, gateway: Gateway, stop: Stop) {
        if stop == Stop::Gently {
            gateway.drain_until(async move {
                self.interrupt.recv().await;
            });
        }
    }
}
