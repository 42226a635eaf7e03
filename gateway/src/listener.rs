//! From a socket to requests: accepting, TLS, telling HTTP/2 from HTTP/1.1, and keeping connections.
//!
//! Not here: what happens to a request (`exchange`).

mod accept;
mod h1;
mod h2;
pub mod places;
pub mod sockets;
pub mod tls;
mod transport;
pub mod worker;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::exchange::{Client, Scheme, Worker};
use crate::telemetry::counters::{Counters, Gauge, bump};
use crate::wire::h1::Connection;
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
async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr, protocol: Protocol) {
    let _open = Gauge::raise(&worker.counters, |counters| &counters.open);
    let _panics = PanicCount(Rc::clone(&worker.counters));
    bump(&worker.counters.accepted);
    // Without it the last segment of an answer waits for an acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let scheme = match protocol {
        Protocol::Plain => Scheme::Http,
        Protocol::Tls(_) => Scheme::Https,
    };
    let port = stream.local_addr().map_or(0, |address| address.port());
    let client = Client { address: peer.ip().to_canonical().to_string(), port: port.to_string(), scheme };
    let limits = worker.settings.limits;
    match protocol {
        Protocol::Plain => {
            let connection = Connection::new(Transport::Plain(stream), limits);
            h1::serve(&worker, client, connection).await;
        }
        Protocol::Tls(config) => {
            // The handshake's state is large and short-lived: it has no place in the idle connection.
            let handshake = Box::pin(tls::accept(&worker, stream, config));
            let Some((stream, is_h2)) = handshake.await else { return };
            let transport = Transport::Tls(Box::new(stream));
            if is_h2 {
                Box::pin(h2::serve(&worker, client, transport, bytes::Bytes::new())).await;
            } else {
                h1::serve(&worker, client, Connection::new(transport, limits)).await;
            }
        }
    }
}

/// Counts a connection that ends by a panic: it costs that connection alone.
struct PanicCount(Rc<Counters>);

impl Drop for PanicCount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            bump(&self.0.panics);
        }
    }
}
