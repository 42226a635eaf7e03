//! HTTP/2 clients: the second filling of [`Downstream`], over the `h2` crate.
//!
//! Bounded from the first day: streams, header list, fields, resets, idle and stalled connections.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http1::body::is_trailer_allowed;
use http1::parse::{is_valid_host, is_valid_target};
use http1::{BodyLength, Head, HeadBuilder, HeadError, HeadLimits};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use frames::{Rejection, RejectionScanner};

use super::linger::{LINGER_TIMEOUT, linger};
use super::transport::Transport;
use crate::data::exchange::abort::Abort;
use crate::data::exchange::client::Codec;
use crate::data::exchange::headers::{self, Response};
use crate::data::exchange::reply_reason::ReplyReason;
use crate::data::exchange::{self, Client, Downstream, ExchangeOutcome, Request, Worker};
use crate::data::wire::buffers::BUFFER_BYTES;
use crate::data::wire::clock::{OnDrain, Phase, Timer};
use crate::data::wire::{BodyReader, BodyWriter, Piece, StreamError};
use crate::observe::access_log::RequestFields;
use crate::observe::counters::increment;
use crate::settings::UnderscoreNames;

mod frames;

/// Streams that may be open at once.
const MAX_CONCURRENT_STREAMS: u32 = 100;

/// Bytes that a client may send ahead, per stream and per connection.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Bytes that may wait for a slow client, per stream.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Streams that a client may reset before they are answered, beyond one in two: more is an attack
/// (CVE-2023-44487), since each costs us a request to an endpoint and the client nothing.
const MAX_EXCESS_RESETS: u64 = 100;

/// Fields that most answers do not exceed: beyond the room for them all are moved and hashed again.
const TYPICAL_FIELDS: usize = 12;

/// Streams of one connection that went each way.
#[derive(Debug, Default)]
struct StreamCounts {
    completed: Cell<u64>,
    reset: Cell<u64>,
}

impl StreamCounts {
    fn has_excess_resets(&self) -> bool {
        self.reset.get() > MAX_EXCESS_RESETS + self.completed.get() / 2
    }
}

/// Serves a client until one side has enough. `prefix` is what was already read from `transport`.
pub(super) async fn serve(worker: &Worker, mut client: Box<Client>, mut transport: Transport, prefix: Bytes) {
    client.codec = Codec::Http2;
    let timer = worker.clock.timer();
    timer.set(worker.settings.timeouts.request_header);
    let progress = WriteProgress::default();
    let prefixed = PrefixedTransport { prefix, transport: &mut transport, progress: &progress };
    let handshake = server_builder(worker.settings.limits.head).handshake::<_, Bytes>(prefixed);
    // Boxed: it would be more than half of what an idle connection holds.
    let handshake = Box::pin(timer.limit_on_drain(OnDrain::Grace(LINGER_TIMEOUT), handshake));
    let mut connection = match handshake.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return report_malformed(worker, &client, &error),
        Err(_) => return,
    };
    let close = serve_streams(worker, (&client, &timer), &mut connection, &progress).await;
    drop(connection);
    match close {
        // Whoever still reads says so by frames, which a closed socket would answer by a reset.
        CloseKind::Graceful => linger(&mut transport, &timer).await,
        CloseKind::Abrupt => {}
    }
}

/// How a connection ended.
enum CloseKind {
    /// All that was to be sent has gone to the kernel.
    Graceful,
    Abrupt,
}

