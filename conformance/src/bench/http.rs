//! One HTTP/1.1 request on a connection of its own: enough to look at an answer's status and headers.
//!
//! Not a client: bodies are returned as they stand on the wire.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Bound on connecting and on each read and write.
const IO_LIMIT: Duration = Duration::from_secs(5);
/// Bound on an answer, bytes.
const ANSWER_LIMIT: u64 = 64 * 1024;
/// The host that the peers route.
pub(crate) const HOST: &str = "bench.example";

/// An answer.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    head: String,
    /// What followed the head.
    pub(crate) body: String,
}

impl Answer {
    /// The value of the first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
    }
}

/// Sends GET to a loopback port; `headers` are whole lines, each with its line end.
///
/// # Errors
/// No connection, no answer within 5 s, or not HTTP.
pub(crate) fn get(port: u16, path: &str, headers: &str) -> Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, IO_LIMIT)?;
    stream.set_read_timeout(Some(IO_LIMIT))?;
    stream.set_write_timeout(Some(IO_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{headers}\r\n")?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).context("the answer is not HTTP/1.1")
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
