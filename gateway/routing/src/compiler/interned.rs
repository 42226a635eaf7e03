//! Equal merged policies as one: what a policy of a class says is held once, not for each of its Ingresses.
//!
//! Not here: what holds for a Route (`overlay`).

use std::sync::Arc;

use crate::pool::Pool;
use crate::table::Policy;

/// So many are never looked through.
const FEW: usize = 64;

/// The merged policies that Routes hold. Beside them there are as many at most that nobody holds any more.
#[derive(Debug, Default)]
pub(super) struct Interned {
    /// What holds where no policy says anything.
    none: Arc<Policy>,
    known: Pool<Policy, FEW>,
}

impl Interned {
    pub(super) fn none(&self) -> Arc<Policy> {
        Arc::clone(&self.none)
    }

    /// The one that is equal to this.
    pub(super) fn share(&mut self, policy: Policy) -> Arc<Policy> {
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
    use crate::table::Sourced;

    fn limiting(value: u64) -> Policy {
        let origin =
            PolicyOrigin { policy: Name::new("n", "p"), field: "spec.bodySize", target: String::new() };
        Policy { body_size: Some(Sourced { value, origin }), ..Policy::default() }
    }

    #[test]
    fn equal_ones_are_one_and_what_nobody_holds_does_not_pile_up() {
        let mut interned = Interned::default();
        let held: Vec<_> = (0..100).map(|value| interned.share(limiting(value))).collect();
        for value in 100..10_000 {
            interned.share(limiting(value));
            assert!(interned.known.len() <= 2 * held.len());
        }
        for (value, held) in (0..).zip(&held) {
            assert!(Arc::ptr_eq(held, &interned.share(limiting(value))));
        }
    }
}
