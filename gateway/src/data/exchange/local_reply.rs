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
use super::headers::DownstreamResponse;
use super::record::{Record, ReportOnDrop, RequestInfo};
use super::reply_reason::{ReplyReason, reason_phrase};
use super::request_id::RequestId;
use super::worker::Worker;
use crate::data::wire::clock::Timer;
use crate::data::wire::{Piece, StreamError};
use crate::filter::Progress;
use crate::message::{FieldName, FieldValue, LocalReply, Patch};
use crate::observe::access_log::RequestFields;
use crate::settings::ReasonHeader;

const ALLOW: FieldName = FieldName::from_static("allow");
const CONTENT_TYPE: FieldName = FieldName::from_static("content-type");
const RETRY_AFTER: FieldName = FieldName::from_static("retry-after");

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

/// A local reply to one request.
#[derive(Clone, Copy)]
struct Addressed<'a> {
    reply: &'a LocalReply,
    id: &'a RequestId<'a>,
    /// Method of the request; empty if it is not known.
    method: &'a [u8],
    /// Edits by filters.
    patch: Option<&'a Patch>,
}

/// Maps each reason to its reply: the status and the reason are the body, too.
impl From<ReplyReason> for LocalReply {
    fn from(reason: ReplyReason) -> Self {
        let (status, word) = (reason.status(), reason.as_str());
        let mut reply = Self::new(status, word);
        reply.closes_connection = reason.closes_connection();
        if status != 204 {
            reply = reply.with_body(format!("{status} {word}\n"));
            reply = reply.with(CONTENT_TYPE, FieldValue::from_static("text/plain"));
        }
        // RFC 9110 §15.5.6 and §9.3.7. Other methods are forwarded, too, but have no list.
        if matches!(status, 204 | 405) {
            let methods = Method::ALL.into_iter().filter(|method| *method != Method::Trace);
            let methods = methods.map(Method::as_str).collect::<Vec<_>>().join(", ");
            if let Ok(methods) = FieldValue::parse(methods) {
                reply = reply.with(ALLOW, methods);
            }
        }
        match reason.retry_after() {
            Some(seconds) => reply.with(RETRY_AFTER, FieldValue::from_static(seconds)),
            None => reply,
        }
    }
}

impl<D: Downstream> Exchange<'_, D> {
    /// Ends the exchange with a local reply.
    pub(super) async fn send_local_reply(&mut self, reply: LocalReply) -> ExchangeOutcome {
        // The time of the request may be over. The reply has its own.
        self.timer.clear();
        self.timer.set(self.worker.settings.timeouts.request_header);
        let reply = &self.filter_local_reply(reply).await;
        self.record.on_local_reply(reply.status(), reply.reason);
        let filters = self.filters.take();
        let patch = filters.as_deref().map(Progress::response_patch);
        let method = self.request.head.method();
        let addressed = Addressed { reply, id: &self.source.id, method, patch };
        match write_in_time(self.worker, &mut *self.down, self.timer, addressed).await {
            Ok(body_bytes) => {
                self.record.on_local_reply_sent(reply.reason, body_bytes);
                if reply.closes_connection {
                    ExchangeOutcome::CompletedThenClose
                } else {
                    ExchangeOutcome::Completed
                }
            }
            Err(abort) => {
                self.record.on_local_reply_unsent(reply.reason, abort);
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
    let source = RequestSource {
        client,
        address: client.peer,
        scheme: client.scheme,
        id: worker.request_ids.generate(),
    };
    // Without a start there is no duration to log: no exchange began.
    let record = Record::new(None);
    let info = RequestInfo { source, request, route: None };
    let mut report = ReportOnDrop { worker, info, record };
    let reply = LocalReply::from(reason);
    report.record.on_local_reply(reply.status(), reply.reason);
    let method = request.map_or(&b""[..], |request| request.method);
    let addressed = Addressed { reply: &reply, id: &source.id, method, patch: None };
    match write_in_time(worker, down, timer, addressed).await {
        Ok(body_bytes) => {
            report.record.on_local_reply_sent(reply.reason, body_bytes);
            Ok(())
        }
        Err(abort) => {
            report.record.on_local_reply_unsent(reply.reason, abort);
            Err(abort)
        }
    }
}

/// Sends a local reply within the request-header timeout. Returns the bytes of its body.
async fn write_in_time<D: Downstream>(
    worker: &Worker,
    down: &mut D,
    timer: &Timer,
    addressed: Addressed<'_>,
) -> Result<u64, Abort> {
    timer.set(worker.settings.timeouts.request_header);
    match timer.limit(write_reply(worker, down, addressed)).await {
        Ok(Ok(body_bytes)) => Ok(body_bytes),
        Ok(Err(error)) => {
            tracing::debug!(%error, reason = addressed.reply.reason, "local reply not sent");
            Err(Abort::from_downstream(&error))
        }
        Err(_elapsed) => Err(Abort::ClientStalled),
    }
}

/// Sends a local reply. Returns the bytes of its body.
async fn write_reply<D: Downstream>(
    worker: &Worker,
    down: &mut D,
    addressed: Addressed<'_>,
) -> Result<u64, StreamError> {
    let Addressed { reply, id, method, patch } = addressed;
    let (status, body) = (reply.status(), reply.body());
    let mut extra = Vec::with_capacity(5);
    extra.push((&b"x-request-id"[..], id.as_bytes()));
    if worker.settings.responses.reason_header == ReasonHeader::Shown {
        extra.push((b"gateway-reason", reply.reason.as_bytes()));
    }
    extra.extend(reply.fields());
    let length =
        if matches!(status, 204 | 304) { BodyLength::Empty } else { BodyLength::Exact(body.len() as u64) };
    let is_head_request = method == b"HEAD";
    down.send_head(&DownstreamResponse {
        status,
        reason: reason_phrase(status).as_bytes(),
        date: worker.date.now(&worker.clock),
        head: None,
        extra: &extra,
        patch,
        length,
        is_head_request,
        closes_connection: reply.closes_connection,
    })?;
    let body_bytes = if is_head_request { 0 } else { body.len() as u64 };
    if body_bytes > 0 {
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
        down.write(Piece::Data(body.clone()))?;
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
    }
    down.write(Piece::End)?;
    std::future::poll_fn(|cx| down.poll_flush(cx)).await?;
    Ok(body_bytes)
}
