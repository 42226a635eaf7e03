//! Equal merged policies as one: what a policy of a class says is held once, not for each of its Ingresses.
//!
//! Not here: what holds for a Route (`merger`).

use std::sync::Arc;
use std::sync::Weak;

use crate::interner::Interner;
use crate::table::Policy;
use crate::table::PolicyId;

/// Policies that are kept before unused ones are dropped for the first time.
const MIN_SWEEP: usize = 64;

/// The merged policies that Routes hold, and as many unused ones at most.
#[derive(Debug)]
pub(super) struct PolicyInterner {
    /// The policy of Routes on which no RoutePolicy sets a field.
    empty: Arc<Policy>,
    known: Interner<Policy, MIN_SWEEP>,
    /// Numbers of dropped policies.
    free: Vec<PolicyId>,
    next: PolicyId,
    /// Policies that [`PolicyInterner::take_new`] has not returned yet.
    new: Vec<Weak<Policy>>,
}

impl Default for PolicyInterner {
    fn default() -> Self {
        let empty = Arc::<Policy>::default();
        let new = vec![Arc::downgrade(&empty)];
        Self { empty, known: Interner::default(), free: Vec::new(), next: PolicyId(1), new }
    }
}

impl PolicyInterner {
    /// Returns the policy that sets no field.
    pub(super) fn empty(&self) -> Arc<Policy> {
        Arc::clone(&self.empty)
    }

    /// Returns the kept policy that is equal to this one, or keeps this one under a number of its own.
    pub(super) fn intern(&mut self, mut policy: Policy) -> Arc<Policy> {
        if policy == *self.empty {
            return self.empty();
        }
        if let Some(known) = self.known.get(&policy) {
            return Arc::clone(known);
        }
        policy.id = self.free.pop().unwrap_or_else(|| {
            let id = self.next;
            self.next = PolicyId(id.0.saturating_add(1));
            id
        });
        let policy = Arc::new(policy);
        let unused = self.known.insert(Arc::clone(&policy));
        self.free.extend(unused.iter().map(|policy| policy.id));
        self.new.push(Arc::downgrade(&policy));
        policy
    }

    /// Returns the policies that were kept since the last call and are still in use.
    pub(super) fn take_new(&mut self) -> Vec<Arc<Policy>> {
        std::mem::take(&mut self.new).iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::ByteSize;
    use api::RoutePolicySpec;

    use super::*;

    fn limiting(bytes: u64) -> Policy {
        let spec = RoutePolicySpec { body_size: Some(ByteSize(bytes)), ..RoutePolicySpec::default() };
        Policy { spec, ..Policy::default() }
    }

    #[test]
    fn equal_policies_are_one_and_unused_ones_go() {
        let mut interner = PolicyInterner::default();
        let used: Vec<_> = (0..100).map(|value| interner.intern(limiting(value))).collect();
        for value in 100..10_000 {
            interner.intern(limiting(value));
            assert!(interner.known.len() <= 2 * used.len());
        }
        for (value, used) in (0..).zip(&used) {
            assert!(Arc::ptr_eq(used, &interner.intern(limiting(value))));
        }
    }

    #[test]
    fn used_policies_have_different_small_numbers() {
        let mut interner = PolicyInterner::default();
        let mut used: Vec<_> = (0..100).map(|value| interner.intern(limiting(value))).collect();
        for value in 100..10_000 {
            let policy = interner.intern(limiting(value));
            if value % 100 == 0 {
                used.push(policy);
            }
        }
        used.push(interner.empty());
        let numbers: BTreeSet<_> = used.iter().map(|policy| policy.id).collect();
        assert_eq!(numbers.len(), used.len());
        assert!(numbers.iter().all(|id| id.index() < 1000), "{numbers:?}");
    }

    #[test]
    fn new_policies_are_returned_once() {
        let mut interner = PolicyInterner::default();
        let one = interner.intern(limiting(1));
        interner.intern(limiting(1));
        assert_eq!(interner.take_new(), [interner.empty(), Arc::clone(&one)]);
        assert_eq!(interner.take_new(), []);
        let two = interner.intern(limiting(2));
        assert_eq!(interner.take_new(), [two]);
    }
}
