//! TLS for clients: one configuration for all listeners, certificates by SNI.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::data::drain::OnDrain;
use crate::data::exchange::abort::Abort;
use crate::data::exchange::{ConnectionInfo, Worker};
use crate::live::LiveCell;
use crate::message::Scheme;
use crate::observe::access_log::TlsFailure;

/// Maximum time that a client has to finish its handshake once the worker is closing.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Selects the certificate of a handshake from the live certificates.
#[derive(Debug)]
struct SniResolver {
    live: LiveCell,
}

impl ResolvesServerCert for SniResolver {
    /// Returns the certificate of the Secret that an Ingress names for the SNI host, or else a default certificate.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let live = self.live.load();
        let host = hello.server_name().map(str::to_ascii_lowercase);
        Some(Arc::clone(live.certificates.choose(&live.table, host.as_deref()).1))
    }
}

/// Returns the TLS configuration of a listener: TLS 1.2 and 1.3, `h2` and `http/1.1` by ALPN, session tickets.
///
/// # Errors
/// The error of rustls if the provider supports no protocol version, or has no randomness for tickets.
pub fn server_config(live: LiveCell, provider: Arc<CryptoProvider>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SniResolver { live }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// The end of a handshake.
pub(super) enum Handshake {
    /// The client may send requests.
    Complete(Box<TlsStream<TcpStream>>),
    /// The client speaks plain HTTP. Nothing was read.
    PlainHttp(TcpStream),
    /// It failed, and is reported.
    Failed,
}

/// Performs the handshake within the timeout of a request head.
///
/// # Cancellation
/// Dropping the future closes the connection, without a report.
pub(super) async fn handshake(
    worker: &Worker,
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
) -> Handshake {
    let timer = worker.clock.timer();
    timer.set(worker.settings.timeouts.request_header);
    // Health checks connect and close without a byte. That is no failed handshake.
    let has_sent_bytes = Cell::new(false);
    let server_name = RefCell::new(None);
    let handshake = async {
        let mut first = [0];
        has_sent_bytes.set(stream.peek(&mut first).await? > 0);
        // Methods of HTTP begin with a letter, messages of TLS do not.
        if first[0].is_ascii_uppercase() {
            return Ok(Handshake::PlainHttp(stream));
        }
        // The ClientHello is read before the configuration is selected, since hosts will have their own configurations.
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        *server_name.borrow_mut() = hello.client_hello().server_name().map(str::to_owned);
        // Boxed before it is borrowed: it is more than 1 KiB, which the future of an idle connection would keep twice.
        io::Result::Ok(Handshake::Complete(Box::new(hello.into_stream(config).await?)))
    };
    let (abort, error) = match worker.drain.limit(&timer, OnDrain::Grace(DRAIN_GRACE), handshake).await {
        Ok(Ok(handshake)) => return handshake,
        Ok(Err(error)) => {
            // rustls reports protocol errors as invalid data. Every other error comes from the network.
            let is_protocol = error.kind() == io::ErrorKind::InvalidData;
            (if is_protocol { Abort::TlsFailed } else { Abort::TlsUnfinished }, Some(error.to_string()))
        }
        Err(_elapsed) => (Abort::TlsTimeout, None),
    };
    if has_sent_bytes.get() {
        let address = peer.ip().to_canonical();
        let connection = ConnectionInfo { address, scheme: Scheme::Https, tls: None };
        let server_name = server_name.into_inner();
        let failure = TlsFailure { server_name: server_name.as_deref(), error: error.as_deref() };
        worker.report_handshake(connection, abort, failure);
    }
    Handshake::Failed
}
