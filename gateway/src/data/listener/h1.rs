//! HTTP/1.1 clients: requests one after the other over one connection.
//!
//! Between requests a connection is [`serve`]'s future and nothing else: no buffer, no exchange. While a head has not
//! come to its end, it is that and what has come.

use std::task::{Context, Poll, Waker, ready};

use http1::{BodyLength, Head, Known, Version, write};

use self::pace::Pace;
use super::linger::{LINGER, linger};
use super::transport::Transport;
use crate::data::exchange::abort::Abort;
use crate::data::exchange::headers::{self, Response, keeps_alive};
use crate::data::exchange::record;
use crate::data::exchange::refusal::Refusal;
use crate::data::exchange::{self, Client, Downstream, End, Request, Served, Tunnel, Worker};
use crate::data::wire::clock::{OnDrain, Phase, Timer, WaitError};
use crate::data::wire::h1::Connection;
use crate::data::wire::{BodyReader, BodyWriter, Piece, StreamError};
use crate::observe::access_log::Asked;
use crate::observe::counters::Gauge;

mod pace;

/// How HTTP/2 with prior knowledge begins (RFC 9113 §3.4); no HTTP/1.1 request looks like it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So much of a body that nobody wants is read to keep the connection; beyond it, closing is cheaper.
const MOST_DRAINED: usize = 64 << 10;

/// What becomes of a connection after what was readable has been served.
enum Next {
    Idle,
    /// There was nothing to read after all, or part of a head.
    NotYet,
    Close,
    /// Close so that the client can read its answer first.
    Linger,
    /// Close so that the client cannot take it for an orderly end.
    Forsake,
    Http2,
    Tunnel(Tunnel),
}

/// Whether a connection has carried a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Used,
}

/// What a client has said.
struct Said {
    age: Age,
    /// Part of a head, whose deadline runs.
    part: bool,
}

/// Serves a client until one side has enough. Gives the client back if it begins with HTTP/2's preface, which is then
/// still to be read.
pub(super) async fn serve(
    worker: &Worker,
    client: Box<Client>,
    connection: &mut Connection<Transport>,
) -> Option<Box<Client>> {
    let timer = worker.clock.timer();
    let mut said = Said { age: Age::New, part: false };
    timer.set(worker.settings.header);
    loop {
        let readable = std::future::poll_fn(|cx| connection.io().poll_readable(cx));
        let ending = match said.age {
            _ if said.part => OnDrain::Ignore,
            Age::New => OnDrain::Grace(LINGER),
            Age::Used => OnDrain::StopAt(Phase::Closing),
        };
        let woken = match timer.limit_on_drain(ending, readable).await {
            Ok(Ok(())) => Ok(()),
            Err(late) if said.part => Err(late),
            _ => break,
        };
        // On the heap for as long as it runs, so that waiting connections stay small.
        match Box::pin(go_on(worker, &client, (connection, &timer), &mut said, woken)).await {
            Next::Idle => timer.set(worker.settings.keep_alive),
            // The deadline stays: bytes that make no request win no time.
            Next::NotYet => {}
            Next::Close => break,
            Next::Linger => {
                connection.discard_input();
                connection.release_buffers(&worker.buffers);
                Box::pin(linger(connection.io(), &timer)).await;
                return None;
            }
            Next::Forsake => {
                connection.io().forsake();
                return None;
            }
            Next::Http2 => return Some(client),
            Next::Tunnel(tunnel) => {
                // What only requests need is not to be kept for hours.
                drop(client);
                if let End::Broken(_) = Box::pin(tunnel.run(worker, connection, &timer)).await {
                    connection.io().forsake();
                }
                return None;
            }
        }
    }
    // An orderly end for TLS; for TCP the same as dropping.
    timer.set(LINGER);
    let _ = timer.limit(std::future::poll_fn(|cx| connection.poll_shutdown(cx))).await;
    None
}

