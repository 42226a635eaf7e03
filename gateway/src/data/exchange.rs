//! One exchange, from a request head to the end of its response, with one short function for each step.
//!
//! [`serve`] is the entry. HTTP/1.1 and HTTP/2 clients use it through the same [`Downstream`] trait. Not here:
//! reading request heads and reusing client connections (`listener`), endpoints and their connections (`upstream`).

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http1::BodyLength;
use routing::table::Route;

use crate::data::upstream::RetryState;
use crate::data::wire::clock::Timer;
use crate::filter::Progress;
use crate::message::LocalReply;
use crate::observe::counters::GaugeGuard;
use crate::plan::{Plan, effective_timeout};

pub mod abort;
mod admit;
mod attempt;
pub mod client;
mod connection_auth;
mod connection_options;
mod date;
mod dead_peer;
pub mod destination;
mod downstream;
mod filtered;
mod filters;
mod forwarded;
mod forwarded_header;
pub mod headers;
mod local_reply;
mod metered;
pub mod record;
mod relay;
mod replay;
pub mod reply_reason;
mod request_body;
pub mod request_id;
mod tunnel;
mod upgrade;
pub mod upstream_fault;
mod worker;

use abort::Abort;
pub use client::{Client, ConnectionInfo};
pub use date::DateCache;
use destination::Destination;
pub use destination::{HeadParts, check_method, find_route, parse_destination};
pub use downstream::{Downstream, ExchangeOutcome, Request};
use forwarded::RequestSource;
pub use local_reply::{InvalidRequest, send_local_reply};
pub use metered::BodyReadError;
use metered::Meter;
use record::{Completion, OwnedRequestInfo, Record, RequestInfo, request_fields};
use reply_reason::ReplyReason;
use request_body::RequestBody;
pub use tunnel::{Tunnel, TunnelEnd};
pub use worker::Worker;

/// Serves one request and reports it to the metrics and the access log.
///
/// # Cancellation
/// Cancels the upstream request and reports the exchange as aborted. The client may have part of a response, so its
/// connection or stream must end.
pub async fn serve<D: Downstream>(
    worker: &Worker,
    request: Request<'_>,
    down: &mut D,
    timer: &Timer,
) -> ExchangeOutcome {
    let _in_flight = GaugeGuard::increment(&worker.counters, |counters| &counters.requests_in_flight);
    let destination = parse_destination(request.head);
    let client = request.client;
    let address = client.address(request.head, &worker.settings.requests.trusted_proxies);
    let source = RequestSource {
        client,
        address,
        scheme: client.request_scheme(request.head, address),
        id: worker.request_ids.for_request(client, request.head),
    };
    let mut exchange = Exchange {
        worker,
        request,
        source,
        down,
        timer,
        destination: destination.as_ref().map_err(|reason| *reason),
        route: None,
        forwarded_length: request.length,
        received: Meter::default(),
        sent: Meter::default(),
        record: Record::new(Some(Instant::now())),
        filters: None,
    };
    let outcome = match exchange.forward().await {
        Ok(outcome) => {
            exchange.record.completion = match &outcome {
                ExchangeOutcome::Upgraded(_) => Completion::Upgraded,
                ExchangeOutcome::Completed
                | ExchangeOutcome::CompletedThenClose
                | ExchangeOutcome::Aborted => Completion::Forwarded,
            };
            outcome
        }
        Err(ExchangeError::Reply(reply)) => exchange.send_local_reply(*reply).await,
        Err(ExchangeError::Abort(abort)) => {
            exchange.record.completion = Completion::Aborted(abort);
            ExchangeOutcome::Aborted
        }
    };
    timer.clear();
    outcome
}

/// Waits for `future` within the request's total deadline, unless the client abandons the request. The request's body
/// stays unread.
async fn unless_cancelled<D: Downstream, F: Future>(
    down: &mut D,
    timer: &Timer,
    future: F,
) -> Result<F::Output, ExchangeError> {
    timer.set(effective_timeout(Duration::ZERO));
    let mut future = pin!(future);
    let waited = timer.limit(std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        down.poll_cancelled_unread(cx).map(|abort| Err(ExchangeError::Abort(abort)))
    }));
    waited.await.map_err(|_elapsed| ReplyReason::RequestTimeout)?
}

