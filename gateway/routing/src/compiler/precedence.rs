//! Precedence of objects that conflict.

use crate::object::Ingress;
use crate::object::Name;

/// Position of an object among those that conflict. The lesser value takes precedence.
///
/// Active Ingresses precede terminating ones, whose Pods are going away. Then the older object precedes, and one
/// without a timestamp counts as the youngest. Then the name decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    lifecycle: Lifecycle,
    has_no_timestamp: bool,
    created: i64,
    pub(super) name: Name,
}

/// Whether an object is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lifecycle {
    Active,
    /// The object or its namespace is being deleted.
    Terminating,
}

impl Precedence {
    pub(super) fn new(lifecycle: Lifecycle, created: Option<i64>, name: Name) -> Self {
        Self { lifecycle, has_no_timestamp: created.is_none(), created: created.unwrap_or(0), name }
    }

    /// Returns the precedence of an Ingress in a namespace of the given lifecycle.
    pub(super) fn of_ingress(ingress: &Ingress, namespace: Lifecycle) -> Self {
        let lifecycle = if ingress.deleting { Lifecycle::Terminating } else { namespace };
        Self::new(lifecycle, ingress.created, ingress.name.clone())
    }

    /// Describes why an object with a lesser value takes precedence over this one.
    pub(super) fn loss_reason(&self) -> &'static str {
        match self.lifecycle {
            Lifecycle::Active => "older, or first by name",
            Lifecycle::Terminating => "not being deleted, or older, or first by name",
        }
    }
}
