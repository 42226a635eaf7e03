//! The gateway's own answers, sent.
//!
//! Not here: which reasons there are (`reason`).

use http1::BodyLength;

use super::abort::Abort;
use super::client::{Client, RequestSource};
use super::headers::Response;
use super::record::{Record, ReportOnDrop, RequestInfo};
use super::reply_reason::{self, ReplyReason};
use super::request_id::RequestId;
use super::{Downstream, Exchange, ExchangeOutcome, Worker};
use crate::data::wire::clock::Timer;
use crate::data::wire::{Piece, StreamError};
use crate::observe::access_log::RequestFields;
use crate::settings::ReasonHeader;

/// The methods that are passed on to endpoints; others are too, but nobody can list them.
const METHODS: &[u8] = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE";

impl<D: Downstream> Exchange<'_, D> {
    /// Answers in the gateway's own name.
    pub(super) async fn send_local_reply(&mut self, reason: ReplyReason) -> ExchangeOutcome {
        self.record.on_local_reply(reason);
        // The request's own time may be over; the answer has its own.
        self.timer.clear();
        self.timer.set(self.worker.settings.timeouts.request_header);
        let method = self.request.head.method();
        let sent =
            self.timer.limit(write_reply(self.worker, &mut *self.down, reason, (&self.source.id, method)));
        let sent = sent.await.ok().and_then(Result::ok);
        if let Some(body) = sent {
            self.record.on_local_reply_sent(reason, body);
        }
        match sent {
            Some(_) if reason.closes_connection() => ExchangeOutcome::CompletedThenClose,
            Some(_) => ExchangeOutcome::Completed,
            None => ExchangeOutcome::Aborted,
        }
    }
}

/// Answers where there is no request to serve, and tells of it. `asked` is what was understood of its head.
///
/// # Errors
/// The client did not get the answer.
pub async fn send_local_reply<D: Downstream>(
    worker: &Worker,
    (down, timer): (&mut D, &Timer),
    reason: ReplyReason,
    (client, asked): (&Client, Option<RequestFields<'_>>),
) -> Result<(), Abort> {
    let source = RequestSource { client, address: client.peer, id: worker.request_ids.make() };
    let mut report = ReportOnDrop {
        worker,
        info: RequestInfo { source, asked, route: None },
        record: Record::new(worker),
    };
    // There is no time to tell: the exchange never began.
    report.record.started_at = None;
    report.record.on_local_reply(reason);
    timer.set(worker.settings.timeouts.request_header);
    let method = asked.map_or(&b""[..], |asked| asked.method);
    let body = match timer.limit(write_reply(worker, down, reason, (&source.id, method))).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Err(Abort::from_downstream(&error)),
        Err(_elapsed) => return Err(Abort::ClientStalled),
    };
    report.record.on_local_reply_sent(reason, body);
    Ok(())
}

/// Sends the gateway's own answer to a request with `method`, and tells how long its body was; without one where it
/// is not known.
///
/// # Errors
/// The client is gone.
async fn write_reply<D: Downstream>(
    worker: &Worker,
    down: &mut D,
    reason: ReplyReason,
    (id, method): (&RequestId<'_>, &[u8]),
) -> Result<u64, StreamError> {
    let (status, word) = (reason.status(), reason.as_str());
    let body = if status == 204 { String::new() } else { format!("{status} {word}\n") };
    let shows_reason = worker.settings.responses.reason_header == ReasonHeader::Shown;
    let mut extra = Vec::with_capacity(5);
    extra.push(("x-request-id", id.as_bytes()));
    if !body.is_empty() {
        extra.push(("content-type", b"text/plain"));
    }
    if shows_reason {
        extra.push(("gateway-reason", word.as_bytes()));
    }
    // RFC 9110 §15.5.6 and §9.3.7.
    if matches!(status, 204 | 405) {
        extra.push(("allow", METHODS));
    }
    if let Some(seconds) = reason.retry_after() {
        extra.push(("retry-after", seconds.as_bytes()));
    }
    let length = if status == 204 { BodyLength::Empty } else { BodyLength::Exact(body.len() as u64) };
    let is_head_request = method == b"HEAD";
    let response = Response {
        status,
        reason: reply_reason::reason_phrase(status).as_bytes(),
        date: worker.date.now(&worker.clock),
        head: None,
        extra: &extra,
        length,
        is_head_request,
        closes_connection: reason.closes_connection(),
    };
    down.send_head(&response)?;
    let sent = if is_head_request { 0 } else { body.len() as u64 };
    if sent > 0 {
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
        down.write(Piece::Data(body.into()))?;
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
    }
    down.write(Piece::End)?;
    std::future::poll_fn(|cx| down.poll_flush(cx)).await?;
    Ok(sent)
}
