//! Fields that refer to a Service or a Secret.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;
use crate::table::FieldPath;
use crate::table::IngressOrigin;

/// A field that refers to a Service or a Secret, and receives the Problems of it.
///
/// There is at least one per Route, so it holds no text, and numbers decide its order.
#[derive(Clone, Debug)]
pub(super) struct Referrer {
    pub(super) owner: Arc<IngressOrigin>,
    pub(super) field: FieldPath,
    /// The field of another object through which the owner refers: `RoutePolicy shop/canary spec.backends[0]`.
    pub(super) via: Option<Arc<str>>,
}

impl Referrer {
    pub(super) fn problem(&self, reason: Reason, message: &str) -> Problem {
        let message = match &self.via {
            Some(via) => format!("{message} (referenced by {via})"),
            None => message.to_owned(),
        };
        let object = ObjectRef { kind: self.owner.kind, name: self.owner.name.clone() };
        Problem { object, field: self.field.to_string(), reason, message }
    }
}

impl Ord for Referrer {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |referrer: &Self| (referrer.owner.id, referrer.field);
        key(self).cmp(&key(other)).then_with(|| self.via.cmp(&other.via))
    }
}

impl PartialOrd for Referrer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Referrer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Referrer {}