/// Serves requests until nothing more is readable, or answers that a head came too late.
async fn go_on(
    worker: &Worker,
    client: &Client,
    (connection, timer): (&mut Connection<Transport>, &Timer),
    said: &mut Said,
    woken: Result<(), WaitError>,
) -> Next {
    if woken.is_err() {
        return refuse((worker, client), (connection, timer), Refusal::HeadTimeout, None).await;
    }
    connection.acquire_buffers(&worker.buffers);
    // Nobody is woken: what is not there yet is waited for without buffers.
    let mut cx = Context::from_waker(Waker::noop());
    // Tokio takes an accepted socket for readable without asking: the client may have said nothing yet.
    match connection.poll_fill(&mut cx) {
        Poll::Ready(Ok(1..)) => {}
        Poll::Ready(_) => return left((worker, client), connection),
        Poll::Pending => {
            connection.release_buffers(&worker.buffers);
            return Next::NotYet;
        }
    }
    loop {
        // Once for each head, however many pieces it comes in.
        if !std::mem::replace(&mut said.part, true) {
            timer.set(worker.settings.header);
        }
        let head = match poll_request(connection, said.age, &mut cx) {
            Poll::Ready(Ok(Incoming::Request(head))) => head,
            Poll::Ready(Ok(Incoming::Http2)) => return Next::Http2,
            Poll::Ready(Ok(Incoming::Closed)) => return Next::Close,
            Poll::Ready(Err(StreamError::Head(error))) => {
                return refuse((worker, client), (connection, timer), Refusal::Head(error), None).await;
            }
            Poll::Ready(Err(_lost)) => return left((worker, client), connection),
            Poll::Pending => {
                connection.release_buffers(&worker.buffers);
                return Next::NotYet;
            }
        };
        *said = Said { age: Age::Used, part: false };
        let next = serve_request(worker, client, (connection, timer), head).await;
        if !matches!(next, Next::Idle) {
            return next;
        }
        if connection.has_input() {
            continue;
        }
        if connection.io().may_hold_input() {
            match connection.poll_fill(&mut cx) {
                Poll::Ready(Ok(1..)) => continue,
                Poll::Ready(_) => return Next::Close,
                Poll::Pending => {}
            }
        }
        connection.release_buffers(&worker.buffers);
        return Next::Idle;
    }
}

/// Closes after a client that has left, and tells of the head that it began.
fn left((worker, client): (&Worker, &Client), connection: &Connection<Transport>) -> Next {
    if connection.has_input() {
        worker.tell_of_none((client.peer, client.scheme, client.tls), Abort::HeadUnfinished);
    }
    Next::Close
}

/// What a client begins with.
enum Incoming {
    Request(Head),
    Http2,
    Closed,
}

fn poll_request(
    connection: &mut Connection<Transport>,
    age: Age,
    cx: &mut Context<'_>,
) -> Poll<Result<Incoming, StreamError>> {
    if age == Age::New && ready!(poll_preface(connection, cx))? {
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
        let seen = input.get(..input.len().min(PREFACE.len())).unwrap_or_default();
        if !PREFACE.starts_with(seen) || seen.len() == PREFACE.len() {
            return Poll::Ready(Ok(seen == PREFACE));
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
) -> Next {
    headers::screen(&mut head, worker.settings.underscore_names);
    let Ok(length) = BodyLength::of_request(&head) else {
        let request = Request { head: &head, length: BodyLength::Empty, client };
        let destination = exchange::destination(&head).ok();
        let destination = destination.as_ref().map(|(host, path)| (&**host, &**path));
        let asked = record::asked(&request, destination);
        return refuse((worker, client), (connection, timer), Refusal::Framing, Some(asked)).await;
    };
    connection.start_receiving_body(length);
    let mut side = Side {
        worker,
        connection,
        version: head.version(),
        closing: if keeps_alive(&head) { Closing::No } else { Closing::Yes },
        // RFC 9110 §10.1.1: an HTTP/1.0 client knows no interim answer, whatever it expects.
        expects: head.version() == Version::Http11
            && head.lists(Known::Expect, b"100-continue")
            && length != BodyLength::Empty,
        ignores_body: false,
        may_switch: head.get(Known::Upgrade).is_some(),
        answers_head: head.method() == b"HEAD",
        pace: Pace::of(length, worker.settings.body_rate),
    };
    let request = Request { head: &head, length, client };
    let served = exchange::serve(worker, request, &mut side, timer).await;
    let closing = side.closing;
    match served {
        // The close would end a body that is not whole.
        Served::Aborted if closing == Closing::EndsBody => Next::Forsake,
        Served::Aborted => Next::Close,
        Served::AnsweredLast => Next::Linger,
        Served::Answered if is_last(&head, length) && !connection.io().may_hold_input() => Next::Close,
        Served::Answered if closing != Closing::No => Next::Linger,
        Served::Answered if connection.is_body_read() => Next::Idle,
        Served::Answered => drain((connection, timer)).await,
        Served::Switched(tunnel) => Next::Tunnel(tunnel),
    }
}

/// Reads what is left of a body that nobody wanted, if that is little and comes soon.
async fn drain((connection, timer): (&mut Connection<Transport>, &Timer)) -> Next {
    timer.set(LINGER);
    let mut left = MOST_DRAINED;
    let drained = timer.limit(std::future::poll_fn(|cx| {
        loop {
            match ready!(connection.poll_piece(cx)) {
                Ok(Piece::Data(data)) if data.len() <= left => left -= data.len(),
                Ok(Piece::End | Piece::Trailers(_)) => return Poll::Ready(Next::Idle),
                Ok(Piece::Data(_)) | Err(_) => return Poll::Ready(Next::Close),
            }
        }
    }));
    match drained.await {
        Ok(Next::Idle) => Next::Idle,
        _ => Next::Linger,
    }
}

/// Whether a client has promised that nothing follows its request (RFC 9112 §9.6): then no byte can be unread when the
/// connection is closed. Where there is a body, some old clients send a line end more than they say.
fn is_last(head: &Head, length: BodyLength) -> bool {
    length == BodyLength::Empty && !keeps_alive(head)
}

/// Answers where there is no request to serve, and closes.
async fn refuse(
    (worker, client): (&Worker, &Client),
    (connection, timer): (&mut Connection<Transport>, &Timer),
    refusal: Refusal,
    asked: Option<Asked<'_>>,
) -> Next {
    let _in_flight = Gauge::raise(&worker.counters, |counters| &counters.in_flight);
    let mut side = Side {
        worker,
        connection,
        version: Version::Http11,
        closing: Closing::Yes,
        expects: false,
        ignores_body: false,
        may_switch: false,
        answers_head: asked.is_some_and(|asked| asked.method == b"HEAD"),
        pace: None,
    };
    match exchange::refuse(worker, (&mut side, timer), refusal, (client, asked)).await {
        Ok(()) => Next::Linger,
        Err(_) => Next::Close,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Yes,
    /// The close is what ends the body.
    EndsBody,
}

/// One request's view of the connection.
struct Side<'a> {
    worker: &'a Worker,
    connection: &'a mut Connection<Transport>,
    version: Version,
    closing: Closing,
    /// Whether the client waits for a 100 before it sends the body.
    expects: bool,
    /// Whether nobody reads the rest of the body, and its bytes are dropped as they come.
    ignores_body: bool,
    /// Whether the client may already speak another protocol behind the request.
    may_switch: bool,
    answers_head: bool,
    /// How fast the body has to arrive.
    pace: Option<Pace>,
}

impl BodyReader for Side<'_> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        if self.expects {
            self.expects = false;
            if !self.connection.has_input() {
                write::status_line(self.connection.output(), 100, b"Continue");
                write::end(self.connection.output());
            }
        }
        match self.connection.poll_piece(cx)? {
            Poll::Ready(mut piece) => {
                match (&mut piece, &mut self.pace) {
                    (Piece::Data(data), Some(pace)) => pace.passes(data.len(), self.worker.clock.now_ms())?,
                    (Piece::Trailers(trailers), _) => {
                        headers::screen(trailers, self.worker.settings.underscore_names);
                    }
                    _ => {}
                }
                Poll::Ready(Ok(piece))
            }
            Poll::Pending => {
                if let Some(pace) = &mut self.pace {
                    pace.waits(self.worker.clock.now_ms());
                }
                // The 100, if it is still to be sent.
                let _ = self.connection.poll_flush(cx)?;
                Poll::Pending
            }
        }
    }
}

