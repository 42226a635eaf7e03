//! Problems: why an object, or part of it, was not accepted as written.

use std::fmt;

use crate::object::ObjectRef;

/// Why an object, or part of it, was not accepted as written. Prints as one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The object that has the problem.
    pub object: ObjectRef,
    /// Field path: `spec.rules[0].http.paths[2].backend`. Empty for the whole object.
    pub field: String,
    /// Machine-readable reason.
    pub reason: Reason,
    /// Human-readable message: what is wrong, and what to do where that is not obvious.
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

/// The machine-readable reason of a [`Problem`]. A test checks that every reason has a golden case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A class handler honours an annotation with a difference, which the message names.
    AnnotationDiffers,
    /// An annotation of another controller has no effect here. The Ingress is served without it.
    AnnotationIgnored,
    /// An annotation of another controller restricts access and is not honoured. Its paths get a 503, or the Ingress is
    /// not served.
    AnnotationNotHonoured,
    /// A class handler refuses an annotation: its value is invalid, or what it asks for is not supported.
    AnnotationRefused,
    /// The class handler has no verdict on an annotation of its dialect.
    AnnotationUnjudged,
    /// The certificate has expired.
    CertificateExpired,
    /// The certificate is not valid yet.
    CertificateNotYetValid,
    /// The certificate does not cover the host.
    CertificateWrongHost,
    /// Another object, or another part of this one, defines the same and takes precedence.
    Conflict,
    /// The ConfigMap, or its key, does not exist.
    ConfigMapNotFound,
    /// The default backend serves only hosts that its namespace names. That of another namespace takes precedence.
    DefaultLimited,
    /// Two files define the same object. The first file by path wins.
    DuplicateObject,
    /// The parameters of the class are missing or invalid.
    ClassFailed,
    /// `spec.ingressClassName` names a class that does not exist.
    ClassNotFound,
    /// The annotation of the class contradicts the field, or names a class that does not exist.
    ClassUnclear,
    /// A class handler failed, or said nothing about a path. Its last answer stays in use; without one, the paths get a
    /// 503.
    HandlerFailed,
    /// The module of a class handler cannot be loaded, with the reason. The version before serves, or none.
    HandlerRefused,
    /// Other namespaces own the host.
    HostNotOwned,
    /// A backend is neither a Service with a port nor a resource.
    InvalidBackend,
    /// A host is not a DNS name.
    InvalidHost,
    /// The parameters of a class are invalid.
    InvalidParameters,
    /// A path has no canonical form, or all its requests get a 400.
    InvalidPath,
    /// A value has the wrong type or is out of range.
    InvalidValue,
    /// `pathType` is missing or unknown.
    InvalidPathType,
    /// The class does not allow Ingresses of this namespace.
    NamespaceNotAllowed,
    /// An external name has no addresses, or DNS failed. Not reported by the compiler.
    NameNotResolved,
    /// No endpoint of the Service is ready.
    NoEndpoints,
    /// The file, or a document in it, is no Kubernetes object. Other tools read it.
    NoObject,
    /// The object refers to another namespace without permission.
    NotPermitted,
    /// The parameters of a class do not exist.
    ParametersNotFound,
    /// The path is written as a pattern, and is matched literally.
    PatternPath,
    /// A RoutePolicy names a WasmPlugin that does not exist. Its routes get a 503.
    PluginNotFound,
    /// A plugin cannot be loaded, with the reason. The version before serves, or none.
    PluginRefused,
    /// The Service has no such port.
    PortNotFound,
    /// The Service port may not speak HTTP/1.1, which endpoints are reached by.
    ProtocolAssumed,
    /// The Service port has an appProtocol that is not supported. Requests get a 503.
    ProtocolUnsupported,
    /// The API server does not accept the value, so the object cannot be applied.
    RefusedByApi,
    /// The certificate or key in a Secret is invalid.
    SecretMalformed,
    /// The Secret does not exist.
    SecretNotFound,
    /// The Secret was not read yet. Requests of the API server take milliseconds, or fail and are repeated.
    SecretNotRead,
    /// The Service does not exist.
    ServiceNotFound,
    /// The source receives no changes. The last known objects stay in use.
    Stale,
    /// The status of the object cannot be written: another field manager owns it, or the gateway may not write it. Not
    /// reported by the compiler.
    StatusNotWritten,
    /// The target of a policy does not exist.
    TargetNotFound,
    /// The target of a policy exists, but no served class takes it.
    TargetNotServed,
    /// The kind has no such field.
    UnknownField,
    /// A file or document cannot be read.
    Unreadable,
    /// The value is valid, but this gateway does not support it.
    Unsupported,
    /// An exact host has rules, so the rules of its wildcard do not serve it.
    WildcardHidden,
}

