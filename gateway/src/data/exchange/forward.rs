//! The way to the endpoint and back: connection, request, answer, and what is left of either body.
//!
//! Not here: which route a request takes (`exchange`), how heads are written (`headers`).

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http1::{BodyLength, Head, HeadError, KnownName};
use routing::table::Backend;

use super::abort::Abort;
use super::dead_peer::DeadPeerProbe;
use super::headers::{self, Response};
use super::metered::Metered;
use super::reply_reason::ReplyReason;
use super::request_body::RequestBody;
use super::timeouts::Timeouts;
use super::{Downstream, Exchange, ExchangeOutcome, Failure, Tunnel, find_route, upgrade};
use crate::data::upstream::{
    ConnectError, Connection, PooledConnection, RetryState, UpstreamPolicy, effective_timeout,
};
use crate::data::wire::{BodyCopy, CopyError, StreamError};
use crate::settings::RequestIdEcho;

/// So many informational responses may come before the answer; each gives the endpoint its time anew.
const MAX_INFORMATIONAL_RESPONSES: u8 = 16;

/// Why an endpoint did not begin an answer.
enum AttemptError {
    /// The client's side failed.
    Downstream(StreamError),
    /// The client gave up.
    Cancelled(Abort),
    /// The endpoint's side failed.
    Upstream(StreamError),
    /// The endpoint's machine acknowledges nothing any more.
    PeerDead,
    /// The client's body stood still for too long.
    RequestBodyTimeout,
    /// The endpoint did not answer in time.
    FirstByteTimeout,
    /// The time for the whole request is over.
    RequestTimeout,
}

