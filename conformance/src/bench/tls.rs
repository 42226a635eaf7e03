//! The certificate of all peers, and TLS clients that trust only it.
//!
//! Clients use the parameters that OpenSSL in wrk and h2load negotiates with all peers: TLS 1.3, AES-256-GCM, X25519.
//! Sessions are never resumed.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::http::HOST;

/// The only cipher suite that load generators offer, by OpenSSL's name, so that all peers do equal work.
pub(crate) const SUITE: &str = "TLS_AES_256_GCM_SHA384";

/// A self-signed ECDSA P-256 certificate for [`HOST`], with its key.
pub(crate) struct BenchCertificate {
    pem: String,
    key: String,
    der: CertificateDer<'static>,
}

impl BenchCertificate {
    /// Creates a certificate.
    pub(crate) fn new() -> Result<Self> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let made = rcgen::CertificateParams::new([HOST.to_owned()])?.self_signed(&key)?;
        Ok(Self { pem: made.pem(), key: key.serialize_pem(), der: made.der().clone() })
    }

    /// Writes certificate and key into one file, as HAProxy and nginx read them.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join("tls.pem");
        fs::write(&path, format!("{}{}", self.pem, self.key))?;
        Ok(path)
    }

    /// Returns a Secret with the certificate, as YAML.
    pub(crate) fn secret(&self, namespace: &str, name: &str) -> String {
        let block = |pem: &str| pem.lines().map(|line| format!("    {}\n", line.trim())).collect::<String>();
        format!(
            "---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{namespace: {namespace}, name: {name}}}\n\
             stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
            block(&self.pem),
            block(&self.key)
        )
    }

    /// Returns a client for HTTP/1.1 that trusts this certificate.
    pub(crate) fn client(&self) -> Result<TlsClient> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(TlsClient { config: Arc::new(config), name: ServerName::try_from(HOST)? })
    }
}

/// A factory of TLS connections.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Performs a full handshake on a connection.
    ///
    /// # Errors
    /// The handshake fails, or a session was resumed.
    pub(crate) fn handshake(
        &self,
        mut stream: TcpStream,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut tls = ClientConnection::new(self.config.clone(), self.name.clone())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).context("TLS handshake")?;
        }
        let kind = tls.handshake_kind();
        ensure!(kind == Some(HandshakeKind::Full), "the handshake was {kind:?}, not a full one");
        Ok(StreamOwned::new(tls, stream))
    }
}
