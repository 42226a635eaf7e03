//! From a socket to requests: accepting, TLS, telling HTTP/2 from HTTP/1.1, and keeping connections.
//!
//! Not here: what happens to a request (`exchange`).

mod accept;
pub mod crowd;
mod h1;
mod h2;
pub mod sockets;
pub mod tls;
mod transport;
pub mod worker;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::exchange::{Client, Worker};
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
    let limits = worker.settings.limits;
    match protocol {
        Protocol::Plain => {
            let client = client(&worker, peer, None);
            h1::serve(&worker, client, Connection::new(Transport::Plain(stream), limits)).await;
        }
        Protocol::Tls(config) => {
            // The handshake's state is large and short-lived: it has no place in the idle connection.
            let handshake = Box::pin(tls::accept(&worker, (stream, peer), config));
            let Some((stream, is_h2)) = handshake.await else { return };
            let client = client(&worker, peer, stream.get_ref().1.protocol_version());
            let transport = Transport::Tls(stream);
            if is_h2 {
                Box::pin(h2::serve(&worker, client, transport, bytes::Bytes::new())).await;
            } else {
                h1::serve(&worker, client, Connection::new(transport, limits)).await;
            }
        }
    }
}

/// Describes the client; on the heap, since it moves from future to future.
fn client(worker: &Worker, peer: SocketAddr, tls: Option<rustls::ProtocolVersion>) -> Box<Client> {
    Box::new(Client::new(peer.ip(), tls, &worker.settings.trusted))
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
