//! One HTTP/2 connection: handshake, its streams, and its close.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http1::HeadLimits;

use super::io::{PrefixedTransport, WriteObserver};
use super::send_queue::{QueuedData, SendQueue};
use super::stream::{StreamContext, StreamCounts, serve_stream};
use crate::data::drain::{OnDrain, Phase};
use crate::data::exchange::abort::Abort;
use crate::data::exchange::client::Codec;
use crate::data::exchange::{Client, Worker};
use crate::data::listener::linger::{LINGER_TIMEOUT, linger};
use crate::data::listener::transport::Transport;
use crate::data::wire::clock::Timer;

/// Maximum concurrent streams of a connection.
const MAX_CONCURRENT_STREAMS: u32 = 100;

/// Bytes that a client may send before the gateway has read them, per stream.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;

/// Bytes that a client may send before the gateway has read them, per connection. As many as all streams may send, so that
/// uploads which an endpoint does not read leave window for the other streams. What a client makes the gateway hold in
/// this way, it has sent.
const CONNECTION_WINDOW_BYTES: u32 = MAX_CONCURRENT_STREAMS * STREAM_WINDOW_BYTES;

/// Maximum bytes buffered for a slow client, per stream.
const SEND_BUFFER_BYTES: usize = 64 << 10;

type ServerConnection<'a> = h2::server::Connection<PrefixedTransport<'a>, QueuedData>;

/// Serves a connection until it closes. `prefix` holds the bytes already read from `transport`.
///
/// # Cancellation
/// Dropping the future aborts all requests in flight.
pub(in crate::data::listener) async fn serve(
    worker: &Worker,
    mut client: Box<Client>,
    mut transport: Transport,
    prefix: Bytes,
) {
    client.codec = Codec::Http2;
    let timer = worker.clock.timer();
    timer.set(worker.settings.timeouts.request_header);
    let writes = WriteObserver::default();
    let session = Session { worker, client: &client, timer: &timer, writes: &writes };
    let prefixed = PrefixedTransport { prefix, transport: &mut transport, writes: &writes };
    let handshake = server_builder(worker.settings.limits.head).handshake::<_, QueuedData>(prefixed);
    // Boxed: it would be more than half of the future of an idle connection.
    let handshake = Box::pin(worker.drain.limit(&timer, OnDrain::Grace(LINGER_TIMEOUT), handshake));
    let mut connection = match handshake.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return session.report_failure(&error),
        Err(_) => return,
    };
    let close = serve_streams(session, &mut connection).await;
    drop(connection);
    match close {
        // A client that is still reading sends frames, which a closed socket would reset.
        CloseKind::Graceful => linger(&mut transport, &timer).await,
        CloseKind::Abrupt => {}
    }
}

/// Returns the settings of a connection. The largest header list is the largest head; each field counts for 32 bytes
/// more (RFC 9113 §6.5.2).
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

/// How a connection closes.
enum CloseKind {
    /// The kernel has all bytes for the client.
    Graceful,
    /// Bytes for the client may be lost.
    Abrupt,
}

/// The next event of a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "it moves once per request, which costs less than an allocation"
)]
enum ConnectionEvent {
    /// A stream has ended.
    StreamEnded,
    /// A request has arrived.
    Request(http::Request<RecvStream>, SendResponse<QueuedData>),
    /// The connection has closed in order.
    Closed,
    /// The client violated the protocol, or the connection is lost.
    Failed(h2::Error),
}

/// How far a connection is on its way to its close.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifecycle {
    /// No request yet. The connection accepts one even while the worker drains, since its client may not know another
    /// gateway.
    New,
    /// The connection has carried requests, and closes when the worker drains.
    Used,
    /// GOAWAY is sent. With `had_streams` the client may still read responses that `h2` has already written.
    Closing { had_streams: bool },
}

impl Lifecycle {
    fn on_drain(self) -> OnDrain {
        match self {
            Self::New => OnDrain::StopAt(Phase::Closing),
            Self::Used => OnDrain::StopAt(Phase::Draining),
            Self::Closing { .. } => OnDrain::Ignore,
        }
    }

    fn is_closing(self) -> bool {
        match self {
            Self::New | Self::Used => false,
            Self::Closing { .. } => true,
        }
    }
}

/// Whether all data of a closing connection has reached its client. The streams' futures end when `h2` accepts their
/// data, which the client may read much later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// The client has all data.
    Done,
    /// Data waits for the client's window or the socket, or the client has not acknowledged the data before GOAWAY.
    /// It acknowledges that data by the response to the PING that accompanies GOAWAY.
    Pending,
}

impl Flush {
    /// Returns the timeout to set when `self` follows `previous`, or `None` if the present one remains. A client that
    /// reads may take the stall timeout between two reads.
    fn timeout(self, previous: Self, has_progressed: bool, stall: Duration) -> Option<Duration> {
        match (previous, self) {
            (Self::Pending, Self::Pending) => has_progressed.then_some(stall),
            (Self::Done, Self::Pending) => Some(stall),
            (Self::Pending, Self::Done) => Some(LINGER_TIMEOUT),
            (Self::Done, Self::Done) => None,
        }
    }
}

