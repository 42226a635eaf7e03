//! Accepting: from a listening socket to connections, one task each.
//!
//! Not here: what a connection does (`super`), which sockets there are (`sockets`).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::Protocol;
use super::connections::{ConnectionPermit, ConnectionTracker, Handoff};
use crate::data::exchange::Worker;
use crate::data::wire::clock::{OnDrain, Phase, TICK};
use crate::observe::counters::increment;

/// How often the log says that clients are turned away.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// Held by everything that keeps a worker from ending; nothing is ever sent. When the last one is dropped, the
/// receiver learns of it.
pub(super) type ShutdownGuard = Rc<oneshot::Sender<Infallible>>;

/// Where a worker's clients come in: through its sockets, and from the other workers.
pub(super) struct Acceptor {
    pub(super) worker: Rc<Worker>,
    /// Which worker it is.
    pub(super) index: usize,
    pub(super) tracker: Arc<ConnectionTracker>,
    pub(super) shutdown_guard: ShutdownGuard,
}

impl Acceptor {
    /// Accepts until the worker is closing, and then whatever the kernel has queued by that time: closing a socket
    /// would reset those clients.
    pub(super) async fn accept_connections(self: Rc<Self>, listener: TcpListener, protocol: Protocol) {
        let timer = self.worker.clock.timer();
        let mut warnings = WarningLimiter::default();
        loop {
            match timer.limit_on_drain(OnDrain::StopAt(Phase::Closing), listener.accept()).await {
                Ok(Ok((stream, peer))) => {
                    if let Some(permit) = self.admit(&stream, &mut warnings) {
                        self.dispatch(stream, peer, (protocol.clone(), permit));
                    }
                }
                Ok(Err(error)) => self.handle_accept_error(&error, &mut warnings).await,
                Err(_closing) => break,
            }
        }
        // The runtime may not yet have heard of the last ones, so the kernel is asked itself. They stay here, since the
        // other workers may have gone.
        let Ok(listener) = listener.into_std() else { return };
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    if stream.set_nonblocking(true).is_ok()
                        && let Ok(stream) = TcpStream::from_std(stream)
                        && let Some(permit) = self.admit(&stream, &mut warnings)
                    {
                        self.spawn_connection(stream, peer, (protocol.clone(), permit));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => self.handle_accept_error(&error, &mut warnings).await,
            }
        }
    }

    /// Waits for as long as accepting makes no sense after this error.
    async fn handle_accept_error(&self, error: &io::Error, warnings: &mut WarningLimiter) {
        if is_client_error(error) {
            return;
        }
        // Out of file descriptors or memory, most likely: they come back when connections end. The socket stays ready,
        // so without a pause this would be a busy loop.
        warnings.warn(&self.worker, &format!("accepting failed: {error}"));
        tokio::time::sleep(TICK).await;
    }

    /// Serves what other workers accepted for this one, until it is closing.
    pub(super) async fn receive_handoffs(self: Rc<Self>, mut handoff_rx: mpsc::UnboundedReceiver<Handoff>) {
        let timer = self.worker.clock.timer();
        while let Ok(Some(handoff)) =
            timer.limit_on_drain(OnDrain::StopAt(Phase::Closing), handoff_rx.recv()).await
        {
            self.serve_handoff(handoff);
        }
        // From here on the others keep what they have; what is on its way is served.
        handoff_rx.close();
        while let Some(handoff) = handoff_rx.recv().await {
            self.serve_handoff(handoff);
        }
    }

    /// Returns a permit for a client. Without one the client is reset.
    fn admit(&self, stream: &TcpStream, warnings: &mut WarningLimiter) -> Option<ConnectionPermit> {
        let permit = self.tracker.acquire(self.index);
        if permit.is_none() {
            increment(&self.worker.counters.connections_rejected);
            warnings.warn(&self.worker, "a client was turned away: as many are connected as may be");
            // A reset costs no memory and tells at once, so that whoever balances between gateways tries another.
            // In the kernel's queue the client would wait for nothing, and health checks with it.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        permit
    }

    /// Serves a client here, or has it served by the worker that has the fewest.
    fn dispatch(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        (protocol, permit): (Protocol, ConnectionPermit),
    ) {
        let Some(other) = self.tracker.less_loaded(&permit) else {
            return self.spawn_connection(stream, peer, (protocol, permit));
        };
        // Leaving this worker's runtime fails as little as entering it did.
        let Ok(stream) = stream.into_std() else { return };
        let handoff = Handoff { stream, peer, protocol, permit };
        match self.tracker.hand_off(handoff, other) {
            Ok(()) => increment(&self.worker.counters.connections_handed_over),
            Err(handoff) => self.serve_handoff(handoff),
        }
    }

    fn serve_handoff(&self, handoff: Handoff) {
        let Handoff { stream, peer, protocol, permit } = handoff;
        if let Ok(stream) = TcpStream::from_std(stream) {
            self.spawn_connection(stream, peer, (protocol, permit));
        }
    }

    fn spawn_connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        (protocol, permit): (Protocol, ConnectionPermit),
    ) {
        let (worker, shutdown_guard) = (Rc::clone(&self.worker), Rc::clone(&self.shutdown_guard));
        tokio::task::spawn_local(async move {
            super::serve_connection(worker, stream, peer, protocol).await;
            drop((permit, shutdown_guard));
        });
    }
}

/// Whether accepting failed for the client that was to be accepted alone (accept(2)).
fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

/// A warning that is made once a second at most.
#[derive(Debug, Default)]
struct WarningLimiter {
    /// When the next one may be made, in the clock's milliseconds.
    next_at: u64,
}

impl WarningLimiter {
    fn warn(&mut self, worker: &Worker, message: &str) {
        let now = worker.clock.now_ms();
        if now >= self.next_at {
            self.next_at = now + WARNING_INTERVAL.as_millis() as u64;
            tracing::warn!("{message}");
        }
    }
}
