//! Local replies: responses that the gateway sends itself.
//!
//! Not here: the reasons and their statuses (`reply_reason`).

use api::Method;
use http1::BodyLength;

use super::Exchange;
use super::abort::Abort;
use super::client::Client;
use super::downstream::{Downstream, ExchangeOutcome};
use super::forwarded::RequestSource;
use super::headers::ResponseHead;
use super::record::{Record, ReportOnDrop, RequestInfo};
use super::reply_reason::{ReplyReason, reason_phrase};
use super::request_id::RequestId;
use super::worker::Worker;
use crate::data::wire::clock::Timer;
use crate::data::wire::{Piece, StreamError};
use crate::observe::access_log::RequestFields;
use crate::settings::ReasonHeader;

/// A message of a client that starts no exchange: its head is malformed or late.
#[derive(Clone, Copy, Debug)]
pub struct InvalidRequest<'a> {
    /// Reason of the local reply.
    pub reason: ReplyReason,
    /// Client that sent the message.
    pub client: &'a Client,
    /// Parts of the head that were understood; `None` if there are none.
    pub request: Option<RequestFields<'a>>,
}

/// What a local reply says.
#[derive(Clone, Copy)]
struct LocalReplyHead<'a> {
    reason: ReplyReason,
    id: &'a RequestId<'a>,
    /// Method of the request; empty if it is not known.
    method: &'a [u8],
}

impl<D: Downstream> Exchange<'_, D> {
    /// Ends the exchange with a local reply.
    pub(super) async fn send_local_reply(&mut self, reason: ReplyReason) -> ExchangeOutcome {
        self.record.on_local_reply(reason);
        // The time of the request may be over. The reply has its own.
        self.timer.clear();
        let head = LocalReplyHead { reason, id: &self.source.id, method: self.request.head.method() };
        match write_in_time(self.worker, &mut *self.down, self.timer, head).await {
            Ok(body_bytes) => {
                self.record.on_local_reply_sent(reason, body_bytes);
                if reason.closes_connection() {
                    ExchangeOutcome::CompletedThenClose
                } else {
                    ExchangeOutcome::Completed
                }
            }
            Err(abort) => {
                self.record.on_local_reply_unsent(reason, abort);
                ExchangeOutcome::Aborted
            }
        }
    }
}

/// Replies to a message that starts no exchange, and reports it to the metrics and the access log.
///
/// # Errors
/// Returns why the client did not receive the whole reply. That is reported, too.
///
/// # Cancellation
/// The reply is reported as unsent.
pub async fn send_local_reply<D: Downstream>(
    worker: &Worker,
    down: &mut D,
    timer: &Timer,
    invalid: InvalidRequest<'_>,
) -> Result<(), Abort> {
    let InvalidRequest { reason, client, request } = invalid;
    let source = RequestSource { client, address: client.peer, id: worker.request_ids.generate() };
    // Without a start there is no duration to log: no exchange began.
    let record = Record::new(None);
    let info = RequestInfo { source, request, route: None };
    let mut report = ReportOnDrop { worker, info, record };
    report.record.on_local_reply(reason);
    let method = request.map_or(&b""[..], |request| request.method);
    match write_in_time(worker, down, timer, LocalReplyHead { reason, id: &source.id, method }).await {
        Ok(body_bytes) => {
            report.record.on_local_reply_sent(reason, body_bytes);
            Ok(())
        }
        Err(abort) => {
            report.record.on_local_reply_unsent(reason, abort);
            Err(abort)
        }
    }
}

/// Sends a local reply within the request-header timeout. Returns the bytes of its body.
async fn write_in_time<D: Downstream>(
    worker: &Worker,
    down: &mut D,
    timer: &Timer,
    head: LocalReplyHead<'_>,
) -> Result<u64, Abort> {
    timer.set(worker.settings.timeouts.request_header);
    match timer.limit(write_reply(worker, down, head)).await {
        Ok(Ok(body_bytes)) => Ok(body_bytes),
        Ok(Err(error)) => {
            tracing::debug!(%error, reason = head.reason.as_str(), "local reply not sent");
            Err(Abort::from_downstream(&error))
        }
        Err(_elapsed) => Err(Abort::ClientStalled),
    }
}

/// Sends a local reply. Returns the bytes of its body.
async fn write_reply<D: Downstream>(
    worker: &Worker,
    down: &mut D,
    head: LocalReplyHead<'_>,
) -> Result<u64, StreamError> {
    let LocalReplyHead { reason, id, method } = head;
    let (status, word) = (reason.status(), reason.as_str());
    let body = if status == 204 { String::new() } else { format!("{status} {word}\n") };
    // RFC 9110 §15.5.6 and §9.3.7. Other methods are forwarded, too, but have no list.
    let allow =
        if matches!(status, 204 | 405) { Method::ALL.map(Method::as_str).join(", ") } else { String::new() };
    let mut extra = Vec::with_capacity(5);
    extra.push(("x-request-id", id.as_bytes()));
    if !body.is_empty() {
        extra.push(("content-type", b"text/plain"));
    }
    if worker.settings.responses.reason_header == ReasonHeader::Shown {
        extra.push(("gateway-reason", word.as_bytes()));
    }
    if !allow.is_empty() {
        extra.push(("allow", allow.as_bytes()));
    }
    if let Some(seconds) = reason.retry_after() {
        extra.push(("retry-after", seconds.as_bytes()));
    }
    let length = if status == 204 { BodyLength::Empty } else { BodyLength::Exact(body.len() as u64) };
    let is_head_request = method == b"HEAD";
    down.send_head(&ResponseHead {
        status,
        reason: reason_phrase(status).as_bytes(),
        date: worker.date.now(&worker.clock),
        head: None,
        extra: &extra,
        length,
        is_head_request,
        closes_connection: reason.closes_connection(),
    })?;
    let body_bytes = if is_head_request { 0 } else { body.len() as u64 };
    if body_bytes > 0 {
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
        down.write(Piece::Data(body.into()))?;
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
    }
    down.write(Piece::End)?;
    std::future::poll_fn(|cx| down.poll_flush(cx)).await?;
    Ok(body_bytes)
}
