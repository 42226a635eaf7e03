//! The HTTP client of the suite: one request on a new connection. It follows no redirect and never retries.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use futures::SinkExt as _;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::Request;
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::case::RequestSpec;
use super::case::WireProtocol;
use super::certificate;
use crate::echo::ENDPOINT_FIELD;
use crate::echo::EVENT_INTERVAL;
use crate::echo::EchoResponse;

/// Maximum time of a request, the connect and the handshake included. The upstream suite has the same limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Message that a WebSocket must return.
const WEBSOCKET_MESSAGE: &str = "conformance";

/// The addresses under test.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Address for plaintext requests.
    pub http: SocketAddr,
    /// Address for TLS requests.
    pub https: SocketAddr,
}

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    /// Whether the scheme is https.
    pub is_tls: bool,
    /// Host and port as in the URL.
    pub authority: String,
    /// Path and query. At least `/`.
    pub path: String,
}

impl TargetUrl {
    /// Parses a URL. Paths are kept as they are, even if no URL library would.
    ///
    /// # Errors
    /// The scheme is neither http nor https.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").context("expected http://HOST/PATH")?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            other => bail!("scheme {other:?} is neither http nor https"),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_tls, authority: authority.to_owned(), path })
    }

    /// Returns the host without its port.
    pub fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host)
    }
}

/// A response, and what the app reported about the request.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedResponse {
    /// The status code.
    pub status: u16,
    /// Header fields in order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body.
    pub body: String,
    /// Length of the body.
    pub body_bytes: usize,
    /// What the app received. `None` if the response is not from an app.
    pub echo: Option<EchoResponse>,
    /// The presented certificate in DER.
    #[serde(skip)]
    pub certificate: Option<Vec<u8>>,
}

impl ReceivedResponse {
    /// Returns the value of the first field with this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        fields.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the address at which the app received the request.
    pub fn endpoint(&self) -> Option<&str> {
        self.field(ENDPOINT_FIELD)
    }
}

/// Sends a request and returns the response.
///
/// # Errors
/// No connection, no TLS session, or no complete response in time.
///
/// # Cancellation
/// Dropping the future closes the connection.
pub async fn send(addresses: &Addresses, spec: &RequestSpec) -> anyhow::Result<ReceivedResponse> {
    let exchange = exchange(addresses, spec);
    tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.context("no complete response within 10 s")?
}

async fn exchange(addresses: &Addresses, spec: &RequestSpec) -> anyhow::Result<ReceivedResponse> {
    let target = TargetUrl::parse(&spec.url)?;
    let address = if target.is_tls { addresses.https } else { addresses.http };
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    if !target.is_tls {
        return talk(stream, &target, spec, address).await;
    }
    let name = spec.sni.as_deref().unwrap_or(target.host());
    let server_name = if name.is_empty() {
        ServerName::IpAddress(address.ip().into())
    } else {
        ServerName::try_from(name.to_owned()).with_context(|| format!("{name:?} is no server name"))?
    };
    let is_http2 = spec.protocol == WireProtocol::Http2;
    let protocol = if is_http2 { "h2" } else { "http/1.1" };
    let connector = tokio_rustls::TlsConnector::from(certificate::client_config(!name.is_empty(), protocol)?);
    let stream = connector.connect(server_name, stream).await.context("TLS handshake failed")?;
    let presented = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = presented.map(|certificate| certificate.to_vec());
    let response = if is_http2 {
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "the server does not negotiate h2");
        talk_http2(stream, &target, spec).await?
    } else {
        talk(stream, &target, spec, address).await?
    };
    Ok(ReceivedResponse { certificate, ..response })
}

