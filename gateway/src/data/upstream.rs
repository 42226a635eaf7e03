//! From a backend to a connection: picks an endpoint, reuses or opens a connection, and retries a failed connect.
//!
//! Each worker has its own connections and queues. All workers share the health of endpoints and the load of backends
//! ([`SharedUpstreams`]). Not here: what is sent over the connection (`exchange`).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use http1::HeadLimits;
use pingora::connectors::TransportConnector;
use routing::object::Name;
use routing::table::{Backend, WeightedBackend};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::data::wire::clock::{Clock, TICK};
use crate::observe::counters::{Counters, increment};
use crate::plan::{UpstreamPolicy, effective_timeout};

mod balance;
mod bound;
mod connect;
pub mod ejection;
mod endpoint;
mod health;
mod pool;
mod queue;
mod retry;
mod share;
mod shared;
mod stream;

use balance::{Selection, pick};
pub use bound::BoundConnection;
use connect::Connector;
use ejection::FailureCause;
use endpoint::Endpoint;
use pool::{BackendPool, EndpointList};
use queue::UpstreamPermit;
pub use retry::{Resend, RetryState};
pub use shared::SharedUpstreams;
pub use stream::Stream;

/// A connection to an endpoint that carries one request. Dropping it closes the connection and releases its permit.
pub struct PooledConnection {
    /// The stream, without buffers.
    pub stream: Stream,
    /// Whether it has carried a request before. The endpoint may then have closed it, which shows only after sending.
    pub is_reused: bool,
    /// Whether it belongs to one client connection, and must return to no pool.
    pub is_bound: bool,
    permit: UpstreamPermit,
    request: InFlightGuard,
    pool: Rc<BackendPool>,
}

/// Counts a request as in flight at its endpoint until it is dropped.
struct InFlightGuard(Rc<Endpoint>);

/// Why there is no connection for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The Service of the rule does not exist.
    #[error("the Service does not exist")]
    ServiceMissing,
    /// The Service of the rule does not have the port.
    #[error("the Service has no such port")]
    PortMissing,
    /// The Service has the port, but none of its EndpointSlices has a port of that name.
    #[error("no EndpointSlice has a port of the name")]
    EndpointPortMissing,
    /// The `appProtocol` of the Service port is not supported.
    #[error("the appProtocol of the Service port is not supported")]
    ProtocolUnsupported,
    /// No endpoint of the Service is ready.
    #[error("no endpoint is ready")]
    NoReadyEndpoint,
    /// All attempted endpoints refused or reset the connection.
    #[error("no endpoint accepts connections")]
    Refused,
    /// The attempted endpoints did not accept the connection in time.
    #[error("connecting took too long")]
    TimedOut,
    /// The gateway has no file descriptor, port or memory left for a socket.
    #[error("no socket to connect with")]
    NoSocket,
    /// The Service is at its connection limit, and the queue is full or the wait in it took too long.
    #[error("the Service is overloaded")]
    Overloaded,
}

/// Which idle connections may carry a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Any that looks open. The request is sent again if the endpoint has closed it.
    Any,
    /// Only one that was used so recently that the endpoint has not closed it.
    Recent,
    /// None. The request has already been lost on one.
    Never,
}

/// The connections of one worker to all endpoints.
pub struct Upstreams {
    pools: RefCell<HashMap<u64, Rc<BackendPool>>>,
    shared: Arc<SharedUpstreams>,
    connector: Connector,
    clock: Clock,
    counters: Rc<Counters>,
    /// Milliseconds from [`SharedUpstreams::start`] to the start of the worker's clock.
    clock_offset_ms: u64,
    /// Whether a connection is idle, so that [`Upstreams::sweep`] has something to do.
    has_idle: Cell<bool>,
    /// Wakes [`Upstreams::wait_for_idle`] when the first connection becomes idle.
    first_idle: Notify,
    /// The minute of the last sweep of `shared`, since the start of the clock.
    last_sweep_minute: Cell<u64>,
}

