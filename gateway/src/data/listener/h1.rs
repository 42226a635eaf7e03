//! HTTP/1.1 clients: requests one after the other over one connection.
//!
//! Between requests a connection is [`serve`]'s future and nothing else: no buffer, no exchange. While a head has not
//! come to its end, it is that and what has come.

use std::task::{Context, Poll, Waker, ready};

use http1::{BodyLength, Head, KnownName, Version, write};

use self::pace::BodyPace;
use super::linger::{LINGER_TIMEOUT, linger};
use super::transport::Transport;
use crate::data::exchange::abort::Abort;
use crate::data::exchange::headers::{self, Response, is_keep_alive};
use crate::data::exchange::record;
use crate::data::exchange::reply_reason::ReplyReason;
use crate::data::exchange::{self, Client, Downstream, ExchangeOutcome, Request, Tunnel, TunnelEnd, Worker};
use crate::data::wire::clock::{OnDrain, Phase, Timer, WaitError};
use crate::data::wire::h1::Connection;
use crate::data::wire::{BodyReader, BodyWriter, Piece, StreamError};
use crate::observe::access_log::RequestFields;
use crate::observe::counters::GaugeGuard;

mod pace;

/// How HTTP/2 with prior knowledge begins (RFC 9113 §3.4); no HTTP/1.1 request looks like it.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So much of a body that nobody wants is read to keep the connection; beyond it, closing is cheaper.
const MAX_DRAINED_BYTES: usize = 64 << 10;

/// What becomes of a connection after what was readable has been served.
enum NextAction {
    AwaitRequest,
    /// There was nothing to read after all, or part of a head.
    AwaitInput,
    Close,
    /// Close so that the client can read its answer first.
    Linger,
    /// Close so that the client cannot take it for an orderly end.
    Reset,
    ServeHttp2,
    RunTunnel(Tunnel),
}

/// Whether a connection has carried a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConnectionAge {
    New,
    Used,
}

/// How much a client has sent.
struct ReadState {
    age: ConnectionAge,
    /// Part of a head, whose deadline runs.
    has_partial_head: bool,
}

/// Serves a client until one side has enough. Gives the client back if it begins with HTTP/2's preface, which is then
/// still to be read.
pub(super) async fn serve(
    worker: &Worker,
    client: Box<Client>,
    connection: &mut Connection<Transport>,
) -> Option<Box<Client>> {
    let timer = worker.clock.timer();
    let mut state = ReadState { age: ConnectionAge::New, has_partial_head: false };
    timer.set(worker.settings.timeouts.request_header);
    loop {
        let readable = std::future::poll_fn(|cx| connection.io().poll_readable(cx));
        let on_drain = match state.age {
            _ if state.has_partial_head => OnDrain::Ignore,
            ConnectionAge::New => OnDrain::Grace(LINGER_TIMEOUT),
            ConnectionAge::Used => OnDrain::StopAt(Phase::Closing),
        };
        let readiness = match timer.limit_on_drain(on_drain, readable).await {
            Ok(Ok(())) => Ok(()),
            Err(late) if state.has_partial_head => Err(late),
            _ => break,
        };
        // On the heap for as long as it runs, so that waiting connections stay small.
        match Box::pin(serve_readable(worker, &client, (connection, &timer), &mut state, readiness)).await {
            NextAction::AwaitRequest => timer.set(worker.settings.timeouts.keep_alive),
            // The deadline stays: bytes that make no request win no time.
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
                // What only requests need is not to be kept for hours.
                drop(client);
                if let TunnelEnd::Broken(_) = Box::pin(tunnel.run(worker, connection, &timer)).await {
                    connection.io().reset_on_close();
                }
                return None;
            }
        }
    }
    // An orderly end for TLS; for TCP the same as dropping.
    timer.set(LINGER_TIMEOUT);
    let _ = timer.limit(std::future::poll_fn(|cx| connection.poll_shutdown(cx))).await;
    None
}

