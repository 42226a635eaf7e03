//! A client for the admin pages of a running gateway. Not here: which page a command needs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A response of the admin pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// The gateway cannot be reached, or does not respond in time.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The response is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
}

/// Requests a page by HTTP/1.0, whose response ends with the connection and is never chunked. `timeout` limits connecting
/// and each read.
///
/// # Errors
/// Returns [`PageError::Io`] or [`PageError::NotHttp`].
pub(crate) fn get(address: SocketAddr, target: &str, timeout: Duration) -> Result<Page, PageError> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(request(target).as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    parse(&response)
}

/// Returns the request that [`get`] sends.
pub(crate) fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n")
}

/// Parses a response.
///
/// # Errors
/// Returns [`PageError::NotHttp`].
pub(crate) fn parse(response: &str) -> Result<Page, PageError> {
    let (head, body) = response.split_once("\r\n\r\n").ok_or(PageError::NotHttp)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Page { status: status.ok_or(PageError::NotHttp)?, body: body.to_owned() })
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
pub(crate) fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
