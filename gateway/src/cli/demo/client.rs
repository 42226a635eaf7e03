//! A small HTTP/1.1 client: one request per connection, plain or over TLS.
//!
//! Not here: proxies, redirects and connection reuse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http1::{BodyDecoder, BodyLength, Decoded, HeadLimits, HeadScanner};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::message::Scheme;

/// Time limit for a request, from the connect to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum response body bytes. Longer bodies are an error. The demo's backends send less than 1 KiB.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Sends requests to one gateway, and trusts one authority.
pub(super) struct Client {
    /// The gateway's address for plaintext.
    pub(super) http: SocketAddr,
    /// The gateway's address for TLS.
    pub(super) https: SocketAddr,
    tls: TlsConnector,
}

/// A GET request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The scheme: plaintext or TLS.
    pub(super) scheme: Scheme,
    /// The host without a port.
    pub(super) host: String,
    /// The path, with its leading slash.
    pub(super) path: &'static str,
    /// `User-Agent`, by which the access log's record is found.
    pub(super) user_agent: String,
}

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Response {
    /// The status.
    pub(super) status: u16,
    /// The reason of a local reply. `None`: a backend responded.
    pub(super) gateway_reason: Option<String>,
    /// The body.
    pub(super) body: Bytes,
}

impl Client {
    /// Creates a client. Sends nothing.
    ///
    /// # Errors
    /// Returns an error if the authority's certificate is not valid.
    pub(super) fn new(
        http: SocketAddr,
        https: SocketAddr,
        root: CertificateDer<'static>,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(root)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self {
            http: connect_address(http),
            https: connect_address(https),
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Returns the URL of a request, as a browser shows it.
    pub(super) fn url(&self, request: &Request) -> String {
        let Request { scheme, host, path, .. } = request;
        format!("{}://{host}:{}{path}", scheme.as_str(), self.address(*scheme).port())
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// Returns an error if the connection fails, the certificate is not valid for the host, the response is malformed, or
    /// the time limit passes.
    ///
    /// # Cancellation
    /// Dropping the future closes the connection.
    pub(super) async fn send(&self, request: &Request) -> anyhow::Result<Response> {
        let response = async {
            let stream = TcpStream::connect(self.address(request.scheme)).await?;
            match request.scheme {
                Scheme::Http => self.exchange(stream, request).await,
                Scheme::Https => {
                    let name = ServerName::try_from(request.host.clone())?;
                    self.exchange(self.tls.connect(name, stream).await?, request).await
                }
            }
        };
        let response = tokio::time::timeout(REQUEST_TIMEOUT, response);
        response.await.context("no response in time").flatten().with_context(|| self.url(request))
    }

    async fn exchange(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        request: &Request,
    ) -> anyhow::Result<Response> {
        let (Request { host, path, user_agent, .. }, port) = (request, self.address(request.scheme).port());
        let agent = format!("user-agent: {user_agent}\r\nconnection: close");
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n{agent}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;

        let (limits, mut scanner, mut input) =
            (HeadLimits::default(), HeadScanner::default(), BytesMut::new());
        let head = loop {
            if let Some(head) = http1::parse::response(&mut input, &mut scanner, &limits)? {
                break head;
            }
            anyhow::ensure!(stream.read_buf(&mut input).await? > 0, "closed without a response");
        };
        let reason = head.fields().find(|(_, name, _)| name.eq_ignore_ascii_case(b"gateway-reason"));
        Ok(Response {
            status: head.status(),
            gateway_reason: reason.map(|(_, _, value)| String::from_utf8_lossy(value).into_owned()),
            body: read_body(&mut stream, input, BodyLength::from_response(&head, b"GET")?).await?,
        })
    }

    fn address(&self, scheme: Scheme) -> SocketAddr {
        match scheme {
            Scheme::Http => self.http,
            Scheme::Https => self.https,
        }
    }
}

async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    mut input: BytesMut,
    length: BodyLength,
) -> anyhow::Result<Bytes> {
    let (limits, mut decoder, mut body) = (HeadLimits::default(), BodyDecoder::new(length), BytesMut::new());
    loop {
        match decoder.decode(&mut input, &limits)? {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::Trailers(_) | Decoded::End => return Ok(body.freeze()),
            Decoded::Incomplete if stream.read_buf(&mut input).await? == 0 => {
                decoder.finish()?;
                return Ok(body.freeze());
            }
            Decoded::Incomplete => {}
        }
        anyhow::ensure!(body.len() <= MAX_BODY_BYTES, "the body is longer than {MAX_BODY_BYTES} bytes");
    }
}

/// Returns the address by which a client of this machine reaches a listener. For an unspecified address that is loopback.
pub(super) fn connect_address(listener: SocketAddr) -> SocketAddr {
    use std::net::{Ipv4Addr, Ipv6Addr};
    match listener {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}
