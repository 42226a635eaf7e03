//! A connection to an endpoint that belongs to one client connection and is in no pool.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use routing::table::Backend;

use super::endpoint::Endpoint;
use super::pool::BackendPool;
use super::queue::UpstreamPermit;
use super::{InFlightGuard, PooledConnection, Stream};

/// A connection between two requests of the client connection that it belongs to.
pub struct BoundConnection {
    stream: Stream,
    permit: UpstreamPermit,
    endpoint: Rc<Endpoint>,
    pool: Rc<BackendPool>,
}

impl BoundConnection {
    /// Keeps a connection whose messages are complete.
    pub fn new(opened: PooledConnection) -> Self {
        let PooledConnection { stream, permit, request, pool, .. } = opened;
        Self { stream, permit, endpoint: Rc::clone(&request.0), pool }
    }

    /// Returns true if the connection leads to an endpoint of this backend.
    pub fn is_for(&self, backend: &Arc<Backend>) -> bool {
        self.pool.is_for(backend) && !self.endpoint.is_removed()
    }

    /// Returns the connection for the next request, or `None` if the endpoint has closed it.
    pub fn into_opened(mut self) -> Option<PooledConnection> {
        let is_open = self.stream.is_reusable() && self.stream.is_established();
        let Self { stream, permit, endpoint, pool } = self;
        let request = InFlightGuard::new(&endpoint);
        is_open.then_some(PooledConnection { stream, is_reused: true, is_bound: true, permit, request, pool })
    }
}

impl fmt::Debug for BoundConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundConnection").field("address", &self.endpoint.address).finish_non_exhaustive()
    }
}