/// Why an exchange ends without the endpoint's whole response.
enum ExchangeError {
    /// The client has received nothing, so the gateway sends a local reply.
    Reply(Box<LocalReply>),
    /// The client has part of a response, or has disconnected.
    Abort(Abort),
}

impl From<ReplyReason> for ExchangeError {
    fn from(reason: ReplyReason) -> Self {
        Self::Reply(Box::new(reason.into()))
    }
}

/// State of one exchange.
struct Exchange<'a, D> {
    worker: &'a Worker,
    request: Request<'a>,
    source: RequestSource<'a>,
    down: &'a mut D,
    timer: &'a Timer,
    destination: Result<&'a Destination<'a>, ReplyReason>,
    route: Option<Arc<Route>>,
    /// Framing of the request's body for the endpoint.
    forwarded_length: BodyLength,
    /// The request's body, with the route's limit.
    received: Meter,
    /// The body of the endpoint's response.
    sent: Meter,
    record: Record,
    /// Filters that the request has reached; `None` without filters, and once the response is relayed.
    filters: Option<Box<Progress>>,
}

impl<D: Downstream> Exchange<'_, D> {
    /// Admits the request, filters it, sends it to an endpoint, and relays the response.
    async fn forward(&mut self) -> Result<ExchangeOutcome, ExchangeError> {
        let plan = self.admit()?;
        self.filter_request(&plan).await?;
        if matches!(self.request.length, BodyLength::Exact(length) if length > plan.body_limit) {
            return Err(ReplyReason::BodyTooLarge.into());
        }
        self.send(&plan).await
    }

    /// Sends the request to an endpoint, and to others while a retry can help, and relays the response.
    async fn send(&mut self, plan: &Plan) -> Result<ExchangeOutcome, ExchangeError> {
        let backends = self.route.as_ref().map(|route| &*route.backends).unwrap_or_default();
        let chosen = self.worker.upstreams.choose_backend(backends).map(Arc::clone);
        let backend = chosen.ok_or(ReplyReason::NoBackend)?;
        self.record.backend_id = Some(backend.id);
        let mut body = RequestBody::new(plan.upstream.allows_resend(self.request.head.method()));
        let mut retry = RetryState::new(plan.upstream, body.expected_resend(self.forwarded_length))
            .for_client(self.source.address.into(), upgrade::is_requested(self.request.head));
        loop {
            let opened = self.open(&backend, &mut retry).await;
            self.record.on_attempt(&retry, opened.as_ref().ok());
            let mut opened = opened?;
            self.start_request(&mut opened);
            body.rewind();
            if !retry.can_retry_disconnect(&opened) {
                body.release();
            }
            let error = match self.await_response(&mut opened, &mut body, &retry, &plan.timeouts).await {
                Ok(response) => {
                    self.worker.upstreams.on_response(&opened);
                    if response.head.status() == 101 {
                        return self.switch(opened, body, (&response.head, plan)).await;
                    }
                    return self.relay(opened, plan, body, response).await;
                }
                Err(error) => error,
            };
            if !self.should_retry(&error, &opened, &mut retry, &body) {
                return Err(error.into());
            }
        }
    }
}

impl<D> Exchange<'_, D> {
    /// Returns what is reported of the request. Without an access log the head is not inspected.
    fn info(&self) -> RequestInfo<'_> {
        let is_logged = self.record.started_at.is_some();
        let fields = || request_fields(self.request.client, self.request.head, self.destination.ok());
        RequestInfo { source: self.source, request: is_logged.then(fields), route: self.route.as_deref() }
    }

    /// Returns a copy of what is reported when a tunnel ends; `None` if nothing is logged.
    fn owned_info(&self) -> Option<OwnedRequestInfo> {
        OwnedRequestInfo::new(&self.info(), &self.record)
    }
}

/// Reports the exchange, also if its future is cancelled.
impl<D> Drop for Exchange<'_, D> {
    fn drop(&mut self) {
        self.record.received_bytes = self.received.bytes;
        // The body of a local reply has no meter.
        self.record.sent_bytes = self.record.sent_bytes.max(self.sent.bytes);
        self.record.completion = self.record.completion.dropped(self.worker.drain.phase());
        self.worker.report(&self.info(), &self.record);
    }
}
