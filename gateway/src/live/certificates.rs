//! Certificates that are live: an immutable map from Secrets to certificates, and the choice for a handshake.
//!
//! The routing table lists the Secrets that may serve a host. This map holds their parsed certificates. Key bytes stay
//! inside rustls' signing keys: nothing here prints or returns them. Not here: parsing (`control::certificates`).

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use routing::object::Name;
use routing::{CertificateChoice, HostName, RoutingTable};
use rustls::sign::CertifiedKey;

/// A usable certificate with its key. Clones share both.
#[derive(Clone)]
pub struct Certificate {
    /// The chain and its signing key.
    pub key: Arc<CertifiedKey>,
    /// The DNS names in its subjectAltName, limited to names that an Ingress can have.
    pub hosts: Arc<[HostName]>,
    /// First second of the validity period, in seconds since 1970.
    pub not_before: i64,
    /// Last second of the validity period, in seconds since 1970.
    pub not_after: i64,
    /// Whether the validity period included the moment of the last check. A date that passes causes a check.
    pub is_current: bool,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.hosts).finish()
    }
}

/// All usable certificates by Secret. Clones share them.
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
    /// Creates an empty map. `default` serves every client for which no Secret has a certificate.
    pub fn new(default: Arc<CertifiedKey>) -> Self {
        Self { by_secret: Arc::default(), default }
    }

    /// Returns the certificate for a client that names this host (in normal form), and its Secret. Does not allocate.
    ///
    /// The order is: the first Secret that an Ingress names and whose certificate is current and covers the host; a class
    /// default that is both; the first named one that covers the host, although it is not current; the default Secret of
    /// a class, whatever its certificate covers; the gateway's self-signed certificate, which has no Secret.
    pub fn choose<'a>(
        &'a self,
        table: &'a RoutingTable,
        host: Option<&str>,
    ) -> (Option<&'a Name>, &'a Arc<CertifiedKey>) {
        let covers_host = |certificate: &&Certificate| {
            host.is_none_or(|host| certificate.hosts.iter().any(|name| name.matches(host)))
        };
        let (mut outdated, mut default) = (None, None);
        for choice in table.certificates(host) {
            let (CertificateChoice::Named(secret) | CertificateChoice::Default(secret)) = choice;
            let Some(certificate) = self.by_secret.get(secret) else { continue };
            match (covers_host(&certificate), certificate.is_current) {
                (true, true) => return (Some(secret), &certificate.key),
                (covers, _) => {
                    let slot = match choice {
                        CertificateChoice::Named(_) if covers => &mut outdated,
                        CertificateChoice::Named(_) => continue,
                        CertificateChoice::Default(_) => &mut default,
                    };
                    slot.get_or_insert((secret, certificate));
                }
            }
        }
        let chosen = outdated.or(default);
        chosen.map_or((None, &self.default), |(secret, certificate)| (Some(secret), &certificate.key))
    }

    /// Returns the certificate of a Secret, or `None` if it has no usable one.
    pub fn get(&self, secret: &Name) -> Option<&Certificate> {
        self.by_secret.get(secret)
    }

    /// Returns a copy in which some Secrets are replaced, or removed where the certificate is `None`. The whole map is
    /// copied, since Secrets change rarely.
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
