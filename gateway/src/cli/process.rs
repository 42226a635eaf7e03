//! A whole gateway in this process: sockets, workers, control runtime, source.
//!
//! `gateway run`, `gateway demo` and the tests start it in the same way. Not here: the command line.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use pingora::connectors::TransportConnector;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, watch};

use crate::cli::crypto::crypto_provider;
use crate::control::plugin::{PluginBoard, PluginContext};
use crate::control::reload::{Problems, Reload};
use crate::data::drain::Phase;
use crate::data::listener::connections::{ConnectionTracker, WorkerConnections};
use crate::data::listener::worker::{Handle, Resources};
use crate::data::listener::{Protocol, tls};
use crate::data::plugins::PluginInputs;
use crate::data::pressure::MemoryPressure;
use crate::live::LiveCell;
use crate::observe::access_log::{self, LogReader, LogSettings, LogSink, WriterThread};
use crate::plan::Planner;
use crate::settings::{DrainSettings, Settings};

pub mod admin;
mod descriptors;
mod inputs;
mod memory;
mod options;
mod runtime;
mod sockets;
mod supervise;

use admin::Admin;
use inputs::{InputContext, InputFactory};
pub use options::{Options, Source};
use sockets::{Bound, Sockets};

/// A running gateway. Dropping it closes all connections at once. [`Gateway::drain`] first lets requests complete.
pub struct Gateway {
    /// Address for plaintext requests.
    pub http: SocketAddr,
    /// Address for TLS requests.
    pub https: SocketAddr,
    /// Address of the admin pages.
    pub admin: SocketAddr,
    /// Address of the pages for probes, if configured.
    pub probe: Option<SocketAddr>,
    live: LiveCell,
    problems: Arc<Problems>,
    plugins: Arc<PluginContext>,
    workers: Arc<[Handle]>,
    generation: watch::Receiver<u64>,
    is_draining: Arc<AtomicBool>,
    draining: watch::Sender<bool>,
    drain: DrainSettings,
    // Dropped before the runtime, since the end of an input is no panic then.
    process: watch::Sender<()>,
    control: Runtime,
    // Dropped last: it waits briefly for the last entries of the workers.
    access_log: Option<WriterThread>,
}