/// The severity of a [`Problem`] in a repository of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The object is not served as written.
    Error,
    /// The object is served. Something about it deserves attention, or comes from outside of the repository.
    Note,
}

impl Reason {
    /// All reasons. A test compares the list with the enum.
    pub const ALL: &[Self] = &[
        Self::AnnotationDiffers,
        Self::AnnotationIgnored,
        Self::AnnotationNotHonoured,
        Self::AnnotationRefused,
        Self::AnnotationUnjudged,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateWrongHost,
        Self::Conflict,
        Self::ConfigMapNotFound,
        Self::DefaultLimited,
        Self::DuplicateObject,
        Self::ClassFailed,
        Self::ClassNotFound,
        Self::ClassUnclear,
        Self::HandlerFailed,
        Self::HandlerRefused,
        Self::HostNotOwned,
        Self::InvalidBackend,
        Self::InvalidHost,
        Self::InvalidParameters,
        Self::InvalidPath,
        Self::InvalidValue,
        Self::InvalidPathType,
        Self::NamespaceNotAllowed,
        Self::NameNotResolved,
        Self::NoEndpoints,
        Self::NoObject,
        Self::NotPermitted,
        Self::ParametersNotFound,
        Self::PatternPath,
        Self::PluginNotFound,
        Self::PluginRefused,
        Self::PortNotFound,
        Self::ProtocolAssumed,
        Self::ProtocolUnsupported,
        Self::RefusedByApi,
        Self::SecretMalformed,
        Self::SecretNotFound,
        Self::SecretNotRead,
        Self::ServiceNotFound,
        Self::Stale,
        Self::StatusNotWritten,
        Self::TargetNotFound,
        Self::TargetNotServed,
        Self::UnknownField,
        Self::Unreadable,
        Self::Unsupported,
        Self::WildcardHidden,
    ];

    /// Returns the severity. A note leaves the object served. It also covers what no change of the repository can fix:
    /// controllers create endpoints and write statuses, DNS has the names, and the API server delivers changes.
    pub fn severity(self) -> Severity {
        match self {
            Self::AnnotationDiffers
            | Self::AnnotationIgnored
            | Self::ClassUnclear
            | Self::DefaultLimited
            | Self::NoEndpoints
            | Self::NameNotResolved
            | Self::NoObject
            | Self::ProtocolAssumed
            | Self::SecretNotRead
            | Self::Stale
            | Self::StatusNotWritten
            | Self::WildcardHidden => Severity::Note,
            Self::AnnotationNotHonoured
            | Self::AnnotationRefused
            | Self::AnnotationUnjudged
            | Self::HandlerFailed
            | Self::HandlerRefused
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateWrongHost
            | Self::Conflict
            | Self::ConfigMapNotFound
            | Self::DuplicateObject
            | Self::ClassFailed
            | Self::ClassNotFound
            | Self::HostNotOwned
            | Self::InvalidBackend
            | Self::InvalidHost
            | Self::InvalidParameters
            | Self::InvalidPath
            | Self::InvalidValue
            | Self::InvalidPathType
            | Self::NamespaceNotAllowed
            | Self::NotPermitted
            | Self::ParametersNotFound
            | Self::PatternPath
            | Self::PluginNotFound
            | Self::PluginRefused
            | Self::PortNotFound
            | Self::ProtocolUnsupported
            | Self::RefusedByApi
            | Self::SecretMalformed
            | Self::SecretNotFound
            | Self::ServiceNotFound
            | Self::TargetNotFound
            | Self::TargetNotServed
            | Self::UnknownField
            | Self::Unreadable
            | Self::Unsupported => Severity::Error,
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
