//! Accepts connections from listening sockets and other workers, and spawns one task for each.
//!
//! Not here: what a connection does (`connection`), and which sockets exist (`sockets`).

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::connection;
use super::connections::{ConnectionPermit, ConnectionTracker, Handoff};
use super::protocol::Protocol;
use super::transport::reset_on_close;
use crate::data::drain::{OnDrain, Phase};
use crate::data::exchange::Worker;
use crate::data::wire::clock::TICK;
use crate::observe::counters::{add, increment};

/// Minimum time between two warnings of one worker. A flood of clients must not flood the log.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum idle connections that close in favour of a new one. Several at once, since the choice looks at all connections.
const MAX_CLOSED_IDLE: usize = 16;

/// Keeps a worker running. Nothing is ever sent: the receiver completes when the last guard is dropped.
pub(super) type ShutdownGuard = Rc<oneshot::Sender<Infallible>>;

/// Accepts the connections of one worker.
pub(super) struct Acceptor {
    pub(super) worker: Rc<Worker>,
    /// The worker's index in the tracker.
    pub(super) index: usize,
    pub(super) tracker: Arc<ConnectionTracker>,
    pub(super) shutdown_guard: ShutdownGuard,
    pub(super) warnings: WarningLimiter,
}

impl Acceptor {
    /// Accepts connections until [`Phase::Closing`], then drains the kernel's queue: closing the socket would reset the
    /// clients in it.
    ///
    /// # Cancellation
    /// Dropping the future closes the socket. Connections that it spawned continue.
    pub(super) async fn accept_connections(self: Rc<Self>, listener: TcpListener, protocol: Protocol) {
        let timer = self.worker.clock.timer();
        loop {
            match self.worker.drain.limit(&timer, OnDrain::StopAt(Phase::Closing), listener.accept()).await {
                Ok(Ok((stream, peer))) => {
                    if let Some(permit) = self.admit(&stream) {
                        self.dispatch(stream, peer, protocol.clone(), permit);
                    }
                }
                Ok(Err(error)) => self.handle_accept_error(&error).await,
                Err(_closing) => break,
            }
        }
        self.accept_queued(listener, &protocol).await;
    }

    /// Accepts the connections that the kernel has queued. They stay with this worker, since other workers may have
    /// stopped.
    async fn accept_queued(&self, listener: TcpListener, protocol: &Protocol) {
        // The runtime may not have received the last readiness events, so the loop calls accept(2) itself.
        let listener = match listener.into_std() {
            Ok(listener) => listener,
            Err(error) => return self.warn(&format!("queued connections are lost: {error}")),
        };
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    if let Some(stream) = self.registered(stream, peer)
                        && let Some(permit) = self.admit(&stream)
                    {
                        self.spawn_connection(stream, peer, protocol.clone(), permit);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => self.handle_accept_error(&error).await,
            }
        }
    }

    /// Waits until accepting can succeed again after `error`.
    async fn handle_accept_error(&self, error: &io::Error) {
        if is_client_error(error) {
            return;
        }
        // Most likely the process has no file descriptor or memory left, until connections end. Idle ones end now. The
        // socket remains ready, so without a pause this would be a busy loop.
        self.close_idle();
        self.warn(&format!("accepting failed: {error}"));
        tokio::time::sleep(TICK).await;
    }

    /// Serves the connections that other workers hand off to this one, until [`Phase::Closing`].
    ///
    /// # Cancellation
    /// Dropping the future closes the connections that are still in the channel.
    pub(super) async fn receive_handoffs(self: Rc<Self>, mut handoff_rx: mpsc::UnboundedReceiver<Handoff>) {
        let timer = self.worker.clock.timer();
        while let Ok(Some(handoff)) =
            self.worker.drain.limit(&timer, OnDrain::StopAt(Phase::Closing), handoff_rx.recv()).await
        {
            self.serve_handoff(handoff);
        }
        // Other workers now keep their connections. What the channel already holds is served here.
        handoff_rx.close();
        while let Some(handoff) = handoff_rx.recv().await {
            self.serve_handoff(handoff);
        }
    }

    /// Acquires a permit for a client. At the connection limit, idle connections of the client with the most close in its
    /// favour. Returns `None` if there are none on this worker; the client is then reset.
    fn admit(&self, stream: &TcpStream) -> Option<ConnectionPermit> {
        let permit = self.tracker.acquire(self.index).or_else(|| {
            let closed = self.close_idle();
            // Their permits are released when their tasks run, before this worker accepts many more.
            (closed > 0).then(|| self.tracker.acquire_replacing(self.index))
        });
        if permit.is_none() {
            increment(&self.worker.counters.connections_rejected);
            self.warn("client rejected: the limit of client connections is reached");
            // A reset costs no memory, and a load balancer then selects another gateway at once. In the kernel's queue
            // the client would wait without a prospect, and health checks with it.
            reset_on_close(stream);
        }
        permit
    }

    /// Closes idle connections of the client with the most. Returns how many.
    fn close_idle(&self) -> usize {
        let closed = self.worker.idle.close_idle(MAX_CLOSED_IDLE);
        add(&self.worker.counters.idle_connections_closed, closed as u64);
        closed
    }

    /// Serves a connection here, or hands it off to the worker with the fewest connections.
    fn dispatch(&self, stream: TcpStream, peer: SocketAddr, protocol: Protocol, permit: ConnectionPermit) {
        let Some(other) = self.tracker.less_loaded(&permit) else {
            return self.spawn_connection(stream, peer, protocol, permit);
        };
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return self.warn(&format!("connection of {peer} lost in a handoff: {error}")),
        };
        match self.tracker.hand_off(Handoff { stream, peer, protocol, permit }, other) {
            Ok(()) => increment(&self.worker.counters.connections_handed_over),
            Err(handoff) => self.serve_handoff(handoff),
        }
    }

    fn serve_handoff(&self, handoff: Handoff) {
        let Handoff { stream, peer, protocol, permit } = handoff;
        if let Some(stream) = self.registered(TcpStream::from_std(stream), peer) {
            self.spawn_connection(stream, peer, protocol, permit);
        }
    }

    /// Returns a stream that the worker's runtime has registered. Logs the failure otherwise.
    fn registered(&self, stream: io::Result<TcpStream>, peer: SocketAddr) -> Option<TcpStream> {
        stream.inspect_err(|error| self.warn(&format!("connection of {peer} lost: {error}"))).ok()
    }

    fn warn(&self, message: &str) {
        self.warnings.warn(self.worker.clock.now_ms(), message);
    }

    fn spawn_connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        protocol: Protocol,
        permit: ConnectionPermit,
    ) {
        let (worker, shutdown_guard) = (Rc::clone(&self.worker), Rc::clone(&self.shutdown_guard));
        tokio::task::spawn_local(async move {
            connection::serve(worker, stream, peer, protocol).await;
            drop((permit, shutdown_guard));
        });
    }
}

/// Returns true if accept(2) failed because of the client to accept, not because of the socket or the process.
fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

/// Logs at most one warning in [`WARNING_INTERVAL`].
#[derive(Debug, Default)]
pub(super) struct WarningLimiter {
    /// The time from which the next warning is logged, in milliseconds of the worker's clock.
    next_at: Cell<u64>,
}

impl WarningLimiter {
    fn warn(&self, now_ms: u64, message: &str) {
        if now_ms >= self.next_at.get() {
            self.next_at.set(now_ms + WARNING_INTERVAL.as_millis() as u64);
            tracing::warn!("{message}");
        }
    }
}
