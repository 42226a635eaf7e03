//! `conformance echo`: the app behind the tested Ingresses. Responds to every request with its own content.
//!
//! It also accepts WebSockets, whose messages it returns, and sends server-sent events and long bodies on request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::extract::connect_info::Connected;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::serve::IncomingStream;
use futures::SinkExt as _;
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Response field with the address at which the request arrived.
pub const ENDPOINT_FIELD: &str = "echo-endpoint";

/// Request field: length of the response body, which is then no JSON.
pub const BODY_BYTES_FIELD: &str = "echo-body-bytes";

/// Time between the two server-sent events of a stream. A proxy that buffers the stream delays the first one as long.
pub const EVENT_INTERVAL: Duration = Duration::from_secs(3);

/// Maximum bytes of a request body.
const MAX_BODY_BYTES: usize = 64 << 20;

/// Options of `echo`.
#[derive(Debug, clap::Args)]
pub struct EchoArgs {
    /// Address to listen on. Defaults to port 3000 of all addresses; `PORT` in the environment sets the port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Number of ports to listen on, from that of the address.
    #[arg(long, value_name = "N", default_value_t = 1)]
    port_count: u16,
}

/// Body of a response.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EchoResponse {
    /// `NAMESPACE` of the environment.
    pub namespace: String,
    /// `POD_NAME` of the environment.
    pub pod: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The HTTP version.
    pub version: String,
    /// The value of Host.
    pub host: String,
    /// The values of each header field.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Length of the request body.
    pub body_bytes: usize,
    /// The address at which the request arrived.
    pub endpoint: String,
}

/// Serves until SIGTERM or SIGINT, then completes open requests.
///
/// # Errors
/// An address cannot be bound.
pub fn run(echo: &EchoArgs) -> anyhow::Result<ExitCode> {
    let port = std::env::var("PORT").ok().map(|port| port.parse()).transpose()?.unwrap_or(3000);
    let listen = echo.listen.unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, port).into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (stop_tx, stop_rx) = watch::channel(());
        let mut servers = JoinSet::new();
        for offset in 0..echo.port_count {
            let port = listen.port().checked_add(offset).context("--port-count: the port exceeds 65535")?;
            let address = SocketAddr::new(listen.ip(), port);
            let listener = TcpListener::bind(address).await.with_context(|| address.to_string())?;
            servers.spawn(serve(listener, stop_rx.clone()));
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(stop_tx);
        servers.join_all().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Serves a listener until the sender of `stop_rx` is dropped, then completes open requests.
///
/// # Cancellation
/// Dropping the future closes the listener. Open connections are served further.
pub async fn serve(listener: TcpListener, mut stop_rx: watch::Receiver<()>) {
    let stop = async move { while stop_rx.changed().await.is_ok() {} };
    let app = Router::new().fallback(respond).into_make_service_with_connect_info::<LocalAddress>();
    // `axum::serve` retries failed accepts and returns no error.
    let _ = axum::serve(listener, app).with_graceful_shutdown(stop).await;
}

/// The address at which a connection arrived.
#[derive(Clone, Debug)]
struct LocalAddress(String);

impl Connected<IncomingStream<'_, TcpListener>> for LocalAddress {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let address = stream
            .io()
            .local_addr()
            .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        Self(address.map(|address| address.to_string()).unwrap_or_default())
    }
}

async fn respond(
    ConnectInfo(LocalAddress(endpoint)): ConnectInfo<LocalAddress>,
    request: Request,
) -> Response {
    let mut response = match Wish::of(&request) {
        Wish::Websocket => accept_websocket(request),
        Wish::Events => send_events(),
        Wish::Bytes(length) => vec![b'x'; length.min(MAX_BODY_BYTES)].into_response(),
        Wish::Echo => echo_request(request, &endpoint).await,
    };
    if let Ok(endpoint) = HeaderValue::from_str(&endpoint) {
        response.headers_mut().insert(ENDPOINT_FIELD, endpoint);
    }
    response
}

/// The kind of response that a request asks for.
enum Wish {
    Websocket,
    Events,
    Bytes(usize),
    Echo,
}

impl Wish {
    fn of(request: &Request) -> Self {
        let field = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let is = |name, token| field(name).is_some_and(|value: &str| value.eq_ignore_ascii_case(token));
        if is("upgrade", "websocket") {
            return Self::Websocket;
        }
        if is("accept", "text/event-stream") {
            return Self::Events;
        }
        let length = field(BODY_BYTES_FIELD).and_then(|length| length.parse().ok());
        length.map_or(Self::Echo, Self::Bytes)
    }
}

async fn echo_request(request: Request, endpoint: &str) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in &parts.headers {
        let values = headers.entry(name.to_string()).or_default();
        values.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let host = headers.get("host").and_then(|hosts| hosts.first()).cloned().unwrap_or_default();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    Json(EchoResponse {
        namespace: variable("NAMESPACE"),
        pod: variable("POD_NAME"),
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        version: format!("{:?}", parts.version),
        host,
        headers,
        body_bytes: body.len(),
        endpoint: endpoint.to_owned(),
    })
    .into_response()
}

/// Switches to WebSocket and returns all messages to the client.
fn accept_websocket(mut request: Request) -> Response {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(key) = key else { return StatusCode::BAD_REQUEST.into_response() };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let (mut sink, mut stream) = socket.split();
        while let Some(Ok(message)) = stream.next().await {
            let is_data = message.is_text() || message.is_binary();
            if is_data && sink.send(message).await.is_err() {
                return;
            }
        }
    });
    let fields = [
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, key),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, fields).into_response()
}

/// Sends one event at once and one after [`EVENT_INTERVAL`].
fn send_events() -> Response {
    let events = futures::stream::iter(["data: one\n\n", "data: two\n\n"]).enumerate().then(
        |(number, event)| async move {
            if number > 0 {
                tokio::time::sleep(EVENT_INTERVAL).await;
            }
            Ok::<_, Infallible>(Bytes::from_static(event.as_bytes()))
        },
    );
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}
