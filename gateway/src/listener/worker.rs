//! A worker: one thread with its own sockets, connections to endpoints, buffers and counters.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pingora::connectors::TransportConnector;
use tokio::net::TcpListener;
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot};

use super::Protocol;
use crate::exchange::{Date, Worker};
use crate::live::LiveCell;
use crate::settings::Settings;
use crate::telemetry::counters::{Counters, Counts};
use crate::upstream::{Shared, Upstreams};
use crate::wire::buffers::Buffers;
use crate::wire::clock::{Clock, TICK};

/// What a worker is told.
enum Command {
    /// Copy the counters out.
    Count(oneshot::Sender<Counts>),
    /// Accept nothing more, let requests in flight end, then stop.
    Drain,
}

/// A running worker. Dropping the handle lets the worker drain and stop.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

/// What a worker needs from the process.
#[derive(Clone)]
pub struct Parts {
    /// What is being served.
    pub live: LiveCell,
    /// Deadlines and bounds.
    pub settings: Arc<Settings>,
    /// Pingora's dialler, shared by all workers.
    pub connector: Arc<TransportConnector>,
    /// What all workers know of endpoints.
    pub upstreams: Arc<Shared>,
}

impl Handle {
    /// Starts a worker on sockets of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(number: usize, parts: Parts, listeners: Vec<(StdListener, Protocol)>) -> io::Result<Self> {
        let (commands, told) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            if let Err(error) = run(parts, listeners, told) {
                tracing::error!(worker = number, %error, "worker stopped");
            }
        })?;
        Ok(Self { commands, thread })
    }

    /// The worker's counters, or nothing if it has stopped.
    pub async fn counts(&self) -> Option<Counts> {
        let (reply, counts) = oneshot::channel();
        self.commands.send(Command::Count(reply)).ok()?;
        counts.await.ok()
    }

    /// Tells the worker to accept nothing more and to stop when its requests have ended.
    pub fn drain(&self) {
        // A worker that has stopped already has nothing to drain.
        let _ = self.commands.send(Command::Drain);
    }

    /// Whether the worker has stopped.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

fn run(
    parts: Parts,
    listeners: Vec<(StdListener, Protocol)>,
    told: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    let runtime = LocalRuntime::new()?;
    runtime.block_on(async move {
        let clock = Clock::default();
        let counters = Rc::new(Counters::default());
        let upstreams = Upstreams::new(parts.connector, clock.clone(), Rc::clone(&counters), parts.upstreams);
        let worker = Rc::new(Worker {
            live: parts.live,
            settings: parts.settings,
            clock,
            buffers: Buffers::default(),
            date: Date::default(),
            counters,
            upstreams,
        });
        let ticking = Rc::clone(&worker);
        tokio::task::spawn_local(async move { ticking.clock.run().await });
        let sweeping = Rc::clone(&worker);
        tokio::task::spawn_local(async move { sweep(&sweeping).await });
        let mut accepting = Vec::new();
        for (listener, protocol) in listeners {
            let listener = TcpListener::from_std(listener)?;
            let worker = Rc::clone(&worker);
            accepting.push(tokio::task::spawn_local(accept(worker, listener, protocol)));
        }
        obey(&worker, told).await;
        for task in accepting {
            task.abort();
        }
        worker.clock.drain();
        drained(&worker).await;
        Ok(())
    })
}

/// Does what the worker is told until it is told to drain, or nobody is left to tell.
async fn obey(worker: &Worker, mut told: mpsc::UnboundedReceiver<Command>) {
    while let Some(Command::Count(reply)) = told.recv().await {
        // Whoever asked may have given up waiting.
        let _ = reply.send(worker.counters.copy());
    }
}

/// Waits until no connection is open, or the time for that is over.
async fn drained(worker: &Worker) {
    let timer = worker.clock.timer();
    timer.set(worker.settings.drain.limit);
    while worker.counters.open.get() > 0 && !timer.is_elapsed() {
        tokio::time::sleep(TICK).await;
    }
}

async fn sweep(worker: &Worker) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        worker.upstreams.sweep();
    }
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, protocol: Protocol) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connection = super::serve(Rc::clone(&worker), stream, peer, protocol.clone());
                tokio::task::spawn_local(connection);
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "accepting failed");
                tokio::time::sleep(TICK).await;
            }
        }
    }
}
