//! Certificates, and clients over TLS.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::{Client, Wire};

/// A self-signed certificate and its key.
pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
    pub(super) key: String,
}

impl Certificate {
    /// Returns a certificate for one host.
    pub(crate) fn new(host: &str) -> Self {
        Self::of(&[host])
    }

    /// Returns a certificate for several hosts.
    pub(crate) fn of(hosts: &[&str]) -> Self {
        Self::generate(hosts, |_| {})
    }

    /// Returns a certificate that expires in this number of seconds. A negative number is in the past.
    pub(crate) fn until(host: &str, seconds: i64) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let last = Duration::from_secs(now.checked_add_signed(seconds).unwrap());
        Self::generate(&[host], |params| params.not_after = rcgen::date_time_ymd(1970, 1, 1) + last)
    }

    /// Returns a certificate for one host with this key.
    pub(crate) fn with_key(host: &str, key: &rcgen::KeyPair) -> Self {
        Self::signed(&rcgen::CertificateParams::new([host.to_owned()]).unwrap(), key)
    }

    fn generate(hosts: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(hosts).unwrap();
        change(&mut params);
        Self::signed(&params, &rcgen::KeyPair::generate().unwrap())
    }

    fn signed(params: &rcgen::CertificateParams, key: &rcgen::KeyPair) -> Self {
        let certificate = params.self_signed(key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().to_vec(), key: key.serialize_pem() }
    }

    /// Returns the YAML of a `kubernetes.io/tls` Secret with this certificate and its key.
    pub(crate) fn secret(&self, name: &str) -> String {
        super::fixtures::secret(name, self).to_yaml()
    }
}

/// Returns the TLS entry of an Ingress, to append to [`super::ingress`]. New tests use [`super::fixtures::Ingress::tls`].
pub(crate) fn tls(host: &str, secret: &str) -> String {
    format!("  tls:\n  - hosts: [{host}]\n    secretName: {secret}\n")
}

/// A client over TLS.
pub(crate) type TlsClient = Wire<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>;

/// Returns a client configuration that trusts these certificates only and offers one protocol by ALPN.
pub(crate) fn tls_config(trusted: &[&Certificate], alpn: &str) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.der.clone().into()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Arc::new(config)
}

/// Returns the certificate (DER) that the gateway presents for the host. Without a host the client sends no SNI.
pub(crate) fn shown(address: SocketAddr, host: Option<&str>) -> Vec<u8> {
    let mut config = Arc::unwrap_or_clone(tls_config(&[], "http/1.1"));
    config.enable_sni = host.is_some();
    config.dangerous().set_certificate_verifier(Arc::new(TrustAll));
    let name = host.unwrap_or("unused.invalid").to_owned().try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    connection.complete_io(&mut Client::connect(address).stream).unwrap();
    connection.peer_certificates().unwrap()[0].to_vec()
}

/// A verifier that accepts each certificate.
#[derive(Debug)]
struct TrustAll;

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Connects with SNI, and completes the handshake. Panics unless the presented certificate is trusted.
pub(crate) fn tls_client(address: SocketAddr, host: &str, trusted: &[&Certificate]) -> TlsClient {
    let name = host.to_owned().try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(tls_config(trusted, "http/1.1"), name).unwrap();
    let mut stream = Client::connect(address).stream;
    connection.complete_io(&mut stream).unwrap();
    Wire::new(rustls::StreamOwned::new(connection, stream))
}

impl TlsClient {
    /// Returns the certificate (DER) that the gateway presented.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }
}