impl<D: Downstream> Exchange<'_, D> {
    pub(super) async fn forward(&mut self) -> Result<ExchangeOutcome, Failure> {
        let (host, path) = self.destination?;
        let route = self.route.insert(Arc::clone(find_route(&self.worker.live.load().table, host, path)?));
        if let Some(limit) = &route.policy.body_size {
            self.received.limit = limit.value;
        }
        if matches!(self.request.length, BodyLength::Exact(length) if length > self.received.limit) {
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
            let (endpoint, length) = (opened.address(), self.request.length);
            let up = &mut opened.connection;
            up.acquire_buffers(&self.worker.buffers);
            headers::write_request(up.output(), endpoint, (self.request.head, path), &self.source, length);
            up.start_sending_body(length);
            body.rewind();
            let failure = match self.await_response(&mut opened, (&mut body, &retry)).await {
                Ok((head, length)) => {
                    self.worker.upstreams.on_response(&opened);
                    if head.status() == 101 {
                        return self.switch(opened, &head).await;
                    }
                    return self.relay((opened, policy), body, (head, length)).await;
                }
                Err(failure) => failure,
            };
            if self.should_retry(&failure, &opened, (&mut retry, &body)) {
                continue;
            }
            return Err(self.failure(failure));
        }
    }

    /// Gets a connection within what is left of the request's time. A client that leaves meanwhile waits no more.
    async fn open(
        &mut self,
        backend: &Arc<Backend>,
        retry: &mut RetryState,
    ) -> Result<PooledConnection, Failure> {
        self.timer.set(effective_timeout(Duration::ZERO));
        let down = &mut *self.down;
        let mut opening = pin!(self.worker.upstreams.connect(backend, retry));
        let opened = self.timer.limit(std::future::poll_fn(|cx| {
            if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                return Poll::Ready(opened.map_err(|error| ReplyReason::Open(error).into()));
            }
            down.poll_cancelled(cx).map(|abort| Err(Failure::Abort(abort)))
        }));
        opened.await.map_err(|_ended| ReplyReason::RequestTimeout)?
    }

    /// Tells what the failure says of the endpoint, and whether another one is to be asked: not a byte of an answer
    /// may have come, and the request must bear being sent twice.
    fn should_retry(
        &self,
        failure: &AttemptError,
        opened: &PooledConnection,
        (retry, body): (&mut RetryState, &RequestBody),
    ) -> bool {
        let is_lost =
            matches!(failure, AttemptError::Upstream(StreamError::Disconnected(_)) | AttemptError::PeerDead)
                && !opened.connection.has_received();
        match failure {
            AttemptError::PeerDead => self.worker.upstreams.on_peer_dead(opened),
            // Most likely it closed the connection while that was idle, as it may.
            AttemptError::Upstream(_) if is_lost && opened.is_reused => {}
            AttemptError::Upstream(_) | AttemptError::FirstByteTimeout => {
                self.worker.upstreams.on_failure(opened)
            }
            AttemptError::Downstream(_)
            | AttemptError::Cancelled(_)
            | AttemptError::RequestBodyTimeout
            | AttemptError::RequestTimeout => {}
        }
        is_lost && !self.timer.is_total_elapsed() && retry.on_disconnect(opened, body.resend())
    }

    fn failure(&self, failure: AttemptError) -> Failure {
        match failure {
            AttemptError::RequestBodyTimeout | AttemptError::Downstream(StreamError::TooSlow) => {
                ReplyReason::BodyTimeout.into()
            }
            AttemptError::FirstByteTimeout => ReplyReason::FirstByteTimeout.into(),
            AttemptError::RequestTimeout => ReplyReason::RequestTimeout.into(),
            AttemptError::PeerDead => ReplyReason::UpstreamClosed.into(),
            AttemptError::Downstream(StreamError::Body(_)) => ReplyReason::MalformedBody.into(),
            AttemptError::Downstream(StreamError::TooLarge) => ReplyReason::BodyTooLarge.into(),
            AttemptError::Downstream(error) => Failure::Abort(Abort::from_downstream(&error)),
            AttemptError::Cancelled(abort) => Failure::Abort(abort),
            AttemptError::Upstream(error) => {
                tracing::debug!(error = %error, "endpoint failed before it answered");
                match error {
                    StreamError::Disconnected(_) => ReplyReason::UpstreamClosed.into(),
                    StreamError::UnsolicitedUpgrade => ReplyReason::UpstreamUnsolicitedUpgrade.into(),
                    _ => ReplyReason::UpstreamMalformed.into(),
                }
            }
        }
    }

    /// Sends the request and waits for the head of the answer, which may come before all is sent.
    async fn await_response(
        &mut self,
        opened: &mut PooledConnection,
        (body, retry): (&mut RequestBody, &RetryState),
    ) -> Result<(Head, BodyLength), AttemptError> {
        let Timeouts { stall, first_byte, .. } = self.timeouts;
        let mut probe = DeadPeerProbe::new(first_byte, retry, opened);
        let up = &mut opened.connection;
        self.timer.set(stall);
        let (down, timer, received) = (&mut *self.down, self.timer, &mut self.received);
        let request = self.request.head;
        let mut informational = 0;
        let answer = timer.limit(std::future::poll_fn(|cx| {
            if !body.is_sent() {
                let mut source = Metered { side: &mut *down, meter: &mut *received };
                match body.poll((&mut source, &mut *up), || timer.set(stall), cx) {
                    Poll::Ready(Err(CopyError::Read(error))) => {
                        return Poll::Ready(Err(AttemptError::Downstream(error)));
                    }
                    Poll::Ready(Ok(())) => probe.start(timer),
                    // An endpoint that stops reading may have answered already: its answer decides.
                    Poll::Ready(Err(CopyError::Write(_))) | Poll::Pending => {}
                }
            }
            let is_sent = body.is_sent();
            while let Poll::Ready(head) =
                poll_head(up, (request, is_sent), cx).map_err(AttemptError::Upstream)?
            {
                if !(100..=199).contains(&head.status()) || head.status() == 101 {
                    return Poll::Ready(Ok(head));
                }
                informational += 1;
                if informational > MAX_INFORMATIONAL_RESPONSES {
                    return Poll::Ready(Err(AttemptError::Upstream(
                        HeadError::Malformed("informational response").into(),
                    )));
                }
                probe.on_informational(timer);
                // The 100 answers an expectation, which was ours alone.
                if head.status() != 100 {
                    down.send_informational(&Response::from_endpoint(&head, BodyLength::Empty))
                        .map_err(AttemptError::Downstream)?;
                }
            }
            if informational > 0 {
                let _ = down.poll_flush(cx).map_err(AttemptError::Downstream)?;
            }
            if is_sent && probe.is_unresponsive(timer, up, body.resend()) {
                return Poll::Ready(Err(AttemptError::PeerDead));
            }
            down.poll_cancelled(cx).map(|abort| Err(AttemptError::Cancelled(abort)))
        }));
        let head = match answer.await {
            Ok(head) => head?,
            Err(_elapsed) if timer.is_total_elapsed() => return Err(AttemptError::RequestTimeout),
            // With bytes still waiting to be sent it is the endpoint that stands still, not the client.
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
        Ok((head, length))
    }

    /// Passes the answer on, and what is left of the request's body in the meantime.
    async fn relay(
        &mut self,
        (mut opened, policy): (PooledConnection, UpstreamPolicy),
        mut body: RequestBody,
        (head, length): (Head, BodyLength),
    ) -> Result<ExchangeOutcome, Failure> {
        let up = &mut opened.connection;
        up.start_receiving_body(length);
        self.record.on_response_head(head.status());
        let echoed = [("x-request-id", self.source.id.as_bytes())];
        let response = Response {
            date: self.worker.date.now(&self.worker.clock),
            extra: match self.worker.settings.responses.request_id {
                RequestIdEcho::Every => &echoed,
                RequestIdEcho::LocalReplies => &[],
            },
            is_head_request: self.request.head.method() == b"HEAD",
            ..Response::from_endpoint(&head, length)
        };
        self.down.send_head(&response).map_err(|error| Failure::Abort(Abort::from_downstream(&error)))?;
        let limit = self.timeouts.stall;
        self.timer.set(limit);
        body.release();
        let (down, timer) = (&mut *self.down, self.timer);
        let (received, sent) = (&mut self.received, &mut self.sent);
        let mut receiving = BodyCopy::default();
        let mut is_sending = !body.is_sent();
        let relayed = timer.limit(std::future::poll_fn(|cx| {
            if is_sending {
                let mut source = Metered { side: &mut *down, meter: &mut *received };
                // Whatever becomes of the request's rest: the answer is on its way and decides. But a side that
                // failed is not asked again: nothing behind a malformed chunk can be trusted.
                let moved = body.poll((&mut source, up), || timer.set(limit), cx);
                is_sending = moved.is_pending();
                if matches!(moved, Poll::Ready(Err(_))) {
                    down.discard_body();
                }
            }
            // An answer that is at hand is sent even if the client has closed its direction.
            let mut source = Metered { side: &mut *up, meter: &mut *sent };
            let moved = receiving.poll((&mut source, &mut *down), || timer.set(limit), cx);
            if let Poll::Ready(moved) = moved {
                return Poll::Ready(moved.map_err(|error| match error {
                    CopyError::Read(error) => Abort::from_upstream(&error),
                    CopyError::Write(error) => Abort::from_downstream(&error),
                }));
            }
            down.poll_cancelled(cx).map(Err)
        }));
        match relayed.await {
            Ok(Ok(())) => {}
            Ok(Err(abort)) => return Err(Failure::Abort(abort)),
            Err(_elapsed) if timer.is_total_elapsed() => return Err(Failure::Abort(Abort::RequestTimeout)),
            // Either nothing more came, or what came could not be handed on.
            Err(_elapsed) if receiving == BodyCopy::Flushing || !is_ready(self.down) => {
                return Err(Failure::Abort(Abort::ClientStalled));
            }
            Err(_elapsed) => return Err(Failure::Abort(Abort::UpstreamStalled)),
        }
        let is_complete = body.is_sent() && length != BodyLength::UntilClose;
        let stays_open = headers::is_keep_alive(&head) && !contradicts_itself(&head);
        let said = headers::keep_alive_timeout(&head);
        // The head shares the input buffer, which is to go back whole.
        drop(head);
        if is_complete && stays_open && !opened.connection.has_input() {
            opened.connection.release_buffers(&self.worker.buffers);
            self.worker.upstreams.release(opened, said, &policy);
        }
        Ok(ExchangeOutcome::Completed)
    }

    /// Tells the client that the endpoint has switched protocols. From here on their bytes are their own.
    async fn switch(&mut self, opened: PooledConnection, head: &Head) -> Result<ExchangeOutcome, Failure> {
        self.record.on_response_head(head.status());
        let gone = |error: &StreamError| Failure::Abort(Abort::from_downstream(error));
        self.down
            .send_head(&Response::from_endpoint(head, BodyLength::Empty))
            .map_err(|error| gone(&error))?;
        self.timer.set(self.timeouts.stall);
        match self.timer.limit(std::future::poll_fn(|cx| self.down.poll_flush(cx))).await {
            Ok(Ok(())) => Ok(ExchangeOutcome::Upgraded(Tunnel::new(
                opened,
                self.timeouts.tunnel_idle,
                (self.record, self.owned_info()),
            ))),
            Ok(Err(error)) => Err(gone(&error)),
            Err(_elapsed) => Err(Failure::Abort(Abort::ClientStalled)),
        }
    }
}

