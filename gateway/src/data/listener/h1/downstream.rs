//! One HTTP/1.1 request's view of its connection: the response is written here, the request body is read here.

use std::task::{Context, Poll, ready};

use http1::{BodyLength, Head, KnownName, Version, write};

use crate::data::drain::Phase;
use crate::data::exchange::abort::Abort;
use crate::data::exchange::headers::{self, DownstreamResponse, is_keep_alive};
use crate::data::exchange::{BodyReadError, Downstream, Worker};
use crate::data::listener::pace::BodyPace;
use crate::data::listener::transport::Transport;
use crate::data::wire::h1::Connection;
use crate::data::wire::{BodyReader, BodyWriter, Piece, StreamError};

/// Whether the connection persists after the response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    /// The connection is used again.
    KeepAlive,
    /// The connection closes after the response.
    Close,
    /// The connection closes, and the close ends the response body (RFC 9112 §6.3).
    CloseDelimited,
}

/// How the request body is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyMode {
    /// The client waits for a 100 before it sends the body.
    AwaitsContinue,
    /// The exchange reads the body.
    Read,
    /// The rest of the body is discarded on arrival.
    Discard,
}

/// One request's view of the connection.
pub(super) struct Http1Downstream<'a> {
    worker: &'a Worker,
    connection: &'a mut Connection<Transport>,
    version: Version,
    persistence: Persistence,
    body: BodyMode,
    /// Whether the request has an Upgrade field. The client may then already send another protocol behind the request.
    has_upgrade: bool,
    is_head_request: bool,
    /// The minimum rate of the request body.
    pace: Option<BodyPace>,
}

impl<'a> Http1Downstream<'a> {
    /// Creates the view of a request with this head and a body of this length.
    pub(super) fn for_request(
        worker: &'a Worker,
        connection: &'a mut Connection<Transport>,
        head: &Head,
        length: BodyLength,
    ) -> Self {
        // RFC 9110 §10.1.1: an HTTP/1.0 client understands no informational response, even if it expects one.
        let awaits_continue = head.version() == Version::Http11
            && head.has_token(KnownName::Expect, b"100-continue")
            && length != BodyLength::Empty;
        Self {
            worker,
            connection,
            version: head.version(),
            persistence: if is_keep_alive(head) { Persistence::KeepAlive } else { Persistence::Close },
            body: if awaits_continue { BodyMode::AwaitsContinue } else { BodyMode::Read },
            has_upgrade: head.get(KnownName::Upgrade).is_some(),
            is_head_request: head.method() == b"HEAD",
            pace: BodyPace::new(length, worker.settings.limits.min_body_rate),
        }
    }

    /// Creates the view for a local reply to an unreadable request, which ends the connection.
    pub(super) fn for_local_reply(
        worker: &'a Worker,
        connection: &'a mut Connection<Transport>,
        is_head_request: bool,
    ) -> Self {
        Self {
            worker,
            connection,
            version: Version::Http11,
            persistence: Persistence::Close,
            body: BodyMode::Read,
            has_upgrade: false,
            is_head_request,
            pace: None,
        }
    }

    pub(super) fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// Decides whether the connection persists after `response`.
    fn choose_persistence(&self, response: &DownstreamResponse<'_>, length: BodyLength) -> Persistence {
        if length == BodyLength::UntilClose {
            return Persistence::CloseDelimited;
        }
        // The client waits for a 100 that it will not receive, or sends a body that will not be read. In both cases
        // its next bytes cannot be distinguished from a request.
        let skips_body = self.body == BodyMode::AwaitsContinue && !self.connection.is_body_read();
        // RFC 9931 §3: bytes that a client sends in advance, for a switch that does not happen, are no request.
        let sent_ahead = self.has_upgrade && self.connection.is_body_read() && self.connection.has_input();
        let is_draining = self.worker.drain.phase() >= Phase::Draining;
        if skips_body || sent_ahead || response.closes_connection || is_draining {
            return Persistence::Close;
        }
        self.persistence
    }