impl Gateway {
    /// Binds all sockets, starts the workers, and starts to read objects. The gateway listens when this returns, and is
    /// ready when the first table is live.
    ///
    /// # Errors
    /// Returns an error that names the address that cannot be bound, or the folder or file that cannot be read.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        Self::start_with_log(options, AccessLog::start(&options.settings.access_log)?)
    }

    /// Starts as [`Gateway::start`] does, with an access log that the caller reads. `settings.access_log.destination` has no
    /// effect.
    ///
    /// # Errors
    /// Those of [`Gateway::start`].
    pub fn start_observed(options: &Options) -> anyhow::Result<(Self, LogReader)> {
        let (sink, reader) = access_log::channel(&options.settings.access_log);
        Ok((Self::start_with_log(options, AccessLog { sink: Some(sink), writer: None })?, reader))
    }

    fn start_with_log(options: &Options, log: AccessLog) -> anyhow::Result<Self> {
        let settings = &options.settings;
        let provider = crypto_provider()?;
        let descriptors = descriptors::raise_limit();
        let max_connections =
            descriptors::max_client_connections(settings.limits.client_connections, descriptors);
        let Sockets { http, https, admin, probe } = Sockets::bind(settings)?;
        let addresses = (http.address, https.address);
        let planner = Planner::new(Arc::new(settings.clone()), options.filters.clone());
        let reload = Reload::new(Arc::clone(&provider), settings.routing.clone(), planner)?;
        let resources = resources(settings, &reload, log.sink);
        let tls = Arc::new(tls::server_config(reload.live(), provider)?);
        let connections = ConnectionTracker::for_workers(max_connections, settings.workers());
        let (plugins, inputs) = plugin_channels(options);
        let clients = ClientSockets { http, https, tls };
        let workers = start_workers(&resources, connections.into_iter().zip(inputs), clients)?;

        let control = runtime::build()?;
        let (pending_tx, pending) = watch::channel(None);
        let pages = Admin {
            live: reload.live(),
            problems: reload.problems(),
            workers,
            generation: reload.generation(),
            is_draining: Arc::default(),
            pending,
            reload: reload.handle(),
            restarts: Arc::default(),
            plugins: Arc::clone(&plugins),
            handlers: Arc::default(),
            access_log_dropped: log.writer.as_ref().map(WriterThread::dropped).unwrap_or_default(),
            status_service: settings.status.service.clone(),
            upstreams: Arc::clone(&resources.upstreams),
            watches: Arc::default(),
            reports: matches!(options.source, Source::Kubernetes(_)).then(Arc::default),
        };
        let (process, is_running) = watch::channel(());
        let gateway = Self {
            http: addresses.0,
            https: addresses.1,
            admin: admin.address,
            probe: probe.as_ref().map(|bound| bound.address),
            live: reload.live(),
            problems: reload.problems(),
            plugins: Arc::clone(&plugins),
            workers: Arc::clone(&pages.workers),
            generation: reload.generation(),
            is_draining: Arc::clone(&pages.is_draining),
            draining: watch::Sender::new(false),
            drain: settings.drain,
            process,
            control,
            access_log: log.writer,
        };
        gateway.watch_memory(settings, Arc::clone(&resources.pressure));
        let restarts = Arc::clone(&pages.restarts);
        let context = InputContext::new(&pages, pending_tx, gateway.draining.subscribe());
        gateway.serve_pages(pages, admin, probe)?;
        let factory = InputFactory::new(gateway.control.handle(), options, context)?;
        gateway.supervise(reload, factory, restarts, is_running)?;
        Ok(gateway)
    }

    fn supervise(
        &self,
        reload: Reload,
        factory: InputFactory,
        restarts: Arc<AtomicU64>,
        is_running: watch::Receiver<()>,
    ) -> anyhow::Result<()> {
        let inputs = factory.start(&reload)?;
        let start = move |reload: &Reload| factory.start(reload);
        self.control.spawn(supervise::run((reload, inputs), start, restarts, is_running));
        Ok(())
    }

    fn watch_memory(&self, settings: &Settings, pressure: Arc<MemoryPressure>) {
        if let Some(budget) = memory::budget(settings.limits.memory) {
            self.control.spawn(memory::watch(budget, pressure, Arc::clone(&self.workers)));
        }
    }

    fn serve_pages(&self, pages: Admin, admin: Bound, probe: Option<Bound>) -> io::Result<()> {
        if let Some(probe) = probe {
            runtime::serve(&self.control, &pages.clone().probe_router(), probe.sockets)?;
        }
        runtime::serve(&self.control, &pages.router(), admin.sockets)
    }

    /// Waits until a table of at least this generation is live, and returns its generation.
    ///
    /// # Errors
    /// Returns an error if the timeout elapses or the source ends.
    pub fn wait(&self, generation: u64, timeout: Duration) -> anyhow::Result<u64> {
        let mut live = self.generation.clone();
        self.control.block_on(async move {
            let reached = live.wait_for(|number| *number >= generation);
            let number = tokio::time::timeout(timeout, reached).await.context("no table in time")??;
            Ok(*number)
        })
    }

    /// Returns the generation of the live table.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Returns the generation of the live table as a channel, for async callers.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// Returns the cell of the live state.
    pub fn live(&self) -> LiveCell {
        Arc::clone(&self.live)
    }

    /// Returns all present Problems.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// Makes the access log open its file again, within one second.
    pub fn reopen_logs(&self) {
        if let Some(writer) = &self.access_log {
            writer.reopen();
        }
    }

    /// Returns the states of all plugins.
    pub fn plugins(&self) -> &PluginBoard {
        &self.plugins.board
    }

    /// Returns the runtime for everything except requests.
    pub fn control(&self) -> &Runtime {
        &self.control
    }

    /// Drains and stops the gateway, as [`Gateway::drain_until`] does without a cut.
    pub fn drain(self) {
        self.drain_until(std::future::pending());
    }

    /// Drains and stops the gateway.
    ///
    /// First, `/readyz` fails while connections are still accepted, so that load balancers stop sending. After the delay,
    /// no connection is accepted, and this returns when the last client disconnects. At the limit, or when `cut`
    /// completes, all connections are closed.
    pub fn drain_until(self, cut: impl Future<Output = ()>) {
        let DrainSettings { delay, limit } = self.drain;
        self.is_draining.store(true, Ordering::Relaxed);
        // Another replica becomes the leader at once.
        self.draining.send_replace(true);
        let enter = |phase| self.workers.iter().for_each(|worker| worker.enter_phase(phase));
        enter(Phase::Draining);
        let all_stopped = async {
            tokio::time::sleep(delay).await;
            enter(Phase::Closing);
            for worker in self.workers.iter() {
                worker.wait_stopped().await;
            }
        };
        self.control.block_on(async {
            tokio::select! {
                biased;
                () = all_stopped => tracing::info!("drained"),
                () = cut => tracing::warn!("open connections are closed: a signal ended the drain"),
                () = tokio::time::sleep(limit) => {
                    tracing::warn!("open connections are closed: the time to drain is over");
                }
            }
        });
        self.workers.iter().for_each(Handle::stop);
        drop(self.process);
        self.control.shutdown_background();
    }
}

