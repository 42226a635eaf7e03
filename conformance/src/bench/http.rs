//! One HTTP/1.1 request on a connection of its own: enough to look at an answer's status and headers.
//!
//! Not a client: bodies are returned as they stand on the wire.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Bound on connecting and on each read and write.
const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound on an answer, bytes.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;
/// The host that the peers route.
pub(crate) const HOST: &str = "bench.example";

/// Plaintext or TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The port that a URL without one means.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// An answer.
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    head: String,
    /// What followed the head.
    pub(crate) body: String,
}

impl Response {
    /// The value of the first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
    }
}

/// Connects to a loopback port.
pub(crate) fn connect(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, IO_TIMEOUT)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends GET to a loopback port; `headers` are whole lines, each with its line end.
///
/// # Errors
/// No connection, no answer within 5 s, or not HTTP.
pub(crate) fn get(port: u16, path: &str, headers: &str) -> Result<Response> {
    get_over(&mut connect(port)?, path, headers)
}

/// Sends GET over a new connection, which the server then closes.
///
/// # Errors
/// As for [`get`].
pub(crate) fn get_over(stream: &mut (impl Read + Write), path: &str, headers: &str) -> Result<Response> {
    // One write: the head would be a packet for each piece of it otherwise.
    let head = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).context("the answer is not HTTP/1.1")
}

/// Sends GET for `/` of a host over a connection that stays open, and reads the answer by its Content-Length.
///
/// # Errors
/// No whole answer within 5 s a read, or another status than 200.
pub(crate) fn get_keep_alive(stream: &mut (impl Read + Write), host: &str) -> Result<()> {
    let status = status(stream, host)?;
    ensure!(status == 200, "status {status}");
    Ok(())
}

/// The same, for any status.
///
/// # Errors
/// No whole answer within 5 s a read.
pub(crate) fn status(stream: &mut (impl Read + Write), host: &str) -> Result<u16> {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut piece)?;
        ensure!(length > 0, "closed within an answer: {text}");
        text += &String::from_utf8_lossy(piece.get(..length).unwrap_or_default());
        let Some(answer) = parse(&text) else { continue };
        let length = answer.header("content-length").context("no Content-Length")?.parse::<usize>()?;
        if answer.body.len() >= length {
            return Ok(answer.status);
        }
    }
}

fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Response { status, head: head.to_owned(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Result, Write};

    use super::get_keep_alive;

    /// What a server sends, a byte at a time; what is written to it is dropped.
    struct Canned(Cursor<&'static str>);

    impl Read for Canned {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            self.0.read(&mut into[..1])
        }
    }

    impl Write for Canned {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let mut server =
            Canned(Cursor::new("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\n"));
        get_keep_alive(&mut server, "a.example").unwrap();
        assert_eq!(server.0.position(), 40);
    }

    #[test]
    fn other_answers_and_half_answers_are_errors() {
        let mut wrong = Canned(Cursor::new("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
        assert!(get_keep_alive(&mut wrong, "a.example").unwrap_err().to_string().contains("503"));
        let mut half = Canned(Cursor::new("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"));
        assert!(get_keep_alive(&mut half, "a.example").unwrap_err().to_string().contains("closed within"));
    }
}
