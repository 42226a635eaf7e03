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
use tokio::sync::oneshot;

use super::Protocol;
use super::places::Places;
use crate::exchange::Worker;
use crate::telemetry::counters::bump;
use crate::wire::clock::{Ending, Phase, TICK};

/// How often the log says that clients are turned away.
const COMPLAINT: Duration = Duration::from_secs(1);

/// Held by everything that keeps a worker from ending; nothing is ever sent. When the last one is dropped, the
/// receiver learns of it.
pub(super) type Presence = Rc<oneshot::Sender<Infallible>>;

/// Where clients come in.
pub(super) struct Door {
    pub(super) worker: Rc<Worker>,
    pub(super) protocol: Protocol,
    pub(super) places: Arc<Places>,
    pub(super) presence: Presence,
}

impl Door {
    /// Accepts until the worker is closing, and then whatever the kernel has queued by that time: closing a socket
    /// would reset those clients.
    pub(super) async fn open(self, listener: TcpListener) {
        let timer = self.worker.clock.timer();
        let mut complaint = Complaint::default();
        loop {
            match timer.limit_by(Ending::With(Phase::Closing), listener.accept()).await {
                Ok(Ok((stream, peer))) => self.admit(stream, peer, &mut complaint),
                Ok(Err(error)) if is_the_clients(&error) => {}
                Ok(Err(error)) => {
                    // Out of file descriptors or memory, most likely: they come back when connections end. The
                    // socket stays ready, so without a pause this would be a busy loop.
                    complaint.make(&self.worker, &format!("accepting failed: {error}"));
                    tokio::time::sleep(TICK).await;
                }
                Err(_closing) => break,
            }
        }
        // The runtime may not yet have heard of the last ones, so the kernel is asked itself.
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.admit(stream, peer, &mut complaint);
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, complaint: &mut Complaint) {
        let Some(place) = self.places.take() else {
            bump(&self.worker.counters.turned_away);
            complaint.make(&self.worker, "a client was turned away: as many are connected as may be");
            // A reset costs no memory and tells at once, so that whoever balances between gateways tries another.
            // In the kernel's queue the client would wait for nothing, and health checks with it.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return;
        };
        let (worker, protocol) = (Rc::clone(&self.worker), self.protocol.clone());
        let presence = Rc::clone(&self.presence);
        tokio::task::spawn_local(async move {
            super::serve(worker, stream, peer, protocol).await;
            drop((place, presence));
        });
    }
}

/// Whether accepting failed for the client that was to be accepted alone (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

/// A warning that is made once a second at most.
#[derive(Debug, Default)]
struct Complaint {
    /// When the next one may be made, in the clock's milliseconds.
    next: u64,
}

impl Complaint {
    fn make(&mut self, worker: &Worker, text: &str) {
        let now = worker.clock.now();
        if now >= self.next {
            self.next = now + COMPLAINT.as_millis() as u64;
            tracing::warn!("{text}");
        }
    }
}
