//! A worker: one thread with its own sockets, connections to endpoints, buffers and counters.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::TransportConnector;
use tokio::net::TcpListener;
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot};

use super::Protocol;
use super::accept::Acceptor;
use super::connections::WorkerConnections;
use crate::data::exchange::request_id::RequestIds;
use crate::data::exchange::{DateCache, Worker};
use crate::data::upstream::{SharedUpstreams, Upstreams};
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::{Clock, Phase};
use crate::live::LiveCell;
use crate::observe::access_log::{self, LogHandle, LogSink};
use crate::observe::counters::{CounterSnapshot, Counters};
use crate::settings::Settings;

/// Commands to a worker.
enum Command {
    /// Copy the counters out.
    CopyCounters(oneshot::Sender<CounterSnapshot>),
    /// Go towards the end; it comes when nobody is connected any more.
    EnterPhase(Phase),
    /// End at once.
    Stop,
}

/// A running worker. Dropping the handle stops it at once.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

/// What a worker needs from the process.
#[derive(Clone)]
pub struct Resources {
    /// What is being served.
    pub live: LiveCell,
    /// Deadlines and bounds.
    pub settings: Arc<Settings>,
    /// Pingora's dialler, shared by all workers.
    pub connector: Arc<TransportConnector>,
    /// What all workers know of endpoints.
    pub upstreams: Arc<SharedUpstreams>,
    /// Where lines of the access log go, if they go anywhere.
    pub access_log: Option<LogSink>,
}

impl Handle {
    /// Starts a worker on sockets of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        connections: WorkerConnections,
        resources: Resources,
        listeners: Vec<(StdListener, Protocol)>,
    ) -> io::Result<Self> {
        let (commands, command_rx) = mpsc::unbounded_channel();
        let index = connections.worker;
        // Whether it still runs shows by the channel: nobody has to join it.
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            if let Err(error) = run(connections, resources, listeners, command_rx) {
                tracing::error!(worker = index, %error, "worker stopped");
            }
        })?;
        Ok(Self { commands })
    }

    /// The worker's counters, or nothing if it has stopped.
    pub async fn counts(&self) -> Option<CounterSnapshot> {
        let (reply, counts) = oneshot::channel();
        self.commands.send(Command::CopyCounters(reply)).ok()?;
        counts.await.ok()
    }

    /// Tells the worker how far to go towards its end. It ends by itself when it is [`Phase::Closing`] and nobody is
    /// connected any more.
    pub fn enter_phase(&self, phase: Phase) {
        // A worker that has stopped already has nothing to do.
        let _ = self.commands.send(Command::EnterPhase(phase));
    }

    /// Tells the worker to end at once, whoever is connected.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// Waits until the worker has ended.
    pub async fn wait_stopped(&self) {
        self.commands.closed().await;
    }
}

fn run(
    connections: WorkerConnections,
    resources: Resources,
    listeners: Vec<(StdListener, Protocol)>,
    command_rx: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    let runtime = LocalRuntime::new()?;
    runtime.block_on(async move {
        let clock = Clock::default();
        let counters = Rc::new(Counters::default());
        let upstreams = Upstreams::new(
            resources.connector,
            clock.clone(),
            Rc::clone(&counters),
            resources.upstreams,
            resources.settings.limits.head,
        );
        let worker = Rc::new(Worker {
            live: resources.live,
            settings: resources.settings,
            clock,
            buffers: BufferPool::default(),
            date: DateCache::default(),
            counters,
            upstreams,
            request_ids: RequestIds::default(),
            access_log: resources.access_log.map(LogHandle::new),
        });
        let ticker = Rc::clone(&worker);
        tokio::task::spawn_local(async move { ticker.clock.run().await });
        let sweeper = Rc::clone(&worker);
        tokio::task::spawn_local(async move { sweep_pools(&sweeper).await });
        if worker.access_log.is_some() {
            let flusher = Rc::clone(&worker);
            tokio::task::spawn_local(async move { flush_access_log(&flusher).await });
        }
        let (guard, all_closed) = oneshot::channel();
        let WorkerConnections { worker: index, tracker, handoff_rx } = connections;
        let acceptor =
            Rc::new(Acceptor { worker: Rc::clone(&worker), index, tracker, shutdown_guard: Rc::new(guard) });
        for (listener, protocol) in listeners {
            let listener = TcpListener::from_std(listener)?;
            tokio::task::spawn_local(Rc::clone(&acceptor).accept_connections(listener, protocol));
        }
        tokio::task::spawn_local(acceptor.receive_handoffs(handoff_rx));
        tokio::select! {
            () = handle_commands(&worker, command_rx) => {}
            // All doors are closed and all connections have ended.
            _ = all_closed => {}
        }
        // The tasks that are left are dropped with the runtime, and tell of their requests why.
        worker.clock.enter(Phase::Stopped);
        Ok(())
    })
}

/// Executes commands until [`Command::Stop`] or until the handle is dropped.
async fn handle_commands(worker: &Worker, mut command_rx: mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = command_rx.recv().await {
        match command {
            // Whoever asked may have given up waiting.
            Command::CopyCounters(reply) => drop(reply.send(worker.counters.snapshot())),
            Command::EnterPhase(phase) => worker.clock.enter(phase),
            Command::Stop => return,
        }
    }
}

/// Hands over what is logged, so that the log is never far behind.
async fn flush_access_log(worker: &Worker) {
    let mut interval = tokio::time::interval(access_log::FLUSH_INTERVAL);
    loop {
        interval.tick().await;
        if let Some(log) = &worker.access_log {
            log.flush();
        }
    }
}

async fn sweep_pools(worker: &Worker) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        worker.upstreams.sweep();
    }
}