/// The sockets for clients, one of each kind for each worker.
struct ClientSockets {
    http: Bound,
    https: Bound,
    tls: Arc<rustls::ServerConfig>,
}

/// Returns what all workers share.
fn resources(settings: &Settings, reload: &Reload, access_log: Option<LogSink>) -> Resources {
    Resources {
        live: reload.live(),
        settings: Arc::new(settings.clone()),
        connector: Arc::new(TransportConnector::new(None)),
        upstreams: Arc::default(),
        pressure: Arc::default(),
        access_log,
    }
}

/// Creates the ways of plugins to each worker.
fn plugin_channels(options: &Options) -> (Arc<PluginContext>, Vec<PluginInputs>) {
    let (mut workers, mut queues, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.settings.workers() {
        let (change_tx, changes) = mpsc::unbounded_channel();
        let queue = Arc::new(Notify::new());
        workers.push(change_tx);
        queues.push(Arc::clone(&queue));
        inputs.push(PluginInputs { changes, queues: queue });
    }
    let cache = options.settings.plugins.cache.clone();
    let context = PluginContext {
        workers,
        queues,
        shared: Arc::default(),
        cache,
        board: Arc::default(),
        observer: options.observer.clone(),
    };
    (Arc::new(context), inputs)
}

fn start_workers(
    resources: &Resources,
    workers: impl Iterator<Item = (WorkerConnections, PluginInputs)>,
    clients: ClientSockets,
) -> io::Result<Arc<[Handle]>> {
    let ClientSockets { http, https, tls } = clients;
    let sockets = http.sockets.into_iter().zip(https.sockets);
    let workers = workers.zip(sockets);
    let start = |((connections, plugins), (http, https))| {
        let sockets = vec![(http, Protocol::Plain), (https, Protocol::Tls(Arc::clone(&tls)))];
        Handle::start(connections, resources.clone(), sockets, plugins)
    };
    workers.map(start).collect()
}

/// The access log of a gateway.
struct AccessLog {
    /// Where workers send entries. `None`: requests are not logged.
    sink: Option<LogSink>,
    /// The thread that writes entries. `None` if another reader takes them.
    writer: Option<WriterThread>,
}

impl AccessLog {
    fn start(settings: &LogSettings) -> anyhow::Result<Self> {
        let started = access_log::start(settings);
        let (sink, writer) =
            started.with_context(|| format!("cannot write the access log {}", settings.destination))?.unzip();
        Ok(Self { sink, writer })
    }
}
