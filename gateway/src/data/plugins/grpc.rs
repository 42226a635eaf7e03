//! gRPC callouts of plugins, each on a connection of its own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::{Either, select};
use h2::SendStream;
use plugin_host::{CallToken, GrpcEvent, GrpcRequest, GuestAction};
use routing::table::Backend;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::fields;
use crate::data::exchange::Worker;
use crate::filter::plugin::{GrpcReceiver, WorkerInstance};

/// Maximum bytes of a message that a plugin sends or receives.
const MAX_MESSAGE: usize = 1 << 20;

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// gRPC status UNAVAILABLE.
const UNAVAILABLE: u32 = 14;
/// gRPC status DEADLINE_EXCEEDED.
const DEADLINE_EXCEEDED: u32 = 4;
/// gRPC status RESOURCE_EXHAUSTED.
const RESOURCE_EXHAUSTED: u32 = 8;
/// gRPC status UNKNOWN.
const UNKNOWN: u32 = 2;

/// How a call ended: status and message.
type GrpcEnd = (u32, Bytes);

/// A call, and what the guest does with it later.
type BegunCall = (GrpcRequest, GrpcReceiver);

/// Starts a call. Its events go to the instance.
pub(super) fn start(
    worker: &Rc<Worker>,
    instance: &Rc<WorkerInstance>,
    token: CallToken,
    begun: BegunCall,
) -> AbortHandle {
    let weak = Rc::downgrade(instance);
    let backend = instance.upstream(begun.0.upstream);
    let turn = worker.clock.now_ms();
    let task = tokio::task::spawn_local(async move {
        let deliver = |event| {
            if let Some(instance) = weak.upgrade() {
                instance.deliver_grpc(token, event);
            }
        };
        let limit = begun.0.timeout.unwrap_or(Duration::MAX);
        let called = call(backend, turn, begun, &deliver);
        let (status, message) = match tokio::time::timeout(limit, called).await {
            Ok(Ok(end) | Err(end)) => end,
            Err(_elapsed) => (DEADLINE_EXCEEDED, "deadline exceeded".into()),
        };
        deliver(GrpcEvent::Close(status, message));
    });
    task.abort_handle()
}

fn unavailable(error: impl std::fmt::Display) -> GrpcEnd {
    (UNAVAILABLE, error.to_string().into())
}

/// Connects to a ready endpoint.
async fn connect(backend: &Backend, turn: u64) -> Result<TcpStream, GrpcEnd> {
    let endpoints = backend.endpoints.load_full();
    let ready = endpoints.ready();
    let count = u64::try_from(ready.len()).unwrap_or(1).max(1);
    let index = usize::try_from(turn % count).unwrap_or(0);
    let endpoint = ready.get(index).ok_or((UNAVAILABLE, "no endpoint is ready".into()))?;
    let connecting = TcpStream::connect(endpoint.address);
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(unavailable),
        Err(_elapsed) => Err((UNAVAILABLE, "connecting took too long".into())),
    }
}

async fn call(
    backend: Option<Arc<Backend>>,
    turn: u64,
    (request, actions): BegunCall,
    deliver: &impl Fn(GrpcEvent),
) -> Result<GrpcEnd, GrpcEnd> {
    let backend = backend.ok_or((UNAVAILABLE, "no such upstream".into()))?;
    let io = connect(&backend, turn).await?;
    let (send_request, connection) = h2::client::handshake(io).await.map_err(unavailable)?;
    let connection = tokio::task::spawn_local(async move {
        // Its streams report the error.
        let _ = connection.await;
    });
    let _guard = AbortOnDrop(connection.abort_handle());
    let mut send_request = send_request.ready().await.map_err(unavailable)?;
    let head = head(&request, &backend).map_err(|error| (UNKNOWN, error.to_string().into()))?;
    let (response, body) = send_request.send_request(head, false).map_err(unavailable)?;
    let sending = send_all(body, request.message, actions);
    let (receiving, sending) = (std::pin::pin!(receive(response, deliver)), std::pin::pin!(sending));
    match select(receiving, sending).await {
        Either::Left((end, _)) => end,
        Either::Right((Ok(()), receiving)) => receiving.await,
        Either::Right((Err(end), _)) => Err(end),
    }
}