    /// Returns the value of the response's Connection field, if it needs one.
    fn connection_option(&self, status: u16) -> Option<&'static [u8]> {
        if status == 101 {
            return Some(b"upgrade");
        }
        match (self.persistence, self.version) {
            (Persistence::Close | Persistence::CloseDelimited, Version::Http10 | Version::Http11) => {
                Some(b"close")
            }
            (Persistence::KeepAlive, Version::Http10) => Some(b"keep-alive"),
            (Persistence::KeepAlive, Version::Http11) => None,
        }
    }

    fn has_pipelined_head(&self) -> bool {
        self.connection.is_body_read() && self.connection.input().windows(4).any(|four| four == b"\r\n\r\n")
    }

    /// Reads ahead until the client closes, as far as the buffer reaches. A client that has sent a whole further request
    /// may have closed its direction only, and waits for the responses.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        loop {
            match ready!(self.connection.poll_read_ahead(cx)) {
                Ok(1..) => {}
                Ok(0) if self.has_pipelined_head() => return Poll::Pending,
                Ok(0) => return Poll::Ready(Abort::ClientClosed),
                Err(error) => return Poll::Ready(client_lost(&error)),
            }
        }
    }

    fn write_head(&mut self, response: &DownstreamResponse<'_>) {
        let out = self.connection.output();
        write::status_line(out, response.status, response.reason);
        response.for_each_field(|name, value| write::field(out, name, value));
    }
}

impl BodyReader for Http1Downstream<'_> {
    type Error = BodyReadError;

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyReadError>> {
        if self.body == BodyMode::AwaitsContinue {
            self.body = BodyMode::Read;
            if !self.connection.has_input() {
                write::status_line(self.connection.output(), 100, b"Continue");
                write::end(self.connection.output());
            }
        }
        let Poll::Ready(mut piece) = self.connection.poll_piece(cx)? else {
            if let Some(pace) = &mut self.pace {
                pace.on_pending(self.worker.clock.now_ms());
            }
            // Sends the 100, if it is still unsent.
            let _ = self.connection.poll_flush(cx)?;
            return Poll::Pending;
        };
        match &mut piece {
            Piece::Data(data) => {
                if let Some(pace) = &mut self.pace {
                    pace.on_data(data.len(), self.worker.clock.now_ms())?;
                }
            }
            Piece::Trailers(trailers) => {
                let names = self.worker.settings.requests.underscore_names;
                headers::sanitize(trailers, names, &self.worker.counters);
            }
            Piece::End => {}
        }
        Poll::Ready(Ok(piece))
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
    fn send_head(&mut self, response: &DownstreamResponse<'_>) -> Result<(), StreamError> {
        let length = match (response.length, self.version) {
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http11) => BodyLength::Chunked,
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http10) => BodyLength::UntilClose,
            (length @ (BodyLength::Empty | BodyLength::Exact(_)), Version::Http10 | Version::Http11) => {
                length
            }
        };
        self.persistence = self.choose_persistence(response, length);
        let connection_option = self.connection_option(response.status);
        self.write_head(response);
        let out = self.connection.output();
        write::framing(out, length);
        if let Some(option) = connection_option {
            write::field(out, b"connection", option);
        }
        write::end(out);
        self.connection.start_sending_body(length);
        Ok(())
    }

    fn send_informational(&mut self, response: &DownstreamResponse<'_>) -> Result<(), StreamError> {
        // RFC 9110 §15.2: an HTTP/1.0 client understands no informational response.
        if self.version == Version::Http11 {
            self.write_head(response);
            write::end(self.connection.output());
        }
        Ok(())
    }

    fn discard_body(&mut self) {
        self.body = BodyMode::Discard;
        // The next request cannot be distinguished from the rest of the body.
        if self.persistence == Persistence::KeepAlive {
            self.persistence = Persistence::Close;
        }
    }

    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        while self.body == BodyMode::Discard {
            // Unread bytes would hide the client's close.
            self.connection.discard_input();
            match ready!(self.connection.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) => return Poll::Ready(Abort::ClientClosed),
                Err(error) => return Poll::Ready(client_lost(&error)),
            }
        }
        // While the body is incomplete, its reader detects the close. Behind it is the next request, or bytes of the
        // protocol that the client wants to switch to. A close is behind them, as far as the buffer reaches.
        if self.connection.is_body_read() { self.poll_closed(cx) } else { Poll::Pending }
    }

    fn poll_cancelled_unread(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        if self.body == BodyMode::Discard || self.connection.is_body_read() {
            return self.poll_cancelled(cx);
        }
        self.poll_closed(cx)
    }
}

fn client_lost(error: &std::io::Error) -> Abort {
    tracing::debug!(%error, "client connection lost during a request");
    Abort::ClientClosed
}
