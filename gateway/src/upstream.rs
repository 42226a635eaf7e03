//! From a backend to a connection: which endpoint, over which connection, and what if it refuses.
//!
//! Everything here belongs to one worker; workers share nothing but the endpoint cells.
//! Not here: what is sent over the connection (`exchange`).

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http1::Limits;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::upstreams::peer::HttpPeer;
use pingora::{ErrorType, upstreams::peer::PeerOptions};
use routing::table::{Backend, Endpoints, WeightedBackend};

use crate::settings::ConnectLimits;
use crate::telemetry::counters::{Counters, bump};
use crate::wire::clock::Clock;
use crate::wire::h1;

mod balance;
mod pool;

use balance::{Balance, Of};
use pool::Pool;

/// A connection to an endpoint.
pub type Connection = h1::Connection<Stream>;

/// So many endpoints are tried for one request at most.
const MOST_TRIES: usize = 3;

/// A connection with its endpoint.
#[derive(Debug)]
pub struct Opened {
    /// The connection, without buffers.
    pub connection: Connection,
    /// Where it goes.
    pub address: SocketAddr,
    /// Whether it carried a request before: its end may then only show after sending.
    pub is_reused: bool,
}

/// Why no connection was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The rule's Service does not exist.
    #[error("the Service does not exist")]
    ServiceMissing,
    /// The rule's Service has no such port.
    #[error("the Service has no such port")]
    PortMissing,
    /// No endpoint of the Service is ready.
    #[error("no endpoint is ready")]
    NoneReady,
    /// All endpoints tried refused or reset the connection.
    #[error("no endpoint accepts connections")]
    Refused,
    /// The endpoints tried did not answer in time.
    #[error("connecting took too long")]
    TimedOut,
}

/// Which idle connections may carry a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Any that looks open: the request can be sent again if it was not.
    Any,
    /// Only one used so recently that its peer cannot have given it up.
    Recent,
    /// None: the request was lost on one already.
    Never,
}

/// One worker's way to the endpoints.
pub struct Upstreams {
    pool: Pool,
    balance: Balance,
    connector: Arc<TransportConnector>,
    clock: Clock,
    counters: Rc<Counters>,
    limits: ConnectLimits,
    /// The minute of the last sweep of `balance`.
    swept: Cell<u64>,
}

impl Upstreams {
    /// Begins without any connection.
    pub fn new(
        connector: Arc<TransportConnector>,
        clock: Clock,
        counters: Rc<Counters>,
        limits: ConnectLimits,
    ) -> Self {
        Self {
            pool: Pool::default(),
            balance: Balance::default(),
            connector,
            clock,
            counters,
            limits,
            swept: Cell::new(0),
        }
    }

    /// Picks the backend of a request by the shares of its route; nothing if no backend has a share.
    pub fn choose<'a>(&self, backends: &'a [WeightedBackend]) -> Option<&'a Arc<Backend>> {
        let (first, rest) = backends.split_first()?;
        if rest.is_empty() {
            return (first.weight > 0).then_some(&first.backend);
        }
        let turn = self.balance.next(Of::Shares(first.backend.id));
        let place = balance::share(turn, backends.iter().map(|weighted| weighted.weight))?;
        backends.get(place).map(|weighted| &weighted.backend)
    }

    /// Picks an endpoint and gives a connection to it: an idle one, or a new one.
    ///
    /// Nothing has been sent when this fails, so any request may try up to three endpoints.
    ///
    /// # Errors
    /// The backend has no endpoint that can be used, or none that was tried took a connection in time.
    pub async fn open(&self, backend: &Backend, reuse: Reuse) -> Result<Opened, OpenError> {
        let turn = {
            let endpoints = backend.endpoints.load();
            let list = usable(&endpoints)?;
            let turn = self.balance.next(Of::Endpoints(backend.id));
            let address = list.get(turn % list.len().max(1)).ok_or(OpenError::NoneReady)?.address;
            if let Some(connection) = self.pool.take(address, reuse, self.clock.now()) {
                bump(&self.counters.reuses);
                return Ok(Opened { connection, address, is_reused: true });
            }
            turn
        };
        self.dial(backend, turn).await
    }

    async fn dial(&self, backend: &Backend, turn: usize) -> Result<Opened, OpenError> {
        let endpoints = backend.endpoints.load_full();
        let list = usable(&endpoints)?;
        let mut left = self.limits.total;
        let mut failure = OpenError::NoneReady;
        for place in (turn..).take(list.len().min(MOST_TRIES)) {
            let Some(endpoint) = list.get(place % list.len()) else { break };
            let started = tokio::time::Instant::now();
            match self.connect(endpoint.address, left.min(self.limits.once)).await {
                Ok(stream) => {
                    bump(&self.counters.dials);
                    let connection = h1::Connection::new(stream, Limits::default());
                    return Ok(Opened { connection, address: endpoint.address, is_reused: false });
                }
                Err(error) => failure = error,
            }
            bump(&self.counters.dial_failures);
            tracing::debug!(endpoint = %endpoint.address, error = %failure, "connecting failed");
            left = left.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
        }
        Err(failure)
    }

    async fn connect(&self, address: SocketAddr, limit: Duration) -> Result<Stream, OpenError> {
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options = PeerOptions::new();
        peer.options.connection_timeout = Some(limit);
        self.connector.new_stream(&peer).await.map_err(|error| match error.etype() {
            ErrorType::ConnectTimedout => OpenError::TimedOut,
            _ => OpenError::Refused,
        })
    }

    /// Keeps a connection for the next request. Its last exchange is complete in both directions.
    pub fn keep(&self, address: SocketAddr, connection: Connection) {
        self.pool.put(address, connection, self.clock.now());
    }

    /// Forgets what has been idle too long; called about once a second.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.pool.sweep(now);
        if self.swept.replace(now / 60_000) != now / 60_000 {
            self.balance.sweep();
        }
    }
}

fn usable(endpoints: &Endpoints) -> Result<&[routing::object::Endpoint], OpenError> {
    match endpoints {
        Endpoints::Ready(list) => Ok(list),
        Endpoints::NoneReady => Err(OpenError::NoneReady),
        Endpoints::PortMissing => Err(OpenError::PortMissing),
        Endpoints::ServiceMissing => Err(OpenError::ServiceMissing),
    }
}
