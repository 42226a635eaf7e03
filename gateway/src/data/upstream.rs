//! From a backend to a connection: which endpoint, over which connection, and what if it refuses.
//!
//! Connections, queues and turns belong to one worker; what is known of endpoints' health and how much of a Service
//! is taken up is shared by all ([`Shared`]). Not here: what is sent over the connection (`exchange`).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use http1::HeadLimits;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use routing::table::{Backend, WeightedBackend};
use tokio::time::Instant;

use crate::data::wire::clock::{Clock, TICK};
use crate::data::wire::h1;
use crate::observe::counters::{Counters, increment};

mod balance;
mod connect;
mod endpoint;
mod health;
mod policy;
mod pool;
mod queue;
mod retry;
mod shared;

use balance::pick;
use connect::Connector;
pub use connect::is_unresponsive;
use endpoint::Endpoint;
use health::EjectionCause;
pub use policy::{UpstreamPolicy, effective_timeout};
use pool::{BackendPool, EndpointList};
use queue::UpstreamPermit;
pub use retry::{Resend, RetryState};
pub use shared::SharedUpstreams;

/// A connection to an endpoint.
pub type Connection = h1::Connection<Stream>;

/// A connection with its endpoint. Dropping it closes the connection and gives its waiter to who waits for one.
pub struct PooledConnection {
    /// The connection, without buffers.
    pub connection: Connection,
    /// Whether it carried a request before: its end may then only show after sending.
    pub is_reused: bool,
    permit: UpstreamPermit,
    request: InFlightGuard,
    pool: Rc<BackendPool>,
}

/// A request at an endpoint, counted for as long as this lives.
struct InFlightGuard(Rc<Endpoint>);

/// Why no connection was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The rule's Service does not exist.
    #[error("the Service does not exist")]
    ServiceMissing,
    /// The rule's Service has no such port.
    #[error("the Service has no such port")]
    PortMissing,
    /// No endpoint of the Service is ready.
    #[error("no endpoint is ready")]
    NoReadyEndpoint,
    /// All endpoints tried refused or reset the connection.
    #[error("no endpoint accepts connections")]
    Refused,
    /// The endpoints tried did not answer in time.
    #[error("connecting took too long")]
    TimedOut,
    /// The gateway could not open a socket: it is out of descriptors, ports or memory.
    #[error("no socket to connect with")]
    NoSocket,
    /// All connections that the Service may have are busy, and so is the queue, or the wait took too long.
    #[error("the Service is overloaded")]
    Overloaded,
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
    pools: RefCell<HashMap<u64, Rc<BackendPool>>>,
    shared: Arc<SharedUpstreams>,
    connector: Connector,
    clock: Clock,
    counters: Rc<Counters>,
    /// Milliseconds from the shared start to the worker clock's.
    clock_offset_ms: u64,
    /// The minute of the last sweep of `shared`.
    last_sweep_minute: Cell<u64>,
}

impl Upstreams {
    /// Begins without any connection.
    pub fn new(
        connector: Arc<TransportConnector>,
        clock: Clock,
        counters: Rc<Counters>,
        shared: Arc<SharedUpstreams>,
        limits: HeadLimits,
    ) -> Self {
        let clock_offset_ms = clock.started_at().saturating_duration_since(shared.start).as_millis();
        Self {
            pools: RefCell::default(),
            connector: Connector::new(connector, Rc::clone(&counters), limits),
            shared,
            clock,
            counters,
            clock_offset_ms: u64::try_from(clock_offset_ms).unwrap_or(0),
            last_sweep_minute: Cell::new(0),
        }
    }

