//! The way to the endpoint and back: connection, request, answer, and what is left of either body.
//!
//! Not here: which route a request takes (`exchange`), how heads are written (`headers`).

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http1::{BodyLength, Head, Known};

use super::abort::Abort;
use super::headers::{self, Response};
use super::metered::Metered;
use super::refusal::Refusal;
use super::{Downstream, Exchange, Failure, Request, admit};
use crate::upstream::{Connection, OpenError, Opened, Reuse};
use crate::wire::{Pump, PumpError, StreamError};

/// Why an endpoint did not begin an answer.
enum Unanswered {
    /// The client's side failed.
    Downstream(StreamError),
    /// The client gave up this request alone.
    GivenUp,
    /// The endpoint's side failed.
    Upstream(StreamError),
    /// The client's body stood still for too long.
    BodyTimeout,
    /// The endpoint did not answer in time.
    FirstByteTimeout,
}

impl<D: Downstream> Exchange<'_, D> {
    pub(super) async fn forward(&mut self) -> Result<(), Failure> {
        let (host, path) = self.destination?;
        let route = self.route.insert(admit(self.worker, host, path)?);
        if let Some(limit) = &route.policy.body_size {
            self.received.limit = limit.value;
        }
        if matches!(self.request.length, BodyLength::Exact(length) if length > self.received.limit) {
            return Err(Refusal::BodyTooLarge.into());
        }
        let chosen = self.worker.upstreams.choose(&route.backends).map(Arc::clone);
        let backend = chosen.ok_or(Refusal::Open(OpenError::ServiceMissing))?;
        let mut reuse = self.request.reuse();
        loop {
            let mut opened = self.worker.upstreams.open(&backend, reuse).await.map_err(Refusal::Open)?;
            self.record.tried(opened.address, opened.is_reused);
            let up = &mut opened.connection;
            up.lend(&self.worker.buffers);
            headers::write_request(
                up.output(),
                (self.request.head, path),
                self.request.client,
                self.request.length,
            );
            up.send_body(self.request.length);
            let mut sending = Pump::default();
            let failure = match self.await_answer(up, &mut sending).await {
                Ok(answer) => return self.relay(opened, sending, answer).await,
                Err(failure) => failure,
            };
            // Lost on a connection that may have been closed before it was used, and not a byte came back.
            let is_lost = matches!(failure, Unanswered::Upstream(StreamError::Lost(_)));
            if is_lost && opened.is_reused && !up.has_received() && reuse == Reuse::Any {
                reuse = Reuse::Never;
                continue;
            }
            return Err(self.unanswered(failure));
        }
    }

    fn unanswered(&self, failure: Unanswered) -> Failure {
        match failure {
            Unanswered::BodyTimeout => Refusal::BodyTimeout.into(),
            Unanswered::FirstByteTimeout => Refusal::FirstByteTimeout.into(),
            Unanswered::Downstream(StreamError::Body(_)) => Refusal::Body.into(),
            Unanswered::Downstream(StreamError::TooLarge) => Refusal::BodyTooLarge.into(),
            Unanswered::Downstream(error) => Failure::Aborted(Abort::of_downstream(&error)),
            Unanswered::GivenUp => Failure::Aborted(Abort::ClientReset),
            Unanswered::Upstream(error) => {
                tracing::debug!(error = %error, "endpoint failed before it answered");
                match error {
                    StreamError::Lost(_) => Refusal::UpstreamClosed.into(),
                    _ => Refusal::UpstreamMalformed.into(),
                }
            }
        }
    }

    /// Sends the request and waits for the head of the answer, which may come before all is sent.
    async fn await_answer(
        &mut self,
        up: &mut Connection,
        sending: &mut Pump,
    ) -> Result<(Head, BodyLength), Unanswered> {
        let limit = self.worker.settings.first_byte;
        self.timer.set(limit);
        let (down, timer, received) = (&mut *self.down, self.timer, &mut self.received);
        let answer = timer.limit(std::future::poll_fn(|cx| {
            let mut body = Metered { side: &mut *down, meter: &mut *received };
            match sending.poll((&mut body, up), || timer.set(limit), cx) {
                Poll::Ready(Err(PumpError::Read(error))) => {
                    return Poll::Ready(Err(Unanswered::Downstream(error)));
                }
                // An endpoint that stops reading may have answered already: its answer decides.
                Poll::Ready(Ok(()) | Err(PumpError::Write(_))) | Poll::Pending => {}
            }
            if down.poll_given_up(cx).is_ready() {
                return Poll::Ready(Err(Unanswered::GivenUp));
            }
            poll_final_head(up, cx).map_err(Unanswered::Upstream)
        }));
        let head = match answer.await {
            Ok(head) => head?,
            // With bytes still waiting to be sent it is the endpoint that stands still, not the client.
            Err(_elapsed) if *sending == Pump::Moving && up.is_sent() => return Err(Unanswered::BodyTimeout),
            Err(_elapsed) => return Err(Unanswered::FirstByteTimeout),
        };
        let length = BodyLength::of_response(&head, self.request.head.method())
            .map_err(|error| Unanswered::Upstream(error.into()))?;
        if headers::nominates_too_many(&head) {
            return Err(Unanswered::Upstream(http1::HeadError::Malformed("connection").into()));
        }
        Ok((head, length))
    }

    /// Passes the answer on, and what is left of the request's body in the meantime.
    async fn relay(
        &mut self,
        mut opened: Opened,
        mut sending: Pump,
        (head, length): (Head, BodyLength),
    ) -> Result<(), Failure> {
        let up = &mut opened.connection;
        up.receive_body(length);
        self.record.answered(head.status());
        let response = Response {
            status: head.status(),
            reason: head.reason(),
            head: Some(&head),
            added: &[],
            length,
            answers_head: self.request.head.method() == b"HEAD",
            is_last: false,
        };
        self.down.respond(&response).map_err(|error| Failure::Aborted(Abort::of_downstream(&error)))?;
        let limit = self.worker.settings.stall;
        self.timer.set(limit);
        let (down, timer) = (&mut *self.down, self.timer);
        let (received, sent) = (&mut self.received, &mut self.sent);
        let mut receiving = Pump::default();
        let mut is_sending = sending != Pump::Done;
        let relayed = timer.limit(std::future::poll_fn(|cx| {
            if is_sending {
                let mut body = Metered { side: &mut *down, meter: &mut *received };
                // Whatever becomes of the request's rest: the answer is on its way and decides. But a side that
                // failed is not asked again: nothing behind a malformed chunk can be trusted.
                is_sending = sending.poll((&mut body, up), || timer.set(limit), cx).is_pending();
            }
            if down.poll_given_up(cx).is_ready() {
                return Poll::Ready(Err(Abort::ClientReset));
            }
            let mut body = Metered { side: &mut *up, meter: &mut *sent };
            receiving.poll((&mut body, &mut *down), || timer.set(limit), cx).map_err(|error| match error {
                PumpError::Read(error) => Abort::of_upstream(&error),
                PumpError::Write(error) => Abort::of_downstream(&error),
            })
        }));
        match relayed.await {
            Ok(Ok(())) => {}
            Ok(Err(abort)) => return Err(Failure::Aborted(abort)),
            // Either nothing more came, or what came could not be handed on.
            Err(_elapsed) if receiving == Pump::Flushing || !is_ready(self.down) => {
                return Err(Failure::Aborted(Abort::ClientStalled));
            }
            Err(_elapsed) => return Err(Failure::Aborted(Abort::UpstreamStalled)),
        }
        let is_complete = sending == Pump::Done && length != BodyLength::UntilClose;
        let stays_open = headers::keeps_alive(&head) && !contradicts_itself(&head);
        // The head shares the input buffer, which is to go back whole.
        drop(head);
        if is_complete && stays_open && !opened.connection.has_input() {
            opened.connection.reclaim(&self.worker.buffers);
            self.worker.upstreams.keep(opened.address, opened.connection);
        }
        Ok(())
    }
}

