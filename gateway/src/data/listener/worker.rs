//! A worker: one thread with its own sockets, upstream connections, buffers and counters.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::TransportConnector;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use super::accept::{Acceptor, WarningLimiter};
use super::connections::WorkerConnections;
use super::protocol::Protocol;
use crate::data::drain::{DrainState, Phase};
use crate::data::exchange::request_id::RequestIds;
use crate::data::exchange::{DateCache, Worker};
use crate::data::idle::IdleConnections;
use crate::data::plugins::{self, PluginInputs};
use crate::data::pressure::MemoryPressure;
use crate::data::upstream::{SharedUpstreams, Upstreams};
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::Clock;
use crate::filter::plugin::Instances;
use crate::live::LiveCell;
use crate::observe::access_log::{self, LogHandle, LogSink};
use crate::observe::counters::{CounterSnapshot, Counters, add};
use crate::settings::Settings;

/// Task polls after which the runtime looks for new events of sockets. Connections that are ready again after each turn keep
/// the others waiting for at most this number of turns. Tokio's 61 made a small request wait for 61 turns of downloads.
const EVENT_INTERVAL: u32 = 8;

/// Commands to a worker.
enum WorkerCommand {
    /// Send a copy of the counters.
    CopyCounters(oneshot::Sender<CounterSnapshot>),
    /// Close idle connections, and free unused buffers.
    ReleaseMemory,
    /// Enter a phase of the shutdown.
    EnterPhase(Phase),
    /// Stop at once.
    Stop,
}

/// Controls a running worker. Dropping the handle stops the worker at once.
pub struct Handle {
    commands: mpsc::UnboundedSender<WorkerCommand>,
}

/// The resources of the process that a worker uses.
#[derive(Clone)]
pub struct Resources {
    /// The live routing table and certificates.
    pub live: LiveCell,
    /// Timeouts and limits.
    pub settings: Arc<Settings>,
    /// Pingora's connector, shared by all workers.
    pub connector: Arc<TransportConnector>,
    /// The state of endpoints that all workers share.
    pub upstreams: Arc<SharedUpstreams>,
    /// How much of the memory budget is used.
    pub pressure: Arc<MemoryPressure>,
    /// The destination of the access log. `None` disables the log.
    pub access_log: Option<LogSink>,
}

impl Handle {
    /// Starts a worker on its own sockets.
    ///
    /// # Errors
    /// The error of the system if it cannot start a thread.
    pub fn start(
        connections: WorkerConnections,
        resources: Resources,
        listeners: Vec<(StdListener, Protocol)>,
        plugins: PluginInputs,
    ) -> io::Result<Self> {
        let (commands, command_rx) = mpsc::unbounded_channel();
        let index = connections.worker;
        // The thread is not joined: the closed command channel shows that it has stopped.
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            if let Err(error) = run(connections, resources, listeners, (command_rx, plugins)) {
                tracing::error!(worker = index, %error, "worker stopped");
            }
        })?;
        Ok(Self { commands })
    }

    /// Returns a copy of the worker's counters, or `None` if the worker has stopped.
    ///
    /// # Cancellation
    /// Safe. The worker discards its reply.
    pub async fn counts(&self) -> Option<CounterSnapshot> {
        let (reply, counts) = oneshot::channel();
        self.commands.send(WorkerCommand::CopyCounters(reply)).ok()?;
        counts.await.ok()
    }

    /// Makes the worker close idle client connections, and free unused buffers.
    pub fn release_memory(&self) {
        // Fails if the worker has already stopped.
        let _ = self.commands.send(WorkerCommand::ReleaseMemory);
    }

    /// Makes the worker enter a phase of its shutdown. From [`Phase::Closing`] on it stops with its last connection.
    pub fn enter_phase(&self, phase: Phase) {
        // Fails if the worker has already stopped.
        let _ = self.commands.send(WorkerCommand::EnterPhase(phase));
    }

    /// Stops the worker at once. Open connections are cut off.
    pub fn stop(&self) {
        let _ = self.commands.send(WorkerCommand::Stop);
    }

    /// Waits until the worker has stopped.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn wait_stopped(&self) {
        self.commands.closed().await;
    }
}

