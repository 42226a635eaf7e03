//! A whole gateway in this process: sockets, workers, control runtime, source.
//!
//! `gateway run`, `gateway demo` and the tests start it the same way. Not here: the command line.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use axum::Router;
use pingora::connectors::TransportConnector;
use routing::Config;
use rustls::crypto::CryptoProvider;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::cli::process::admin::Admin;
use crate::control::reload::{Problems, Reload};
use crate::control::source::files;
use crate::control::source::kube::{self as kubernetes, WatchScope};
use crate::data::drain::Phase;
use crate::data::listener::connections::{ConnectionTracker, WorkerConnections};
use crate::data::listener::worker::{Handle, Resources};
use crate::data::listener::{Protocol, sockets, tls};
use crate::live::LiveCell;
use crate::observe::access_log;
use crate::settings::{DrainSettings, Settings};

pub mod admin;
mod descriptors;
mod feeding;
mod supervise;

use feeding::Feeder;

/// How much less of the processor control work gets than requests, as `nice` counts.
const CONTROL_NICENESS: i32 = 5;

/// Updates that may wait to be applied; the source gathers further changes into one.
const WAITING_UPDATES: usize = 1;

/// How long reading a cluster once may take; its first Update waits 10 s of them for Secrets.
const CLUSTER_LIMIT: Duration = Duration::from_secs(30);

/// Where objects come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder of Ingress YAML.
    Files(PathBuf),
    /// The API that a kubeconfig file names, or that of the cluster whose pod this is.
    Kubernetes(Option<PathBuf>),
}

/// What to serve, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where objects come from.
    pub source: Source,
    /// Everything that can be set.
    pub settings: Settings,
}

/// A running gateway. Dropping it stops it at once; [`Gateway::drain`] first lets requests end.
pub struct Gateway {
    /// Where it listens for plaintext.
    pub http: SocketAddr,
    /// Where it listens for TLS.
    pub https: SocketAddr,
    /// Where the admin pages are.
    pub admin: SocketAddr,
    /// Where the pages for probes are, if they were asked for.
    pub probe: Option<SocketAddr>,
    live: LiveCell,
    problems: Arc<Problems>,
    workers: Arc<[Handle]>,
    generation: watch::Receiver<u64>,
    draining: Arc<AtomicBool>,
    drain: DrainSettings,
    control: Runtime,
    // Last: it waits a moment for what the workers had to say.
    _access_log: Option<access_log::WriterThread>,
}

