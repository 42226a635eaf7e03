//! Interning: equal values share one allocation while any of them is in use.
//!
//! Not here: which values are interned (`object::string_interner`, `compiler::policy_interner`).

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// A set of shared values.
///
/// An insert removes all unused values once the set holds twice as many as were in use at the last removal. So an
/// insert costs two lookups on average. Below `MIN_SWEEP` values nothing is removed.
#[derive(Debug)]
pub(crate) struct Interner<T: ?Sized, const MIN_SWEEP: usize> {
    values: HashSet<Arc<T>>,
    /// Number of values at which the next insert removes unused ones.
    sweep_at: usize,
}

impl<T: ?Sized, const MIN_SWEEP: usize> Default for Interner<T, MIN_SWEEP> {
    fn default() -> Self {
        Self { values: HashSet::new(), sweep_at: MIN_SWEEP }
    }
}

impl<T: Eq + Hash + ?Sized, const MIN_SWEEP: usize> Interner<T, MIN_SWEEP> {
    /// Returns the shared value that equals `value`.
    pub(crate) fn get(&self, value: &T) -> Option<&Arc<T>> {
        self.values.get(value)
    }

    /// Inserts a value for which [`Interner::get`] returned `None`. Returns the unused values that it removed.
    pub(crate) fn insert(&mut self, value: Arc<T>) -> Vec<Arc<T>> {
        let mut unused = Vec::new();
        if self.values.len() >= self.sweep_at {
            unused.extend(self.values.extract_if(|known| Arc::strong_count(known) == 1));
            self.sweep_at = MIN_SWEEP.max(2 * self.values.len());
        }
        self.values.insert(value);
        unused
    }

    /// Returns the number of values, unused ones included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}
