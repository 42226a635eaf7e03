//! `gateway plugin run`: a gateway on this machine with one plugin and an echo endpoint. A saved file is built and live
//! within seconds.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use api::PluginConfig;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::cargo::{self, Progress};
use super::echo;
use super::request_log::{self, RequestRecord};
use super::run_log::{GuestNote, NoteSender, RunLog};
use super::sandbox::{self, SandboxRoute};
use super::watch::{FileChange, Watched};
use crate::cli::args::loopback;
use crate::cli::folder::Folder;
use crate::cli::output::{print, print_error};
use crate::cli::process::Gateway;
use crate::cli::signals::{Signals, Stop};
use crate::cli::style::Palette;

/// Time after a change in which further ones belong to it: editors write several files.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// `gateway plugin run`.
#[derive(Debug, Args)]
pub struct RunPlugin {
    /// The folder of the crate.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The configuration of the plugin, as YAML. A change applies at once.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address for requests. A free port is used if this one is taken.
    #[arg(long, value_name = "ADDR", default_value_t = loopback(8080))]
    http: SocketAddr,
    /// An upstream that the plugin may call, and its endpoint: NAMESPACE/NAME:PORT=ADDR.
    #[arg(long = "upstream", value_name = "NAME=ADDR", value_parser = parse_upstream)]
    upstreams: Vec<(String, SocketAddr)>,
    /// A module that is already built, in any language. A new file at this path is loaded.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
}

fn parse_upstream(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.rsplit_once('=').ok_or("write NAME=ADDR")?;
    let address = address.parse().map_err(|_| format!("{address:?} is no address: write IP:PORT"))?;
    Ok((name.to_owned(), address))
}

/// What the command waits for, besides the gateway.
struct Inbox {
    notes: mpsc::UnboundedReceiver<GuestNote>,
    requests: mpsc::UnboundedReceiver<RequestRecord>,
    changes: mpsc::UnboundedReceiver<FileChange>,
}

/// The build in progress, and the change that it is for.
#[derive(Default)]
struct BuildState {
    job: Option<JoinHandle<anyhow::Result<PathBuf>>>,
    /// When the first change since the last version was seen.
    since: Option<Instant>,
    /// Whether something changed while the job ran.
    is_stale: bool,
    /// Whether the route is written. It waits for the first module: a plugin without one would be a Problem.
    has_route: bool,
}

impl RunPlugin {
    /// Serves until SIGTERM or SIGINT.
    pub fn execute(self) -> ExitCode {
        match self.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print_error("plugin run", &error);
                ExitCode::FAILURE
            }
        }
    }

    fn serve(&self) -> anyhow::Result<()> {
        let (note_tx, notes) = mpsc::unbounded_channel();
        let (request_tx, requests) = mpsc::unbounded_channel();
        let (change_tx, changes) = mpsc::unbounded_channel();
        let _watcher = self.watched().watch(change_tx)?;
        let folder = Folder::temporary("gateway-plugin-run")?;
        let mut options = sandbox::options(&folder, free_address(self.http)?, Arc::new(NoteSender(note_tx)));
        options.settings.access_log = request_log::settings()?;
        let (gateway, reader) = Gateway::start_observed(&options)?;
        request_log::follow(reader, request_tx)?;
        let endpoint = echo::serve(gateway.control().handle())?;
        // A mistake in it is found before the build.
        self.read_config()?;
        print(&format!(
            "http://{}/ passes requests to the plugin and then to an echo endpoint\n",
            gateway.http
        ))?;
        let inbox = Inbox { notes, requests, changes };
        let session = RunSession { command: self, gateway: &gateway, folder: &folder, endpoint };
        let (signals, stop) = gateway.control().block_on(session.run(inbox))?;
        signals.stop_gateway(gateway, stop);
        Ok(())
    }

    fn watched(&self) -> Watched {
        let config = self.config.clone();
        if let Some(module) = &self.module {
            return Watched { sources: vec![module.clone()], config };
        }
        let existing = ["src", "Cargo.toml", "build.rs"].map(|name| self.folder.join(name)).into_iter();
        Watched { sources: existing.filter(|path| path.exists()).collect(), config }
    }

    /// Writes the route with the present configuration.
    fn write_route(&self, folder: &Folder, endpoint: SocketAddr) -> anyhow::Result<()> {
        let config = self.read_config()?;
        SandboxRoute { endpoint, config: config.as_ref(), upstreams: &self.upstreams }.write(folder)
    }

    fn read_config(&self) -> anyhow::Result<Option<PluginConfig>> {
        let Some(path) = &self.config else { return Ok(None) };
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_saphyr::from_str(&text).map(Some).with_context(|| format!("{} is no YAML", path.display()))
    }

    /// Returns the module, which is built before if it is not given. Blocks.
    fn build(&self) -> impl FnOnce() -> anyhow::Result<PathBuf> + Send + 'static {
        let (folder, module) = (self.folder.clone(), self.module.clone());
        move || module.map_or_else(|| cargo::build(&folder, Progress::Quiet), Ok)
    }
}

