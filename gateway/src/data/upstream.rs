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
use crate::observe::counters::{Counters, bump};

mod balance;
mod dial;
mod endpoint;
mod health;
mod line;
mod shared;
mod terms;
mod tries;
mod view;

use balance::pick;
use dial::Dialler;
pub use dial::has_vanished;
use endpoint::Endpoint;
use health::Fault;
use line::Permit;
pub use shared::Shared;
pub use terms::{Terms, limit};
pub use tries::{Resend, Tries};
use view::{Members, View};

/// A connection to an endpoint.
pub type Connection = h1::Connection<Stream>;

/// A connection with its endpoint. Dropping it closes the connection and gives its place to who waits for one.
pub struct Opened {
    /// The connection, without buffers.
    pub connection: Connection,
    /// Whether it carried a request before: its end may then only show after sending.
    pub is_reused: bool,
    permit: Permit,
    request: InFlight,
    view: Rc<View>,
}

/// A request at an endpoint, counted for as long as this lives.
struct InFlight(Rc<Endpoint>);

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
    views: RefCell<HashMap<u64, Rc<View>>>,
    shared: Arc<Shared>,
    dialler: Dialler,
    clock: Clock,
    counters: Rc<Counters>,
    /// Milliseconds from the shared start to the worker clock's.
    offset: u64,
    /// The minute of the last sweep of `shared`.
    swept: Cell<u64>,
}

impl Upstreams {
    /// Begins without any connection.
    pub fn new(
        connector: Arc<TransportConnector>,
        clock: Clock,
        counters: Rc<Counters>,
        shared: Arc<Shared>,
        limits: HeadLimits,
    ) -> Self {
        let offset = clock.started_at().saturating_duration_since(shared.start).as_millis();
        Self {
            views: RefCell::default(),
            dialler: Dialler::new(connector, Rc::clone(&counters), limits),
            shared,
            clock,
            counters,
            offset: u64::try_from(offset).unwrap_or(0),
            swept: Cell::new(0),
        }
    }

