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

use crate::data::drain::DrainState;
use crate::data::upstream::Upstreams;
use crate::data::wire::buffers::BufferPool;
use crate::data::wire::clock::{Clock, Timer};
use crate::data::wire::{BodyReader, BodyWriter, StreamError};
use crate::live::LiveCell;
use crate::observe::access_log::LogHandle;
use crate::observe::counters::{Counters, GaugeGuard};
use crate::settings::Settings;

pub mod abort;
pub mod client;
mod date;
mod dead_peer;
mod forward;
pub mod headers;
mod local_reply;
mod metered;
pub mod record;
mod replay;
pub mod reply_reason;
mod request_body;
pub mod request_id;
mod timeouts;
mod tunnel;
mod upgrade;

use abort::Abort;
use client::RequestSource;
pub use client::{Client, Scheme};
pub use date::DateCache;
use headers::Response;
pub use local_reply::send_local_reply;
use metered::Meter;
use record::{Completion, OwnedRequestInfo, Record, RequestInfo};
use reply_reason::ReplyReason;
use request_id::RequestIds;
use timeouts::Timeouts;
pub use tunnel::{Tunnel, TunnelEnd};

/// What one worker's exchanges share.
pub struct Worker {
    /// What is being served.
    pub live: LiveCell,
    /// Deadlines and bounds.
    pub settings: Arc<Settings>,
    /// The time, for deadlines.
    pub clock: Clock,
    /// The shutdown phase.
    pub drain: DrainState,
    /// Buffers to lend.
    pub buffers: BufferPool,
    /// The `Date` of answers that have none.
    pub date: DateCache,
    /// What is counted.
    pub counters: Rc<Counters>,
    /// The way to the endpoints.
    pub upstreams: Upstreams,
    /// What requests are called.
    pub request_ids: RequestIds,
    /// The worker's end of the access log, if there is one.
    pub access_log: Option<LogHandle>,
}

/// The client's side of one exchange.
pub trait Downstream: BodyReader + BodyWriter {
    /// Takes the response head; it is sent with the body's first piece, or by [`BodyWriter::poll_flush`].
    ///
    /// # Errors
    /// The client is gone.
    fn send_head(&mut self, response: &Response<'_>) -> Result<(), StreamError>;

    /// Takes an interim response (1xx but 101); [`BodyWriter::poll_flush`] sends it. Not called after
    /// [`Downstream::send_head`].
    ///
    /// # Errors
    /// The client is gone.
    fn send_informational(&mut self, response: &Response<'_>) -> Result<(), StreamError>;

    /// Whatever is still to come of the request's body is not read any more: it cannot be trusted, or nobody wants it.
    /// Called at most once, after [`Downstream::send_head`].
    fn discard_body(&mut self);

    /// Becomes ready when the client has given up this request: the endpoint need not go on with it either.
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<Abort>;
}

/// How an exchange ended.
#[derive(Debug)]
pub enum ExchangeOutcome {
    /// The answer was sent whole.
    Completed,
    /// The answer was sent, and nothing more can be understood from the client on an HTTP/1.1 connection.
    CompletedThenClose,
    /// The client did not get a whole answer and must see that: nothing may follow.
    Aborted,
    /// The endpoint switched protocols, as the client had asked, and the client has been told.
    Upgraded(Tunnel),
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
) -> ExchangeOutcome {
    let _in_flight = GaugeGuard::increment(&worker.counters, |counters| &counters.requests_in_flight);
    let destination = parse_destination(request.head);
    let client = request.client;
    let source = RequestSource {
        client,
        address: client.address(request.head, &worker.settings.requests.trusted_proxies),
        id: worker.request_ids.of(client, request.head),
    };
    let record = Record::new(worker);
    let mut exchange = Exchange {
        worker,
        request,
        source,
        down,
        timer,
        destination: destination.as_ref().map(|(host, path)| (&**host, &**path)).map_err(|reason| *reason),
        route: None,
        received: Meter::default(),
        sent: Meter::default(),
        record,
        timeouts: Timeouts::from_settings(&worker.settings),
    };
    let served = match exchange.forward().await {
        Ok(served) => {
            let is_tunnel = matches!(served, ExchangeOutcome::Upgraded(_));
            exchange.record.completion = if is_tunnel { Completion::Upgraded } else { Completion::Forwarded };
            served
        }
        Err(Failure::Reply(reason)) => exchange.send_local_reply(reason).await,
        Err(Failure::Abort(abort)) => {
            exchange.record.completion = Completion::Aborted(abort);
            ExchangeOutcome::Aborted
        }
    };
    timer.clear();
    served
}

/// The host and the canonical path that a request is matched by; the host is empty if it names none.
///
/// # Errors
/// What no route could make good: a malformed host or path, or too many nominated fields.
pub fn parse_destination(head: &Head) -> Result<(Cow<'_, str>, Cow<'_, str>), ReplyReason> {
    let host = match head.get(KnownName::Host) {
        Some(host) => host::normalise(host).ok_or(ReplyReason::MalformedHost)?,
        // HTTP/1.0 without Host: only rules without a host can be meant.
        None => Cow::Borrowed(""),
    };
    if headers::has_too_many_connection_options(head) {
        return Err(ReplyReason::TooManyConnectionOptions);
    }
    if head.target() == b"*" {
        return Err(ReplyReason::ServerOptions);
    }
    let path = path::canonical(head.path()).map_err(|_| ReplyReason::MalformedPath)?;
    Ok((host, path))
}

/// Finds the route of a request.
///
/// # Errors
/// There is none, or the endpoint might read `%2F` or `%5C` in the path as a slash and so serve what another route,
/// or none, is for. A rule that names just this path knows what it asks for.
pub fn find_route<'t>(
    table: &'t RoutingTable,
    host: &str,
    path: &str,
) -> Result<&'t Arc<Route>, ReplyReason> {
    let route = table.find(host, path).ok_or(ReplyReason::NoRule)?;
    let is_elsewhere = |read: String| table.find(host, &read).is_none_or(|other| !Arc::ptr_eq(other, route));
    if path::alternative_readings(path).any(is_elsewhere) && !matches!(route.path, PathMatch::Exact(_)) {
        return Err(ReplyReason::EncodedSlash);
    }
    Ok(route)
}

