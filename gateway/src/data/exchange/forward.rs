//! The steps to the endpoint and back: connection, request, response, and the rest of both bodies.
//!
//! Not here: finding the route (`destination`), writing heads (`headers`).

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http1::{BodyLength, Head, HeadError, KnownName};
use routing::table::Backend;

use super::abort::Abort;
use super::dead_peer::DeadPeerProbe;
use super::destination::find_route;
use super::downstream::{Downstream, ExchangeOutcome};
use super::headers::{self, ResponseHead, UpstreamRequest};
use super::metered::{BodyReadError, Metered};
use super::reply_reason::ReplyReason;
use super::request_body::RequestBody;
use super::timeouts::Timeouts;
use super::tunnel::{Tunnel, TunnelLogEntry};
use super::{Exchange, ExchangeError, upgrade};
use crate::data::upstream::{
    ConnectError, Connection, PooledConnection, RetryState, UpstreamPolicy, effective_timeout,
};
use crate::data::wire::{BodyCopy, CopyError, StreamError};
use crate::settings::RequestIdEcho;

/// Maximum informational responses before a response; more make it malformed. Each restarts the first-byte timeout.
const MAX_INFORMATIONAL_RESPONSES: u8 = 16;

/// Why an attempt ended without the head of a response.
enum AttemptError {
    /// The client's side failed.
    Downstream(StreamError),
    /// The client's body cannot be read.
    RequestBody(BodyReadError),
    /// The client abandoned the request.
    Cancelled(Abort),
    /// The endpoint's side failed.
    Upstream(StreamError),
    /// The endpoint sent a 101 for a protocol that the request did not name, or before the request was complete.
    UnsolicitedUpgrade,
    /// The endpoint's machine acknowledges no packets.
    PeerDead,
    /// No byte of the client's body arrived within the stall timeout.
    RequestBodyTimeout,
    /// The response did not begin in time.
    FirstByteTimeout,
    /// The timeout for the whole request elapsed.
    RequestTimeout,
}

/// Head of an endpoint's response, and the framing of its body.
struct UpstreamResponse {
    head: Head,
    length: BodyLength,
}