/// Streams are futures of this one task: no task is spawned for a request, and none outlives its connection.
async fn serve_streams(
    worker: &Worker,
    (client, timer): (&Client, &Timer),
    connection: &mut h2::server::Connection<PrefixedTransport<'_>, Bytes>,
    progress: &WriteProgress,
) -> CloseKind {
    let counts = StreamCounts::default();
    let mut streams = FuturesUnordered::new();
    let mut is_closing = false;
    // Whether it was in use when it was to end: then the client may still have to read, whatever we have got rid of.
    let mut had_streams = false;
    // A client that comes while the gateway is leaving is served once before it is sent away: it may know no other.
    let mut end_phase = Phase::Closing;
    loop {
        match (streams.is_empty(), is_closing) {
            (true, false) => timer.set(worker.settings.timeouts.keep_alive),
            (true, true) => timer.set(LINGER_TIMEOUT),
            // Each stream has deadlines of its own.
            (false, _) => timer.clear(),
        }
        let mut flush = Flush::Done;
        let next = std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {
                return Poll::Ready(None);
            }
            let next = connection.poll_accept(cx).map(Some);
            match &next {
                Poll::Ready(Some(Some(Ok((_, respond))))) => progress.on_accept(respond.stream_id()),
                _ => progress.report_rejected(worker, client),
            }
            if is_closing && streams.is_empty() {
                let has_pending = had_streams || connection.has_streams() || progress.is_blocked.get();
                flush = flush.update(has_pending, progress, (timer, worker.settings.timeouts.stall));
            }
            next
        });
        let on_drain = if is_closing { OnDrain::Ignore } else { OnDrain::StopAt(end_phase) };
        let next = timer.limit_on_drain(on_drain, next).await;
        match next {
            // A stream ended: another deadline may apply.
            Ok(None) => {}
            Ok(Some(Some(Ok((request, respond))))) => {
                if counts.has_excess_resets() {
                    tracing::debug!("client resets too many streams");
                    worker.report_connection((client.peer, client.scheme, client.tls), Abort::StreamRefused);
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    is_closing = true;
                    continue;
                }
                end_phase = Phase::Draining;
                // Boxed: it is some kilobytes, which the set would move twice more.
                streams.push(Box::pin(serve_stream(worker, (client, &counts), request, respond)));
            }
            Ok(Some(Some(Err(error)))) => {
                report_malformed(worker, client, &error);
                return CloseKind::Abrupt;
            }
            // Nobody waits for who floods us.
            Ok(Some(None)) if counts.has_excess_resets() => return CloseKind::Abrupt,
            Ok(Some(None)) => return CloseKind::Graceful,
            Err(_) if is_closing => return CloseKind::Abrupt,
            Err(_) => {
                is_closing = true;
                had_streams = !streams.is_empty();
                connection.graceful_shutdown();
            }
        }
    }
}

/// Whether a connection that ends still has something for its client, when all streams' futures have ended: theirs end
/// when `h2` has taken what they had to say, which the client may read much later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// The client has but to see the end.
    Done,
    /// Bytes wait for the client's window, or for room in the socket; or the client has not yet said that it has read
    /// what came before our GOAWAY, as it does by answering the PING that goes with it.
    Pending,
}

impl Flush {
    /// Sets the deadline when there is reason to: a client that takes what it is owed has the time between two steps
    /// that any reader has.
    fn update(self, has_pending: bool, progress: &WriteProgress, (timer, stall): (&Timer, Duration)) -> Self {
        let has_progressed = progress.has_progressed.take();
        match (self, has_pending) {
            (Self::Pending, true) if !has_progressed => {}
            (_, true) => timer.set(stall),
            (Self::Pending, false) => timer.set(LINGER_TIMEOUT),
            (Self::Done, false) => {}
        }
        if has_pending { Self::Pending } else { Self::Done }
    }
}

/// What becomes of the bytes for a client.
#[derive(Debug, Default)]
struct WriteProgress {
    /// Whether the socket took any since this was last asked.
    has_progressed: Cell<bool>,
    /// Whether bytes wait for room in the socket.
    is_blocked: Cell<bool>,
    rejections: RefCell<RejectionScanner>,
}

impl WriteProgress {
    fn on_write(
        &self,
        written: Poll<io::Result<usize>>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_blocked.set(written.is_pending());
        self.has_progressed.set(self.has_progressed.get() || written.is_ready());
        if let Poll::Ready(Ok(mut remaining)) = written {
            for slice in slices {
                let (taken, _) = slice.split_at_checked(remaining).unwrap_or((slice, &[]));
                self.rejections.borrow_mut().on_write(taken);
                remaining -= taken.len();
            }
        }
        written
    }

    fn on_accept(&self, stream: h2::StreamId) {
        self.rejections.borrow_mut().on_accept(stream.as_u32());
    }

    /// Tells of requests that `h2` has refused, when it has handed over all others.
    fn report_rejected(&self, worker: &Worker, client: &Client) {
        self.rejections.borrow_mut().drain_rejected(|rejection| match rejection {
            Rejection::Response => {
                worker.report_local_reply(client, ReplyReason::InvalidHead(HeadError::TooLong))
            }
            Rejection::Reset(reason) => {
                let abort = match reason {
                    Reason::REFUSED_STREAM | Reason::ENHANCE_YOUR_CALM => Abort::StreamRefused,
                    _ => Abort::ClientMalformed,
                };
                worker.report_connection((client.peer, client.scheme, client.tls), abort);
            }
        });
    }
}