/// Returns an address, with a free port if its own is taken.
fn free_address(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(address),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            print(&format!("{address} is taken: a free port is used instead\n"))?;
            Ok(SocketAddr::new(address.ip(), 0))
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// A running gateway, and what is needed to change its plugin.
struct RunSession<'a> {
    command: &'a RunPlugin,
    gateway: &'a Gateway,
    folder: &'a Folder,
    endpoint: SocketAddr,
}

impl RunSession<'_> {
    /// Prints what happens, and builds after each change, until a signal.
    async fn run(&self, mut inbox: Inbox) -> anyhow::Result<(Signals, Stop)> {
        let mut signals = Signals::watch()?;
        let mut states = self.gateway.plugins().changes();
        let (mut log, mut build) = (RunLog::new(Palette::for_stdout()), BuildState::default());
        build.start(self.command);
        loop {
            let text = tokio::select! {
                stop = signals.next(|| ()) => return Ok((signals, stop)),
                Some(note) = inbox.notes.recv() => log.on_note(note),
                Some(record) = inbox.requests.recv() => {
                    // The end of the request was noted before.
                    let mut text = String::new();
                    while let Ok(note) = inbox.notes.try_recv() {
                        text += &log.on_note(note);
                    }
                    text + &log.on_request(&record)
                }
                Some(change) = inbox.changes.recv() => {
                    self.on_change(change, &mut inbox.changes, &mut build).await;
                    String::new()
                }
                built = build.wait(), if build.job.is_some() => self.on_built(built, &mut build),
                Ok(()) = states.changed() => match sandbox::status(self.gateway) {
                    Some(status) => {
                        let text = log.on_status(&status, build.since.map(|since| since.elapsed()));
                        if text.is_empty() { text } else { build.since = None; text }
                    }
                    None => String::new(),
                },
            };
            if !text.is_empty() {
                print(&text)?;
            }
        }
    }

    /// Applies a change, together with those that follow at once.
    async fn on_change(
        &self,
        first: FileChange,
        changes: &mut mpsc::UnboundedReceiver<FileChange>,
        build: &mut BuildState,
    ) {
        build.since.get_or_insert_with(Instant::now);
        let (mut is_module, mut is_config) = (first == FileChange::Module, first == FileChange::Config);
        while let Ok(Some(change)) = tokio::time::timeout(DEBOUNCE, changes.recv()).await {
            is_module |= change == FileChange::Module;
            is_config |= change == FileChange::Config;
        }
        if is_config
            && build.has_route
            && let Err(error) = self.command.write_route(self.folder, self.endpoint)
        {
            print_error("plugin run", &error);
        }
        if is_module {
            build.start(self.command);
        }
    }

    /// Hands the module of a build to the gateway. A failed build leaves the version that serves.
    fn on_built(&self, built: anyhow::Result<PathBuf>, build: &mut BuildState) -> String {
        build.job = None;
        let copied = built.and_then(|module| {
            let bytes = fs::read(&module).with_context(|| format!("{} cannot be read", module.display()))?;
            self.folder.replace(sandbox::MODULE, &bytes)?;
            if !build.has_route {
                self.command.write_route(self.folder, self.endpoint)?;
                build.has_route = true;
            }
            Ok(())
        });
        if let Err(error) = copied {
            build.since = None;
            print_error("plugin run", &error);
        }
        if std::mem::take(&mut build.is_stale) {
            build.start(self.command);
        }
        String::new()
    }
}

impl BuildState {
    /// Starts a build, or marks the running one as stale.
    fn start(&mut self, command: &RunPlugin) {
        self.is_stale = self.job.is_some();
        if self.job.is_none() {
            self.job = Some(tokio::task::spawn_blocking(command.build()));
        }
    }

    /// Waits for the build.
    async fn wait(&mut self) -> anyhow::Result<PathBuf> {
        match &mut self.job {
            Some(job) => job.await.map_err(|error| anyhow!("the build ended: {error}")).flatten(),
            None => std::future::pending().await,
        }
    }
}