    /// Picks the backend of a request by the shares of its route; nothing if no backend has a share.
    pub fn choose_backend<'a>(&self, backends: &'a [WeightedBackend]) -> Option<&'a Arc<Backend>> {
        let (first, rest) = backends.split_first()?;
        if rest.is_empty() {
            return (first.weight > 0).then_some(&first.backend);
        }
        let turn = self.pool(&first.backend).next_backend_turn();
        let place = balance::weighted_index(turn, backends.iter().map(|weighted| weighted.weight))?;
        backends.get(place).map(|weighted| &weighted.backend)
    }

    /// Picks an endpoint and gives a connection to it: an idle one, or a new one; waits for one if the Service has
    /// as many as it may have. `tries` knows what the request has met so far.
    ///
    /// Nothing of the request has been sent when this fails.
    ///
    /// # Errors
    /// The backend has no endpoint that can be used, none that was tried took a connection in time, or too many
    /// requests wait for one.
    pub async fn connect(
        &self,
        backend: &Arc<Backend>,
        retry: &mut RetryState,
    ) -> Result<PooledConnection, ConnectError> {
        let pool = self.pool(backend);
        let endpoints = pool.ready_endpoints(backend, &self.shared)?;
        let turn = *retry.turn.get_or_insert_with(|| pool.next_endpoint_turn());
        if !pool.queue.has_waiters() {
            let endpoint = self.pick_endpoint(&endpoints, turn, retry).ok_or(ConnectError::Refused)?;
            if let Some(opened) = self.take_idle(&pool, endpoint, retry) {
                return Ok(opened);
            }
        }
        self.connect_or_wait(backend, (pool, turn), retry).await
    }

    fn pick_endpoint<'a>(
        &self,
        endpoints: &'a EndpointList,
        turn: usize,
        retry: &RetryState,
    ) -> Option<&'a Rc<Endpoint>> {
        let now = self.shared_now_ms();
        let due = |endpoint: &Rc<Endpoint>| {
            if endpoint.health.try_claim_probe(now) {
                let (clock, clock_offset_ms) = (self.clock.clone(), self.clock_offset_ms);
                self.connector.spawn_probe(
                    endpoint,
                    effective_timeout(retry.policy.connect.attempt),
                    move || clock.now_ms() + clock_offset_ms,
                );
            }
        };
        pick(endpoints, (retry.policy.balancing, turn), &retry.failed_attempts, now, due)
    }

    fn take_idle(
        &self,
        pool: &Rc<BackendPool>,
        endpoint: &Rc<Endpoint>,
        retry: &RetryState,
    ) -> Option<PooledConnection> {
        let (connection, permit) = endpoint.take_idle(retry.reuse, self.clock.now_ms())?;
        increment(&self.counters.upstream_connection_reuses);
        let request = InFlightGuard::new(endpoint);
        Some(PooledConnection { connection, is_reused: true, permit, request, pool: Rc::clone(pool) })
    }

    /// Dials until an endpoint takes the connection; waits first if there are as many as there may be.
    async fn connect_or_wait(
        &self,
        backend: &Arc<Backend>,
        (pool, turn): (Rc<BackendPool>, usize),
        retry: &mut RetryState,
    ) -> Result<PooledConnection, ConnectError> {
        let mut waiter = None;
        let mut is_turn = !pool.queue.has_waiters();
        loop {
            // Endpoints may have come and gone during a wait.
            let endpoints = pool.ready_endpoints(backend, &self.shared)?;
            if is_turn {
                let endpoint = self.pick_endpoint(&endpoints, turn, retry).ok_or(ConnectError::Refused)?;
                if let Some(opened) = self.take_idle(&pool, endpoint, retry) {
                    return Ok(opened);
                }
                if let Some(permit) = pool.queue.try_acquire(retry.policy.max_connections) {
                    drop(waiter.take());
                    // Boxed: dialling takes 9 KiB, which each request would hold, and HTTP/2 move, though few dial.
                    match Box::pin(self.connect_to(endpoint, retry)).await {
                        Ok(connection) => {
                            let (request, pool) = (InFlightGuard::new(endpoint), Rc::clone(&pool));
                            return Ok(PooledConnection {
                                connection,
                                is_reused: false,
                                permit,
                                request,
                                pool,
                            });
                        }
                        Err(error) => retry.on_connect_failure(endpoint.address, &endpoints, error)?,
                    }
                    continue;
                }
                if let Some(opened) = self.take_idle_of_any(&pool, &endpoints, retry) {
                    return Ok(opened);
                }
            }
            let waited = match &mut waiter {
                Some(waiter) => waiter,
                none => none.insert(pool.queue.enqueue(retry.policy.max_pending)?),
            };
            self.wait_for_connection(waited, retry).await?;
            is_turn = true;
        }
    }

    /// An idle connection to any healthy endpoint: better than waiting for the one whose turn it is.
    fn take_idle_of_any(
        &self,
        pool: &Rc<BackendPool>,
        endpoints: &EndpointList,
        retry: &RetryState,
    ) -> Option<PooledConnection> {
        let now = self.shared_now_ms();
        let mut healthy =
            endpoints.iter().filter(|member| member.health.status(now) == health::HealthStatus::Healthy);
        healthy.find_map(|member| self.take_idle(pool, member, retry))
    }

    /// Waits until a connection gets free: here, which wakes the first one in the queue, or in another worker,
    /// which shows when looking again after a tick.
    async fn wait_for_connection(
        &self,
        waiter: &queue::Waiter<'_>,
        retry: &mut RetryState,
    ) -> Result<(), ConnectError> {
        if retry.connect_time_left.is_zero() {
            return Err(ConnectError::Overloaded);
        }
        let began = Instant::now();
        let timer = self.clock.timer();
        timer.set(TICK.min(retry.connect_time_left));
        // Woken or not: whether there is a connection is seen by trying.
        let _ = timer.limit(waiter.wait_for_free()).await;
        retry.connect_time_left = retry.connect_time_left.saturating_sub(began.elapsed());
        Ok(())
    }

    async fn connect_to(
        &self,
        endpoint: &Endpoint,
        retry: &mut RetryState,
    ) -> Result<Connection, ConnectError> {
        let connect = retry.policy.connect;
        let whole = effective_timeout(connect.attempt).min(effective_timeout(connect.total));
        let available = whole.min(retry.connect_time_left);
        let began = Instant::now();
        let connected = self.connector.connect(endpoint.address, available).await;
        retry.connect_time_left = retry.connect_time_left.saturating_sub(began.elapsed());
        match connected {
            Ok(_) => endpoint.health.on_connected(),
            // It had only what waiting or other tries had left: a healthy one may need more. Otherwise overload, when
            // requests come late to their connections, would take endpoints away.
            Err(ConnectError::TimedOut) if available < whole => {}
            Err(ConnectError::NoSocket) => {}
            Err(_) => endpoint.health.on_failure(EjectionCause::Unreachable, self.shared_now_ms()),
        }
        connected
    }

    /// The endpoint has begun its answer.
    pub fn on_response(&self, opened: &PooledConnection) {
        opened.request.0.health.on_response();
    }

    /// The endpoint gave no answer, or none that can be used.
    pub fn on_failure(&self, opened: &PooledConnection) {
        opened.request.0.health.on_failure(EjectionCause::Failing, self.shared_now_ms());
    }

    /// Its machine acknowledges nothing any more: no request goes there until it takes connections again.
    pub fn on_peer_dead(&self, opened: &PooledConnection) {
        opened.request.0.health.on_failure(EjectionCause::Unreachable, self.shared_now_ms());
    }

    /// Keeps a connection for the next request. Its last exchange is complete in both directions. `keep_alive` is how
    /// long the endpoint keeps it, if it says so.
    pub fn release(&self, opened: PooledConnection, keep_alive: Option<Duration>, policy: &UpstreamPolicy) {
        let PooledConnection { connection, permit, request, pool, .. } = opened;
        if pool.queue.other_workers_waiting(policy.max_connections) {
            return;
        }
        request.0.put_idle(connection, permit, keep_alive, self.clock.now_ms());
        pool.queue.wake_next();
    }

    /// Forgets what has been idle too long; called about once a second.
    pub fn sweep(&self) {
        let now = self.clock.now_ms();
        self.pools.borrow_mut().retain(|_, pool| pool.sweep(&self.shared, now));
        if self.last_sweep_minute.replace(now / 60_000) != now / 60_000 {
            self.shared.sweep();
        }
    }

    fn pool(&self, backend: &Arc<Backend>) -> Rc<BackendPool> {
        let mut pools = self.pools.borrow_mut();
        Rc::clone(pools.entry(backend.id).or_insert_with(|| BackendPool::new(backend, &self.shared)))
    }

    /// Milliseconds since the shared start, as all workers count them.
    fn shared_now_ms(&self) -> u64 {
        self.clock.now_ms() + self.clock_offset_ms
    }
}

impl PooledConnection {
    /// Where the connection goes.
    pub fn address(&self) -> SocketAddr {
        self.request.0.address
    }
}

impl fmt::Debug for PooledConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_reused, .. } = self;
        f.debug_struct("PooledConnection")
            .field("address", &self.address())
            .field("is_reused", is_reused)
            .finish_non_exhaustive()
    }
}

impl InFlightGuard {
    fn new(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.health.on_request_start();
        Self(Rc::clone(endpoint))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.health.on_request_end();
    }
}

#[cfg(test)]
mod tests;
