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
use super::headers::{self, Response};
use super::lookout::Lookout;
use super::metered::Metered;
use super::refusal::Refusal;
use super::sending::Sending;
use super::waits::Waits;
use super::{Downstream, Exchange, Failure, Served, Tunnel, route, upgrade};
use crate::data::upstream::{
    ConnectError, Connection, PooledConnection, RetryState, UpstreamPolicy, effective_timeout,
};
use crate::data::wire::{BodyCopy, CopyError, StreamError};
use crate::settings::RequestIdEcho;

/// So many interim responses may come before the answer; each gives the endpoint its time anew.
const MOST_INTERIM: u8 = 16;

/// Why an endpoint did not begin an answer.
enum Unanswered {
    /// The client's side failed.
    Downstream(StreamError),
    /// The client gave up.
    GivenUp(Abort),
    /// The endpoint's side failed.
    Upstream(StreamError),
    /// The endpoint's machine acknowledges nothing any more.
    Vanished,
    /// The client's body stood still for too long.
    BodyTimeout,
    /// The endpoint did not answer in time.
    FirstByteTimeout,
    /// The time for the whole request is over.
    RequestTimeout,
}

impl<D: Downstream> Exchange<'_, D> {
    pub(super) async fn forward(&mut self) -> Result<Served, Failure> {
        let (host, path) = self.destination?;
        let route = self.route.insert(Arc::clone(route(&self.worker.live.load().table, host, path)?));
        if let Some(limit) = &route.policy.body_size {
            self.received.limit = limit.value;
        }
        if matches!(self.request.length, BodyLength::Exact(length) if length > self.received.limit) {
            return Err(Refusal::BodyTooLarge.into());
        }
        let policy = UpstreamPolicy::new(&route.policy, &self.worker.settings);
        self.waits = Waits::of(&route.policy, &self.worker.settings);
        if let Some(span) = self.waits.request {
            self.timer.set_total_deadline(span);
        }
        let chosen = self.worker.upstreams.choose_backend(&route.backends).map(Arc::clone);
        let backend = chosen.ok_or(Refusal::Open(ConnectError::ServiceMissing))?;
        self.record.backend = Some(backend.id);
        let mut sending = Sending::begin(policy.allows_resend(self.request.head.method()));
        let mut retry = RetryState::new(policy, sending.prospect(self.request.length));
        loop {
            let opened = self.open(&backend, &mut retry).await;
            self.record.tried(&retry, opened.as_ref().ok());
            let mut opened = opened?;
            let (endpoint, length) = (opened.address(), self.request.length);
            let up = &mut opened.connection;
            up.acquire_buffers(&self.worker.buffers);
            headers::write_request(up.output(), endpoint, (self.request.head, path), &self.caller, length);
            up.start_sending_body(length);
            sending.rewind();
            let failure = match self.await_answer(&mut opened, (&mut sending, &retry)).await {
                Ok((head, length)) => {
                    self.worker.upstreams.on_response(&opened);
                    if head.status() == 101 {
                        return self.switch(opened, &head).await;
                    }
                    return self.relay((opened, policy), sending, (head, length)).await;
                }
                Err(failure) => failure,
            };
            if self.is_to_be_sent_again(&failure, &opened, (&mut retry, &sending)) {
                continue;
            }
            return Err(self.unanswered(failure));
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
                return Poll::Ready(opened.map_err(|error| Refusal::Open(error).into()));
            }
            down.poll_given_up(cx).map(|abort| Err(Failure::Aborted(abort)))
        }));
        opened.await.map_err(|_ended| Refusal::RequestTimeout)?
    }

    /// Tells what the failure says of the endpoint, and whether another one is to be asked: not a byte of an answer
    /// may have come, and the request must bear being sent twice.
    fn is_to_be_sent_again(
        &self,
        failure: &Unanswered,
        opened: &PooledConnection,
        (retry, sending): (&mut RetryState, &Sending),
    ) -> bool {
        let is_lost =
            matches!(failure, Unanswered::Upstream(StreamError::Disconnected(_)) | Unanswered::Vanished)
                && !opened.connection.has_received();
        match failure {
            Unanswered::Vanished => self.worker.upstreams.on_peer_dead(opened),
            // Most likely it closed the connection while that was idle, as it may.
            Unanswered::Upstream(_) if is_lost && opened.is_reused => {}
            Unanswered::Upstream(_) | Unanswered::FirstByteTimeout => {
                self.worker.upstreams.on_failure(opened)
            }
            Unanswered::Downstream(_)
            | Unanswered::GivenUp(_)
            | Unanswered::BodyTimeout
            | Unanswered::RequestTimeout => {}
        }
        is_lost && !self.timer.is_total_elapsed() && retry.on_disconnect(opened, sending.resend())
    }

    fn unanswered(&self, failure: Unanswered) -> Failure {
        match failure {
            Unanswered::BodyTimeout | Unanswered::Downstream(StreamError::TooSlow) => {
                Refusal::BodyTimeout.into()
            }
            Unanswered::FirstByteTimeout => Refusal::FirstByteTimeout.into(),
            Unanswered::RequestTimeout => Refusal::RequestTimeout.into(),
            Unanswered::Vanished => Refusal::UpstreamClosed.into(),
            Unanswered::Downstream(StreamError::Body(_)) => Refusal::Body.into(),
            Unanswered::Downstream(StreamError::TooLarge) => Refusal::BodyTooLarge.into(),
            Unanswered::Downstream(error) => Failure::Aborted(Abort::of_downstream(&error)),
            Unanswered::GivenUp(abort) => Failure::Aborted(abort),
            Unanswered::Upstream(error) => {
                tracing::debug!(error = %error, "endpoint failed before it answered");
                match error {
                    StreamError::Disconnected(_) => Refusal::UpstreamClosed.into(),
                    StreamError::UnsolicitedUpgrade => Refusal::UpstreamSwitched.into(),
                    _ => Refusal::UpstreamMalformed.into(),
                }
            }
        }
    }

    /// Sends the request and waits for the head of the answer, which may come before all is sent.
    async fn await_answer(
        &mut self,
        opened: &mut PooledConnection,
        (sending, retry): (&mut Sending, &RetryState),
    ) -> Result<(Head, BodyLength), Unanswered> {
        let Waits { stall, first_byte, .. } = self.waits;
        let mut lookout = Lookout::new(first_byte, retry, opened);
        let up = &mut opened.connection;
        self.timer.set(stall);
        let (down, timer, received) = (&mut *self.down, self.timer, &mut self.received);
        let request = self.request.head;
        let mut interim = 0;
        let answer = timer.limit(std::future::poll_fn(|cx| {
            if !sending.is_done() {
                let mut body = Metered { side: &mut *down, meter: &mut *received };
                match sending.poll((&mut body, &mut *up), || timer.set(stall), cx) {
                    Poll::Ready(Err(CopyError::Read(error))) => {
                        return Poll::Ready(Err(Unanswered::Downstream(error)));
                    }
                    Poll::Ready(Ok(())) => lookout.begin(timer),
                    // An endpoint that stops reading may have answered already: its answer decides.
                    Poll::Ready(Err(CopyError::Write(_))) | Poll::Pending => {}
                }
            }
            let is_sent = sending.is_done();
            while let Poll::Ready(head) =
                poll_head(up, (request, is_sent), cx).map_err(Unanswered::Upstream)?
            {
                if !(100..=199).contains(&head.status()) || head.status() == 101 {
                    return Poll::Ready(Ok(head));
                }
                interim += 1;
                if interim > MOST_INTERIM {
                    return Poll::Ready(Err(Unanswered::Upstream(
                        HeadError::Malformed("interim response").into(),
                    )));
                }
                lookout.interim(timer);
                // The 100 answers an expectation, which was ours alone.
                if head.status() != 100 {
                    down.inform(&Response::of(&head, BodyLength::Empty)).map_err(Unanswered::Downstream)?;
                }
            }
            if interim > 0 {
                let _ = down.poll_flush(cx).map_err(Unanswered::Downstream)?;
            }
            if is_sent && lookout.has_vanished(timer, up, sending.resend()) {
                return Poll::Ready(Err(Unanswered::Vanished));
            }
            down.poll_given_up(cx).map(|abort| Err(Unanswered::GivenUp(abort)))
        }));
        let head = match answer.await {
            Ok(head) => head?,
            Err(_elapsed) if timer.is_total_elapsed() => return Err(Unanswered::RequestTimeout),
            // With bytes still waiting to be sent it is the endpoint that stands still, not the client.
            Err(_elapsed) if sending.is_moving() && up.is_flushed() => return Err(Unanswered::BodyTimeout),
            Err(_elapsed) => return Err(Unanswered::FirstByteTimeout),
        };
        let length = BodyLength::from_response(&head, self.request.head.method())
            .map_err(|error| Unanswered::Upstream(error.into()))?;
        if headers::nominates_too_many(&head) {
            return Err(Unanswered::Upstream(HeadError::Malformed("connection").into()));
        }
        Ok((head, length))
    }

    /// Passes the answer on, and what is left of the request's body in the meantime.
    async fn relay(
        &mut self,
        (mut opened, policy): (PooledConnection, UpstreamPolicy),
        mut sending: Sending,
        (head, length): (Head, BodyLength),
    ) -> Result<Served, Failure> {
        let up = &mut opened.connection;
        up.start_receiving_body(length);
        self.record.answered(head.status());
        let echoed = [("x-request-id", self.caller.id.as_bytes())];
        let response = Response {
            date: self.worker.date.now(&self.worker.clock),
            added: match self.worker.settings.request_id_echo {
                RequestIdEcho::Every => &echoed,
                RequestIdEcho::OwnAnswers => &[],
            },
            answers_head: self.request.head.method() == b"HEAD",
            ..Response::of(&head, length)
        };
        self.down.respond(&response).map_err(|error| Failure::Aborted(Abort::of_downstream(&error)))?;
        let limit = self.waits.stall;
        self.timer.set(limit);
        sending.release();
        let (down, timer) = (&mut *self.down, self.timer);
        let (received, sent) = (&mut self.received, &mut self.sent);
        let mut receiving = BodyCopy::default();
        let mut is_sending = !sending.is_done();
        let relayed = timer.limit(std::future::poll_fn(|cx| {
            if is_sending {
                let mut body = Metered { side: &mut *down, meter: &mut *received };
                // Whatever becomes of the request's rest: the answer is on its way and decides. But a side that
                // failed is not asked again: nothing behind a malformed chunk can be trusted.
                let moved = sending.poll((&mut body, up), || timer.set(limit), cx);
                is_sending = moved.is_pending();
                if matches!(moved, Poll::Ready(Err(_))) {
                    down.ignore_body();
                }
            }
            // An answer that is at hand is sent even if the client has closed its direction.
            let mut body = Metered { side: &mut *up, meter: &mut *sent };
            let moved = receiving.poll((&mut body, &mut *down), || timer.set(limit), cx);
            if let Poll::Ready(moved) = moved {
                return Poll::Ready(moved.map_err(|error| match error {
                    CopyError::Read(error) => Abort::of_upstream(&error),
                    CopyError::Write(error) => Abort::of_downstream(&error),
                }));
            }
            down.poll_given_up(cx).map(Err)
        }));
        match relayed.await {
            Ok(Ok(())) => {}
            Ok(Err(abort)) => return Err(Failure::Aborted(abort)),
            Err(_elapsed) if timer.is_total_elapsed() => return Err(Failure::Aborted(Abort::RequestTimeout)),
            // Either nothing more came, or what came could not be handed on.
            Err(_elapsed) if receiving == BodyCopy::Flushing || !is_ready(self.down) => {
                return Err(Failure::Aborted(Abort::ClientStalled));
            }
            Err(_elapsed) => return Err(Failure::Aborted(Abort::UpstreamStalled)),
        }
        let is_complete = sending.is_done() && length != BodyLength::UntilClose;
        let stays_open = headers::keeps_alive(&head) && !contradicts_itself(&head);
        let said = headers::keep_alive_timeout(&head);
        // The head shares the input buffer, which is to go back whole.
        drop(head);
        if is_complete && stays_open && !opened.connection.has_input() {
            opened.connection.release_buffers(&self.worker.buffers);
            self.worker.upstreams.release(opened, said, &policy);
        }
        Ok(Served::Answered)
    }

    /// Tells the client that the endpoint has switched protocols. From here on their bytes are their own.
    async fn switch(&mut self, opened: PooledConnection, head: &Head) -> Result<Served, Failure> {
        self.record.answered(head.status());
        let gone = |error: &StreamError| Failure::Aborted(Abort::of_downstream(error));
        self.down.respond(&Response::of(head, BodyLength::Empty)).map_err(|error| gone(&error))?;
        self.timer.set(self.waits.stall);
        match self.timer.limit(std::future::poll_fn(|cx| self.down.poll_flush(cx))).await {
            Ok(Ok(())) => {
                Ok(Served::Switched(Tunnel::new(opened, self.waits.tunnel_idle, (self.record, self.kept()))))
            }
            Ok(Err(error)) => Err(gone(&error)),
            Err(_elapsed) => Err(Failure::Aborted(Abort::ClientStalled)),
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

/// Reads the next head, interim or final. A 101 has to answer the request, and the request has to be sent: the
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
        100..=199 if declares_body(&head) => Err(HeadError::Malformed("interim response").into()),
        101 if !is_sent || !upgrade::is_answer(&head, request) => Err(StreamError::UnsolicitedUpgrade),
        _ => Ok(head),
    })
}
