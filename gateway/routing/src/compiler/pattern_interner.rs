//! Equal regular expressions as one: hosts of one class often have the same paths.
//!
//! Not here: the syntax of expressions (`table::pattern`).

use std::sync::Arc;

use crate::interner::Interner;
use crate::table::Pattern;
use crate::table::PatternError;

/// Patterns that are kept before unused ones are dropped for the first time.
const MIN_SWEEP: usize = 256;

/// The compiled expressions that Routes hold, and as many unused ones at most.
#[derive(Debug, Default)]
pub(super) struct PatternInterner {
    known: Interner<Pattern, MIN_SWEEP>,
}

impl PatternInterner {
    /// Returns the compiled expression. An invalid one closes the requests that it may have meant.
    pub(super) fn intern(&mut self, text: &Arc<str>) -> (Arc<Pattern>, Option<PatternError>) {
        // Patterns with the same text are equal, so the key need not be compiled.
        let key = Pattern::closed(text);
        if let Some(known) = self.known.get(&key) {
            let known = Arc::clone(known);
            let error = if known.is_closed() { Pattern::new(text).err() } else { None };
            return (known, error);
        }
        let (pattern, error) = match Pattern::new(text) {
            Ok(pattern) => (pattern, None),
            Err(error) => (key, Some(error)),
        };
        let pattern = Arc::new(pattern);
        self.known.insert(Arc::clone(&pattern));
        (pattern, error)
    }
}
