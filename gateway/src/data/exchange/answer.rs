//! The gateway's own answers, sent.
//!
//! Not here: which reasons there are (`refusal`).

use http1::BodyLength;

use super::abort::Abort;
use super::client::{Caller, Client};
use super::headers::Response;
use super::record::{Record, Subject, Telling};
use super::refusal::{self, Refusal};
use super::request_id::RequestId;
use super::{Downstream, Exchange, Served, Worker};
use crate::data::wire::clock::Timer;
use crate::data::wire::{Piece, StreamError};
use crate::observe::access_log::Asked;
use crate::settings::ReasonHeader;

/// The methods that are passed on to endpoints; others are too, but nobody can list them.
const METHODS: &[u8] = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE";

impl<D: Downstream> Exchange<'_, D> {
    /// Answers in the gateway's own name.
    pub(super) async fn refuse(&mut self, refusal: Refusal) -> Served {
        self.record.refusing(refusal);
        // The request's own time may be over; the answer has its own.
        self.timer.clear();
        self.timer.set(self.worker.settings.header);
        let method = self.request.head.method();
        let sent = self.timer.limit(answer(self.worker, &mut *self.down, refusal, (&self.caller.id, method)));
        let sent = sent.await.ok().and_then(Result::ok);
        if let Some(body) = sent {
            self.record.refused(refusal, body);
        }
        match sent {
            Some(_) if refusal.ends_connection() => Served::AnsweredLast,
            Some(_) => Served::Answered,
            None => Served::Aborted,
        }
    }
}

/// Answers where there is no request to serve, and tells of it. `asked` is what was understood of its head.
///
/// # Errors
/// The client did not get the answer.
pub async fn refuse<D: Downstream>(
    worker: &Worker,
    (down, timer): (&mut D, &Timer),
    refusal: Refusal,
    (client, asked): (&Client, Option<Asked<'_>>),
) -> Result<(), Abort> {
    let caller = Caller { client, address: client.peer, id: worker.ids.make() };
    let mut telling =
        Telling { worker, subject: Subject { caller, asked, route: None }, record: Record::begin(worker) };
    // There is no time to tell: the exchange never began.
    telling.record.began = None;
    telling.record.refusing(refusal);
    timer.set(worker.settings.header);
    let method = asked.map_or(&b""[..], |asked| asked.method);
    let body = match timer.limit(answer(worker, down, refusal, (&caller.id, method))).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Err(Abort::of_downstream(&error)),
        Err(_elapsed) => return Err(Abort::ClientStalled),
    };
    telling.record.refused(refusal, body);
    Ok(())
}

/// Sends the gateway's own answer to a request with `method`, and tells how long its body was; without one where it
/// is not known.
///
/// # Errors
/// The client is gone.
async fn answer<D: Downstream>(
    worker: &Worker,
    down: &mut D,
    refusal: Refusal,
    (id, method): (&RequestId<'_>, &[u8]),
) -> Result<u64, StreamError> {
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
    let sent = if answers_head { 0 } else { body.len() as u64 };
    if sent > 0 {
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
        down.write(Piece::Data(body.into()))?;
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
    }
    down.write(Piece::End)?;
    std::future::poll_fn(|cx| down.poll_flush(cx)).await?;
    Ok(sent)
}