/// Tells of a connection that we end because the client breaks the protocol: what it wanted to ask never comes up.
fn report_malformed(worker: &Worker, client: &Client, error: &h2::Error) {
    if error.is_library() {
        worker.report_connection((client.peer, client.scheme, client.tls), Abort::ClientMalformed);
    }
}

/// The largest header list is the largest head, each field counting for 32 bytes more (RFC 9113 §6.5.2).
fn server_builder(limits: HeadLimits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(10)
        .max_pending_accept_reset_streams(20);
    builder
}

async fn serve_stream(
    worker: &Worker,
    (client, counts): (&Client, &StreamCounts),
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let timer = worker.clock.timer();
    let (parts, body) = request.into_parts();
    let length = body_length(&parts, &body);
    let expects_continue = parts.headers.get(http::header::EXPECT);
    let expects_continue =
        expects_continue.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let underscore_names = worker.settings.requests.underscore_names;
    let mut downstream =
        Http2Downstream { body, respond, send: None, pending_data: None, expects_continue, underscore_names };
    let served = match request_head(&parts, worker.settings.limits.head) {
        Ok(mut head) => {
            headers::sanitize(&mut head, underscore_names);
            let request = Request { head: &head, length, client };
            exchange::serve(worker, request, &mut downstream, &timer).await
        }
        Err(refusal) => {
            let asked = request_info(&parts);
            match exchange::send_local_reply(
                worker,
                (&mut downstream, &timer),
                refusal,
                (client, Some(asked)),
            )
            .await
            {
                Ok(()) => ExchangeOutcome::Completed,
                Err(_) => ExchangeOutcome::Aborted,
            }
        }
    };
    if downstream.is_reset() {
        increment(&counts.reset);
    } else {
        increment(&counts.completed);
    }
    if !matches!(served, ExchangeOutcome::Completed | ExchangeOutcome::CompletedThenClose) {
        downstream.reset();
    }
}

/// How the body is framed, seen from HTTP/1.1. The `h2` crate has checked that Content-Length tells the truth.
fn body_length(parts: &http::request::Parts, body: &RecvStream) -> BodyLength {
    let declared = parts.headers.get(http::header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    match declared {
        Some(length) => BodyLength::Exact(length),
        None if body.is_end_stream() => BodyLength::Empty,
        None => BodyLength::Chunked,
    }
}

/// What can be told of a header block that is no head.
fn request_info(parts: &http::request::Parts) -> RequestFields<'_> {
    let host = || Some(parts.headers.get(http::header::HOST)?.as_bytes());
    let user_agent = parts.headers.get(http::header::USER_AGENT);
    RequestFields {
        protocol: "HTTP/2",
        method: parts.method.as_str().as_bytes(),
        host: parts.uri.authority().map(|host| host.as_str().as_bytes()).or_else(host).unwrap_or_default(),
        path: parts.uri.path().as_bytes(),
        has_query: parts.uri.query().is_some(),
        user_agent: user_agent.map(|value| value.as_bytes()),
    }
}

