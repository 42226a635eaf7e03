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
use super::accept::Hall;
use super::crowd::Member;
use crate::data::exchange::request_id::RequestIds;
use crate::data::exchange::{Date, Worker};
use crate::data::upstream::{Shared, Upstreams};
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::{Clock, Phase};
use crate::live::LiveCell;
use crate::observe::access_log::{self, Lines, Sink};
use crate::observe::counters::{Counters, Counts};
use crate::settings::Settings;

/// What a worker is told.
enum Command {
    /// Copy the counters out.
    Count(oneshot::Sender<Counts>),
    /// Go towards the end; it comes when nobody is connected any more.
    Enter(Phase),
    /// End at once.
    Stop,
}

/// A running worker. Dropping the handle stops it at once.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
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
    /// Where lines of the access log go, if they go anywhere.
    pub access_log: Option<Sink>,
}

impl Handle {
    /// Starts a worker on sockets of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(member: Member, parts: Parts, listeners: Vec<(StdListener, Protocol)>) -> io::Result<Self> {
        let (commands, told) = mpsc::unbounded_channel();
        let number = member.number;
        // Whether it still runs shows by the channel: nobody has to join it.
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            if let Err(error) = run(member, parts, listeners, told) {
                tracing::error!(worker = number, %error, "worker stopped");
            }
        })?;
        Ok(Self { commands })
    }

    /// The worker's counters, or nothing if it has stopped.
    pub async fn counts(&self) -> Option<Counts> {
        let (reply, counts) = oneshot::channel();
        self.commands.send(Command::Count(reply)).ok()?;
        counts.await.ok()
    }

    /// Tells the worker how far to go towards its end. It ends by itself when it is [`Phase::Closing`] and nobody is
    /// connected any more.
    pub fn enter(&self, phase: Phase) {
        // A worker that has stopped already has nothing to do.
        let _ = self.commands.send(Command::Enter(phase));
    }

    /// Tells the worker to end at once, whoever is connected.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// Waits until the worker has ended.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }
}

fn run(
    member: Member,
    parts: Parts,
    listeners: Vec<(StdListener, Protocol)>,
    told: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    let runtime = LocalRuntime::new()?;
    runtime.block_on(async move {
        let clock = Clock::default();
        let counters = Rc::new(Counters::default());
        let upstreams = Upstreams::new(
            parts.connector,
            clock.clone(),
            Rc::clone(&counters),
            parts.upstreams,
            parts.settings.limits,
        );
        let worker = Rc::new(Worker {
            live: parts.live,
            settings: parts.settings,
            clock,
            buffers: BufferPool::default(),
            date: Date::default(),
            counters,
            upstreams,
            ids: RequestIds::default(),
            access_log: parts.access_log.map(Lines::new),
        });
        let ticking = Rc::clone(&worker);
        tokio::task::spawn_local(async move { ticking.clock.run().await });
        let sweeping = Rc::clone(&worker);
        tokio::task::spawn_local(async move { sweep(&sweeping).await });
        if worker.access_log.is_some() {
            let flushing = Rc::clone(&worker);
            tokio::task::spawn_local(async move { flush(&flushing).await });
        }
        let (presence, nobody) = oneshot::channel();
        let Member { number, crowd, arrivals } = member;
        let hall = Rc::new(Hall { worker: Rc::clone(&worker), number, crowd, presence: Rc::new(presence) });
        for (listener, protocol) in listeners {
            let listener = TcpListener::from_std(listener)?;
            tokio::task::spawn_local(Rc::clone(&hall).accept(listener, protocol));
        }
        tokio::task::spawn_local(hall.receive(arrivals));
        tokio::select! {
            () = obey(&worker, told) => {}
            // All doors are closed and all connections have ended.
            _ = nobody => {}
        }
        // The tasks that are left are dropped with the runtime, and tell of their requests why.
        worker.clock.enter(Phase::Stopped);
        Ok(())
    })
}

/// Does what the worker is told until it is told to stop, or nobody is left to tell.
async fn obey(worker: &Worker, mut told: mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = told.recv().await {
        match command {
            // Whoever asked may have given up waiting.
            Command::Count(reply) => drop(reply.send(worker.counters.copy())),
            Command::Enter(phase) => worker.clock.enter(phase),
            Command::Stop => return,
        }
    }
}

/// Hands over what is logged, so that the log is never far behind.
async fn flush(worker: &Worker) {
    let mut times = tokio::time::interval(access_log::FLUSH);
    loop {
        times.tick().await;
        if let Some(log) = &worker.access_log {
            log.flush();
        }
    }
}

async fn sweep(worker: &Worker) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        worker.upstreams.sweep();
    }
}
