//! The gateway's own answers, sent.
//!
//! Not here: which reasons there are (`refusal`).

use http1::BodyLength;

use super::headers::Response;
use super::refusal::{self, Refusal};
use super::request_id::RequestId;
use super::{Downstream, Exchange, Served, Worker};
use crate::settings::ReasonHeader;
use crate::wire::{Piece, StreamError};

/// The methods that are passed on to endpoints; others are too, but nobody can list them.
const METHODS: &[u8] = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE";

impl<D: Downstream> Exchange<'_, D> {
    /// Answers in the gateway's own name.
    pub(super) async fn refuse(&mut self, refusal: Refusal) -> Served {
        self.record.refused(refusal);
        // The request's own time may be over; the answer has its own.
        self.timer.clear();
        self.timer.set(self.worker.settings.header);
        let method = self.request.head.method();
        let sent = self.timer.limit(answer(self.worker, &mut *self.down, refusal, (&self.caller.id, method)));
        match sent.await {
            Ok(Ok(())) if refusal.ends_connection() => Served::AnsweredLast,
            Ok(Ok(())) => Served::Answered,
            _ => Served::Aborted,
        }
    }
}

/// Sends the gateway's own answer to a request with `method`; without one where it is not known.
///
/// # Errors
/// The client is gone.
pub async fn answer<D: Downstream>(
    worker: &Worker,
    down: &mut D,
    refusal: Refusal,
    (id, method): (&RequestId<'_>, &[u8]),
) -> Result<(), StreamError> {
    let (status, reason) = (refusal.status(), refusal.reason());
    let body = if status == 204 { String::new() } else { format!("{status} {reason}\n") };
    let shows_reason = worker.settings.reason_header == ReasonHeader::Shown;
    let mut added = Vec::with_capacity(5);
    added.push(("x-request-id", id.as_bytes()));
    if !body.is_empty() {
        added.push(("content-type", b"text/plain"));
    }
    if shows_reason {
        added.push(("gateway-reason", reason.as_bytes()));
    }
    // RFC 9110 §15.5.6 and §9.3.7.
    if matches!(status, 204 | 405) {
        added.push(("allow", METHODS));
    }
    if let Some(seconds) = refusal.retry_after() {
        added.push(("retry-after", seconds.as_bytes()));
    }
    let length = if status == 204 { BodyLength::Empty } else { BodyLength::Exact(body.len() as u64) };
    let answers_head = method == b"HEAD";
    let response = Response {
        status,
        reason: refusal::phrase(status).as_bytes(),
        date: worker.date.now(&worker.clock),
        head: None,
        added: &added,
        length,
        answers_head,
        is_last: refusal.ends_connection(),
    };
    down.respond(&response)?;
    if !answers_head && !body.is_empty() {
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
        down.write(Piece::Data(body.into()))?;
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
    }
    down.write(Piece::End)?;
    std::future::poll_fn(|cx| down.poll_flush(cx)).await
}
