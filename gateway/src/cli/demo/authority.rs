//! A certificate authority for one run of the demo, and the certificate of its hosts.
//!
//! The authority's key never leaves this module. Not here: certificates of the gateway itself (`certificates`).

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

/// The certificates of one run.
pub(super) struct Authority {
    /// The root certificate, which a client has to trust.
    pub(super) root: CertificateDer<'static>,
    /// The same in PEM, for curl's `--cacert`.
    pub(super) root_pem: String,
    chain_pem: String,
    key_pem: String,
}

impl Authority {
    /// Creates an authority and one certificate for these hosts.
    ///
    /// # Errors
    /// Returns an error if a host is not a DNS name, or if the system has no randomness.
    pub(super) fn new(hosts: &[&str]) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "gateway demo authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, "gateway demo");
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Self {
            root: issuer.der().clone(),
            root_pem: issuer.pem(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Returns the YAML of the Secret that the Ingresses name.
    pub(super) fn secret(&self) -> String {
        let (chain, key) = (block(&self.chain_pem), block(&self.key_pem));
        include_str!("yaml/tls.yaml").replace("${chain}", &chain).replace("${key}", &key)
    }
}

/// Indents text as a YAML block with four spaces.
fn block(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("\n    ")
}