/// Serves requests until nothing more is readable, or answers that a head came too late.
async fn serve_readable(
    worker: &Worker,
    client: &Client,
    (connection, timer): (&mut Connection<Transport>, &Timer),
    state: &mut ReadState,
    readiness: Result<(), WaitError>,
) -> NextAction {
    if readiness.is_err() {
        return reply_and_close((worker, client), (connection, timer), ReplyReason::HeadTimeout, None).await;
    }
    connection.acquire_buffers(&worker.buffers);
    // Nothing is woken: what is not there yet is waited for without buffers.
    let mut cx = Context::from_waker(Waker::noop());
    // Tokio takes an accepted socket for readable without asking: the client may have sent nothing yet.
    match connection.poll_fill(&mut cx) {
        Poll::Ready(Ok(1..)) => {}
        Poll::Ready(_) => return on_disconnect((worker, client), connection),
        Poll::Pending => {
            connection.release_buffers(&worker.buffers);
            return NextAction::AwaitInput;
        }
    }
    loop {
        // Once for each head, however many pieces it comes in.
        if !std::mem::replace(&mut state.has_partial_head, true) {
            timer.set(worker.settings.timeouts.request_header);
        }
        let head = match poll_request(connection, state.age, &mut cx) {
            Poll::Ready(Ok(Incoming::Request(head))) => head,
            Poll::Ready(Ok(Incoming::Http2)) => return NextAction::ServeHttp2,
            Poll::Ready(Ok(Incoming::Closed)) => return NextAction::Close,
            Poll::Ready(Err(StreamError::Head(error))) => {
                return reply_and_close(
                    (worker, client),
                    (connection, timer),
                    ReplyReason::InvalidHead(error),
                    None,
                )
                .await;
            }
            Poll::Ready(Err(_lost)) => return on_disconnect((worker, client), connection),
            Poll::Pending => {
                connection.release_buffers(&worker.buffers);
                return NextAction::AwaitInput;
            }
        };
        *state = ReadState { age: ConnectionAge::Used, has_partial_head: false };
        let next = serve_request(worker, client, (connection, timer), head).await;
        if !matches!(next, NextAction::AwaitRequest) {
            return next;
        }
        if connection.has_input() {
            continue;
        }
        if connection.io().may_buffer_input() {
            match connection.poll_fill(&mut cx) {
                Poll::Ready(Ok(1..)) => continue,
                Poll::Ready(_) => return NextAction::Close,
                Poll::Pending => {}
            }
        }
        connection.release_buffers(&worker.buffers);
        return NextAction::AwaitRequest;
    }
}

/// Closes after a client that has left, and tells of the head that it began.
fn on_disconnect((worker, client): (&Worker, &Client), connection: &Connection<Transport>) -> NextAction {
    if connection.has_input() {
        worker.report_connection((client.peer, client.scheme, client.tls), Abort::HeadUnfinished);
    }
    NextAction::Close
}

/// What a client begins with.
enum Incoming {
    Request(Head),
    Http2,
    Closed,
}

fn poll_request(
    connection: &mut Connection<Transport>,
    age: ConnectionAge,
    cx: &mut Context<'_>,
) -> Poll<Result<Incoming, StreamError>> {
    if age == ConnectionAge::New && ready!(poll_preface(connection, cx))? {
        return Poll::Ready(Ok(Incoming::Http2));
    }
    let head = ready!(connection.poll_head(http1::parse::request, cx))?;
    Poll::Ready(Ok(head.map_or(Incoming::Closed, Incoming::Request)))
}

/// Tells whether the client begins with HTTP/2's preface, as soon as its bytes tell.
fn poll_preface(
    connection: &mut Connection<Transport>,
    cx: &mut Context<'_>,
) -> Poll<Result<bool, StreamError>> {
    loop {
        let input = connection.input();
        let prefix = input.get(..input.len().min(HTTP2_PREFACE.len())).unwrap_or_default();
        if !HTTP2_PREFACE.starts_with(prefix) || prefix.len() == HTTP2_PREFACE.len() {
            return Poll::Ready(Ok(prefix == HTTP2_PREFACE));
        }
        // A client that closes here has sent the beginning of a head at most: reading that finds out.
        if ready!(connection.poll_fill(cx))? == 0 {
            return Poll::Ready(Ok(false));
        }
    }
}

