//! Equal merged policies as one: what a policy of a class says is held once, not for each of its Ingresses.
//!
//! Not here: what holds for a Route (`merger`).

use std::sync::Arc;

use crate::interner::Interner;
use crate::table::Policy;

/// So many are never looked through.
const MIN_SWEEP: usize = 64;

/// The merged policies that Routes hold. Beside them there are as many at most that nobody holds any more.
#[derive(Debug, Default)]
pub(super) struct PolicyInterner {
    /// What holds where no policy says anything.
    none: Arc<Policy>,
    known: Interner<Policy, MIN_SWEEP>,
}

impl PolicyInterner {
    pub(super) fn none(&self) -> Arc<Policy> {
        Arc::clone(&self.none)
    }

    /// The one that is equal to this.
    pub(super) fn intern(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(known) = self.known.get(&policy) {
            return Arc::clone(known);
        }
        let policy = Arc::new(policy);
        self.known.insert(Arc::clone(&policy));
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Name;
    use crate::table::PolicyOrigin;
    use crate::table::PolicyValue;

    fn limiting(value: u64) -> Policy {
        let origin =
            PolicyOrigin { policy: Name::new("n", "p"), field: "spec.bodySize", target: String::new() };
        Policy { body_size: Some(PolicyValue { value, origin }), ..Policy::default() }
    }

    #[test]
    fn equal_ones_are_one_and_what_nobody_holds_does_not_pile_up() {
        let mut interned = PolicyInterner::default();
        let held: Vec<_> = (0..100).map(|value| interned.intern(limiting(value))).collect();
        for value in 100..10_000 {
            interned.intern(limiting(value));
            assert!(interned.known.len() <= 2 * held.len());
        }
        for (value, held) in (0..).zip(&held) {
            assert!(Arc::ptr_eq(held, &interned.intern(limiting(value))));
        }
    }
}
