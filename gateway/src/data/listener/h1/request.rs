//! Reads the next request head of a connection, and detects HTTP/2 with prior knowledge.

use std::task::{Context, Poll, ready};

use http1::Head;

use crate::data::listener::transport::Transport;
use crate::data::wire::StreamError;
use crate::data::wire::h1::Connection;

/// The preface of HTTP/2 with prior knowledge (RFC 9113 §3.4). No HTTP/1.1 request begins with it.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The next message of a client.
pub(super) enum Incoming {
    /// A complete request head.
    Request(Head),
    /// The preface of HTTP/2, still unread.
    Http2,
    /// The client has closed the connection.
    Closed,
}

/// Reads a request head. Looks for the preface of HTTP/2 first if `may_be_http2`.
///
/// # Errors
/// [`StreamError::Head`] if the head is invalid, [`StreamError::Lost`] if the connection is lost before its end.
pub(super) fn poll_incoming(
    connection: &mut Connection<Transport>,
    may_be_http2: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<Incoming, StreamError>> {
    if may_be_http2 && ready!(poll_preface(connection, cx))? {
        return Poll::Ready(Ok(Incoming::Http2));
    }
    let head = ready!(connection.poll_head(http1::parse::request, cx))?;
    Poll::Ready(Ok(head.map_or(Incoming::Closed, Incoming::Request)))
}

/// Returns whether the input begins with the preface of HTTP/2, as soon as the received bytes decide it.
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
        // A client that closes here has sent an incomplete head at most, which the head's reader detects.
        if ready!(connection.poll_fill(cx))? == 0 {
            return Poll::Ready(Ok(false));
        }
    }
}
