//! Relaying: the response's head, both bodies, and the connection's return to the pool.

use std::task::{Context, Poll, Waker};

use http1::{BodyLength, Head, KnownName};

use super::abort::Abort;
use super::attempt::{UpstreamResponse, declares_body};
use super::connection_auth;
use super::downstream::{Downstream, ExchangeOutcome};
use super::filtered::Filtered;
use super::filters::EndpointSide;
use super::headers::{self, DownstreamResponse};
use super::metered::Metered;
use super::request_body::RequestBody;
use super::tunnel::{Tunnel, TunnelLogEntry};
use super::{Exchange, ExchangeError};
use crate::data::upstream::{PooledConnection, Stream};
use crate::data::wire::{BodyCopy, CopyError, StreamError};
use crate::filter::{Direction, Progress};
use crate::plan::Plan;
use crate::settings::RequestIdEcho;

impl<D: Downstream> Exchange<'_, D> {
    /// Relays the response to the client, and meanwhile the rest of the request's body to the endpoint. Then returns
    /// the connection to the pool if it can be reused.
    pub(super) async fn relay(
        &mut self,
        mut opened: PooledConnection,
        plan: &Plan,
        mut body: RequestBody,
        response: UpstreamResponse,
    ) -> Result<ExchangeOutcome, ExchangeError> {
        opened.stream.start_receiving_body(response.length);
        let mut endpoint = EndpointSide { stream: &mut opened.stream, request_body: &mut body, plan };
        let length = self.filter_response(&mut endpoint, &response.head, response.length).await?;
        self.start_response(&response.head, length)?;
        body.release();
        opened.is_bound |= connection_auth::is_used(self.request.head, self.request_patch(), &response.head);
        self.relay_bodies(&mut opened.stream, &mut body, plan).await.map_err(ExchangeError::Abort)?;
        // Filters may hold the head, too.
        self.filters = None;
        let UpstreamResponse { head, length } = response;
        let is_complete = body.is_sent() && length != BodyLength::UntilClose;
        let stays_open = headers::is_keep_alive(&head) && !has_forbidden_body(&head);
        let keep_alive = headers::keep_alive_timeout(&head);
        // The head shares the input buffer, which the pool takes back only unshared.
        drop(head);
        if is_complete && stays_open && !opened.stream.has_input() {
            opened.stream.release_buffers(&self.worker.buffers);
            if opened.is_bound {
                self.request.client.bind(opened);
            } else {
                self.worker.upstreams.release(opened, keep_alive, &plan.upstream);
            }
        }
        Ok(ExchangeOutcome::Completed)
    }

    /// Writes the head of the response for the client.
    fn start_response(&mut self, head: &Head, length: BodyLength) -> Result<(), ExchangeError> {
        let request_id = [(&b"x-request-id"[..], self.source.id.as_bytes())];
        let response = DownstreamResponse {
            date: self.worker.date.now(&self.worker.clock),
            extra: match self.worker.settings.responses.request_id {
                RequestIdEcho::Every => &request_id[..],
                RequestIdEcho::LocalReplies => &[],
            },
            is_head_request: self.request.head.method() == b"HEAD",
            ..DownstreamResponse::from_endpoint(head, length)
        };
        let response = response.patched(self.filters.as_deref().map(Progress::response_patch));
        self.record.on_response_head(response.status);
        self.down.send_head(&response).map_err(|error| ExchangeError::Abort(Abort::from_downstream(&error)))
    }

    /// Copies the response's body, and meanwhile the rest of the request's body.
    async fn relay_bodies(
        &mut self,
        up: &mut Stream,
        body: &mut RequestBody,
        plan: &Plan,
    ) -> Result<(), Abort> {
        let stall = plan.timeouts.stall;
        self.timer.set(stall);
        let (down, timer) = (&mut *self.down, self.timer);
        let (received, sent) = (&mut self.received, &mut self.sent);
        let mut filters = self.filters.as_deref_mut();
        let mut response_body = BodyCopy::default();
        let mut is_sending = !body.is_sent();
        let relayed = timer.limit(std::future::poll_fn(|cx| {
            if is_sending {
                let metered = Metered { source: &mut *down, meter: &mut *received };
                let direction = Direction::Request;
                let mut source = Filtered { source: metered, filters: filters.as_deref_mut(), direction };
                // A failure of the request's body does not fail the exchange, since the response has begun. But nothing
                // after a malformed chunk can be trusted, so the body is not polled again.
                let copied = body.poll(&mut source, up, || timer.set(stall), cx);
                is_sending = copied.is_pending();
                if matches!(copied, Poll::Ready(Err(_))) {
                    down.discard_body();
                }
            }
            // Available bytes are sent even if the client has closed its direction.
            let metered = Metered { source: &mut *up, meter: &mut *sent };
            let direction = Direction::Response;
            let mut source = Filtered { source: metered, filters: filters.as_deref_mut(), direction };
            let copied = response_body.poll(&mut source, &mut *down, || timer.set(stall), cx);
            if let Poll::Ready(copied) = copied {
                return Poll::Ready(copied.map_err(|error| match error {
                    CopyError::Read(error) => Abort::from_response_body(&error),
                    CopyError::Write(error) => Abort::from_downstream(&error),
                }));
            }
            down.poll_cancelled(cx).map(Err)
        }));
        match relayed.await {
            Ok(relayed) => relayed,
            Err(_elapsed) if timer.is_total_elapsed() => Err(Abort::RequestTimeout),
            Err(_elapsed) if response_body == BodyCopy::Flushing || !is_ready(self.down) => {
                Err(Abort::ClientStalled)
            }
            Err(_elapsed) => Err(Abort::UpstreamStalled),
        }
    }

    /// Sends the 101 to the client. All later bytes belong to the new protocol.
    pub(super) async fn switch(
        &mut self,
        mut opened: PooledConnection,
        mut body: RequestBody,
        (head, plan): (&Head, &Plan),
    ) -> Result<ExchangeOutcome, ExchangeError> {
        self.record.on_response_head(head.status());
        opened.convert_to_tunnel();
        let mut endpoint = EndpointSide { stream: &mut opened.stream, request_body: &mut body, plan };
        self.filter_response(&mut endpoint, head, BodyLength::Empty).await?;
        let failed = |error: &StreamError| ExchangeError::Abort(Abort::from_downstream(error));
        let filters = self.filters.take();
        let patch = filters.as_deref().map(Progress::response_patch);
        let response = DownstreamResponse::from_endpoint(head, BodyLength::Empty).patched(patch);
        self.down.send_head(&response).map_err(|error| failed(&error))?;
        self.timer.set(plan.timeouts.stall);
        match self.timer.limit(std::future::poll_fn(|cx| self.down.poll_flush(cx))).await {
            Ok(Ok(())) => {
                let record = self.record;
                let log_entry = self.owned_info().map(|info| TunnelLogEntry { info, record });
                let tunnel = Tunnel::new(opened, plan.timeouts.tunnel_idle, log_entry);
                Ok(ExchangeOutcome::Upgraded(tunnel))
            }
            Ok(Err(error)) => Err(failed(&error)),
            Err(_elapsed) => Err(ExchangeError::Abort(Abort::ClientStalled)),
        }
    }
}

/// Returns true if the client's side accepts another piece now.
fn is_ready<D: Downstream>(down: &mut D) -> bool {
    down.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Returns true for a 204 that declares a body, and for a 304 with a Transfer-Encoding. If the endpoint sends that body, it
/// would be read as the next response. The Content-Length of a 304 is that of the response to a GET.
fn has_forbidden_body(head: &Head) -> bool {
    match head.status() {
        204 => declares_body(head),
        304 => head.get(KnownName::TransferEncoding).is_some(),
        _ => false,
    }
}
