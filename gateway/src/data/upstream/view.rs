//! One worker's view of one Backend: its endpoints, whose turn it is, and the line in front of it.
//!
//! The view follows the Backend's endpoint cell: a changed cell is seen by the next request or sweep, endpoints
//! that stay keep their connections. Not here: choosing (`balance`) and connecting (`upstream`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use routing::table::{Backend, Endpoints};

use super::OpenError;
use super::balance;
use super::endpoint::Endpoint;
use super::line::Line;
use super::shared::Shared;

/// The endpoints of one moment; sharing them costs nothing.
pub(super) type Members = Rc<[Rc<Endpoint>]>;

/// A Backend, as one worker sees it.
pub(super) struct View {
    pub(super) line: Rc<Line>,
    /// Gone when no table names the Backend any more and no request is on its way to it.
    backend: Weak<Backend>,
    seen: RefCell<Seen>,
    turn: Cell<usize>,
    share: Cell<usize>,
}

struct Seen {
    /// What the cell held; nothing before the first look.
    endpoints: Option<Arc<Endpoints>>,
    members: Members,
}

impl View {
    pub(super) fn new(backend: &Arc<Backend>, shared: &Shared) -> Rc<Self> {
        Rc::new(Self {
            line: Line::new(shared.loads.find(backend.id)),
            backend: Arc::downgrade(backend),
            seen: RefCell::new(Seen { endpoints: None, members: Rc::new([]) }),
            turn: Cell::new(balance::random()),
            share: Cell::new(balance::random()),
        })
    }

    /// The next turn among the endpoints. It goes on counting when they change.
    pub(super) fn turn(&self) -> usize {
        count(&self.turn)
    }

    /// The next turn among the backends of a route, of which this one is the first.
    pub(super) fn share(&self) -> usize {
        count(&self.share)
    }

    /// The endpoints that the Backend has now.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn members(&self, backend: &Backend, shared: &Shared) -> Result<Members, OpenError> {
        let now = backend.endpoints.load();
        let mut seen = self.seen.borrow_mut();
        if !seen.endpoints.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &now)) {
            seen.follow(&now, shared);
        }
        match &**now {
            Endpoints::Ready(_) => Ok(Rc::clone(&seen.members)),
            Endpoints::NoneReady => Err(OpenError::NoneReady),
            Endpoints::PortMissing => Err(OpenError::PortMissing),
            Endpoints::ServiceMissing => Err(OpenError::ServiceMissing),
        }
    }

    /// Follows changes, and closes connections that have been idle too long, or that other workers wait for.
    /// Says whether the Backend still exists.
    pub(super) fn sweep(&self, shared: &Shared, now: u64) -> bool {
        let Some(backend) = self.backend.upgrade() else {
            self.seen.borrow_mut().replace(Vec::new());
            return false;
        };
        // The state is looked at by requests; here it is enough that the members follow.
        let _ = self.members(&backend, shared);
        let is_wanted = self.line.is_wanted_elsewhere(1);
        for member in self.seen.borrow().members.iter() {
            if is_wanted { member.close_idle() } else { member.sweep(now) }
        }
        true
    }
}

impl Seen {
    fn follow(&mut self, now: &Arc<Endpoints>, shared: &Shared) {
        let find = |endpoint: &routing::object::Endpoint| {
            // Both lists are sorted by address.
            match self.members.binary_search_by_key(&endpoint.address, |member| member.address) {
                Ok(place) => self.members.get(place).map(Rc::clone),
                Err(_) => None,
            }
            .unwrap_or_else(|| Endpoint::new(endpoint.address, shared.health.find(endpoint.address)))
        };
        let members = now.ready().iter().map(find).collect();
        self.replace(members);
        self.endpoints = Some(Arc::clone(now));
    }

    fn replace(&mut self, members: Vec<Rc<Endpoint>>) {
        let stays =
            |old: &Rc<Endpoint>| members.binary_search_by_key(&old.address, |member| member.address).is_ok();
        for gone in self.members.iter().filter(|old| !stays(old)) {
            gone.remove();
        }
        self.members = members.into();
    }
}

fn count(turn: &Cell<usize>) -> usize {
    turn.set(turn.get().wrapping_add(1));
    turn.get()
}