impl<D: Downstream> Exchange<'_, D> {
    /// Finds the route, sends the request to an endpoint, and relays the response.
    pub(super) async fn forward(&mut self) -> Result<ExchangeOutcome, ExchangeError> {
        let destination = self.destination?;
        let (host, path) = (&*destination.host, &*destination.path);
        let route = self.route.insert(Arc::clone(find_route(&self.worker.live.load().table, host, path)?));
        if let Some(limit) = &route.policy.body_size {
            self.received.max_bytes = limit.value;
        }
        if matches!(self.request.length, BodyLength::Exact(length) if length > self.received.max_bytes) {
            return Err(ReplyReason::BodyTooLarge.into());
        }
        let policy = UpstreamPolicy::new(&route.policy, &self.worker.settings);
        self.timeouts = Timeouts::for_route(&route.policy, &self.worker.settings);
        if let Some(span) = self.timeouts.request {
            self.timer.set_total_deadline(span);
        }
        let chosen = self.worker.upstreams.choose_backend(&route.backends).map(Arc::clone);
        let backend = chosen.ok_or(ReplyReason::Open(ConnectError::ServiceMissing))?;
        self.record.backend_id = Some(backend.id);
        let mut body = RequestBody::new(policy.allows_resend(self.request.head.method()));
        let mut retry = RetryState::new(policy, body.expected_resend(self.request.length));
        loop {
            let opened = self.open(&backend, &mut retry).await;
            self.record.on_attempt(&retry, opened.as_ref().ok());
            let mut opened = opened?;
            self.start_request(&mut opened, path);
            body.rewind();
            let error = match self.await_response(&mut opened, &mut body, &retry).await {
                Ok(response) => {
                    self.worker.upstreams.on_response(&opened);
                    if response.head.status() == 101 {
                        return self.switch(opened, &response.head).await;
                    }
                    return self.relay(opened, policy, body, response).await;
                }
                Err(error) => error,
            };
            if !self.should_retry(&error, &opened, &mut retry, &body) {
                return Err(error.into());
            }
        }
    }

    /// Connects within the rest of the request's time, unless the client abandons the request.
    async fn open(
        &mut self,
        backend: &Arc<Backend>,
        retry: &mut RetryState,
    ) -> Result<PooledConnection, ExchangeError> {
        self.timer.set(effective_timeout(Duration::ZERO));
        let down = &mut *self.down;
        let mut opening = pin!(self.worker.upstreams.connect(backend, retry));
        let opened = self.timer.limit(std::future::poll_fn(|cx| {
            if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                return Poll::Ready(opened.map_err(|error| ReplyReason::Open(error).into()));
            }
            down.poll_cancelled(cx).map(|abort| Err(ExchangeError::Abort(abort)))
        }));
        opened.await.map_err(|_elapsed| ReplyReason::RequestTimeout)?
    }

    /// Writes the request's head into the output buffer of a connection.
    fn start_request(&self, opened: &mut PooledConnection, path: &str) {
        let endpoint = opened.address();
        let up = &mut opened.connection;
        up.acquire_buffers(&self.worker.buffers);
        let (head, length) = (self.request.head, self.request.length);
        let request = UpstreamRequest { head, path, source: &self.source, length };
        headers::write_request(up.output(), endpoint, &request);
        up.start_sending_body(length);
    }

    /// Reports the failure to the endpoint's health, and returns true if the request is sent to another endpoint. That
    /// needs a connection that was lost before a byte of the response, and a request that can be sent twice.
    fn should_retry(
        &self,
        error: &AttemptError,
        opened: &PooledConnection,
        retry: &mut RetryState,
        body: &RequestBody,
    ) -> bool {
        let is_lost =
            matches!(error, AttemptError::Upstream(StreamError::Disconnected(_)) | AttemptError::PeerDead)
                && !opened.connection.has_received();
        match error {
            AttemptError::PeerDead => self.worker.upstreams.on_peer_dead(opened),
            // Most likely the endpoint closed the connection while it was idle, which is no fault.
            AttemptError::Upstream(_) if is_lost && opened.is_reused => {}
            AttemptError::Upstream(_) | AttemptError::UnsolicitedUpgrade | AttemptError::FirstByteTimeout => {
                self.worker.upstreams.on_failure(opened);
            }
            AttemptError::Downstream(_)
            | AttemptError::RequestBody(_)
            | AttemptError::Cancelled(_)
            | AttemptError::RequestBodyTimeout
            | AttemptError::RequestTimeout => {}
        }
        is_lost && !self.timer.is_total_elapsed() && retry.on_disconnect(opened, body.resend())
    }

    /// Sends the request and waits for the head of the response, which may come before the whole request is sent.
    async fn await_response(
        &mut self,
        opened: &mut PooledConnection,
        body: &mut RequestBody,
        retry: &RetryState,
    ) -> Result<UpstreamResponse, AttemptError> {
        let Timeouts { stall, first_byte, .. } = self.timeouts;
        let mut probe = DeadPeerProbe::new(first_byte, retry, opened);
        let up = &mut opened.connection;
        self.timer.set(stall);
        let (down, timer, received) = (&mut *self.down, self.timer, &mut self.received);
        let request = self.request.head;
        let mut informational_count = 0;
        let response = timer.limit(std::future::poll_fn(|cx| {
            if !body.is_sent() {
                let mut source = Metered { source: &mut *down, meter: &mut *received };
                match body.poll(&mut source, up, || timer.set(stall), cx) {
                    Poll::Ready(Err(CopyError::Read(error))) => {
                        return Poll::Ready(Err(AttemptError::RequestBody(error)));
                    }
                    Poll::Ready(Ok(())) => probe.start(timer),
                    // An endpoint that stops reading may have responded already: that response counts.
                    Poll::Ready(Err(CopyError::Write(_))) | Poll::Pending => {}
                }
            }
            let is_sent = body.is_sent();
            while let Poll::Ready(head) = poll_head(up, request, is_sent, cx)? {
                if !(100..=199).contains(&head.status()) || head.status() == 101 {
                    return Poll::Ready(Ok(head));
                }
                informational_count += 1;
                if informational_count > MAX_INFORMATIONAL_RESPONSES {
                    let error = HeadError::Malformed("too many informational responses");
                    return Poll::Ready(Err(AttemptError::Upstream(error.into())));
                }
                probe.on_informational(timer);
                // A 100 responds to the gateway: it never forwards the client's Expect.
                if head.status() != 100 {
                    let response = ResponseHead::from_endpoint(&head, BodyLength::Empty);
                    down.send_informational(&response).map_err(AttemptError::Downstream)?;
                }
            }
            if informational_count > 0 {
                let _ = down.poll_flush(cx).map_err(AttemptError::Downstream)?;
            }
            if is_sent && probe.is_unresponsive(timer, up, body.resend()) {
                return Poll::Ready(Err(AttemptError::PeerDead));
            }
            down.poll_cancelled(cx).map(|abort| Err(AttemptError::Cancelled(abort)))
        }));
        let head = match response.await {
            Ok(head) => head?,
            Err(_elapsed) if timer.is_total_elapsed() => return Err(AttemptError::RequestTimeout),
            // If bytes still wait to be sent, the endpoint does not read them. The client is not to blame.
            Err(_elapsed) if body.is_receiving() && up.is_flushed() => {
                return Err(AttemptError::RequestBodyTimeout);
            }
            Err(_elapsed) => return Err(AttemptError::FirstByteTimeout),
        };
        let length = BodyLength::from_response(&head, self.request.head.method())
            .map_err(|error| AttemptError::Upstream(error.into()))?;
        if headers::has_too_many_connection_options(&head) {
            return Err(AttemptError::Upstream(HeadError::Malformed("connection").into()));
        }
        Ok(UpstreamResponse { head, length })
    }

    /// Relays the response to the client, and meanwhile the rest of the request's body to the endpoint. Then returns
    /// the connection to the pool if it can be reused.
    async fn relay(
        &mut self,
        mut opened: PooledConnection,
        policy: UpstreamPolicy,
        mut body: RequestBody,
        response: UpstreamResponse,
    ) -> Result<ExchangeOutcome, ExchangeError> {
        opened.connection.start_receiving_body(response.length);
        self.start_response(&response)?;
        body.release();
        self.relay_bodies(&mut opened.connection, &mut body).await.map_err(ExchangeError::Abort)?;
        let UpstreamResponse { head, length } = response;
        let is_complete = body.is_sent() && length != BodyLength::UntilClose;
        let stays_open = headers::is_keep_alive(&head) && !has_forbidden_body(&head);
        let keep_alive = headers::keep_alive_timeout(&head);
        // The head shares the input buffer, which the pool takes back only unshared.
        drop(head);
        if is_complete && stays_open && !opened.connection.has_input() {
            opened.connection.release_buffers(&self.worker.buffers);
            self.worker.upstreams.release(opened, keep_alive, &policy);
        }
        Ok(ExchangeOutcome::Completed)
    }

    /// Writes the head of the response for the client.
    fn start_response(&mut self, response: &UpstreamResponse) -> Result<(), ExchangeError> {
        self.record.on_response_head(response.head.status());
        let request_id = [("x-request-id", self.source.id.as_bytes())];
        let response = ResponseHead {
            date: self.worker.date.now(&self.worker.clock),
            extra: match self.worker.settings.responses.request_id {
                RequestIdEcho::Every => &request_id,
                RequestIdEcho::LocalReplies => &[],
            },
            is_head_request: self.request.head.method() == b"HEAD",
            ..ResponseHead::from_endpoint(&response.head, response.length)
        };
        self.down.send_head(&response).map_err(|error| ExchangeError::Abort(Abort::from_downstream(&error)))
    }

    /// Copies the response's body, and meanwhile the rest of the request's body.
    async fn relay_bodies(&mut self, up: &mut Connection, body: &mut RequestBody) -> Result<(), Abort> {
        let stall = self.timeouts.stall;
        self.timer.set(stall);
        let (down, timer) = (&mut *self.down, self.timer);
        let (received, sent) = (&mut self.received, &mut self.sent);
        let mut response_body = BodyCopy::default();
        let mut is_sending = !body.is_sent();
        let relayed = timer.limit(std::future::poll_fn(|cx| {
            if is_sending {
                let mut source = Metered { source: &mut *down, meter: &mut *received };
                // A failure of the request's body does not fail the exchange, since the response has begun. But nothing
                // after a malformed chunk can be trusted, so the body is not polled again.
                let copied = body.poll(&mut source, up, || timer.set(stall), cx);
                is_sending = copied.is_pending();
                if matches!(copied, Poll::Ready(Err(_))) {
                    down.discard_body();
                }
            }
            // Available bytes are sent even if the client has closed its direction.
            let mut source = Metered { source: &mut *up, meter: &mut *sent };
            let copied = response_body.poll(&mut source, &mut *down, || timer.set(stall), cx);
            if let Poll::Ready(copied) = copied {
                return Poll::Ready(copied.map_err(|error| match error {
                    CopyError::Read(error) => Abort::from_response_body(&error),
                    CopyError::Write(error) => Abort::from_downstream(&error),
                }));
            }
            down.poll_cancelled(cx).map(Err)
        }));
        match relayed.await {
            Ok(relayed) => relayed,
            Err(_elapsed) if timer.is_total_elapsed() => Err(Abort::RequestTimeout),
            Err(_elapsed) if response_body == BodyCopy::Flushing || !is_ready(self.down) => {
                Err(Abort::ClientStalled)
            }
            Err(_elapsed) => Err(Abort::UpstreamStalled),
        }
    }

    /// Sends the 101 to the client. All later bytes belong to the new protocol.
    async fn switch(
        &mut self,
        opened: PooledConnection,
        head: &Head,
    ) -> Result<ExchangeOutcome, ExchangeError> {
        self.record.on_response_head(head.status());
        let failed = |error: &StreamError| ExchangeError::Abort(Abort::from_downstream(error));
        let response = ResponseHead::from_endpoint(head, BodyLength::Empty);
        self.down.send_head(&response).map_err(|error| failed(&error))?;
        self.timer.set(self.timeouts.stall);
        match self.timer.limit(std::future::poll_fn(|cx| self.down.poll_flush(cx))).await {
            Ok(Ok(())) => {
                let record = self.record;
                let log_entry = self.owned_info().map(|info| TunnelLogEntry { info, record });
                let tunnel = Tunnel::new(opened, self.timeouts.tunnel_idle, log_entry);
                Ok(ExchangeOutcome::Upgraded(tunnel))
            }
            Ok(Err(error)) => Err(failed(&error)),
            Err(_elapsed) => Err(ExchangeError::Abort(Abort::ClientStalled)),
        }
    }
}