impl Gateway {
    /// Binds all sockets, starts the workers, and begins to read objects. It listens when this returns, and is ready
    /// when the first table is live.
    ///
    /// # Errors
    /// An address that cannot be bound, a folder or a kubeconfig that cannot be read, by name.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        let (sink, writer) = start_log(&options.settings.access_log)?;
        Self::start_logging(options, sink, writer)
    }

    /// Starts as [`Gateway::start`] does, with an access log that the caller reads. `settings.access_log.destination` has no
    /// effect.
    ///
    /// # Errors
    /// Those of [`Gateway::start`].
    pub fn start_observed(options: &Options) -> anyhow::Result<(Self, access_log::LogReader)> {
        let (sink, reader) = access_log::channel(&options.settings.access_log);
        Ok((Self::start_logging(options, Some(sink), None)?, reader))
    }

    fn start_logging(
        options: &Options,
        sink: Option<access_log::LogSink>,
        access_log: Option<access_log::WriterThread>,
    ) -> anyhow::Result<Self> {
        let provider = provider()?;
        let bind = |name: &str, address, count| {
            sockets::bind(address, count).with_context(|| format!("cannot listen on {address} ({name})"))
        };
        let (listen, workers) = (options.settings.listeners, options.settings.workers());
        let places = descriptors::places(options.settings.limits.client_connections, descriptors::raise());
        let (http, http_sockets) = bind("http", listen.http, workers)?;
        let (https, https_sockets) = bind("https", listen.https, workers)?;
        let (admin, admin_socket) = bind("admin", listen.admin, 1)?;
        let (probe, probe_socket) =
            listen.probe.map(|address| bind("probe", address, 1)).transpose()?.unzip();

        let reload = Reload::new(Arc::clone(&provider), options.settings.routing.clone())?;
        let (live, problems, generation) = (reload.live(), reload.problems(), reload.generation());
        let resources = Resources {
            live: Arc::clone(&live),
            settings: Arc::new(options.settings.clone()),
            connector: Arc::new(TransportConnector::new(None)),
            upstreams: Arc::default(),
            access_log: sink,
        };
        let config = Arc::new(tls::server_config(Arc::clone(&live), provider)?);
        let connections = ConnectionTracker::for_workers(places, workers);
        let sockets = http_sockets.into_iter().zip(https_sockets);
        let workers = start_workers(&resources, connections.into_iter().zip(sockets), &config)?;

        let control = control_runtime()?;
        let draining = Arc::new(AtomicBool::new(false));
        let (told, waiting) = watch::channel(None);
        let restarts = Arc::default();
        let pages = Admin {
            live: Arc::clone(&live),
            problems: Arc::clone(&problems),
            workers: Arc::clone(&workers),
            generation: generation.clone(),
            draining: Arc::clone(&draining),
            waiting,
            reload: reload.handle(),
            restarts: Arc::clone(&restarts),
            access_log_dropped: access_log
                .as_ref()
                .map(access_log::WriterThread::dropped)
                .unwrap_or_default(),
            status_service: options.settings.status_service.clone(),
        };
        serve_pages(&control, pages.clone().probes(), probe_socket.unwrap_or_default())?;
        serve_pages(&control, pages.router(), admin_socket)?;
        let feeder = Feeder::new(control.handle(), options, told)?;
        let feeding = feeder.begin(&reload)?;
        control.spawn(supervise::run(reload, feeding, move |reload| feeder.begin(reload), restarts));
        Ok(Self {
            http,
            https,
            admin,
            probe,
            live,
            problems,
            workers,
            generation,
            draining,
            drain: options.settings.drain,
            control,
            _access_log: access_log,
        })
    }

    /// Waits until a table of at least this generation is live, and says which.
    ///
    /// # Errors
    /// The limit passed, or the source has ended.
    pub fn wait(&self, generation: u64, limit: Duration) -> anyhow::Result<u64> {
        let mut live = self.generation.clone();
        self.control.block_on(async move {
            let wanted = live.wait_for(|number| *number >= generation);
            let number = tokio::time::timeout(limit, wanted).await.context("no table in time")??;
            Ok(*number)
        })
    }

    /// The number of the live table.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// The number of the live table, to wait on from async code.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// What is being served.
    pub fn live(&self) -> LiveCell {
        Arc::clone(&self.live)
    }

    /// What is wrong.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// The runtime for everything that is not a request.
    pub fn control(&self) -> &Runtime {
        &self.control
    }

    /// As [`Gateway::drain_until`], with nothing that cuts it short.
    pub fn drain(self) {
        self.drain_until(std::future::pending());
    }

    /// Says not ready and goes on accepting for a while, so that whoever sends clients here learns of it; then accepts
    /// nothing more, and ends when nobody is connected any more. Whoever is still connected at the limit, or when
    /// `cut` ends, is cut off.
    pub fn drain_until(self, cut: impl Future<Output = ()>) {
        let DrainSettings { delay, limit } = self.drain;
        self.draining.store(true, Ordering::Relaxed);
        let enter = |phase| self.workers.iter().for_each(|worker| worker.enter_phase(phase));
        enter(Phase::Draining);
        let orderly = async {
            tokio::time::sleep(delay).await;
            enter(Phase::Closing);
            for worker in self.workers.iter() {
                worker.wait_stopped().await;
            }
        };
        self.control.block_on(async {
            tokio::select! {
                biased;
                () = orderly => tracing::info!("drained"),
                () = cut => tracing::warn!("whoever is connected is cut off: told to stop at once"),
                () = tokio::time::sleep(limit) => {
                    tracing::warn!("whoever is connected is cut off: the time to drain is over");
                }
            }
        });
        self.workers.iter().for_each(Handle::stop);
        self.control.shutdown_background();
    }
}

