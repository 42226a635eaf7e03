//! How many clients may be connected at once, over all workers.
//!
//! Below the number of file descriptors, so that one is left for each client's endpoint, for the admin pages and for
//! the folder. Not here: what becomes of a client that finds no place (`worker`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The places of the process.
#[derive(Debug)]
pub struct Places {
    taken: AtomicU64,
    most: u64,
}

/// One client's place; dropping it gives it back.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    /// Begins with all places free.
    pub fn new(most: u64) -> Self {
        Self { taken: AtomicU64::new(0), most }
    }

    /// Takes a place, if one is free.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        // Nothing is read or written under the protection of this number, so no ordering is needed.
        let place = Place(Arc::clone(self));
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        (taken < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_places_as_there_are_can_be_taken_and_come_back() {
        let places = Arc::new(Places::new(2));
        let first = places.take();
        let second = places.take();
        assert!(first.is_some() && second.is_some());
        for _ in 0..3 {
            assert!(places.take().is_none());
        }
        drop(first);
        let third = places.take();
        assert!(third.is_some() && places.take().is_none());
    }
}
