//! A certificate authority for one run of the demo, and the certificate of its hosts.
//!
//! Not here: certificates of the gateway itself (`certificates`). The authority's key leaves this module never.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

/// The certificates of one run.
pub(super) struct Authority {
    /// What a client has to trust.
    pub(super) root: CertificateDer<'static>,
    /// The same in PEM, for curl's `--cacert`.
    pub(super) root_pem: String,
    chain_pem: String,
    key_pem: String,
}

impl Authority {
    /// Makes an authority and one certificate for these hosts.
    ///
    /// # Errors
    /// A host that is no DNS name, or the system has no randomness.
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

    /// The Secret that Ingresses name, as a file.
    pub(super) fn secret(&self) -> String {
        let (chain, key) = (block(&self.chain_pem), block(&self.key_pem));
        include_str!("yaml/tls.yaml").replace("${chain}", &chain).replace("${key}", &key)
    }
}

/// Text as the inside of a YAML block that is indented by four.
fn block(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("\n    ")
}
