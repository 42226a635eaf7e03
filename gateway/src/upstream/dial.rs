//! Connecting, by Pingora's dialler.
//!
//! Not here: whom to connect to, and whether there may be one more connection (`upstream`).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http1::Limits;
use pingora::ErrorType;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::protocols::l4::ext::get_tcp_info;
use pingora::upstreams::peer::{HttpPeer, PeerOptions};

use super::endpoint::Endpoint;
use super::health::Fault;
use super::{Connection, OpenError};
use crate::telemetry::counters::{Counters, bump};
use crate::wire::h1;

/// So many retransmissions in a row that nobody acknowledges are no loss by chance.
const MOST_UNACKNOWLEDGED: u8 = 3;

/// Whether the machine at the other end acknowledges nothing of what it was sent: its node has lost its power or its
/// network. An endpoint that only takes its time still has a kernel that acknowledges.
pub fn has_vanished(stream: &Stream) -> bool {
    let info = get_tcp_info(stream.id());
    info.is_ok_and(|info| info.tcpi_unacked > 0 && info.tcpi_retransmits >= MOST_UNACKNOWLEDGED)
}

/// What connects.
#[derive(Clone)]
pub(super) struct Dialler {
    connector: Arc<TransportConnector>,
    counters: Rc<Counters>,
    /// Bounds of the heads of answers.
    limits: Limits,
}

impl Dialler {
    pub(super) fn new(connector: Arc<TransportConnector>, counters: Rc<Counters>, limits: Limits) -> Self {
        Self { connector, counters, limits }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// [`OpenError::TimedOut`] or [`OpenError::Refused`].
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<Connection, OpenError> {
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options = PeerOptions::new();
        peer.options.connection_timeout = Some(limit);
        match self.connector.new_stream(&peer).await {
            Ok(stream) => {
                bump(&self.counters.dials);
                Ok(h1::Connection::new(stream, self.limits))
            }
            Err(error) => {
                bump(&self.counters.dial_failures);
                Err(match error.etype() {
                    ErrorType::ConnectTimedout => OpenError::TimedOut,
                    _ => OpenError::Refused,
                })
            }
        }
    }

    /// Finds out beside all requests whether an endpoint that was unreachable takes connections again.
    ///
    /// One task per ejection and process, not per request. The connection is closed at once: it would count
    /// against nobody's limit.
    pub(super) fn find_out(
        &self,
        endpoint: &Rc<Endpoint>,
        limit: Duration,
        time: impl Fn() -> u64 + 'static,
    ) {
        let (dialler, endpoint) = (self.clone(), Rc::clone(endpoint));
        tokio::task::spawn_local(async move {
            match dialler.connect(endpoint.address, limit).await {
                Ok(_) => endpoint.health.connected(),
                Err(_) => endpoint.health.failed(Fault::Unreachable, time()),
            }
        });
    }
}
