//! The protocols that a listener's connections use.

use std::sync::Arc;

/// The protocols of a listener's connections.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// HTTP/1.1, or HTTP/2 with prior knowledge, in plaintext.
    Plain,
    /// HTTP/1.1 or HTTP/2 over TLS, chosen by ALPN. HTTP/2 with prior knowledge works too.
    Tls(Arc<rustls::ServerConfig>),
}