/// Whether the client's side would take another piece now.
fn is_ready<D: Downstream>(down: &mut D) -> bool {
    down.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Whether a head speaks of a body, where its status says that there is none.
fn declares_body(head: &Head) -> bool {
    head.get(KnownName::TransferEncoding).is_some()
        || head.get(KnownName::ContentLength).is_some_and(|length| length != b"0")
}

/// A 204 with a body: who sends one may send the body too, and it would be taken for the next answer.
fn contradicts_itself(head: &Head) -> bool {
    head.status() == 204 && declares_body(head)
}

/// Reads the next head, informational or final. A 101 has to answer the request, and the request has to be sent: the
/// client cannot have switched in the middle of it.
fn poll_head(
    up: &mut Connection,
    (request, is_sent): (&Head, bool),
    cx: &mut Context<'_>,
) -> Poll<Result<Head, StreamError>> {
    let Some(head) = std::task::ready!(up.poll_head(http1::parse::response, cx))? else {
        let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        return Poll::Ready(Err(error.into()));
    };
    Poll::Ready(match head.status() {
        100..=199 if declares_body(&head) => Err(HeadError::Malformed("informational response").into()),
        101 if !is_sent || !upgrade::is_accepted_by(&head, request) => Err(StreamError::UnsolicitedUpgrade),
        _ => Ok(head),
    })
}
