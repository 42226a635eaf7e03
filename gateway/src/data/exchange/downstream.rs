//! The interface between an exchange and the client's protocol: a request, its outcome, and the [`Downstream`] trait.
//!
//! `listener::h1` and `listener::h2` implement the trait.

use std::task::{Context, Poll};

use http1::{BodyLength, Head};

use super::abort::Abort;
use super::client::Client;
use super::headers::DownstreamResponse;
use super::metered::BodyReadError;
use super::tunnel::Tunnel;
use crate::data::wire::{BodyReader, BodyWriter, StreamError};

/// A request whose head has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Head of the request. Heads from HTTP/2 have a Host field, too.
    pub head: &'a Head,
    /// Framing of the body.
    pub length: BodyLength,
    /// Client that sent the request.
    pub client: &'a Client,
}

/// How an exchange ended, for the code that owns the client's connection.
#[derive(Debug)]
pub enum ExchangeOutcome {
    /// The whole response was sent.
    Completed,
    /// The whole response was sent. An HTTP/1.1 connection must close: its next byte has no known meaning.
    CompletedThenClose,
    /// The client did not receive a whole response. The connection or stream must end so that the client notices.
    Aborted,
    /// The endpoint accepted the client's upgrade, and the 101 was sent.
    Upgraded(Tunnel),
}

/// The client's side of one exchange.
pub trait Downstream: BodyReader<Error = BodyReadError> + BodyWriter {
    /// Writes the response head. It leaves with the body's first piece, or by [`BodyWriter::poll_flush`].
    ///
    /// # Errors
    /// The client has disconnected.
    fn send_head(&mut self, response: &DownstreamResponse<'_>) -> Result<(), StreamError>;

    /// Writes an informational response (1xx except 101). [`BodyWriter::poll_flush`] sends it. Not called after
    /// [`Downstream::send_head`].
    ///
    /// # Errors
    /// The client has disconnected.
    fn send_informational(&mut self, response: &DownstreamResponse<'_>) -> Result<(), StreamError>;

    /// Drops the rest of the request's body as it arrives: it is malformed, or the endpoint does not need it. Called
    /// at most once, after [`Downstream::send_head`].
    fn discard_body(&mut self);

    /// Becomes ready once the client abandons the request (close or RST_STREAM). The caller then cancels the upstream
    /// request.
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<Abort>;

    /// As [`Downstream::poll_cancelled`], for times in which the body is not read. HTTP/1.1 then reads ahead as far as
    /// its buffer reaches, since the close of a connection is behind the bytes that came before it.
    fn poll_cancelled_unread(&mut self, cx: &mut Context<'_>) -> Poll<Abort> {
        self.poll_cancelled(cx)
    }
}
