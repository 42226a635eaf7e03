//! HTTP callouts of plugins.

use std::sync::Arc;

use api::RoutePolicySpec;
use bytes::{Bytes, BytesMut};
use http1::{BodyLength, Head, HeadBuilder, write};
use plugin_host::{HttpRequest, HttpResponse};
use routing::table::Backend;

use super::fields;
use crate::data::exchange::{Worker, headers};
use crate::data::upstream::{PooledConnection, Resend, RetryState};
use crate::data::wire::{BodyReader, BodyWriter, Piece, StreamError};
use crate::message::{RequestAuthority, RequestMethod, RequestTarget};
use crate::plan::UpstreamPolicy;

/// Maximum bytes of a response's body. A larger one fails the callout.
const MAX_BODY: usize = 1 << 20;

/// Sends a request to a backend and reads the whole response. Returns `None` if that fails.
///
/// # Cancellation
/// Closes the connection.
pub(super) async fn call(
    worker: &Worker,
    backend: &Arc<Backend>,
    request: &HttpRequest,
) -> Option<HttpResponse> {
    let line = RequestLine::parse(request)?;
    let mut policy = UpstreamPolicy::new(&RoutePolicySpec::default(), &worker.settings);
    // The guest decides whether a lost callout is sent again. One that meets a stale connection was not received.
    policy.max_reset_retries = 0;
    let resend = if policy.allows_resend(line.method) { Resend::Possible } else { Resend::Forbidden };
    let mut retry = RetryState::new(policy, resend);
    loop {
        let mut opened = match worker.upstreams.connect(backend, &mut retry).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%error, service = %backend.service, "callout of a plugin failed");
                return None;
            }
        };
        match exchange(worker, &mut opened, request, &line).await {
            Ok((response, head)) => {
                worker.upstreams.on_response(&opened);
                release(worker, opened, &head?, &policy);
                return response;
            }
            Err(error) => {
                tracing::debug!(%error, service = %backend.service, "callout of a plugin failed");
                let is_lost = matches!(error, StreamError::Disconnected(_)) && !opened.stream.has_received();
                if !is_lost || !retry.on_disconnect(&opened, resend) {
                    return None;
                }
            }
        }
    }
}

/// What a guest writes into the first line and the field Host.
struct RequestLine<'a> {
    method: &'a [u8],
    target: RequestTarget,
    authority: RequestAuthority,
}

impl<'a> RequestLine<'a> {
    /// Returns `None` if a part is missing or malformed.
    fn parse(request: &'a HttpRequest) -> Option<Self> {
        let find = |name| fields::find(&request.fields, name);
        Some(Self {
            method: find(b":method").filter(|method| is_method(method))?,
            target: find(b":path").and_then(RequestTarget::parse)?,
            authority: find(b":authority").and_then(RequestAuthority::parse)?,
        })
    }
}

/// Is this a method that a callout may have? The connection is shared with requests, so what a guest writes into a first
/// line must be one word.
fn is_method(method: &[u8]) -> bool {
    method == b"HEAD" || RequestMethod::parse(method).is_some()
}

/// Keeps the connection if both messages on it are complete.
fn release(worker: &Worker, mut opened: PooledConnection, head: &ResponseEnd, policy: &UpstreamPolicy) {
    if head.is_reusable && !opened.stream.has_input() {
        opened.stream.release_buffers(&worker.buffers);
        worker.upstreams.release(opened, head.keep_alive, policy);
    }
}

/// What the head of a response says about its connection.
struct ResponseEnd {
    is_reusable: bool,
    keep_alive: Option<std::time::Duration>,
}

/// Sends the request on a connection, and reads the response. `None` in place of the response: it is too large.
async fn exchange(
    worker: &Worker,
    opened: &mut PooledConnection,
    request: &HttpRequest,
    line: &RequestLine<'_>,
) -> Result<(Option<HttpResponse>, Option<ResponseEnd>), StreamError> {
    let stream = &mut opened.stream;
    stream.acquire_buffers(&worker.buffers);
    let length = match (request.trailers.is_empty(), request.body.len()) {
        (false, _) => BodyLength::Chunked,
        (true, 0) => BodyLength::Empty,
        (true, bytes) => BodyLength::Exact(bytes as u64),
    };
    stream.send_head(length, |out| write_head(out, request, line, length));
    if !request.body.is_empty() {
        std::future::poll_fn(|cx| stream.poll_ready(cx)).await?;
        stream.write(Piece::Data(request.body.clone()))?;
    }
    std::future::poll_fn(|cx| stream.poll_ready(cx)).await?;
    stream.write(if request.trailers.is_empty() {
        Piece::End
    } else {
        Piece::Trailers(trailers(request))
    })?;
    std::future::poll_fn(|cx| stream.poll_flush(cx)).await?;
    let head = loop {
        let head = std::future::poll_fn(|cx| stream.poll_head(cx)).await?;
        let head = head.ok_or(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
        if head.status() >= 200 {
            break head;
        }
    };
    let length = BodyLength::from_response(&head, line.method)?;
    stream.start_receiving_body(length);
    let end = ResponseEnd {
        is_reusable: headers::is_keep_alive(&head) && length != BodyLength::UntilClose,
        keep_alive: headers::keep_alive_timeout(&head),
    };
    let mut response = HttpResponse { fields: response_fields(&head), ..HttpResponse::default() };
    drop(head);
    let mut body = BytesMut::new();
    loop {
        match std::future::poll_fn(|cx| stream.poll_piece(cx)).await? {
            Piece::Data(data) if body.len() + data.len() > MAX_BODY => return Ok((None, None)),
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::Trailers(section) => {
                response.trailers = fields::of_head(&section).collect();
                break;
            }
            Piece::End => break,
        }
    }
    response.body = body.freeze();
    Ok((Some(response), Some(end)))
}

fn write_head(out: &mut BytesMut, request: &HttpRequest, line: &RequestLine<'_>, length: BodyLength) {
    write::request_line(out, line.method, line.target.as_bytes());
    write::field(out, b"host", line.authority.as_bytes());
    fields::for_each_sendable(&request.fields, |name, value| write::field(out, name, value));
    write::framing(out, length);
    // An empty body of a method that usually has one (RFC 9110 §8.6).
    if length == BodyLength::Empty && matches!(line.method, b"POST" | b"PUT" | b"PATCH") {
        write::field(out, b"content-length", b"0");
    }
    write::end(out);
}

fn trailers(request: &HttpRequest) -> Head {
    let mut section = HeadBuilder::response(200, request.trailers.len());
    fields::for_each_sendable(&request.trailers, |name, value| section.field(name, value));
    section.build()
}

fn response_fields(head: &Head) -> plugin_host::Fields {
    let status = Bytes::from(head.status().to_string());
    let mut response = vec![(Bytes::from_static(b":status"), status)];
    response.extend(fields::of_head(head));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_callouts_are_one_word() {
        for (method, expected) in [
            ("GET", true),
            ("HEAD", true),
            ("PURGE", true),
            ("CONNECT", false),
            ("", false),
            ("GET / HTTP/1.1\r\n\r\nGET", false),
        ] {
            assert_eq!(is_method(method.as_bytes()), expected, "{method:?}");
        }
    }
}