/// Sends the message of a unary call, or those of a stream until its end.
async fn send_all(
    mut body: SendStream<Bytes>,
    only: Option<Bytes>,
    mut actions: GrpcReceiver,
) -> Result<(), GrpcEnd> {
    if let Some(message) = only {
        return send(&mut body, &message, true).await;
    }
    loop {
        let Some(action) = actions.recv().await else { return end(&mut body) };
        let GuestAction::GrpcSend { message, is_end, .. } = &action else { return end(&mut body) };
        send(&mut body, message, *is_end).await?;
        if *is_end {
            return Ok(());
        }
        actions.on_sent(&action);
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn head(request: &GrpcRequest, backend: &Backend) -> Result<http::Request<()>, http::Error> {
    let part = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let path = format!("/{}/{}", part(&request.service), part(&request.method));
    let uri =
        http::Uri::builder().scheme("http").authority(backend.service.name.as_ref()).path_and_query(path);
    let mut head =
        http::Request::post(uri.build()?).header("content-type", "application/grpc").header("te", "trailers");
    let mut metadata = Vec::new();
    fields::for_each_sendable(&request.metadata, |name, value| {
        metadata.push((name.to_vec(), value.to_vec()));
    });
    for (name, value) in metadata {
        head = head.header(name, value);
    }
    head.body(())
}

/// Ends the sending side.
fn end(body: &mut SendStream<Bytes>) -> Result<(), GrpcEnd> {
    body.send_data(Bytes::new(), true).map_err(unavailable)
}

/// Sends a message with its prefix: a flag for compression and four bytes of length. Waits for the endpoint's window.
async fn send(body: &mut SendStream<Bytes>, message: &Bytes, is_end: bool) -> Result<(), GrpcEnd> {
    if message.len() > MAX_MESSAGE {
        return Err((RESOURCE_EXHAUSTED, "a message of more than 1 MiB".into()));
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).map_err(unavailable)?);
    framed.put_slice(message);
    let mut rest = framed.freeze();
    while !rest.is_empty() {
        body.reserve_capacity(rest.len());
        let capacity = std::future::poll_fn(|task| body.poll_capacity(task)).await;
        let capacity = capacity.ok_or((UNAVAILABLE, "the stream is closed".into()))?.map_err(unavailable)?;
        let piece = rest.split_to(capacity.min(rest.len()));
        body.send_data(piece, is_end && rest.is_empty()).map_err(unavailable)?;
    }
    Ok(())
}

async fn receive(
    response: h2::client::ResponseFuture,
    deliver: &impl Fn(GrpcEvent),
) -> Result<GrpcEnd, GrpcEnd> {
    let (head, mut body) = response.await.map_err(unavailable)?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err((UNKNOWN, format!("HTTP status {}", head.status.as_u16()).into()));
    }
    deliver(GrpcEvent::InitialMetadata(metadata(&head.headers)));
    if let Some(end) = end_of(&head.headers) {
        return Ok(end);
    }
    let mut buffer = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(unavailable)?;
        // The window is given back as fast as the guest takes messages.
        let _ = body.flow_control().release_capacity(data.len());
        buffer.extend_from_slice(&data);
        while let Some(message) = take_message(&mut buffer)? {
            deliver(GrpcEvent::Message(message));
        }
    }
    let trailers = body.trailers().await.map_err(unavailable)?.unwrap_or_default();
    deliver(GrpcEvent::TrailingMetadata(metadata(&trailers)));
    Ok(end_of(&trailers).unwrap_or((UNKNOWN, "no grpc-status".into())))
}

/// Takes a whole message from the buffer.
fn take_message(buffer: &mut BytesMut) -> Result<Option<Bytes>, GrpcEnd> {
    let Some((prefix, _)) = buffer.split_first_chunk::<5>() else { return Ok(None) };
    let [flag, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if flag != 0 || length > MAX_MESSAGE {
        return Err((RESOURCE_EXHAUSTED, "compressed message, or more than 1 MiB".into()));
    }
    if buffer.len() < 5 + length {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).freeze()))
}

fn metadata(headers: &http::HeaderMap) -> plugin_host::Fields {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (Bytes::copy_from_slice(name.as_str().as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
    };
    headers.iter().map(pair).collect()
}

fn end_of(headers: &http::HeaderMap) -> Option<GrpcEnd> {
    let status = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(|value| decode_message(value.as_bytes()));
    Some((status, message.unwrap_or_default()))
}

/// Decodes `%XX`, as "gRPC over HTTP2" says of `Status-Message`. Malformed escapes stay.
fn decode_message(text: &[u8]) -> Bytes {
    let mut decoded = BytesMut::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = behind.get(..2).filter(|_| *byte == b'%');
        let value = escaped.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        rest = match value {
            Some(value) => {
                decoded.put_u8(value);
                behind.get(2..).unwrap_or_default()
            }
            None => {
                decoded.put_u8(*byte);
                behind
            }
        };
    }
    decoded.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_messages_are_decoded() {
        for (text, expected) in
            [("not%20you", "not you"), ("50%25", "50%"), ("%", "%"), ("%zz", "%zz"), ("a%4", "a%4"), ("", "")]
        {
            assert_eq!(decode_message(text.as_bytes()), expected, "{text}");
        }
    }
}
