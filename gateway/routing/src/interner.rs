//! Equal values held once, for as long as somebody holds them.
//!
//! Not here: what is worth sharing (`object::texts`, `compiler::interned`).

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// The values seen so far. Those that nobody else holds are forgotten when there are twice as many as were in use the
/// last time, and at least `MIN_SWEEP`: fewer are not worth a look. So each one that comes pays for looking at two.
#[derive(Debug)]
pub(crate) struct Interner<T: ?Sized, const MIN_SWEEP: usize> {
    known: HashSet<Arc<T>>,
    /// So many are kept before it is looked who is in use.
    limit: usize,
}

impl<T: ?Sized, const MIN_SWEEP: usize> Default for Interner<T, MIN_SWEEP> {
    fn default() -> Self {
        Self { known: HashSet::new(), limit: MIN_SWEEP }
    }
}

impl<T: Eq + Hash + ?Sized, const MIN_SWEEP: usize> Interner<T, MIN_SWEEP> {
    /// The one that is equal to this.
    pub(crate) fn get(&self, value: &T) -> Option<&Arc<T>> {
        self.known.get(value)
    }

    /// Takes in one that [`Interner::get`] did not find.
    pub(crate) fn insert(&mut self, value: Arc<T>) {
        if self.known.len() >= self.limit {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.limit = MIN_SWEEP.max(2 * self.known.len());
        }
        self.known.insert(value);
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
