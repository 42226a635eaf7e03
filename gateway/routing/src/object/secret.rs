//! The part of a Secret that routing reads: whether it holds a certificate, for which hosts, and whether it is valid now.
//!
//! Not here: bytes, keys and clocks. The control plane reads those and sets the contents of these types.

use std::sync::Arc;

use super::name::Name;
use crate::host::HostName;

/// A Secret that may hold a certificate. It may be of any type, such as `kubernetes.io/tls` or `Opaque`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secret {
    /// Namespace and name.
    pub name: Name,
    /// Contents.
    pub content: SecretContent,
}

/// The certificate and key in a Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SecretContent {
    /// `tls.crt` or `tls.key` is missing or empty.
    #[default]
    Missing,
    /// Both exist, and were not checked.
    Unchecked,
    /// The control plane has not read the Secret yet. It may not exist.
    Unread,
    /// The control plane may not read the Secret, and never could.
    Forbidden,
    /// The certificate or the key is invalid.
    Malformed {
        /// The reason, as a clause.
        fault: Arc<str>,
        /// Certificate that is served instead.
        fallback: FallbackCertificate,
    },
    /// The certificate and the key are valid, apart from the date.
    Certificate {
        /// DNS names of the certificate.
        hosts: Arc<[HostName]>,
        /// Whether the certificate is valid now.
        validity: Validity,
    },
}

/// The certificate that is served instead of an invalid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackCertificate {
    /// The last valid certificate of the Secret.
    LastGood,
    /// The default certificate.
    Default,
}

/// A time relative to the validity of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Before it.
    NotYet {
        /// Start of validity, in seconds since 1970.
        from: i64,
    },
    /// Within it.
    Valid,
    /// After it.
    Expired {
        /// End of validity, in seconds since 1970.
        at: i64,
    },
}