/// Turns a header block into the one form of a head.
fn request_head(parts: &http::request::Parts, limits: HeadLimits) -> Result<Head, ReplyReason> {
    if parts.headers.len() > limits.fields {
        return Err(ReplyReason::TooManyFields);
    }
    if parts.method == http::Method::CONNECT {
        return Err(ReplyReason::InvalidHead(HeadError::Connect));
    }
    // Of a fragment nothing has remained: the `http` crate cuts it off.
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes();
    if target.len() > limits.target_bytes {
        return Err(ReplyReason::InvalidHead(HeadError::TargetTooLong));
    }
    if !is_valid_target(parts.method.as_str().as_bytes(), target) {
        return Err(ReplyReason::InvalidHead(HeadError::Malformed("request target")));
    }
    let mut builder = HeadBuilder::request(parts.method.as_str().as_bytes(), target, parts.headers.len() + 1);
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(|host| host.as_bytes());
    if hosts.next().is_some() {
        return Err(ReplyReason::InvalidHead(HeadError::SeveralHosts));
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(ReplyReason::InvalidHead(HeadError::HostMismatch));
        }
        (Some(host), _) | (None, Some(host)) if !is_valid_host(host) => {
            return Err(ReplyReason::MalformedHost);
        }
        (Some(host), _) | (None, Some(host)) => builder.field(b"host", host),
        (None, None) => return Err(ReplyReason::InvalidHead(HeadError::NoHost)),
    }
    // RFC 9113 §8.2.3: a cookie may come in crumbs, which HTTP/1.1 does not know.
    let crumbs: Vec<_> =
        parts.headers.get_all(http::header::COOKIE).iter().map(|crumb| crumb.as_bytes()).collect();
    if !crumbs.is_empty() {
        builder.field(b"cookie", &crumbs.join(&b"; "[..]));
    }
    for (name, value) in &parts.headers {
        if *name != http::header::HOST && *name != http::header::COOKIE {
            builder.field(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    Ok(builder.build())
}

/// One stream.
struct Http2Downstream {
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// There once the response head is sent with more to come.
    send: Option<SendStream<Bytes>>,
    /// The last data taken: sent when it is known whether it is the last at all, which saves a frame.
    pending_data: Option<Bytes>,
    /// Whether the client waits for a 100 before it sends the body.
    expects_continue: bool,
    underscore_names: UnderscoreNames,
}

impl Http2Downstream {
    /// Whether the client gave the stream up.
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
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        loop {
            if self.body.is_end_stream() {
                return Poll::Ready(Ok(Piece::End));
            }
            let data = self.body.poll_data(cx);
            if data.is_pending() && std::mem::take(&mut self.expects_continue) {
                let mut head = http::Response::new(());
                *head.status_mut() = http::StatusCode::CONTINUE;
                // Refused if the answer is out already: then nobody waits for it.
                let _ = self.respond.send_informational(head);
            }
            let Some(data) = ready!(data).transpose()? else { break };
            self.body.flow_control().release_capacity(data.len())?;
            if !data.is_empty() {
                return Poll::Ready(Ok(Piece::Data(data)));
            }
        }
        let trailers = ready!(self.body.poll_trailers(cx))?;
        Poll::Ready(Ok(trailers.map_or(Piece::End, |trailers| {
            let mut builder = HeadBuilder::response(0, trailers.len());
            for (name, value) in &trailers {
                builder.field(name.as_str().as_bytes(), value.as_bytes());
            }
            let mut trailers = builder.build();
            headers::sanitize(&mut trailers, self.underscore_names);
            Piece::Trailers(trailers)
        })))
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
            // The client's window may be smaller than a piece, and never have room for more than that.
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
        // The connection's own future sends what was handed over.
        if let (Some(send), Some(pending)) = (&mut self.send, self.pending_data.take()) {
            send.send_data(pending, false)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Downstream for Http2Downstream {
    fn send_head(&mut self, response: &Response<'_>) -> Result<(), StreamError> {
        let mut head = http::Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(response.status).unwrap_or_default();
        *head.headers_mut() = header_map(|field| response.for_each_field(field));
        if let BodyLength::Exact(length) = response.length {
            head.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        let is_empty = matches!(response.length, BodyLength::Empty | BodyLength::Exact(0));
        let ends_stream = is_empty || response.is_head_request;
        let send = self.respond.send_response(head, ends_stream)?;
        self.send = (!ends_stream).then_some(send);
        Ok(())
    }

    fn send_informational(&mut self, response: &Response<'_>) -> Result<(), StreamError> {
        let mut head = http::Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(response.status).unwrap_or_default();
        *head.headers_mut() = header_map(|field| response.for_each_field(field));
        Ok(self.respond.send_informational(head)?)
    }

    /// A client that gives up says so beside its body.
    fn discard_body(&mut self) {}

    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        let state = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        // An error says that the answer has been sent, or that the connection ends and all its streams with it.
        if matches!(state, Poll::Ready(Ok(_))) { Poll::Ready(Abort::ClientReset) } else { Poll::Pending }
    }
}

/// Collects fields. Names and values that HTTP/2 cannot carry were refused when they were parsed.
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

/// A stream whose first bytes were read already.
struct PrefixedTransport<'a> {
    prefix: Bytes,
    transport: &'a mut Transport,
    progress: &'a WriteProgress,
}

impl AsyncRead for PrefixedTransport<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut *self.transport).poll_read(cx, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PrefixedTransport<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.transport).poll_write(cx, data);
        self.progress.on_write(written, &[io::IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.transport).poll_write_vectored(cx, slices);
        self.progress.on_write(written, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.transport).poll_flush(cx);
        self.progress.is_blocked.set(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport).poll_shutdown(cx)
    }
}
