//! The gRPC side of a case's servers: one connection over HTTP/2, with unary calls.
//!
//! Not here: which answer a call gets (`script`).

use anyhow::Context as _;
use api::plugin_case::{GrpcAnswer, RecordedMessage};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;

/// The first bytes of a connection that speaks HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI";

/// Bytes before a message: a flag for compression, and the length.
const PREFIX_BYTES: usize = 5;

/// What a call gets.
pub(super) enum GrpcReply {
    Answer(GrpcAnswer),
    Reset,
    /// Nothing, until the client gives up.
    Silence,
}

/// Does the client of a connection speak HTTP/2?
///
/// # Errors
/// The connection is closed.
///
/// # Cancellation
/// No byte is lost.
pub(super) async fn is_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    // A client writes its preface at once.
    let count = stream.peek(&mut start).await?;
    Ok(count > 0 && start.get(..count) == PREFACE.get(..count))
}

/// Serves a connection until its end. `reply` decides about each call.
///
/// # Errors
/// The client violates HTTP/2, or the connection breaks.
///
/// # Cancellation
/// The connection closes.
pub(super) async fn serve(
    stream: TcpStream,
    reply: impl Fn(RecordedMessage) -> GrpcReply + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let reply = reply.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(request, respond, reply).await {
                tracing::debug!(%error, "gRPC call of a case");
            }
        });
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    reply: impl Fn(RecordedMessage) -> GrpcReply,
) -> anyhow::Result<()> {
    let call = received(request).await?;
    let answer = match reply(call) {
        GrpcReply::Answer(answer) => answer,
        GrpcReply::Reset => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        GrpcReply::Silence => {
            std::future::poll_fn(|task| respond.poll_reset(task)).await?;
            return Ok(());
        }
    };
    let status = HeaderValue::from(answer.status);
    let head = Response::builder().header("content-type", "application/grpc");
    if answer.status != 0 {
        let message = encoded(&answer.status_message);
        let head = head.header("grpc-status", status).header("grpc-message", message);
        respond.send_response(head.body(())?, true)?;
        return Ok(());
    }
    let mut body = respond.send_response(head.body(())?, false)?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + answer.message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(answer.message.len())?);
    framed.put_slice(&answer.message);
    body.send_data(framed.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status);
    body.send_trailers(trailers)?;
    Ok(())
}

/// Reads a call. Its body is the message without the prefix.
async fn received(request: Request<RecvStream>) -> anyhow::Result<RecordedMessage> {
    let (head, mut body) = request.into_parts();
    let authority = head.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let mut headers = vec![
        (":method".to_owned(), head.method.as_str().as_bytes().to_vec()),
        (":path".to_owned(), head.uri.path().as_bytes().to_vec()),
        (":authority".to_owned(), authority.as_bytes().to_vec()),
    ];
    headers.extend(
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())),
    );
    let mut framed = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        framed.extend_from_slice(&data);
    }
    let message = framed.get(PREFIX_BYTES..).context("the call has no message")?;
    Ok(RecordedMessage { headers, body: message.to_vec(), trailers: Vec::new() })
}

/// Encodes a status message as "gRPC over HTTP2" says: all but printable ASCII, and `%`, as `%XX`.
fn encoded(message: &str) -> String {
    let encode = |byte: u8| match byte {
        b' '..=b'$' | b'&'..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    message.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_messages_are_encoded() {
        for (message, expected) in [("not you", "not you"), ("50%\n", "50%25%0A"), ("é", "%C3%A9"), ("", "")]
        {
            assert_eq!(encoded(message), expected);
        }
    }
}
