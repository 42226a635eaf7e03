//! A REQUEST'S WAY: from a request head to the end of its answer, one short function a step.
//!
//! [`serve`] is the whole way; HTTP/1.1 and HTTP/2 clients enter it through the same [`Downstream`].
//! Not here: reading request heads and keeping connections (`listener`), choosing and keeping
//! connections to endpoints (`upstream`).

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http1::{BodyLength, Head, KnownName};
use routing::host;
use routing::path;
use routing::table::{PathMatch, Route, RoutingTable};

use crate::data::upstream::Upstreams;
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::{Clock, Timer};
use crate::data::wire::{BodyReader, BodyWriter, StreamError};
use crate::live::LiveCell;
use crate::observe::access_log::Lines;
use crate::observe::counters::{Counters, Gauge};
use crate::settings::Settings;

pub mod abort;
mod answer;
pub mod client;
mod date;
mod forward;
pub mod headers;
mod held;
mod lookout;
mod metered;
pub mod record;
pub mod refusal;
pub mod request_id;
mod sending;
mod tunnel;
mod upgrade;
mod waits;

use abort::Abort;
pub use answer::refuse;
use client::Caller;
pub use client::{Client, Scheme};
pub use date::Date;
use headers::Response;
use metered::Meter;
use record::{Ending, Kept, Record, Subject};
use refusal::Refusal;
use request_id::RequestIds;
pub use tunnel::{End, Tunnel};
use waits::Waits;

/// What one worker's exchanges share.
pub struct Worker {
    /// What is being served.
    pub live: LiveCell,
    /// Deadlines and bounds.
    pub settings: Arc<Settings>,
    /// The time, for deadlines.
    pub clock: Clock,
    /// Buffers to lend.
    pub buffers: BufferPool,
    /// The `Date` of answers that have none.
    pub date: Date,
    /// What is counted.
    pub counters: Rc<Counters>,
    /// The way to the endpoints.
    pub upstreams: Upstreams,
    /// What requests are called.
    pub ids: RequestIds,
    /// The worker's end of the access log, if there is one.
    pub access_log: Option<Lines>,
}