impl BodyWriter for Side<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.connection.poll_ready(cx)
    }

    fn write(&mut self, piece: Piece) -> Result<(), StreamError> {
        if self.answers_head && !matches!(piece, Piece::Data(_)) {
            return Ok(());
        }
        self.connection.write(piece)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.connection.poll_flush(cx)
    }
}

impl Downstream for Side<'_> {
    fn respond(&mut self, response: &Response<'_>) -> Result<(), StreamError> {
        let length = match (response.length, self.version) {
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http11) => BodyLength::Chunked,
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http10) => BodyLength::UntilClose,
            (length, _) => length,
        };
        // The client waits for a 100 that will not come, or sends a body that will not be read: either way
        // what it sends next cannot be told from a request.
        let leaves_body = self.expects && !self.connection.is_body_read();
        // RFC 9931 §3: what was sent in the hope of a switch that did not come is no request.
        let hoped = self.may_switch && self.connection.is_body_read() && self.connection.has_input();
        if length == BodyLength::UntilClose {
            self.closing = Closing::EndsBody;
        } else if leaves_body || hoped || response.is_last || self.worker.clock.phase() >= Phase::Draining {
            self.closing = Closing::Yes;
        }
        let out = self.connection.output();
        write::status_line(out, response.status, response.reason);
        response.each(|name, value| write::field(out, name, value));
        write::framing(out, length);
        match (self.closing, self.version) {
            _ if response.status == 101 => write::field(out, b"connection", b"upgrade"),
            (Closing::Yes | Closing::EndsBody, _) => write::field(out, b"connection", b"close"),
            (Closing::No, Version::Http10) => write::field(out, b"connection", b"keep-alive"),
            (Closing::No, Version::Http11) => {}
        }
        write::end(out);
        self.connection.start_sending_body(length);
        Ok(())
    }

    fn inform(&mut self, response: &Response<'_>) -> Result<(), StreamError> {
        // RFC 9110 §15.2: HTTP/1.0 knows no interim answers.
        if self.version == Version::Http11 {
            let out = self.connection.output();
            write::status_line(out, response.status, response.reason);
            response.each(|name, value| write::field(out, name, value));
            write::end(out);
        }
        Ok(())
    }

    fn ignore_body(&mut self) {
        self.ignores_body = true;
        // What follows cannot be told from the rest of the body.
        if self.closing == Closing::No {
            self.closing = Closing::Yes;
        }
    }

    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        while self.ignores_body {
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