/// Why an exchange did not end as it should.
enum Failure {
    /// Nothing of an answer was sent yet, so the gateway answers.
    Reply(ReplyReason),
    /// The client has part of an answer, or is gone.
    Abort(Abort),
}

impl From<ReplyReason> for Failure {
    fn from(reason: ReplyReason) -> Self {
        Self::Reply(reason)
    }
}

struct Exchange<'a, D> {
    worker: &'a Worker,
    request: Request<'a>,
    source: RequestSource<'a>,
    down: &'a mut D,
    timer: &'a Timer,
    /// Host and canonical path, or why there are none.
    destination: Result<(&'a str, &'a str), ReplyReason>,
    route: Option<Arc<Route>>,
    /// The request's body, against the route's limit.
    received: Meter,
    /// The answer's body.
    sent: Meter,
    record: Record,
    /// How long its steps may take.
    timeouts: Timeouts,
}

impl<D> Exchange<'_, D> {
    fn info(&self) -> RequestInfo<'_> {
        RequestInfo {
            source: self.source,
            // Looked for only if somebody wants to know.
            asked: self
                .record
                .started_at
                .map(|_| record::request_fields(&self.request, self.destination.ok())),
            route: self.route.as_deref(),
        }
    }

    /// What a tunnel has to tell at its end.
    fn owned_info(&self) -> Option<OwnedRequestInfo> {
        OwnedRequestInfo::new(&self.info(), &self.record)
    }
}

/// However it ends: a connection may be dropped with all its exchanges.
impl<D> Drop for Exchange<'_, D> {
    fn drop(&mut self) {
        let received_bytes = self.received.passed;
        // The gateway's own answers have no meter.
        let sent_bytes = self.record.sent_bytes.max(self.sent.passed);
        let completion = match self.record.completion {
            Completion::Unfinished => Completion::Aborted(Abort::from_drop(self.worker.drain.phase())),
            completion => completion,
        };
        self.record = Record { received_bytes, sent_bytes, completion, ..self.record };
        self.worker.report(&self.info(), &self.record);
    }
}
