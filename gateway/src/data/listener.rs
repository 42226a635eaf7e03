//! Client connections: sockets, TLS, HTTP/1.1 and HTTP/2, connection limits and drain.
//!
//! Not here: what happens to a request (`exchange`).

mod accept;
mod connection;
pub mod connections;
mod h1;
mod h2;
mod linger;
mod pace;
mod protocol;
pub mod sockets;
pub mod tls;
mod transport;
pub mod worker;

pub use protocol::Protocol;
