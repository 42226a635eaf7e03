//! Port forwarding of a kubelet: WebSocket connections from the API server into pods (`pods/portforward`).
//!
//! Supports the protocol `v4.channel.k8s.io` with one port per connection, as kube uses it. kubectl uses SPDY, which is
//! not supported. Logs are files, and `cluster exec` replaces exec.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpStream as BlockingStream};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::http::{HeaderValue, StatusCode};
use futures::{SinkExt as _, StreamExt as _};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::layout;
use super::pod::exec::ExecEntry;

/// Default port of a kubelet.
const KUBELET_PORT: u16 = 10250;

const PROTOCOL: &str = "v4.channel.k8s.io";
const PROTOCOL_FIELD: &str = "sec-websocket-protocol";

/// Channel numbers, the first byte of each message: data of the connection, and errors.
const DATA_CHANNEL: u8 = 0;
const ERROR_CHANNEL: u8 = 1;

/// Accepts connections on a node's address.
///
/// # Errors
/// The address cannot be bound, or accepting fails.
///
/// # Cancellation
/// Dropping the future closes all connections.
pub(super) async fn serve(node: u8) -> anyhow::Result<Infallible> {
    let acceptor = TlsAcceptor::from(Arc::new(tls()?));
    let listener = TcpListener::bind((layout::node_address(node), KUBELET_PORT)).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(handle_connection(acceptor.clone(), stream));
            }
            Some(ended) = connections.join_next() => if let Ok(Err(error)) = ended {
                tracing::debug!(%error, "port forwarding failed");
            }
        }
    }
}

/// Creates a self-signed certificate. The API server of this cluster does not verify kubelets.
fn tls() -> anyhow::Result<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["kubelet".to_owned()])?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    Ok(config.with_single_cert(vec![made.cert.der().clone()], key.into())?)
}

/// The requested port, from `/portForward/NAMESPACE/POD?port=PORT`.
struct ForwardTarget {
    network: PathBuf,
    port: u16,
}

impl ForwardTarget {
    fn from_request(request: &Request) -> anyhow::Result<Self> {
        let uri = request.uri();
        let path = uri.path().strip_prefix("/portForward/").and_then(|path| path.split_once('/'));
        let (namespace, pod) = path.context("the path must be /portForward/NAMESPACE/POD")?;
        let offered = request.headers().get_all(PROTOCOL_FIELD).iter();
        let mut offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        ensure!(offered.any(|protocol| protocol.trim() == PROTOCOL), "only {PROTOCOL} is supported");
        let mut query = uri.query().unwrap_or_default().split('&');
        let port = query.find_map(|pair| pair.strip_prefix("port=")).context("the query has no port")?;
        let port = port.parse().with_context(|| format!("{port:?} is not a single port"))?;
        Ok(Self { network: ExecEntry::read(namespace, pod)?.network, port })
    }

    /// Connects to the pod's loopback address.
    ///
    /// Call this on a new thread, which enters the pod's network namespace for good. The socket stays in that namespace.
    fn connect(self) -> io::Result<BlockingStream> {
        let network = File::open(&self.network)?;
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        BlockingStream::connect((Ipv4Addr::LOCALHOST, self.port))
    }
}

async fn handle_connection(acceptor: TlsAcceptor, stream: TcpStream) -> anyhow::Result<()> {
    let stream = acceptor.accept(stream).await?;
    let mut target = None;
    #[expect(clippy::result_large_err, reason = "tungstenite wants a whole response")]
    let respond = |request: &Request, mut response: Response| {
        target = Some(ForwardTarget::from_request(request).map_err(|error| bad_request(&error))?);
        response.headers_mut().insert(PROTOCOL_FIELD, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, respond).await?;
    let target = target.context("the handshake had no request")?;
    let [low, high] = target.port.to_le_bytes();
    for channel in [DATA_CHANNEL, ERROR_CHANNEL] {
        socket.send(Message::binary(vec![channel, low, high])).await?;
    }
    let (sender, connected) = tokio::sync::oneshot::channel();
    // The receiver is gone if the connection has failed meanwhile.
    std::thread::Builder::new().name("forward".to_owned()).spawn(|| drop(sender.send(target.connect())))?;
    match connected.await? {
        Ok(pod) => {
            pod.set_nonblocking(true)?;
            copy_both_ways(socket, TcpStream::from_std(pod)?).await
        }
        Err(error) => {
            let text = format!("cannot connect to the pod: {error}");
            socket.send(Message::binary([&[ERROR_CHANNEL], text.as_bytes()].concat())).await?;
            Ok(socket.close(None).await?)
        }
    }
}

fn bad_request(error: &anyhow::Error) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(format!("{error:#}")));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// Copies bytes in both directions until both have ended.
async fn copy_both_ways<S>(socket: WebSocketStream<S>, pod: TcpStream) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_pod, mut to_pod) = pod.into_split();
    let to_peer = async {
        loop {
            let mut piece = Vec::with_capacity(16 * 1024);
            piece.push(DATA_CHANNEL);
            if from_pod.read_buf(&mut piece).await? == 0 {
                return anyhow::Ok(to_client.send(Message::Close(None)).await?);
            }
            to_client.send(Message::binary(piece)).await?;
        }
    };
    let from_peer = async {
        while let Some(message) = from_client.next().await {
            match message? {
                Message::Binary(piece) => {
                    if let Some((&DATA_CHANNEL, bytes)) = piece.split_first() {
                        to_pod.write_all(bytes).await?;
                    }
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        anyhow::Ok(to_pod.shutdown().await?)
    };
    tokio::try_join!(to_peer, from_peer).map(|_| ())
}
