//! One worker's pool for one Backend: its endpoints with their idle connections, the turns, and the queue.
//!
//! The pool follows the Backend's endpoint cell: the next request or sweep sees a change. Endpoints that stay keep
//! their connections. Not here: the choice of an endpoint (`balance`) and connecting (`upstream`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use routing::table::{Backend, Endpoints};

use super::ConnectError;
use super::balance;
use super::endpoint::Endpoint;
use super::health::HealthStatus;
use super::queue::ConnectionQueue;
use super::shared::SharedUpstreams;

/// The endpoints at one moment, sorted by address. A clone is one reference count.
pub(super) type EndpointList = Rc<[Rc<Endpoint>]>;

/// The pool of one worker for one Backend.
pub(super) struct BackendPool {
    pub(super) queue: Rc<ConnectionQueue>,
    /// [`Backend::pool_id`] of its Backends.
    id: u64,
    /// The Backend whose request created it. Dead when neither a routing table nor a request refers to the Backend.
    backend: Weak<Backend>,
    cache: RefCell<EndpointCache>,
    endpoint_turn: Cell<usize>,
    backend_turn: Cell<usize>,
}

/// The endpoints that were built from one value of the Backend's cell.
struct EndpointCache {
    /// The value of the cell. `None` before the first request.
    source: Option<Arc<Endpoints>>,
    /// All of them.
    endpoints: EndpointList,
    /// Those for the gateway's zone; `None` if that is all of them.
    preferred: Option<EndpointList>,
}

impl BackendPool {
    pub(super) fn new(backend: &Arc<Backend>, shared: &SharedUpstreams) -> Rc<Self> {
        Rc::new(Self {
            queue: ConnectionQueue::new(shared.loads.get_or_insert(backend.pool_id())),
            id: backend.pool_id(),
            backend: Arc::downgrade(backend),
            cache: RefCell::new(EndpointCache { source: None, endpoints: Rc::new([]), preferred: None }),
            endpoint_turn: Cell::new(balance::random_start()),
            backend_turn: Cell::new(balance::random_start()),
        })
    }

    /// Returns true if the pool is that of this Backend.
    pub(super) fn is_for(&self, backend: &Backend) -> bool {
        self.id == backend.pool_id()
    }

    /// Returns the next turn among the endpoints. A change of the endpoints does not reset it.
    pub(super) fn next_endpoint_turn(&self) -> usize {
        increment(&self.endpoint_turn)
    }

    /// Returns the next turn among the backends of a route whose first backend this is.
    pub(super) fn next_backend_turn(&self) -> usize {
        increment(&self.backend_turn)
    }

    /// Returns the ready endpoints of the Backend: those for the gateway's zone, or all of them if those are ejected at
    /// `now`.
    ///
    /// # Errors
    /// [`ConnectError::NoReadyEndpoint`], [`ConnectError::PortMissing`], [`ConnectError::ProtocolUnsupported`],
    /// [`ConnectError::ServiceMissing`] or [`ConnectError::EndpointPortMissing`].
    pub(super) fn ready_endpoints(
        &self,
        backend: &Backend,
        shared: &SharedUpstreams,
        now: u64,
    ) -> Result<EndpointList, ConnectError> {
        let current = backend.endpoints.load();
        let mut cache = self.cache.borrow_mut();
        if !cache.source.as_ref().is_some_and(|source| Arc::ptr_eq(source, &current)) {
            cache.refresh(&current, backend, shared);
        }
        match &**current {
            Endpoints::Ready(_) => Ok(Rc::clone(cache.usable(now))),
            Endpoints::NoneReady => Err(ConnectError::NoReadyEndpoint),
            Endpoints::PortMissing => Err(ConnectError::PortMissing),
            Endpoints::ProtocolUnsupported => Err(ConnectError::ProtocolUnsupported),
            Endpoints::ServiceMissing => Err(ConnectError::ServiceMissing),
            Endpoints::SlicePortMissing => Err(ConnectError::EndpointPortMissing),
        }
    }

    /// Returns true if a connection is idle.
    pub(super) fn has_idle(&self) -> bool {
        self.cache.borrow().endpoints.iter().any(|endpoint| endpoint.oldest_idle().is_some())
    }

    /// Updates the endpoints, and closes idle connections whose timeout has passed or that other workers need. Returns
    /// false if the Backend no longer exists.
    pub(super) fn sweep(&self, shared: &SharedUpstreams, now: u64) -> bool {
        let Some(backend) = self.backend.upgrade() else {
            self.cache.borrow_mut().replace(Vec::new(), None);
            return false;
        };
        // Only the update of the endpoints matters here. Requests report the error.
        let _ = self.ready_endpoints(&backend, shared, 0);
        let others_waiting = self.queue.other_workers_waiting(1);
        for endpoint in self.cache.borrow().endpoints.iter() {
            if others_waiting { endpoint.close_idle() } else { endpoint.sweep(now) }
        }
        true
    }
}

impl EndpointCache {
    fn refresh(&mut self, current: &Arc<Endpoints>, backend: &Backend, shared: &SharedUpstreams) {
        let find = |endpoint: &routing::object::Endpoint| {
            // Both lists are sorted by address.
            match self.endpoints.binary_search_by_key(&endpoint.address, |member| member.address) {
                Ok(index) => self.endpoints.get(index).map(Rc::clone),
                Err(_) => None,
            }
            .unwrap_or_else(|| Endpoint::new(endpoint.address, shared.health(backend, endpoint.address)))
        };
        let mut endpoints: Vec<_> = current.ready().iter().map(find).collect();
        let fallback: Vec<_> = current.fallback().iter().map(find).collect();
        let preferred = (!fallback.is_empty()).then(|| endpoints.as_slice().into());
        endpoints.extend(fallback);
        endpoints.sort_unstable_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        self.replace(endpoints, preferred);
        self.source = Some(Arc::clone(current));
    }

    /// Returns the endpoints for the gateway's zone, or all of them if those are ejected.
    fn usable(&self, now: u64) -> &EndpointList {
        let is_healthy = |endpoint: &Rc<Endpoint>| endpoint.health.status(now) == HealthStatus::Healthy;
        self.preferred.as_ref().filter(|list| list.iter().any(is_healthy)).unwrap_or(&self.endpoints)
    }

    fn replace(&mut self, endpoints: Vec<Rc<Endpoint>>, preferred: Option<EndpointList>) {
        let stays = |old: &Rc<Endpoint>| {
            endpoints.binary_search_by_key(&old.address, |member| member.address).is_ok()
        };
        for removed in self.endpoints.iter().filter(|old| !stays(old)) {
            removed.remove();
        }
        self.endpoints = endpoints.into();
        self.preferred = preferred;
    }
}

fn increment(turn: &Cell<usize>) -> usize {
    turn.set(turn.get().wrapping_add(1));
    turn.get()
}
