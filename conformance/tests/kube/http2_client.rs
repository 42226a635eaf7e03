//! A blocking HTTP/2 client with prior knowledge. It never retries, and opens no second connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use h2::client::SendRequest;
use hyper::Request;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Yields after which the connection's task has read what arrived before.
const YIELDS_TO_READ: u32 = 8;

/// A connection. Requests on it follow one another.
pub(crate) struct Http2Client {
    runtime: Runtime,
    requests: SendRequest<hyper::body::Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    timeout: Duration,
}

impl Http2Client {
    /// Connects to an address. `timeout` applies to connecting and to each request.
    pub(crate) fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        // One thread: between the check for GOAWAY and the next request, the connection reads nothing. Otherwise it could
        // read GOAWAY, answer the PING that follows, and send a queued request behind that answer: the server has then
        // announced that it ignores the request.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (requests, connection) = runtime.block_on(async {
            let handshake = async {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                h2::client::handshake(stream).await.map_err(io::Error::other)
            };
            tokio::time::timeout(timeout, handshake).await?
        })?;
        let connection = runtime.spawn(connection);
        Ok(Self { runtime, requests, connection, timeout })
    }

    /// Returns true if the server has closed the connection, or asked the client to open another (GOAWAY).
    pub(crate) fn is_closing(&self) -> bool {
        let requests = self.requests.clone();
        // The first yields poll the socket and wake the connection's task, which then reads all that has arrived.
        self.runtime.block_on(async {
            for _ in 0..YIELDS_TO_READ {
                tokio::task::yield_now().await;
            }
        });
        let ready =
            self.runtime.block_on(async { tokio::time::timeout(self.timeout, requests.ready()).await });
        self.connection.is_finished() || !matches!(ready, Ok(Ok(_)))
    }

    /// Sends a GET and reads the response to its end. Returns the status.
    pub(crate) fn get(&mut self, host: &str) -> io::Result<u16> {
        let request = Request::get(format!("http://{host}/")).body(()).map_err(io::Error::other)?;
        let (requests, timeout) = (&mut self.requests, self.timeout);
        self.runtime.block_on(async {
            let exchange = async {
                let (response, _) = requests.send_request(request, true).map_err(io::Error::other)?;
                let (head, mut body) = response.await.map_err(io::Error::other)?.into_parts();
                while let Some(piece) = body.data().await {
                    let length = piece.map_err(io::Error::other)?.len();
                    body.flow_control().release_capacity(length).map_err(io::Error::other)?;
                }
                Ok(head.status.as_u16())
            };
            tokio::time::timeout(timeout, exchange).await?
        })
    }
}