/// The client's side of one exchange.
pub trait Downstream: BodyReader + BodyWriter {
    /// Takes the response head; it is sent with the body's first piece, or by [`BodyWriter::poll_flush`].
    ///
    /// # Errors
    /// The client is gone.
    fn respond(&mut self, response: &Response<'_>) -> Result<(), StreamError>;

    /// Takes an interim response (1xx but 101); [`BodyWriter::poll_flush`] sends it. Not called after
    /// [`Downstream::respond`].
    ///
    /// # Errors
    /// The client is gone.
    fn inform(&mut self, response: &Response<'_>) -> Result<(), StreamError>;

    /// Whatever is still to come of the request's body is not read any more: it cannot be trusted, or nobody wants it.
    /// Called at most once, after [`Downstream::respond`].
    fn ignore_body(&mut self);

    /// Becomes ready when the client has given up this request: the endpoint need not go on with it either.
    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<Abort>;
}

/// How an exchange ended.
#[derive(Debug)]
pub enum Served {
    /// The answer was sent whole.
    Answered,
    /// The answer was sent, and nothing more can be understood from the client on an HTTP/1.1 connection.
    AnsweredLast,
    /// The client did not get a whole answer and must see that: nothing may follow.
    Aborted,
    /// The endpoint switched protocols, as the client had asked, and the client has been told.
    Switched(Tunnel),
}

/// A request whose head has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The head, with a Host field whatever the protocol.
    pub head: &'a Head,
    /// How the body is framed.
    pub length: BodyLength,
    /// Who sent it.
    pub client: &'a Client,
}

/// Serves one request.
pub async fn serve<D: Downstream>(
    worker: &Worker,
    request: Request<'_>,
    down: &mut D,
    timer: &Timer,
) -> Served {
    let _in_flight = Gauge::raise(&worker.counters, |counters| &counters.in_flight);
    let destination = destination(request.head);
    let client = request.client;
    let caller = Caller {
        client,
        address: client.address(request.head, &worker.settings.trusted),
        id: worker.ids.of(client, request.head),
    };
    let record = Record::begin(worker);
    let mut exchange = Exchange {
        worker,
        request,
        caller,
        down,
        timer,
        destination: destination.as_ref().map(|(host, path)| (&**host, &**path)).map_err(|refusal| *refusal),
        route: None,
        received: Meter::default(),
        sent: Meter::default(),
        record,
        waits: Waits::without_route(&worker.settings),
    };
    let served = match exchange.forward().await {
        Ok(served) => {
            let is_tunnel = matches!(served, Served::Switched(_));
            exchange.record.ending = if is_tunnel { Ending::Switched } else { Ending::Forwarded };
            served
        }
        Err(Failure::Refused(refusal)) => exchange.refuse(refusal).await,
        Err(Failure::Aborted(abort)) => {
            exchange.record.ending = Ending::Aborted(abort);
            Served::Aborted
        }
    };
    timer.clear();
    served
}

/// The host and the canonical path that a request is matched by; the host is empty if it names none.
///
/// # Errors
/// What no route could make good: a malformed host or path, or too many nominated fields.
pub fn destination(head: &Head) -> Result<(Cow<'_, str>, Cow<'_, str>), Refusal> {
    let host = match head.get(KnownName::Host) {
        Some(host) => host::normalise(host).ok_or(Refusal::Host)?,
        // HTTP/1.0 without Host: only rules without a host can be meant.
        None => Cow::Borrowed(""),
    };
    if headers::nominates_too_many(head) {
        return Err(Refusal::Nominations);
    }
    if head.target() == b"*" {
        return Err(Refusal::ServerOptions);
    }
    let path = path::canonical(head.path()).map_err(|_| Refusal::Path)?;
    Ok((host, path))
}

/// Finds the route of a request.
///
/// # Errors
/// There is none, or the endpoint might read `%2F` or `%5C` in the path as a slash and so serve what another route,
/// or none, is for. A rule that names just this path knows what it asks for.
pub fn route<'t>(table: &'t RoutingTable, host: &str, path: &str) -> Result<&'t Arc<Route>, Refusal> {
    let route = table.find(host, path).ok_or(Refusal::NoRule)?;
    let is_elsewhere = |read: String| table.find(host, &read).is_none_or(|other| !Arc::ptr_eq(other, route));
    if path::other_readings(path).any(is_elsewhere) && !matches!(route.path, PathMatch::Exact(_)) {
        return Err(Refusal::EncodedSlash);
    }
    Ok(route)
}

/// Why an exchange did not end as it should.
enum Failure {
    /// Nothing of an answer was sent yet, so the gateway answers.
    Refused(Refusal),
    /// The client has part of an answer, or is gone.
    Aborted(Abort),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

struct Exchange<'a, D> {
    worker: &'a Worker,
    request: Request<'a>,
    caller: Caller<'a>,
    down: &'a mut D,
    timer: &'a Timer,
    /// Host and canonical path, or why there are none.
    destination: Result<(&'a str, &'a str), Refusal>,
    route: Option<Arc<Route>>,
    /// The request's body, against the route's limit.
    received: Meter,
    /// The answer's body.
    sent: Meter,
    record: Record,
    /// How long its steps may take.
    waits: Waits,
}

impl<D> Exchange<'_, D> {
    fn subject(&self) -> Subject<'_> {
        Subject {
            caller: self.caller,
            // Looked for only if somebody wants to know.
            asked: self.record.began.map(|_| record::asked(&self.request, self.destination.ok())),
            route: self.route.as_deref(),
        }
    }

    /// What a tunnel has to tell at its end.
    fn kept(&self) -> Option<Kept> {
        Kept::of(&self.subject(), &self.record)
    }
}

/// However it ends: a connection may be dropped with all its exchanges.
impl<D> Drop for Exchange<'_, D> {
    fn drop(&mut self) {
        let Meter { passed: received, .. } = self.received;
        // The gateway's own answers have no meter.
        let sent = self.record.sent.max(self.sent.passed);
        let ending = match self.record.ending {
            Ending::Unfinished => Ending::Aborted(Abort::of_drop(self.worker.clock.phase())),
            ending => ending,
        };
        self.record = Record { received, sent, ending, ..self.record };
        self.worker.tell(&self.subject(), &self.record);
    }
}
