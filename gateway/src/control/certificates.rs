//! Certificates by Secret.
//!
//! The table says which Secrets may serve a host; here is what was in them, and thereby which one does. Key bytes
//! stay inside rustls' signing keys: nothing here prints or returns them.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use routing::object::Name;
use routing::{CertificateChoice, HostName, RoutingTable};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::control::source::PemPair;

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
    /// The certificate itself, the first in `tls.crt`, is not X.509.
    #[error("the certificate is malformed: {0}")]
    Certificate(String),
    /// The key does not fit the certificate, or is of a kind that is not supported.
    #[error("certificate and key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Reads a pair.
///
/// # Errors
/// Says which of the two files is unusable, never what stands in it.
pub fn load(pair: &PemPair, provider: &CryptoProvider) -> Result<Certificate, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&pair.chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Chain(error.to_string()))?;
    let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
    let (hosts, first, last) = facts(leaf).map_err(CertificateError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|_| CertificateError::Key)?;
    let key = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
    Ok(Certificate { key, hosts, first, last })
}

/// The DNS names of a certificate and its first and last second. The rest of its chain is not judged: chains may hold
/// roots that have expired, because clients that know a newer one stop before those.
fn facts(leaf: &CertificateDer<'_>) -> Result<(Arc<[HostName]>, i64, i64), String> {
    let (_, leaf) = parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let names = leaf.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let hosts = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => HostName::parse(name).ok(),
        _ => None,
    });
    let validity = leaf.validity();
    Ok((hosts.collect(), validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// A certificate that can be used. Clones share its key.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// The DNS names in its subjectAltName, as far as an Ingress could name them.
    pub hosts: Arc<[HostName]>,
    /// Its first moment, in seconds since 1970.
    pub first: i64,
    /// Its last moment, in seconds since 1970.
    pub last: i64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.hosts).finish()
    }
}

/// All usable certificates. Clones share them.
#[derive(Clone)]
pub struct Certificates {
    by_secret: Arc<HashMap<Name, Certificate>>,
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
        Ok(Self { by_secret: Arc::default(), default: load(&pair, provider)?.key })
    }

    /// The certificate for a client that names this host, in normal form, and the Secret that it is from. One that
    /// an Ingress names counts only if it is for the host. A class's default one is better than none, whatever it
    /// is for. The gateway's own one, from no Secret, comes last. Allocates nothing.
    pub fn choose<'a>(
        &'a self,
        table: &'a RoutingTable,
        host: Option<&str>,
    ) -> (Option<&'a Name>, &'a Arc<CertifiedKey>) {
        let is_for_host =
            |found: &&Certificate| host.is_none_or(|host| found.hosts.iter().any(|held| held.takes(host)));
        let usable = |choice| match choice {
            CertificateChoice::Named(secret) => {
                self.by_secret.get(secret).filter(is_for_host).map(|found| (secret, found))
            }
            CertificateChoice::Default(secret) => self.by_secret.get(secret).map(|found| (secret, found)),
        };
        let chosen = table.certificates(host).find_map(usable);
        chosen.map_or((None, &self.default), |(secret, found)| (Some(secret), &found.key))
    }

    /// What a Secret holds, if it can be used.
    pub fn of(&self, secret: &Name) -> Option<&Certificate> {
        self.by_secret.get(secret)
    }

    /// The same certificates with some Secrets set or removed. The map is copied: Secrets change rarely.
    pub fn with(&self, changes: Vec<(Name, Option<Certificate>)>) -> Self {
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
