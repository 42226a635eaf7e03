//! Certificates by Secret.
//!
//! The table says which Secret a host uses (`listener::tls` asks it); here is what was in the Secret. Key bytes stay inside rustls'
//! signing keys: nothing here prints or returns them.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use routing::object::Name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::source::PemPair;

/// Why a Secret's pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// `tls.crt` holds no certificate in PEM.
    #[error("tls.crt holds no PEM certificate")]
    NoCertificate,
    /// `tls.crt` is not PEM throughout.
    #[error("tls.crt is malformed: {0}")]
    Chain(String),
    /// `tls.key` holds no private key in PEM.
    #[error("tls.key holds no PEM private key")]
    Key,
    /// The key does not fit the certificate, or is of a kind that is not supported.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Reads a pair.
///
/// # Errors
/// Says which of the two files is unusable, never what stands in it.
pub fn load(pair: &PemPair, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&pair.chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|_| CertificateError::Key)?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

/// All usable certificates. Clones share them.
#[derive(Clone)]
pub struct Certificates {
    by_secret: Arc<HashMap<Name, Arc<CertifiedKey>>>,
    default: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({})", self.by_secret.len())
    }
}

impl Certificates {
    /// Begins with a self-signed certificate, made for this process, for clients that no Secret serves.
    ///
    /// # Errors
    /// The system has no randomness, or the like.
    pub fn generate(provider: &CryptoProvider) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["gateway.invalid".to_owned()])?;
        let pair = PemPair {
            chain: made.cert.pem().into_bytes(),
            key: made.signing_key.serialize_pem().into_bytes(),
        };
        Ok(Self { by_secret: Arc::default(), default: Arc::new(load(&pair, provider)?) })
    }

    /// The certificate of a Secret, or else the default one.
    pub fn of(&self, secret: Option<&Name>) -> Arc<CertifiedKey> {
        let found = secret.and_then(|name| self.by_secret.get(name));
        Arc::clone(found.unwrap_or(&self.default))
    }

    /// Whether a Secret's certificate can be used; if not, the default one stands in for it.
    pub fn has(&self, secret: &Name) -> bool {
        self.by_secret.contains_key(secret)
    }

    /// The same certificates with some Secrets set or removed. The map is copied: Secrets change rarely.
    pub fn with(&self, changes: Vec<(Name, Option<Arc<CertifiedKey>>)>) -> Self {
        let mut by_secret = HashMap::clone(&self.by_secret);
        for (name, certificate) in changes {
            match certificate {
                Some(certificate) => by_secret.insert(name, certificate),
                None => by_secret.remove(&name),
            };
        }
        Self { by_secret: Arc::new(by_secret), default: Arc::clone(&self.default) }
    }
}
