//! A Secret as far as routing may know it: whether it holds a certificate, for which hosts, and whether its date is good.
//!
//! Not here: bytes, keys and clocks. Whoever has those (`gateway::reload`) says what they come to.

use std::sync::Arc;

use super::Name;
use crate::host::HostName;

/// A Secret that may hold a certificate. Its type does not matter: `kubernetes.io/tls` and `Opaque` hold one alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secret {
    /// Namespace and name.
    pub name: Name,
    /// What is in it.
    pub content: SecretContent,
}

/// What is known of the certificate and key in a Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SecretContent {
    /// `tls.crt` or `tls.key` is missing or empty.
    #[default]
    Missing,
    /// Both are there. Nobody has looked at them.
    Unchecked,
    /// They cannot be used.
    Malformed {
        /// What is wrong, as a fragment of a sentence.
        fault: Arc<str>,
        /// Which certificate is served in its place.
        fallback: FallbackCertificate,
    },
    /// They can be used.
    Certificate {
        /// The DNS names of the certificate.
        hosts: Arc<[HostName]>,
        /// Whether its date is good, at the moment of whoever says so.
        validity: Validity,
    },
}

/// Which certificate is served in place of one that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackCertificate {
    /// The one that stood in the Secret before.
    LastGood,
    /// The default one.
    Default,
}

/// Where a moment lies relative to the dates of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Before the first one.
    NotYet {
        /// The first moment of validity, in seconds since 1970.
        from: i64,
    },
    /// Between them.
    Valid,
    /// After the last one.
    Expired {
        /// The last moment of validity, in seconds since 1970.
        at: i64,
    },
}
