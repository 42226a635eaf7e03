//! HTTP requests to loopback ports, and the parameters that all peers share.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use conformance::http::{HttpClient, Response};

/// Timeout of connecting and of each read and write.
const IO_TIMEOUT: Duration = Duration::from_secs(5);
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
    /// Returns the default port.
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

/// A loaded port of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadTarget {
    pub(crate) scheme: Scheme,
    pub(crate) port: u16,
}

/// Connects to a loopback port.
///
/// # Errors
/// The connection cannot be opened within 5 s.
pub(crate) fn connect(port: u16) -> Result<TcpStream> {
    Ok(HttpClient::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), IO_TIMEOUT)?.stream)
}

/// Sends a GET to a loopback port on a new connection. `fields` are whole lines with their CRLF.
///
/// # Errors
/// No connection, no response within 5 s, or not HTTP/1.1.
pub(crate) fn get(port: u16, path: &str, fields: &str) -> Result<Response> {
    get_over(&mut connect(port)?, path, fields)
}

/// Sends a GET on an open connection, which the server then closes.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_over(stream: &mut (impl Read + Write), path: &str, fields: &str) -> Result<Response> {
    Ok(HttpClient::new(stream).get_and_close(HOST, path, fields)?)
}

/// Sends a GET for `/` of a host on an open connection, which stays open.
///
/// # Errors
/// As [`status`], or the status is not 200.
pub(crate) fn get_keep_alive(stream: &mut (impl Read + Write), host: &str) -> Result<()> {
    let status = status(stream, host)?;
    ensure!(status == 200, "status {status}");
    Ok(())
}

/// Sends a GET for `/` of a host on an open connection, which stays open. Returns the status.
///
/// # Errors
/// No response within 5 s, or not HTTP/1.1.
pub(crate) fn status(stream: &mut (impl Read + Write), host: &str) -> Result<u16> {
    Ok(HttpClient::new(stream).get(host, "/")?.status)
}

/// Sends a GET for a path of a host on an open connection, which the server then closes.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_of(stream: &mut (impl Read + Write), host: &str, path: &str) -> Result<Response> {
    Ok(HttpClient::new(stream).get_and_close(host, path, "")?)
}
