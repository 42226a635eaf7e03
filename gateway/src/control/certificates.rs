//! Parses certificates and keys from Secrets, and generates the self-signed default certificate.
//!
//! Key bytes stay inside rustls' signing keys: nothing here prints or returns them. Not here: which certificate a
//! handshake gets (`live::certificates`), and the dates of certificates (`reload::secrets`).

use std::sync::Arc;

use routing::HostName;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::control::source::PemPair;
use crate::live::certificates::{Certificate, Certificates};

/// Why the certificate and key of a Secret are unusable. No variant holds bytes of the key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// `tls.crt` contains no PEM certificate.
    #[error("tls.crt holds no PEM certificate")]
    NoCertificate,
    /// `tls.crt` is not well-formed PEM.
    #[error("tls.crt is malformed: {0}")]
    Chain(pem::Error),
    /// `tls.key` contains no PEM private key. The cause is dropped: a PEM error may quote lines of the key.
    #[error("tls.key holds no PEM private key")]
    Key,
    /// The leaf (the first certificate in `tls.crt`) is not X.509.
    #[error("the certificate is malformed: {0}")]
    Certificate(X509Error),
    /// The key does not belong to the certificate, or its algorithm is not supported.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Parses the certificate chain and the key of a Secret.
///
/// # Errors
/// Returns [`CertificateError`], which names the unusable file and never quotes it.
pub fn load(pair: &PemPair, provider: &CryptoProvider) -> Result<Certificate, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&pair.chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(CertificateError::Chain)?;
    let leaf = Leaf::parse(chain.first().ok_or(CertificateError::NoCertificate)?)?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|_| CertificateError::Key)?;
    let key = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
    let Leaf { hosts, not_before, not_after } = leaf;
    Ok(Certificate { key, hosts, not_before, not_after, is_current: true })
}

/// Generates a self-signed certificate for this process and returns a map that holds only this default.
///
/// # Errors
/// Returns an error if the system provides no randomness.
pub fn generate(provider: &CryptoProvider) -> anyhow::Result<Certificates> {
    let mut params = rcgen::CertificateParams::new(["gateway.invalid".to_owned()])?;
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "wasm-gateway");
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("default certificate of {date}"));
    params.distinguished_name.push(
        rcgen::DnType::OrganizationalUnitName,
        "no usable Secret for this host: name one in spec.tls, see /problems",
    );
    let key = rcgen::KeyPair::generate()?;
    let made = params.self_signed(&key)?;
    let pair = PemPair { chain: made.pem().into_bytes(), key: key.serialize_pem().into_bytes() };
    Ok(Certificates::new(load(&pair, provider)?.key))
}

/// The properties of a leaf certificate that routing needs. The rest of the chain is not validated: chains may hold
/// expired roots, since clients that know a newer root stop before them.
struct Leaf {
    hosts: Arc<[HostName]>,
    not_before: i64,
    not_after: i64,
}

impl Leaf {
    fn parse(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let malformed = CertificateError::Certificate;
        let (_, leaf) = parse_x509_certificate(leaf).map_err(|error| malformed(error.into()))?;
        let names = leaf.subject_alternative_name().map_err(malformed)?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let hosts = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => HostName::parse(name).ok(),
            _ => None,
        });
        let validity = leaf.validity();
        Ok(Self {
            hosts: hosts.collect(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }
}
