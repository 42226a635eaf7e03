//! Interning of merged policies: equal policies of many Routes share one allocation.
//!
//! Not here: merging (`policy_merge`).

use std::sync::Arc;

use crate::interner::Interner;
use crate::table::Policy;

/// Number of policies below which unused ones are not removed.
const MIN_SWEEP: usize = 64;

/// The merged policies of all Routes.
#[derive(Debug, Default)]
pub(super) struct PolicyInterner {
    /// Policy of Routes that no RoutePolicy applies to.
    empty: Arc<Policy>,
    policies: Interner<Policy, MIN_SWEEP>,
}

impl PolicyInterner {
    /// Returns the policy without any field.
    pub(super) fn empty(&self) -> Arc<Policy> {
        Arc::clone(&self.empty)
    }

    /// Returns the shared value that equals `policy`.
    pub(super) fn intern(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(known) = self.policies.get(&policy) {
            return Arc::clone(known);
        }
        let policy = Arc::new(policy);
        self.policies.insert(Arc::clone(&policy));
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Name;
    use crate::table::PolicyOrigin;
    use crate::table::PolicyValue;

    fn policy_with_body_size(value: u64) -> Policy {
        let origin =
            PolicyOrigin { policy: Name::new("n", "p"), field: "spec.bodySize", target: String::new() };
        Policy { body_size: Some(PolicyValue { value, origin }), ..Policy::default() }
    }

    #[test]
    fn intern_shares_equal_policies_and_drops_unused_ones() {
        let mut interner = PolicyInterner::default();
        let used: Vec<_> = (0..100).map(|value| interner.intern(policy_with_body_size(value))).collect();
        for value in 100..10_000 {
            interner.intern(policy_with_body_size(value));
            assert!(interner.policies.len() <= 2 * used.len());
        }
        for (value, used) in (0..).zip(&used) {
            assert!(Arc::ptr_eq(used, &interner.intern(policy_with_body_size(value))));
        }
    }
}