/// Runs a worker on this thread until it stops.
fn run(
    connections: WorkerConnections,
    resources: Resources,
    listeners: Vec<(StdListener, Protocol)>,
    (command_rx, inputs): (mpsc::UnboundedReceiver<WorkerCommand>, PluginInputs),
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let (instances, work) = Instances::new(connections.worker);
        let worker = Rc::new(create_worker(resources, instances));
        spawn_maintenance(&worker);
        tokio::task::spawn_local(plugins::run(Rc::clone(&worker), inputs, work));
        let (guard, all_closed) = oneshot::channel();
        let WorkerConnections { worker: index, tracker, handoff_rx } = connections;
        let acceptor = Rc::new(Acceptor {
            worker: Rc::clone(&worker),
            index,
            tracker,
            shutdown_guard: Rc::new(guard),
            warnings: WarningLimiter::default(),
        });
        for (listener, protocol) in listeners {
            let listener = TcpListener::from_std(listener)?;
            tokio::task::spawn_local(Rc::clone(&acceptor).accept_connections(listener, protocol));
        }
        tokio::task::spawn_local(acceptor.receive_handoffs(handoff_rx));
        tokio::select! {
            () = handle_commands(&worker, command_rx) => {}
            // All sockets are closed and all connections have ended.
            _ = all_closed => {}
        }
        // The runtime drops the remaining tasks. Their requests are reported with this phase as the reason.
        worker.drain.enter(Phase::Stopped);
        Ok(())
    })
}

fn create_worker(resources: Resources, plugins: Rc<Instances>) -> Worker {
    let clock = Clock::default();
    let counters = Rc::new(Counters::new(resources.settings.request_labels));
    let upstreams = Upstreams::new(
        resources.connector,
        clock.clone(),
        Rc::clone(&counters),
        resources.upstreams,
        resources.settings.limits.head,
    );
    Worker {
        live: resources.live,
        settings: resources.settings,
        drain: DrainState::new(clock.clone()),
        clock,
        buffers: BufferPool::default(),
        idle: IdleConnections::default(),
        pressure: resources.pressure,
        send_budget: Rc::default(),
        date: DateCache::default(),
        counters,
        upstreams,
        plugins,
        request_ids: RequestIds::default(),
        access_log: resources.access_log.map(LogHandle::new),
    }
}

/// Spawns the periodic tasks of a worker.
fn spawn_maintenance(worker: &Rc<Worker>) {
    let ticker = Rc::clone(worker);
    tokio::task::spawn_local(async move { ticker.clock.run().await });
    let sweeper = Rc::clone(worker);
    tokio::task::spawn_local(async move { sweep_pools(&sweeper).await });
    if worker.access_log.is_some() {
        let flusher = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            if let Some(log) = &flusher.access_log {
                flush_access_log(log).await;
            }
        });
    }
}

/// Executes commands until [`WorkerCommand::Stop`] or until the handle is dropped.
async fn handle_commands(worker: &Worker, mut command_rx: mpsc::UnboundedReceiver<WorkerCommand>) {
    while let Some(command) = command_rx.recv().await {
        match command {
            // Fails if the caller no longer waits.
            WorkerCommand::CopyCounters(reply) => drop(reply.send(worker.counters.snapshot())),
            WorkerCommand::ReleaseMemory => {
                let closed = worker.idle.close_idle(usize::MAX);
                add(&worker.counters.idle_connections_closed, closed as u64);
                worker.buffers.clear();
            }
            WorkerCommand::EnterPhase(phase) => worker.drain.enter(phase),
            WorkerCommand::Stop => return,
        }
    }
}

/// Flushes the access log while it has entries, so that it lags at most [`access_log::FLUSH_INTERVAL`].
async fn flush_access_log(log: &LogHandle) {
    loop {
        log.wait_for_entry().await;
        tokio::time::sleep(access_log::FLUSH_INTERVAL).await;
        log.flush();
    }
}

/// Removes expired entries of the upstream state once a second while there are idle connections.
async fn sweep_pools(worker: &Worker) {
    loop {
        worker.upstreams.wait_for_idle().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.upstreams.sweep();
    }
}