    /// Picks the backend of a request by the shares of its route; nothing if no backend has a share.
    pub fn choose<'a>(&self, backends: &'a [WeightedBackend]) -> Option<&'a Arc<Backend>> {
        let (first, rest) = backends.split_first()?;
        if rest.is_empty() {
            return (first.weight > 0).then_some(&first.backend);
        }
        let turn = self.view(&first.backend).share();
        let place = balance::share(turn, backends.iter().map(|weighted| weighted.weight))?;
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
    pub async fn open(&self, backend: &Arc<Backend>, tries: &mut Tries) -> Result<Opened, OpenError> {
        let view = self.view(backend);
        let members = view.members(backend, &self.shared)?;
        let turn = *tries.turn.get_or_insert_with(|| view.turn());
        if !view.line.is_waited_in() {
            let endpoint = self.pick(&members, turn, tries).ok_or(OpenError::Refused)?;
            if let Some(opened) = self.reuse(&view, endpoint, tries) {
                return Ok(opened);
            }
        }
        self.open_new(backend, (view, turn), tries).await
    }

    fn pick<'a>(&self, members: &'a Members, turn: usize, tries: &Tries) -> Option<&'a Rc<Endpoint>> {
        let now = self.time();
        let due = |endpoint: &Rc<Endpoint>| {
            if endpoint.health.claim(now) {
                let (clock, offset) = (self.clock.clone(), self.offset);
                self.dialler
                    .find_out(endpoint, limit(tries.terms.connect.once), move || clock.now_ms() + offset);
            }
        };
        pick(members, (tries.terms.balancing, turn), &tries.met, now, due)
    }

    fn reuse(&self, view: &Rc<View>, endpoint: &Rc<Endpoint>, tries: &Tries) -> Option<Opened> {
        let (connection, permit) = endpoint.take(tries.reuse, self.clock.now_ms())?;
        bump(&self.counters.reuses);
        let request = InFlight::begin(endpoint);
        Some(Opened { connection, is_reused: true, permit, request, view: Rc::clone(view) })
    }

    /// Dials until an endpoint takes the connection; waits first if there are as many as there may be.
    async fn open_new(
        &self,
        backend: &Arc<Backend>,
        (view, turn): (Rc<View>, usize),
        tries: &mut Tries,
    ) -> Result<Opened, OpenError> {
        let mut place = None;
        let mut is_turn = !view.line.is_waited_in();
        loop {
            // Endpoints may have come and gone during a wait.
            let members = view.members(backend, &self.shared)?;
            if is_turn {
                let endpoint = self.pick(&members, turn, tries).ok_or(OpenError::Refused)?;
                if let Some(opened) = self.reuse(&view, endpoint, tries) {
                    return Ok(opened);
                }
                if let Some(permit) = view.line.permit(tries.terms.connections) {
                    drop(place.take());
                    // Boxed: dialling takes 9 KiB, which each request would hold, and HTTP/2 move, though few dial.
                    match Box::pin(self.connect(endpoint, tries)).await {
                        Ok(connection) => {
                            let (request, view) = (InFlight::begin(endpoint), Rc::clone(&view));
                            return Ok(Opened { connection, is_reused: false, permit, request, view });
                        }
                        Err(error) => tries.unreachable(endpoint.address, &members, error)?,
                    }
                    continue;
                }
                if let Some(opened) = self.reuse_any(&view, &members, tries) {
                    return Ok(opened);
                }
            }
            let waited = match &mut place {
                Some(place) => place,
                none => none.insert(view.line.queue(tries.terms.pending)?),
            };
            self.wait(waited, tries).await?;
            is_turn = true;
        }
    }

    /// An idle connection to any healthy endpoint: better than waiting for the one whose turn it is.
    fn reuse_any(&self, view: &Rc<View>, members: &Members, tries: &Tries) -> Option<Opened> {
        let now = self.time();
        let mut healthy = members.iter().filter(|member| member.health.standing(now) == health::Standing::In);
        healthy.find_map(|member| self.reuse(view, member, tries))
    }

    /// Waits until a connection gets free: here, which wakes the first one in the queue, or in another worker,
    /// which shows when looking again after a tick.
    async fn wait(&self, place: &line::Place<'_>, tries: &mut Tries) -> Result<(), OpenError> {
        if tries.connect_left.is_zero() {
            return Err(OpenError::Overloaded);
        }
        let began = Instant::now();
        let timer = self.clock.timer();
        timer.set(TICK.min(tries.connect_left));
        // Woken or not: whether there is a connection is seen by trying.
        let _ = timer.limit(place.freed()).await;
        tries.connect_left = tries.connect_left.saturating_sub(began.elapsed());
        Ok(())
    }

    async fn connect(&self, endpoint: &Endpoint, tries: &mut Tries) -> Result<Connection, OpenError> {
        let connect = tries.terms.connect;
        let whole = limit(connect.once).min(limit(connect.total));
        let given = whole.min(tries.connect_left);
        let began = Instant::now();
        let connected = self.dialler.connect(endpoint.address, given).await;
        tries.connect_left = tries.connect_left.saturating_sub(began.elapsed());
        match connected {
            Ok(_) => endpoint.health.connected(),
            // It had only what waiting or other tries had left: a healthy one may need more. Otherwise overload, when
            // requests come late to their connections, would take endpoints away.
            Err(OpenError::TimedOut) if given < whole => {}
            Err(OpenError::NoSocket) => {}
            Err(_) => endpoint.health.failed(Fault::Unreachable, self.time()),
        }
        connected
    }

    /// The endpoint has begun its answer.
    pub fn answered(&self, opened: &Opened) {
        opened.request.0.health.answered();
    }

    /// The endpoint gave no answer, or none that can be used.
    pub fn failed(&self, opened: &Opened) {
        opened.request.0.health.failed(Fault::Failing, self.time());
    }

    /// Its machine acknowledges nothing any more: no request goes there until it takes connections again.
    pub fn vanished(&self, opened: &Opened) {
        opened.request.0.health.failed(Fault::Unreachable, self.time());
    }

    /// Keeps a connection for the next request. Its last exchange is complete in both directions. `said` is how
    /// long the endpoint keeps it, if it says so.
    pub fn keep(&self, opened: Opened, said: Option<Duration>, terms: &Terms) {
        let Opened { connection, permit, request, view, .. } = opened;
        if view.line.is_wanted_elsewhere(terms.connections) {
            return;
        }
        request.0.put(connection, permit, said, self.clock.now_ms());
        view.line.wake();
    }

    /// Forgets what has been idle too long; called about once a second.
    pub fn sweep(&self) {
        let now = self.clock.now_ms();
        self.views.borrow_mut().retain(|_, view| view.sweep(&self.shared, now));
        if self.swept.replace(now / 60_000) != now / 60_000 {
            self.shared.sweep();
        }
    }

    fn view(&self, backend: &Arc<Backend>) -> Rc<View> {
        let mut views = self.views.borrow_mut();
        Rc::clone(views.entry(backend.id).or_insert_with(|| View::new(backend, &self.shared)))
    }

    /// Milliseconds since the shared start, as all workers count them.
    fn time(&self) -> u64 {
        self.clock.now_ms() + self.offset
    }
}

impl Opened {
    /// Where the connection goes.
    pub fn address(&self) -> SocketAddr {
        self.request.0.address
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_reused, .. } = self;
        f.debug_struct("Opened")
            .field("address", &self.address())
            .field("is_reused", is_reused)
            .finish_non_exhaustive()
    }
}

impl InFlight {
    fn begin(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.health.begin();
        Self(Rc::clone(endpoint))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.health.end();
    }
}

#[cfg(test)]
mod tests;
