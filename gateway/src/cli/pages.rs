//! Asking a running gateway for an admin page.
//!
//! Purpose: commands that speak to a gateway do it in one way. Not here: what they ask for.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// Asks for a page by HTTP/1.0, whose answer ends with the connection and is never chunked: status and body.
/// `patience` is how long the gateway may take to be reached, and to say the next part of its answer.
///
/// # Errors
/// Nobody answers there in time, or not in HTTP.
pub(crate) fn get(address: SocketAddr, target: &str, patience: Duration) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(request(target).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    read(&answer)
}

/// The request for a page, as [`get`] sends it.
pub(crate) fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n")
}

/// Status and body of an answer.
///
/// # Errors
/// It is not HTTP.
pub(crate) fn read(answer: &str) -> anyhow::Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("the answer is not HTTP")?, body.to_owned()))
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
pub(crate) fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
