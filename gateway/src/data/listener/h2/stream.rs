//! One HTTP/2 stream: serves its request, sends the response and reads the request body.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http1::body::is_trailer_allowed;
use http1::{BodyError, BodyLength, HeadBuilder, HeadError};

use super::head::{body_length, has_valid_values, request_head, request_info};
use super::send_queue::{QueuedData, SendQueue};
use super::stream_reader::{BodyPart, StreamReader};
use super::stream_writer::StreamWriter;
use super::windows::UploadWindows;
use crate::data::exchange::abort::Abort;
use crate::data::exchange::headers::{self, DownstreamResponse};
use crate::data::exchange::{
    self, BodyReadError, Client, Downstream, ExchangeOutcome, InvalidRequest, Request, Worker,
};
use crate::data::listener::pace::BodyPace;
use crate::data::wire::{BodyReader, BodyWriter, Piece, StreamError};
use crate::observe::counters::increment;

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

/// The values that all streams of a connection share.
#[derive(Clone, Copy)]
pub(super) struct StreamContext<'a> {
    pub(super) worker: &'a Worker,
    pub(super) client: &'a Client,
    pub(super) counts: &'a StreamCounts,
    /// The data that waits for the client.
    pub(super) queue: &'a Rc<SendQueue>,
    /// The windows for request bodies.
    pub(super) windows: &'a Rc<UploadWindows>,
}

/// Serves the request of one stream.
///
/// # Cancellation
/// Dropping the future resets the stream.
pub(super) async fn serve_stream(
    StreamContext { worker, client, counts, queue, windows }: StreamContext<'_>,
    request: http::Request<RecvStream>,
    respond: SendResponse<QueuedData>,
) {
    let timer = worker.clock.timer();
    let (parts, body) = request.into_parts();
    let length = body_length(&parts, &body);
    let expect = parts.headers.get(http::header::EXPECT);
    let awaits_continue = expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let (body, queue) = (StreamReader::new(body, Rc::clone(windows)), Rc::clone(queue));
    let pace = BodyPace::new(length, worker.settings.limits.min_body_rate);
    let mut downstream =
        Http2Downstream { worker, body, pace, respond, writer: None, queue, awaits_continue };
    let outcome = match request_head(&parts, worker.settings.limits.head) {
        Ok(mut head) => {
            headers::sanitize(&mut head, worker.settings.requests.underscore_names, &worker.counters);
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
struct Http2Downstream<'a> {
    worker: &'a Worker,
    body: StreamReader,
    /// The minimum rate of the request body.
    pace: Option<BodyPace>,
    respond: SendResponse<QueuedData>,
    /// Set once the response head is sent, if a body follows.
    writer: Option<StreamWriter>,
    queue: Rc<SendQueue>,
    /// Whether the client waits for a 100 before it sends the body.
    awaits_continue: bool,
}

impl Http2Downstream<'_> {
    /// Returns true if the client has reset the stream.
    fn is_reset(&mut self) -> bool {
        self.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn reset(&mut self) {
        match &mut self.writer {
            Some(writer) => writer.reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// Becomes ready once the client resets the stream.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let state = match &mut self.writer {
            Some(writer) => writer.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        // An error means that the response is sent, or that the connection ends with all its streams.
        if matches!(state, Poll::Ready(Ok(_))) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl BodyReader for Http2Downstream<'_> {
    type Error = BodyReadError;

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyReadError>> {
        let part = self.body.poll_part(cx);
        if part.is_pending() && std::mem::take(&mut self.awaits_continue) {
            let mut head = http::Response::new(());
            *head.status_mut() = http::StatusCode::CONTINUE;
            // Fails if the response is already sent. The client then no longer waits for the 100.
            let _ = self.respond.send_informational(head);
        }
        if part.is_pending()
            && let Some(pace) = &mut self.pace
        {
            pace.on_pending(self.worker.clock.now_ms());
        }
        let fields = match ready!(part)? {
            BodyPart::Data(data) => {
                if let Some(pace) = &mut self.pace {
                    pace.on_data(data.len(), self.worker.clock.now_ms())?;
                }
                return Poll::Ready(Ok(Piece::Data(data)));
            }
            BodyPart::End => return Poll::Ready(Ok(Piece::End)),
            BodyPart::Trailers(fields) => fields,
        };
        if !has_valid_values(&fields) {
            let error = BodyError::Trailers(HeadError::Malformed("field value"));
            return Poll::Ready(Err(StreamError::Body(error).into()));
        }
        let mut builder = HeadBuilder::response(0, fields.len());
        for (name, value) in &fields {
            builder.field(name.as_str().as_bytes(), value.as_bytes());
        }
        let mut trailers = builder.build();
        let underscore_names = self.worker.settings.requests.underscore_names;
        headers::sanitize(&mut trailers, underscore_names, &self.worker.counters);
        Poll::Ready(Ok(Piece::Trailers(trailers)))
    }
}

impl BodyWriter for Http2Downstream<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.writer.as_mut().map_or(Poll::Ready(Ok(())), |writer| writer.poll_ready(cx))
    }

    fn write(&mut self, piece: Piece) -> Result<(), StreamError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        match piece {
            Piece::Data(data) => writer.write(data)?,
            Piece::End => writer.finish(None),
            Piece::Trailers(trailers) => writer.finish(Some(header_map(|field| {
                for (known, name, value) in trailers.fields() {
                    if is_trailer_allowed(known, name) {
                        field(name, value);
                    }
                }
            }))),
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.writer.as_mut().map_or(Poll::Ready(Ok(())), |writer| writer.poll_flush(cx))
    }
}

impl Downstream for Http2Downstream<'_> {
    fn send_head(&mut self, response: &DownstreamResponse<'_>) -> Result<(), StreamError> {
        let mut head = response_head(response);
        if let BodyLength::Exact(length) = response.length {
            head.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        let is_empty = response.length.has_no_body();
        let ends_stream = is_empty || response.is_head_request;
        let stream = self.respond.send_response(head, ends_stream)?;
        self.writer = (!ends_stream).then(|| StreamWriter::new(stream, Rc::clone(&self.queue)));
        Ok(())
    }

    fn send_informational(&mut self, response: &DownstreamResponse<'_>) -> Result<(), StreamError> {
        Ok(self.respond.send_informational(response_head(response))?)
    }

    /// Does nothing: a client cancels the stream beside its body.
    fn discard_body(&mut self) {}

    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        self.body.read_ahead(cx);
        self.poll_reset(cx).map(|()| Abort::ClientReset)
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
