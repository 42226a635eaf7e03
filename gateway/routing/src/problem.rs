//! Problems: why an object, or part of it, was not accepted as written.

use std::fmt;

use crate::object::ObjectRef;

/// Why an object, or part of it, was not accepted as written. Prints as one line for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The object that has the problem.
    pub object: ObjectRef,
    /// Where in the object, as a field path: `spec.rules[0].http.paths[2].backend`. Empty: the whole object.
    pub field: String,
    /// A word for machines.
    pub reason: Reason,
    /// A sentence for people: what is wrong, and what to do where that is not obvious.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {}: {}", self.reason, self.message)
    }
}

/// The word for machines in a [`Problem`]. Every reason has a golden case (a test checks that).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The certificate's last date has passed.
    CertificateExpired,
    /// The certificate's first date is still to come.
    CertificateNotYetValid,
    /// The certificate is not for the host that it is named for.
    CertificateWrongHost,
    /// The same host and path stand in an older Ingress, or earlier in this one.
    Conflict,
    /// The same object stands in two files; the first file by path wins.
    DuplicateObject,
    /// The class cannot be served: its parameters are missing or cannot be used.
    ClassFailed,
    /// `spec.ingressClassName` names a class that does not exist.
    ClassNotFound,
    /// The host belongs to other namespaces.
    HostNotOwned,
    /// A backend names neither a Service with a port nor anything else that can be served.
    InvalidBackend,
    /// A host is not a DNS name.
    InvalidHost,
    /// The parameters of a class are not what a class of ours can have.
    InvalidParameters,
    /// A path cannot be matched as written.
    InvalidPath,
    /// A value has the wrong type or is out of range.
    InvalidValue,
    /// `pathType` is missing or unknown.
    InvalidPathType,
    /// The class does not take Ingresses of this namespace.
    NamespaceNotAllowed,
    /// A name that is to be dialled has no addresses, or none that can be had; the compiler resolves none.
    NameNotResolved,
    /// No endpoint of the Service is ready.
    NoEndpoints,
    /// It would reach beyond its namespace.
    NotPermitted,
    /// The parameters that a class names do not exist.
    ParametersNotFound,
    /// The Service has no such port.
    PortNotFound,
    /// The Secret's certificate or key cannot be used.
    SecretMalformed,
    /// The Secret does not exist.
    SecretNotFound,
    /// The Service does not exist.
    ServiceNotFound,
    /// Changes have not been heard of for a while; what was read last goes on.
    Stale,
    /// What a policy is about does not exist.
    TargetNotFound,
    /// What a policy is about exists, but no class of ours makes it ours.
    TargetNotServed,
    /// A field that the kind does not have.
    UnknownField,
    /// A file or document that cannot be read.
    Unreadable,
    /// Written well, but this gateway does not do it (yet).
    Unsupported,
}

/// How much a [`Problem`] weighs for whoever keeps objects in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// What is written cannot be served as it is written.
    Error,
    /// It is well written; what it names is not there at the moment, and comes from elsewhere.
    Note,
}

impl Reason {
    /// What a repository cannot mend is a note: endpoints are made by controllers, names are kept by DNS, and the API
    /// server is somebody's.
    pub fn severity(self) -> Severity {
        match self {
            Self::NoEndpoints | Self::NameNotResolved | Self::Stale => Severity::Note,
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
