//! One client connection: TLS handshake, then HTTP/1.1 or HTTP/2.
//!
//! Not here: accepting (`accept`), and what happens to a request (`exchange`).

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::protocol::Protocol;
use super::tls::{self, Handshake};
use super::transport::Transport;
use super::{h1, h2};
use crate::data::exchange::{Client, Worker};
use crate::data::wire::h1::Connection;
use crate::observe::counters::{Counters, GaugeGuard, increment};

/// Serves an accepted connection until it is closed.
///
/// # Cancellation
/// Dropping the future closes the connection. Its unfinished requests are reported as aborted.
pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, protocol: Protocol) {
    let _open_gauge = GaugeGuard::increment(&worker.counters, |counters| &counters.connections_open);
    let _panic_counter = PanicCounter(Rc::clone(&worker.counters));
    increment(&worker.counters.connections_accepted);
    if let Err(error) = stream.set_nodelay(true) {
        // With Nagle's algorithm the last segment of a response waits for the acknowledgement of the previous one.
        tracing::debug!(client = %peer, %error, "TCP_NODELAY cannot be set, responses may be delayed");
    }
    let (transport, tls_version, is_h2) = match protocol {
        Protocol::Plain => (Transport::Plain(stream), None, false),
        Protocol::Tls(config) => {
            // Boxed: the state of a handshake is large and short-lived, and would enlarge every idle connection.
            let handshake = Box::pin(tls::handshake(&worker, stream, peer, config));
            let stream = match handshake.await {
                Handshake::Complete(stream) => stream,
                Handshake::PlainHttp(stream) => {
                    let trusted = &worker.settings.requests.trusted_proxies;
                    let client = Box::new(Client::new(peer.ip(), None, trusted).on_tls_port());
                    let mut connection =
                        Connection::new(Transport::Plain(stream), worker.settings.limits.head);
                    // Boxed, as the handshake is.
                    Box::pin(h1::serve(&worker, client, &mut connection)).await;
                    return;
                }
                Handshake::Failed => return,
            };
            let session = stream.get_ref().1;
            let (version, is_h2) = (session.protocol_version(), session.alpn_protocol() == Some(b"h2"));
            (Transport::Tls(stream), version, is_h2)
        }
    };
    // Boxed, since it moves from future to future.
    let client = Box::new(Client::new(peer.ip(), tls_version, &worker.settings.requests.trusted_proxies));
    if is_h2 {
        return Box::pin(h2::serve(&worker, client, transport, Bytes::new())).await;
    }
    // Borrowed by the future of `h1::serve`: an argument that moves into a future takes memory twice.
    let mut connection = Connection::new(transport, worker.settings.limits.head);
    if let Some(client) = h1::serve(&worker, client, &mut connection).await {
        let (transport, received) = connection.into_parts();
        Box::pin(h2::serve(&worker, client, transport, received)).await;
    }
}

/// Counts a panic of the connection that holds it. The panic ends that connection alone.
struct PanicCounter(Rc<Counters>);

impl Drop for PanicCounter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            increment(&self.0.panics);
        }
    }
}
