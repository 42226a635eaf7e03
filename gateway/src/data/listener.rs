//! From a socket to requests: accepting, TLS, telling HTTP/2 from HTTP/1.1, and keeping connections.
//!
//! Not here: what happens to a request (`exchange`).

mod accept;
pub mod connections;
mod h1;
mod h2;
mod linger;
pub mod sockets;
pub mod tls;
mod transport;
pub mod worker;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::data::exchange::{Client, Worker};
use crate::data::wire::h1::Connection;
use crate::observe::counters::{Counters, GaugeGuard, increment};
use transport::Transport;

/// What a listener's connections speak.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// HTTP/1.1, or HTTP/2 with prior knowledge, in plaintext.
    Plain,
    /// The same over TLS, chosen by ALPN.
    Tls(Arc<rustls::ServerConfig>),
}

/// Serves one accepted connection to its end.
async fn serve_connection(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, protocol: Protocol) {
    let _open_gauge = GaugeGuard::increment(&worker.counters, |counters| &counters.connections_open);
    let _panic_counter = PanicCounter(Rc::clone(&worker.counters));
    increment(&worker.counters.connections_accepted);
    // Without it the last segment of an answer waits for an acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let (transport, tls, is_h2) = match protocol {
        Protocol::Plain => (Transport::Plain(stream), None, false),
        Protocol::Tls(config) => {
            // The handshake's state is large and short-lived: it has no place in the idle connection.
            let handshake = Box::pin(tls::handshake(&worker, (stream, peer), config));
            let Some((stream, is_h2)) = handshake.await else { return };
            let version = stream.get_ref().1.protocol_version();
            (Transport::Tls(stream), version, is_h2)
        }
    };
    // On the heap, since it moves from future to future.
    let client = Box::new(Client::new(peer.ip(), tls, &worker.settings.requests.trusted_proxies));
    if is_h2 {
        return Box::pin(h2::serve(&worker, client, transport, bytes::Bytes::new())).await;
    }
    // Lent, since what a future is given it keeps twice.
    let mut connection = Connection::new(transport, worker.settings.limits.head);
    if let Some(client) = h1::serve(&worker, client, &mut connection).await {
        let (transport, read) = connection.into_parts();
        Box::pin(h2::serve(&worker, client, transport, read)).await;
    }
}

/// Counts a connection that ends by a panic: it costs that connection alone.
struct PanicCounter(Rc<Counters>);

impl Drop for PanicCounter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            increment(&self.0.panics);
        }
    }
}