async fn serve_request(
    worker: &Worker,
    client: &Client,
    (connection, timer): (&mut Connection<Transport>, &Timer),
    mut head: Head,
) -> NextAction {
    headers::sanitize(&mut head, worker.settings.requests.underscore_names);
    let Ok(length) = BodyLength::from_request(&head) else {
        let request = Request { head: &head, length: BodyLength::Empty, client };
        let destination = exchange::parse_destination(&head).ok();
        let destination = destination.as_ref().map(|(host, path)| (&**host, &**path));
        let asked = record::request_fields(&request, destination);
        return reply_and_close(
            (worker, client),
            (connection, timer),
            ReplyReason::MalformedFraming,
            Some(asked),
        )
        .await;
    };
    connection.start_receiving_body(length);
    let mut downstream = Http1Downstream {
        worker,
        connection,
        version: head.version(),
        persistence: if is_keep_alive(&head) { Persistence::KeepAlive } else { Persistence::Close },
        // RFC 9110 §10.1.1: an HTTP/1.0 client knows no interim answer, whatever it expects.
        expects_continue: head.version() == Version::Http11
            && head.has_token(KnownName::Expect, b"100-continue")
            && length != BodyLength::Empty,
        discards_body: false,
        has_upgrade: head.get(KnownName::Upgrade).is_some(),
        is_head_request: head.method() == b"HEAD",
        pace: BodyPace::new(length, worker.settings.limits.min_body_rate),
    };
    let request = Request { head: &head, length, client };
    let served = exchange::serve(worker, request, &mut downstream, timer).await;
    let persistence = downstream.persistence;
    match served {
        // The close would end a body that is not whole.
        ExchangeOutcome::Aborted if persistence == Persistence::CloseDelimited => NextAction::Reset,
        ExchangeOutcome::Aborted => NextAction::Close,
        ExchangeOutcome::CompletedThenClose => NextAction::Linger,
        ExchangeOutcome::Completed
            if is_final_request(&head, length) && !connection.io().may_buffer_input() =>
        {
            NextAction::Close
        }
        ExchangeOutcome::Completed if persistence != Persistence::KeepAlive => NextAction::Linger,
        ExchangeOutcome::Completed if connection.is_body_read() => NextAction::AwaitRequest,
        ExchangeOutcome::Completed => drain_body((connection, timer)).await,
        ExchangeOutcome::Upgraded(tunnel) => NextAction::RunTunnel(tunnel),
    }
}

/// Reads what is left of a body that nobody wanted, if that is little and comes soon.
async fn drain_body((connection, timer): (&mut Connection<Transport>, &Timer)) -> NextAction {
    timer.set(LINGER_TIMEOUT);
    let mut budget = MAX_DRAINED_BYTES;
    let drained = timer.limit(std::future::poll_fn(|cx| {
        loop {
            match ready!(connection.poll_piece(cx)) {
                Ok(Piece::Data(data)) if data.len() <= budget => budget -= data.len(),
                Ok(Piece::End | Piece::Trailers(_)) => return Poll::Ready(NextAction::AwaitRequest),
                Ok(Piece::Data(_)) | Err(_) => return Poll::Ready(NextAction::Close),
            }
        }
    }));
    match drained.await {
        Ok(NextAction::AwaitRequest) => NextAction::AwaitRequest,
        _ => NextAction::Linger,
    }
}

/// Whether a client has promised that nothing follows its request (RFC 9112 §9.6): then no byte can be unread when the
/// connection is closed. Where there is a body, some old clients send a line end more than they say.
fn is_final_request(head: &Head, length: BodyLength) -> bool {
    length == BodyLength::Empty && !is_keep_alive(head)
}

/// Answers where there is no request to serve, and closes.
async fn reply_and_close(
    (worker, client): (&Worker, &Client),
    (connection, timer): (&mut Connection<Transport>, &Timer),
    refusal: ReplyReason,
    asked: Option<RequestFields<'_>>,
) -> NextAction {
    let _in_flight = GaugeGuard::increment(&worker.counters, |counters| &counters.requests_in_flight);
    let mut downstream = Http1Downstream {
        worker,
        connection,
        version: Version::Http11,
        persistence: Persistence::Close,
        expects_continue: false,
        discards_body: false,
        has_upgrade: false,
        is_head_request: asked.is_some_and(|asked| asked.method == b"HEAD"),
        pace: None,
    };
    match exchange::send_local_reply(worker, (&mut downstream, timer), refusal, (client, asked)).await {
        Ok(()) => NextAction::Linger,
        Err(_) => NextAction::Close,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Persistence {
    KeepAlive,
    Close,
    /// The close is what ends the body.
    CloseDelimited,
}

/// One request's view of the connection.
struct Http1Downstream<'a> {
    worker: &'a Worker,
    connection: &'a mut Connection<Transport>,
    version: Version,
    persistence: Persistence,
    /// Whether the client waits for a 100 before it sends the body.
    expects_continue: bool,
    /// Whether nobody reads the rest of the body, and its bytes are dropped as they come.
    discards_body: bool,
    /// Whether the client may already speak another protocol behind the request.
    has_upgrade: bool,
    is_head_request: bool,
    /// How fast the body has to arrive.
    pace: Option<BodyPace>,
}

impl BodyReader for Http1Downstream<'_> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        if self.expects_continue {
            self.expects_continue = false;
            if !self.connection.has_input() {
                write::status_line(self.connection.output(), 100, b"Continue");
                write::end(self.connection.output());
            }
        }
        match self.connection.poll_piece(cx)? {
            Poll::Ready(mut piece) => {
                match (&mut piece, &mut self.pace) {
                    (Piece::Data(data), Some(pace)) => {
                        pace.on_data(data.len(), self.worker.clock.now_ms())?
                    }
                    (Piece::Trailers(trailers), _) => {
                        headers::sanitize(trailers, self.worker.settings.requests.underscore_names);
                    }
                    _ => {}
                }
                Poll::Ready(Ok(piece))
            }
            Poll::Pending => {
                if let Some(pace) = &mut self.pace {
                    pace.on_pending(self.worker.clock.now_ms());
                }
                // The 100, if it is still to be sent.
                let _ = self.connection.poll_flush(cx)?;
                Poll::Pending
            }
        }
    }
}

