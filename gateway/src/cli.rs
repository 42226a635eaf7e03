//! The command line. Each command reads as what it does; the work is elsewhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use routing::object::Name;

pub mod identity;

use crate::explain::request;
use identity::Identity;

use crate::process::{self, Gateway, Options};
use crate::settings::{ReasonHeader, Settings};

/// An ingress gateway for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a folder of Ingress YAML says.
    Run(Run),
    /// Show the gateway at work: sample apps behind real Ingress YAML, without a cluster.
    Demo(crate::demo::Demo),
    /// Say what is wrong with a folder of YAML, and which requests it answers otherwise than another one.
    Check(crate::check::Check),
    /// Say why a request goes where it goes.
    Explain(crate::explain::command::Explain),
}

#[derive(Debug, Args)]
struct Run {
    /// The folder with the YAML; it is watched, changes show at once.
    #[arg(long, value_name = "DIR")]
    files: PathBuf,
    /// Where to listen for plaintext.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8080))]
    http: SocketAddr,
    /// Where to listen for TLS.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8443))]
    https: SocketAddr,
    /// Where to serve the admin pages.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(9080))]
    admin: SocketAddr,
    /// How many workers, one thread each; as many as there are processors if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Leave the reason out of the gateway's own answers.
    #[arg(long)]
    no_reason_header: bool,
    /// The Service by which the outside reaches this gateway; `explain` tells of it.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = request::service_name)]
    status_service: Option<Name>,
    #[command(flatten)]
    identity: Identity,
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
            Command::Demo(_) | Command::Check(_) | Command::Explain(_) => tracing::Level::ERROR,
        }
    }

    /// Does what was asked, and says with which code the process ends.
    ///
    /// # Errors
    /// What kept it from being done, for people.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(run) => run.execute()?,
            Command::Demo(demo) => demo.execute()?,
            Command::Check(check) => return Ok(check.execute()),
            Command::Explain(explain) => explain.execute()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Run {
    fn execute(self) -> anyhow::Result<()> {
        let mut settings = Settings::default();
        if self.no_reason_header {
            settings.reason_header = ReasonHeader::Hidden;
        }
        settings.status_service = self.status_service;
        let routing = self.identity.routing();
        let workers = self.workers.map_or_else(process::available_workers, usize::from);
        let (files, http, https, admin) = (self.files, self.http, self.https, self.admin);
        let gateway = Gateway::start(&Options { files, http, https, admin, workers, routing, settings })?;
        tracing::info!(http = %gateway.http, https = %gateway.https, admin = %gateway.admin, workers, "listening");
        if wait_for_stop(&gateway)? == Stop::Gently {
            tracing::info!("stopping: requests in flight may end");
            gateway.drain();
        }
        Ok(())
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

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// The signals cannot be watched.
pub fn wait_for_stop(gateway: &Gateway) -> anyhow::Result<Stop> {
    use tokio::signal::unix::{SignalKind, signal};
    gateway.control().block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => Ok(Stop::Gently),
            _ = interrupt.recv() => Ok(Stop::Now),
        }
    })
}
