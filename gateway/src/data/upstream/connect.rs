//! Connecting, by Pingora's dialler.
//!
//! Not here: whom to connect to, and whether there may be one more connection (`upstream`).

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http1::HeadLimits;
use pingora::ErrorType;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::protocols::l4::ext::get_tcp_info;
use pingora::upstreams::peer::{HttpPeer, PeerOptions};

use super::endpoint::Endpoint;
use super::health::EjectionCause;
use super::{ConnectError, Connection};
use crate::data::wire::h1;
use crate::observe::counters::{Counters, increment};

/// So many retransmissions in a row that nobody acknowledges are no loss by chance.
const DEAD_PEER_RETRANSMISSIONS: u8 = 3;

/// Whether the machine at the other end acknowledges nothing of what it was sent: its node has lost its power or its
/// network. An endpoint that only takes its time still has a kernel that acknowledges.
pub fn is_unresponsive(stream: &Stream) -> bool {
    let info = get_tcp_info(stream.id());
    info.is_ok_and(|info| info.tcpi_unacked > 0 && info.tcpi_retransmits >= DEAD_PEER_RETRANSMISSIONS)
}

/// What connects.
#[derive(Clone)]
pub(super) struct Connector {
    connector: Arc<TransportConnector>,
    counters: Rc<Counters>,
    /// Bounds of the heads of answers.
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
    /// [`ConnectError::TimedOut`], [`ConnectError::Refused`], or [`ConnectError::NoSocket`].
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<Connection, ConnectError> {
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options = PeerOptions::new();
        peer.options.connection_timeout = Some(limit);
        match self.connector.new_stream(&peer).await {
            Ok(stream) => {
                increment(&self.counters.upstream_connects);
                Ok(h1::Connection::new(stream, self.limits))
            }
            Err(error) => {
                increment(&self.counters.upstream_connect_failures);
                Err(classify_error(&error))
            }
        }
    }

    /// Finds out beside all requests whether an endpoint that was unreachable takes connections again.
    ///
    /// One task per ejection and process, not per request. The connection is closed at once: it would count
    /// against nobody's limit.
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
                // Nothing was found out; somebody else tries when this attempt counts as forgotten.
                Err(ConnectError::NoSocket) => {}
                Err(_) => endpoint.health.on_failure(EjectionCause::Unreachable, time()),
            }
        });
    }
}

/// Whose fault it is that there is no connection. Only what the other machine or the way to it said counts against an
/// endpoint: out of descriptors, ports or memory the gateway would take all of them for dead.
fn classify_error(error: &pingora::Error) -> ConnectError {
    match error.etype() {
        ErrorType::ConnectTimedout => ConnectError::TimedOut,
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute => ConnectError::Refused,
        // Pingora's word for whatever else `connect` failed with.
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
    fn only_what_the_other_machine_or_the_way_to_it_says_is_its_fault() {
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
