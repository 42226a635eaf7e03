//! Whose turn it is: round robin, from a random start so that many workers do not march in step.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashMap;

#[derive(Debug)]
struct Place {
    next: usize,
    used: bool,
}

/// The places of one worker in all backends.
#[derive(Debug, Default)]
pub(super) struct Balance {
    places: RefCell<HashMap<u64, Place>>,
}

impl Balance {
    /// Gives the turn of a backend's next request. It goes on counting when the endpoints change.
    pub(super) fn next(&self, backend: u64) -> usize {
        let mut places = self.places.borrow_mut();
        let place = places.entry(backend).or_insert_with(|| Place { next: random(), used: true });
        place.used = true;
        place.next = place.next.wrapping_add(1);
        place.next
    }

    /// Forgets backends that had no request since the last sweep but one; called about once a minute.
    pub(super) fn sweep(&self) {
        self.places.borrow_mut().retain(|_, place| std::mem::replace(&mut place.used, false));
    }
}

/// A start that differs from worker to worker and from process to process.
fn random() -> usize {
    // Halved, so that counting up never wraps within a life.
    usize::try_from(RandomState::new().hash_one(0) >> 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_and_keep_their_place_when_endpoints_change() {
        let balance = Balance::default();
        let first = balance.next(7);
        assert_eq!(balance.next(7), first + 1);
        balance.sweep();
        assert_eq!(balance.next(7), first + 2, "a used place survives a sweep");
    }
}