impl Upstreams {
    /// Creates a worker's side without connections. `limits` applies to response heads.
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
            has_idle: Cell::new(false),
            first_idle: Notify::new(),
            last_sweep_minute: Cell::new(0),
        }
    }

    /// Picks a backend by weight. Returns `None` if all weights are 0.
    pub fn choose_backend<'a>(&self, backends: &'a [WeightedBackend]) -> Option<&'a Arc<Backend>> {
        let (first, rest) = backends.split_first()?;
        if rest.is_empty() {
            return (first.weight > 0).then_some(&first.backend);
        }
        let turn = self.pool(&first.backend).next_backend_turn();
        let index = balance::weighted_index(turn, backends.iter().map(|weighted| weighted.weight))?;
        backends.get(index).map(|weighted| &weighted.backend)
    }

    /// Picks an endpoint and returns an idle or a new connection to it. Waits if the backend is at its connection limit.
    /// `retry` has the failed attempts of the request and receives new ones.
    ///
    /// # Errors
    /// Any [`ConnectError`]. Nothing of the request has been sent.
    ///
    /// # Cancellation
    /// Leaves the queue and aborts a connect in progress. Its permit is released.
    pub async fn connect(
        &self,
        backend: &Arc<Backend>,
        retry: &mut RetryState,
    ) -> Result<PooledConnection, ConnectError> {
        let pool = self.pool(backend);
        if retry.is_upgrade && pool.queue.has_max_tunnels(retry.policy.max_tunnels) {
            return Err(ConnectError::Overloaded);
        }
        let endpoints = pool.ready_endpoints(backend, &self.shared, self.shared_now_ms())?;
        let turn = *retry.turn.get_or_insert_with(|| pool.next_endpoint_turn());
        let has_share = pool.queue.has_share(retry.client, retry.policy.max_connections);
        if has_share && !pool.queue.has_waiters() {
            let endpoint = self.pick_endpoint(&endpoints, turn, retry).ok_or(ConnectError::Refused)?;
            if let Some(opened) = self.take_idle(&pool, endpoint, retry) {
                return Ok(opened);
            }
        }
        self.connect_or_wait(backend, pool, turn, retry).await
    }

    fn pick_endpoint<'a>(
        &self,
        endpoints: &'a EndpointList,
        turn: usize,
        retry: &RetryState,
    ) -> Option<&'a Rc<Endpoint>> {
        let now = self.shared_now_ms();
        let on_probe_due = |endpoint: &Rc<Endpoint>| {
            if endpoint.health.try_claim_probe(now) {
                let (clock, clock_offset_ms) = (self.clock.clone(), self.clock_offset_ms);
                self.connector.spawn_probe(
                    endpoint,
                    effective_timeout(retry.policy.connect.attempt),
                    move || clock.now_ms() + clock_offset_ms,
                );
            }
        };
        let selection = Selection {
            balancing: retry.policy.balancing,
            max_ejected_percent: retry.policy.max_ejected_percent,
            turn,
            failed_attempts: &retry.failed_attempts,
            now,
        };
        pick(endpoints, &selection, on_probe_due)
    }

    fn take_idle(
        &self,
        pool: &Rc<BackendPool>,
        endpoint: &Rc<Endpoint>,
        retry: &RetryState,
    ) -> Option<PooledConnection> {
        let (stream, mut permit) = endpoint.take_idle(retry.reuse, self.clock.now_ms())?;
        permit.assign(retry.client, retry.policy.max_connections);
        increment(&self.counters.upstream_connection_reuses);
        let request = InFlightGuard::new(endpoint);
        Some(PooledConnection {
            stream,
            is_reused: true,
            is_bound: false,
            permit,
            request,
            pool: Rc::clone(pool),
        })
    }

    /// Connects to one endpoint after the other until one accepts. Waits first if the backend is at its limit.
    async fn connect_or_wait(
        &self,
        backend: &Arc<Backend>,
        pool: Rc<BackendPool>,
        turn: usize,
        retry: &mut RetryState,
    ) -> Result<PooledConnection, ConnectError> {
        let mut waiter = None;
        let mut may_connect = !pool.queue.has_waiters();
        loop {
            // The endpoints may have changed during a wait.
            let endpoints = pool.ready_endpoints(backend, &self.shared, self.shared_now_ms())?;
            let has_share = pool.queue.has_share(retry.client, retry.policy.max_connections);
            if may_connect && has_share {
                let endpoint = self.pick_endpoint(&endpoints, turn, retry).ok_or(ConnectError::Refused)?;
                if let Some(opened) = self.take_idle(&pool, endpoint, retry) {
                    return Ok(opened);
                }
                let mut permit = pool.queue.try_acquire(retry.policy.max_connections);
                if permit.is_none() {
                    if let Some(opened) = self.take_idle_of_any(&pool, &endpoints, retry) {
                        return Ok(opened);
                    }
                    permit = close_oldest_idle(&endpoints);
                }
                if let Some(mut permit) = permit {
                    permit.assign(retry.client, retry.policy.max_connections);
                    drop(waiter.take());
                    // Boxed: the future is 9 KiB, which every request would hold, and HTTP/2 would move.
                    match Box::pin(self.connect_to(endpoint, retry)).await {
                        Ok(stream) => {
                            let (request, pool) = (InFlightGuard::new(endpoint), Rc::clone(&pool));
                            return Ok(PooledConnection {
                                stream,
                                is_reused: false,
                                is_bound: false,
                                permit,
                                request,
                                pool,
                            });
                        }
                        Err(error) => {
                            // Without the failed endpoint, those for other zones may be used.
                            let now = self.shared_now_ms();
                            let left = pool.ready_endpoints(backend, &self.shared, now)?;
                            retry.on_connect_failure(endpoint.address, &left, error)?;
                        }
                    }
                    continue;
                }
            }
            let waiter = match &mut waiter {
                Some(waiter) => waiter,
                none => none.insert(pool.queue.enqueue(retry.policy.max_pending, retry.client)?),
            };
            waiter.set_limited(!has_share);
            self.wait_for_connection(waiter, retry).await?;
            may_connect = true;
        }
    }

    /// Takes an idle connection to any healthy endpoint, rather than to wait for the endpoint whose turn it is.
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

    /// Waits until this worker frees a connection, or for one tick: what other workers free wakes no waiter here.
    /// The caller checks for a connection in both cases.
    async fn wait_for_connection(
        &self,
        waiter: &queue::Waiter<'_>,
        retry: &mut RetryState,
    ) -> Result<(), ConnectError> {
        if retry.connect_time_left.is_zero() {
            return Err(ConnectError::Overloaded);
        }
        let started = Instant::now();
        let timer = self.clock.timer();
        timer.set(TICK.min(retry.connect_time_left));
        let _ = timer.limit(waiter.wait_for_free()).await;
        retry.connect_time_left = retry.connect_time_left.saturating_sub(started.elapsed());
        Ok(())
    }

    async fn connect_to(&self, endpoint: &Endpoint, retry: &mut RetryState) -> Result<Stream, ConnectError> {
        let connect = retry.policy.connect;
        let full_timeout = effective_timeout(connect.attempt).min(effective_timeout(connect.total));
        let available = full_timeout.min(retry.connect_time_left);
        let started = Instant::now();
        let connected = self.connector.connect(endpoint.address, available).await;
        retry.connect_time_left = retry.connect_time_left.saturating_sub(started.elapsed());
        match &connected {
            Ok(_) => endpoint.health.on_connected(),
            // Waiting or other attempts have used up part of the timeout. A healthy endpoint may need all of it; under
            // overload, when many requests wait, healthy endpoints would be ejected.
            Err(ConnectError::TimedOut) if available < full_timeout => {}
            Err(ConnectError::NoSocket) => {}
            Err(error) => {
                endpoint.health.on_connect_failure(*error, full_timeout, self.shared_now_ms());
            }
        }
        connected
    }

    /// Reports that the endpoint has sent a response head.
    pub fn on_response(&self, opened: &PooledConnection) {
        opened.request.0.health.on_response();
    }

    /// Reports that the endpoint sent no response, or an invalid one.
    pub fn on_failure(&self, opened: &PooledConnection, cause: FailureCause) {
        opened.request.0.health.on_request_failure(cause, self.shared_now_ms());
    }

    /// Reports that the machine of the endpoint acknowledges no data. The endpoint gets no request until it accepts a
    /// connection.
    pub fn on_peer_dead(&self, opened: &PooledConnection) {
        opened.request.0.health.on_peer_dead(self.shared_now_ms());
    }

    /// Keeps a connection for the next request. Both messages on it are complete. `keep_alive` is the idle timeout that
    /// the endpoint announced. Closes the connection instead if only other workers have queued requests.
    pub fn release(&self, opened: PooledConnection, keep_alive: Option<Duration>, policy: &UpstreamPolicy) {
        let PooledConnection { stream, permit, request, pool, .. } = opened;
        if pool.queue.other_workers_waiting(policy.max_connections) {
            return;
        }
        request.0.put_idle(stream, permit, keep_alive, self.clock.now_ms());
        pool.queue.wake_next();
        if !self.has_idle.replace(true) {
            self.first_idle.notify_one();
        }
    }

    /// Waits until a connection is idle.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn wait_for_idle(&self) {
        while !self.has_idle.get() {
            self.first_idle.notified().await;
        }
    }

    /// Closes idle connections whose timeout has passed, and drops unused pools. Called once a second while there is an
    /// idle connection.
    pub fn sweep(&self) {
        let now = self.clock.now_ms();
        let mut pools = self.pools.borrow_mut();
        pools.retain(|_, pool| pool.sweep(&self.shared, now));
        self.has_idle.set(pools.values().any(|pool| pool.has_idle()));
        if self.last_sweep_minute.replace(now / 60_000) != now / 60_000 {
            self.shared.sweep();
        }
    }

    fn pool(&self, backend: &Arc<Backend>) -> Rc<BackendPool> {
        let mut pools = self.pools.borrow_mut();
        Rc::clone(pools.entry(backend.pool_id()).or_insert_with(|| BackendPool::new(backend, &self.shared)))
    }

    /// Returns the milliseconds since [`SharedUpstreams::start`], which is the same for all workers.
    fn shared_now_ms(&self) -> u64 {
        self.clock.now_ms() + self.clock_offset_ms
    }
}

/// Closes the connection that is idle for the longest time, and returns its permit. None of them may carry the request
/// that needs the permit.
fn close_oldest_idle(endpoints: &EndpointList) -> Option<UpstreamPermit> {
    let ages = endpoints.iter().filter_map(|endpoint| Some((endpoint.oldest_idle()?, endpoint)));
    ages.min_by_key(|(since, _)| *since)?.1.close_oldest_idle()
}

impl PooledConnection {
    /// Makes the connection count as a tunnel, which has its own limit.
    pub fn convert_to_tunnel(&mut self) {
        self.permit.convert_to_tunnel();
    }

    /// Returns the Service of the endpoint.
    pub fn service(&self) -> Option<&Name> {
        self.request.0.health.service()
    }

    /// Returns the address of the endpoint.
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