/// Whether the client's side would take another piece now.
fn is_ready<D: Downstream>(down: &mut D) -> bool {
    down.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Whether a head speaks of a body, where its status says that there is none.
fn declares_body(head: &Head) -> bool {
    head.get(Known::TransferEncoding).is_some()
        || head.get(Known::ContentLength).is_some_and(|length| length != b"0")
}

/// A 204 with a body: who sends one may send the body too, and it would be taken for the next answer.
fn contradicts_itself(head: &Head) -> bool {
    head.status() == 204 && declares_body(head)
}

/// Reads the head of the answer proper. Interim ones (100, 103) are not for the client; 101 answers a question
/// that nobody asked.
fn poll_final_head(up: &mut Connection, cx: &mut Context<'_>) -> Poll<Result<Head, StreamError>> {
    loop {
        let Some(head) = std::task::ready!(up.poll_head(http1::parse::response, cx))? else {
            let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Poll::Ready(Err(error.into()));
        };
        match head.status() {
            101 => return Poll::Ready(Err(StreamError::UnaskedUpgrade)),
            100..=199 if declares_body(&head) => {
                return Poll::Ready(Err(http1::HeadError::Malformed("interim response").into()));
            }
            100..=199 => {}
            _ => return Poll::Ready(Ok(head)),
        }
    }
}

impl Request<'_> {
    /// Which connections may carry this request: one that cannot be sent twice needs one that surely is open.
    fn reuse(&self) -> Reuse {
        let is_idempotent =
            matches!(self.head.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE");
        if is_idempotent && self.length == BodyLength::Empty { Reuse::Any } else { Reuse::Recent }
    }
}
