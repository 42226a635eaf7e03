//! Opens connections with Pingora's connector, and probes ejected endpoints.
//!
//! Not here: the choice of an endpoint, and the connection limit (`upstream`).

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http1::HeadLimits;
use pingora::ErrorType;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream as Io;
use pingora::protocols::l4::ext::get_tcp_info;
use pingora::upstreams::peer::{HttpPeer, PeerOptions};

use super::endpoint::Endpoint;
use super::{ConnectError, Stream};
use crate::data::wire::h1;
use crate::observe::counters::{Counters, increment};

/// Unacknowledged retransmissions in a row after which a peer counts as dead. Three are no accidental loss.
const DEAD_PEER_RETRANSMISSIONS: u8 = 3;

/// Returns true if the peer acknowledges no data, since its node has lost its power or its network. The kernel of a slow
/// endpoint still acknowledges.
pub(super) fn is_unresponsive(stream: &Io) -> bool {
    let info = get_tcp_info(stream.id());
    info.is_ok_and(|info| info.tcpi_unacked > 0 && info.tcpi_retransmits >= DEAD_PEER_RETRANSMISSIONS)
}

/// The state of a connection that neither side has closed (`TCP_ESTABLISHED`).
const ESTABLISHED: u8 = 1;

/// Returns true if neither side has closed the connection, as far as the kernel knows.
pub(super) fn is_established(stream: &Io) -> bool {
    get_tcp_info(stream.id()).is_ok_and(|info| info.tcpi_state == ESTABLISHED)
}

/// Opens connections for one worker.
#[derive(Clone)]
pub(super) struct Connector {
    connector: Arc<TransportConnector>,
    counters: Rc<Counters>,
    /// Limits of response heads.
    limits: HeadLimits,
}

impl Connector {
    pub(super) fn new(
        connector: Arc<TransportConnector>,
        counters: Rc<Counters>,
        limits: HeadLimits,
    ) -> Self {
        Self { connector, counters, limits }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// [`ConnectError::TimedOut`], [`ConnectError::Refused`] or [`ConnectError::NoSocket`].
    ///
    /// # Cancellation
    /// Aborts the connect and closes its socket.
    pub(super) async fn connect(&self, address: SocketAddr, limit: Duration) -> Result<Stream, ConnectError> {
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options = PeerOptions::new();
        let started_at = Instant::now();
        // Not Pingora's own timeout: its clock wakes the process 100 times a second from the first connect on.
        let connected = match tokio::time::timeout(limit, self.connector.new_stream(&peer)).await {
            Ok(connected) => connected.map_err(|error| classify_error(&error)),
            Err(_elapsed) => Err(ConnectError::TimedOut),
        };
        match connected {
            Ok(stream) => {
                self.counters.record_connect(started_at.elapsed());
                increment(&self.counters.upstream_connects);
                Ok(Stream::H1(h1::Connection::new(stream, self.limits)))
            }
            Err(error) => {
                increment(&self.counters.upstream_connect_failures);
                Err(error)
            }
        }
    }

    /// Checks in a separate task whether an unreachable endpoint accepts connections again.
    ///
    /// One task for each ejection in the process, not for each request. The connection has no permit and is closed at
    /// once.
    pub(super) fn spawn_probe(
        &self,
        endpoint: &Rc<Endpoint>,
        limit: Duration,
        time: impl Fn() -> u64 + 'static,
    ) {
        let (connector, endpoint) = (self.clone(), Rc::clone(endpoint));
        tokio::task::spawn_local(async move {
            match connector.connect(endpoint.address, limit).await {
                Ok(_) => endpoint.health.on_connected(),
                // Without a result. Another probe starts after `health::PROBE_TIMEOUT_MS`.
                Err(ConnectError::NoSocket) => {}
                Err(error) => endpoint.health.on_connect_failure(error, limit, time()),
            }
        });
    }
}

/// Maps Pingora's error. Only an error of the endpoint or the network counts against an endpoint. A gateway without
/// descriptors, ports or memory would otherwise eject all endpoints.
fn classify_error(error: &pingora::Error) -> ConnectError {
    match error.etype() {
        ErrorType::ConnectTimedout => ConnectError::TimedOut,
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute => ConnectError::Refused,
        // Pingora's type for all other errors of connect(2).
        ErrorType::ConnectError if is_reset(error) => ConnectError::Refused,
        _ => {
            tracing::debug!(error = %error, "no socket to connect with");
            ConnectError::NoSocket
        }
    }
}

fn is_reset(error: &pingora::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error.root_cause());
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use pingora::OrErr;
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn only_remote_errors_count_against_the_endpoint() {
        let error = |kind, errno| {
            let failed = Err::<(), _>(io::Error::from(errno));
            let failed =
                failed.or_err(kind, "connecting").map_err(|error| error.more_context("for a request"));
            classify_error(&failed.unwrap_err())
        };
        let (refused, none) = (ConnectError::Refused, ConnectError::NoSocket);
        assert_eq!(error(ErrorType::ConnectRefused, Errno::CONNREFUSED), refused);
        assert_eq!(error(ErrorType::ConnectNoRoute, Errno::HOSTUNREACH), refused);
        assert_eq!(error(ErrorType::ConnectError, Errno::CONNRESET), refused);
        assert_eq!(error(ErrorType::ConnectTimedout, Errno::TIMEDOUT), ConnectError::TimedOut);
        assert_eq!(error(ErrorType::ConnectError, Errno::NOBUFS), none);
        assert_eq!(error(ErrorType::InternalError, Errno::ADDRNOTAVAIL), none);
        assert_eq!(error(ErrorType::InternalError, Errno::MFILE), none);
    }
}
