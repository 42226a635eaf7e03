//! One attempt at one endpoint: connection, request, and the head of the response.
//!
//! Not here: the decision which endpoint is next (`upstream`), and what follows the response's head (`relay`).

use std::sync::Arc;
use std::task::{Context, Poll};

use http1::{BodyError, BodyLength, FramingError, Head, HeadError, KnownName};
use routing::table::Backend;

use super::abort::Abort;
use super::connection_options::has_too_many_connection_options;
use super::dead_peer::DeadPeerProbe;
use super::downstream::Downstream;
use super::filtered::Filtered;
use super::headers::{self, DownstreamResponse, UpstreamRequest};
use super::metered::{BodyReadError, Metered};
use super::reply_reason::ReplyReason;
use super::request_body::RequestBody;
use super::{Exchange, ExchangeError, unless_cancelled, upgrade};
use crate::data::upstream::{PooledConnection, RetryState, Stream};
use crate::data::wire::{CopyError, StreamError};
use crate::filter::Direction;
use crate::plan::Timeouts;

/// Maximum informational responses before a response; more make it malformed. Each restarts the first-byte timeout.
const MAX_INFORMATIONAL_RESPONSES: u8 = 16;

/// Why an attempt ended without the head of a response.
pub(super) enum AttemptError {
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
pub(super) struct UpstreamResponse {
    pub(super) head: Head,
    pub(super) length: BodyLength,
}

impl<D: Downstream> Exchange<'_, D> {
    /// Returns the connection that belongs to the client, or connects within the rest of the request's time, unless the
    /// client abandons the request.
    pub(super) async fn open(
        &mut self,
        backend: &Arc<Backend>,
        retry: &mut RetryState,
    ) -> Result<PooledConnection, ExchangeError> {
        if let Some(opened) = self.request.client.take_bound(backend) {
            return Ok(opened);
        }
        let opening = self.worker.upstreams.connect(backend, retry);
        let opened = unless_cancelled(&mut *self.down, self.timer, opening).await?;
        opened.map_err(|error| ReplyReason::Open(error).into())
    }

    /// Writes the request's head into the output buffer of a connection.
    pub(super) fn start_request(&self, opened: &mut PooledConnection) {
        let Ok(destination) = self.destination else { return };
        let endpoint = opened.address();
        let request = UpstreamRequest {
            head: self.request.head,
            destination,
            source: &self.source,
            patch: self.request_patch(),
            length: self.forwarded_length,
        };
        let up = &mut opened.stream;
        up.acquire_buffers(&self.worker.buffers);
        up.send_head(request.length, |out| headers::write_request(out, endpoint, &request));
    }

    /// Reports the failure to the endpoint's health, and returns true if the request is sent to another endpoint. That
    /// needs a connection that was lost before a byte of the response, and a request that can be sent twice.
    pub(super) fn should_retry(
        &self,
        error: &AttemptError,
        opened: &PooledConnection,
        retry: &mut RetryState,
        body: &RequestBody,
    ) -> bool {
        let is_lost =
            matches!(error, AttemptError::Upstream(StreamError::Disconnected(_)) | AttemptError::PeerDead)
                && !opened.stream.has_received();
        match error {
            AttemptError::PeerDead => self.worker.upstreams.on_peer_dead(opened),
            // Most likely the endpoint closed the connection while it was idle, which is no fault.
            AttemptError::Upstream(_) if is_lost && opened.is_reused => {}
            // Obsolete, and rejected for what it could hide, but the endpoint works.
            AttemptError::Upstream(
                StreamError::Head(HeadError::FoldedField)
                | StreamError::Framing(FramingError::RepeatedLength),
            ) => {}
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
    pub(super) async fn await_response(
        &mut self,
        opened: &mut PooledConnection,
        body: &mut RequestBody,
        retry: &RetryState,
        timeouts: &Timeouts,
    ) -> Result<UpstreamResponse, AttemptError> {
        let Timeouts { stall, first_byte, .. } = *timeouts;
        let mut probe = DeadPeerProbe::new(first_byte, retry, opened);
        let up = &mut opened.stream;
        self.timer.set(stall);
        let (down, timer, received) = (&mut *self.down, self.timer, &mut self.received);
        let mut filters = self.filters.as_deref_mut();
        let (request, mut informational_count) = (self.request.head, 0);
        let response = timer.limit(std::future::poll_fn(|cx| {
            if !body.is_sent() {
                let metered = Metered { source: &mut *down, meter: &mut *received };
                let direction = Direction::Request;
                let mut source = Filtered { source: metered, filters: filters.as_deref_mut(), direction };
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
                    let response = DownstreamResponse::from_endpoint(&head, BodyLength::Empty);
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
        if has_too_many_connection_options(&head) {
            return Err(AttemptError::Upstream(HeadError::Malformed("connection").into()));
        }
        Ok(UpstreamResponse { head, length })
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
            // A body that ends early is that of a client that has left.
            AttemptError::RequestBody(BodyReadError::Stream(StreamError::Body(error)))
                if error != BodyError::Truncated =>
            {
                ReplyReason::MalformedBody.into()
            }
            AttemptError::RequestBody(BodyReadError::TooLarge) => ReplyReason::BodyTooLarge.into(),
            AttemptError::RequestBody(BodyReadError::Refused(reply)) => Self::Reply(reply),
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

/// Returns true if a head declares a body.
pub(super) fn declares_body(head: &Head) -> bool {
    head.get(KnownName::TransferEncoding).is_some()
        || head.get(KnownName::ContentLength).is_some_and(|length| length != b"0")
}

/// Reads the next head, informational ones included. A 101 must accept the request's upgrade, and must follow the whole
/// request: the client cannot switch protocols in the middle of it.
fn poll_head(
    up: &mut Stream,
    request: &Head,
    is_sent: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<Head, AttemptError>> {
    let head = std::task::ready!(up.poll_head(cx)).map_err(AttemptError::Upstream)?;
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