impl From<AttemptError> for ExchangeError {
    /// Maps the failure of the last attempt.
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::RequestBodyTimeout | AttemptError::RequestBody(BodyReadError::TooSlow) => {
                ReplyReason::BodyTimeout.into()
            }
            AttemptError::FirstByteTimeout => ReplyReason::FirstByteTimeout.into(),
            AttemptError::RequestTimeout => ReplyReason::RequestTimeout.into(),
            AttemptError::PeerDead => ReplyReason::UpstreamClosed.into(),
            AttemptError::RequestBody(BodyReadError::Stream(StreamError::Body(_))) => {
                ReplyReason::MalformedBody.into()
            }
            AttemptError::RequestBody(BodyReadError::TooLarge) => ReplyReason::BodyTooLarge.into(),
            AttemptError::RequestBody(BodyReadError::Stream(error)) | AttemptError::Downstream(error) => {
                Self::Abort(Abort::from_downstream(&error))
            }
            AttemptError::Cancelled(abort) => Self::Abort(abort),
            AttemptError::UnsolicitedUpgrade => {
                tracing::debug!("endpoint switched protocols without a request for it");
                ReplyReason::UpstreamUnsolicitedUpgrade.into()
            }
            AttemptError::Upstream(error) => {
                tracing::debug!(%error, "endpoint failed before its response");
                match error {
                    StreamError::Disconnected(_) => ReplyReason::UpstreamClosed.into(),
                    StreamError::Body(_)
                    | StreamError::Head(_)
                    | StreamError::Framing(_)
                    | StreamError::LengthMismatch
                    | StreamError::H2(_) => ReplyReason::UpstreamMalformed.into(),
                }
            }
        }
    }
}

