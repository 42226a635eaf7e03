//! TLS towards clients: one policy, certificates by SNI.

use std::cell::Cell;
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

use crate::data::exchange::abort::Abort;
use crate::data::exchange::{Scheme, Worker};
use crate::data::wire::clock::OnDrain;
use crate::live::LiveCell;

/// How long a client may take to finish its handshake once nothing more is accepted.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Picks the certificate for a handshake from what is live at that moment.
#[derive(Debug)]
struct SniResolver {
    live: LiveCell,
}

impl ResolvesServerCert for SniResolver {
    /// The certificate of the Secret that an Ingress names for the SNI host, or else a default one.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let live = self.live.load();
        let host = hello.server_name().map(str::to_ascii_lowercase);
        Some(Arc::clone(live.certificates.choose(&live.table, host.as_deref()).1))
    }
}

/// Makes the policy of a listener: TLS 1.2 and 1.3, `h2` and `http/1.1` by ALPN, session tickets.
///
/// # Errors
/// The provider supports no protocol version, or has no randomness for tickets.
pub fn server_config(live: LiveCell, provider: Arc<CryptoProvider>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SniResolver { live }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// Does the handshake, within the header deadline. Says whether HTTP/2 was chosen; nothing if there is no one
/// left to talk to.
pub(super) async fn handshake(
    worker: &Worker,
    (stream, peer): (TcpStream, SocketAddr),
    config: Arc<ServerConfig>,
) -> Option<(Box<TlsStream<TcpStream>>, bool)> {
    let timer = worker.clock.timer();
    timer.set(worker.settings.timeouts.request_header);
    // Who closes without a word looked whether the port is open, as health checks do: that is no failed handshake.
    let has_sent_bytes = Cell::new(false);
    let handshake = async {
        has_sent_bytes.set(stream.peek(&mut [0]).await? > 0);
        // The ClientHello is read before a configuration is chosen: hosts will have policies of their own.
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        hello.into_stream(config).await
    };
    let abort = match timer.limit_on_drain(OnDrain::Grace(DRAIN_GRACE), handshake).await {
        Ok(Ok(stream)) => {
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            // On the heap before anybody borrows it: more than a kilobyte, which an idle connection would keep twice.
            return Some((Box::new(stream), is_h2));
        }
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "TLS handshake failed");
            // What TLS has to say against a client is invalid data; everything else is the network's.
            if error.kind() == io::ErrorKind::InvalidData { Abort::TlsFailed } else { Abort::TlsUnfinished }
        }
        Err(_elapsed) => Abort::TlsTimeout,
    };
    if has_sent_bytes.get() {
        worker.report_connection((peer.ip().to_canonical(), Scheme::Https, None), abort);
    }
    None
}
