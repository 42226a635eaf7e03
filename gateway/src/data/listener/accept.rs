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
use super::crowd::{Arrival, Crowd, Place};
use crate::data::exchange::Worker;
use crate::data::wire::clock::{OnDrain, Phase, TICK};
use crate::observe::counters::bump;

/// How often the log says that clients are turned away.
const COMPLAINT: Duration = Duration::from_secs(1);

/// Held by everything that keeps a worker from ending; nothing is ever sent. When the last one is dropped, the
/// receiver learns of it.
pub(super) type Presence = Rc<oneshot::Sender<Infallible>>;

/// Where a worker's clients come in: through its sockets, and from the other workers.
pub(super) struct Hall {
    pub(super) worker: Rc<Worker>,
    /// Which worker it is.
    pub(super) number: usize,
    pub(super) crowd: Arc<Crowd>,
    pub(super) presence: Presence,
}

impl Hall {
    /// Accepts until the worker is closing, and then whatever the kernel has queued by that time: closing a socket
    /// would reset those clients.
    pub(super) async fn accept(self: Rc<Self>, listener: TcpListener, protocol: Protocol) {
        let timer = self.worker.clock.timer();
        let mut complaint = Complaint::default();
        loop {
            match timer.limit_on_drain(OnDrain::StopAt(Phase::Closing), listener.accept()).await {
                Ok(Ok((stream, peer))) => {
                    if let Some(place) = self.admit(&stream, &mut complaint) {
                        self.seat(stream, peer, (protocol.clone(), place));
                    }
                }
                Ok(Err(error)) => self.bear(&error, &mut complaint).await,
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
                        && let Some(place) = self.admit(&stream, &mut complaint)
                    {
                        self.serve(stream, peer, (protocol.clone(), place));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => self.bear(&error, &mut complaint).await,
            }
        }
    }

    /// Waits for as long as accepting makes no sense after this error.
    async fn bear(&self, error: &io::Error, complaint: &mut Complaint) {
        if is_the_clients(error) {
            return;
        }
        // Out of file descriptors or memory, most likely: they come back when connections end. The socket stays ready,
        // so without a pause this would be a busy loop.
        complaint.make(&self.worker, &format!("accepting failed: {error}"));
        tokio::time::sleep(TICK).await;
    }

    /// Serves what other workers accepted for this one, until it is closing.
    pub(super) async fn receive(self: Rc<Self>, mut arrivals: mpsc::UnboundedReceiver<Arrival>) {
        let timer = self.worker.clock.timer();
        while let Ok(Some(arrival)) =
            timer.limit_on_drain(OnDrain::StopAt(Phase::Closing), arrivals.recv()).await
        {
            self.welcome(arrival);
        }
        // From here on the others keep what they have; what is on its way is served.
        arrivals.close();
        while let Some(arrival) = arrivals.recv().await {
            self.welcome(arrival);
        }
    }

    /// A place for a client, or the end of it.
    fn admit(&self, stream: &TcpStream, complaint: &mut Complaint) -> Option<Place> {
        let place = self.crowd.take(self.number);
        if place.is_none() {
            bump(&self.worker.counters.turned_away);
            complaint.make(&self.worker, "a client was turned away: as many are connected as may be");
            // A reset costs no memory and tells at once, so that whoever balances between gateways tries another.
            // In the kernel's queue the client would wait for nothing, and health checks with it.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        place
    }

    /// Serves a client here, or has it served by the worker that has the fewest.
    fn seat(&self, stream: TcpStream, peer: SocketAddr, (protocol, place): (Protocol, Place)) {
        let Some(better) = self.crowd.better(&place) else {
            return self.serve(stream, peer, (protocol, place));
        };
        // Leaving this worker's runtime fails as little as entering it did.
        let Ok(stream) = stream.into_std() else { return };
        let arrival = Arrival { stream, peer, protocol, place };
        match self.crowd.hand_over(arrival, better) {
            Ok(()) => bump(&self.worker.counters.handed_over),
            Err(arrival) => self.welcome(arrival),
        }
    }

    fn welcome(&self, arrival: Arrival) {
        let Arrival { stream, peer, protocol, place } = arrival;
        if let Ok(stream) = TcpStream::from_std(stream) {
            self.serve(stream, peer, (protocol, place));
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, (protocol, place): (Protocol, Place)) {
        let (worker, presence) = (Rc::clone(&self.worker), Rc::clone(&self.presence));
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
        let now = worker.clock.now_ms();
        if now >= self.next {
            self.next = now + COMPLAINT.as_millis() as u64;
            tracing::warn!("{text}");
        }
    }
}
