//! Who goes first where two objects want the same.

use crate::object::Ingress;
use crate::object::Name;

/// A place in the queue; what is less goes first. Live Ingresses go before leaving ones, whose pods are going
/// already; then the older one (without a timestamp it is younger than any with one), then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    lifecycle: Lifecycle,
    has_no_timestamp: bool,
    created: i64,
    pub(super) name: Name,
}

/// Whether an object is here to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lifecycle {
    Active,
    /// Being deleted, or in a namespace that is.
    Terminating,
}

impl Precedence {
    pub(super) fn new(lifecycle: Lifecycle, created: Option<i64>, name: Name) -> Self {
        Self { lifecycle, has_no_timestamp: created.is_none(), created: created.unwrap_or(0), name }
    }

    /// Of an Ingress in a namespace that is live or leaving.
    pub(super) fn of_ingress(ingress: &Ingress, namespace: Lifecycle) -> Self {
        let lifecycle = if ingress.deleting { Lifecycle::Terminating } else { namespace };
        Self::new(lifecycle, ingress.created, ingress.name.clone())
    }

    /// Why others go first, in words.
    pub(super) fn loss_reason(&self) -> &'static str {
        match self.lifecycle {
            Lifecycle::Active => "older, or first by name",
            Lifecycle::Terminating => {
                "this one is being deleted; the other is not, or is older, or first by name"
            }
        }
    }
}
