//! Feeds and their events. A feed is the list and watch of one kind in one namespace, or in all of them.

use routing::object::{FieldError, Kind, Name, Object, ObjectRef, StringInterner, WasmPlugin};

use crate::control::source::identity::Identity;

/// What one feed watches, and whether the gateway can start without it.
#[derive(Clone, Debug)]
pub(super) struct FeedSpec {
    pub(super) kind: Kind,
    /// The watched namespace; empty for all namespaces and for cluster-scoped kinds.
    pub(super) namespace: String,
    pub(super) requirement: Requirement,
}

/// Whether the first update waits for a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    /// The update waits until the kind was listed.
    Required,
    /// The update does not wait if the API server has no such kind, because its CRD is not installed.
    IfInstalled,
    /// The update does not wait if the kind does not exist or may not be read.
    IfAllowed,
}

/// One event of a feed.
#[derive(Debug)]
pub(super) enum WatchEvent {
    /// A new list starts.
    ListStarted,
    /// The list contains this object.
    Listed(TrimmedObject),
    /// The list is complete. Known objects that it lacks were deleted.
    ListCompleted,
    /// The object was added or changed.
    Applied(TrimmedObject),
    /// The object was deleted.
    Deleted(Name),
    /// The list or watch failed. The feed repeats it after a backoff.
    Failed(WatchFailure),
}

/// Why a list or watch failed.
#[derive(Debug)]
pub(super) struct WatchFailure {
    /// The HTTP status, if the API server sent one.
    pub(super) code: Option<u16>,
    /// The message of the API server, or the transport error with its causes.
    pub(super) message: String,
}

/// The parts of a Kubernetes object that the gateway keeps.
#[derive(Debug)]
pub(super) enum TrimmedObject {
    /// An object that routing reads.
    Object {
        object: Object,
        /// Its fields that cannot be used.
        field_errors: Vec<FieldError>,
        /// For the kinds that reports are about.
        identity: Option<Identity>,
    },
    /// An object of our own kinds whose `spec` does not parse.
    Invalid { reference: ObjectRef, message: String, identity: Identity },
    /// A WasmPlugin whose `spec` does not parse.
    InvalidPlugin {
        reference: ObjectRef,
        message: String,
        /// Closes the routes of the plugin, if no valid version is known.
        closed: Box<WasmPlugin>,
        identity: Identity,
    },
    /// The `resourceVersion` of a Secret. Its bytes are read only if an object refers to it.
    Secret { name: Name, version: String },
    /// The zone of a Node; `None` without the zone label.
    Node { name: Name, zone: Option<String> },
}

impl TrimmedObject {
    /// Wraps the result of a conversion.
    pub(super) fn converted<T>((value, field_errors): (T, Vec<FieldError>), wrap: fn(T) -> Object) -> Self {
        Self::Object { object: wrap(value), field_errors, identity: None }
    }

    /// Adds the identity of an object, for reports about it.
    pub(super) fn with_identity(mut self, new: Identity) -> Self {
        if let Self::Object { identity, .. } = &mut self {
            *identity = Some(new);
        }
        self
    }

    /// Takes the identity out, with the object that it belongs to.
    pub(super) fn take_identity(&mut self) -> Option<(ObjectRef, Identity)> {
        match self {
            Self::Object { object, identity, .. } => Some((object.reference(), identity.take()?)),
            Self::Invalid { reference, identity, .. } | Self::InvalidPlugin { reference, identity, .. } => {
                Some((reference.clone(), std::mem::take(identity)))
            }
            Self::Secret { .. } | Self::Node { .. } => None,
        }
    }

    /// Returns namespace and name.
    pub(super) fn name(&self) -> Name {
        match self {
            Self::Object { object, .. } => object.reference().name,
            Self::Invalid { reference, .. } | Self::InvalidPlugin { reference, .. } => reference.name.clone(),
            Self::Secret { name, .. } | Self::Node { name, .. } => name.clone(),
        }
    }

    /// Replaces the strings of an Ingress by shared ones.
    pub(super) fn intern(&mut self, strings: &mut StringInterner) {
        if let Self::Object { object: Object::Ingress(ingress), .. } = self {
            strings.intern_ingress(ingress);
        }
    }
}
