//! One worker's view of one Backend: its endpoints, whose turn it is, and the line in front of it.
//!
//! The view follows the Backend's endpoint cell: a changed cell is seen by the next request or sweep, endpoints
//! that stay keep their connections. Not here: choosing (`balance`) and connecting (`upstream`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use routing::table::{Backend, Endpoints};

use super::ConnectError;
use super::balance;
use super::endpoint::Endpoint;
use super::queue::ConnectionQueue;
use super::shared::SharedUpstreams;

/// The endpoints of one moment; sharing them costs nothing.
pub(super) type EndpointList = Rc<[Rc<Endpoint>]>;

/// A Backend, as one worker sees it.
pub(super) struct BackendPool {
    pub(super) queue: Rc<ConnectionQueue>,
    /// Gone when no table names the Backend any more and no request is on its way to it.
    backend: Weak<Backend>,
    cache: RefCell<EndpointCache>,
    endpoint_turn: Cell<usize>,
    backend_turn: Cell<usize>,
}

struct EndpointCache {
    /// What the cell held; nothing before the first look.
    source: Option<Arc<Endpoints>>,
    endpoints: EndpointList,
}

impl BackendPool {
    pub(super) fn new(backend: &Arc<Backend>, shared: &SharedUpstreams) -> Rc<Self> {
        Rc::new(Self {
            queue: ConnectionQueue::new(shared.loads.get_or_insert(backend.id)),
            backend: Arc::downgrade(backend),
            cache: RefCell::new(EndpointCache { source: None, endpoints: Rc::new([]) }),
            endpoint_turn: Cell::new(balance::random_start()),
            backend_turn: Cell::new(balance::random_start()),
        })
    }

    /// The next turn among the endpoints. It goes on counting when they change.
    pub(super) fn next_endpoint_turn(&self) -> usize {
        increment(&self.endpoint_turn)
    }

    /// The next turn among the backends of a route, of which this one is the first.
    pub(super) fn next_backend_turn(&self) -> usize {
        increment(&self.backend_turn)
    }

    /// The endpoints that the Backend has now.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn ready_endpoints(
        &self,
        backend: &Backend,
        shared: &SharedUpstreams,
    ) -> Result<EndpointList, ConnectError> {
        let current = backend.endpoints.load();
        let mut cache = self.cache.borrow_mut();
        if !cache.source.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &current)) {
            cache.refresh(&current, shared);
        }
        match &**current {
            Endpoints::Ready(_) => Ok(Rc::clone(&cache.endpoints)),
            Endpoints::NoneReady => Err(ConnectError::NoReadyEndpoint),
            Endpoints::PortMissing => Err(ConnectError::PortMissing),
            Endpoints::ServiceMissing => Err(ConnectError::ServiceMissing),
        }
    }

    /// Follows changes, and closes connections that have been idle too long, or that other workers wait for.
    /// Says whether the Backend still exists.
    pub(super) fn sweep(&self, shared: &SharedUpstreams, now: u64) -> bool {
        let Some(backend) = self.backend.upgrade() else {
            self.cache.borrow_mut().replace(Vec::new());
            return false;
        };
        // The state is looked at by requests; here it is enough that the members follow.
        let _ = self.ready_endpoints(&backend, shared);
        let others_waiting = self.queue.other_workers_waiting(1);
        for member in self.cache.borrow().endpoints.iter() {
            if others_waiting { member.close_idle() } else { member.sweep(now) }
        }
        true
    }
}

impl EndpointCache {
    fn refresh(&mut self, current: &Arc<Endpoints>, shared: &SharedUpstreams) {
        let find = |endpoint: &routing::object::Endpoint| {
            // Both lists are sorted by address.
            match self.endpoints.binary_search_by_key(&endpoint.address, |member| member.address) {
                Ok(place) => self.endpoints.get(place).map(Rc::clone),
                Err(_) => None,
            }
            .unwrap_or_else(|| Endpoint::new(endpoint.address, shared.health.get_or_insert(endpoint.address)))
        };
        let endpoints = current.ready().iter().map(find).collect();
        self.replace(endpoints);
        self.source = Some(Arc::clone(current));
    }

    fn replace(&mut self, endpoints: Vec<Rc<Endpoint>>) {
        let stays = |old: &Rc<Endpoint>| {
            endpoints.binary_search_by_key(&old.address, |member| member.address).is_ok()
        };
        for gone in self.endpoints.iter().filter(|old| !stays(old)) {
            gone.remove();
        }
        self.endpoints = endpoints.into();
    }
}

fn increment(turn: &Cell<usize>) -> usize {
    turn.set(turn.get().wrapping_add(1));
    turn.get()
}