/// Starts a worker on each pair of sockets, one for plaintext and one for TLS.
fn start_workers(
    resources: &Resources,
    connections: impl Iterator<Item = (WorkerConnections, (TcpListener, TcpListener))>,
    tls: &Arc<rustls::ServerConfig>,
) -> io::Result<Arc<[Handle]>> {
    let start = |(connections, (plain, secure))| {
        let secure = (secure, Protocol::Tls(Arc::clone(tls)));
        Handle::start(connections, resources.clone(), vec![(plain, Protocol::Plain), secure])
    };
    connections.map(start).collect()
}

/// Starts the access log, if there is to be one: where lines go, and what writes them.
fn start_log(
    settings: &access_log::LogSettings,
) -> anyhow::Result<(Option<access_log::LogSink>, Option<access_log::WriterThread>)> {
    let started = access_log::start(settings);
    Ok(started.with_context(|| format!("cannot write the access log {}", settings.destination))?.unzip())
}

/// Makes aws-lc-rs the provider of the whole process (measured faster than ring for RSA and X25519), before
/// anything else asks for one.
///
/// # Errors
/// Nobody has installed one.
pub(crate) fn provider() -> anyhow::Result<Arc<CryptoProvider>> {
    // In tests several gateways share a process: the first one installs.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    CryptoProvider::get_default().map(Arc::clone).context("no TLS provider")
}

/// Reads a folder once, as `gateway run` would at its start: certificates too.
///
/// # Errors
/// The folder cannot be read.
pub fn read_once(folder: &Path, routing: Config) -> anyhow::Result<Reload> {
    let (sender, mut updates) = mpsc::channel(WAITING_UPDATES);
    let watcher = files::watch(folder, &routing.classes, sender)?;
    let update = updates.blocking_recv().context("the folder was not read")?;
    drop(watcher);
    let mut reload = Reload::new(provider()?, routing)?;
    reload.apply(update, SystemTime::now());
    Ok(reload)
}

/// Reads a cluster's API once, as `gateway run` would at its start. The zone is the one that `routing` says.
///
/// # Errors
/// The kubeconfig makes no sense, or the API server does not give all that is needed in time.
pub fn read_cluster_once(kubeconfig: &Path, scope: WatchScope, routing: Config) -> anyhow::Result<Reload> {
    let mut reload = Reload::new(provider()?, routing.clone())?;
    let (sender, mut updates) = mpsc::channel(WAITING_UPDATES);
    let (told, waiting) = watch::channel(None);
    let purpose = kubernetes::Purpose::Explain;
    let wanted = kubernetes::WatchSpec { scope, routing, node: None, purpose };
    let update = control_runtime()?.block_on(async {
        let client = kubernetes::build_client(Some(kubeconfig)).await?;
        tokio::select! {
            update = updates.recv() => update.context("the cluster was not read"),
            () = kubernetes::run(client, wanted, sender, told) => bail!("the cluster was not read"),
            () = tokio::time::sleep(CLUSTER_LIMIT) => {
                let missing = waiting.borrow().clone();
                bail!("after {CLUSTER_LIMIT:?} {}", missing.as_deref().unwrap_or("nothing was read"))
            }
        }
    })?;
    reload.apply(update, SystemTime::now());
    Ok(reload)
}

fn control_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .on_thread_start(|| {
            // Linux counts niceness by thread. Where it is refused, control work is merely as urgent as requests.
            let _ = rustix::process::nice(CONTROL_NICENESS);
        })
        .enable_all()
        .build()
}

fn serve_pages(control: &Runtime, pages: Router, sockets: Vec<TcpListener>) -> io::Result<()> {
    for socket in sockets {
        let listener = {
            let _inside = control.enter();
            tokio::net::TcpListener::from_std(socket)?
        };
        let pages = pages.clone();
        control.spawn(async move {
            if let Err(error) = axum::serve(listener, pages).await {
                tracing::error!(%error, "pages stopped");
            }
        });
    }
    Ok(())
}