/// Returns true if the client's side accepts another piece now.
fn is_ready<D: Downstream>(down: &mut D) -> bool {
    down.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Returns true if a head declares a body.
fn declares_body(head: &Head) -> bool {
    head.get(KnownName::TransferEncoding).is_some()
        || head.get(KnownName::ContentLength).is_some_and(|length| length != b"0")
}

/// Returns true for a 204 that declares a body. If the endpoint sends that body, it would be read as the next response.
fn has_forbidden_body(head: &Head) -> bool {
    head.status() == 204 && declares_body(head)
}

/// Reads the next head, informational ones included. A 101 must accept the request's upgrade, and must follow the whole
/// request: the client cannot switch protocols in the middle of it.
fn poll_head(
    up: &mut Connection,
    request: &Head,
    is_sent: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<Head, AttemptError>> {
    let head = std::task::ready!(up.poll_head(http1::parse::response, cx)).map_err(AttemptError::Upstream)?;
    let Some(head) = head else {
        let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        return Poll::Ready(Err(AttemptError::Upstream(error.into())));
    };
    Poll::Ready(match head.status() {
        100..=199 if declares_body(&head) => {
            Err(AttemptError::Upstream(HeadError::Malformed("informational response").into()))
        }
        101 if !is_sent || !upgrade::is_accepted_by(&head, request) => Err(AttemptError::UnsolicitedUpgrade),
        _ => Ok(head),
    })
}
