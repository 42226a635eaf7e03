//! HTTP/1.1 messages of cases: whole requests and responses, with trailer sections, on a connection of this machine.
//!
//! Not here: what a message has, and HTTP/2.

use anyhow::{Context as _, ensure};
use api::plugin_case::{FieldLine, RecordedMessage};
use bytes::BytesMut;
use http1::{BodyDecoder, BodyLength, Decoded, Head, HeadLimits, HeadScanner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Maximum bytes of a body. Longer ones are an error.
const MAX_BODY_BYTES: usize = 64 << 20;

/// A connection, and the bytes that were read and not parsed.
pub(super) struct Connection {
    stream: TcpStream,
    input: BytesMut,
}

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    /// The request or status line, with the fields that the case does not list.
    pub(super) start: &'a str,
    pub(super) fields: &'a [FieldLine],
    /// Each is sent on its own.
    pub(super) pieces: &'a [&'a str],
    pub(super) trailers: &'a [FieldLine],
    pub(super) body: BodyRule,
}

/// Whether a message has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyRule {
    /// A request: without a piece, it has none.
    Optional,
    /// A response: without a piece, it has an empty one.
    Always,
    /// A response to HEAD, or with a status that has none.
    Never,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        // A piece must leave when it is written.
        let _ = stream.set_nodelay(true);
        Self { stream, input: BytesMut::new() }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is closed.
    ///
    /// # Cancellation
    /// The message may be sent in part.
    pub(super) async fn send(&mut self, message: &Outgoing<'_>) -> std::io::Result<()> {
        for part in message.parts() {
            self.stream.write_all(&part).await?;
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Receives a request. Returns `None` if the client closed the connection.
    ///
    /// # Errors
    /// The request is malformed, or ends early.
    ///
    /// # Cancellation
    /// What was read of the request is lost.
    pub(super) async fn request(&mut self) -> anyhow::Result<Option<RecordedMessage>> {
        let mut scanner = HeadScanner::default();
        let head = loop {
            if let Some(head) = http1::parse::request(&mut self.input, &mut scanner, &HeadLimits::default())?
            {
                break head;
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                ensure!(self.input.is_empty(), "the request ends early");
                return Ok(None);
            }
        };
        let mut message = RecordedMessage {
            headers: vec![
                (":method".to_owned(), head.method().to_vec()),
                (":path".to_owned(), head.target().to_vec()),
            ],
            ..RecordedMessage::default()
        };
        for (name, value) in fields(&head) {
            let name = if name == "host" { ":authority".to_owned() } else { name };
            message.headers.push((name, value));
        }
        self.body(BodyLength::from_request(&head)?, &mut message).await?;
        Ok(Some(message))
    }

    /// Receives the response to a request with a method. Informational responses are skipped.
    ///
    /// # Errors
    /// The response is malformed, or there is none.
    ///
    /// # Cancellation
    /// What was read of the response is lost.
    pub(super) async fn response(&mut self, method: &str) -> anyhow::Result<RecordedMessage> {
        let mut scanner = HeadScanner::default();
        let head = loop {
            match http1::parse::response(&mut self.input, &mut scanner, &HeadLimits::default())? {
                Some(head) if head.status() >= 200 => break head,
                Some(_informational) => {}
                None => {
                    let count = self.stream.read_buf(&mut self.input).await?;
                    ensure!(count > 0, "the connection is closed without a response");
                }
            }
        };
        let mut message = RecordedMessage {
            headers: vec![(":status".to_owned(), head.status().to_string().into_bytes())],
            ..RecordedMessage::default()
        };
        message.headers.extend(fields(&head));
        self.body(BodyLength::from_response(&head, method.as_bytes())?, &mut message).await?;
        Ok(message)
    }

    async fn body(&mut self, length: BodyLength, message: &mut RecordedMessage) -> anyhow::Result<()> {
        let mut decoder = BodyDecoder::new(length);
        loop {
            match decoder.decode(&mut self.input, &HeadLimits::default())? {
                Decoded::Data(data) => message.body.extend_from_slice(&data),
                Decoded::Trailers(section) => {
                    message.trailers = fields(&section).collect();
                    return Ok(());
                }
                Decoded::End => return Ok(()),
                Decoded::Incomplete if self.stream.read_buf(&mut self.input).await? == 0 => {
                    return decoder.finish().context("the connection is closed in the body");
                }
                Decoded::Incomplete => {}
            }
            ensure!(message.body.len() <= MAX_BODY_BYTES, "the body is longer than {MAX_BODY_BYTES} bytes");
        }
    }

    /// Closes the connection with a reset.
    pub(super) fn reset(self) {
        // Without it, the connection ends by FIN, which is a failure too.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl Outgoing<'_> {
    /// Returns what is written, one part after the other.
    fn parts(&self) -> Vec<Vec<u8>> {
        let is_given = |name: &str| self.fields.iter().any(|line| line.name == name);
        let is_chunked = self.pieces.len() > 1 || !self.trailers.is_empty() || is_given("transfer-encoding");
        let mut head = format!("{}{}", self.start, lines(self.fields));
        match (self.body, self.pieces) {
            (BodyRule::Never, _) => return vec![(head + "\r\n").into_bytes()],
            (BodyRule::Optional, []) if !is_chunked => return vec![(head + "\r\n").into_bytes()],
            _ if is_chunked && !is_given("transfer-encoding") => head += "transfer-encoding: chunked\r\n",
            _ if is_chunked || is_given("content-length") => {}
            (_, pieces) => head += &format!("content-length: {}\r\n", pieces.concat().len()),
        }
        head += "\r\n";
        let mut parts = vec![head.into_bytes()];
        for piece in self.pieces {
            parts.push(
                if is_chunked { format!("{:x}\r\n{piece}\r\n", piece.len()) } else { (*piece).to_owned() }
                    .into_bytes(),
            );
        }
        if is_chunked {
            parts.push(format!("0\r\n{}\r\n", lines(self.trailers)).into_bytes());
        }
        parts
    }
}

fn lines(fields: &[FieldLine]) -> String {
    fields.iter().map(|line| format!("{}: {}\r\n", line.name, line.value)).collect()
}

/// Returns fields with names in lower case.
fn fields(head: &Head) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    head.fields().map(|(_, name, value)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, value: &str) -> FieldLine {
        FieldLine { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn body_is_framed_by_its_pieces() {
        let (length, trailer) = ([line("content-length", "9")], [line("x-sum", "5")]);
        let start = "GET / HTTP/1.1\r\n";
        for (name, fields, pieces, trailers, body, expected) in [
            ("none", &[][..], &[][..], &[][..], BodyRule::Optional, "GET / HTTP/1.1\r\n\r\n"),
            ("empty", &[], &[], &[], BodyRule::Always, "GET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"),
            ("one", &[], &["ab"], &[], BodyRule::Optional, "GET / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab"),
            (
                "given",
                &length,
                &["ab"],
                &[],
                BodyRule::Always,
                "GET / HTTP/1.1\r\ncontent-length: 9\r\n\r\nab",
            ),
            (
                "two",
                &[],
                &["ab", "c"],
                &[],
                BodyRule::Optional,
                "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            ),
            (
                "trailers",
                &[],
                &[],
                &trailer,
                BodyRule::Optional,
                "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-sum: 5\r\n\r\n",
            ),
            ("never", &length, &["ab"], &[], BodyRule::Never, "GET / HTTP/1.1\r\ncontent-length: 9\r\n\r\n"),
        ] {
            let message = Outgoing { start, fields, pieces, trailers, body };
            assert_eq!(String::from_utf8(message.parts().concat()).unwrap(), expected, "{name}");
        }
    }
}
