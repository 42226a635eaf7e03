//! The gateway's own answers, sent.
//!
//! Not here: which reasons there are (`refusal`).

use http1::BodyLength;

use super::headers::Response;
use super::refusal::{self, Refusal};
use super::{Downstream, Exchange, Served};
use crate::settings::ReasonHeader;
use crate::wire::{Piece, StreamError};

impl<D: Downstream> Exchange<'_, D> {
    /// Answers in the gateway's own name.
    pub(super) async fn refuse(&mut self, refusal: Refusal) -> Served {
        self.record.refused(refusal);
        let length = self.worker.settings.header;
        self.timer.set(length);
        let shown = self.worker.settings.reason_header;
        let sent = self.timer.limit(answer(
            &mut *self.down,
            refusal,
            (shown, self.request.head.method() == b"HEAD"),
        ));
        match sent.await {
            Ok(Ok(())) if refusal.ends_connection() => Served::AnsweredLast,
            Ok(Ok(())) => Served::Answered,
            _ => Served::Aborted,
        }
    }
}

/// Sends the gateway's own answer.
///
/// # Errors
/// The client is gone.
pub async fn answer<D: Downstream>(
    down: &mut D,
    refusal: Refusal,
    (shown, answers_head): (ReasonHeader, bool),
) -> Result<(), StreamError> {
    let reason = refusal.reason();
    let body = format!("{} {}\n", refusal.status(), reason);
    let fields = [
        ("content-type", &b"text/plain"[..]),
        ("gateway-reason", reason.as_bytes()),
        ("allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE"),
    ];
    let added = match (shown, refusal.status()) {
        (ReasonHeader::Hidden, _) => fields.get(..1),
        (ReasonHeader::Shown, 405) => fields.get(..3),
        (ReasonHeader::Shown, _) => fields.get(..2),
    };
    let response = Response {
        status: refusal.status(),
        reason: refusal::phrase(refusal.status()).as_bytes(),
        head: None,
        added: added.unwrap_or_default(),
        length: BodyLength::Exact(body.len() as u64),
        answers_head,
        is_last: refusal.ends_connection(),
    };
    down.respond(&response)?;
    if !answers_head {
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
        down.write(Piece::Data(body.into()))?;
        std::future::poll_fn(|cx| down.poll_ready(cx)).await?;
    }
    down.write(Piece::End)?;
    std::future::poll_fn(|cx| down.poll_flush(cx)).await
}
