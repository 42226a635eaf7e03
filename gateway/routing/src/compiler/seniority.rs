//! Who goes first where two objects want the same.

use crate::object::Ingress;
use crate::object::Name;

/// A place in the queue; what is less goes first. Live Ingresses go before leaving ones, whose pods are going
/// already; then the older one (without a timestamp it is younger than any with one), then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seniority {
    presence: Presence,
    has_no_timestamp: bool,
    created: i64,
    pub(super) name: Name,
}

/// Whether an object is here to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    Live,
    /// Being deleted, or in a namespace that is.
    Leaving,
}

impl Seniority {
    pub(super) fn new(presence: Presence, created: Option<i64>, name: Name) -> Self {
        Self { presence, has_no_timestamp: created.is_none(), created: created.unwrap_or(0), name }
    }

    /// Of an Ingress in a namespace that is live or leaving.
    pub(super) fn of(ingress: &Ingress, namespace: Presence) -> Self {
        let presence = if ingress.deleting { Presence::Leaving } else { namespace };
        Self::new(presence, ingress.created, ingress.name.clone())
    }

    /// Why others go first, in words.
    pub(super) fn why_last(&self) -> &'static str {
        match self.presence {
            Presence::Live => "older, or first by name",
            Presence::Leaving => "this one is being deleted; the other is not, or is older, or first by name",
        }
    }
}
