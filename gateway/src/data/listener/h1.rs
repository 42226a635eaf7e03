//! HTTP/1.1 connections: requests in sequence over one connection.
//!
//! Between requests a connection is [`serve`]'s future and nothing else: no buffer, no exchange. While a head is
//! incomplete, the connection also keeps the bytes received so far.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use http1::{BodyLength, Head};

use self::downstream::{Http1Downstream, Persistence};
use self::request::{Incoming, poll_incoming};
use super::linger::{LINGER_TIMEOUT, linger};
use super::transport::Transport;
use crate::data::drain::{OnDrain, Phase};
use crate::data::exchange::abort::Abort;
use crate::data::exchange::headers;
use crate::data::exchange::record;
use crate::data::exchange::reply_reason::ReplyReason;
use crate::data::exchange::{
    self, Client, ExchangeOutcome, InvalidRequest, Request, Tunnel, TunnelEnd, Worker,
};
use crate::data::wire::clock::Timer;
use crate::data::wire::h1::Connection;
use crate::data::wire::{BodyReader, Piece, StreamError};
use crate::observe::access_log::RequestFields;
use crate::observe::counters::GaugeGuard;

mod downstream;
mod request;

/// Maximum bytes of an unread request body that are read to keep the connection. For larger bodies closing is cheaper.
const MAX_DRAINED_BYTES: usize = 64 << 10;

/// The next step of a connection, after its readable input was served.
enum NextAction {
    /// Wait for the next request.
    AwaitRequest,
    /// Wait for more input: there was none, or an incomplete head.
    AwaitInput,
    /// Close.
    Close,
    /// Close so that the client can read its response first.
    Linger,
    /// Close so that the client does not see an orderly end.
    Reset,
    /// Continue with HTTP/2, whose preface is still unread.
    ServeHttp2,
    /// Copy bytes between client and endpoint.
    RunTunnel(Tunnel),
}

/// Why a waiting connection continues.
enum Wake {
    /// Input is readable.
    Readable,
    /// The request head is incomplete, and its time has passed.
    HeadTimeout,
}

/// Whether a connection has carried a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConnectionAge {
    New,
    Used,
}

/// The state of a connection between two reads.
struct ReadState {
    age: ConnectionAge,
    /// Set while a head is incomplete. Its timeout then runs.
    has_partial_head: bool,
}

impl ReadState {
    fn on_drain(&self) -> OnDrain {
        match self.age {
            ConnectionAge::New | ConnectionAge::Used if self.has_partial_head => OnDrain::Ignore,
            ConnectionAge::New => OnDrain::Grace(LINGER_TIMEOUT),
            ConnectionAge::Used => OnDrain::StopAt(Phase::Closing),
        }
    }
}

/// One connection and the values that all its requests share. It exists only while input is served.
struct Session<'a> {
    worker: &'a Worker,
    client: &'a Client,
    connection: &'a mut Connection<Transport>,
    timer: &'a Timer,
    state: &'a mut ReadState,
}

/// Serves a connection until it closes. Returns the client if it sends the preface of HTTP/2, which is then unread.
///
/// # Cancellation
/// Dropping the future aborts the request in flight.
pub(super) async fn serve(
    worker: &Worker,
    client: Box<Client>,
    connection: &mut Connection<Transport>,
) -> Option<Box<Client>> {
    let timer = worker.clock.timer();
    let mut state = ReadState { age: ConnectionAge::New, has_partial_head: false };
    timer.set(worker.settings.timeouts.request_header);
    let idle = worker.idle.register(client.peer, &timer, worker.clock.now_ms());
    loop {
        let readable = std::future::poll_fn(|cx| connection.io().poll_readable(cx));
        let wake = match worker.drain.limit(&timer, state.on_drain(), readable).await {
            Ok(Ok(())) => Wake::Readable,
            Ok(Err(error)) => {
                log_lost(&client, &error);
                break;
            }
            Err(_) if state.has_partial_head => Wake::HeadTimeout,
            Err(_) => break,
        };
        idle.set_busy();
        let session = Session {
            worker,
            client: &client,
            connection: &mut *connection,
            timer: &timer,
            state: &mut state,
        };
        // Boxed, so that the futures of waiting connections are small.
        let next = Box::pin(session.serve_readable(wake)).await;
        match next {
            NextAction::AwaitRequest => {
                timer.set(worker.settings.timeouts.keep_alive);
                idle.set_idle(worker.clock.now_ms());
            }
            // The timeout runs on: bytes that complete no request do not extend it.
            NextAction::AwaitInput => {}
            NextAction::Close => break,
            NextAction::Linger => {
                connection.discard_input();
                connection.release_buffers(&worker.buffers);
                Box::pin(linger(connection.io(), &timer)).await;
                return None;
            }
            NextAction::Reset => {
                connection.io().reset_on_close();
                return None;
            }
            NextAction::ServeHttp2 => return Some(client),
            NextAction::RunTunnel(tunnel) => {
                // A tunnel may run for hours and does not use the client's fields.
                drop(client);
                let tunnel = Box::pin(tunnel.run(worker, connection, &timer));
                if let TunnelEnd::Broken(_) = tunnel.await {
                    connection.io().reset_on_close();
                }
                return None;
            }
        }
    }
    // TLS sends `close_notify`. For TCP this equals dropping the connection.
    timer.set(LINGER_TIMEOUT);
    let shutdown = timer.limit(std::future::poll_fn(|cx| connection.poll_shutdown(cx)));
    if let Ok(Err(error)) = shutdown.await {
        log_lost(&client, &error);
    }
    None
}