impl BodyWriter for Http1Downstream<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.connection.poll_ready(cx)
    }

    fn write(&mut self, piece: Piece) -> Result<(), StreamError> {
        if self.is_head_request && !matches!(piece, Piece::Data(_)) {
            return Ok(());
        }
        self.connection.write(piece)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.connection.poll_flush(cx)
    }
}

impl Downstream for Http1Downstream<'_> {
    fn send_head(&mut self, response: &Response<'_>) -> Result<(), StreamError> {
        let length = match (response.length, self.version) {
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http11) => BodyLength::Chunked,
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http10) => BodyLength::UntilClose,
            (length, _) => length,
        };
        // The client waits for a 100 that will not come, or sends a body that will not be read: either way
        // what it sends next cannot be told from a request.
        let skips_body = self.expects_continue && !self.connection.is_body_read();
        // RFC 9931 §3: what was sent in the hope of a switch that did not come is no request.
        let sent_ahead = self.has_upgrade && self.connection.is_body_read() && self.connection.has_input();
        if length == BodyLength::UntilClose {
            self.persistence = Persistence::CloseDelimited;
        } else if skips_body
            || sent_ahead
            || response.closes_connection
            || self.worker.clock.phase() >= Phase::Draining
        {
            self.persistence = Persistence::Close;
        }
        let out = self.connection.output();
        write::status_line(out, response.status, response.reason);
        response.for_each_field(|name, value| write::field(out, name, value));
        write::framing(out, length);
        match (self.persistence, self.version) {
            _ if response.status == 101 => write::field(out, b"connection", b"upgrade"),
            (Persistence::Close | Persistence::CloseDelimited, _) => {
                write::field(out, b"connection", b"close")
            }
            (Persistence::KeepAlive, Version::Http10) => write::field(out, b"connection", b"keep-alive"),
            (Persistence::KeepAlive, Version::Http11) => {}
        }
        write::end(out);
        self.connection.start_sending_body(length);
        Ok(())
    }

    fn send_informational(&mut self, response: &Response<'_>) -> Result<(), StreamError> {
        // RFC 9110 §15.2: HTTP/1.0 knows no interim answers.
        if self.version == Version::Http11 {
            let out = self.connection.output();
            write::status_line(out, response.status, response.reason);
            response.for_each_field(|name, value| write::field(out, name, value));
            write::end(out);
        }
        Ok(())
    }

    fn discard_body(&mut self) {
        self.discards_body = true;
        // What follows cannot be told from the rest of the body.
        if self.persistence == Persistence::KeepAlive {
            self.persistence = Persistence::Close;
        }
    }

    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        while self.discards_body {
            // Unread, its bytes would hide the client's end.
            self.connection.discard_input();
            if !matches!(ready!(self.connection.poll_fill(cx)), Ok(1..)) {
                return Poll::Ready(Abort::ClientClosed);
            }
        }
        // Whoever reads the body learns of its end. And a client that has sent more already is asked when that is
        // read: until then it need not be looked at.
        if !self.connection.is_body_read() || self.connection.has_input() {
            return Poll::Pending;
        }
        match ready!(self.connection.poll_fill(cx)) {
            // The next request, or the protocol that is hoped for.
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(Abort::ClientClosed),
        }
    }
}

#[cfg(test)]
mod tests;