async fn talk<S>(
    stream: S,
    target: &TargetUrl,
    spec: &RequestSpec,
    address: SocketAddr,
) -> anyhow::Result<ReceivedResponse>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection.with_upgrades());
    let host = spec.host.as_deref().unwrap_or(&target.authority);
    let own_host = address.to_string();
    let mut request = Request::builder().method(spec.method.as_str()).uri(target.path.as_str());
    request = request.header("host", if host.is_empty() { &own_host } else { host });
    let has_agent = spec.headers.keys().any(|name| name.eq_ignore_ascii_case("user-agent"));
    if !has_agent {
        request = request.header("user-agent", "ingress-conformance");
    }
    for (name, value) in &spec.headers {
        request = request.header(name, value);
    }
    request = match spec.protocol {
        WireProtocol::Http | WireProtocol::Http2 => request,
        WireProtocol::Events => request.header("accept", "text/event-stream"),
        WireProtocol::Websocket => request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "Y29uZm9ybWFuY2UtMTIzNA=="),
    };
    let body = Full::new(Bytes::from(vec![b'x'; spec.body_bytes]));
    let response = sender.send_request(request.body(body)?);
    let received = match spec.protocol {
        WireProtocol::Http | WireProtocol::Http2 => read_whole(response.await.context("no response")?).await,
        // A proxy that holds events until the stream ends is too late.
        WireProtocol::Events => {
            let first_event = async { read_first_event(response.await.context("no response")?).await };
            let first_event = tokio::time::timeout(EVENT_INTERVAL * 2 / 3, first_event).await;
            first_event.context("the first event does not arrive before the second is sent")?
        }
        WireProtocol::Websocket => exchange_message(response.await.context("no response")?).await,
    };
    connection.abort();
    received
}

async fn talk_http2<S>(stream: S, target: &TargetUrl, spec: &RequestSpec) -> anyhow::Result<ReceivedResponse>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let authority = spec.host.as_deref().unwrap_or(&target.authority);
    let mut request =
        Request::builder().method(spec.method.as_str()).uri(format!("https://{authority}{}", target.path));
    for (name, value) in &spec.headers {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from(vec![b'x'; spec.body_bytes]));
    let received = read_whole(sender.send_request(request.body(body)?).await.context("no response")?).await;
    connection.abort();
    received
}

fn head_of<B>(response: &Response<B>) -> ReceivedResponse {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    ReceivedResponse { status: response.status().as_u16(), headers, ..ReceivedResponse::default() }
}

async fn read_whole(response: Response<Incoming>) -> anyhow::Result<ReceivedResponse> {
    let mut received = head_of(&response);
    let body = response.into_body().collect().await.context("the response body breaks off")?.to_bytes();
    received.body_bytes = body.len();
    received.echo = serde_json::from_slice(&body).ok();
    let beginning = body.get(..body.len().min(400)).unwrap_or_default();
    received.body = String::from_utf8_lossy(beginning).into_owned();
    Ok(received)
}

/// Reads until the first event is complete.
async fn read_first_event(response: Response<Incoming>) -> anyhow::Result<ReceivedResponse> {
    let mut received = head_of(&response);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            received.body += &String::from_utf8_lossy(data);
            if received.body.contains("\n\n") {
                break;
            }
        }
    }
    Ok(received)
}

/// Sends a message over the upgraded connection and reads it back.
async fn exchange_message(response: Response<Incoming>) -> anyhow::Result<ReceivedResponse> {
    if response.status().as_u16() != 101 {
        return read_whole(response).await;
    }
    let received = head_of(&response);
    let upgraded = hyper::upgrade::on(response).await.context("no upgrade")?;
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
    socket.send(Message::text(WEBSOCKET_MESSAGE)).await.context("cannot send a message")?;
    let message = socket.next().await.context("the WebSocket closed without a message")??;
    let is_same = message.to_text().is_ok_and(|text| text == WEBSOCKET_MESSAGE);
    ensure!(is_same, "the WebSocket returned another message: {message:?}");
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_keeps_paths_that_libraries_would_change() {
        struct Row {
            url: &'static str,
            authority: &'static str,
            path: &'static str,
        }
        let rows = [
            Row { url: "http://a.example", authority: "a.example", path: "/" },
            Row { url: "http://a.example:80/b/../c//d", authority: "a.example:80", path: "/b/../c//d" },
            Row { url: "http:///x", authority: "", path: "/x" },
            Row { url: "http://a?q=/", authority: "a", path: "/?q=/" },
        ];
        for row in rows {
            let target = TargetUrl::parse(row.url).unwrap();
            assert_eq!((target.authority.as_str(), target.path.as_str()), (row.authority, row.path));
        }
        assert!(TargetUrl::parse("a.example/").is_err());
        assert_eq!(TargetUrl::parse("http://a.example:80/").unwrap().host(), "a.example");
    }
}
