//! One HTTP/2 stream: serves its request, sends the response and reads the request body.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http1::body::is_trailer_allowed;
use http1::{BodyLength, HeadBuilder};

use super::head::{body_length, request_head, request_info};
use crate::data::exchange::abort::Abort;
use crate::data::exchange::headers::{self, DownstreamResponse};
use crate::data::exchange::{
    self, BodyReadError, Client, Downstream, ExchangeOutcome, InvalidRequest, Request, Worker,
};
use crate::data::wire::buffers::BUFFER_BYTES;
use crate::data::wire::{BodyReader, BodyWriter, Piece, StreamError};
use crate::observe::counters::{Counters, increment};
use crate::settings::UnderscoreNames;

/// Streams that a client may reset before their response, beyond half of the completed ones. More is an attack
/// (CVE-2023-44487): a reset costs the client nothing, and costs the gateway a request to an endpoint.
const MAX_EXCESS_RESETS: u64 = 100;

/// Initial capacity of a header map. Most responses have fewer fields. A larger response moves and hashes all its
/// fields again.
const TYPICAL_FIELDS: usize = 12;

/// How many streams of a connection have ended, and how.
#[derive(Debug, Default)]
pub(super) struct StreamCounts {
    completed: Cell<u64>,
    /// Reset by the client.
    reset: Cell<u64>,
}

impl StreamCounts {
    /// Returns true if the client resets so often that the connection must close.
    pub(super) fn has_excess_resets(&self) -> bool {
        self.reset.get() > MAX_EXCESS_RESETS + self.completed.get() / 2
    }
}

/// Serves the request of one stream.
///
/// # Cancellation
/// Dropping the future resets the stream.
pub(super) async fn serve_stream(
    worker: &Worker,
    client: &Client,
    counts: &StreamCounts,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let timer = worker.clock.timer();
    let (parts, body) = request.into_parts();
    let length = body_length(&parts, &body);
    let expect = parts.headers.get(http::header::EXPECT);
    let awaits_continue = expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let underscore_names = worker.settings.requests.underscore_names;
    let mut downstream = Http2Downstream {
        body,
        respond,
        send: None,
        pending_data: None,
        awaits_continue,
        underscore_names,
        counters: Rc::clone(&worker.counters),
    };
    let outcome = match request_head(&parts, worker.settings.limits.head) {
        Ok(mut head) => {
            headers::sanitize(&mut head, underscore_names, &worker.counters);
            let request = Request { head: &head, length, client };
            exchange::serve(worker, request, &mut downstream, &timer).await
        }
        Err(reason) => {
            let invalid = InvalidRequest { reason, client, request: Some(request_info(&parts)) };
            match exchange::send_local_reply(worker, &mut downstream, &timer, invalid).await {
                Ok(()) => ExchangeOutcome::Completed,
                // Already in the access log.
                Err(_abort) => ExchangeOutcome::Aborted,
            }
        }
    };
    if downstream.is_reset() {
        increment(&counts.reset);
    } else {
        increment(&counts.completed);
    }
    match outcome {
        ExchangeOutcome::Completed | ExchangeOutcome::CompletedThenClose => {}
        // An upgrade does not exist in HTTP/2 (RFC 9113 §8.6).
        ExchangeOutcome::Aborted | ExchangeOutcome::Upgraded(_) => downstream.reset(),
    }
}

/// One stream.
struct Http2Downstream {
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// Set once the response head is sent, if a body follows.
    send: Option<SendStream<Bytes>>,
    /// The latest data. It is sent when it is known whether it ends the stream, which saves a frame.
    pending_data: Option<Bytes>,
    /// Whether the client waits for a 100 before it sends the body.
    awaits_continue: bool,
    underscore_names: UnderscoreNames,
    /// Counters of the worker.
    counters: Rc<Counters>,
}