impl Session<'_> {
    /// Serves requests until no more input is readable, or replies that a head is late.
    async fn serve_readable(mut self, wake: Wake) -> NextAction {
        match wake {
            Wake::Readable => {}
            Wake::HeadTimeout => return self.reply_and_close(ReplyReason::HeadTimeout, None).await,
        }
        self.connection.acquire_buffers(&self.worker.buffers);
        // No task is woken: the caller waits for further input, without buffers.
        let mut cx = Context::from_waker(Waker::noop());
        // Tokio reports an accepted socket as readable without a check, so there may be no input yet.
        match self.connection.poll_fill(&mut cx) {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(Ok(0)) => return self.on_disconnect(None),
            Poll::Ready(Err(error)) => return self.on_disconnect(Some(error.into())),
            Poll::Pending => return self.await_input(),
        }
        loop {
            // Once for each head, also if it arrives in several parts.
            if !std::mem::replace(&mut self.state.has_partial_head, true) {
                self.timer.set(self.worker.settings.timeouts.request_header);
            }
            let may_be_http2 = self.state.age == ConnectionAge::New;
            let head = match poll_incoming(self.connection, may_be_http2, &mut cx) {
                Poll::Ready(Ok(Incoming::Request(head))) => head,
                Poll::Ready(Ok(Incoming::Http2)) if self.client.is_on_tls_port() => {
                    return self.reply_and_close(ReplyReason::PlainHttp, None).await;
                }
                Poll::Ready(Ok(Incoming::Http2)) => return NextAction::ServeHttp2,
                Poll::Ready(Ok(Incoming::Closed)) => return NextAction::Close,
                Poll::Ready(Err(StreamError::Head(error))) => {
                    return self.reply_and_close(ReplyReason::InvalidHead(error), None).await;
                }
                Poll::Ready(Err(error)) => return self.on_disconnect(Some(error)),
                Poll::Pending => return self.await_input(),
            };
            *self.state = ReadState { age: ConnectionAge::Used, has_partial_head: false };
            let next = self.serve_request(head).await;
            if !matches!(next, NextAction::AwaitRequest) {
                return next;
            }
            if self.connection.has_input() {
                continue;
            }
            if self.connection.io().may_buffer_input() {
                match self.connection.poll_fill(&mut cx) {
                    Poll::Ready(Ok(1..)) => continue,
                    Poll::Ready(Ok(0)) => return NextAction::Close,
                    Poll::Ready(Err(error)) => {
                        log_lost(self.client, &error);
                        return NextAction::Close;
                    }
                    Poll::Pending => {}
                }
            }
            self.connection.release_buffers(&self.worker.buffers);
            return NextAction::AwaitRequest;
        }
    }

    fn await_input(&mut self) -> NextAction {
        self.connection.release_buffers(&self.worker.buffers);
        NextAction::AwaitInput
    }

    /// Reports an incomplete head of a client that has disconnected.
    fn on_disconnect(&self, error: Option<StreamError>) -> NextAction {
        if let Some(error) = error {
            tracing::debug!(client = %self.client.peer, %error, "connection lost before a complete request head");
        }
        if self.connection.has_input() {
            let client = self.client;
            self.worker.report_connection(client.connection_info(), Abort::HeadUnfinished);
        }
        NextAction::Close
    }

    async fn serve_request(&mut self, mut head: Head) -> NextAction {
        headers::sanitize(&mut head, self.worker.settings.requests.underscore_names, &self.worker.counters);
        let length = match BodyLength::from_request(&head) {
            Ok(length) if !self.client.is_on_tls_port() => length,
            framing => {
                let destination = exchange::parse_destination(&head).ok();
                let fields = record::request_fields(self.client, &head, destination.as_ref());
                let reason = framing.map_or(ReplyReason::MalformedFraming, |_| ReplyReason::PlainHttp);
                return self.reply_and_close(reason, Some(fields)).await;
            }
        };
        self.connection.start_receiving_body(length);
        let mut downstream = Http1Downstream::for_request(self.worker, self.connection, &head, length);
        // RFC 9112 §9.6: the client declares its last request. Closing after it leaves no byte unread. Requests with a
        // body do not count: some old clients send an additional line end after it.
        let is_final = length == BodyLength::Empty && downstream.persistence() == Persistence::Close;
        let request = Request { head: &head, length, client: self.client };
        let served = exchange::serve(self.worker, request, &mut downstream, self.timer).await;
        let persistence = downstream.persistence();
        match served {
            // An orderly close would end the incomplete body.
            ExchangeOutcome::Aborted if persistence == Persistence::CloseDelimited => NextAction::Reset,
            ExchangeOutcome::Aborted => NextAction::Close,
            ExchangeOutcome::CompletedThenClose => NextAction::Linger,
            ExchangeOutcome::Completed if is_final && !self.connection.io().may_buffer_input() => {
                NextAction::Close
            }
            ExchangeOutcome::Completed if persistence != Persistence::KeepAlive => NextAction::Linger,
            ExchangeOutcome::Completed if self.connection.is_body_read() => NextAction::AwaitRequest,
            ExchangeOutcome::Completed => self.drain_body().await,
            ExchangeOutcome::Upgraded(tunnel) => NextAction::RunTunnel(tunnel),
        }
    }

    /// Reads the rest of an unread body, if it is short and arrives within [`LINGER_TIMEOUT`].
    async fn drain_body(&mut self) -> NextAction {
        self.timer.set(LINGER_TIMEOUT);
        let mut budget = MAX_DRAINED_BYTES;
        let drained = self.timer.limit(std::future::poll_fn(|cx| {
            loop {
                match ready!(self.connection.poll_piece(cx)) {
                    Ok(Piece::Data(data)) if data.len() <= budget => budget -= data.len(),
                    Ok(Piece::End | Piece::Trailers(_)) => return Poll::Ready(Ok(NextAction::AwaitRequest)),
                    Ok(Piece::Data(_)) => return Poll::Ready(Ok(NextAction::Linger)),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }));
        match drained.await {
            Ok(Ok(next)) => next,
            Ok(Err(error)) => {
                tracing::debug!(client = %self.client.peer, %error, "the rest of a request body is unreadable");
                NextAction::Linger
            }
            Err(_elapsed) => NextAction::Linger,
        }
    }

    /// Sends a local reply where there is no request to serve. `fields` is the readable part of the head.
    async fn reply_and_close(
        &mut self,
        reason: ReplyReason,
        fields: Option<RequestFields<'_>>,
    ) -> NextAction {
        let _in_flight =
            GaugeGuard::increment(&self.worker.counters, |counters| &counters.requests_in_flight);
        let is_head = fields.is_some_and(|fields| fields.method == b"HEAD");
        let mut downstream = Http1Downstream::for_local_reply(self.worker, self.connection, is_head);
        let invalid = InvalidRequest { reason, client: self.client, request: fields };
        match exchange::send_local_reply(self.worker, &mut downstream, self.timer, invalid).await {
            Ok(()) => NextAction::Linger,
            // Already in the access log.
            Err(_abort) => NextAction::Close,
        }
    }
}

fn log_lost(client: &Client, error: &io::Error) {
    tracing::debug!(client = %client.peer, %error, "idle connection lost");
}

#[cfg(test)]
mod tests;