/// The values that all streams of a connection share.
#[derive(Clone, Copy)]
struct Session<'a> {
    worker: &'a Worker,
    client: &'a Client,
    timer: &'a Timer,
    writes: &'a WriteObserver,
}

/// Serves the streams of a connection as futures of this task. No task is spawned for a request, and no stream outlives
/// its connection.
async fn serve_streams(session: Session<'_>, connection: &mut ServerConnection<'_>) -> CloseKind {
    let Session { worker, client, timer, .. } = session;
    let counts = StreamCounts::default();
    let queue = SendQueue::new(Rc::clone(&worker.send_budget));
    let context = StreamContext { worker, client, counts: &counts, queue: &queue };
    let mut streams = FuturesUnordered::new();
    let mut lifecycle = Lifecycle::New;
    let idle = worker.idle.register(client.peer, timer, worker.clock.now_ms());
    loop {
        idle.set_busy();
        if session.set_timeout(streams.is_empty(), lifecycle) {
            idle.set_idle(worker.clock.now_ms());
        }
        let mut flush = Flush::Done;
        let event = std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {
                return Poll::Ready(ConnectionEvent::StreamEnded);
            }
            let event = session.poll_accept(connection, cx);
            if let Lifecycle::Closing { had_streams } = lifecycle
                && streams.is_empty()
            {
                let has_unread = had_streams || connection.has_streams();
                flush = session.update_timeout(flush, has_unread);
            }
            event
        });
        match worker.drain.limit(timer, lifecycle.on_drain(), event).await {
            // The next iteration selects the timeout.
            Ok(ConnectionEvent::StreamEnded) => {}
            Ok(ConnectionEvent::Request(request, respond)) => {
                if counts.has_excess_resets() {
                    session.report(Abort::StreamRefused);
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    if !lifecycle.is_closing() {
                        lifecycle = Lifecycle::Closing { had_streams: false };
                    }
                    continue;
                }
                if lifecycle == Lifecycle::New {
                    lifecycle = Lifecycle::Used;
                }
                // Boxed: it is several KiB, which the set would move twice more.
                streams.push(Box::pin(serve_stream(context, request, respond)));
            }
            Ok(ConnectionEvent::Failed(error)) => {
                session.report_failure(&error);
                return CloseKind::Abrupt;
            }
            // A client that floods the gateway gets no lingering close.
            Ok(ConnectionEvent::Closed) if counts.has_excess_resets() => return CloseKind::Abrupt,
            Ok(ConnectionEvent::Closed) => return CloseKind::Graceful,
            Err(_) if lifecycle.is_closing() => return CloseKind::Abrupt,
            Err(_) => {
                lifecycle = Lifecycle::Closing { had_streams: !streams.is_empty() };
                connection.graceful_shutdown();
            }
        }
    }
}

impl Session<'_> {
    /// Sets the timeout of the connection. Returns true if it is idle, and not closing.
    fn set_timeout(&self, is_idle: bool, lifecycle: Lifecycle) -> bool {
        match (is_idle, lifecycle.is_closing()) {
            (true, false) => self.timer.set(self.worker.settings.timeouts.keep_alive),
            (true, true) => self.timer.set(LINGER_TIMEOUT),
            // Each stream has its own timeouts.
            (false, _) => self.timer.clear(),
        }
        is_idle && !lifecycle.is_closing()
    }

    /// Waits for the next request, and drives the connection meanwhile.
    fn poll_accept(
        &self,
        connection: &mut ServerConnection<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionEvent> {
        let accepted = connection.poll_accept(cx);
        if let Poll::Ready(Some(Ok((_, respond)))) = &accepted {
            self.writes.on_accept(respond.stream_id());
        } else {
            self.writes.report_rejected(self.worker, self.client);
        }
        Poll::Ready(match ready!(accepted) {
            Some(Ok((request, respond))) => ConnectionEvent::Request(request, respond),
            Some(Err(error)) => ConnectionEvent::Failed(error),
            None => ConnectionEvent::Closed,
        })
    }

    /// Sets the timeout of a closing connection without streams, and returns its state. `has_unread` is true if the
    /// client may not have read all responses.
    fn update_timeout(&self, previous: Flush, has_unread: bool) -> Flush {
        let is_pending = has_unread || self.writes.is_blocked();
        let flush = if is_pending { Flush::Pending } else { Flush::Done };
        let stall = self.worker.settings.timeouts.stall;
        if let Some(timeout) = flush.timeout(previous, self.writes.take_progress(), stall) {
            self.timer.set(timeout);
        }
        flush
    }

    /// Reports a connection that fails. If the client violated the protocol, `h2` ends it before its requests appear.
    fn report_failure(&self, error: &h2::Error) {
        tracing::debug!(client = %self.client.peer, %error, "HTTP/2 connection failed");
        if error.is_library() {
            self.report(Abort::ClientMalformed);
        }
    }

    fn report(&self, abort: Abort) {
        self.worker.report_connection(self.client.connection_info(), abort);
    }
}