impl Http2Downstream {
    /// Returns true if the client has reset the stream.
    fn is_reset(&mut self) -> bool {
        self.poll_cancelled(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn reset(&mut self) {
        match &mut self.send {
            Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

impl BodyReader for Http2Downstream {
    type Error = BodyReadError;

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyReadError>> {
        loop {
            if self.body.is_end_stream() {
                return Poll::Ready(Ok(Piece::End));
            }
            let data = self.body.poll_data(cx);
            if data.is_pending() && std::mem::take(&mut self.awaits_continue) {
                let mut head = http::Response::new(());
                *head.status_mut() = http::StatusCode::CONTINUE;
                // Fails if the response is already sent. The client then no longer waits for the 100.
                let _ = self.respond.send_informational(head);
            }
            let Some(data) = ready!(data).transpose()? else { break };
            self.body.flow_control().release_capacity(data.len())?;
            if !data.is_empty() {
                return Poll::Ready(Ok(Piece::Data(data)));
            }
        }
        let Some(fields) = ready!(self.body.poll_trailers(cx))? else { return Poll::Ready(Ok(Piece::End)) };
        let mut builder = HeadBuilder::response(0, fields.len());
        for (name, value) in &fields {
            builder.field(name.as_str().as_bytes(), value.as_bytes());
        }
        let mut trailers = builder.build();
        headers::sanitize(&mut trailers, self.underscore_names, &self.counters);
        Poll::Ready(Ok(Piece::Trailers(trailers)))
    }
}

impl BodyWriter for Http2Downstream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let Some(send) = &mut self.send else { return Poll::Ready(Ok(())) };
        loop {
            let (capacity, pending) = (send.capacity(), self.pending_data.as_ref().map_or(0, Bytes::len));
            if capacity > pending {
                return Poll::Ready(Ok(()));
            }
            // The client's window may be smaller than a piece, and never have space for more than that.
            if let Some(piece) = self.pending_data.as_mut().filter(|_| capacity > 0 && pending > 1) {
                send.send_data(piece.split_to(capacity.min(pending - 1)), false)?;
                continue;
            }
            send.reserve_capacity(pending + BUFFER_BYTES);
            if ready!(send.poll_capacity(cx)).transpose()?.is_none() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe).into()));
            }
        }
    }

    fn write(&mut self, piece: Piece) -> Result<(), StreamError> {
        let Some(send) = &mut self.send else { return Ok(()) };
        match piece {
            Piece::Data(data) => {
                if let Some(pending) = self.pending_data.replace(data) {
                    send.send_data(pending, false)?;
                }
            }
            Piece::End => send.send_data(self.pending_data.take().unwrap_or_default(), true)?,
            Piece::Trailers(trailers) => {
                if let Some(pending) = self.pending_data.take() {
                    send.send_data(pending, false)?;
                }
                send.send_trailers(header_map(|field| {
                    for (known, name, value) in trailers.fields() {
                        if is_trailer_allowed(known, name) {
                            field(name, value);
                        }
                    }
                }))?;
            }
        }
        Ok(())
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        // The connection's future writes the data to the socket.
        if let (Some(send), Some(pending)) = (&mut self.send, self.pending_data.take()) {
            send.send_data(pending, false)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Downstream for Http2Downstream {
    fn send_head(&mut self, response: &DownstreamResponse<'_>) -> Result<(), StreamError> {
        let mut head = response_head(response);
        if let BodyLength::Exact(length) = response.length {
            head.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        let is_empty = response.length.has_no_body();
        let ends_stream = is_empty || response.is_head_request;
        let send = self.respond.send_response(head, ends_stream)?;
        self.send = (!ends_stream).then_some(send);
        Ok(())
    }

    fn send_informational(&mut self, response: &DownstreamResponse<'_>) -> Result<(), StreamError> {
        Ok(self.respond.send_informational(response_head(response))?)
    }

    /// Does nothing: a client cancels the stream beside its body.
    fn discard_body(&mut self) {}

    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        let state = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        // An error means that the response is sent, or that the connection ends with all its streams.
        if matches!(state, Poll::Ready(Ok(_))) { Poll::Ready(Abort::ClientReset) } else { Poll::Pending }
    }
}

fn response_head(response: &DownstreamResponse<'_>) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(response.status).unwrap_or_default();
    *head.headers_mut() = header_map(|field| response.for_each_field(field));
    head
}

/// Collects fields into a header map. The parser has rejected names and values that HTTP/2 cannot transmit.
fn header_map(each: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]))) -> http::HeaderMap {
    let mut map = http::HeaderMap::with_capacity(TYPICAL_FIELDS);
    each(&mut |name, value| {
        let name = http::HeaderName::from_bytes(name);
        let value = http::HeaderValue::from_bytes(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    });
    map
}
